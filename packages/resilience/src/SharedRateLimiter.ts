/**
 * A rate limit that several processes share: one limit for each key of a name,
 * kept in a `RateLimiterStore`.
 *
 * Plain, each call is decided by the store. Calls that come while it decides ask
 * together in the next request, so that under load one request decides for many,
 * and calls of one process start in the order in which they came. A call whose
 * turn it is not is rejected or waits; only the first one asks the store again,
 * when it said that there will be room, so an interrupted waiter took nothing.
 * What the store took for a call that was interrupted meanwhile is given back.
 *
 * With a `lease` a process takes weight in batches and decides by itself, in one
 * synchronous step. What it holds unused when a stretch of time begins it may
 * use within it. So in any stretch of time all processes together start at most
 * what the limit allows and `lease.size` for each process, and also no more than
 * what the limit allows in a stretch that is longer by `lease.duration`.
 *
 * The store's clock alone counts; those of the processes may differ. When the
 * store fails, or does not answer in time, calls run or fail as `onStoreError`
 * says, and `ballast_store_errors_total` counts it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as guard from "./internal/guard.ts"
import * as Policy from "./internal/policy.ts"
import { durationOf, type Rejection } from "./internal/rate/line.ts"
import * as Weight from "./internal/rate/options.ts"
import type { Reservation } from "./internal/rate/reservation.ts"
import * as Shared from "./internal/rate/shared.ts"
import type { SharedEvent } from "./internal/rate/sharedEvent.ts"
import * as Checked from "./internal/rate/sharedOptions.ts"
import * as Reserve from "./internal/rate/sharedReservation.ts"
import { longestLife } from "./internal/rate/spec.ts"
import { unlimited } from "./internal/rate/unlimited.ts"
import type { RateLimiterStore, RateLimiterStoreError } from "./RateLimiterStore.ts"

export type { Lease, SharedOptions as Options, SharedSettings as Settings } from "./internal/rate/sharedOptions.ts"
export type { Rejection, Reservation, SharedEvent as Event }

/**
 * The shared limits of all keys; called with a key it gives that key's limiter.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedRateLimiter {
  (key: string): Limiter
  /** Reads what this process knows; changes nothing and does not ask the store. */
  readonly inspect: Effect.Effect<State>
  /** What this process does, from the subscription on. */
  readonly events: Stream.Stream<SharedEvent>
  /**
   * Changes this process's settings while calls run and wait; what is left out
   * stays. Give other processes the same limit. Throws a `RangeError` as `make`
   * does.
   */
  readonly update: (settings: Checked.SharedSettings) => Effect.Effect<void>
}

/**
 * What one process knows of its shared limits.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Keys that calls wait for, or for which weight is leased. */
  readonly keys: number
  /** Calls that wait for their turn or for the store. */
  readonly queued: number
  /** Weight that is leased and not used yet. */
  readonly leased: number
}

/**
 * The shared limit of one key as a policy.
 *
 * **Details**
 *
 * What steers it (`pause`, `block`, `penalize`, `reward`) is done at the store,
 * so it holds in all processes, and fails when the store does. Calls that wait in
 * another process see within a second that a hold was ended; leased weight does
 * not see it before its time is over.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limiter extends Policy.Policy<Rejection> {
  /** The limiter for calls of this weight. */
  readonly weigh: (weight: number) => Policy.Policy<Rejection>
  /**
   * Takes weight on an estimate, after a wait like a call's. Interrupted while it
   * waits it takes nothing; from its success on the reservation is the caller's.
   */
  readonly reserve: (weight?: number) => Effect.Effect<Reservation, Rejection>
  /**
   * Like `reserve`; what was not settled when the scope closes is given back when
   * an interruption closes it, and stays taken otherwise.
   */
  readonly reserveScoped: (weight?: number) => Effect.Effect<Reservation, Rejection, Scope.Scope>
  /** Corrects a reservation to its true weight, at the store; the first time counts. */
  readonly settle: (reservation: Reservation, weight: number) => Effect.Effect<void>
  /** Lets nothing start for so long, also of what waits already; a shorter pause never shortens a longer one. */
  readonly pause: (duration: Duration.Input) => Effect.Effect<void, RateLimiterStoreError>
  /** Ends a pause. */
  readonly resume: Effect.Effect<void, RateLimiterStoreError>
  /** Rejects every call for so long, those who wait included; until `unblock`, or ten years, when no duration is given. */
  readonly block: (duration?: Duration.Input) => Effect.Effect<void, RateLimiterStoreError>
  /** Ends a block. */
  readonly unblock: Effect.Effect<void, RateLimiterStoreError>
  /** Takes weight without a call; it may go beyond the limit, and later calls wait for it. */
  readonly penalize: (weight: number) => Effect.Effect<void, RateLimiterStoreError>
  /** Gives weight back, up to all that is taken. */
  readonly reward: (weight: number) => Effect.Effect<void, RateLimiterStoreError>
  /** Asks the store how things stand; takes nothing. */
  readonly peek: (weight?: number) => Effect.Effect<Standing, RateLimiterStoreError>
}

