/**
 * When to try again: schedules whose waits grow, with jitter and a cap.
 *
 * A wait is a point on a curve (constant, linear, exponential, Fibonacci) that
 * grows to the cap and is then spread by jitter. So no wait is longer than the
 * cap, and callers that have reached the cap still wait for different times.
 * Chance comes from `Random`, so a seeded run repeats.
 *
 * These are plain schedules: `Retry.make({ schedule })` takes them, and so do
 * `Effect.retry` and `Effect.repeat`. Their output is the wait. They keep no
 * state between runs.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as check from "./internal/check.ts"

/**
 * How a wait is spread around its point on the curve.
 *
 * **Details**
 *
 * | jitter | the wait is drawn from |
 * |---|---|
 * | `"full"` | zero to the point |
 * | `"equal"` | half of the point to the point |
 * | `"none"` | the point alone |
 *
 * For decorrelated jitter, which is a curve of its own, see `decorrelated`.
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 *
 * @category models
 * @since 0.1.0
 */
export type Jitter = "full" | "equal" | "none"

/**
 * Options that all schedules have.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The first point of the curve, above zero. Default 1 second. */
  readonly base?: Duration.Input | undefined
  /** The highest point of the curve, above zero; jitter draws below it, so no wait is longer. Default 1 minute. */
  readonly cap?: Duration.Input | undefined
  /** Waits before the schedule is done, zero or more; `Infinity` for no end. Default `Infinity`. */
  readonly times?: number | undefined
}

/**
 * Options of a schedule that follows a curve.
 *
 * @category options
 * @since 0.1.0
 */
export interface CurveOptions extends Options {
  /** How waits are spread. Default `"full"`. */
  readonly jitter?: Jitter | undefined
}

const defaults = {
  base: "1 second",
  cap: "1 minute",
  times: Infinity,
  jitter: "full",
  factor: 2,
  spread: 3
} as const

/** Gives the points of one run of a schedule, one after the other, in milliseconds. */
type Curve = () => number

/** Draws a wait up to a point, given a number of [0, 1). */
const jitters: { readonly [J in Jitter]: (point: number, random: number) => number } = {
  full: (point, random) => random * point,
  equal: (point, random) => point / 2 + random * (point / 2),
  none: (point) => point
}

/**
 * Creates a schedule whose waits all start from the same point.
 *
 * **Example** (Trying again every five seconds, spread a little)
 *
 * ```ts
 * import { Backoff, Retry } from "@ballast/resilience"
 *
 * const retry = Retry.make({ schedule: Backoff.constant({ base: "5 seconds", jitter: "equal", times: 10 }) })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const constant = (options?: CurveOptions): Schedule.Schedule<Duration.Duration> =>
  curved("Backoff.constant", options, (base) => () => () => base)

/**
 * Creates a schedule whose waits grow by the same step: `base`, `base + step`,
 * `base + 2 × step`.
 *
 * **Details**
 *
 * `step` is zero or more, by default `base`. Throws a `RangeError` when an
 * option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const linear = (
  options?: CurveOptions & { readonly step?: Duration.Input | undefined }
): Schedule.Schedule<Duration.Duration> =>
  curved("Backoff.linear", options, (base) => {
    const step = options?.step === undefined ? base : check.notNegative("Backoff.linear", "step", options.step)
    return () => {
      let next = base
      return () => {
        const point = next
        next += step
        return point
      }
    }
  })

/**
 * Creates a schedule whose waits grow by the same factor: `base`,
 * `base × factor`, `base × factor²`.
 *
 * **Details**
 *
 * `factor` is at least 1, by default 2. Throws a `RangeError` when an option is
 * out of its bounds.
 *
 * **Example** (Backing off without a policy)
 *
 * ```ts
 * import { Backoff } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.retry(
 *   Effect.fail("busy"),
 *   Backoff.exponential({ base: "10 millis", cap: "1 second", times: 3 })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const exponential = (
  options?: CurveOptions & { readonly factor?: number | undefined }
): Schedule.Schedule<Duration.Duration> =>
  curved("Backoff.exponential", options, (base) => {
    const factor = factorOf("Backoff.exponential", options?.factor ?? defaults.factor)
    return () => {
      let next = base
      return () => {
        const point = next
        next *= factor
        return point
      }
    }
  })

/**
 * Creates a schedule whose waits grow as the sum of the two before: `base`,
 * `base`, `2 × base`, `3 × base`, `5 × base`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fibonacci = (options?: CurveOptions): Schedule.Schedule<Duration.Duration> =>
  curved("Backoff.fibonacci", options, (base) => () => {
    let point = 0
    let next = base
    return () => {
      const sum = point + next
      point = next
      next = sum
      return point
    }
  })

/**
 * Creates a schedule with decorrelated jitter: a wait is drawn from `base` to
 * `factor` times the wait before it, or to the cap if that is less.
 *
 * **Details**
 *
 * `factor` is at least 1, by default 3. Waits grow by chance alone, so callers
 * that failed together drift apart faster than on a common curve. No wait is
 * shorter than `base`; one that is not below the cap leaves nothing to draw, and
 * every wait is the cap. Throws a `RangeError` when an option is out of its
 * bounds. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015,
 * which cuts a wait at the cap after it is drawn: then most waits of a long
 * outage are the cap itself, and callers come back together.
 *
 * @category constructors
 * @since 0.1.0
 */
export const decorrelated = (
  options?: Options & { readonly factor?: number | undefined }
): Schedule.Schedule<Duration.Duration> => {
  const where = "Backoff.decorrelated"
  const base = check.positive(where, "base", options?.base ?? defaults.base)
  const factor = factorOf(where, options?.factor ?? defaults.spread)
  return scheduled(where, options, (cap) => {
    const least = Math.min(base, cap)
    let before = least
    return (random) => {
      const longest = Math.min(before * factor, cap)
      return before = least + random * (longest - least)
    }
  })
}

const curved = (
  where: string,
  options: CurveOptions | undefined,
  curve: (base: number) => () => Curve
): Schedule.Schedule<Duration.Duration> => {
  const begin = curve(check.positive(where, "base", options?.base ?? defaults.base))
  const name = options?.jitter ?? defaults.jitter
  const jitter = jitters[name] ?? check.refuse(where, "jitter", Object.keys(jitters).join(", "), name)
  return scheduled(where, options, (cap) => {
    const next = begin()
    return (random) => jitter(Math.min(next(), cap), random)
  })
}

/** Makes a schedule of waits, each drawn by chance; `begin` starts one run. */
const scheduled = (
  where: string,
  options: Options | undefined,
  begin: (cap: number) => (random: number) => number
): Schedule.Schedule<Duration.Duration> => {
  const cap = check.positive(where, "cap", options?.cap ?? defaults.cap)
  const times = check.count(where, "times", options?.times ?? defaults.times)
  return Schedule.fromStep(Effect.sync(() => {
    const draw = begin(cap)
    let waits = 0
    let last = Duration.zero
    return (): Pull.Pull<[Duration.Duration, Duration.Duration], never, Duration.Duration> => {
      if (waits >= times) return Cause.done(last)
      waits++
      return Effect.map(Random.next, (random) => {
        last = Duration.millis(draw(random))
        return [last, last]
      })
    }
  }))
}

const factorOf = (where: string, factor: number): number =>
  factor >= 1 && factor < Infinity ? factor : check.refuse(where, "factor", "a finite number of at least 1", factor)
