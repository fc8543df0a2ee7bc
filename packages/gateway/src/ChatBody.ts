/**
 * Reads the body of a chat request and checks its envelope.
 *
 * Only what the gateway itself relies on is checked: a JSON object with a `model` of a sane length, `messages` and a sane
 * `stream`. Everything else, unknown fields included, goes to the service as it is; the service knows best what it accepts, and its text
 * comes back.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Json from "@ballast/deepseek/Json"
import * as GenAi from "@ballast/telemetry/GenAi"
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { MaxBodySize } from "effect/http/HttpIncomingMessage"
import type { HttpServerError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import * as jsonError from "./internal/jsonError.ts"
import { Rejection } from "./Rejection.ts"

/**
 * The largest body that is read: 48 MiB, the service's own cap.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxBytes = 48 * 1024 * 1024

const maxBodySize = ByteSize.bytes(maxBytes)

interface Problem {
  readonly param?: string
  readonly detail: string
}

const isObject = (u: unknown): u is Record<string, unknown> => typeof u === "object" && u !== null && !Array.isArray(u)

const notAnObject: Problem = { detail: "The body must be a JSON object." }

/** What is wrong with the envelope of a body; `undefined` when it is one. */
const problemOf = (body: unknown): Problem | undefined => {
  if (!isObject(body)) return notAnObject
  if (typeof body["model"] !== "string" || body["model"] === "") {
    return { param: "model", detail: "`model` must be the name of a model, for example \"deepseek-flash\"." }
  }
  if (body["model"].length > GenAi.maxModelLength) {
    return { param: "model", detail: `\`model\` must not be longer than ${GenAi.maxModelLength} characters.` }
  }
  if (!Array.isArray(body["messages"]) || body["messages"].length === 0) {
    return { param: "messages", detail: "`messages` must be an array with at least one message." }
  }
  if (typeof body["stream"] !== "boolean" && body["stream"] != null) {
    return { param: "stream", detail: "`stream` must be true, false or null." }
  }
  return undefined
}

/**
 * A chat request as the gateway takes it: `ChatRequest` by its envelope, the rest unseen.
 *
 * **Gotchas**
 *
 * The type promises more than is checked. That is meant: fields of the inside are only passed on, never read.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ChatBody: Schema.declare<ChatRequest> = Schema.declare(
  (body): body is ChatRequest => problemOf(body) === undefined,
  { identifier: "ChatBody" }
)

const isChatBody = Schema.is(ChatBody)

const tooLarge = new Rejection({ case: "BodyTooLarge", detail: "The body is larger than 48 MiB." })

const jsonType = /^application\/json *(?:;|$)/i

/**
 * JSON only, and by name: a web page can make a browser post other types to this machine without asking first, but not this one.
 */
const checkHeaders = (headers: Readonly<Record<string, string | undefined>>): Rejection | undefined => {
  const type = headers["content-type"]
  if (type === undefined || !jsonType.test(type)) {
    const given = type === undefined ? "no content type" : `content type ${JSON.stringify(type)}`
    return new Rejection({
      case: "UnsupportedMediaType",
      detail: `The request has ${given}. Send JSON with the header "content-type: application/json".`
    })
  }
  const encoding = headers["content-encoding"]
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    return new Rejection({
      case: "UnsupportedMediaType",
      detail: `The body is encoded as ${JSON.stringify(encoding)}. Send it without a content encoding.`
    })
  }
  return Number(headers["content-length"] ?? 0) > maxBytes ? tooLarge : undefined
}

const unreadable = (error: HttpServerError): Rejection =>
  error.reason._tag === "RequestParseError" && error.reason.reason === "BodyTooLarge"
    ? tooLarge
    : new Rejection({ case: "BodyUnreadable", detail: "The body could not be read to its end." })

const parse = (text: string): Effect.Effect<unknown, Rejection> => {
  try {
    return Effect.succeed(Json.parse(text))
  } catch {
    const { column, found, line, position } = jsonError.find(text)
    const detail = text.trim() === ""
      ? "The body is empty. Send a JSON object with `model` and `messages`."
      : `The body is not valid JSON: unexpected ${found} at position ${position} (line ${line}, column ${column}).`
    return Effect.fail(new Rejection({ case: "MalformedJson", detail }))
  }
}

const check = (body: unknown): Effect.Effect<ChatRequest, Rejection> =>
  isChatBody(body)
    ? Effect.succeed(body)
    : Effect.fail(new Rejection({ case: "InvalidField", ...problemOf(body) ?? notAnObject }))

/**
 * The text of the body. Whoever stops waiting for it leaves the reader be, which ends with the connection: interrupting it would destroy
 * that, and an answer could no longer be sent.
 */
const readText = (request: HttpServerRequest): Effect.Effect<string, HttpServerError> =>
  request.text.pipe(
    Effect.provideService(MaxBodySize, maxBodySize),
    Effect.forkDetach({ startImmediately: true }),
    Effect.flatMap(Fiber.join)
  )

/**
 * The chat request in a body, or why it is refused.
 *
 * **Details**
 *
 * A body over 48 MiB is refused by its `content-length` before it is read, else as soon as more has arrived.
 *
 * @category accessors
 * @since 0.1.0
 */
export const read = (request: HttpServerRequest): Effect.Effect<ChatRequest, Rejection> => {
  const refused = checkHeaders(request.headers)
  if (refused !== undefined) return Effect.fail(refused)
  return readText(request).pipe(
    Effect.mapError(unreadable),
    Effect.flatMap(parse),
    Effect.flatMap(check)
  )
}
