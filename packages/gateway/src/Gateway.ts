/**
 * The gateway: an OpenAI-compatible server in front of `DeepSeek`.
 *
 * | route | what for | key needed |
 * |---|---|---|
 * | `POST /v1/chat/completions`, `/chat/completions` | chat, whole or streamed | yes |
 * | `GET /v1/models`, `/models` | the service's models | yes |
 * | `GET /v1/models/{id}`, `/models/{id}` | one of them | yes |
 * | `GET /user/balance` | the account's balance | yes |
 * | `GET /metrics` | Prometheus metrics | yes: they tell what is used, and how much |
 * | `GET /healthz` | the process is alive | no |
 * | `GET /readyz` | ready for traffic: `503` while stopping | no, but for the names of circuits |
 *
 * A key is needed only when client keys are configured. `HEAD` works where `GET` does, `OPTIONS` lists the methods. Every answer
 * carries `x-request-id` and `x-ballast-upstream`. There are no CORS headers: keys do not belong into web pages.
 *
 * @since 0.1.0
 */
import * as DeepSeek from "@ballast/deepseek/DeepSeek"
import { CurrentTenant } from "@ballast/resilience/ConcurrencyLimit"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { HttpServer } from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { createServer, type ServerResponse } from "node:http"
import * as Body from "./Body.ts"
import * as ChatRoute from "./ChatRoute.ts"
import * as Client from "./Client.ts"
import * as ClientKeys from "./ClientKeys.ts"
import type { Dialect } from "./Dialect.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as EventStream from "./EventStream.ts"
import { isClientGone } from "./EventStream.ts"
import * as Exchange from "./Exchange.ts"
import * as HostCheck from "./HostCheck.ts"
import * as circuits from "./internal/circuits.ts"
import * as halfOpen from "./internal/halfOpen.ts"
import * as unread from "./internal/unread.ts"
import * as Models from "./Models.ts"
import * as OpenAiChat from "./OpenAiChat.ts"
import * as PolicyLog from "./PolicyLog.ts"
import { Rejection } from "./Rejection.ts"
import * as Routes from "./Routes.ts"
import * as Shutdown from "./Shutdown.ts"
import * as Startup from "./Startup.ts"
import { Upstream } from "./Upstream.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Address to listen on. */
  readonly host: string
  /** Port to listen on; 0 takes a free one. */
  readonly port: number
  /** Keys of clients; empty lets everyone call. */
  readonly clientKeys: ReadonlyArray<Redacted.Redacted>
  /** Names that a gateway on loopback without client keys is called by, beside `localhost` and the loopback addresses. */
  readonly allowedHosts: ReadonlyArray<string>
  /** Origins of web pages that may call, beside same-site ones. */
  readonly allowedOrigins: ReadonlyArray<string>
  /** How long a request may take to arrive, from its first byte to the end of its body, above zero. */
  readonly requestTimeout: Duration.Duration
  /** How long requests may run on when the scope closes. */
  readonly shutdownTimeout: Duration.Duration
  /** The largest body in bytes, at most 48 MiB. Default 16 MiB. */
  readonly maxBodySize?: number | undefined
  /** Bytes of memory for the bodies of all requests at once. Default a quarter of the heap limit. */
  readonly bodyMemory?: number | undefined
}

const json = (body: unknown, status = 200) => HttpServerResponse.jsonUnsafe(body, { status })

