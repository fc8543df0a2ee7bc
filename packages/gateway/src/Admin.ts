/**
 * What an operator sees of a gateway and does to it, without HTTP: the handlers of {@link AdminApi} and the workers of one gateway share it.
 *
 * An act holds until it is undone, for a time, or until the next change of the settings; a later act on the same thing takes its place.
 * Undoing gives back what the settings say. Each act is a line of the log that names the admin. Acts are made one after the other; those in
 * force are put in force again after each change of the settings, and end when what they stand on is gone. What has ended is listed for
 * the last hundred acts. Acts live as long as the process.
 *
 * @since 0.1.0
 */
import * as Registry from "@ballast/resilience/Registry"
import type { Router } from "@ballast/router/Router"
import { armOf, type RouterSettings } from "@ballast/router/RouterSettings"
import type * as SemanticCache from "@ballast/router/SemanticCache"
import type { CannotSteer } from "@ballast/router/Steering"
import * as Settings from "@ballast/settings/Settings"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import {
  type Account,
  type Act,
  type CacheEvaluation,
  type CacheExplanation,
  type Done,
  type EvaluateCache,
  type ExplainCache,
  type Order,
  Refused,
  type Route,
  type Status,
  StoreDown,
  UnknownName
} from "./AdminApi.ts"
import * as circuits from "./internal/circuits.ts"
import { version } from "./Version.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Admin {
  readonly status: Effect.Effect<typeof Status.Type>
  readonly routes: Effect.Effect<ReadonlyArray<typeof Route.Type>>
  /** Asks each account for its balance, unless that is not wanted: for three seconds at most, and no more often than twice a minute. */
  readonly accounts: (options?: { readonly balance: boolean }) => Effect.Effect<ReadonlyArray<typeof Account.Type>>
  /** In their order: those in force, and the last hundred of the others. */
  readonly acts: Effect.Effect<ReadonlyArray<Act>>
  /** Without an id the act gets the next number. */
  readonly act: (order: Order, by: string, id?: string) => Effect.Effect<Done, UnknownName | Refused | StoreDown>
  readonly undo: (id: string, by: string) => Effect.Effect<Act, UnknownName>
  /** What a model's cache has that is near to a question. */
  readonly explainCache: (
    query: typeof ExplainCache.Type
  ) => Effect.Effect<typeof CacheExplanation.Type, UnknownName | StoreDown>
  /** What thresholds of a model's cache bring on pairs of questions. */
  readonly evaluateCache: (
    query: typeof EvaluateCache.Type
  ) => Effect.Effect<typeof CacheEvaluation.Type, UnknownName | StoreDown>
  /** Takes over the acts of another process of the same gateway: those in force are put in force here, for as long as they have left. */
  readonly restore: (acts: ReadonlyArray<Act>) => Effect.Effect<void>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<A> {
  readonly settings: Settings.Settings<A>
  /** The part of the settings that the router follows. */
  readonly routing: (settings: A) => RouterSettings
  readonly router: Router
}

/** How an order is carried out, and taken back. */
interface Lever {
  /** What it acts on: a later act on the same takes its place. */
  readonly on: string
  readonly pull: Effect.Effect<Done["dropped"] | void, UnknownName | StoreDown>
  /** Undefined for what is done at once. */
  readonly release: Effect.Effect<void> | undefined
}

interface Held {
  act: Act
  readonly lever: Lever
}

type Ended = NonNullable<Act["ended"]>

const maxEnded = 100
const maxListed = 50
const balanceTimeout = "3 seconds"
/** In milliseconds. */
const balanceAge = 30_000

/** An order as the log has it. */
const told = (order: Order): object =>
  "for" in order && order.for !== undefined ? { ...order, for: Duration.format(order.for) } : order

const atOnce: Lever = { on: "settings", pull: Effect.void, release: undefined }

const unknownName = (message: string): UnknownName => new UnknownName({ error: { code: "unknown_name", message } })

