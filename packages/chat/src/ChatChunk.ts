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
import { Likenesses } from "./internal/likeness.ts"
import { isEmpty } from "./internal/message.ts"
import * as read from "./internal/read.ts"
import { ToolCalls } from "./internal/toolCalls.ts"
import { filled, nullable } from "./internal/wire.ts"
import { limits } from "./Limits.ts"
import { Usage } from "./Usage.ts"
import * as WireText from "./WireText.ts"

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
 * Creates a reader of the chunks of one stream.
 *
 * **Details**
 *
 * The reader takes the data of the events in their order, and looks at the fields in use only. A field of another type than documented
 * is read as missing and can not cost the answer; fields that are not named here stay as they came. Repairs:
 *
 * | what comes | what is read |
 * |---|---|
 * | no `delta`, or `null` | an empty one; a `message` in its place |
 * | `content` as a part or a list of parts | their text, joined; parts of type `thinking` as `reasoning_content` |
 * | `content` of another type | its JSON |
 * | `reasoning` without `reasoning_content` | both |
 * | `finish_reason` that is blank or says `null`, `none` or `undefined` | none |
 * | tool calls without `index` or `id`, or all with the same index | told apart by id, name and order; index and id are given |
 * | a later empty `id` or `name` of a call, or the same again | none: it would erase or double the first |
 * | `arguments` that are no text | their JSON |
 *
 * A chunk keeps its text (`WireText`), in one line, where no repair matters to those who read the text. A text that is no chunk comes back as
 * `WireText.Unreadable`. All work is linear in the text.
 *
 * @category parsing
 * @since 0.1.0
 */
export const reader = (): (text: string) => ChatChunk | WireText.Unreadable => {
  // Most streams call no tool.
  let calls: Map<number, ToolCalls> | undefined
  const repairs: read.Repairs = { changed: false }
  const likenesses = new Likenesses<ChatChunk>()

  const readChoice = (choice: read.Json, position: number, answer: read.Json): boolean => {
    read.choice(choice, repairs)
    const delta = deltaOf(choice, answer, repairs)
    read.says(delta, repairs)
    if (delta["tool_calls"] == null) return true
    const index = typeof choice["index"] === "number" ? choice["index"] : position
    calls ??= new Map()
    let known = calls.get(index)
    if (known === undefined) calls.set(index, known = new ToolCalls())
    for (const call of read.toolCallsOf(delta, repairs)) if (!known.add(call, answer["id"], repairs)) return false
    return true
  }

  return (text) => {
    const like = likenesses.read(text)
    if (like !== undefined) return WireText.attach(like, text)
    const json = read.parse(text)
    if (json instanceof WireText.Unreadable) return json
    repairs.changed = false
    if (json["choices"] == null && isChunk(json)) {
      json["choices"] = []
      repairs.changed = true
    }
    const choices = read.choicesOf(json, repairs)
    if (choices instanceof WireText.Unreadable) return choices
    read.head(json)
    for (let position = 0; position < choices.length; position++) {
      const choice = choices[position]
      if (choice !== undefined && !readChoice(choice, position, json)) {
        return new WireText.Unreadable(json, `more than ${limits.toolCalls} tool calls`)
      }
      if (calls !== undefined && calls.size > limits.choices) {
        return new WireText.Unreadable(json, `more than ${limits.choices} choices`)
      }
    }
    // All that the type names has been looked at.
    const chunk = json as unknown as ChatChunk
    if (repairs.changed) return chunk
    const line = oneLine(text)
    if (line === text) likenesses.note(chunk, text)
    return WireText.attach(chunk, line)
  }
}

/** JSON without line ends, which are blank space there: each would begin a new line of an event. */
const oneLine = (text: string): string =>
  text.includes("\n") || text.includes("\r") ? text.replace(/[\r\n]/g, " ") : text

const isChunk = ({ object, usage }: read.Json): boolean => object === "chat.completion.chunk" || read.isObject(usage)

/** What a choice adds. A service that does not stream says it as a `message`. */
const deltaOf = (choice: read.Json, answer: read.Json, repairs: read.Repairs): read.Json => {
  const { delta, message } = choice
  if (read.isObject(delta)) return delta
  repairs.changed = true
  const isWhole = read.isObject(message)
  if (isWhole) {
    delete choice["message"]
    answer["object"] = "chat.completion.chunk"
  }
  const given = isWhole ? message : {}
  choice["delta"] = given
  return given
}

/**
 * Whether a choice of a chunk says anything: text, reasoning, a tool call, or a field that is new.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isSaying = ({ delta }: Choice): boolean => !!delta.content || !!delta.reasoning_content || !isEmpty(delta)

/**
 * Whether a chunk moves the answer on: text, reasoning, a tool call, a field that is new, the end, or usage alone. Opening chunks with
 * empty content and keep-alive comments do not.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isProgress = (chunk: ChatChunk): boolean =>
  chunk.choices.length === 0
    ? chunk.usage != null
    : chunk.choices.some((choice) => isSaying(choice) || choice.finish_reason != null)

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
