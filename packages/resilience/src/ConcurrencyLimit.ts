/**
 * A concurrency limit (bulkhead): at most `limit` slots are taken at once, up to
 * `queue` calls wait for theirs, and the rest are rejected.
 *
 * A call takes one slot, or as many as `weigh` says. Those of a higher priority
 * are served first, whatever that costs the lower ones. Within a priority the
 * tenants that wait take turns, and the calls of a tenant, or of none in
 * particular, are served in order of arrival: a large call that doesn't fit yet
 * holds back all that come after it.
 *
 * Every decision is one synchronous step. What a decision costs grows with the
 * logarithm of the number of calls that wait, and of their tenants. A freed slot
 * is handed on in the same step in which it is freed, so no call can slip in
 * between. An interrupted waiter leaves the queue at once, and one that was
 * interrupted after it was given its slot hands it on. No call waits past its
 * caller's deadline.
 *
 * Settings can change while calls run: a smaller limit lets the running calls
 * finish, a larger one admits waiters at once.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as Engine from "./internal/concurrency/engine.ts"
import { QueueFull, QueueTimeout, TooHeavy } from "./internal/concurrency/errors.ts"
import * as Events from "./internal/events.ts"
import * as guard from "./internal/guard.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"
import type * as Keyed from "./Keyed.ts"

export { QueueFull, QueueTimeout, TooHeavy }
export {
  type Call,
  type CallEvent,
  CurrentTenant,
  type QueueSettings,
  type Reason,
  type TenantState
} from "./internal/concurrency/engine.ts"

/**
 * A concurrency limit as a policy, which can be read and changed.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConcurrencyLimit extends Policy.Policy<QueueFull | QueueTimeout> {
  /**
   * The same limit for calls that take this number of slots each, an integer of at
   * least 1. One that takes more than there are is rejected, at once or when its
   * turn comes.
   */
  readonly weigh: (weight: number) => Policy.Policy<QueueFull | QueueTimeout | TooHeavy>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** The tenants that hold slots or wait, in no particular order. */
  readonly tenants: Effect.Effect<ReadonlyArray<Engine.TenantState>>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /** Changes the limit while calls run. Throws a `RangeError` when it is not an integer of at least 1. */
  readonly resize: (limit: number) => Effect.Effect<void>
  /**
   * Changes settings while calls run and wait; what is left out stays. Throws a
   * `RangeError` as `make` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * The state of a concurrency limit: slots that are taken, calls that wait, and
 * the limit. After a `resize` more may be taken than the limit says.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly limit: number
  readonly running: number
  readonly queued: number
}

/**
 * What happens to calls that do not run at once, and to the limit.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Engine.CallEvent | {
  /** The limit was changed. */
  readonly _tag: "Resized"
  readonly from: number
  readonly to: number
}

/**
 * Settings of a concurrency limit that can change while calls run and wait.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings extends Engine.QueueSettings {
  /** Slots that may be taken at once, at least 1. */
  readonly limit?: number | undefined
}

/**
 * Options of a concurrency limit.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Settings {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  readonly limit: number
}

const defaults = { ...Engine.defaults, name: "default" } satisfies Partial<Options>

const checked = (
  where: string,
  settings: Settings,
  otherwise: Omit<typeof Engine.defaults, "maxWait"> & { readonly limit: number; readonly maxWait: Duration.Input }
): Engine.Settings => ({
  ...Engine.checked(where, settings, otherwise),
  limit: check.positiveInteger(where, "limit", settings.limit ?? otherwise.limit)
})

/** A concurrency limit that also says, in the same step, whether it may be dropped. */
interface Kept extends ConcurrencyLimit {
  readonly atRest: () => boolean
}