const listed = (names: ReadonlyArray<string>): string =>
  names.length === 0
    ? "There is none."
    : `There ${names.length === 1 ? "is" : "are"} ${names.slice(0, maxListed).join(", ")}${
      names.length > maxListed ? `, and ${names.length - maxListed} more` : ""
    }.`

const steered = <A>(effect: Effect.Effect<A, CannotSteer>): Effect.Effect<A, UnknownName> =>
  Effect.mapError(effect, ({ message }) => unknownName(message))

const embedded = <A>(effect: Effect.Effect<A, SemanticCache.NoEmbedding>): Effect.Effect<A, StoreDown> =>
  Effect.mapError(effect, ({ message }) => new StoreDown({ error: { code: "store_unavailable", message } }))

/** Circuits and limits of the accounts of a provider, for one model or all. */
const policiesOf = Effect.fnUntraced(function*(
  isMeant: (entry: { readonly owner: string; readonly name: string }) => boolean
) {
  const registry = yield* Registry.Current
  const limits = [
    ...yield* registry.list({ kind: "adaptiveLimit" }),
    ...yield* registry.list({ kind: "concurrencyLimit" })
  ].filter(isMeant)
  return {
    circuits: (yield* circuits.list).filter(isMeant).map(({ name, state }) => ({ name, state })),
    limits: yield* Effect.forEach(
      limits,
      ({ handle, name }) =>
        Effect.map(handle.inspect, ({ limit, queued, running }) => ({ name, limit, queued, running }))
    )
  }
})

