/** The providers of the settings: their accounts, each with its keys, and policies for each account and model. */
import type * as ChatError from "@ballast/chat/ChatError"
import type * as ChatModel from "@ballast/chat/ChatModel"
import * as Lane from "@ballast/deepseek/Lane"
import * as PerModel from "@ballast/deepseek/PerModel"
import * as Provider from "@ballast/deepseek/Provider"
import * as Source from "@ballast/deepseek/Source"
import * as Registry from "@ballast/resilience/Registry"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as HttpClient from "effect/http/HttpClient"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Choice from "../Choice.ts"
import * as KeyPool from "../KeyPool.ts"
import * as Presets from "../Presets.ts"
import type * as Settings from "../RouterSettings.ts"
import type * as balances from "./balances.ts"
import * as lanePolicies from "./lanePolicies.ts"
import * as noted from "./noted.ts"

export interface Pool {
  readonly settings: Settings.ProviderSettings
  readonly lanes: lanePolicies.Lanes
  readonly url: string
  /** Whether the provider has prefix completion, and whether streams that break go on by it. */
  readonly hasPrefix: boolean
  readonly goesOn: boolean
  readonly accounts: KeyPool.KeyPool<Lane.CallError>
  /** By account. */
  readonly models: Map<string, PerModel.PerModel<Lane.CallError>>
  /** A bare source with a key. */
  readonly source: (key: Redacted.Redacted) => Effect.Effect<Source.Source>
  readonly scope: Scope.Closeable
}

export type Pools = ReadonlyMap<string, Pool>

export interface Options {
  /** The HTTP client that calls of a provider go through. */
  readonly client: (provider: string, type: Presets.Type) => Effect.Effect<HttpClient.HttpClient>
  /** The policies that hold now: lanes are made later, too, when a model has answered for the first time. */
  readonly lanes: () => lanePolicies.Lanes
  /** Notes the balances that a source tells. */
  readonly telling: ReturnType<typeof balances.make>["telling"]
}

/** Clients of other services ask for strict tools that DeepSeek can't have, and get them as plain ones. */
const lenient = { strict: false }

/** Sent to a server that wants no key. Keys are masked in its answers, so it is no word that an answer may have. */
const keyless = Redacted.make("no-key")

export const accountsOf = ({ accounts }: Settings.ProviderSettings): Readonly<Record<string, KeyPool.Account>> => {
  const given: Record<string, KeyPool.Account> = {}
  for (const [name, { keys, weight }] of Object.entries(accounts)) {
    const [first, ...rest] = keys.map((key) => Redacted.make(Redacted.value(key).trim()))
    if (first !== undefined) given[name] = { keys: [first, ...rest], weight }
  }
  return Object.keys(given).length === 0 ? { default: { keys: [keyless] } } : given
}

