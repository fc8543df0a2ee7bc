/**
 * The simulator behind a port: the same engine over `node:http`, with keep-alive connections, real chunks, and sockets that really
 * break. A client that goes away gives its place in the concurrency limit back at once.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpServer from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { createServer } from "node:http"
import { maxBodyBytes as maxUploadBytes } from "./internal/files.ts"
import * as Simulator from "./Simulator.ts"
import type { SimulatorOptions } from "./SimulatorOptions.ts"

/**
 * Where the server listens, and the simulator's settings.
 *
 * @category options
 * @since 0.1.0
 */
export interface ServerOptions extends SimulatorOptions {
  /** Address to listen on. Default: `127.0.0.1`. */
  readonly host?: string | undefined
  /** Port to listen on, 0 for any free one. Default: 8788. */
  readonly port?: number | undefined
  /** Whether each request is logged, one line at `Info` when its answer has ended. Default: false. */
  readonly log?: boolean | undefined
}

const defaults = { host: "127.0.0.1", port: 8_788 } as const

/** How long the server waits for running answers when it is told to stop. */
const shutdownTimeout = "1 second"

/** The engine refuses what is longer than this; the server need not read on. An upload may be as long as a file and its form. */
const maxBodySizeOf = (path: string) =>
  /\/files(?:\?|$)/.test(path) ? ByteSize.bytes(maxUploadBytes) : ByteSize.mebibytes(48)

/** The body. One that is too long is not kept: its length in the headers makes the engine refuse it. */
const readBody = (request: HttpServerRequest) => {
  const maxBodySize = maxBodySizeOf(request.url)
  const read = { headers: request.headers, body: new Uint8Array() }
  const tooLong = { ...read, headers: { ...request.headers, "content-length": String(maxBodySize + 1n) } }
  if (Number(request.headers["content-length"] ?? 0) > Number(maxBodySize)) return Effect.succeed(read)
  return request.arrayBuffer.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBodySize),
    Effect.map((body) => ({ ...read, body: new Uint8Array(body) })),
    Effect.catch(() => Effect.succeed(tooLong))
  )
}

/** Destroys the connection once what was written is on its way; the server then interrupts the request. */
const destroy = (request: HttpServerRequest): Effect.Effect<never> =>
  Effect.callback((_resume) => {
    const { socket } = NodeHttpServerRequest.toIncomingMessage(request)
    socket.write("", () => socket.destroy())
  })

const toServerResponse = (
  { body, headers, status }: Simulator.SimulatorResponse,
  request: HttpServerRequest
): HttpServerResponse.HttpServerResponse => {
  const type = headers["content-type"]
  const bytes = Stream.catch(body, () => Stream.fromEffect(destroy(request)))
  const response = HttpServerResponse.setBody(
    HttpServerResponse.empty({ status, headers }),
    HttpBody.stream(bytes, type ?? "")
  )
  return type === undefined ? HttpServerResponse.removeHeader(response, "content-type") : response
}

const answer = Effect.fnUntraced(function*(request: HttpServerRequest) {
  const simulator = yield* Simulator.Simulator
  const received = yield* readBody(request)
  return yield* simulator.answer({ method: request.method, path: request.url, ...received }).pipe(
    Effect.catch(() => destroy(request))
  )
})

const handle = Effect.gen(function*() {
  const request = yield* HttpServerRequest
  return toServerResponse(yield* answer(request), request)
}).pipe(Effect.interruptible)

/** The line of a request, once its answer has ended: complete, or cut off by a fault or by the client. */
const fieldsOf = (
  request: HttpServerRequest,
  response: Simulator.SimulatorResponse | undefined,
  millis: number,
  exit: Exit.Exit<unknown, unknown>
) => ({
  method: request.method,
  path: request.url,
  status: response?.status,
  duration_ms: Math.round(millis * 10) / 10,
  model: response?.chat?.model,
  stream: response?.chat?.stream,
  input_tokens: response?.chat?.usage.prompt_tokens,
  output_tokens: response?.chat?.usage.completion_tokens,
  x_simulate: request.headers["x-simulate"],
  cut_off: Exit.isFailure(exit) || undefined
})

const handleLogged = Effect.gen(function*() {
  const request = yield* HttpServerRequest
  const began = yield* Clock.currentTimeMillis
  const seen: { response?: Simulator.SimulatorResponse } = {}
  yield* Effect.addFinalizer((exit) =>
    Effect.flatMap(
      Clock.currentTimeMillis,
      (now) => Effect.logInfo("request", fieldsOf(request, seen.response, now - began, exit))
    )
  )
  seen.response = yield* Effect.interruptible(answer(request))
  return toServerResponse(seen.response, request)
})

/**
 * Serves the simulator on the `HttpServer` at hand.
 *
 * @category layers
 * @since 0.1.0
 */
export const serve: Layer.Layer<never, never, HttpServer.HttpServer | Simulator.Simulator> = HttpServer.serve(handle)

/**
 * Starts a server of its own. Its address is that of the service `HttpServer`: see `url`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: ServerOptions = {}
): Layer.Layer<HttpServer.HttpServer | Simulator.Simulator, ServeError> =>
  Layer.provideMerge(
    options.log === true ? HttpServer.serve(handleLogged) : serve,
    Layer.merge(
      Simulator.layer(options),
      NodeHttpServer.layerServer(createServer, {
        host: options.host ?? defaults.host,
        port: options.port ?? defaults.port,
        gracefulShutdownTimeout: shutdownTimeout
      })
    )
  )

/**
 * The address of the server at hand, such as `http://127.0.0.1:8788`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const url: Effect.Effect<string, never, HttpServer.HttpServer> = HttpServer.addressFormattedWith(Effect.succeed)
