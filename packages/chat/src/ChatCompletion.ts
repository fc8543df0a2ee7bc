/**
 * The whole answer of a chat completion, in the shape of the wire.
 *
 * Only what makes an answer is required: an id, and a choice with a message. Fields that the service may add are kept, those it
 * sometimes leaves out are optional, and where a field can mean one thing only (the role, a tool call's type), it is filled in: so a
 * newer or another service does not turn good answers into errors.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ToolCall } from "./ChatRequest.ts"
import * as message from "./internal/message.ts"
import { filled, nullable, optional } from "./internal/wire.ts"
import { Usage } from "./Usage.ts"

/**
 * Why generation ended. Open-ended: a newer service may send other words.
 *
 * **Details**
 *
 * Known: `stop`, `length`, `content_filter`, `tool_calls`, `insufficient_system_resource`, `aborted`.
 *
 * @category models
 * @since 0.1.0
 */
export const FinishReason = Schema.String

const TokenLogprob = Schema.Struct({
  token: Schema.String,
  logprob: Schema.Finite,
  bytes: nullable(Schema.Array(Schema.Finite))
})

const TokenLogprobs = Schema.Array(Schema.Struct({
  ...TokenLogprob.fields,
  top_logprobs: nullable(Schema.Array(TokenLogprob))
}))

/**
 * Log-probabilities of the tokens; `-9999` marks a token outside the top 20.
 *
 * @category models
 * @since 0.1.0
 */
export const Logprobs = Schema.Struct({
  content: nullable(TokenLogprobs),
  reasoning_content: nullable(TokenLogprobs)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Logprobs = typeof Logprobs.Type

const AnsweredToolCall = Schema.Struct({
  ...ToolCall.fields,
  type: filled(ToolCall.fields.type, "function"),
  function: Schema.Struct({
    ...ToolCall.fields.function.fields,
    arguments: filled(Schema.String, "")
  })
})

/**
 * The model's message. `reasoning_content` is there in thinking mode only; `tool_calls` is absent when there are none.
 *
 * @category models
 * @since 0.1.0
 */
export const AssistantMessage = Schema.Struct({
  role: filled(Schema.Literal("assistant"), "assistant"),
  content: nullable(Schema.String),
  reasoning_content: nullable(Schema.String),
  tool_calls: nullable(Schema.Array(AnsweredToolCall))
})

/**
 * @category models
 * @since 0.1.0
 */
export type AssistantMessage = typeof AssistantMessage.Type

/**
 * The body of a `200` to a request without `stream`. There is exactly one choice.
 *
 * @category models
 * @since 0.1.0
 */
export const ChatCompletion = Schema.Struct({
  id: Schema.String,
  object: optional(Schema.String),
  created: optional(Schema.Finite),
  model: optional(Schema.String),
  choices: Schema.NonEmptyArray(Schema.Struct({
    index: optional(Schema.Finite),
    message: AssistantMessage,
    finish_reason: nullable(FinishReason),
    logprobs: nullable(Logprobs)
  })),
  usage: nullable(Usage),
  system_fingerprint: nullable(Schema.String)
})

/**
 * @category models
 * @since 0.1.0
 */
export type ChatCompletion = typeof ChatCompletion.Type

/**
 * Whether a message says nothing: no text, no reasoning, no tool call, no field that is new.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isEmpty = (self: AssistantMessage): boolean => message.isEmpty(self)
