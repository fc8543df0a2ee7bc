/**
 * The gateway: an OpenAI-compatible server in front of the providers of its settings.
 *
 * | route | what for | key needed |
 * |---|---|---|
 * | `POST /v1/chat/completions`, `/chat/completions`, `/beta/chat/completions` | chat, whole or streamed | yes |
 * | `POST /v1/responses`, `/responses` | OpenAI's Responses, whole or streamed | yes |
 * | `POST /v1/completions`, `/beta/completions` | the completion of a text, with a suffix or without (FIM) | yes |
 * | `POST /v1/embeddings`, `/embeddings` | vectors of texts, where the model's provider has them | yes |
 * | `POST /v1/messages`, `/anthropic/v1/messages` | Anthropic's Messages, whole or streamed | yes |
 * | `POST /v1/messages/count_tokens`, `/anthropic/v1/messages/count_tokens` | how many tokens a message has | yes |
 * | `GET /v1/models`, `/models` | the models of the settings and of the service | yes |
 * | `GET /v1/models/{id}`, `/models/{id}` | one of them | yes |
 * | `POST /v1/feedback` | how good an answer was (`Feedback`) | yes |
 * | `POST /v1/estimate` | what a chat may cost (`Estimate`) | yes |
 * | `POST`, `GET /v1/files`, `GET`, `DELETE /v1/files/{id}`, all without `/v1` too | files of the account that keeps them | yes |
 * | `GET /user/balance` | the account's balance | yes |
 * | `GET /metrics` | metrics as OpenMetrics or Prometheus' text | yes, or an admin key: they tell what is used, and how much |
 * | `POST /ops/dingtalk`, `/ops/feishu`, `/ops/wecom` | alerts, passed on to a chat robot that is configured (`AlertBridge`) | yes |
 * | `GET /healthz` | the process is alive | no |
 * | `/admin`, `/admin/*` | what an operator sees and steers; see `AdminApi` | an admin key; without admin keys it is not there |
 * | `GET /readyz` | ready for traffic: `503` while stopping, or while a worker is missing | no, but for the names of circuits and why settings were refused |
 *
 * A key is needed only when client keys are configured; it comes as `Authorization: Bearer` or as `x-api-key`. `HEAD` works where `GET` does, `OPTIONS` lists the methods. Every answer
 * carries `x-request-id` and `x-ballast-upstream`; an answer to a call says who gave it (`x-ballast-provider`, `-model`, `-arm`) and after
 * how many attempts (`x-ballast-attempts`). There are no CORS headers: keys do not belong into web pages.
 *
 * @since 0.1.0
 */
import { CurrentHeaders } from "@ballast/deepseek/Source"
import { CurrentTenant } from "@ballast/resilience/ConcurrencyLimit"
import { IsLearning } from "@ballast/router/KeyPool"
import * as Settings from "@ballast/settings/Settings"
import * as OpenMetrics from "@ballast/telemetry/OpenMetrics"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { HttpServer } from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { createServer, type ServerResponse } from "node:http"
import { createServer as createSecureServer } from "node:https"
import * as Admin from "./Admin.ts"
import * as AlertBridge from "./AlertBridge.ts"
import * as AnthropicMessages from "./AnthropicMessages.ts"
import * as BalanceReader from "./BalanceReader.ts"
import * as Body from "./Body.ts"
import * as Budgets from "./Budgets.ts"
import * as ChatRoute from "./ChatRoute.ts"
import * as Client from "./Client.ts"
import * as ClientKeys from "./ClientKeys.ts"
import * as ClientLimits from "./ClientLimits.ts"
import * as Costs from "./Costs.ts"
import type { Dialect } from "./Dialect.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as Estimate from "./Estimate.ts"
import * as EventStream from "./EventStream.ts"
import { isClientGone } from "./EventStream.ts"
import * as Exchange from "./Exchange.ts"
import * as FailureLog from "./FailureLog.ts"
import * as Feedback from "./Feedback.ts"
import * as FilesRoute from "./FilesRoute.ts"
import * as HostCheck from "./HostCheck.ts"
import * as addresses from "./internal/addresses.ts"
import * as circuits from "./internal/circuits.ts"
import * as halfOpen from "./internal/halfOpen.ts"
import { callOf } from "./internal/ledger/callOf.ts"
import { spentOf } from "./internal/ledger/spent.ts"
import * as SharedRedis from "./internal/sharedRedis.ts"
import * as unread from "./internal/unread.ts"
import type { Page } from "./internal/workerMessages.ts"
import * as LimitMetrics from "./LimitMetrics.ts"
import * as Models from "./Models.ts"
import * as OpenAiChat from "./OpenAiChat.ts"
import * as OpenAiCompletions from "./OpenAiCompletions.ts"
import * as OpenAiEmbeddings from "./OpenAiEmbeddings.ts"
import * as OpenAiResponses from "./OpenAiResponses.ts"
import * as PolicyLog from "./PolicyLog.ts"
import type * as Records from "./Records.ts"
import { Rejection } from "./Rejection.ts"
import * as Routes from "./Routes.ts"
import { type GatewaySettings, others, routing } from "./Settings.ts"
import * as Shutdown from "./Shutdown.ts"
import * as Startup from "./Startup.ts"
import type { Upstream } from "./Upstream.ts"
import type * as Worker from "./Worker.ts"

