/** The constructors of trip rules, and the check of one that came as data. */
import type * as Duration from "effect/Duration"
import * as check from "../check.ts"
import type * as Trip from "./trip.ts"

/**
 * Opens a circuit after so many failures in a row, in the order in which calls
 * end.
 *
 * @category trip rules
 * @since 0.1.0
 */
export const consecutive = (failures: number): Trip.Trip => ({
  _tag: "Consecutive",
  times: check.positiveInteger("CircuitBreaker.consecutive", "failures", failures),
  of: "failures"
})

/**
 * Opens a circuit after so many slow calls in a row, in the order in which they
 * end; whether they failed makes no difference.
 *
 * @category trip rules
 * @since 0.1.0
 */
export const consecutiveSlow = (calls: number): Trip.Trip => ({
  _tag: "Consecutive",
  times: check.positiveInteger("CircuitBreaker.consecutiveSlow", "calls", calls),
  of: "slow"
})

/**
 * The shares that open a circuit.
 *
 * @category options
 * @since 0.1.0
 */
export interface Rates {
  /** Share of failed calls, in (0, 1]. Default 0.5, or not judged when `slowRate` is given. */
  readonly failureRate?: number | undefined
  /** Share of slow calls, in (0, 1]. Default: not judged. */
  readonly slowRate?: number | undefined
}

/**
 * Options of a window over the last calls.
 *
 * @category options
 * @since 0.1.0
 */
export interface CountWindowOptions extends Rates {
  /** Calls in the window, from 1 to 100,000. */
  readonly size: number
  /** Calls that must have ended before a share counts, from 1 to `size`. Default `size`. */
  readonly minimumCalls?: number | undefined
}

/**
 * Options of a window over the last stretch of time.
 *
 * @category options
 * @since 0.1.0
 */
export interface TimeWindowOptions extends Rates {
  /** The stretch of time that is judged, above zero. Kept in ten slices, so it slides in tenths. Default 10 seconds. */
  readonly window?: Duration.Input | undefined
  /** Calls that must have ended within the window before a share counts, at least 1. Default 10. */
  readonly minimumCalls?: number | undefined
}

const defaults = { failureRate: 0.5, window: "10 seconds", minimumCalls: 10 } as const

const largest = 100_000

const ratesOf = (where: string, { failureRate, slowRate }: Rates) => {
  if (slowRate === undefined) {
    return { failureRate: check.rate(where, "failureRate", failureRate ?? defaults.failureRate) }
  }
  return {
    ...(failureRate === undefined ? {} : { failureRate: check.rate(where, "failureRate", failureRate) }),
    slowRate: check.rate(where, "slowRate", slowRate)
  }
}

const countWindowOf = (where: string, options: CountWindowOptions): Trip.Trip => {
  const size = check.positiveInteger(where, "size", options.size)
  if (size > largest) check.refuse(where, "size", "at most 100,000", size)
  const minimumCalls = check.positiveInteger(where, "minimumCalls", options.minimumCalls ?? size)
  if (minimumCalls > size) check.refuse(where, "minimumCalls", `at most size (${size})`, minimumCalls)
  return { _tag: "CountWindow", size, minimumCalls, ...ratesOf(where, options) }
}

export const timeWindowOf = (where: string, options: TimeWindowOptions): Trip.Trip => ({
  _tag: "TimeWindow",
  window: check.positive(where, "window", options.window ?? defaults.window),
  minimumCalls: check.positiveInteger(where, "minimumCalls", options.minimumCalls ?? defaults.minimumCalls),
  ...ratesOf(where, options)
})

/**
 * Opens a circuit by the shares of failed or of slow calls among the last ones,
 * however long ago those were.
 *
 * @category trip rules
 * @since 0.1.0
 */
export const countWindow = (options: CountWindowOptions): Trip.Trip =>
  countWindowOf("CircuitBreaker.countWindow", options)

/**
 * Opens a circuit by the shares of failed or of slow calls among those that
 * ended lately.
 *
 * @category trip rules
 * @since 0.1.0
 */
export const timeWindow = (options?: TimeWindowOptions): Trip.Trip =>
  timeWindowOf("CircuitBreaker.timeWindow", options ?? {})

const severalOf = (where: string, trips: ReadonlyArray<Trip.Trip>) => {
  if (trips.length === 0) check.refuse(where, "trips", "at least one", "none")
  return trips
}

/**
 * Opens a circuit as soon as one of several rules is met.
 *
 * @category trip rules
 * @since 0.1.0
 */
export const anyOf = (...trips: ReadonlyArray<Trip.Trip>): Trip.Trip => ({
  _tag: "AnyOf",
  trips: severalOf("CircuitBreaker.anyOf", trips)
})

/**
 * Opens a circuit while all of several rules are met at the same time.
 *
 * @category trip rules
 * @since 0.1.0
 */
export const allOf = (...trips: ReadonlyArray<Trip.Trip>): Trip.Trip => ({
  _tag: "AllOf",
  trips: severalOf("CircuitBreaker.allOf", trips)
})

/** A rule that may have come from elsewhere as plain data. */
export const checked = (where: string, trip: Trip.Trip): Trip.Trip => {
  switch (trip._tag) {
    case "Consecutive":
      if (trip.of !== "failures" && trip.of !== "slow") check.refuse(where, "trip.of", "failures or slow", trip.of)
      return { ...trip, times: check.positiveInteger(where, "trip.times", trip.times) }
    case "CountWindow":
      return countWindowOf(where, trip)
    case "TimeWindow":
      return timeWindowOf(where, trip)
    case "AnyOf":
    case "AllOf":
      return { _tag: trip._tag, trips: severalOf(where, trip.trips).map((part) => checked(where, part)) }
    default:
      return check.refuse(where, "trip", "a trip rule", JSON.stringify(trip))
  }
}