const build = (where: string, options: Options): Effect.Effect<Kept> => {
  const initial = checked(where, options, { ...defaults, limit: options.limit })

  return Effect.sync(() => {
    const events = Events.make<Event>()
    const engine = Engine.make("concurrency-limit", options.name ?? defaults.name, initial, events)

    const weighing = <E>(weight: Engine.Weight<E>) =>
      guard.makePolicy<Engine.Entry<E>, QueueFull | QueueTimeout | E>({
        enter: (fiber) => engine.enter(fiber, weight),
        exit: (entry, _exit, fiber) => engine.exit(entry, fiber)
      })

    const change = (where: string, changes: Settings): Effect.Effect<void> => {
      checked(where, changes, engine.settings)
      return Effect.sync(() => {
        const { limit } = engine.settings
        const changed = checked(where, changes, engine.settings)
        if (changed.limit !== limit && events.active) {
          events.publish({ _tag: "Resized", from: limit, to: changed.limit })
        }
        engine.change(changed)
      })
    }

    const self: Kept = Object.assign(weighing(Engine.light), {
      weigh: (weight: number) =>
        weighing(Engine.heavy(check.positiveInteger("ConcurrencyLimit.weigh", "weight", weight))),
      inspect: Effect.sync((): State => ({
        limit: engine.settings.limit,
        running: engine.active,
        queued: engine.queued
      })),
      tenants: Effect.sync(engine.tenants),
      events: events.stream,
      resize: (limit: number) =>
        self.update({ limit: check.positiveInteger("ConcurrencyLimit.resize", "limit", limit) }),
      update: (changes: Settings) => change("ConcurrencyLimit.update", changes),
      atRest: () => engine.active === 0 && engine.queued === 0
    })
    return self
  })
}

/**
 * Creates a concurrency limit.
 *
 * **Details**
 *
 * The priority of a call is `Priority.CurrentPriority`, its tenant
 * `CurrentTenant`; a call without one belongs to no tenant in particular, which is a
 * tenant of its own except that `perTenant` doesn't hold for it. A tenant that
 * has all its slots holds no other call back.
 *
 * When the queue is full, an arrival takes the place of the newest waiter of the
 * lowest priority below its own. If there is none, it takes that of the newest
 * waiter of the tenant that waits most in its own priority, if that tenant has
 * at least two more in the queue; else it is rejected itself.
 *
 * A stream holds its slots from its first pull until it has ended and its
 * resources are released, or until the consumer stops.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Gotchas**
 *
 * Nothing but `maxWait` ends the wait of a low priority while higher ones keep
 * coming.
 *
 * **Example** (Sharing slots among tenants)
 *
 * ```ts
 * import { ConcurrencyLimit } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const limit = yield* ConcurrencyLimit.make({ name: "reports", limit: 10, queue: 100, perTenant: 5 })
 *   const small = limit(Effect.succeed("one page"))
 *   const large = limit.weigh(4)(Effect.succeed("a hundred pages"))
 *   return yield* Effect.all([small, large]).pipe(
 *     Effect.provideService(ConcurrencyLimit.CurrentTenant, "acme")
 *   )
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<ConcurrencyLimit> => build("ConcurrencyLimit.make", options)

/**
 * Creates a concurrency limit for each key; all have the same name.
 *
 * **Details**
 *
 * A key's limit is dropped once it was idle for `idleTimeToLive`, 10 minutes by
 * default, and nothing runs or waits in it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options: Options & Keyed.Bounds
): Effect.Effect<Keyed.Updatable<QueueFull | QueueTimeout, ConcurrencyLimit, Settings>> => {
  const one = build("ConcurrencyLimit.keyed", options)
  return keyedPolicies.updatable<QueueFull | QueueTimeout, Settings, Kept>({
    make: () => one,
    atRest: (limit) => limit.atRest(),
    idleTimeToLive: options.idleTimeToLive,
    maxKeys: options.maxKeys
  })
}

/**
 * The concurrency limit that does nothing: it has no limit.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: ConcurrencyLimit = Object.assign(
  Policy.make<never>({ effect: (self) => self, stream: (self) => self }),
  {
    weigh: () => Policy.identity,
    inspect: Effect.succeed<State>({ limit: Infinity, running: 0, queued: 0 }),
    tenants: Effect.succeed([]),
    events: Stream.empty,
    resize: () => Effect.void,
    update: () => Effect.void
  }
)