/**
 * What a gateway stands on, and what steers it. The policies are in the registry at hand.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly settings: Settings.Settings<GatewaySettings>
  readonly upstream: Upstream
  /** The other processes of this gateway, when this is one of several. */
  readonly worker?: Worker.Worker | undefined
  /** What is kept of its calls. Default: nothing. */
  readonly records?: Records.Records | undefined
}

const json = (body: unknown, status = 200) => HttpServerResponse.jsonUnsafe(body, { status })

const ownPage = (format: Page): Effect.Effect<string> =>
  format === "openMetrics" ? OpenMetrics.format : Effect.flatMap(
    Effect.promise(() => import("effect/observability/PrometheusMetrics")),
    (PrometheusMetrics) => PrometheusMetrics.format()
  )

const contentTypes: Readonly<Record<Page, string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openMetrics: OpenMetrics.contentType
}

const metricsOf = (page: (format: Page) => Effect.Effect<string>): Routes.Handler => (_, { headers }) => {
  const format = OpenMetrics.isWanted(headers["accept"]) ? "openMetrics" : "prometheus"
  return Effect.map(
    page(format),
    (text) => HttpServerResponse.text(text, { contentType: contentTypes[format], headers: { vary: "accept" } })
  )
}

const twice = (path: `/${string}`, route: Omit<Routes.Route, "path">): ReadonlyArray<Routes.Route> => [
  { ...route, path: `/v1${path}` },
  { ...route, path }
]

/** Each is served on the road of chat. */
const dialectsOf = (
  rename: AnthropicMessages.Rename
): ReadonlyArray<{ readonly dialect: Dialect; readonly paths: ReadonlyArray<Routes.Route["path"]> }> => [
  { dialect: OpenAiChat.dialect, paths: ["/v1/chat/completions", "/chat/completions", "/beta/chat/completions"] },
  { dialect: OpenAiResponses.dialect, paths: ["/v1/responses", "/responses"] },
  { dialect: OpenAiCompletions.dialect, paths: ["/v1/completions", "/beta/completions"] },
  { dialect: OpenAiEmbeddings.dialect, paths: ["/v1/embeddings", "/embeddings"] },
  {
    dialect: AnthropicMessages.messages(rename),
    paths: ["/v1/messages", "/anthropic/v1/messages", "/anthropic/messages"]
  },
  {
    dialect: AnthropicMessages.countTokens(rename),
    paths: ["/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens"]
  }
]

