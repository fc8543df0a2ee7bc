/**
 * The whole answer of a chat completion, in the shape of the wire.
 *
 * Only a choice with a message makes an answer; every other field may be missing, and `null` is the same as missing. Fields that a
 * service adds are kept.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { ToolCall } from "./ChatRequest.ts"
import * as message from "./internal/message.ts"
import { filled, nullable, optional } from "./internal/wire.ts"
import { Usage } from "./Usage.ts"

/**
 * The body of a `200` to a request without `stream`. DeepSeek gives exactly one choice.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChatCompletion {
  readonly id?: string | null
  readonly object?: string | null
  /** Unix time in seconds. */
  readonly created?: number | null
  readonly model?: string | null
  readonly choices: readonly [Choice, ...Array<Choice>]
  readonly usage?: Usage | null
  readonly system_fingerprint?: string | null
}

/**
 * One answer of a completion.
 *
 * **Details**
 *
 * `finish_reason` says why generation ended. Known: `stop`, `length`, `content_filter`, `tool_calls`, `insufficient_system_resource`,
 * `aborted`. A newer service may send other words.
 *
 * @category models
 * @since 0.1.0
 */
export interface Choice {
  readonly index?: number | null
  readonly message: AssistantMessage
  readonly finish_reason?: string | null
  readonly logprobs?: Logprobs | null
}

/**
 * The model's message. `reasoning_content` is there in thinking mode only; `tool_calls` is absent when there are none.
 *
 * @category models
 * @since 0.1.0
 */
export interface AssistantMessage {
  readonly role: "assistant"
  readonly content?: string | null
  readonly reasoning_content?: string | null
  readonly tool_calls?: ReadonlyArray<ToolCall> | null
}

/**
 * Log-probabilities of the tokens; `-9999` marks a token outside the top 20.
 *
 * @category models
 * @since 0.1.0
 */
export interface Logprobs {
  readonly content?: ReadonlyArray<TokenLogprobs> | null
  readonly reasoning_content?: ReadonlyArray<TokenLogprobs> | null
}

/**
 * The log-probability of one token. `bytes` are its UTF-8 bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenLogprob {
  readonly token: string
  readonly logprob: number
  readonly bytes?: ReadonlyArray<number> | null
}

/**
 * The log-probability of one token, and of the likeliest ones in its place.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenLogprobs extends TokenLogprob {
  readonly top_logprobs?: ReadonlyArray<TokenLogprob> | null
}

const tokenLogprob = {
  token: Schema.String,
  logprob: Schema.Finite,
  bytes: nullable(Schema.Array(Schema.Finite))
}

const tokens = Schema.Array(Schema.Struct({
  ...tokenLogprob,
  top_logprobs: nullable(Schema.Array(Schema.Struct(tokenLogprob)))
}))

/**
 * The schema of log-probabilities.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Logprobs: Schema.Codec<Logprobs> = Schema.Struct({
  content: nullable(tokens),
  reasoning_content: nullable(tokens)
})

const type = "function" as const

const AnsweredToolCall = Schema.Struct({
  index: optional(Schema.Finite),
  id: Schema.String,
  type: filled(Schema.Literal(type), type),
  function: Schema.Struct({ name: Schema.String, arguments: filled(Schema.String, "") })
})

/**
 * The schema of a model's message.
 *
 * @category schemas
 * @since 0.1.0
 */
export const AssistantMessage: Schema.Codec<AssistantMessage, object> = Schema.Struct({
  role: filled(Schema.Literal("assistant"), "assistant"),
  content: nullable(Schema.String),
  reasoning_content: nullable(Schema.String),
  tool_calls: nullable(Schema.Array(AnsweredToolCall))
})

/**
 * The schema of a completion. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ChatCompletion: Schema.Codec<ChatCompletion, object> = Schema.Struct({
  id: nullable(Schema.String),
  object: nullable(Schema.String),
  created: nullable(Schema.Finite),
  model: nullable(Schema.String),
  choices: Schema.NonEmptyArray(Schema.Struct({
    index: nullable(Schema.Finite),
    message: AssistantMessage,
    finish_reason: nullable(Schema.String),
    logprobs: nullable(Logprobs)
  })),
  usage: nullable(Usage),
  system_fingerprint: nullable(Schema.String)
})

/**
 * Whether a message says nothing: no text, no reasoning, no tool call, no field that is new.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isEmpty = (self: AssistantMessage): boolean => message.isEmpty(self)
