/**
 * What the gateway stands in front of: the providers and models of its settings as a router that follows them.
 *
 * Providers of the types `simulator` and `local` are embedded: they answer in memory, behind the same client with the same policies, so a gateway
 * without a key behaves like one with a key, faults on demand included. Only what is used is loaded.
 *
 * @since 0.1.0
 */
import type { Balance } from "@ballast/chat/Balance"
import type * as ChatError from "@ballast/chat/ChatError"
import type { ModelInfo, ModelList } from "@ballast/chat/ModelList"
import * as Files from "@ballast/deepseek/Files"
import * as Lane from "@ballast/deepseek/Lane"
import * as Policy from "@ballast/resilience/Policy"
import * as RateLimiterStore from "@ballast/resilience/RateLimiterStore"
import * as AnswerStore from "@ballast/router/AnswerStore"
import type * as CallContext from "@ballast/router/CallContext"
import * as Router from "@ballast/router/Router"
import type * as RouterSettings from "@ballast/router/RouterSettings"
import * as Settings from "@ballast/settings/Settings"
import * as Fault from "@ballast/simulator/Fault"
import type { SimulatorOptions } from "@ballast/simulator/SimulatorOptions"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import { Redis } from "effect/persistence/Redis"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as SharedRedis from "./internal/sharedRedis.ts"
import { Rejection } from "./Rejection.ts"
import { filesPlace, type GatewaySettings, others, policies, routing, takesFaults } from "./Settings.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Upstream {
  readonly router: Router.Router
  /** The Redis of the settings, if they name one. */
  readonly redis: Redis["Service"] | undefined
  /** The models of the settings, and those of the provider that takes all others. */
  readonly models: Effect.Effect<ModelList, Lane.CallError>
  /** What is left of the money at the first provider that says it. */
  readonly balance: Effect.Effect<Balance, Lane.CallError | Rejection>
  /** The files of the account that keeps them. */
  readonly files: Effect.Effect<Files.Files<Lane.CallError>, Rejection>
  /** That account. */
  readonly filesPlace: () => CallContext.Place | undefined
  /** The value of `x-ballast-upstream`: `simulator`, or the name of the provider, by default the first. */
  readonly kind: (provider?: string) => string
  /** Whether a client's `x-simulate` goes on. */
  readonly takesFaults: () => boolean
}

/**
 * What is in front of whom, for people.
 *
 * @category models
 * @since 0.1.0
 */
export interface Description {
  readonly simulated: boolean
  readonly text: string
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** What all providers are called by. Default: undici, and the embedded simulator for its type. */
  readonly client?: HttpClient.HttpClient | undefined
  /** What providers of the type `local` are called by. Default: their calls fail. */
  readonly local?: HttpClient.HttpClient | undefined
}

const isSimulated = ({ type }: RouterSettings.ProviderSettings): boolean => type === "simulator"

/**
 * Describes the providers of settings.
 *
 * @category accessors
 * @since 0.1.0
 */
export const describe = ({ providers }: Pick<RouterSettings.RouterSettings, "providers">): Description => ({
  simulated: Object.values(providers).every(isSimulated),
  text: Object.entries(providers).map(([name, { baseUrl, type }]) =>
    baseUrl === undefined ? `${name} (${type})` : `${name === "deepseek" ? "DeepSeek" : name} at ${baseUrl}`
  ).join(", ")
})

/** The embedded simulator as an HTTP client, once it is asked for. */
const makeSimulator = Effect.fnUntraced(function*(settings: Settings.Setting<GatewaySettings>) {
  const scope = yield* Effect.scope
  let client: HttpClient.HttpClient | undefined
  const make = Effect.fnUntraced(function*({ faults, forward: _, ...pace }: GatewaySettings["simulator"]) {
    const { layerHttpClient } = yield* Effect.promise(() => import("@ballast/simulator/Simulator"))
    const plan = faults.map(({ fault, share }) => ({
      fault: Result.getOrThrow(Fault.parse(fault)).fault,
      probability: share
    }))
    const options: SimulatorOptions = { ...pace, plan }
    const made = yield* Layer.buildWithScope(layerHttpClient(options), scope)
    return client = Context.get(made, HttpClient.HttpClient)
  })
  yield* Settings.follow(
    Settings.select(settings, ({ simulator }) => simulator),
    (pace) => Effect.suspend(() => client === undefined ? Effect.void : make(pace))
  )
  return Effect.gen(function*() {
    const first = client ?? (yield* make((yield* settings.current).simulator))
    return HttpClient.transform(first, (_, request) => (client ?? first).execute(request))
  })
})

const nowhere = HttpClient.make((request) =>
  Effect.succeed(HttpClientResponse.fromWeb(
    request,
    Response.json({ error: { message: "This gateway has no local models: inference.models names none." } }, {
      status: 404
    })
  ))
)