const makeRoutes = (
  { upstream }: Options,
  dialects: ReturnType<typeof dialectsOf>,
  chat: (dialect: Dialect) => Routes.Handler,
  estimate: Routes.Handler,
  feedback: Routes.Handler | undefined,
  ready: Routes.Handler,
  metrics: Routes.Handler,
  admin: Routes.Handler,
  alerts: ReadonlyArray<Routes.Route>
): Routes.Routes =>
  Routes.make([
    ...alerts,
    ...dialects.flatMap(({ dialect, paths }) => {
      const POST = chat(dialect)
      return paths.map((path): Routes.Route => ({ path, methods: { POST }, dialect }))
    }),
    ...twice("/models", { methods: { GET: ({ client }) => Models.all(upstream.models, client) } }),
    // Names of models may have slashes.
    ...["/v1/models", "/models"].map((path): Routes.Route => ({
      path: `${path as "/models"}/*`,
      name: `${path}/{id}`,
      methods: { GET: ({ client, params }) => Models.one(upstream.models, params["*"] ?? "", client) }
    })),
    { path: "/v1/estimate", methods: { POST: estimate } },
    ...(feedback === undefined ? [] : [{ path: "/v1/feedback", methods: { POST: feedback } } as const]),
    ...FilesRoute.make(upstream).flatMap(({ path, ...route }) => twice(path, route)),
    { path: "/user/balance", methods: { GET: () => Effect.map(upstream.balance, (balance) => json(balance)) } },
    { path: "/healthz", methods: { GET: () => Effect.succeed(json({ status: "ok" })) }, open: true, quiet: true },
    { path: "/readyz", methods: { GET: ready }, open: true, quiet: true },
    { path: "/metrics", methods: { GET: metrics }, quiet: true, admins: true },
    ...(["/admin", "/admin/*"] as const).map((path): Routes.Route => ({
      path,
      name: "/admin/*",
      methods: { GET: admin, POST: admin, DELETE: admin },
      // It has keys of its own.
      open: true
    }))
  ])

/** Without admin keys there is no `/admin`. */
const withoutAdmin = (routes: Routes.Routes, live: () => Live): Routes.Routes => (path) => {
  const found = routes(path)
  return found?.route.name === "/admin/*" && Object.keys(live().admins).length === 0 ? undefined : found
}

/** The admin API, loaded at its first request. */
const makeAdmin = Effect.fnUntraced(function*(
  admin: Admin.Admin,
  live: () => Live,
  records: Records.Records | undefined
) {
  const context = yield* Effect.context<Scope.Scope>()
  const app = yield* Effect.promise(() => import("./internal/adminApp.ts")).pipe(
    Effect.flatMap(({ make }) =>
      make(admin, (key) => live().checkAdmin(`Bearer ${key}`), { records, clients: () => live().clients })
    ),
    // Not that of the first request: the handlers would keep it, with its key.
    Effect.updateContext((_: Context.Context<never>) => context),
    Effect.cached
  )
  const handler: Routes.Handler = (exchange, request) =>
    Effect.flatten(app).pipe(
      Effect.provideService(HttpServerRequest, request),
      Effect.mapError(({ reason }) =>
        reason._tag === "RouteNotFound"
          ? Routes.unknownRoute(exchange.path)
          : new Rejection({ case: "MalformedRequest", detail: "The request can not be read." })
      )
    )
  return handler
})

const refusalOf = ({ at, error }: NonNullable<Settings.Status["refusal"]>) => ({
  at,
  problems: error.message.split("\n")
})

/** An open circuit does not make a gateway unready: the others have the same upstream, and all would leave the balancer at once. */
const makeReady =
  ({ settings, upstream, worker }: Options, live: () => Live, shutdown: Shutdown.Shutdown): Routes.Handler =>
  (_, request) =>
    Effect.gen(function*() {
      const workers = worker?.state()
      const status = shutdown.stopping() || workers !== undefined && workers.stoppingSince !== null
        ? "stopping"
        : workers !== undefined && workers.ready < workers.of
        ? "starting"
        : "ready"
      const isKnown = yield* Effect.isSuccess(
        live().checkKey(request.headers["authorization"], addressOf(request, live()))
      )
      const { refusal, revision, since } = yield* settings.status
      return json({
        status,
        ...(workers === undefined ? undefined : { workers: { ready: workers.ready, of: workers.of } }),
        upstream: upstream.kind(),
        circuits: yield* isKnown ? circuits.states : circuits.counts,
        settings: {
          revision,
          since,
          // What is wrong with them is for those who may know their names.
          refused: refusal === undefined ? false : isKnown ? refusalOf(refusal) : true
        }
      }, status === "ready" ? 200 : 503)
    })

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