/**
 * Makes the steering of a router. It lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<A>(
  { router, routing, settings }: Options<A>
): Effect.fn.Return<Admin, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const registry = yield* Registry.Current
  const lock = Semaphore.makeUnsafe(1)
  let held: ReadonlyArray<Held> = []
  let made = 0

  const circuit = Effect.fnUntraced(function*(name: string) {
    const found = yield* registry.find("circuitBreaker", name)
    if (found !== undefined) return found
    const all = yield* registry.list({ kind: "circuitBreaker" })
    return yield* Effect.fail(unknownName(`There is no circuit ${name}. ${listed(all.map(({ name }) => name))}`))
  })

  const leverOf = (order: Exclude<Order, { readonly do: "reload" }>): Lever => {
    switch (order.do) {
      case "drain":
      case "weight": {
        const { model, target } = order
        return {
          on: `weight of ${target} of ${model}`,
          pull: steered(router.weigh(model, { [target]: order.do === "drain" ? 0 : order.weight })),
          // A model, target or circuit that the settings no longer have needs no release; the same below.
          release: Effect.ignore(router.weigh(model, { [target]: undefined }))
        }
      }
      case "degrade":
        return {
          on: `answers of ${order.model}`,
          pull: steered(router.degrade(order.model, order.to)),
          release: Effect.ignore(router.degrade(order.model, undefined))
        }
      case "isolate":
        return {
          on: `circuit ${order.circuit}`,
          pull: Effect.flatMap(circuit(order.circuit), ({ isolate }) => isolate),
          release: Effect.ignore(Effect.flatMap(circuit(order.circuit), ({ automatic }) => automatic))
        }
      case "close":
        return {
          on: `circuit ${order.circuit}`,
          pull: Effect.flatMap(circuit(order.circuit), ({ automatic, close }) => Effect.andThen(automatic, close)),
          release: undefined
        }
      case "purge": {
        const { do: _, ...purge } = order
        return {
          on: "answers",
          pull: Effect.mapBoth(router.purge(purge), {
            onSuccess: ({ store = null, ...memory }) => ({ ...memory, store }),
            onFailure: ({ message }) => new StoreDown({ error: { code: "store_unavailable", message } })
          }),
          release: undefined
        }
      }
      case "recover":
        return { on: `accounts of ${order.provider}`, pull: steered(router.reset(order.provider)), release: undefined }
    }
  }

  const isInForce = ({ act }: Held): boolean => act.ended === null

  const end = Effect.fnUntraced(function*(one: Held, ended: Omit<Ended, "at">) {
    one.act = { ...one.act, ended: { at: yield* Clock.currentTimeMillis, ...ended } }
    if (ended.because !== "replaced") yield* one.lever.release ?? Effect.void
    const gone = held.filter((other) => !isInForce(other)).slice(0, -maxEnded)
    held = held.filter((other) => !gone.includes(other))
    if (ended.because === "done") return
    yield* Effect.logInfo("admin act ended", {
      act: one.act.id,
      ...ended,
      by: ended.by ?? undefined,
      ...told(one.act.order)
    })
  })

  const untilOf = (order: Order, now: number): Act["until"] => {
    if (!("target" in order || order.do === "isolate" || order.do === "degrade")) return null
    return order.for === undefined ? order.until ?? "undone" : now + Duration.toMillis(order.for)
  }

  const record = Effect.fnUntraced(function*(
    order: Order,
    by: string,
    id: string | undefined,
    lever: Lever,
    dropped: Done["dropped"] = null
  ) {
    const at = yield* Clock.currentTimeMillis
    id ??= String(++made)
    yield* Effect.logInfo("admin act", { act: id, by, ...told(order), dropped: dropped ?? undefined })
    const one: Held = { act: { id, order, by, at, until: untilOf(order, at), ended: null }, lever }
    held = [...held, one]
    if (lever.release === undefined) yield* end(one, { because: "done", by: null })
    return one
  })

  /** Ends an act in its time, unless it has ended before. */
  const expire = (one: Held, after: Duration.Duration) =>
    Effect.suspend(() => isInForce(one) ? end(one, { because: "time", by: null }) : Effect.void).pipe(
      lock.withPermit,
      Effect.delay(after),
      Effect.forkIn(scope)
    )

  const carryOut = Effect.fnUntraced(
    function*(order: Exclude<Order, { readonly do: "reload" }>, by: string, id?: string) {
      const lever = leverOf(order)
      const dropped = (yield* lever.pull) ?? null
      for (const other of held) {
        if (isInForce(other) && other.lever.on === lever.on) yield* end(other, { because: "replaced", by })
      }
      const one = yield* record(order, by, id, lever, dropped)
      if ("for" in order && order.for !== undefined) yield* expire(one, order.for)
      return { ...one.act, dropped }
    },
    (effect) => lock.withPermit(Effect.uninterruptible(effect))
  )

  const reload = Effect.fnUntraced(function*(order: Order, by: string, id?: string) {
    yield* Effect.mapError(
      settings.refresh,
      ({ message }) => new Refused({ error: { code: "settings_refused", message } })
    )
    const one = yield* record(order, by, id, atOnce)
    return { ...one.act, dropped: null }
  })

  yield* Settings.follow(settings, () =>
    Effect.gen(function*() {
      for (const one of held.filter(isInForce)) {
        if (one.act.until === "settings") yield* end(one, { because: "settings", by: null })
        // A new resource does not have the act's effect yet; a removed one needs no undoing.
        else yield* Effect.catch(one.lever.pull, () => end(one, { because: "gone", by: null }))
      }
    }).pipe(lock.withPermit))

  const status = Effect.gen(function*() {
    const { refusal, revision, since, sources } = yield* settings.status
    return {
      version,
      settings: {
        revision,
        since,
        sources: sources.map(({ reason = null, ...source }) => ({ ...source, reason })),
        refusal: refusal === undefined ? null : { at: refusal.at, problems: refusal.error.message.split("\n") }
      },
      actsInForce: held.filter(isInForce).length,
      workers: []
    }
  })

  const routes = Effect.gen(function*() {
    const { models } = routing(yield* settings.current)
    const state = yield* router.inspect
    return yield* Effect.forEach(
      state.routes,
      ({ degraded = null, failover, mirror = null, model, targets }) =>
        Effect.map(
          Effect.forEach(targets, ({ name, ...load }) => {
            const { account = null, model: named = null, provider = "" } = models[model]?.targets.find((target) =>
              armOf(target) === name
            ) ?? {}
            const asked = named ?? (model === "*" ? null : model)
            const own = ({ name, owner }: { readonly owner: string; readonly name: string }) =>
              (account === null ? owner.startsWith(`${provider}/`) : owner === `${provider}/${account}`) &&
              (asked === null || name === `${owner}/${asked}`)
            return Effect.map(
              policiesOf(own),
              (policies) => ({ name, provider, account, model: named, ...load, ...policies })
            )
          }),
          (targets) => ({ model, degraded, targets, failover, mirror })
        )
    )
  })

  const askBalance = (provider: string, account: string) =>
    Effect.flatMap(router.lookup(provider, account), (source) =>
      source?.provider.paths.balance === undefined
        ? Effect.succeed(null)
        : Effect.map(source.balance, ({ balance_infos }) =>
          balance_infos.map(({ currency, total_balance }) => ({ currency, total: total_balance })))).pipe(
        Effect.timeout(balanceTimeout),
        Effect.orElseSucceed(() => null)
      )

  const balances = new Map<string, { readonly at: number; readonly balance: (typeof Account.Type)["balance"] }>()

  /** As it was asked for lately: a page or a terminal that looks every second must not ask the provider as often. */
  const balanceOf = Effect.fnUntraced(function*(provider: string, account: string) {
    const key = JSON.stringify([provider, account])
    const now = yield* Clock.currentTimeMillis
    const last = balances.get(key)
    if (last !== undefined && now - last.at < balanceAge) return last.balance
    const balance = yield* askBalance(provider, account)
    balances.set(key, { at: now, balance })
    return balance
  })

  const accounts: Admin["accounts"] = ({ balance: asked } = { balance: true }) =>
    Effect.flatMap(router.inspect, ({ providers }) =>
      Effect.forEach(
        providers.flatMap(({ accounts, provider, url }) => accounts.map((state) => ({ provider, url, state }))),
        ({ provider, state: { inFlight, keys, name, resting = null, weight }, url }) =>
          Effect.map(
            Effect.all([
              asked ? balanceOf(provider, name) : Effect.succeed(null),
              policiesOf(({ owner }) => owner === `${provider}/${name}`)
            ]),
            ([balance, policies]) => ({
              provider,
              account: name,
              url,
              weight,
              inFlight,
              resting,
              keys: keys.map((retired = undefined, index) => ({ position: index + 1, retired: retired ?? null })),
              balance,
              ...policies
            })
          ),
        { concurrency: 10 }
      ))

  return {
    status,
    routes,
    accounts,
    acts: Effect.sync(() => held.map(({ act }) => act)),
    act: (order, by, id) => order.do === "reload" ? reload(order, by, id) : carryOut(order, by, id),
    undo: (id, by) =>
      Effect.gen(function*() {
        const one = held.find((one) => one.act.id === id && isInForce(one))
        if (one === undefined) {
          const inForce = held.filter(isInForce).map(({ act }) => act.id)
          return yield* unknownName(`There is no act ${id} in force. ${listed(inForce)}`)
        }
        yield* end(one, { because: "undone", by })
        return one.act
      }).pipe(Effect.uninterruptible, lock.withPermit),
    explainCache: ({ limit = 10, model, question, ...narrow }) =>
      Effect.flatMap(
        steered(router.semantic(model)),
        (cache) => embedded(cache.explain(question, { ...narrow, limit }))
      ),
    evaluateCache: ({ model, pairs }) =>
      Effect.flatMap(steered(router.semantic(model)), (cache) => embedded(cache.evaluate(pairs))),
    restore: (acts) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        for (const act of acts) {
          const lever = act.order.do === "reload" ? atOnce : leverOf(act.order)
          const one: Held = { act, lever }
          held = [...held, one]
          if (act.ended !== null) continue
          yield* Effect.catch(lever.pull, () => end(one, { because: "gone", by: null }))
          if (typeof act.until === "number") yield* expire(one, Duration.millis(Math.max(0, act.until - now)))
        }
      }).pipe(Effect.uninterruptible, lock.withPermit)
  }
})
