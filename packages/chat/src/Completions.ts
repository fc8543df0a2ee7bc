/**
 * The completion of a text, with what follows it where that is known: fill in the middle (FIM), for editors and code.
 *
 * No messages, no thinking, no tools. It travels the road of chat (`Native`), so that policies, routing and metrics are the same, but chat has
 * no words for it: a service that has no such endpoint fails with `NotFound`.
 *
 * @see {@link https://api-docs.deepseek.com/api/create-completion}
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as ChatChunk from "./ChatChunk.ts"
import * as ChatCompletion from "./ChatCompletion.ts"
import type { ChatModel } from "./ChatModel.ts"
import type { ChatRequest } from "./ChatRequest.ts"
import { isObject } from "./internal/read.ts"
import { nullable } from "./internal/wire.ts"
import * as Native from "./Native.ts"
import { Usage } from "./Usage.ts"
import * as WireText from "./WireText.ts"

/**
 * The body of `POST /beta/completions`.
 *
 * **Details**
 *
 * | field | unit, range | default of DeepSeek | notes |
 * |---|---|---|---|
 * | `prompt` | text | required | what stands before |
 * | `suffix` | text | none | what stands after |
 * | `echo` | | `false` | whether the answer repeats the prompt; not with `suffix` or `logprobs` |
 * | `logprobs` | 0 to 20 | none | how many likely tokens are told in each place |
 * | `max_tokens` | tokens, 1 to 4,096 | the service's | |
 * | `stop` | at most 16 texts | none | |
 * | `temperature` | 0 to 2 | 1 | |
 * | `top_p` | (0, 1] | 1 | |
 *
 * The model does not think here, so no field is ignored. `stream` is set by the operation called.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly model: string
  readonly prompt: string
  readonly suffix?: string | null
  readonly echo?: boolean | null
  readonly logprobs?: number | null
  readonly max_tokens?: number | null
  readonly stop?: string | ReadonlyArray<string> | null
  readonly stream?: boolean | null
  readonly stream_options?: { readonly include_usage?: boolean | null } | null
  readonly temperature?: number | null
  readonly top_p?: number | null
}

/**
 * The schema of a request. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Request: Schema.Codec<Request> = Schema.Struct({
  model: Schema.String,
  prompt: Schema.String,
  suffix: nullable(Schema.String),
  echo: nullable(Schema.Boolean),
  logprobs: nullable(Schema.Finite),
  max_tokens: nullable(Schema.Finite),
  stop: nullable(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  stream: nullable(Schema.Boolean),
  stream_options: nullable(Schema.Struct({ include_usage: nullable(Schema.Boolean) })),
  temperature: nullable(Schema.Finite),
  top_p: nullable(Schema.Finite)
})

/**
 * One answer, or a piece of it in a stream. `finish_reason` is as chat's, without `tool_calls`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Choice {
  readonly index?: number | null
  readonly text: string
  readonly finish_reason?: string | null
  readonly logprobs?: Logprobs | null
}

/**
 * Log-probabilities of the tokens, each list as long as `tokens`. `text_offset` is where a token begins, in characters.
 *
 * @category models
 * @since 0.1.0
 */
export interface Logprobs {
  readonly tokens?: ReadonlyArray<string> | null
  readonly token_logprobs?: ReadonlyArray<number> | null
  readonly top_logprobs?: ReadonlyArray<Readonly<Record<string, number>>> | null
  readonly text_offset?: ReadonlyArray<number> | null
}

/**
 * The whole answer, and the data of each event of a stream: there, `usage` is in the last one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Completion {
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
 * The schema of an answer. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Completion: Schema.Codec<Completion, object> = Schema.Struct({
  id: nullable(Schema.String),
  object: nullable(Schema.String),
  created: nullable(Schema.Finite),
  model: nullable(Schema.String),
  choices: Schema.Array(Schema.Struct({
    index: nullable(Schema.Finite),
    text: Schema.String,
    finish_reason: nullable(Schema.String),
    logprobs: nullable(Schema.Struct({
      tokens: nullable(Schema.Array(Schema.String)),
      token_logprobs: nullable(Schema.Array(Schema.Finite)),
      top_logprobs: nullable(Schema.Array(Schema.Record(Schema.String, Schema.Finite))),
      text_offset: nullable(Schema.Array(Schema.Finite))
    }))
  })),
  usage: nullable(Usage),
  system_fingerprint: nullable(Schema.String)
})

const protocol = "completions"

/**
 * The chat that stands for a request on the road of chat: its model, its prompt, and the request itself.
 *
 * @category translations
 * @since 0.1.0
 */
