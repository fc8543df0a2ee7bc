/**
 * One event of a streamed chat completion, in the shape of the wire.
 *
 * Usage arrives in the last chunk that has a choice, or in a chunk of its own with empty `choices`: both are valid. Every field but
 * `choices` may be missing, and `null` is the same as missing. Fields that a service adds are kept.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Logprobs } from "./ChatCompletion.ts"
import { isEmpty } from "./internal/message.ts"
import { filled, nullable } from "./internal/wire.ts"
import { Usage } from "./Usage.ts"

/**
 * The data of one event. `choices` has one entry, or none in a chunk that carries only usage.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChatChunk {
  readonly id?: string | null
  readonly object?: string | null
  /** Unix time in seconds. */
  readonly created?: number | null
  readonly model?: string | null
  readonly choices: ReadonlyArray<Choice>
  readonly usage?: Usage | null
  readonly system_fingerprint?: string | null
}

/**
 * What a chunk adds to one answer. A `finish_reason` ends that answer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Choice {
  readonly index?: number | null
  readonly delta: Delta
  readonly finish_reason?: string | null
  readonly logprobs?: Logprobs | null
}

/**
 * What a chunk adds to the message.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delta {
  readonly role?: string | null
  readonly content?: string | null
  readonly reasoning_content?: string | null
  readonly tool_calls?: ReadonlyArray<ToolCallDelta> | null
}

/**
 * A fragment of a tool call: `id` and `name` come first, then `arguments` piece by piece. Join them by `index`, and do not
 * parse before the stream ends: a prefix may be valid JSON already.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolCallDelta {
  readonly index: number
  readonly id?: string | null
  readonly type?: string | null
  readonly function?: { readonly name?: string | null; readonly arguments?: string | null } | null
}

/**
 * The schema of a fragment of a tool call.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ToolCallDelta: Schema.Codec<ToolCallDelta, object> = Schema.Struct({
  index: filled(Schema.Finite, 0),
  id: nullable(Schema.String),
  type: nullable(Schema.String),
  function: nullable(Schema.Struct({ name: nullable(Schema.String), arguments: nullable(Schema.String) }))
})

/**
 * The schema of what a chunk adds to a message.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Delta: Schema.Codec<Delta, object> = Schema.Struct({
  role: nullable(Schema.String),
  content: nullable(Schema.String),
  reasoning_content: nullable(Schema.String),
  tool_calls: nullable(Schema.Array(ToolCallDelta))
})

/**
 * The schema of a chunk. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ChatChunk: Schema.Codec<ChatChunk, object> = Schema.Struct({
  id: nullable(Schema.String),
  object: nullable(Schema.String),
  created: nullable(Schema.Finite),
  model: nullable(Schema.String),
  choices: filled(
    Schema.Array(Schema.Struct({
      index: nullable(Schema.Finite),
      delta: filled(Delta, {}),
      finish_reason: nullable(Schema.String),
      logprobs: nullable(Logprobs)
    })),
    []
  ),
  usage: nullable(Usage),
  system_fingerprint: nullable(Schema.String)
})

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

/**
 * Whether a chunk carries usage and no choice: what `stream_options.include_usage` adds to a stream.
 *
 * **Details**
 *
 * A source asks for usage on its own, for metrics and budgets. Who serves a client that has not asked
 * (`request.stream_options?.include_usage !== true`) reads these chunks and sends none of them: clients that do not expect one fail on
 * its empty `choices`. Usage beside a choice stays, since DeepSeek sends it unasked.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isUsageOnly = (chunk: ChatChunk): boolean => chunk.usage != null && chunk.choices.length === 0
