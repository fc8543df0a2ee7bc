import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { hasProperty } from "effect/Predicate"
import { randomUUID } from "node:crypto"
import * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as ErrorResponse from "../ErrorResponse.ts"
import { Rejection } from "../Rejection.ts"

const malformed = new Rejection({ case: "MalformedRequest", detail: "This is not a request of HTTP/1.1." })

const rejections: ReadonlyMap<unknown, Rejection> = new Map([
  [
    "HPE_HEADER_OVERFLOW",
    new Rejection({
      case: "HeadersTooLarge",
      detail: `The request's path and headers are larger than ${Http.maxHeaderSize / 1024} KiB.`
    })
  ],
  [
    "ERR_HTTP_REQUEST_TIMEOUT",
    new Rejection({ case: "RequestTimeout", detail: "The request did not arrive in time." })
  ]
])

const tunnel = new Rejection({
  case: "MethodNotAllowed",
  detail: "This is no proxy: there is no CONNECT here.",
  allow: "GET, HEAD, POST, OPTIONS"
})

/** How long a client may take to read the answer and close its end. */
const linger = "1 second"

const render = (error: ErrorResponse.ErrorResponse, headers: Readonly<Record<string, string>>): string => {
  const body = JSON.stringify(error.body)
  const all = {
    connection: "close",
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(body)),
    ...error.headers,
    ...headers
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${error.status} ${Http.STATUS_CODES[error.status]}\r\n${lines.join("")}\r\n${body}`
}

/** Whether part of an answer is on its way, in whose middle another can not begin. Node's own listener looks there, too. */
const isAnswering = (socket: Duplex): boolean =>
  hasProperty(socket, "_httpMessage") && hasProperty(socket._httpMessage, "headersSent") &&
  socket._httpMessage.headersSent === true

/**
 * Answers what `node:http` can not read as a request, or does not hand on as one, so that no handler ever sees it. The connection is closed
 * afterwards, by us when the client does not.
 */
export const answer = Effect.fnUntraced(
  function*(server: Http.Server, headers: () => Readonly<Record<string, string>>) {
    const scope = yield* Effect.scope
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const refused = new WeakSet<Duplex>()

    const send = (rejection: Rejection, socket: Duplex) => {
      const id = randomUUID()
      const answer = ErrorResponse.make(rejection)
      socket.end(render(answer, { ...headers(), "x-request-id": id }))
      return Effect.logInfo("request", { status: answer.status, request_id: id, error: answer.code }).pipe(
        Effect.andThen(Effect.sleep(linger)),
        Effect.ensuring(Effect.sync(() => socket.destroy()))
      )
    }

    const refuse = (rejection: Rejection, socket: Duplex) => {
      // What follows the first error is read over: closing at once, with bytes unread, would take the answer from the client.
      if (refused.has(socket)) return
      refused.add(socket)
      if (socket.writable && !isAnswering(socket)) Fiber.runIn(run(send(rejection, socket)), scope)
      else socket.destroy()
    }

    server.on("clientError", (error, socket) => {
      refuse(rejections.get(hasProperty(error, "code") ? error.code : undefined) ?? malformed, socket)
    })
    server.on("connect", (_request, socket) => {
      // Node has let go of it.
      socket.on("error", () => {}).resume()
      refuse(tunnel, socket)
    })
  }
)