const metrics: Routes.Handler = () =>
  Effect.promise(() => import("effect/observability/PrometheusMetrics")).pipe(
    Effect.flatMap((PrometheusMetrics) => PrometheusMetrics.format()),
    Effect.map((text) => HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" }))
  )

const twice = (path: `/${string}`, route: Omit<Routes.Route, "path">): ReadonlyArray<Routes.Route> => [
  { ...route, path: `/v1${path}` },
  { ...route, path }
]

const makeRoutes = (
  model: DeepSeek.DeepSeek["Service"],
  chat: Routes.Handler,
  ready: Routes.Handler
): Routes.Routes =>
  Routes.make([
    ...twice("/chat/completions", { methods: { POST: chat }, dialect: OpenAiChat.dialect }),
    ...twice("/models", { methods: { GET: () => Models.all(model.models) } }),
    // Names of models may have slashes.
    ...["/v1/models", "/models"].map((path): Routes.Route => ({
      path: `${path as "/models"}/*`,
      name: `${path}/{id}`,
      methods: { GET: ({ params }) => Models.one(model.models, params["*"] ?? "") }
    })),
    { path: "/user/balance", methods: { GET: () => Effect.map(model.balance, (balance) => json(balance)) } },
    { path: "/healthz", methods: { GET: () => Effect.succeed(json({ status: "ok" })) }, open: true, quiet: true },
    { path: "/readyz", methods: { GET: ready }, open: true, quiet: true },
    { path: "/metrics", methods: { GET: metrics }, quiet: true }
  ])

/** An open circuit does not make a gateway unready: the others have the same upstream, and all would leave the balancer at once. */
const makeReady = (
  upstream: Upstream["Service"],
  checkKey: ClientKeys.ClientKeys,
  shutdown: Shutdown.Shutdown
): Routes.Handler =>
(_, request) =>
  checkKey(request.headers["authorization"]).pipe(
    Effect.matchEffect({ onSuccess: () => circuits.states, onFailure: () => circuits.counts }),
    Effect.map((circuits) =>
      shutdown.stopping()
        ? json({ status: "stopping", upstream: upstream.kind, circuits }, 503)
        : json({ status: "ready", upstream: upstream.kind, circuits })
    )
  )

const unmet = new Rejection({
  case: "ExpectationFailed",
  detail: "The header `expect` asks for what the gateway does not know. It knows 100-continue."
})

/** What `node:http` would refuse by itself, without a body. */
const checkHead = ({ headers }: HttpServerRequest): Rejection | undefined =>
  headers["expect"] === undefined || /\b100-continue\b/i.test(headers["expect"]) ? undefined : unmet

/** Runs a handler for a client, which the policies inside see as their tenant. */
const as = (client: Client.Client, handler: Routes.Handler): Routes.Handler => (exchange, request) => {
  exchange.client = client
  const answer = handler(exchange, request)
  return client === Client.anonymous ? answer : answer.pipe(
    Effect.provideService(Client.CurrentClient, client),
    Effect.provideService(CurrentTenant, client.name)
  )
}

/** Checks the head, the method and the key, and runs the route's handler. */
const dispatch = (
  checkKey: ClientKeys.ClientKeys,
  checkHost: ReturnType<typeof HostCheck.make>,
  route: Routes.Route | undefined,
  exchange: Exchange.Exchange,
  request: HttpServerRequest
): ReturnType<Routes.Handler> => {
  const refused = checkHost(NodeHttpServerRequest.toIncomingMessage(request)) ?? checkHead(request)
  if (refused !== undefined) return Effect.fail(refused)
  return Effect.flatMap(
    Routes.dispatch(route, exchange),
    (handler) =>
      route?.open === true || exchange.method === "OPTIONS"
        ? handler(exchange, request)
        : Effect.flatMap(
          checkKey(request.headers["authorization"]),
          (client) => as(client, handler)(exchange, request)
        )
  )
}

/** Turns every failure into an answer, and an interruption too, unless it is the client who went away. */
const answer = (dialect: Dialect, exchange: Exchange.Exchange, cause: Cause.Cause<ErrorResponse.Failure>) => {
  const isInterrupted = Cause.hasInterruptsOnly(cause)
  if (isInterrupted && isClientGone(cause)) return Effect.failCause(cause as Cause.Cause<never>) // only interruptions in it
  const error = isInterrupted ? ErrorResponse.make(Shutdown.stopped) : ErrorResponse.fromCause(cause)
  Exchange.fail(exchange, error)
  const response = Effect.succeed(ErrorResponse.toResponse(error, dialect.error(error)))
  return Cause.hasDies(cause)
    ? Effect.andThen(Effect.logError("a request failed with a defect", cause), response)
    : response
}

/** Lets a client try a simulator's faults; DeepSeek never sees its clients' headers. */
const simulated = <A, E, R>(handled: Effect.Effect<A, E, R>, request: HttpServerRequest): Effect.Effect<A, E, R> => {
  const faults = request.headers["x-simulate"]
  return faults === undefined
    ? handled
    : Effect.provideService(handled, DeepSeek.CurrentHeaders, { "x-simulate": faults })
}

const makeApp = (
  routes: Routes.Routes,
  checkKey: ClientKeys.ClientKeys,
  checkHost: ReturnType<typeof HostCheck.make>,
  upstream: Upstream["Service"]
) =>
  Exchange.observe((exchange, request, route) => {
    const handled = Effect.suspend(() => dispatch(checkKey, checkHost, route, exchange, request))
    const interruptible = Effect.interruptible(upstream.takesFaults ? simulated(handled, request) : handled)
    return interruptible.pipe(
      Effect.catchCause((cause) => answer(route?.dialect ?? OpenAiChat.dialect, exchange, cause)),
      Effect.map((response) => {
        Exchange.begin(exchange, response.status)
        return HttpServerResponse.setHeaders(response, Exchange.headers(exchange))
      })
    )
  }, { routes, upstream: upstream.kind })

/** Longer than the idle timeout of common load balancers (60 s), so that they close a connection first. */
const keepAliveTimeout = 75_000

/** Node looks at the times of connections now and then only, by default each half minute. */
const requestTimes = (requestTimeout: Duration.Duration) => {
  const millis = Math.max(1, Math.ceil(Duration.toMillis(requestTimeout)))
  return { requestTimeout: millis, headersTimeout: millis, connectionsCheckingInterval: Math.min(1_000, millis) }
}

/**
 * Serves until the scope closes: then stops accepting, lets running requests end within `shutdownTimeout`, and answers the rest with an error.
 *
 * **Details**
 *
 * Returns the address it listens on. Fails with `ServeError` when it can not listen there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const serve = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<HttpServer["Service"]["address"], ServeError, DeepSeek.DeepSeek | Upstream | Scope.Scope> {
  const model = yield* DeepSeek.DeepSeek
  const upstream = yield* Upstream
  const server = createServer({ keepAliveTimeout, requireHostHeader: false, ...requestTimes(options.requestTimeout) })
  server.on("checkExpectation", (request, response) => server.emit("request", request, response))
  yield* halfOpen.accept(server)
  yield* unread.answer(server, { "x-ballast-upstream": upstream.kind })
  const shutdown = Shutdown.make(server, { timeout: options.shutdownTimeout })
  const http = yield* NodeHttpServer.make(() => server, {
    host: options.host,
    port: options.port,
    disablePreemptiveShutdown: true
  })
  yield* PolicyLog.make
  const checkKey = ClientKeys.make(options.clientKeys)
  const checkHost = HostCheck.make({
    onlyKnownHosts: options.clientKeys.length === 0 && Startup.isLoopback(options.host),
    allowedHosts: options.allowedHosts,
    allowedOrigins: options.allowedOrigins
  })
  const chat = ChatRoute.make({
    model,
    dialect: OpenAiChat.dialect,
    bodies: Body.make({ maxBodySize: options.maxBodySize, memory: options.bodyMemory }),
    streams: yield* EventStream.make(shutdown.cut),
    // `node:http` serves HTTP/1 only.
    out: (request) => NodeHttpServerRequest.toServerResponse(request) as ServerResponse
  })
  const app = makeApp(makeRoutes(model, chat, makeReady(upstream, checkKey, shutdown)), checkKey, checkHost, upstream)
  // Added before the requests' own, so it runs after they are interrupted.
  yield* Effect.addFinalizer(() => shutdown.closed)
  yield* http.serve(Effect.andThen(shutdown.admitted, app)).pipe(
    // `Exchange` makes the server span.
    Effect.provideService(HttpMiddleware.TracerDisabledWhen, () => true)
  )
  // Nothing here is upgraded: without a listener Node takes what offers to (`curl --http2`, for one) for a request like any other.
  server.removeAllListeners("upgrade")
  // Added last, so it runs before the requests are interrupted.
  yield* Effect.addFinalizer(() => shutdown.drain)
  return http.address
})
