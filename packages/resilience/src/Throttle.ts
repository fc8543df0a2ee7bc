/**
 * A client-side throttle: turns calls away before they are sent, in the measure
 * in which the dependency has lately turned them away itself.
 *
 * It counts, over a `window`, the calls that callers wanted to make and those
 * that the dependency accepted. Once callers want more than K times what is
 * accepted, a call is rejected with the probability
 * `(requests − K × accepts) / (requests + 1)`. So an overloaded dependency is
 * spared the cost of saying no, and some calls always get through to find out
 * that it is well again. See "Handling Overload", Site Reliability Engineering,
 * Google, 2016.
 *
 * A decision is one synchronous step on a plain record and never waits. A call
 * counts when it ends; one that is interrupted or ignored doesn't count, so a
 * rejection by a policy inside is never the dependency's. Chance comes from
 * `Random`, so a seeded run repeats.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as Events from "./internal/events.ts"
import * as guard from "./internal/guard.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"
import * as rejection from "./internal/rejection.ts"
import * as RollingSum from "./internal/rollingSum.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import type * as Keyed from "./Keyed.ts"
import * as Outcome from "./Outcome.ts"
import * as Priority from "./Priority.ts"

/**
 * A throttle as a policy, whose state can be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Throttle<in In = unknown> extends Policy.Policy<Throttled, In> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run, which hold from the next call on; what is
   * left out stays. Throws a `RangeError` as `make` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * The state of a throttle.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Calls within the window that ended and were judged, or were rejected here. */
  readonly requests: number
  /** Those among them that the dependency accepted. */
  readonly accepts: number
  /** The probability with which a call of each priority would be rejected now. */
  readonly rejection: { readonly [P in Priority.Priority]: number }
}

/**
 * What happens to a call that is rejected.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = {
  readonly _tag: "Throttled"
  readonly priority: Priority.Priority
  /** The probability with which it was rejected. */
  readonly probability: number
}

/**
 * Settings of a throttle that can change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** K: how many calls may be wanted for each one that is accepted, at least 1. Lower is stricter. Default 2. */
  readonly multiplier?: number | undefined
  /** Requests that must be in the window before any call is rejected, zero or more. Default 10. */
  readonly minimumRequests?: number | undefined
  /** The highest probability of a rejection, in (0, 1]; what is left gets through and finds out. Default 0.95. */
  readonly maxRejection?: number | undefined
}

/**
 * Options of a throttle.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in E = unknown> extends Settings {
  /** Name in errors and metrics; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** The stretch of time that is judged, above zero. Kept in ten slices. Default 2 minutes. */
  readonly window?: Duration.Input | undefined
  /** Judges a finished call: a success was accepted, a failure was not. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier<E> | undefined
}

const defaults = {
  name: "default",
  multiplier: 2,
  minimumRequests: 10,
  maxRejection: 0.95,
  window: "2 minutes",
  classify: Outcome.classify
} satisfies Options

/** What K − 1, the calls that are wanted in vain, is multiplied by for each priority. */
const patience: { readonly [P in Priority.Priority]: number } = { critical: 4, high: 2, normal: 1, low: 0.5 }

interface Checked {
  readonly multiplier: number
  readonly minimumRequests: number
  readonly maxRejection: number
}

const checked = (where: string, settings: Settings | undefined, otherwise: Checked): Checked => {
  const multiplier = settings?.multiplier ?? otherwise.multiplier
  if (!(multiplier >= 1 && multiplier < Infinity)) {
    check.refuse(where, "multiplier", "a finite number of at least 1", multiplier)
  }
  return {
    multiplier,
    minimumRequests: check.count(where, "minimumRequests", settings?.minimumRequests ?? otherwise.minimumRequests),
    maxRejection: check.rate(where, "maxRejection", settings?.maxRejection ?? otherwise.maxRejection)
  }
}

type Entry =
  | { readonly _tag: "Admitted"; readonly wait: undefined }
  | { readonly _tag: "Rejected"; readonly wait: Effect.Effect<never, Throttled> }

const admitted: Entry = { _tag: "Admitted", wait: undefined }

/** A throttle that also says, in the same step, whether it may be dropped. */
interface Kept extends Throttle {
  readonly atRest: (fiber: Fiber.Fiber<unknown, unknown>) => boolean
}