/** Where a client's key is: clients of Anthropic's send it alone, under a name of its own. */
const authorizationOf = ({ headers }: HttpServerRequest): string | undefined => {
  const key = headers["x-api-key"]
  return headers["authorization"] ?? (key === undefined ? undefined : `Bearer ${key}`)
}

/** Where a request comes from, behind the trusted proxies. */
const addressOf = (request: HttpServerRequest, { trusted }: Live) => (): string | undefined =>
  addresses.origin(
    NodeHttpServerRequest.toIncomingMessage(request).socket.remoteAddress,
    request.headers["x-forwarded-for"],
    trusted
  )

/** Who calls a route that is not open. */
const callerOf = (
  live: Live,
  route: Routes.Route | undefined,
  request: HttpServerRequest
): Effect.Effect<Client.Client, Rejection> => {
  const { admins, checkAdmin, checkKey } = live
  const authorization = authorizationOf(request)
  const client = checkKey(authorization, addressOf(request, live))
  return route?.admins === true && Object.keys(admins).length > 0
    ? Effect.catch(client, (refused) => Effect.mapError(checkAdmin(authorization), () => refused))
    : client
}

/** Checks the head, the method and the key, and runs the route's handler. */
const dispatch = (
  live: Live,
  route: Routes.Route | undefined,
  exchange: Exchange.Exchange,
  request: HttpServerRequest
): ReturnType<Routes.Handler> => {
  const refused = live.checkHost(NodeHttpServerRequest.toIncomingMessage(request)) ?? checkHead(request)
  if (refused !== undefined) return Effect.fail(refused)
  return Effect.flatMap(
    Routes.dispatch(route, exchange),
    (handler) =>
      route?.open === true || exchange.method === "OPTIONS"
        ? handler(exchange, request)
        : Effect.flatMap(
          callerOf(live, route, request),
          (client) => as(client, handler)(exchange, request)
        )
  )
}

/** Turns every failure into an answer, and an interruption too, unless it is the client who went away. */
const answer = (dialect: Dialect, exchange: Exchange.Exchange, cause: Cause.Cause<ErrorResponse.Failure>) => {
  const isInterrupted = Cause.hasInterruptsOnly(cause)
  if (isInterrupted && isClientGone(cause)) return Effect.failCause(cause as Cause.Cause<never>) // only interruptions in it
  const error = isInterrupted ? ErrorResponse.make(Shutdown.stopped) : ErrorResponse.fromCause(cause)
  Exchange.fail(exchange, error, cause)
  return Effect.succeed(ErrorResponse.toResponse(error, dialect.error(error)))
}

/** Lets a client try a simulator's faults; DeepSeek never sees its clients' headers. */
const simulated = <A, E, R>(handled: Effect.Effect<A, E, R>, request: HttpServerRequest): Effect.Effect<A, E, R> => {
  const faults = request.headers["x-simulate"]
  return faults === undefined
    ? handled
    : handled.pipe(
      Effect.provideService(CurrentHeaders, { "x-simulate": faults }),
      Effect.provideService(IsLearning, false)
    )
}

/** What follows the settings: replaced as a whole. */
interface Live {
  readonly clients: ClientKeys.Clients
  readonly checkKey: ClientKeys.ClientKeys
  /** Proxies whose x-forwarded-for counts. */
  readonly trusted: addresses.Addresses
  readonly checkHost: ReturnType<typeof HostCheck.make>
  readonly bodies: Body.Bodies
  readonly rename: AnthropicMessages.Rename
  readonly admins: ClientKeys.Clients
  readonly checkAdmin: ClientKeys.ClientKeys
}

