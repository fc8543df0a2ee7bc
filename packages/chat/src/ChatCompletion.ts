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
import * as read from "./internal/read.ts"
import { filled, nullable, optional } from "./internal/wire.ts"
import { limits } from "./Limits.ts"
import { Usage } from "./Usage.ts"
import * as WireText from "./WireText.ts"

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
 * Reads a completion from its text, with the repairs of `ChatChunk.reader`.
 *
 * **Details**
 *
 * An answer is a list of at least one choice with a message; no other field can cost it. A completion keeps its text (`WireText`) where
 * no repair matters to those who read the text. A text that is no completion comes back as `WireText.Unreadable`. All work is linear in
 * the text.
 *
 * @category parsing
 * @since 0.1.0
 */
export const parse = (text: string): ChatCompletion | WireText.Unreadable => {
  const json = read.parse(text)
  if (json instanceof WireText.Unreadable) return json
  const repairs: read.Repairs = { changed: false }
  const choices = read.choicesOf(json, repairs)
  if (choices instanceof WireText.Unreadable) return choices
  if (choices.length === 0) return new WireText.Unreadable(json, "JSON with an empty list of choices")
  read.head(json)
  for (const choice of choices) {
    read.choice(choice, repairs)
    const message = messageOf(choice, repairs)
    if (message === undefined) return new WireText.Unreadable(json, "a choice without a message")
    message["role"] = "assistant"
    read.says(message, repairs)
    const calls = read.toolCallsOf(message, repairs)
    if (calls.length > limits.toolCalls) {
      return new WireText.Unreadable(json, `more than ${limits.toolCalls} tool calls`)
    }
    calls.forEach((call, position) => readCall(call, position, json["id"], repairs))
  }
  // All that the type names has been looked at.
  const completion = json as unknown as ChatCompletion
  return repairs.changed ? completion : WireText.attach(completion, text)
}

/** What a choice says. A service may say it as a `delta`, though no stream was asked for: with its end it is whole. */
const messageOf = (choice: read.Json, repairs: read.Repairs): read.Json | undefined => {
  const { delta, message } = choice
  if (read.isObject(message)) return message
  if (!read.isObject(delta) || choice["finish_reason"] == null) return undefined
  delete choice["delta"]
  choice["message"] = delta
  repairs.changed = true
  return delta
}

const readCall = (call: read.Json, position: number, answer: unknown, repairs: read.Repairs): void => {
  if ("index" in call && typeof call["index"] !== "number") delete call["index"]
  const named = read.isObject(call["function"]) ? call["function"] : {}
  const given = read.argumentsOf(call, repairs)
  const hasId = isText(call["id"])
  const hasType = isText(call["type"])
  if (hasId && hasType && typeof named["name"] === "string" && typeof named["arguments"] === "string") return
  repairs.changed = true
  if (!hasId) call["id"] = read.makeId(position, answer)
  if (!hasType) call["type"] = "function"
  named["name"] = typeof named["name"] === "string" ? named["name"] : ""
  named["arguments"] = given
  call["function"] = named
}

const isText = (value: unknown): boolean => typeof value === "string" && value !== ""

/**
 * Whether a message says nothing: no text, no reasoning, no tool call, no field that is new.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isEmpty = (self: AssistantMessage): boolean => message.isEmpty(self)
