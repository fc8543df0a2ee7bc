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
 * | `/v1/workflows`, `/v1/workflows/*` | workflows and their runs, where there are any (`WorkflowRoutes`) | yes, or an admin key |
 * | `POST /v1/feedback` | how good an answer was (`Feedback`) | yes |
 * | `POST /v1/estimate` | what a chat may cost (`Estimate`) | yes |
 * | `POST`, `GET /v1/files`, `GET`, `DELETE /v1/files/{id}`, all without `/v1` too | files of the account that keeps them | yes |
 * | `GET /user/balance` | the account's balance | yes |
 * | `/v2/*` | local models, by the Open Inference Protocol; see `InferenceRoutes` | yes, but for their health |
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
import * as Tokenizer from "@ballast/deepseek/Tokenizer"
import * as RateLimiterStore from "@ballast/resilience/RateLimiterStore"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { HttpServer } from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import { Redis } from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import * as Admin from "./Admin.ts"
import * as AlertBridge from "./AlertBridge.ts"
import * as BalanceReader from "./BalanceReader.ts"
import type * as Body from "./Body.ts"
import * as Budgets from "./Budgets.ts"
import * as ChatRoute from "./ChatRoute.ts"
import * as ClientLimits from "./ClientLimits.ts"
import * as Costs from "./Costs.ts"
import * as Estimate from "./Estimate.ts"
import * as EventStream from "./EventStream.ts"
import * as FailureLog from "./FailureLog.ts"
import * as Feedback from "./Feedback.ts"
import * as InferenceRoutes from "./InferenceRoutes.ts"
import { backlog } from "./internal/acceptQueue.ts"
import { makeAdmin, makeReady } from "./internal/gateway/admin.ts"
import { makeApp } from "./internal/gateway/app.ts"
import { follow, type Followed } from "./internal/gateway/live.ts"
import type { Options } from "./internal/gateway/options.ts"
import type { Response } from "./internal/gateway/response.ts"
import { makeServer } from "./internal/gateway/server.ts"
import { makeRoutes, metricsOf, ownPage, withoutAdmin } from "./internal/gateway/table.ts"
import { workflowRoutes } from "./internal/gateway/workflows.ts"
import * as halfOpen from "./internal/halfOpen.ts"
import { spentOf } from "./internal/ledger/spent.ts"
import * as TensorThread from "./internal/tensorThread.ts"
import * as unread from "./internal/unread.ts"
import * as LimitMetrics from "./LimitMetrics.ts"
import * as PolicyLog from "./PolicyLog.ts"
import * as Purges from "./Purges.ts"
import type * as Records from "./Records.ts"
import { type GatewaySettings, routing } from "./Settings.ts"
import * as Shutdown from "./Shutdown.ts"
import type { Upstream } from "./Upstream.ts"

export type { Options } from "./internal/gateway/options.ts"

/** Budgets, and where limits a minute are counted: in Redis where there is one, else in this process. */
const limitsIn = (
  { prices }: GatewaySettings,
  { redis }: Upstream,
  records: Records.Records | undefined
) => {
  const spent = spentOf(records, prices.currency)
  return redis === undefined
    ? Effect.succeed({ budgets: Budgets.memory(spent), store: undefined })
    : Effect.zipWith(
      Budgets.redis(redis, spent),
      Layer.build(Layer.provide(RateLimiterStore.layerStoreRedis(), Layer.succeed(Redis, redis))),
      (budgets, context) => ({ budgets, store: Context.get(context, RateLimiterStore.RateLimiterStore) })
    )
}

