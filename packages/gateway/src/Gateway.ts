/**
 * The gateway: an OpenAI-compatible server in front of `DeepSeek`.
 *
 * | route | what for | key needed |
 * |---|---|---|
 * | `POST /v1/chat/completions`, `/chat/completions` | chat, whole or streamed | yes |
 * | `GET /v1/models`, `/models` | the service's models | yes |
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
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { HttpServer } from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import * as ChatCompletions from "./ChatCompletions.ts"
import * as ClientKeys from "./ClientKeys.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as Exchange from "./Exchange.ts"
import * as HostCheck from "./HostCheck.ts"
import * as circuits from "./internal/circuits.ts"
import * as unread from "./internal/unread.ts"
import { Rejection } from "./Rejection.ts"
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
  /** Origins of web pages that may call, beside those that are same-site. */
  readonly allowedOrigins: ReadonlyArray<string>
  /** How long requests may run on when the scope closes. */
  readonly shutdownTimeout: Duration.Duration
}

type Handler = (
  exchange: Exchange.Exchange,
  request: HttpServerRequest
) => Effect.Effect<HttpServerResponse.HttpServerResponse, ErrorResponse.Failure, Scope.Scope>

interface Route {
  readonly method: "GET" | "POST"
  readonly handle: Handler
  /** Needs no client key. */
  readonly open?: boolean
}

const get = (handle: Handler, options?: Pick<Route, "open">): Route => ({ method: "GET", handle, ...options })

const post = (handle: Handler): Route => ({ method: "POST", handle })

const json = (body: unknown, status = 200) => HttpServerResponse.jsonUnsafe(body, { status })