const undici = Effect.flatMap(
  Effect.promise(() => import("@ballast/deepseek/Undici")),
  (Undici) => Effect.map(Layer.build(Undici.layer()), Context.get(HttpClient.HttpClient))
)

/** Where rate limits are kept that all processes share; none without Redis. */
const rateStore = (redis: Redis["Service"] | undefined) =>
  redis === undefined
    ? Effect.succeed(Context.empty())
    : Layer.build(
      Layer.provide(RateLimiterStore.layerStoreRedis(), Layer.succeed(Redis, redis))
    )

const lookupDeadline = "30 seconds"
const uploadDeadline = "10 minutes"

const noFiles = new Rejection({ case: "UnknownRoute", detail: "No provider of this gateway keeps files." })

const noBalance = new Rejection({ case: "UnknownRoute", detail: "No provider of this gateway tells its balance." })

/**
 * Makes the router, which follows the settings as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  settings: Settings.Setting<GatewaySettings>,
  options: Options = {}
): Effect.fn.Return<Upstream, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const simulator = yield* makeSimulator(settings)
  const network = yield* Effect.cached(Scope.provide(undici, scope))
  const first = yield* settings.current
  const currentOf = (settings: GatewaySettings) => ({
    ...routing(settings),
    takesFaults: takesFaults(settings),
    filesPlace: filesPlace(settings)
  })
  let current = currentOf(first)
  const redis = first.redis && (yield* SharedRedis.connect(first.redis.url))
  const shared: Context.Context<never> = yield* rateStore(redis)
  const router = yield* Router.make({
    settings: current,
    answers: redis && AnswerStore.redis(redis),
    policies: policies(first),
    client: (_, type) => {
      if (type === "local") return Effect.succeed(options.local ?? nowhere)
      return options.client === undefined ? type === "simulator" ? simulator : network : Effect.succeed(options.client)
    }
  }).pipe(Effect.provideContext(shared))
  yield* Settings.follow(settings, (next) => {
    const following = currentOf(next)
    return Effect.andThen(
      Effect.provideContext(router.update(following, policies(next)), shared),
      Effect.sync(() => current = following)
    )
  })
  const lookup = yield* Policy.common<ChatError.TransportError>({
    name: "lookup",
    error: Lane.deadlineError,
    attempt: Duration.fromInputUnsafe(lookupDeadline),
    total: Duration.fromInputUnsafe(Lane.defaults.deadlines.total),
    retry: yield* Lane.retryOf("lookup", policies(first))
  })

  // Once: the body of a client's upload can't be read again.
  const upload = yield* Policy.common<ChatError.TransportError>({
    name: "upload",
    error: Lane.deadlineError,
    attempt: Duration.fromInputUnsafe(uploadDeadline)
  })
  const files = Effect.gen(function*() {
    const place = current.filesPlace
    const source = place && (yield* router.lookup(place.provider, place.account))
    if (source?.provider.paths.files === undefined) return yield* noFiles
    return Files.withPolicy<ChatError.ChatError, Lane.CallError>(source.files, { lookup, upload })
  })

  const own = (): ReadonlyArray<ModelInfo> =>
    Object.entries(current.models).flatMap(([id, { targets: [{ provider } = { provider: "" }] }]) =>
      id === others ? [] : [{ id, object: "model", owned_by: provider }]
    )
  const models = Effect.gen(function*() {
    const provider = current.models[others]?.targets[0]?.provider
    const source = provider === undefined ? undefined : yield* router.lookup(provider)
    if (source?.provider.paths.models === undefined) return { object: "list", data: own() }
    const list = yield* lookup(source.models)
    const named = own()
    const names = new Set(named.map(({ id }) => id))
    // Untouched, the list goes on as it came.
    return named.length === 0
      ? list
      : { ...list, data: [...named, ...list.data.filter(({ id }) => !names.has(id))] }
  })
  const balance = Effect.gen(function*() {
    for (const provider of Object.keys(current.providers)) {
      const source = yield* router.lookup(provider)
      if (source?.provider.paths.balance !== undefined) return yield* lookup(source.balance)
    }
    return yield* noBalance
  })

  const firstName = () => Object.keys(current.providers)[0] ?? ""
  const upstream: Upstream = {
    router,
    redis,
    models: Effect.withSpan(models, "Upstream.models", { kind: "client" }),
    balance: Effect.withSpan(balance, "Upstream.balance", { kind: "client" }),
    files,
    filesPlace: () => current.filesPlace,
    kind: (provider = firstName()) => current.providers[provider]?.type === "simulator" ? "simulator" : provider,
    takesFaults: () => current.takesFaults
  }
  return upstream
})
