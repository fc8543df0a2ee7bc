/**
 * Providers, accounts, models and their targets, from settings, as one `ChatModel` that follows them while calls run.
 *
 * From the outside in, a call passes: its model's route with the total deadline and the retries; the targets in their order (the chosen
 * one, then those of failover); the provider's accounts; circuit breaker, rate limit, concurrency limit and deadlines of one account and
 * model; the key. Going on to another place costs no wait. When all places have failed, a retry waits and starts again with the first.
 *
 * `update` builds the routes again and keeps what stays: a provider whose type and URL are the same keeps its accounts' breakers and limits. A
 * call sees one revision of the settings from its beginning to its end.
 *
 * @since 0.1.0
 */
import type * as ChatModel from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type * as Lane from "@ballast/deepseek/Lane"
import type * as Source from "@ballast/deepseek/Source"
import * as Layered from "@ballast/resilience/Layered"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as HttpClient from "effect/http/HttpClient"
import * as Scope from "effect/Scope"
import type * as AnswerCache from "./AnswerCache.ts"
import type * as AnswerStore from "./AnswerStore.ts"
import * as ByModel from "./ByModel.ts"
import * as balances from "./internal/balances.ts"
import * as caches from "./internal/caches.ts"
import * as embedding from "./internal/embedding.ts"
import * as lanePolicies from "./internal/lanePolicies.ts"
import * as Pools from "./internal/pools.ts"
import * as Routes from "./internal/routes.ts"
import type * as KeyPool from "./KeyPool.ts"
import type * as Presets from "./Presets.ts"
import type * as Settings from "./RouterSettings.ts"
import type * as SemanticCache from "./SemanticCache.ts"
import * as Steering from "./Steering.ts"

/**
 * Why a routed call failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type RouteError = Lane.CallError

export type { Purged } from "./internal/caches.ts"
export type { RouteState } from "./internal/routes.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface ProviderState {
  readonly provider: string
  readonly url: string
  readonly accounts: ReadonlyArray<KeyPool.AccountState>
}

/**
 * A model of the settings, and what an operator sees and steers of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Router extends ChatModel.ChatModel<RouteError> {
  /** Answers to calls that the caches of their model have. A degraded model has none. */
  readonly answers: AnswerCache.Lookup
  /** The names of the models, without `*`. */
  readonly names: Effect.Effect<ReadonlyArray<string>>
  /** Whether a name that is not among them is served. */
  readonly takesOthers: Effect.Effect<boolean>
  readonly inspect: Effect.Effect<{
    readonly providers: ReadonlyArray<ProviderState>
    readonly routes: ReadonlyArray<Routes.RouteState>
  }>
  /**
   * Follows other settings and, when given, other policies. Dies of a `RangeError` when they contradict themselves, and changes nothing
   * then. Breakers, rate limits, queues and deadlines are updated in place; a policy that is switched on or off makes all policies of its
   * provider again.
   */
  readonly update: (settings: Settings.RouterSettings, policies?: Settings.Policies) => Effect.Effect<void>
  /**
   * Sets weights of a model's targets by arm; undefined gives back the weight of the settings. It holds for other settings too, as long
   * as they have this model and arm. Fails when there is no such model or arm.
   */
  readonly weigh: (model: string, weights: Steering.WeightsByHand) => Effect.Effect<void, Steering.CannotSteer>
  /**
   * Lets something else answer a model's calls that begin from now on; undefined ends it. It holds for other settings too, as long as
   * they have these models. The other model's route answers even when it is degraded itself. Fails when there is no such model.
   */
  readonly degrade: (model: string, to: Steering.Degradation | undefined) => Effect.Effect<void, Steering.CannotSteer>
  /** Drops answers from the caches of all models, and from the store. */
  readonly purge: (purge: AnswerCache.Purge) => Effect.Effect<caches.Purged, AnswerStore.NotRemoved>
  /** The semantic cache of a model, to be asked. Fails when the model has none. */
  readonly semantic: (
    model: string
  ) => Effect.Effect<Pick<SemanticCache.SemanticCache, "explain" | "evaluate">, Steering.CannotSteer>
  /** Ends all outages of a provider's accounts and keys. */
  readonly reset: (provider: string) => Effect.Effect<void, Steering.CannotSteer>
  /** A bare source of a provider's account, by default the first, for its list of models and its balance; undefined for an unknown provider or account. */
  readonly lookup: (provider: string, account?: string) => Effect.Effect<Source.Source | undefined>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly settings: Settings.RouterSettings
  /** Policies of every route and target, and those of single models. Default: those of `Lane`. */
  readonly policies?: Settings.Policies | undefined
  /** The HTTP client that calls of a provider go through. */
  readonly client: (provider: string, type: Presets.Type) => Effect.Effect<HttpClient.HttpClient>
  /** Where models with a cache keep answers too, for other processes. Default nowhere. */
  readonly answers?: AnswerStore.AnswerStore | undefined
}

/** What calls see of one revision of the settings. */
interface Revision {
  readonly pools: Pools.Pools
  readonly routes: Routes.Routes
  readonly model: ChatModel.ChatModel<RouteError>
  readonly scope: Scope.Closeable
}