/** The routes, with what their handlers share. */
const routesOf = Effect.fnUntraced(function*(options: Options, followed: Followed, shutdown: Shutdown.Shutdown) {
  const { localModels, records, settings, upstream, worker } = options
  const { live, settings: current } = followed
  const bodies: Body.Bodies = {
    use: (request, answer) => live().bodies.use(request, answer),
    read: (request) => live().bodies.read(request),
    bytes: (request, kind) => live().bodies.bytes(request, kind)
  }
  const costs = yield* Costs.make(settings)
  const limits = yield* ClientLimits.make({
    costs,
    ...yield* limitsIn(current(), upstream, records),
    others: () => current().clientLimits
  })
  const streams = yield* EventStream.make(shutdown.cut)
  // As `makeServer` makes them.
  const out = (request: HttpServerRequest) => NodeHttpServerRequest.toServerResponse(request) as Response
  const { filesPlace, router: model } = upstream
  const admin = yield* Admin.make({ settings, routing, router: model })
  return makeRoutes(upstream, (model) => live().rename(model), {
    chat: (dialect) =>
      ChatRoute.make({ model, cached: model.answers, dialect, bodies, costs, limits, filesPlace, streams, out }),
    estimate: Estimate.make({
      bodies,
      settings: settings.current,
      pricing: costs.pricing,
      tokenizer: yield* Tokenizer.make()
    }),
    feedback: records && Feedback.make({ bodies, ledger: records.ledger }),
    ready: makeReady(options, live, shutdown),
    metrics: metricsOf(worker === undefined ? ownPage : yield* worker.metrics(ownPage)),
    admin: yield* makeAdmin(worker === undefined ? admin : yield* worker.admin(admin), live, options),
    more: [
      ...yield* AlertBridge.routes(bodies),
      ...localModels === undefined
        ? []
        : InferenceRoutes.make({ models: localModels, bodies, costs, limits, thread: yield* TensorThread.make() }),
      ...yield* workflowRoutes(options, live, {
        bodies,
        streams,
        out,
        costs,
        clientLimits: limits,
        stopping: () => shutdown.stopping() || (worker?.state().stoppingSince ?? null) !== null,
        limits: () => {
          const { maxInput, wait } = current().workflows
          return { maxInput: Number(maxInput), wait }
        }
      })
    ]
  })
})

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
  const { records, settings, upstream, worker } = options
  const first = yield* settings.current
  const { listen: { host, port }, telemetry } = first
  const { server, update } = makeServer(first)
  yield* halfOpen.accept(server)
  yield* unread.answer(server, () => ({ "x-ballast-upstream": upstream.kind() }))
  worker?.receive(server)
  const followed = yield* follow(options, update)
  const shutdown = Shutdown.make(server, {
    timeout: () => {
      const { shutdownTimeout } = followed.settings().limits
      // The primary has closed the port before.
      return worker === undefined ? shutdownTimeout : Duration.subtract(shutdownTimeout, worker.stoppingFor())
    }
  })
  const http = yield* NodeHttpServer.make(() => server, { host, port, backlog, disablePreemptiveShutdown: true })
  yield* PolicyLog.make
  yield* LimitMetrics.make
  if (records !== undefined) yield* Purges.follow(records.database, upstream.router.purge)
  // All workers have the same accounts.
  if (worker === undefined || worker.number === 1) {
    yield* BalanceReader.make({ router: upstream.router, interval: telemetry.balanceInterval })
  }
  const routes = withoutAdmin(yield* routesOf(options, followed, shutdown), followed.live)
  const app = makeApp(routes, followed.live, options, yield* FailureLog.make)
  // Added before the requests' own, so it runs after they are interrupted.
  yield* Effect.addFinalizer(() => shutdown.closed)
  yield* http.serve(shutdown.admit(app)).pipe(
    // `Exchange` makes the server span.
    Effect.provideService(HttpMiddleware.TracerDisabledWhen, () => true),
    // A request adds some twenty services. By default all are copied after eight.
    Effect.updateContext((context: Context.Context<Scope.Scope>) =>
      Context.makeUnsafe<Scope.Scope>(context.mapUnsafe, { maxDepth: 32 })
    )
  )
  // Nothing here is upgraded: without a listener Node takes what offers to (`curl --http2`, for one) for a request like any other.
  server.removeAllListeners("upgrade")
  // Added last, so it runs before the requests are interrupted.
  yield* Effect.addFinalizer(() => shutdown.drain)
  return http.address
})
