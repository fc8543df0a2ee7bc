/** The settings of a circuit breaker, and what they are checked into. */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import * as check from "../check.ts"
import type * as Machine from "./machine.ts"
import * as OpenDuration from "./openDuration.ts"
import type * as Trip from "./trip.ts"
import * as TripPolicy from "./tripPolicy.ts"

/**
 * Settings of a circuit breaker that can change while calls run.
 *
 * **Details**
 *
 * `failureRate`, `slowRate`, `minimumCalls` and `window` describe the usual time
 * window; whoever wants another rule, or several, gives `trip` in their place.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** When the circuit opens. Default: the time window of the four settings below. */
  readonly trip?: Trip.Trip | undefined
  /** Share of failed calls that opens the circuit, in (0, 1]. Default 0.5. */
  readonly failureRate?: number | undefined
  /** Share of slow calls that opens the circuit, in (0, 1]. Default: how slow calls are is not judged. */
  readonly slowRate?: number | undefined
  /** Calls that must have ended within the window before a rate counts, at least 1. Default 10. */
  readonly minimumCalls?: number | undefined
  /** The stretch of time that is judged, above zero. Kept in ten slices, so it slides in tenths. Default 10 seconds. */
  readonly window?: Duration.Input | undefined
  /** A call that takes so long or longer is slow, above zero; the outcome's own `slow` wins. Default: only that counts. */
  readonly slowAfter?: Duration.Input | undefined
  /**
   * How long the circuit stays open, above zero. The n-th opening in a row takes the n-th delay of a schedule, which
   * must not suspend; its last one repeats. Default 30 seconds.
   */
  readonly openDuration?: OpenDuration.Input | undefined
  /**
   * How long an opening lasts at most, however far `openDuration` and the dependency's `retryAfter` reach; at least
   * `openDuration`. Default 5 minutes, or `openDuration` if that is longer.
   */
  readonly maxOpenDuration?: Duration.Input | undefined
  /** Calls that run while half-open, at once and in all; at least 1. Default 1. */
  readonly probes?: number | undefined
  /** Probes that must succeed for the circuit to close, from 1 to `probes`. Default: all of them. */
  readonly probeThreshold?: number | undefined
  /**
   * How long a probe may take, above zero. Then the next caller takes its place and its result changes nothing.
   * Default 5 minutes.
   */
  readonly probeTimeout?: Duration.Input | undefined
}

export const defaults = {
  failureRate: 0.5,
  minimumCalls: 10,
  window: "10 seconds",
  openDuration: "30 seconds",
  maxOpenDuration: "5 minutes",
  probes: 1,
  probeTimeout: "5 minutes"
} satisfies Settings

export interface Checked extends Machine.Spec {
  /** Milliseconds from which on a call is slow; infinite when nobody measures. */
  readonly slowAfter: number
}

const ofWindow = ["failureRate", "slowRate", "minimumCalls", "window"] as const

const tripOf = (where: string, settings: Settings): Trip.Trip => {
  if (settings.trip !== undefined) {
    for (const field of ofWindow) {
      if (settings[field] !== undefined) check.refuse(where, field, "left out beside trip", settings[field])
    }
    return TripPolicy.checked(where, settings.trip)
  }
  return TripPolicy.timeWindowOf(where, {
    window: settings.window ?? defaults.window,
    minimumCalls: settings.minimumCalls ?? defaults.minimumCalls,
    failureRate: settings.failureRate ?? defaults.failureRate,
    slowRate: settings.slowRate
  })
}

const maxOpenDurationOf = (where: string, settings: Settings, least: number): number => {
  const max = check.positive(
    where,
    "maxOpenDuration",
    settings.maxOpenDuration ?? Math.max(least, Duration.toMillis(defaults.maxOpenDuration))
  )
  if (max < least) {
    const format = (millis: number) => Duration.format(Duration.millis(millis))
    check.refuse(where, "maxOpenDuration", `at least openDuration (${format(least)})`, format(max))
  }
  return max
}

export const checked = (where: string, settings: Settings, context: Context.Context<never>): Checked => {
  const trip = tripOf(where, settings)
  const input = settings.openDuration ?? defaults.openDuration
  const openDuration = OpenDuration.make(where, input, context)
  const maxOpenDuration = maxOpenDurationOf(where, settings, Schedule.isSchedule(input) ? 0 : openDuration(1))
  const probes = check.positiveInteger(where, "probes", settings.probes ?? defaults.probes)
  const probeThreshold = check.positiveInteger(where, "probeThreshold", settings.probeThreshold ?? probes)
  if (probeThreshold > probes) check.refuse(where, "probeThreshold", `at most probes (${probes})`, probeThreshold)
  return {
    trip,
    openDuration,
    maxOpenDuration,
    probes,
    probeThreshold,
    probeTimeout: check.positive(where, "probeTimeout", settings.probeTimeout ?? defaults.probeTimeout),
    slowAfter: settings.slowAfter === undefined ? Infinity : check.positive(where, "slowAfter", settings.slowAfter)
  }
}

/** Settings with changes; what is left out stays. A new `trip` takes the place of the window and its rates. */
export const merged = (settings: Settings, changes: Settings): Settings => {
  const kept = changes.trip === undefined
    ? settings
    : { ...settings, failureRate: undefined, slowRate: undefined, minimumCalls: undefined, window: undefined }
  return {
    trip: changes.trip ?? kept.trip,
    failureRate: changes.failureRate ?? kept.failureRate,
    slowRate: changes.slowRate ?? kept.slowRate,
    minimumCalls: changes.minimumCalls ?? kept.minimumCalls,
    window: changes.window ?? kept.window,
    slowAfter: changes.slowAfter ?? kept.slowAfter,
    openDuration: changes.openDuration ?? kept.openDuration,
    maxOpenDuration: changes.maxOpenDuration ?? kept.maxOpenDuration,
    probes: changes.probes ?? kept.probes,
    probeThreshold: changes.probeThreshold ?? kept.probeThreshold,
    probeTimeout: changes.probeTimeout ?? kept.probeTimeout
  }
}