const metrics: Handler = () =>
  Effect.promise(() => import("effect/observability/PrometheusMetrics")).pipe(
    Effect.flatMap((PrometheusMetrics) => PrometheusMetrics.format()),
    Effect.map((text) => HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" }))
  )

const makeRoutes = (
  model: DeepSeek.DeepSeek["Service"],
  upstream: Upstream["Service"],
  checkKey: ClientKeys.ClientKeys,
  shutdown: Shutdown.Shutdown
): ReadonlyMap<string, Route> => {
  const chat = post(ChatCompletions.handle(model, shutdown.cut))
  const models = get(() => Effect.map(model.models, (list) => json(list)))
  // An open circuit does not make a gateway unready: the others have the same upstream, and all would leave the balancer at once.
  const ready: Handler = (_, request) =>
    checkKey(request.headers["authorization"]).pipe(
      Effect.matchEffect({ onSuccess: () => circuits.states, onFailure: () => circuits.counts }),
      Effect.map((circuits) =>
        shutdown.stopping()
          ? json({ status: "stopping", upstream: upstream.kind, circuits }, 503)
          : json({ status: "ready", upstream: upstream.kind, circuits })
      )
    )
  return new Map([
    ["/v1/chat/completions", chat],
    ["/chat/completions", chat],
    ["/v1/models", models],
    ["/models", models],
    ["/user/balance", get(() => Effect.map(model.balance, (balance) => json(balance)))],
    ["/healthz", get(() => Effect.succeed(json({ status: "ok" })), { open: true })],
    ["/readyz", get(ready, { open: true })],
    ["/metrics", get(metrics)]
  ])
}

const quiet: ReadonlySet<string> = new Set(["/healthz", "/readyz", "/metrics"])

const methodsOf = (route: Route): string => route.method === "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS"

const unknownRoute = (path: string) =>
  new Rejection({
    case: "UnknownRoute",
    detail: `There is no ${path} here. Chat is at POST /v1/chat/completions, the models are at GET /v1/models.`
  })

const wrongMethod = (route: Route, { method, path }: Exchange.Exchange) =>
  new Rejection({
    case: "MethodNotAllowed",
    detail: `${path} takes ${route.method}, not ${method}.`,
    allow: methodsOf(route)
  })

const unmet = new Rejection({
  case: "ExpectationFailed",
  detail: "The header `expect` asks for what the gateway does not know. It knows 100-continue."
})

/** What `node:http` would refuse by itself, without a body. */
const checkHead = ({ headers }: HttpServerRequest): Rejection | undefined =>
  headers["expect"] === undefined || /\b100-continue\b/i.test(headers["expect"]) ? undefined : unmet

/** Checks the head, chooses the route and checks the method and the key. */
const dispatch = (
  routes: ReadonlyMap<string, Route>,
  checkKey: ClientKeys.ClientKeys,
  checkHost: ReturnType<typeof HostCheck.make>
): Handler =>
(exchange, request) => {
  const refused = checkHost(NodeHttpServerRequest.toIncomingMessage(request)) ?? checkHead(request)
  if (refused !== undefined) return Effect.fail(refused)
  const route = routes.get(exchange.path)
  if (route === undefined) return Effect.fail(unknownRoute(exchange.path))
  if (exchange.method === "OPTIONS") {
    return Effect.succeed(HttpServerResponse.empty({ headers: { allow: methodsOf(route) } }))
  }
  const method = exchange.method === "HEAD" ? "GET" : exchange.method
  if (method !== route.method) return Effect.fail(wrongMethod(route, exchange))
  return route.open === true
    ? route.handle(exchange, request)
    : Effect.andThen(
      checkKey(request.headers["authorization"]),
      Effect.suspend(() => route.handle(exchange, request))
    )
}

/** Turns every failure into an answer, and an interruption too, unless it is the client who went away. */
const answer = (exchange: Exchange.Exchange, cause: Cause.Cause<ErrorResponse.Failure>) => {
  const isInterrupted = Cause.hasInterruptsOnly(cause)
  if (isInterrupted && Exchange.isClientGone(cause)) return Effect.failCause(cause as Cause.Cause<never>) // only interruptions in it
  const error = isInterrupted ? ErrorResponse.make(Shutdown.stopped) : ErrorResponse.fromCause(cause)
  Exchange.fail(exchange, error)
  const response = Effect.succeed(ErrorResponse.toResponse(error))
  return Cause.hasDies(cause)
    ? Effect.andThen(Effect.logError("a request failed with a defect", cause), response)
    : response
}

/** Lets a client try the simulator's faults; DeepSeek never sees its clients' headers. */
const simulated = (handle: Handler): Handler => (exchange, request) => {
  const faults = request.headers["x-simulate"]
  return faults === undefined
    ? handle(exchange, request)
    : Effect.provideService(handle(exchange, request), DeepSeek.CurrentHeaders, { "x-simulate": faults })
}

const makeApp = (
  routes: ReadonlyMap<string, Route>,
  checkKey: ClientKeys.ClientKeys,
  checkHost: ReturnType<typeof HostCheck.make>,
  upstream: Upstream["Service"]
) => {
  const plain = dispatch(routes, checkKey, checkHost)
  const handle = upstream.kind === "simulator" ? simulated(plain) : plain
  return Exchange.observe((exchange, request) =>
    Effect.interruptible(handle(exchange, request)).pipe(
      Effect.catchCause((cause) => answer(exchange, cause)),
      Effect.map((response) => {
        exchange.status = response.status
        return HttpServerResponse.setHeaders(response, {
          "x-request-id": exchange.id,
          "x-ballast-upstream": upstream.kind
        })
      })
    ), { routes, quiet })
}

/** Longer than the idle timeout of common load balancers (60 s), so that they close a connection first. */
const keepAliveTimeout = 75_000

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
  const server = createServer({ keepAliveTimeout, requireHostHeader: false })
  server.on("checkExpectation", (request, response) => server.emit("request", request, response))
  yield* unread.answer(server, { "x-ballast-upstream": upstream.kind })
  const shutdown = Shutdown.make(server, { timeout: options.shutdownTimeout })
  const http = yield* NodeHttpServer.make(() => server, {
    host: options.host,
    port: options.port,
    disablePreemptiveShutdown: true
  })
  const checkKey = ClientKeys.make(options.clientKeys)
  const checkHost = HostCheck.make({
    onlyKnownHosts: options.clientKeys.length === 0 && Startup.isLoopback(options.host),
    allowedHosts: options.allowedHosts,
    allowedOrigins: options.allowedOrigins
  })
  const app = makeApp(makeRoutes(model, upstream, checkKey, shutdown), checkKey, checkHost, upstream)
  // Added before the requests' own, so it runs after they are interrupted.
  yield* Effect.addFinalizer(() => shutdown.closed)
  yield* http.serve(app).pipe(
    // `Exchange` makes the server span.
    Effect.provideService(HttpMiddleware.TracerDisabledWhen, () => true)
  )
  // Nothing here is upgraded: without a listener Node takes what offers to (`curl --http2`, for one) for a request like any other.
  server.removeAllListeners("upgrade")
  // Added last, so it runs before the requests are interrupted.
  yield* Effect.addFinalizer(() => shutdown.drain)
  return http.address
})
