/** What a store of circuits is asked and answers; the stores themselves stand beside it. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Outcome from "../../Outcome.ts"
import type * as Machine from "./machine.ts"
import type * as Circuit from "./state.ts"
import type { Trip } from "./trip.ts"

/**
 * What a circuit is held to, checked, as plain data with times in whole
 * milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Spec {
  readonly trip: Trip
  /** How long the n-th opening in a row lasts; the last one repeats. */
  readonly openDurations: readonly [number, ...Array<number>]
  readonly maxOpenDuration: number
  readonly probes: number
  readonly probeThreshold: number
  /** The lease of a probe. */
  readonly probeTimeout: number
}

/**
 * The state of a circuit.
 *
 * **Details**
 *
 * `openings` is how often in a row it has opened; a row that is over is forgotten
 * at the next opening.
 *
 * @category models
 * @since 0.1.0
 */
export type State = Circuit.State & { readonly openings: number }

/**
 * What a store says about a circuit, so that calls may be decided without it
 * for a moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface View {
  readonly phase: Circuit.State["_tag"]
  /** The stretch of that phase. */
  readonly era: string
  /** Whether the breaker only observes and rejects no call. */
  readonly shadow: boolean
  /** Openings in a row. */
  readonly openings: number
  /** Milliseconds until the next probe, while open. */
  readonly left?: number | undefined
  /** Whether a probe would be admitted, while half-open. */
  readonly free?: boolean | undefined
}

/**
 * A phase that began in the step that tells of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transition extends Machine.Transition {
  /** Milliseconds of the opening, when that begins. */
  readonly openFor?: number | undefined
}

/**
 * What a store answers: the state after the step, and what began in it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly view: View
  readonly transitions: ReadonlyArray<Transition>
}

/**
 * What a store answers to a call: `view` says whether it runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Admission extends Answer {
  /** The probe's token; undefined when the call is not a probe. */
  readonly probe: number | undefined
  /** Whether that probe took the place of a probe past its time limit. */
  readonly replaced: boolean
}

/**
 * How a call ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Result {
  /** The era of the call's admission. */
  readonly era: string
  readonly probe: number | undefined
  readonly outcome: "success" | "failure" | "ignored"
  readonly slow: boolean
  /** The dependency's hint in milliseconds. */
  readonly retryAfter: number | undefined
}

/**
 * What can be told to a circuit by hand.
 *
 * @category models
 * @since 0.1.0
 */
export type Command = Machine.Command

/**
 * The store of shared circuits.
 *
 * **Details**
 *
 * Each method is one step at the store; times are its own clock's. A circuit
 * follows the `spec` of the request: counts are kept as far as another rule
 * counts the same.
 *
 * @category services
 * @since 0.1.0
 */
export class CircuitBreakerStore extends Context.Service<CircuitBreakerStore, {
  /** Asks for a call, which becomes a probe when the circuit is half-open and has a slot. */
  readonly admit: (key: string, spec: Spec) => Effect.Effect<Admission, CircuitBreakerStoreError>
  /** Tells how calls ended, in the order in which they did. */
  readonly record: (
    key: string,
    spec: Spec,
    results: ReadonlyArray<Result>
  ) => Effect.Effect<Answer, CircuitBreakerStoreError>
  /** Does what is told by hand. */
  readonly control: (key: string, spec: Spec, command: Command) => Effect.Effect<Answer, CircuitBreakerStoreError>
  /** Reads the state; changes nothing. */
  readonly inspect: (key: string, spec: Spec) => Effect.Effect<State, CircuitBreakerStoreError>
}>()("@ballast/resilience/CircuitBreakerStore") {}

/**
 * The store gave no answer, or an error.
 *
 * **Details**
 *
 * Whether the step was done is not known. It says nothing about the dependency
 * that the circuit protects.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitBreakerStoreError extends Schema.TaggedError<CircuitBreakerStoreError>()(
  "CircuitBreakerStoreError",
  {
    operation: Schema.String,
    cause: Schema.Defect(),
    /** What to do, where something can be done. */
    detail: Schema.optional(Schema.String)
  }
) {
  override get message() {
    return `The store of circuits failed to ${this.operation}${this.detail === undefined ? "" : `: ${this.detail}`}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ retryable: true, executed: false })
  }
}