const adminsOf = ({ admin }: GatewaySettings): ClientKeys.Clients =>
  Object.fromEntries(Object.entries(admin.keys).map(([name, keys]) => [name, { keys, labels: {} }]))

const makeLive = (settings: GatewaySettings, host: string, records: Records.Records | undefined): Live =>
  makeLiveOf(settings, host, adminsOf(settings), records?.clients)

const makeLiveOf = (
  settings: GatewaySettings,
  host: string,
  admins: ClientKeys.Clients,
  more: ClientKeys.More | undefined
): Live => {
  const { clients, limits, listen, messages } = settings
  return {
    admins,
    rename: AnthropicMessages.renames(messages.models, routing(settings).models, others),
    checkAdmin: ClientKeys.make(admins),
    clients,
    checkKey: ClientKeys.make(clients, { more, required: listen.keysRequired }),
    trusted: addresses.make(listen.trustedProxies),
    checkHost: HostCheck.make({
      onlyKnownHosts: Object.keys(clients).length === 0 && !listen.keysRequired && Startup.isLoopback(host),
      allowedHosts: listen.allowedHosts,
      allowedOrigins: listen.allowedOrigins
    }),
    bodies: Body.make({
      maxBodySize: Number(limits.maxBodySize),
      memory: limits.bodyMemory === undefined ? undefined : Number(limits.bodyMemory)
    })
  }
}

const headersOf = (exchange: Exchange.Exchange, dialect: Dialect | undefined) => ({
  ...Exchange.headers(exchange),
  ...dialect?.headers?.(exchange.id)
})

const makeApp = (
  routes: Routes.Routes,
  live: () => Live,
  { records, upstream }: Options,
  failed: (exchange: Exchange.Exchange) => Effect.Effect<void>
) =>
  Exchange.observe((exchange, request, route) => {
    const handled = Effect.suspend(() => dispatch(live(), route, exchange, request))
    const interruptible = Effect.interruptible(upstream.takesFaults() ? simulated(handled, request) : handled)
    return interruptible.pipe(
      Effect.catchCause((cause) => answer(route?.dialect ?? OpenAiChat.dialect, exchange, cause)),
      Effect.map((response) => {
        Exchange.begin(exchange, response.status)
        return HttpServerResponse.setHeaders(response, headersOf(exchange, route?.dialect))
      })
    )
  }, {
    routes,
    upstream: upstream.kind,
    failed,
    ended: records && ((exchange, began, millis) => {
      const call = callOf(exchange, began, millis)
      if (call !== undefined) records.ledger.record(call)
    })
  })

/** What is read once, at the start. */
const fixed = ({ center, database, ledger, listen: { host, port, tls, workers }, telemetry }: GatewaySettings) => ({
  center,
  database,
  ledger,
  "listen.host": host,
  "listen.port": port,
  "listen.tls": tls !== undefined,
  "listen.workers": workers,
  telemetry
})

/** Says which changes have to wait for a restart. */
const warnOfRestart = (before: GatewaySettings, after: GatewaySettings): Effect.Effect<void> => {
  const [from, to] = [fixed(before), fixed(after)]
  const changed = Object.entries(to).flatMap(([name, value]) =>
    Equal.equals(from[name as keyof typeof from], value) ? [] : [name]
  )
  return changed.length === 0 ? Effect.void : Effect.logWarning("restart needed", { settings: changed })
}

type Tls = NonNullable<GatewaySettings["listen"]["tls"]>

/** Budgets in Redis where there is one, else in this process. */
const budgetsOf = ({ prices, redis }: GatewaySettings, records: Records.Records | undefined) => {
  const spent = spentOf(records, prices.currency)
  return redis === undefined
    ? Effect.succeed(Budgets.memory(spent))
    : Effect.map(SharedRedis.connect(redis.url), (client) => Budgets.redis(client, spent))
}

const contextOf = ({ certificate, key }: Tls) => ({ cert: certificate, key: Redacted.value(key) })