const build = (where: string, options: Options | undefined): Effect.Effect<Kept> => {
  const name = options?.name ?? defaults.name
  const initial = checked(where, options, defaults)
  const window = check.positive(where, "window", options?.window ?? defaults.window)
  const classify = options?.classify ?? defaults.classify
  const rejected = telemetry.makeRejected("throttle", name)

  return Effect.sync(() => {
    let settings = initial
    const requests = RollingSum.atMost(window)
    const accepts = RollingSum.atMost(window)
    const events = Events.make<Event>()

    const probability = (now: number, priority: Priority.Priority): number => {
      const wanted = RollingSum.total(requests, now)
      if (wanted < settings.minimumRequests) return 0
      const multiplier = 1 + (settings.multiplier - 1) * patience[priority]
      const surplus = wanted - multiplier * RollingSum.total(accepts, now)
      return Math.min(settings.maxRejection, Math.max(0, surplus / (wanted + 1)))
    }

    const enter = (fiber: Fiber.Fiber<unknown, unknown>): Entry => {
      const now = time.now(fiber)
      const priority = fiber.getRef(Priority.CurrentPriority)
      const odds = probability(now, priority)
      if (odds === 0 || fiber.getRef(Random.Random).nextDoubleUnsafe() >= odds) return admitted
      RollingSum.add(requests, now, 1)
      rejected(fiber)
      if (events.active) events.publish({ _tag: "Throttled", priority, probability: odds })
      return {
        _tag: "Rejected",
        wait: Effect.fail(rejection.make(Throttled, { throttle: name, priority, probability: odds }))
      }
    }

    const exit = (entry: Entry, exit: Exit.Exit<unknown, unknown>, fiber: Fiber.Fiber<unknown, unknown>): void => {
      if (entry._tag === "Rejected") return
      const outcome = classify(exit)
      if (outcome._tag === "Ignored") return
      const now = time.now(fiber)
      RollingSum.add(requests, now, 1)
      if (outcome._tag === "Success") RollingSum.add(accepts, now, 1)
    }

    const inspect = Effect.withFiber((fiber) => {
      const now = time.now(fiber)
      return Effect.succeed<State>({
        requests: RollingSum.total(requests, now),
        accepts: RollingSum.total(accepts, now),
        rejection: {
          critical: probability(now, "critical"),
          high: probability(now, "high"),
          normal: probability(now, "normal"),
          low: probability(now, "low")
        }
      })
    })

    const update = (changes: Settings): Effect.Effect<void> => {
      checked("Throttle.update", changes, defaults)
      return Effect.sync(() => {
        settings = checked("Throttle.update", changes, settings)
      })
    }

    return Object.assign(guard.makePolicy<Entry, Throttled>({ enter, exit }), {
      inspect,
      events: events.stream,
      update,
      atRest: (fiber: Fiber.Fiber<unknown, unknown>) => RollingSum.total(requests, time.now(fiber)) === 0
    })
  })
}

/**
 * Creates a throttle.
 *
 * **Details**
 *
 * A priority changes K: with K = 2 a critical call has 5, a high one 3, a normal
 * one 2 and a low one 1.5, and with any other K, its excess over 1 is multiplied
 * likewise. So a higher priority is throttled later, and none while everything
 * is accepted.
 *
 * A stream is one call: it is admitted at its first pull and judged by its
 * exit. A consumer that stops early counts as a success once an item arrived,
 * and else as ignored.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Throttling a batch before its users)
 *
 * ```ts
 * import { Priority, Throttle } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const throttle = yield* Throttle.make({ name: "catalogue" })
 *   const call = throttle(Effect.succeed("answer"))
 *   yield* Effect.provideService(call, Priority.CurrentPriority, "low")
 *   return yield* call
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = unknown>(options?: Options<E>): Effect.Effect<Throttle<E>> =>
  // Its programs fail with `E` alone.
  build("Throttle.make", options as Options | undefined)

/**
 * Creates a throttle for each key; all have the same name.
 *
 * **Details**
 *
 * A key's throttle is dropped once it was idle for `idleTimeToLive`, 10 minutes
 * by default, and its window is empty.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options?: Options & Keyed.Bounds
): Effect.Effect<Keyed.Updatable<Throttled, Throttle, Settings>> => {
  const one = build("Throttle.keyed", options)
  return keyedPolicies.updatable<Throttled, Settings, Kept>({
    make: () => one,
    atRest: (throttle, fiber) => throttle.atRest(fiber),
    idleTimeToLive: options?.idleTimeToLive,
    maxKeys: options?.maxKeys
  })
}

/**
 * The throttle that does nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Throttle = Object.assign(
  Policy.make<Throttled>({ effect: (self) => self, stream: (self) => self }),
  {
    inspect: Effect.succeed<State>({
      requests: 0,
      accepts: 0,
      rejection: { critical: 0, high: 0, normal: 0, low: 0 }
    }),
    events: Stream.empty,
    update: () => Effect.void
  }
)

/**
 * A call rejected because the dependency turns too many away. The call did not
 * run.
 *
 * @category errors
 * @since 0.1.0
 */
export class Throttled extends Schema.TaggedError<Throttled>()("Throttled", {
  throttle: Schema.String,
  priority: Schema.Literals(Priority.all),
  /** The probability with which it was rejected, in (0, 1]. */
  probability: Schema.Number
}) {
  override get message() {
    const share = Math.round(this.probability * 100)
    return `Throttle "${this.throttle}" turned a call of ${this.priority} priority away: ${share} % of them are for now`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ executed: false })
  }
}
