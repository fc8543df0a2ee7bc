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
import * as ChatError from "@ballast/chat/ChatError"
import * as ChatModel from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Lane from "@ballast/deepseek/Lane"
import * as PerModel from "@ballast/deepseek/PerModel"
import * as Provider from "@ballast/deepseek/Provider"
import * as Source from "@ballast/deepseek/Source"
import * as Policy from "@ballast/resilience/Policy"
import * as Registry from "@ballast/resilience/Registry"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as HttpClient from "effect/http/HttpClient"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as AnswerCache from "./AnswerCache.ts"
import type * as AnswerStore from "./AnswerStore.ts"
import * as ByModel from "./ByModel.ts"
import type * as CallContext from "./CallContext.ts"
import * as Choice from "./Choice.ts"
import * as Failover from "./Failover.ts"
import * as balances from "./internal/balances.ts"
import * as caches from "./internal/caches.ts"
import * as embedding from "./internal/embedding.ts"
import * as lanePolicies from "./internal/lanePolicies.ts"
import * as noted from "./internal/noted.ts"
import * as Placed from "./internal/placed.ts"
import * as places from "./internal/places.ts"
import * as resumed from "./internal/resumed.ts"
import * as KeyPool from "./KeyPool.ts"
import * as Mirror from "./Mirror.ts"
import * as Presets from "./Presets.ts"
import type * as Settings from "./RouterSettings.ts"
import { armOf } from "./RouterSettings.ts"
import * as Split from "./Split.ts"
import * as Steering from "./Steering.ts"
import * as When from "./When.ts"

/**
 * Why a routed call failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type RouteError = Lane.CallError

/**
 * The state of one route.
 *
 * @category models
 * @since 0.1.0
 */
