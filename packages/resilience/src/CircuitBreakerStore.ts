/**
 * Where circuits that several processes share are kept: in Redis, or in memory
 * for one process and for tests.
 *
 * A store decides, by its own clock, in one step for each request: what two
 * processes ask at the same time is decided one after the other. An admission
 * carries the era (the stretch of one phase) in which it was given and, for a
 * probe, a token that no other one has. That is the fence: a result whose era is
 * over, or whose probe was past its limit, changes nothing, however late it
 * comes.
 *
 * A store is asked by `SharedCircuitBreaker`, which keeps what it was told for a
 * moment and so asks it less often than once a call.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import * as Schema from "effect/Schema"
import type * as CircuitBreaker from "./CircuitBreaker.ts"
import type * as Machine from "./internal/circuit/machine.ts"
import * as memoryStore from "./internal/circuit/memoryStore.ts"
import * as redisStore from "./internal/circuit/redisStore.ts"
import * as Outcome from "./Outcome.ts"

/**
 * What a circuit is held to, checked, as plain data with times in whole
 * milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Spec {
  readonly trip: CircuitBreaker.Trip
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
export type State = CircuitBreaker.State & { readonly openings: number }

/**
 * What a store says about a circuit, so that calls may be decided without it
 * for a moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface View {
  readonly phase: CircuitBreaker.State["_tag"]
  /** The stretch of that phase. */
  readonly era: string
  /** Whether nobody is rejected. */
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
  /** The token of the probe that the call is; without one it is none. */
  readonly probe: number | undefined
  /** Whether that probe took the place of one that was past its limit. */
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
 * Options of how long a store remembers a key.
 *
 * @category options
 * @since 0.1.0
 */
export interface MemoryOptions {
  /**
   * How long a circuit that no call comes to is kept beyond what matters (its window, its open time), above zero.
   * Default 1 hour.
   */
  readonly idleTimeToLive?: Duration.Input | undefined
}

/**
 * Keeps circuits in this process, by the monotonic clock.
 *
 * **Details**
 *
 * What was set by hand is kept until told otherwise. Throws a `RangeError` when
 * an option is out of its bounds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory = (options?: MemoryOptions): Layer.Layer<CircuitBreakerStore> => {
  const make = memoryStore.make("CircuitBreakerStore.layerStoreMemory", options)
  return Layer.sync(CircuitBreakerStore, () => CircuitBreakerStore.of(make()))
}

/**
 * Options of the store in Redis.
 *
 * @category options
 * @since 0.1.0
 */
export interface RedisOptions extends MemoryOptions {
  /** What its keys begin with, without braces. Default `"ballast:circuit"`. */
  readonly prefix?: string | undefined
  /**
   * How long what was set by hand (isolate, disable, shadow) is kept after the last request for its key, above zero;
   * every key in Redis expires. Default 30 days.
   */
  readonly manualTimeToLive?: Duration.Input | undefined
}

/**
 * Keeps circuits in Redis, by the server's clock.
 *
 * **Details**
 *
 * A decision is one script call on one key, `{prefix:key}`, which expires. A
 * server that has lost its keys starts with closed circuits and new eras, so
 * results of calls from before change nothing. After a server's clock went back
 * nothing lasts longer than it was to. Needs Redis 5 or later.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreRedis = (options?: RedisOptions): Layer.Layer<CircuitBreakerStore, never, Redis.Redis> =>
  Layer.effect(
    CircuitBreakerStore,
    redisStore.make(
      "CircuitBreakerStore.layerStoreRedis",
      options,
      (operation, cause, detail) => new CircuitBreakerStoreError({ operation, cause, detail })
    )
  )

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
