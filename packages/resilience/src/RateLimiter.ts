/**
 * A rate limiter: limits the weight per window of time, counted in one of five
 * ways.
 *
 * | algorithm | lets through | remembers |
 * |---|---|---|
 * | `token-bucket` | `burst` at once, then `limit` per window evenly | one number |
 * | `leaky-bucket` | one after the other, evenly, nothing at once | one number |
 * | `fixed-window` | `limit` per window that begins with its first call; twice that around its end | two numbers |
 * | `sliding-counter` | about `limit` in any window; less than twice that at worst | three numbers |
 * | `sliding-log` | never more than `limit` in any window | each call of a window |
 *
 * The buckets are kept as the time at which they would be full again (the
 * generic cell rate algorithm, ITU-T I.371), so a decision is a comparison and an
 * addition. A call whose turn it is not is rejected, or waits in a queue in
 * strict order of arrival: a heavy call is not overtaken by light ones. Only the
 * first in the queue has a timer. Weight is taken when it is granted and not
 * when a call lines up, so an interrupted waiter costs nothing and those behind
 * it move up at once. A call that runs keeps what it took, however it ends;
 * `reserve` and `settle` correct an estimate.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as Events from "./internal/events.ts"
import * as guard from "./internal/guard.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"
import type { Algorithm } from "./internal/rate/algorithm.ts"
import * as Engine from "./internal/rate/engine.ts"
import type * as Model from "./internal/rate/engineModel.ts"
import { RateLimitExceeded, type Reason } from "./internal/rate/exceeded.ts"
import * as Checked from "./internal/rate/options.ts"
import type { Options, Settings } from "./internal/rate/options.ts"
import * as Reserve from "./internal/rate/reservation.ts"
import type { Reservation } from "./internal/rate/reservation.ts"
import { unlimited } from "./internal/rate/unlimited.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Keyed from "./Keyed.ts"

export type { Algorithm, Options, Reason, Reservation, Settings }
export { RateLimitExceeded }

/**
 * The state of a rate limiter.
 *
 * @category models
 * @since 0.1.0
 */
export type State = Model.State

/**
 * What happens to a rate limiter and to the calls that it does not let through
 * at once.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Model.Event

/**
 * A rate limiter as a policy, whose state can be read and steered by hand.
 *
 * **Details**
 *
 * A call weighs 1; `weigh` gives the same limiter for calls of another weight.
 * Weights are finite numbers above zero; where nothing may be meant (`settle`,
 * `penalize`, `reward`) zero is one too. Anything else throws a `RangeError`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RateLimiter extends Policy.Policy<RateLimitExceeded> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run and wait; what is left out stays, and what
   * was taken stays taken. Throws a `RangeError` as `make` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
  /** The limiter for calls of this weight. */
  readonly weigh: (weight: number) => Policy.Policy<RateLimitExceeded>
  /**
   * Takes weight on an estimate, after a wait like a call's. Interrupted while
   * it waits it takes nothing; from its success on the reservation is the
   * caller's.
   */
  readonly reserve: (weight?: number) => Effect.Effect<Reservation, RateLimitExceeded>
  /**
   * Like `reserve`; what was not settled when the scope closes is given back
   * when an interruption closes it, and stays taken otherwise.
   */
  readonly reserveScoped: (weight?: number) => Effect.Effect<Reservation, RateLimitExceeded, Scope.Scope>
  /**
   * Corrects a reservation to its true weight: gives the rest back to where it
   * was taken from, so that waiters move up at once, or charges the excess, which
   * later calls wait for. The first time counts, after that it does nothing.
   */
  readonly settle: (reservation: Reservation, weight: number) => Effect.Effect<void>
  /**
   * Grants nothing for so long, also to those who wait already; who would then
   * wait for too long is rejected at once. The longest pause counts: a shorter
   * one never shortens it.
   */
  readonly pause: (duration: Duration.Input) => Effect.Effect<void>
  /** Ends a pause. */
  readonly resume: Effect.Effect<void>
  /**
   * Rejects every call for so long, those who wait included; until `unblock` when
   * no duration is given. The longest block counts.
   */
  readonly block: (duration?: Duration.Input) => Effect.Effect<void>
  /** Ends a block. */
  readonly unblock: Effect.Effect<void>
  /** Takes weight without a call; it may go beyond the limit, and later calls wait for it. */
  readonly penalize: (weight: number) => Effect.Effect<void>
  /** Gives weight back, up to all that is taken. */
  readonly reward: (weight: number) => Effect.Effect<void>
  /** The wait that a call would have now, infinite when it has none that ends; takes nothing. */
  readonly peek: (weight?: number) => Effect.Effect<Duration.Duration>
}

/** A limiter that also says, in the same step, whether it may be dropped. */
interface Kept extends RateLimiter {
  readonly atRest: (fiber: Fiber.Fiber<unknown, unknown>) => boolean
}

