/**
 * A circuit breaker: stops calling a dependency that fails, and finds out when
 * it is well again.
 *
 * - *Closed*: calls run. When at least `minimumCalls` calls ended in the last
 *   `window` and a share of `failureRate` or more of them failed, it opens.
 * - *Open*: calls are rejected at once with `CircuitOpen` until `openDuration`
 *   is over.
 * - *Half-open*: up to `probes` calls run, the rest are rejected, never held.
 *   One failed probe opens the circuit again, `probes` successes close it.
 *
 * Every decision is one synchronous step on a plain record, so concurrent
 * callers need no lock. A call belongs to the era (the stretch of one state) in
 * which it was admitted; a result that comes after its era changes nothing. An
 * interrupted or ignored call counts neither way, and gives a probe slot back.
 *
 * The breaker does not bound a call's time: put an attempt deadline inside it,
 * so that no probe runs for ever.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as check from "./internal/check.ts"
import * as guard from "./internal/guard.ts"
import type { Policy } from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as TimeWindow from "./internal/timeWindow.ts"
import * as Outcome from "./Outcome.ts"

/**
 * A circuit breaker as a policy, whose state can be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface CircuitBreaker extends Policy<CircuitOpen> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
}

/**
 * The state of a circuit breaker.
 *
 * @category models
 * @since 0.1.0
 */
export type State =
  /** Calls run; `calls` and `failures` are those of the current window. */
  | { readonly _tag: "Closed"; readonly calls: number; readonly failures: number }
  /** Calls are rejected; after `retryAfter` the next call becomes a probe. */
  | { readonly _tag: "Open"; readonly retryAfter: Duration.Duration }
  /** `running` probes are under way and `succeeded` ended well. */
  | { readonly _tag: "HalfOpen"; readonly running: number; readonly succeeded: number }