const others = "*"

/**
 * Makes the router of the settings. It lives as long as the scope.
 *
 * **Details**
 *
 * Dies of a `RangeError` when the settings contradict themselves; `RouterSettings.contradictions` finds that before.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Router, never, Scope.Scope> {
  const scope = yield* Effect.scope
  let policies = options.policies ?? {}
  let lanes = lanePolicies.make(options.settings.models, policies)
  const { keep, telling } = balances.make(yield* Effect.context<never>())

  const steering = Steering.make<RouteError>()

  const cached = caches.make<RouteError>({
    answers: options.answers,
    embed: (model, text) => Effect.suspend(() => embedding.of(revision.model, model, text))
  })

  const makeRevision = Effect.fnUntraced(function*(settings: Settings.RouterSettings, before: Pools.Pools) {
    const own = yield* Scope.fork(scope)
    const pools = yield* Scope.provide(
      Pools.make(settings.providers, before, { client: options.client, lanes: () => lanes, telling }),
      scope
    )
    const routes = new Map<string, Routes.Route>()
    for (const [name, route] of Object.entries(settings.models)) {
      const made = Routes.make(name, route, { pools, policies, steering, caches: cached }, routes)
      routes.set(name, yield* Scope.provide(made, own))
    }
    const models = Object.fromEntries(
      Array.from(routes).flatMap(([name, { model }]) => name === others ? [] : [[name, model]])
    )
    const revision: Revision = {
      pools,
      routes,
      model: ByModel.make({ models, otherwise: routes.get(others)?.model }),
      scope: own
    }
    return revision
  })

  let revision: Revision = yield* makeRevision(options.settings, new Map())

  const update = Effect.fnUntraced(function*(settings: Settings.RouterSettings, changed?: Settings.Policies) {
    const before = revision
    const usual = { policies, lanes }
    lanes = lanePolicies.make(settings.models, changed ?? policies)
    policies = changed ?? policies
    const after = yield* Effect.onError(
      makeRevision(settings, before.pools),
      () => Effect.sync(() => ({ policies, lanes } = usual))
    )
    yield* Pools.follow(before.pools, after.pools)
    revision = after
    keep((provider, account) => {
      const pool = after.pools.get(provider)
      return pool !== undefined && Object.hasOwn(Pools.accountsOf(pool.settings), account)
    })
    cached.retain(settings.models)
    yield* Pools.close(before.pools, after.pools)
    yield* Scope.close(before.scope, Exit.void)
  }, Effect.uninterruptible)

  const answerOf = <A>(
    { model }: ChatRequest,
    ask: (lookup: AnswerCache.Lookup) => Effect.Effect<A | undefined>
  ): Effect.Effect<A | undefined> =>
    Effect.suspend(() => {
      const name = revision.routes.has(model) ? model : others
      if (steering.degradationOf(name) !== undefined) return Effect.undefined
      return Effect.reduce(
        cached.lookups(name),
        (): A | undefined => undefined,
        (found, lookup) => found === undefined ? ask(lookup) : Effect.succeed(found)
      )
    })

  const router: Router = {
    answers: {
      complete: (request) => answerOf(request, ({ complete }) => complete(request)),
      stream: (request) => answerOf(request, ({ stream }) => stream(request))
    },
    complete: (request) => Effect.suspend(() => revision.model.complete(request)),
    stream: (request) => Layered.suspend(() => revision.model.stream(request)),
    names: Effect.sync(() => [...revision.routes.keys()].filter((name) => name !== others)),
    takesOthers: Effect.sync(() => revision.routes.has(others)),
    inspect: Effect.suspend(() => {
      const { pools, routes } = revision
      return Effect.all({
        providers: Effect.forEach(
          pools,
          ([provider, { accounts, url }]) => Effect.map(accounts.inspect, (accounts) => ({ provider, url, accounts }))
        ),
        routes: Effect.forEach(routes.values(), ({ inspect }) => inspect)
      })
    }),
    update,
    weigh: (model, weights) => Effect.suspend(() => steering.weigh(revision.routes, model, weights)),
    degrade: (model, to) => Effect.suspend(() => steering.degrade(revision.routes, model, to)),
    purge: cached.purge,
    semantic: (model) =>
      Effect.suspend(() => {
        const found = cached.semanticOf(model)
        return found === undefined
          ? Effect.fail(Steering.unknownName("model with a semantic cache", model, cached.semanticNames()))
          : Effect.succeed(found)
      }),
    reset: (name) =>
      Effect.suspend(() => {
        const pool = revision.pools.get(name)
        return pool === undefined
          ? Effect.fail(Steering.unknownName("provider", name, revision.pools.keys()))
          : pool.accounts.reset
      }),
    lookup: (name, account) =>
      Effect.suspend(() => {
        const pool = revision.pools.get(name)
        const found = pool && Pools.keyOf(pool.settings, account)
        return pool === undefined || found === undefined
          ? Effect.undefined
          : Effect.map(pool.source(found.key), (source) => telling(name, found.account, source))
      })
  }
  return router
})