/**
 * How a limit stands at the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Standing {
  /** The wait that a call would have, those in line aside; infinite when it never has its turn. */
  readonly wait: Duration.Duration
  /** Whether calls are rejected, by hand. */
  readonly blocked: boolean
  /** Whole weight that could be taken now; below zero when some is owed. */
  readonly available: number
  /** Time until the limit is as good as new, when nothing more is taken. */
  readonly resetAfter: Duration.Duration
}

const limiterOf = (shared: Shared.Shared, key: string): Limiter => {
  const weighing = (weight: number): Policy.Policy<Rejection> =>
    guard.makePolicy<Shared.Held, Rejection>({
      enter: (fiber) => shared.enter(key, fiber, weight, false),
      exit: shared.exit
    })
  const where = (method: string) => `SharedRateLimiter.${method}`
  const weightOf = (method: string, weight = 1) => Weight.weight(where(method), weight)
  const hold = (kind: "pause" | "block", duration: Duration.Input): Effect.Effect<void, RateLimiterStoreError> => {
    const millis = Math.min(check.notNegative(where(kind), "duration", duration), longestLife)
    return millis === 0 ? Effect.void : shared.hold(key, kind, millis)
  }

  return Object.assign(weighing(1), {
    weigh: (weight: number) => weighing(weightOf("weigh", weight)),
    reserve: (weight?: number) => Reserve.reserve(shared, key, weightOf("reserve", weight)),
    reserveScoped: (weight?: number) => Reserve.reserveScoped(shared, key, weightOf("reserveScoped", weight)),
    settle: (reservation: Reservation, weight: number) => reservation.settle(weight),
    pause: (duration: Duration.Input) => hold("pause", duration),
    resume: shared.release(key, "pause"),
    block: (duration: Duration.Input = Duration.infinity) => hold("block", duration),
    unblock: shared.release(key, "block"),
    penalize: (weight: number) => shared.penalize(key, Weight.amount(where("penalize"), weight)),
    reward: (weight: number) => shared.reward(key, Weight.amount(where("reward"), weight)),
    peek: (weight?: number) =>
      Effect.map(shared.peek(key, weightOf("peek", weight)), ({ blocked, remaining, reset, wait }): Standing => ({
        wait: durationOf(wait),
        blocked,
        available: Math.floor(remaining + 1e-9) + 0,
        resetAfter: durationOf(reset)
      }))
  })
}

/**
 * Creates a shared rate limiter for a scope. When the scope closes, calls that
 * wait are interrupted; what the store took for them is given back, and so is
 * leased weight. That takes no longer than `storeTimeout`.
 *
 * **Details**
 *
 * A stream takes its weight once, at its first pull. A call whose wait is known
 * to be longer than `maxWait`, or not to end before the caller's deadline, is
 * rejected at once. Processes are not in one line: which of them has its turn
 * first is left to who asks first.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Sharing a provider's limit)
 *
 * ```ts
 * import { RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const limiter = yield* SharedRateLimiter.make({ name: "provider", limit: 100, window: "1 second" })
 *   return yield* limiter("key 1")(Effect.succeed("answer"))
 * }).pipe(Effect.scoped, Effect.provide(RateLimiterStore.layerStoreMemory))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Checked.SharedOptions
): Effect.Effect<SharedRateLimiter, never, RateLimiterStore | Scope.Scope> => {
  const checked = Checked.checked("SharedRateLimiter.make", options)
  const name = options.name ?? Weight.defaults.name
  return Effect.map(Shared.make(checked, name), (shared) =>
    Object.assign((key: string) => limiterOf(shared, key), {
      inspect: Effect.sync((): State => {
        const lines = Array.from(shared.lines())
        return {
          keys: lines.length,
          queued: lines.reduce((sum, line) => sum + line.queued(), 0),
          leased: lines.reduce((sum, line) => sum + line.leased(), 0)
        }
      }),
      events: shared.events.stream,
      update: (settings: Checked.SharedSettings) => {
        shared.check(settings)
        return Effect.sync(() => shared.update(settings))
      }
    }))
}

const free: Limiter = Object.assign(Policy.make<Rejection>({ effect: (self) => self, stream: (self) => self }), {
  ...unlimited,
  peek: () =>
    Effect.succeed<Standing>({ wait: Duration.zero, blocked: false, available: Infinity, resetAfter: Duration.zero })
})

/**
 * The shared rate limiter that does nothing: it has no limit and asks no store.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: SharedRateLimiter = Object.assign((_key: string) => free, {
  inspect: Effect.succeed<State>({ keys: 0, queued: 0, leased: 0 }),
  events: Stream.empty,
  update: () => Effect.void
})