export const attach = (request: object): ChatRequest => {
  // An object has fields.
  const body = request as Native.Native["body"]
  const { model, prompt, stream } = body
  const chat: ChatRequest = {
    model: typeof model === "string" ? model : "",
    messages: [{ role: "user", content: typeof prompt === "string" ? prompt : "" }],
    ...(stream === true ? { stream } : undefined)
  }
  return Native.attach(chat, { protocol, body, only: true })
}

/** The choices of an answer as chat has them: their texts are messages, or pieces of them. Nothing where it is no answer. */
const asChat = (json: object, name: "message" | "delta"): object | undefined => {
  if (!("choices" in json) || !Array.isArray(json.choices)) return undefined
  const choices = json.choices.filter(isObject).map(({ text, ...choice }) => ({
    ...choice,
    logprobs: null,
    [name]: { role: "assistant", content: typeof text === "string" ? text : "" }
  }))
  return { ...json, choices }
}

/**
 * Reads a whole answer as a chat completion that keeps the text (`Native.textOf`). A text that is no answer comes back as `Unreadable`.
 *
 * @category translations
 * @since 0.1.0
 */
export const parse = (text: string): ChatCompletion.ChatCompletion | WireText.Unreadable => {
  const completion = ChatCompletion.parse(translate(text, "message"))
  return completion instanceof WireText.Unreadable ? completion : Native.attachText(completion, protocol, text)
}

/** The text of an answer as that of a chat. A text that is none is left, so that its reader says what is wrong with it. */
const translate = (text: string, name: "message" | "delta"): string => {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return text
  }
  const chat = isObject(json) ? asChat(json, name) : undefined
  return chat === undefined ? text : JSON.stringify(chat)
}

/**
 * Creates a reader of the data of the events of one stream: each becomes a chunk that keeps the event's text. What is no event comes back as
 * `Unreadable`.
 *
 * @category translations
 * @since 0.1.0
 */
export const reader = (): (data: string) => ChatChunk.ChatChunk | WireText.Unreadable => {
  const read = ChatChunk.reader()
  return (data) => {
    const chunk = read(translate(data, "delta"))
    return chunk instanceof WireText.Unreadable
      ? chunk
      : Native.attachText(chunk, protocol, `data: ${data.replace(/[\r\n]/g, " ")}\n\n`)
  }
}

/**
 * Asks a model to complete a text. Fails with `NotFound` where its service can not.
 *
 * **Example** (Filling in the middle)
 *
 * ```ts
 * import { Completions } from "@ballast/chat"
 * import { DeepSeek } from "@ballast/deepseek"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const model = yield* DeepSeek.DeepSeek
 *   const { choices } = yield* Completions.create(model, {
 *     model: "deepseek-flash",
 *     prompt: "function add(a, b) {\n",
 *     suffix: "\n}",
 *     max_tokens: 64
 *   })
 *   return choices[0]?.text
 * })
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const create = <E>(model: ChatModel<E>, request: Request): Effect.Effect<Completion, E> =>
  Effect.map(model.complete(attach(request)), fromCompletion)

/**
 * Asks a model to complete a text, piece by piece.
 *
 * @category calls
 * @since 0.1.0
 */
export const stream = <E>(model: ChatModel<E>, request: Request): Stream.Stream<Completion, E> =>
  Stream.map(model.stream(attach({ ...request, stream: true })), fromChunk)

const nativeOf = (value: object): Completion | undefined => {
  const text = Native.textOf(value, protocol)
  // It was read once, as JSON with choices.
  return text === undefined ? undefined : JSON.parse(text.replace(/^data: /, ""))
}

/**
 * The answer in a chat completion.
 *
 * @category translations
 * @since 0.1.0
 */
export const fromCompletion = (completion: ChatCompletion.ChatCompletion): Completion =>
  nativeOf(completion) ?? {
    ...completion,
    object: "text_completion",
    choices: completion.choices.map(({ message, ...choice }) => ({
      ...choice,
      text: message.content ?? "",
      logprobs: null
    }))
  }

/**
 * The piece of an answer in a chunk.
 *
 * @category translations
 * @since 0.1.0
 */
export const fromChunk = (chunk: ChatChunk.ChatChunk): Completion =>
  nativeOf(chunk) ?? {
    ...chunk,
    object: "text_completion",
    choices: chunk.choices.map(({ delta, ...choice }) => ({ ...choice, text: delta.content ?? "", logprobs: null }))
  }
