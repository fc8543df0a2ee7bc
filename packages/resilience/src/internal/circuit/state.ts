/** What `inspect` and telemetry show of a circuit. */
import * as Duration from "effect/Duration"
import type { CircuitState } from "../telemetry.ts"
import * as Machine from "./machine.ts"
import * as Trip from "./trip.ts"

/**
 * The state of a circuit breaker.
 *
 * **Details**
 *
 * `shadow` says that the breaker only observes and rejects no call.
 *
 * @category models
 * @since 0.1.0
 */
export type State =
  /** Calls run; the counts are those of the trip rule, of a combination those of its first one. */
  | {
    readonly _tag: "Closed"
    readonly calls: number
    readonly failures: number
    readonly slow: number
    readonly shadow: boolean
  }
  /** Calls are rejected; after `retryAfter` it is half-open. This is the `openings`-th time in a row. */
  | {
    readonly _tag: "Open"
    readonly retryAfter: Duration.Duration
    readonly openings: number
    readonly shadow: boolean
  }
  /** `running` probes are under way within their limit, and the others have ended. */
  | {
    readonly _tag: "HalfOpen"
    readonly running: number
    readonly succeeded: number
    readonly failed: number
    readonly shadow: boolean
  }
  /** Calls are rejected until told otherwise. */
  | { readonly _tag: "Isolated" }
  /** Calls run and none is counted, until told otherwise. */
  | { readonly _tag: "Disabled" }

/** The phases as telemetry names them. */
export const nameOf: { readonly [P in Machine.Phase["_tag"]]: CircuitState } = {
  Closed: "closed",
  HalfOpen: "half-open",
  Open: "open",
  Isolated: "isolated",
  Disabled: "disabled"
}

export const of = (spec: Machine.Spec, machine: Machine.Machine, now: number): State => {
  const { openings, phase, shadow } = machine
  switch (phase._tag) {
    case "Closed": {
      const { calls, failures, slow } = Trip.counts(phase.counter, () => now)
      return { _tag: "Closed", calls, failures, slow, shadow }
    }
    case "Open":
      return now < phase.until
        ? { _tag: "Open", retryAfter: Duration.millis(Math.ceil(phase.until - now)), openings, shadow }
        : { _tag: "HalfOpen", running: 0, succeeded: 0, failed: 0, shadow }
    case "HalfOpen": {
      const { failed, succeeded } = phase
      return { _tag: "HalfOpen", running: Machine.running(spec, phase, now), succeeded, failed, shadow }
    }
    case "Isolated":
    case "Disabled":
      return phase
  }
}
