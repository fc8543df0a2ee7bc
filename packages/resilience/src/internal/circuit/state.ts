/** What `inspect` shows of a machine in a store. */
import * as Duration from "effect/Duration"
import type { State } from "../../CircuitBreakerStore.ts"
import * as Machine from "./machine.ts"
import * as Trip from "./trip.ts"

export const of = (spec: Machine.Spec, machine: Machine.Machine, now: number): State => {
  const { openings, phase, shadow } = machine
  switch (phase._tag) {
    case "Closed": {
      const { calls, failures, slow } = Trip.counts(phase.counter, () => now)
      return { _tag: "Closed", calls, failures, slow, shadow, openings }
    }
    case "Open":
      return now < phase.until
        ? { _tag: "Open", retryAfter: Duration.millis(Math.ceil(phase.until - now)), openings, shadow }
        : { _tag: "HalfOpen", running: 0, succeeded: 0, failed: 0, shadow, openings }
    case "HalfOpen": {
      const { failed, succeeded } = phase
      return { _tag: "HalfOpen", running: Machine.running(spec, phase, now), succeeded, failed, shadow, openings }
    }
    case "Isolated":
    case "Disabled":
      return { _tag: phase._tag, openings }
  }
}