/**
 * Options of a circuit breaker.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** Share of failed calls that opens the circuit, in (0, 1]. Default 0.5. */
  readonly failureRate?: number | undefined
  /** Calls that must have ended within the window before the rate counts, at least 1. Default 10. */
  readonly minimumCalls?: number | undefined
  /** The stretch of time that is judged, above zero. Kept in ten slices, so it slides in tenths. Default 10 seconds. */
  readonly window?: Duration.Input | undefined
  /** How long the circuit stays open, above zero. Default 30 seconds. */
  readonly openDuration?: Duration.Input | undefined
  /** How far the dependency's `retryAfter` may lengthen `openDuration`, at least `openDuration`. Default 5 minutes. */
  readonly maxOpenDuration?: Duration.Input | undefined
  /** Calls that run while half-open, and successes that close the circuit; at least 1. Default 1. */
  readonly probes?: number | undefined
  /** Judges a finished call. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier | undefined
}

const defaults = {
  name: "default",
  failureRate: 0.5,
  minimumCalls: 10,
  window: "10 seconds",
  openDuration: "30 seconds",
  maxOpenDuration: "5 minutes",
  probes: 1,
  classify: Outcome.classify
} satisfies Options

type Era =
  | { readonly _tag: "Closed"; readonly wait: undefined; readonly window: TimeWindow.TimeWindow }
  | { readonly _tag: "Open"; readonly wait: undefined; readonly until: number }
  | { readonly _tag: "HalfOpen"; readonly wait: undefined; running: number; succeeded: number }

type Entry = Era | { readonly _tag: "Rejected"; readonly wait: Effect.Effect<never, CircuitOpen> }

const stateOf = { Closed: "closed", Open: "open", HalfOpen: "half-open" } as const

/**
 * Creates a circuit breaker.
 *
 * **Details**
 *
 * A stream is one call: it is admitted at its first pull and judged by its
 * exit. A consumer that stops early counts as a success once an item arrived,
 * and else as ignored.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<CircuitBreaker> => {
  const where = "CircuitBreaker.make"
  const name = options?.name ?? defaults.name
  const failureRate = check.rate(where, "failureRate", options?.failureRate ?? defaults.failureRate)
  const minimumCalls = check.positiveInteger(where, "minimumCalls", options?.minimumCalls ?? defaults.minimumCalls)
  const window = check.positive(where, "window", options?.window ?? defaults.window)
  const openDuration = check.positive(where, "openDuration", options?.openDuration ?? defaults.openDuration)
  const maxOpenDuration = check.positive(
    where,
    "maxOpenDuration",
    options?.maxOpenDuration ?? Math.max(openDuration, Duration.toMillis(defaults.maxOpenDuration))
  )
  if (maxOpenDuration < openDuration) {
    check.refuse(
      where,
      "maxOpenDuration",
      `at least openDuration (${Duration.format(Duration.millis(openDuration))})`,
      Duration.format(Duration.millis(maxOpenDuration))
    )
  }
  const probes = check.positiveInteger(where, "probes", options?.probes ?? defaults.probes)
  const classify = options?.classify ?? defaults.classify

  const rejected = telemetry.makeRejected("circuit-breaker", name)
  const transition = telemetry.makeTransition(name)

  return Effect.withFiber((fiber) => {
    const closed = (): Era => ({ _tag: "Closed", wait: undefined, window: TimeWindow.make(window) })
    let era: Era = closed()
    transition(fiber, "closed", "closed")

    const become = (fiber: Fiber.Fiber<unknown, unknown>, next: Era): Era => {
      transition(fiber, stateOf[era._tag], stateOf[next._tag])
      return era = next
    }

    const open = (fiber: Fiber.Fiber<unknown, unknown>, now: number, hint: Duration.Duration | undefined) => {
      const asked = hint === undefined ? 0 : Math.min(Duration.toMillis(hint), maxOpenDuration)
      become(fiber, { _tag: "Open", wait: undefined, until: now + Math.max(openDuration, asked) })
    }

    const reject = (fiber: Fiber.Fiber<unknown, unknown>, retryAfter: Duration.Duration | undefined): Entry => {
      rejected(fiber)
      return { _tag: "Rejected", wait: Effect.fail(new CircuitOpen({ breaker: name, retryAfter })) }
    }

    const probe = (fiber: Fiber.Fiber<unknown, unknown>, era: Extract<Era, { _tag: "HalfOpen" }>): Entry => {
      if (era.running + era.succeeded >= probes) return reject(fiber, undefined)
      era.running++
      return era
    }

    const enter = (fiber: Fiber.Fiber<unknown, unknown>): Entry => {
      switch (era._tag) {
        case "Closed":
          return era
        case "Open": {
          const left = era.until - time.now(fiber)
          if (left > 0) return reject(fiber, Duration.millis(Math.ceil(left)))
          const next = { _tag: "HalfOpen" as const, wait: undefined, running: 0, succeeded: 0 }
          become(fiber, next)
          return probe(fiber, next)
        }
        case "HalfOpen":
          return probe(fiber, era)
      }
    }

    const exit = (entry: Entry, exit: Exit.Exit<unknown, unknown>, fiber: Fiber.Fiber<unknown, unknown>): void => {
      if (entry !== era) return
      // Given back before the classifier runs, which may throw.
      if (era._tag === "HalfOpen") era.running--
      const outcome = classify(exit)
      if (outcome._tag === "Ignored") return
      const failed = outcome._tag === "Failure"
      const now = time.now(fiber)
      if (era._tag === "HalfOpen") {
        if (failed) return open(fiber, now, outcome.retryAfter)
        if (++era.succeeded >= probes) become(fiber, closed())
      } else if (era._tag === "Closed") {
        TimeWindow.record(era.window, now, failed, false)
        const { calls, failures } = era.window
        if (calls >= minimumCalls && failures / calls >= failureRate) {
          open(fiber, now, failed ? outcome.retryAfter : undefined)
        }
      }
    }

    const inspect = Effect.withFiber((fiber): Effect.Effect<State> => {
      const now = time.now(fiber)
      switch (era._tag) {
        case "Closed": {
          TimeWindow.advance(era.window, now)
          return Effect.succeed({ _tag: "Closed", calls: era.window.calls, failures: era.window.failures })
        }
        case "Open":
          return Effect.succeed({ _tag: "Open", retryAfter: Duration.millis(Math.max(0, Math.ceil(era.until - now))) })
        case "HalfOpen":
          return Effect.succeed({ _tag: "HalfOpen", running: era.running, succeeded: era.succeeded })
      }
    })

    return Effect.succeed(Object.assign(guard.makePolicy<Entry, CircuitOpen>({ enter, exit }), { inspect }))
  })
}

/**
 * A call rejected because the circuit is open, or half-open with all probes
 * taken.
 *
 * **Details**
 *
 * `retryAfter` is the time until the next probe; unknown while half-open. The
 * call did not run.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitOpen extends Schema.TaggedError<CircuitOpen>()("CircuitOpen", {
  breaker: Schema.String,
  retryAfter: Schema.UndefinedOr(Schema.Duration)
}) {
  override get message() {
    const when = this.retryAfter === undefined ? "a probe is running" : `retry in ${Duration.format(this.retryAfter)}`
    return `Circuit breaker "${this.breaker}" is open: ${when}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ retryAfter: this.retryAfter })
  }
}