const build = (where: string, options: Options): Effect.Effect<Kept> => {
  const name = options.name ?? Checked.defaults.name
  const initial = Checked.checked(where, options)
  const meters: Model.Meters = {
    rejected: telemetry.makeRejected("rate-limiter", name),
    waited: telemetry.makeWaited("rate-limiter", name),
    paused: telemetry.makePaused(name),
    settled: telemetry.makeSettled(name)
  }

  return Effect.withFiber((maker) => {
    const events = Events.make<Event>()
    const engine = Engine.make(name, initial, time.now(maker), meters, events)

    const weighing = (weight: number): Policy.Policy<RateLimitExceeded> =>
      guard.makePolicy<Model.Entry, RateLimitExceeded>({
        enter: (fiber) => engine.enter(fiber, time.now(fiber), weight, false),
        exit: (entry, _exit, fiber) => engine.exit(entry, fiber)
      })

    const step = (f: (fiber: Fiber.Fiber<unknown, unknown>) => void): Effect.Effect<void> =>
      Effect.withFiber((fiber) => {
        f(fiber)
        return Effect.void
      })

    const weightOf = (method: string, weight = 1) => Checked.weight(`RateLimiter.${method}`, weight)

    return Effect.succeed<Kept>(Object.assign(weighing(1), {
      inspect: Effect.withFiber<State>((fiber) => Effect.succeed(engine.inspect(fiber))),
      events: events.stream,
      update: (settings: Settings) => {
        engine.check(settings)
        return step((fiber) => engine.update(fiber, settings))
      },
      weigh: (weight: number) => weighing(weightOf("weigh", weight)),
      reserve: (weight?: number) => Reserve.reserve(engine, weightOf("reserve", weight)),
      reserveScoped: (weight?: number) => Reserve.reserveScoped(engine, weightOf("reserveScoped", weight)),
      settle: (reservation: Reservation, weight: number) => reservation.settle(weight),
      pause: (duration: Duration.Input) => {
        const millis = check.notNegative("RateLimiter.pause", "duration", duration)
        return step((fiber) => engine.pause(fiber, millis))
      },
      resume: step(engine.resume),
      block: (duration: Duration.Input = Duration.infinity) => {
        const millis = check.notNegative("RateLimiter.block", "duration", duration)
        return step((fiber) => engine.block(fiber, millis))
      },
      unblock: step(engine.unblock),
      penalize: (weight: number) => {
        const amount = Checked.amount("RateLimiter.penalize", weight)
        return step((fiber) => engine.penalize(fiber, amount))
      },
      reward: (weight: number) => {
        const amount = Checked.amount("RateLimiter.reward", weight)
        return step((fiber) => engine.reward(fiber, amount))
      },
      peek: (weight?: number) => {
        const amount = weightOf("peek", weight)
        return Effect.withFiber<Duration.Duration>((fiber) => Effect.succeed(engine.peek(fiber, amount)))
      },
      atRest: engine.atRest
    }))
  })
}

/**
 * Creates a rate limiter.
 *
 * **Details**
 *
 * A stream takes its weight once, at its first pull. A call whose wait would be
 * longer than `maxWait`, or would not end before the caller's deadline, is
 * rejected at once and does not wait in vain. One that weighs more than `burst`,
 * or than `limit` where there is no burst, is always rejected.
 *
 * With `warmUp` a bucket starts cold: a third of the rate, and of the burst.
 * While something is outstanding it warms up, evenly, to the full rate; while
 * nothing is it cools down as fast.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Limiting tokens whose number is known afterwards)
 *
 * ```ts
 * import { RateLimiter } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const tokens = yield* RateLimiter.make({ name: "tokens", limit: 10_000, window: "1 minute", maxWait: "1 minute" })
 *   const reservation = yield* tokens.reserve(1_200)
 *   const used = yield* Effect.succeed(800)
 *   yield* tokens.settle(reservation, used)
 *   return yield* tokens.inspect // => { available: 9200, queued: 0 }
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<RateLimiter> => build("RateLimiter.make", options)

/**
 * The rate limiters of all keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyedRateLimiter extends Keyed.Updatable<RateLimitExceeded, RateLimiter, Settings> {
  /** Pauses a key, as its limiter's `pause` does. */
  readonly pause: (key: string, duration: Duration.Input) => Effect.Effect<void>
  /** Blocks a key, as its limiter's `block` does. */
  readonly block: (key: string, duration?: Duration.Input) => Effect.Effect<void>
}

/**
 * Creates a rate limiter for each key; all have the same name.
 *
 * **Details**
 *
 * A key's limiter is dropped once it was idle for `idleTimeToLive`, 10 minutes by
 * default, and is as good as new: nothing is taken, paused or blocked.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options: Options & Keyed.Bounds
): Effect.Effect<KeyedRateLimiter> => {
  const one = build("RateLimiter.keyed", options)
  return Effect.map(
    keyedPolicies.updatable<RateLimitExceeded, Settings, Kept>({
      make: () => one,
      atRest: (limiter, fiber) => limiter.atRest(fiber),
      idleTimeToLive: options.idleTimeToLive,
      maxKeys: options.maxKeys
    }),
    (limiters) =>
      Object.assign((key: string) => limiters(key), {
        get: limiters.get,
        keys: limiters.keys,
        update: limiters.update,
        pause: (key: string, duration: Duration.Input) =>
          Effect.flatMap(limiters.get(key), (limiter) => limiter.pause(duration)),
        block: (key: string, duration?: Duration.Input) =>
          Effect.flatMap(limiters.get(key), (limiter) => limiter.block(duration))
      })
  )
}

/**
 * The rate limiter that does nothing: it has no limit.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: RateLimiter = Object.assign(
  Policy.make<RateLimitExceeded>({ effect: (self) => self, stream: (self) => self }),
  {
    ...unlimited,
    inspect: Effect.succeed<State>({ available: Infinity, queued: 0 }),
    events: Stream.empty,
    update: () => Effect.void,
    peek: () => Effect.succeed(Duration.zero)
  }
)

/**
 * The rate limiters of all keys that do nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noopKeyed: KeyedRateLimiter = Object.assign(Keyed.of<RateLimitExceeded, RateLimiter>(noop), {
  pause: unlimited.pause,
  block: unlimited.block
})
