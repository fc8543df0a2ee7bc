/**
 * One event of a streamed chat completion, in the shape of the wire.
 *
 * Usage arrives in the last chunk that has a choice, or in a chunk of its own with empty `choices`: both are valid. A chunk without
 * `choices`, and a choice without `delta`, are read as empty ones.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { FinishReason, Logprobs } from "./ChatCompletion.ts"
import { isEmpty } from "./internal/message.ts"
import { filled, nullable, optional } from "./internal/wire.ts"
import { Usage } from "./Usage.ts"

/**
 * A fragment of a tool call: `id` and `name` come first, then `arguments` piece by piece. Join them by `index`, and do not
 * parse before the stream ends: a prefix may be valid JSON already.
 *
 * @category models
 * @since 0.1.0
 */
export const ToolCallDelta = Schema.Struct({
  index: filled(Schema.Finite, 0),
  id: nullable(Schema.String),
  type: nullable(Schema.String),
  function: nullable(Schema.Struct({ name: nullable(Schema.String), arguments: nullable(Schema.String) }))
})

/**
 * @category models
 * @since 0.1.0
 */
export type ToolCallDelta = typeof ToolCallDelta.Type

/**
 * What a chunk adds to the message.
 *
 * @category models
 * @since 0.1.0
 */
export const Delta = Schema.Struct({
  role: nullable(Schema.String),
  content: nullable(Schema.String),
  reasoning_content: nullable(Schema.String),
  tool_calls: nullable(Schema.Array(ToolCallDelta))
})

/**
 * @category models
 * @since 0.1.0
 */
export type Delta = typeof Delta.Type

/**
 * The data of one event. `choices` has one entry, or none in a chunk that carries only usage.
 *
 * @category models
 * @since 0.1.0
 */
export const ChatChunk = Schema.Struct({
  id: Schema.String,
  object: optional(Schema.String),
  created: optional(Schema.Finite),
  model: optional(Schema.String),
  choices: filled(
    Schema.Array(Schema.Struct({
      index: optional(Schema.Finite),
      delta: filled(Delta, {}),
      finish_reason: nullable(FinishReason),
      logprobs: nullable(Logprobs)
    })),
    []
  ),
  usage: nullable(Usage),
  system_fingerprint: nullable(Schema.String)
})

/**
 * @category models
 * @since 0.1.0
 */
export type ChatChunk = typeof ChatChunk.Type

/**
 * Whether a chunk moves the answer on: text, reasoning, a tool call, a field that is new, or the end. Opening chunks with empty
 * content and keep-alive comments do not.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isProgress = (chunk: ChatChunk): boolean => {
  const choice = chunk.choices[0]
  if (choice === undefined) return chunk.usage != null
  const { content, reasoning_content } = choice.delta
  return !!content || !!reasoning_content || choice.finish_reason != null || !isEmpty(choice.delta)
}
