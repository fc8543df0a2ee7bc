/** What `inspect` and telemetry show of a circuit. */
import * as Duration from "effect/Duration"
import type { State } from "../../CircuitBreaker.ts"
import type { CircuitState } from "../telemetry.ts"
import * as Machine from "./machine.ts"
import * as Trip from "./trip.ts"

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
