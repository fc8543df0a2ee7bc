/**
 * Retries a call that failed in a way that another try may mend.
 *
 * What may be retried is the outcome's business (`Outcome.classify`), when to
 * try again is a `Schedule`'s. The default is exponential backoff with full
 * jitter (every wait is drawn from zero to the current bound), which spreads
 * callers best; see "Exponential Backoff And Jitter", AWS Architecture Blog,
 * 2015. A server's `retryAfter` is a floor of the wait. The last error is
 * returned as it was.
 *
 * An interruption ends a wait at once. A stream is retried only while it has
 * emitted nothing: whoever saw an item would see it twice. Retry keeps no state
 * between calls.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as Policy from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Outcome from "./Outcome.ts"

/**
 * The number of the running attempt, 1 for the first, for the program inside a
 * retry.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentAttempt: Context.Reference<number> = Context.Reference("@ballast/resilience/Retry/CurrentAttempt", {
  defaultValue: () => 1
})

/**
 * Options of a retry.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** Attempts after the first one, zero or more; `Infinity` for no bound. Default 5. */
  readonly times?: number | undefined
  /** Bound of the first wait, above zero. Default 1 second. */
  readonly base?: Duration.Input | undefined
  /** What each bound is multiplied by to get the next, at least 1. Default 2. */
  readonly factor?: number | undefined
  /** The largest bound, above zero. Default 1 minute. */
  readonly cap?: Duration.Input | undefined
  /** When to try again, in place of `times`, `base`, `factor` and `cap`. Its input is the error. */
  readonly schedule?: Schedule.Schedule<unknown, unknown> | undefined
  /** The longest `retryAfter` that is waited for, zero or more. A longer one ends the retry. Default 1 minute. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** Judges a failed attempt. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier | undefined
}

type Decision = Pull.Pull<[output: unknown, delay: Duration.Duration], never, unknown>
type Step = (now: number, error: unknown) => Decision

const defaults = {
  name: "default",
  times: 5,
  base: "1 second",
  factor: 2,
  cap: "1 minute",
  maxRetryAfter: "1 minute",
  classify: Outcome.classify
} satisfies Options

/**
 * Creates a retry.
 *
 * **Details**
 *
 * The wait before an attempt is the larger of the schedule's and the outcome's
 * `retryAfter`. Throws a `RangeError` when an option is out of its bounds, and
 * when `schedule` comes beside an option that it replaces.
 *
 * **Gotchas**
 *
 * Only failures are judged; a successful result is never retried.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Policy.Policy<never> => {
  const name = options?.name ?? defaults.name
  const schedule = scheduleOf(options)
  const maxRetryAfter = check.notNegative(
    "Retry.make",
    "maxRetryAfter",
    options?.maxRetryAfter ?? defaults.maxRetryAfter
  )
  const classify = options?.classify ?? defaults.classify
  const waited = telemetry.makeWaited("retry", name)
  const retried = telemetry.makeRetried(name)

  /** The backoff of one call: waits and succeeds when there is to be another attempt, and else fails as the last one did. */
  const makeBackoff = () => {
    let step: Step | undefined
    const begin = Effect.map(Schedule.toStep(schedule), (made) => step = made)
    return <E>(cause: Cause.Cause<E>): Effect.Effect<void, E> => {
      const outcome = classify(Exit.failCause(cause))
      if (outcome._tag === "Success" || !outcome.retryable) return Effect.failCause(cause)
      const hint = outcome.retryAfter === undefined ? 0 : Duration.toMillis(outcome.retryAfter)
      if (hint > maxRetryAfter) return Effect.failCause(cause)
      return Effect.withFiber((fiber) => {
        const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
        const decision: Decision = Effect.flatMap(
          step === undefined ? begin : Effect.succeed(step),
          (step) => step(now, Cause.squash(cause))
        )
        return Pull.matchEffect(decision, {
          onSuccess: ([, delay]) => pause(fiber, Math.max(hint, Duration.toMillis(delay))),
          onFailure: Effect.failCause,
          onDone: () => Effect.failCause(cause)
        })
      })
    }
  }

  const pause = (fiber: Fiber.Fiber<unknown, unknown>, millis: number): Effect.Effect<void> => {
    const since = time.now(fiber)
    return Effect.onExitPrimitive(Effect.sleep(millis), (exit) => {
      waited(fiber, time.now(fiber) - since)
      if (exit._tag === "Success") retried(fiber)
      return undefined
    })
  }

  const effect = <A, E1, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A, E1, R> => {
    const again = (cause: Cause.Cause<E1>): Effect.Effect<A, E1, R> => {
      const backoff = makeBackoff()
      const retry = (attempt: number) => (cause: Cause.Cause<E1>): Effect.Effect<A, E1, R> =>
        Effect.flatMap(
          backoff(cause),
          () => Effect.catchCause(Effect.provideService(self, CurrentAttempt, attempt), retry(attempt + 1))
        )
      return retry(2)(cause)
    }
    const first = Effect.catchCause(self, again)
    // A retry inside another one counts its own attempts.
    const nested = Effect.catchCause(Effect.provideService(self, CurrentAttempt, 1), again)
    return Effect.withFiber((fiber) => fiber.getRef(CurrentAttempt) === 1 ? first : nested)
  }

  const stream = <A, E1, R>(self: Stream.Stream<A, E1, R>): Stream.Stream<A, E1, R> =>
    Stream.fromChannel(Channel.fromTransform((_upstream, scope) =>
      Effect.sync(() => {
        const backoff = makeBackoff()
        let opened: Pull.Pull<readonly [A, ...Array<A>], E1, void, R> | undefined

        const attempt = (number: number): Pull.Pull<readonly [A, ...Array<A>], E1, void, R> =>
          Effect.withFiber((fiber) => {
            const inner = Scope.forkUnsafe(scope)
            const numbered = <A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>) =>
              fiber.getRef(CurrentAttempt) === number ? effect : Effect.provideService(effect, CurrentAttempt, number)
            const first = Effect.flatMap(numbered(Channel.toPullScoped(Stream.toChannel(self), inner)), (pull) => {
              const rest = numbered(pull)
              return Effect.map(rest, (items) => {
                opened = rest
                return items
              })
            })
            return Effect.catchCause(first, (cause) => {
              const end = Pull.doneExitFromCause(cause)
              return Effect.flatMap(Scope.close(inner, end), () =>
                Exit.isSuccess(end)
                  ? Cause.done()
                  : Effect.flatMap(backoff(end.cause), () => attempt(number + 1)))
            })
          })

        return Effect.suspend(() => opened ?? attempt(1))
      })
    ))

  return Policy.make<never>({ effect, stream })
}

const scheduleOf = (options: Options | undefined): Schedule.Schedule<unknown, unknown> => {
  const where = "Retry.make"
  if (options?.schedule !== undefined) {
    for (const field of ["times", "base", "factor", "cap"] as const) {
      if (options[field] !== undefined) check.refuse(where, field, "left out when schedule is given", options[field])
    }
    return options.schedule
  }
  const times = check.count(where, "times", options?.times ?? defaults.times)
  const base = check.positive(where, "base", options?.base ?? defaults.base)
  const factor = options?.factor ?? defaults.factor
  if (!(factor >= 1 && factor < Infinity)) check.refuse(where, "factor", "a finite number of at least 1", factor)
  const cap = check.positive(where, "cap", options?.cap ?? defaults.cap)
  return Schedule.fromStepWithMetadata(
    Effect.succeed(({ attempt }: Schedule.InputMetadata<unknown>) =>
      attempt > times ? Cause.done(attempt) : Effect.map(Random.next, (random): [number, Duration.Duration] => [
        attempt,
        Duration.millis(random * Math.min(cap, base * Math.pow(factor, attempt - 1)))
      ])
    )
  )
}
