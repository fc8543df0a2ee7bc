/**
 * Stops a `node:http` server so that no accepted request is lost.
 *
 * `drain` first goes on as before, but unready: connections wait in the kernel's accept queue, and closing the listening socket would
 * reset them. Once no connection has come for a quarter of a second, right after the event loop found the queue empty, the socket is
 * closed. Where that does not happen within 5 seconds, or half of `timeout`, what comes is held for a moment, so that clients that wait
 * for their answers send no more. From then on `drain` lets running requests end, and asks clients to come back on
 * another connection (`connection: close`, on the last answer where several are due). Connections without a request stay open for a
 * moment, since a request may be on its way on one of them; then they are closed. After `timeout` whatever still runs is cut off: streams end by what `cut` makes them
 * say, and have a moment to say it; the rest is left to the caller, who interrupts it by closing the scope, answers it by `stopped`, and
 * awaits `closed`, since a process that ended with bytes of a request unread would take the answer from the client.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import * as Net from "node:net"
import * as acceptQueue from "./internal/acceptQueue.ts"
import { Chain } from "./internal/chain.ts"
import { Rejection } from "./Rejection.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Shutdown {
  /** Whether draining has begun. */
  readonly stopping: () => boolean
  /** Begins a request's own work: at once, but for a moment before the listening socket is closed. */
  readonly admit: <A, E, R>(work: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Fails when what still runs is cut off. */
  readonly cut: Effect.Effect<never, Rejection>
  /** Ends when all requests have ended, or have been cut off at the timeout. Runs once. */
  readonly drain: Effect.Effect<void>
  /** Ends when all connections have closed, so that the last answers arrive: soon in any case. */
  readonly closed: Effect.Effect<void>
}

/**
 * The answer to a request that is cut off.
 *
 * @category constants
 * @since 0.1.0
 */
export const stopped = new Rejection({
  case: "Stopping",
  detail: "The gateway stopped before the answer was complete. Send the request again.",
  retryAfter: Duration.seconds(1)
})

/** How long a connection stays open without a request while draining. */
const quietMillis = 500

const pollInterval = "20 millis"

/** How long streams that are cut off have for their last event, and connections to close. */
const lastWords = "500 millis"

/**
 * Watches the requests and connections of a server that does not listen yet.
 *
 * **Gotchas**
 *
 * A request that goes to a listener of the server's `upgrade` event is not seen.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (server: Http.Server, options: { readonly timeout: () => Duration.Duration }): Shutdown => {
  const running = new Chain<Http.ServerResponse>()
  const connections = new Set<Net.Socket>()
  const cut = Deferred.makeUnsafe<never, Rejection>()
  const timeout = () => Duration.toMillis(options.timeout())
  const closing = Deferred.makeUnsafe<void>()
  let stopping = false
  let holding = false
  let listening = true
  const queue = acceptQueue.make(server)

  server.on("connection", (socket) => {
    connections.add(socket)
    socket.once("close", () => connections.delete(socket))
  })
  /** The last response on each connection. One that closed it earlier would take those behind it along. */
  const last = () => new Map(running.all().map((response) => [response.req.socket, response]))

  const watch = (request: Http.IncomingMessage, response: Http.ServerResponse) => {
    if (!listening) {
      const before = last().get(request.socket)
      // The client left it open, or this request would not have been read.
      if (before?.headersSent === false) before.shouldKeepAlive = true
      response.shouldKeepAlive = false
    }
    response.on("close", running.add(response))
  }
  server.on("request", watch)
  server.on("checkContinue", watch)

  const stopListening = Effect.sync(() => {
    listening = false
    // Not `http.Server.close`, which resets idle connections at once, with whatever request is on its way on them.
    Net.Server.prototype.close.call(server)
    Deferred.doneUnsafe(closing, Effect.void)
    for (const response of last().values()) {
      if (!response.headersSent) response.shouldKeepAlive = false
    }
  })

  const isSending = () => running.all().some((response) => response.headersSent)

  const cutOff = Effect.gen(function*() {
    yield* Effect.logWarning("requests were cut off", { running: running.size })
    yield* Deferred.fail(cut, stopped)
    yield* Effect.sleep(pollInterval).pipe(Effect.repeat({ while: isSending }), Effect.timeoutOption(lastWords))
  })

  const ended = Effect.fnUntraced(function*(limit: number) {
    let quietSince = yield* Clock.currentTimeMillis
    while (connections.size > 0) {
      const now = yield* Clock.currentTimeMillis
      if (running.size > 0) quietSince = now
      if (now >= limit) return yield* cutOff
      if (now - quietSince >= quietMillis) return
      yield* Effect.sleep(pollInterval)
    }
  })

  const closeIdle = Effect.sync(() => {
    if (running.size === 0) server.closeAllConnections()
    server.close(() => {})
  })

  const closed: Effect.Effect<void> = Effect.suspend(() =>
    connections.size === 0 ? Effect.void : Effect.andThen(Effect.sleep(pollInterval), closed)
  )

  const logged = Effect.suspend(() =>
    running.size === 0
      ? Effect.void
      : Effect.logInfo("stopping: waiting for running requests", { running: running.size })
  )

  const drain = Effect.gen(function*() {
    stopping = true
    const limit = (yield* Clock.currentTimeMillis) + timeout()
    yield* logged
    yield* queue.empty(timeout(), () => holding = true)
    yield* stopListening
    yield* ended(limit)
    yield* closeIdle
  })

  return {
    stopping: () => stopping,
    admit: (work) => Effect.suspend(() => holding ? Effect.andThen(Deferred.await(closing), work) : work),
    cut: Deferred.await(cut),
    drain,
    closed: Effect.asVoid(Effect.timeoutOption(closed, lastWords))
  }
}