/** The server, and how a new certificate is taken up: connections from now on have it. */
const makeServer = ({ limits, listen: { tls } }: GatewaySettings) => {
  const options = { keepAliveTimeout, requireHostHeader: false, ...requestTimes(limits.requestTimeout) }
  if (tls === undefined) return { server: createServer(options), renew: () => {} }
  const server = createSecureServer({ ...options, ...contextOf(tls) })
  return { server, renew: (tls: Tls) => server.setSecureContext(contextOf(tls)) }
}

/** Longer than the idle timeout of common load balancers (60 s), so that they close a connection first. */
const keepAliveTimeout = 75_000

const requestMillis = (requestTimeout: Duration.Duration): number =>
  Math.max(1, Math.ceil(Duration.toMillis(requestTimeout)))

/** Node looks at the times of connections now and then only, by default each half minute. */
const requestTimes = (requestTimeout: Duration.Duration) => {
  const millis = requestMillis(requestTimeout)
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
): Effect.fn.Return<HttpServer["Service"]["address"], ServeError, Scope.Scope> {
  const { settings, upstream, worker } = options
  const first = yield* settings.current
  let shutdownTimeout = first.limits.shutdownTimeout
  const { renew, server } = makeServer(first)
  server.on("checkExpectation", (request, response) => server.emit("request", request, response))
  yield* halfOpen.accept(server)
  yield* unread.answer(server, () => ({ "x-ballast-upstream": upstream.kind() }))
  worker?.receive(server)
  const shutdown = Shutdown.make(server, {
    // The primary has closed the port before.
    timeout: () => worker === undefined ? shutdownTimeout : Duration.subtract(shutdownTimeout, worker.stoppingFor())
  })
  const http = yield* NodeHttpServer.make(() => server, {
    host: first.listen.host,
    port: first.listen.port,
    disablePreemptiveShutdown: true
  })
  yield* PolicyLog.make
  yield* LimitMetrics.make
  // All workers have the same accounts.
  if (worker === undefined || worker.number === 1) {
    yield* BalanceReader.make({ router: upstream.router, interval: first.telemetry.balanceInterval })
  }
  let live = makeLive(first, first.listen.host, options.records)
  yield* Settings.follow(settings, (next) =>
    Effect.suspend(() => {
      live = makeLive(next, first.listen.host, options.records)
      shutdownTimeout = next.limits.shutdownTimeout
      server.requestTimeout = server.headersTimeout = requestMillis(next.limits.requestTimeout)
      if (next.listen.tls !== undefined) renew(next.listen.tls)
      return warnOfRestart(first, next)
    }))
  const bodies: Body.Bodies = { read: (request) => Effect.suspend(() => live.bodies.read(request)) }
  const costs = yield* Costs.make(settings)
  let limited = first
  yield* Settings.follow(settings, (next) => Effect.sync(() => limited = next))
  const limits = yield* ClientLimits.make({
    bound: costs.bound,
    budgets: yield* budgetsOf(first, options.records),
    others: () => limited.clientLimits
  })
  const streams = yield* EventStream.make(shutdown.cut)
  const chat = (dialect: Dialect) =>
    ChatRoute.make({
      model: upstream.router,
      dialect,
      bodies,
      costs,
      limits,
      filesPlace: upstream.filesPlace,
      streams,
      // `node:http` serves HTTP/1 only.
      out: (request) => NodeHttpServerRequest.toServerResponse(request) as ServerResponse
    })
  const ready = makeReady(options, () => live, shutdown)
  const admin = yield* Admin.make({ settings, routing, router: upstream.router })
  const routes = makeRoutes(
    options,
    dialectsOf((model) => live.rename(model)),
    chat,
    Estimate.make({ bodies, settings: settings.current, pricing: costs.pricing }),
    options.records && Feedback.make({ bodies, database: options.records.database }),
    ready,
    metricsOf(worker === undefined ? ownPage : yield* worker.metrics(ownPage)),
    yield* makeAdmin(worker === undefined ? admin : yield* worker.admin(admin), () => live, options.records),
    yield* AlertBridge.routes(bodies)
  )
  const app = makeApp(withoutAdmin(routes, () => live), () => live, options, yield* FailureLog.make)
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
