import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Http from "node:http"
import { Response } from "./gateway/response.ts"

/** How often a client that has closed its side is asked whether it is still there. */
const probeInterval = "250 millis"

/** The same within a stream, which tells by itself unless it is silent. */
const streamInterval = "1 second"

/** Sends comments, which every reader of an event stream reads over. Events are written whole, so a comment is never within one. */
const probeStream = (response: Http.ServerResponse): Effect.Effect<void> =>
  Effect.sleep(streamInterval).pipe(Effect.andThen(Effect.suspend(() => {
    if (response.closed || response.writableEnded) return Effect.void
    if (!response.writableNeedDrain) response.write(":\n\n")
    return probeStream(response)
  })))

/** Sends interim answers while nothing else was sent. HTTP/1.0 knows none; there the answer itself tells. */
const probe = (request: Http.IncomingMessage, response: Http.ServerResponse): Effect.Effect<void> =>
  Effect.sleep(probeInterval).pipe(Effect.andThen(Effect.suspend(() => {
    if (response.closed) return Effect.void
    if (response.headersSent) {
      return response instanceof Response && response.isEventStream
        ? probeStream(response)
        : Effect.void
    }
    if (request.httpVersion !== "1.1") return Effect.void
    // Behind another answer it has no socket yet.
    if (response.socket !== null) response.writeContinue()
    return probe(request, response)
  })))

/**
 * Answers clients that close their side of the connection once they have sent their request, as a plain TCP client may. One that has gone
 * altogether looks the same, until something is sent: then its machine resets the connection, and the next write fails. So while an answer
 * is awaited, `100 Continue` is sent now and then, which every client of HTTP/1.1 must read over (RFC 9110, section 15.2); within an event
 * stream, a comment.
 */
export const accept = Effect.fnUntraced(function*(server: Http.Server) {
  const scope = yield* Effect.scope
  const run = Effect.runForkWith(yield* Effect.context<never>())
  // Not documented by Node, whose own default since its first days is to abort the request.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.on("request", (request, response) => {
    const { socket } = request
    const onEnd = () => {
      const fiber = run(probe(request, response))
      Fiber.runIn(fiber, scope)
      response.once("close", () => fiber.interruptUnsafe())
    }
    if (socket.readableEnded) return onEnd()
    // Each comes once, and Node makes three objects more for `once`.
    socket.on("end", onEnd)
    response.on("close", () => socket.off("end", onEnd))
  })
})
