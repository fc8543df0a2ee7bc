/** The routes of a gateway. */
import * as OpenMetrics from "@ballast/telemetry/OpenMetrics"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as AnthropicMessages from "../../AnthropicMessages.ts"
import type { Dialect } from "../../Dialect.ts"
import * as FilesRoute from "../../FilesRoute.ts"
import * as Models from "../../Models.ts"
import * as OpenAiChat from "../../OpenAiChat.ts"
import * as OpenAiCompletions from "../../OpenAiCompletions.ts"
import * as OpenAiEmbeddings from "../../OpenAiEmbeddings.ts"
import * as OpenAiResponses from "../../OpenAiResponses.ts"
import * as Routes from "../../Routes.ts"
import type { Upstream } from "../../Upstream.ts"
import type { Page } from "../workerMessages.ts"
import type { Live } from "./live.ts"

/** An answer that is JSON. */
export const json = (body: unknown, status = 200) => HttpServerResponse.jsonUnsafe(body, { status })

export const ownPage = (format: Page): Effect.Effect<string> =>
  format === "openMetrics" ? OpenMetrics.format : Effect.flatMap(
    Effect.promise(() => import("effect/observability/PrometheusMetrics")),
    (PrometheusMetrics) => PrometheusMetrics.format()
  )

const contentTypes: Readonly<Record<Page, string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openMetrics: OpenMetrics.contentType
}

export const metricsOf = (page: (format: Page) => Effect.Effect<string>): Routes.Handler => (_, { headers }) => {
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

export interface Handlers {
  readonly chat: (dialect: Dialect) => Routes.Handler
  readonly estimate: Routes.Handler
  /** Undefined where nothing is kept. */
  readonly feedback: Routes.Handler | undefined
  readonly ready: Routes.Handler
  readonly metrics: Routes.Handler
  readonly admin: Routes.Handler
  /** Routes that some gateways have. */
  readonly more: ReadonlyArray<Routes.Route>
}

export const makeRoutes = (
  upstream: Upstream,
  rename: AnthropicMessages.Rename,
  { admin, chat, estimate, feedback, metrics, more, ready }: Handlers
): Routes.Routes =>
  Routes.make([
    ...more,
    ...dialectsOf(rename).flatMap(({ dialect, paths }) => {
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
      methods: { GET: admin, POST: admin, PUT: admin, PATCH: admin, DELETE: admin },
      // It has keys of its own.
      open: true
    }))
  ])

/** Without admin keys there is no `/admin`. */
export const withoutAdmin = (routes: Routes.Routes, live: () => Live): Routes.Routes => (path) => {
  const found = routes(path)
  return found?.route.name === "/admin/*" && Object.keys(live().admins).length === 0 ? undefined : found
}
