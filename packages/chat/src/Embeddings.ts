/**
 * Vectors of texts, as OpenAI's `POST /v1/embeddings` has them.
 *
 * A request travels the road of chat (`Native`), so that routing, accounts, policies and metrics are the same, but chat has no words for it: a
 * service that has no such endpoint, as DeepSeek itself, fails with `NotFound`.
 *
 * @see {@link https://platform.openai.com/docs/api-reference/embeddings}
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ChatCompletion } from "./ChatCompletion.ts"
import type { ChatModel } from "./ChatModel.ts"
import type { ChatRequest } from "./ChatRequest.ts"
import * as read from "./internal/read.ts"
import { nullable } from "./internal/wire.ts"
import * as Native from "./Native.ts"
import { Usage } from "./Usage.ts"
import { Unreadable } from "./WireText.ts"

/**
 * The body of a request. `input` is one text or several, or their tokens; how many and how long is the service's to say.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly model: string
  readonly input: string | ReadonlyArray<string> | ReadonlyArray<number> | ReadonlyArray<ReadonlyArray<number>>
  /** Default of most services `float`; with `base64` a vector is the bytes of 32-bit floats. */
  readonly encoding_format?: "float" | "base64" | null
  /** Length of the vectors, where the model has a choice. */
  readonly dimensions?: number | null
  readonly user?: string | null
}

/**
 * The vector of one input, by the position of the input.
 *
 * @category models
 * @since 0.1.0
 */
export interface Embedding {
  readonly index: number
  readonly embedding: ReadonlyArray<number> | string
}

/**
 * The vectors of all inputs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Response {
  readonly object?: string | null
  readonly model?: string | null
  readonly data: ReadonlyArray<Embedding>
  readonly usage?: Usage | null
}

/**
 * The schema of a request. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Request: Schema.Codec<Request> = Schema.Struct({
  model: Schema.String,
  input: Schema.Union([
    Schema.String,
    Schema.Array(Schema.String),
    Schema.Array(Schema.Finite),
    Schema.Array(Schema.Array(Schema.Finite))
  ]),
  encoding_format: nullable(Schema.Literals(["float", "base64"])),
  dimensions: nullable(Schema.Finite),
  user: nullable(Schema.String)
})

/**
 * The schema of an answer. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Response: Schema.Codec<Response, object> = Schema.Struct({
  object: nullable(Schema.String),
  model: nullable(Schema.String),
  data: Schema.Array(Schema.Struct({
    index: Schema.Finite,
    embedding: Schema.Union([Schema.Array(Schema.Finite), Schema.String])
  })),
  usage: nullable(Usage)
})

const protocol = "embeddings"

/** The texts of an input, for who estimates its size. */
const textOf = (input: unknown): string => {
  if (typeof input === "string") return input
  return Array.isArray(input) ? input.filter((text) => typeof text === "string").join("\n") : ""
}

/**
 * The chat that stands for a request on the road of chat: its model, its texts, and the request itself.
 *
 * @category translations
 * @since 0.1.0
 */
export const attach = (request: object): ChatRequest => {
  // An object has fields.
  const body = request as Native.Native["body"]
  const { input, model } = body
  return Native.attach(
    { model: typeof model === "string" ? model : "", messages: [{ role: "user", content: textOf(input) }] },
    { protocol, body, only: true }
  )
}

/**
 * Reads an answer as a chat completion without text that keeps the answer's (`Native.textOf`). A text that is no answer comes back as
 * `Unreadable`.
 *
 * @category translations
 * @since 0.1.0
 */
export const parse = (text: string): ChatCompletion | Unreadable => {
  const json = read.parse(text)
  if (json instanceof Unreadable) return json
  if (!Array.isArray(json["data"])) return new Unreadable(json, "JSON without data")
  read.head(json)
  const { model, usage } = json
  const completion: ChatCompletion = {
    choices: [{ index: 0, message: { role: "assistant", content: "" } }],
    ...(typeof model === "string" ? { model } : undefined),
    // Its fields have been looked at.
    ...(read.isObject(usage) ? { usage: usage as unknown as Usage } : undefined)
  }
  return Native.attachText(completion, protocol, text)
}

/** There is no stream of embeddings. */
export const reader = () => (): Unreadable => new Unreadable(undefined, "embeddings in a stream")

/**
 * Asks a model for the vectors of texts. Fails with `NotFound` where its service has none.
 *
 * @category calls
 * @since 0.1.0
 */
export const create = <E>(model: ChatModel<E>, request: Request): Effect.Effect<Response, E> =>
  Effect.map(model.complete(attach(request)), (completion) => {
    const text = Native.textOf(completion, protocol)
    // It was read once, as JSON with data.
    const response: Response = text === undefined ? { data: [] } : JSON.parse(text)
    return response
  })