export interface RouteState {
  readonly model: string
  readonly targets: ReadonlyArray<Split.ArmState>
  readonly failover: ReadonlyArray<string>
  readonly mirror: { readonly to: string; readonly share: number; readonly inFlight: number } | undefined
  /** What answers in its place, when it is degraded. */
  readonly degraded: Steering.Degradation | undefined
}

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
  /** The names of the models, without `*`. */
  readonly names: Effect.Effect<ReadonlyArray<string>>
  /** Whether a name that is not among them is served. */
  readonly takesOthers: Effect.Effect<boolean>
  readonly inspect: Effect.Effect<{
    readonly providers: ReadonlyArray<ProviderState>
    readonly routes: ReadonlyArray<RouteState>
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
  /** Drops answers from the caches of all models; gives how many there were in memory. */
  readonly purge: (purge: AnswerCache.Purge) => Effect.Effect<number, AnswerStore.NotRemoved>
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

interface Pool {
  readonly settings: Settings.ProviderSettings
  readonly lanes: lanePolicies.Lanes
  readonly url: string
  /** Whether the provider has prefix completion, and whether streams that break go on by it. */
  readonly hasPrefix: boolean
  readonly goesOn: boolean
  readonly accounts: KeyPool.KeyPool<RouteError>
  /** By account. */
  readonly models: Map<string, PerModel.PerModel<RouteError>>
  /** A bare source with a key. */
  readonly source: (key: Redacted.Redacted) => Effect.Effect<Source.Source>
  readonly scope: Scope.Closeable
}

interface Route extends Steering.Route<RouteError> {
  readonly model: ChatModel.ChatModel<RouteError>
  readonly inspect: Effect.Effect<RouteState>
}

/** What calls see of one revision of the settings. */
interface Revision {
  readonly pools: ReadonlyMap<string, Pool>
  readonly routes: ReadonlyMap<string, Route>
  readonly model: ChatModel.ChatModel<RouteError>
  readonly scope: Scope.Closeable
}

/** Clients of other services ask for strict tools that DeepSeek can't have, and get them as plain ones. */
const lenient = { strict: false }

/** Sent to a server that wants no key. Keys are masked in its answers, so it is no word that an answer may have. */
const keyless = Redacted.make("no-key")

const others = "*"

const accountsOf = ({ accounts }: Settings.ProviderSettings): Readonly<Record<string, KeyPool.Account>> => {
  const given: Record<string, KeyPool.Account> = {}
  for (const [name, { keys, weight }] of Object.entries(accounts)) {
    const [first, ...rest] = keys.map((key) => Redacted.make(Redacted.value(key).trim()))
    if (first !== undefined) given[name] = { keys: [first, ...rest], weight }
  }
  return Object.keys(given).length === 0 ? { default: { keys: [keyless] } } : given
}

/** The first key of an account, by default of the first. */
const keyOf = (settings: Settings.ProviderSettings, account: string | undefined) => {
  const accounts = accountsOf(settings)
  const name = account ?? Object.keys(accounts)[0] ?? ""
  const key = Object.hasOwn(accounts, name) ? accounts[name]?.keys[0] : undefined
  return key === undefined ? undefined : { account: name, key }
}

const accountChoice: Record<Settings.ProviderSettings["choice"], Choice.Choice> = {
  prefix: Choice.byKey(Choice.prefix),
  weighted: Choice.weighted,
  "least-loaded": Choice.leastLoaded
}

const targetChoice: Record<Settings.Route["choice"], Choice.Choice> = {
  weighted: Choice.weighted,
  "least-loaded": Choice.leastLoaded,
  client: Choice.byKey(Choice.client),
  user: Choice.byKey(Choice.user)
}

/** What of a provider's settings can change in place. */
const inPlace = { accounts: {}, resume: true, warmUp: false }

/** Whether a pool can go on under other settings: only its accounts differ, and policies that can be changed in place. */
const isSame = (before: Pool, name: string, settings: Settings.ProviderSettings, lanes: lanePolicies.Lanes): boolean =>
  Equal.equals({ ...before.settings, ...inPlace }, { ...settings, ...inPlace }) &&
  lanePolicies.isSameShape(name, before.lanes, lanes)

/** Changes the policies of an account's lanes in place, where they differ. */
const updatePolicies = Effect.fnUntraced(function*(
  provider: string,
  account: string,
  before: lanePolicies.Lanes,
  after: lanePolicies.Lanes
) {
  const registry = yield* Registry.Current
  const owner = ownerOf(provider, account)
  /** The new policies of a lane, or undefined when they are the old ones. */
  const changed = (lane: string): Settings.ModelPolicies | undefined => {
    const name = lane.slice(owner.length + 1)
    const model = name === otherLane ? undefined : name
    const policies = after.of(provider, account, model)
    return Equal.equals(before.of(provider, account, model), policies) ? undefined : policies
  }
  for (const { handle, name } of yield* registry.list({ owner, kind: "circuitBreaker" })) {
    const { circuitBreaker = {} } = changed(name) ?? { circuitBreaker: false }
    if (circuitBreaker !== false) yield* handle.update({ ...Lane.defaults.circuitBreaker, ...circuitBreaker })
  }
  for (const { handle, name } of yield* registry.list({ owner, kind: "rateLimiter" })) {
    const { rateLimit = false } = changed(name) ?? {}
    if (rateLimit !== false) yield* handle.update(yield* Lane.rateOf(rateLimit))
  }
  for (const { handle, name } of yield* registry.list({ owner, kind: "sharedRateLimiter" })) {
    const { rateLimit = false } = changed(name) ?? {}
    if (rateLimit !== false) yield* handle.update(rateLimit)
  }
  for (const { handle, name } of yield* registry.list({ owner, kind: "adaptiveLimit" })) {
    const { concurrency = {} } = changed(name) ?? { concurrency: false }
    if (concurrency === false) continue
    const { maxWait, queue } = { ...Lane.defaults.concurrency, ...concurrency }
    yield* handle.update({ queue, maxWait })
  }
  for (const { handle, name } of yield* registry.list({ owner, kind: "attemptDeadline" })) {
    const policies = changed(name)
    if (policies !== undefined) yield* handle.update(lanePolicies.attemptLimits(policies))
  }
})

const providerOf = (name: string, settings: Settings.ProviderSettings): Provider.Provider => {
  const preset: Presets.Preset = Presets.presets[settings.type]
  const baseUrl = settings.baseUrl ?? preset.baseUrl
  if (baseUrl === undefined) throw new RangeError(`Router: the provider ${name} needs a baseUrl`)
  const made = preset.make({ name, baseUrl })
  const limits = Object.entries(settings.concurrency).map(([model, concurrency]) => [model, { concurrency }] as const)
  return { ...made, models: { ...made.models, ...Object.fromEntries(limits) } }
}

/** The owner of the policies of an account, in the registry. */
const ownerOf = (provider: string, account: string): string => `${provider}/${account}`

/** All names that a provider's accounts have no lane for yet. */
const otherLane = "other"

const whenOf = ({ when }: Settings.Target): When.When | undefined =>
  when === undefined ? undefined : Result.getOrThrow(When.make(when))

const noTarget = ({ model }: ChatRequest): ChatError.ClientError =>
  new ChatError.ClientError({
    reason: new ChatError.UnknownModel({
      status: 404,
      detail: `No target of ${
        JSON.stringify(model.slice(0, 256))
      } takes this request: each is drained, or has a condition that it does not meet.`,
      stated: true,
      supported: []
    })
  })

const noPlace = ({ account, provider }: CallContext.Place, { model }: ChatRequest): ChatError.ClientError =>
  new ChatError.ClientError({
    reason: new ChatError.InvalidRequest({
      status: 400,
      detail: `The request belongs to the account ${account} of ${provider}, and ${
        JSON.stringify(model.slice(0, 256))
      } has no target there.`,
      stated: true
    })
  })

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
  const { client } = options
  const scope = yield* Effect.scope
  let policies = options.policies ?? {}
  let lanes = lanePolicies.make(options.settings.models, policies)
  const { keep, telling } = balances.make(yield* Effect.context<never>())

  const makePool = Effect.fnUntraced(function*(name: string, settings: Settings.ProviderSettings) {
    const own = yield* Scope.fork(scope)
    const provider = providerOf(name, settings)
    const hasPrefix = Provider.betaPath(provider, new URL(provider.baseUrl)) !== undefined
    const http = yield* client(name, settings.type)
    // Lanes are made later, too, when a model has answered for the first time.
    const laneOptions = (account: string, model: string) => {
      const policies = lanes.of(name, account, model === otherLane ? undefined : model)
      return {
        ...policies,
        // Of the route.
        retry: false as const,
        resume: false as const,
        deadlines: policies.deadlines === false ? false as const : { ...policies.deadlines, total: false as const }
      }
    }
    const sourceOf = (key: Redacted.Redacted) =>
      Effect.provideService(
        Source.make({ provider, apiKey: key, preflight: settings.preflight && lenient }),
        HttpClient.HttpClient,
        http
      )
    const lane = (account: string, model: string, source: ChatModel.ChatModel) =>
      Effect.suspend(() =>
        Lane.make(
          {
            ...noted.calls(source, (info) => Object.assign(info, { provider: name, account })),
            provider,
            url: new URL(provider.baseUrl)
          },
          {
            ...laneOptions(account, model),
            name: ownerOf(name, account),
            model,
            ...(model === otherLane ? { circuitBreaker: false } : undefined)
          }
        )
      )
    const models: Pool["models"] = new Map()
    const accounts = yield* KeyPool.make<ChatError.ChatError, RouteError>({
      provider: name,
      accounts: accountsOf(settings),
      choice: accountChoice[settings.choice],
      model: (_, key) => sourceOf(key),
      guard: Effect.fnUntraced(function*(account, source) {
        const made = yield* PerModel.make({
          // A model that a target names has a breaker before its first answer.
          names: [...Object.keys(provider.models), ...lanes.models(name, account)],
          make: (model) => lane(account, model, source),
          others: yield* lane(account, otherLane, source)
        })
        yield* Effect.acquireRelease(
          Effect.sync(() => models.set(account, made)),
          () => Effect.sync(() => models.delete(account))
        )
        return made
      }),
      ...(provider.paths.balance === undefined ? undefined : {
        probe: (account: string, key: Redacted.Redacted) =>
          sourceOf(key).pipe(
            Effect.flatMap((source) => telling(name, account, source).balance),
            Effect.map(({ is_available }) => is_available)
          )
      })
    }).pipe(Scope.provide(own))
    const { key } = keyOf(settings, undefined) ?? {}
    if (settings.warmUp && key !== undefined && provider.paths.models !== undefined) {
      yield* Effect.flatMap(sourceOf(key), ({ models }) => models).pipe(
        Effect.catch((error) => Effect.logDebug(`The connection to ${name} could not be warmed up`, error)),
        Effect.forkIn(own)
      )
    }
    const pool: Pool = {
      settings,
      lanes,
      url: provider.baseUrl,
      hasPrefix,
      goesOn: settings.resume && hasPrefix,
      accounts,
      models,
      source: sourceOf,
      scope: own
    }
    return pool
  })

  const poolsOf = Effect.fnUntraced(function*(
    settings: Settings.RouterSettings["providers"],
    before: ReadonlyMap<string, Pool>
  ) {
    const pools = new Map<string, Pool>()
    for (const [name, provider] of Object.entries(settings)) {
      const old = before.get(name)
      pools.set(
        name,
        old !== undefined && isSame(old, name, provider, lanes)
          ? { ...old, settings: provider, lanes, goesOn: provider.resume && old.hasPrefix }
          : yield* makePool(name, provider)
      )
    }
    return pools
  })

  const poolOf = (pools: ReadonlyMap<string, Pool>, provider: string): Pool => {
    const pool = pools.get(provider)
    if (pool === undefined) throw new RangeError(`Router: there is no provider ${provider}`)
    return pool
  }

  const targetModel = (
    pools: ReadonlyMap<string, Pool>,
    target: Settings.Target,
    among: ReadonlyArray<string> | undefined = target.account === undefined ? undefined : [target.account]
  ): ChatModel.ChatModel<RouteError> => {
    const pool = poolOf(pools, target.provider)
    const place = among === undefined ? pool.accounts : pool.accounts.among(among)
    const { model } = target
    const named: ChatModel.ChatModel<RouteError> = model === undefined ? place : {
      complete: (request) => place.complete(request.model === model ? request : { ...request, model }),
      stream: (request) => place.stream(request.model === model ? request : { ...request, model })
    }
    return noted.calls(named, (info, request) =>
      Object.assign(info, {
        provider: target.provider,
        account: target.account,
        model: model ?? request.model,
        arm: target.arm
      }))
  }

  const steering = Steering.make<RouteError>()

  const cached = caches.make<RouteError>({
    answers: options.answers,
    embed: (model, text) => Effect.suspend(() => embedding.of(revision.model, model, text))
  })

  const makeRoute = Effect.fnUntraced(function*(
    name: string,
    settings: Settings.Route,
    pools: ReadonlyMap<string, Pool>,
    routes: ReadonlyMap<string, Route>
  ) {
    const own = lanePolicies.over(policies, lanePolicies.ownOf(policies, name))
    const retry = yield* Lane.retryOf(`route/${name}`, own)
    const resumable = yield* resumed.make({
      name,
      retry,
      resume: own.resume,
      can: (provider) => poolOf(pools, provider).goesOn
    })
    const split = Split.make(
      Object.fromEntries(settings.targets.map((target) => [armOf(target), {
        model: resumable(target, targetModel(pools, target)),
        weight: target.weight,
        when: whenOf(target)
      }])),
      { choice: targetChoice[settings.choice], empty: noTarget }
    )
    const placesOf = places.make<RouteError>({
      route: settings,
      accounts: (provider) => Object.keys(accountsOf(poolOf(pools, provider).settings)),
      model: (target, accounts) => targetModel(pools, target, accounts),
      when: whenOf
    })
    const failover = settings.failover.length === 0 ? split : Failover.make<RouteError, ChatError.ClientError>(
      (request) => Effect.flatMap(split.order(request), (arms) => placesOf(arms, request)),
      { limit: settings.failover.length + settings.targets.length, empty: noTarget }
    )
    const all = [...settings.targets, ...settings.failover]
    const placed = Placed.make<RouteError>(failover, {
      at: ({ account, provider }) => {
        const target = all.find((one) =>
          one.provider === provider && (one.account === undefined || one.account === account)
        )
        return target && targetModel(pools, { ...target, account })
      },
      absent: noPlace
    })
    const { mirror: mirrored } = settings
    const mirror = mirrored === undefined
      ? undefined
      : yield* Mirror.make(placed, {
        to: targetModel(pools, mirrored),
        share: mirrored.share,
        when: whenOf(mirrored)
      })
    const policy = yield* Policy.common({
      name: `route/${name}`,
      cooperative: true,
      error: Lane.deadlineError,
      total: own.deadlines === false
        ? undefined
        : Lane.resolveDeadline(own.deadlines?.total, Lane.defaults.deadlines.total),
      retry
    })
    const undegraded = ChatModel.withPolicy(mirror ?? placed, policy)
    const weights = Object.fromEntries(settings.targets.map((target) => [armOf(target), target.weight]))
    yield* split.update(steering.weightsOf(name, weights))
    yield* (yield* Registry.Current).register("route", `route/${name}`, policy.parts)
    const route: Route = {
      weights,
      setWeights: split.update,
      undegraded,
      model: steering.degradable(name, yield* cached.around(name, settings.cache, undegraded), routes),
      inspect: Effect.gen(function*() {
        const copies = yield* mirror?.inspect ?? Effect.undefined
        return {
          model: name,
          targets: yield* split.inspect,
          failover: settings.failover.map(armOf),
          mirror: mirrored === undefined || copies === undefined
            ? undefined
            : { to: armOf(mirrored), share: copies.share, inFlight: copies.inFlight },
          degraded: steering.degradationOf(name)
        }
      })
    }
    return route
  })

  const makeRevision = Effect.fnUntraced(function*(
    settings: Settings.RouterSettings,
    before: ReadonlyMap<string, Pool>
  ) {
    const own = yield* Scope.fork(scope)
    const pools = yield* poolsOf(settings.providers, before)
    const routes = new Map<string, Route>()
    for (const [name, route] of Object.entries(settings.models)) {
      routes.set(name, yield* Scope.provide(makeRoute(name, route, pools, routes), own))
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
    for (const [name, pool] of after.pools) {
      if (before.pools.get(name)?.accounts !== pool.accounts) continue
      const accounts = accountsOf(pool.settings)
      yield* pool.accounts.update(accounts)
      yield* Effect.forEach(Object.keys(accounts), (account) => updatePolicies(name, account, usual.lanes, lanes))
      yield* Effect.forEach(pool.models, ([account, { add }]) => add(lanes.models(name, account)))
    }
    revision = after
    keep((provider, account) => {
      const pool = after.pools.get(provider)
      return pool !== undefined && Object.hasOwn(accountsOf(pool.settings), account)
    })
    cached.retain(settings.models)
    for (const [name, pool] of before.pools) {
      if (after.pools.get(name)?.accounts !== pool.accounts) yield* Scope.close(pool.scope, Exit.void)
    }
    yield* Scope.close(before.scope, Exit.void)
  }, Effect.uninterruptible)

  const router: Router = {
    complete: (request) => Effect.suspend(() => revision.model.complete(request)),
    stream: (request) => Stream.suspend(() => revision.model.stream(request)),
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
        const found = pool && keyOf(pool.settings, account)
        return pool === undefined || found === undefined
          ? Effect.undefined
          : Effect.map(pool.source(found.key), (source) => telling(name, found.account, source))
      })
  }
  return router
})