/** The first key of an account, by default of the first. */
export const keyOf = (settings: Settings.ProviderSettings, account: string | undefined) => {
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
const ownerOf = (provider: string, account: string): string => [provider, account].join("/")

/** All names that a provider's accounts have no lane for yet. */
const otherLane = "other"

/** The policies of a lane; the rest are of the route. */
const policiesOf = (lanes: lanePolicies.Lanes, provider: string, account: string, model: string) => {
  const policies = lanes.of(provider, account, model === otherLane ? undefined : model)
  return {
    ...policies,
    retry: false as const,
    resume: false as const,
    deadlines: policies.deadlines === false ? false as const : { ...policies.deadlines, total: false as const }
  }
}

const makeLane = (
  provider: Provider.Provider,
  account: string,
  model: string,
  source: ChatModel.ChatModel,
  { lanes }: Options
) =>
  Effect.suspend(() =>
    Lane.make(
      {
        ...noted.calls(source, (info) => Object.assign(info, { provider: provider.name, account })),
        provider,
        url: new URL(provider.baseUrl)
      },
      {
        ...policiesOf(lanes(), provider.name, account, model),
        name: ownerOf(provider.name, account),
        model,
        ...(model === otherLane ? { circuitBreaker: false } : undefined)
      }
    )
  )

/** Opens a connection before the first call needs it. */
const warmUp = (name: string, source: Effect.Effect<Source.Source>) =>
  Effect.flatMap(source, ({ models }) => models).pipe(
    Effect.catch((error) => Effect.logDebug(`The connection to ${name} could not be warmed up`, error))
  )

const makePool = Effect.fnUntraced(function*(name: string, settings: Settings.ProviderSettings, options: Options) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const provider = providerOf(name, settings)
  const hasPrefix = Provider.betaPath(provider, new URL(provider.baseUrl)) !== undefined
  const http = yield* options.client(name, settings.type)
  const lanes = options.lanes()
  const source = (key: Redacted.Redacted) =>
    Effect.provideService(
      Source.make({ provider, apiKey: key, preflight: settings.preflight && lenient }),
      HttpClient.HttpClient,
      http
    )
  const models: Pool["models"] = new Map()
  const accounts = yield* KeyPool.make<ChatError.ChatError, Lane.CallError>({
    provider: name,
    accounts: accountsOf(settings),
    choice: accountChoice[settings.choice],
    model: (_, key) => source(key),
    guard: Effect.fnUntraced(function*(account, source) {
      const made = yield* PerModel.make({
        // A model that a target names has a breaker before its first answer.
        names: [...Object.keys(provider.models), ...options.lanes().models(name, account)],
        make: (model) => makeLane(provider, account, model, source, options),
        others: yield* makeLane(provider, account, otherLane, source, options)
      })
      yield* Effect.acquireRelease(
        Effect.sync(() => models.set(account, made)),
        () => Effect.sync(() => models.delete(account))
      )
      return made
    }),
    ...(provider.paths.balance === undefined ? undefined : {
      probe: (account: string, key: Redacted.Redacted) =>
        source(key).pipe(
          Effect.flatMap((source) => options.telling(name, account, source).balance),
          Effect.map(({ is_available }) => is_available)
        )
    })
  }).pipe(Scope.provide(scope))
  const { key } = keyOf(settings, undefined) ?? {}
  if (settings.warmUp && key !== undefined && provider.paths.models !== undefined) {
    yield* Effect.forkIn(warmUp(name, source(key)), scope)
  }
  const goesOn = settings.resume && hasPrefix
  const pool: Pool = { settings, lanes, url: provider.baseUrl, hasPrefix, goesOn, accounts, models, source, scope }
  return pool
})

/** The pools of a revision, in the scope of the router: those of the one before are kept where they can go on. */
export const make = Effect.fnUntraced(function*(
  settings: Settings.RouterSettings["providers"],
  before: Pools,
  options: Options
) {
  const pools = new Map<string, Pool>()
  const lanes = options.lanes()
  for (const [name, provider] of Object.entries(settings)) {
    const old = before.get(name)
    pools.set(
      name,
      old !== undefined && isSame(old, name, provider, lanes)
        ? { ...old, settings: provider, lanes, goesOn: provider.resume && old.hasPrefix }
        : yield* makePool(name, provider, options)
    )
  }
  return pools
})

/** Dies where the settings contradict themselves. */
export const get = (pools: Pools, provider: string): Pool => {
  const pool = pools.get(provider)
  if (pool === undefined) throw new RangeError(`Router: there is no provider ${provider}`)
  return pool
}

/** Lets the pools that are kept follow the settings. */
export const follow = Effect.fnUntraced(function*(before: Pools, after: Pools) {
  for (const [name, { accounts, lanes, models, settings }] of after) {
    const old = before.get(name)
    if (old?.accounts !== accounts) continue
    const given = accountsOf(settings)
    yield* accounts.update(given)
    yield* Effect.forEach(Object.keys(given), (account) => updatePolicies(name, account, old.lanes, lanes))
    yield* Effect.forEach(models, ([account, { add }]) => add(lanes.models(name, account)))
  }
})

/** Closes the pools that are not kept. */
export const close = Effect.fnUntraced(function*(before: Pools, after: Pools) {
  for (const [name, { accounts, scope }] of before) {
    if (after.get(name)?.accounts !== accounts) yield* Scope.close(scope, Exit.void)
  }
})
