/**
 * Retries a call that failed in a way that another try may mend.
 *
 * What may be retried is the outcome's business (`classify`, which judges errors
 * and, when it is one's own, results too); `while` narrows it, and a call that
 * is marked by `CurrentIdempotent` as one that must not run twice is only tried
 * again when it certainly did not run. When to try again is the backoff's:
 * exponential with full jitter (every wait is drawn from zero to the current
 * bound, which grows to the cap), which spreads callers best; see "Exponential
 * Backoff And Jitter", AWS Architecture Blog, 2015. A server's `retryAfter` is a
 * floor of the wait; callers come back spread over the time after it. The last
 * error, or result, is returned as it was.
 *
 * Retries end by number, by elapsed time, at a hint beyond the ceiling, when the
 * budget is spent, and when the wait would leave nothing of the caller's
 * deadline. An interruption ends a wait at once and gives back what it reserved.
 * A stream is retried only while it has emitted nothing: a consumer that saw an item
 * would see it twice. Retry keeps no state between calls.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CurrentIdempotent } from "./Idempotency.ts"
import * as check from "./internal/check.ts"
import { CurrentAttempt } from "./internal/currentAttempt.ts"
import { deadlineOf } from "./internal/currentDeadline.ts"
import * as Events from "./internal/events.ts"
import * as Policy from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Layered from "./Layered.ts"
import * as Outcome from "./Outcome.ts"
import type * as RetryBudget from "./RetryBudget.ts"

export { CurrentAttempt }

/**
 * A retry as a policy, whose waits can be seen. It takes programs that fail with
 * `E`: any, unless its predicates are for some errors.
 *
 * @category models
 * @since 0.1.0
 */
export interface Retry<in E = unknown> extends Policy.Policy<never, E> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run, which take them up with their next
   * decision; what is left out stays. Throws a `RangeError` as `make` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * The state of a retry.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Calls that wait for their next attempt. */
  readonly waiting: number
}

/**
 * Why a call that might be retried was not tried again: its attempts or its time
 * are used up, the hint is beyond the ceiling, the wait would leave nothing of
 * the caller's deadline, the budget is spent, or it may have run and must not
 * run twice.
 *
 * @category models
 * @since 0.1.0
 */
export type Because = "times" | "elapsed" | "retry-after" | "deadline" | "budget" | "not-idempotent"

/**
 * What happens to a call that fails. `attempts` counts all of them.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** The call waits for its next attempt, whose number this is. */
  | { readonly _tag: "Waiting"; readonly attempt: number; readonly delay: Duration.Duration }
  /** The call was answered after more than one attempt. */
  | { readonly _tag: "Recovered"; readonly attempts: number }
  /** The call is not tried again, although its failure is one that may be. */
  | { readonly _tag: "GaveUp"; readonly attempts: number; readonly because: Because }

/**
 * Settings of a retry, which can change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** Attempts after the first one, zero or more; `Infinity` for no bound. Default 5. */
  readonly times?: number | undefined
  /** Bound of the first wait, above zero. Default 1 second. */
  readonly base?: Duration.Input | undefined
  /** What each bound is multiplied by to get the next, at least 1. Default 2. */
  readonly factor?: number | undefined
  /** The highest bound, above zero; the wait is drawn below it. Default 1 minute. */
  readonly cap?: Duration.Input | undefined
  /** Time since the call began after which no attempt starts, zero or more. Default: infinity, no bound. */
  readonly maxElapsed?: Duration.Input | undefined
  /** The longest `retryAfter` that is believed, zero or more. Default 1 minute. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** What a longer `retryAfter` does: `"fail"` ends the retry with its error, `"cap"` waits for `maxRetryAfter`. Default `"fail"`. */
  readonly aboveMaxRetryAfter?: "fail" | "cap" | undefined
}

/**
 * Options of a retry.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in E = unknown> extends Settings {
  /** Name in metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** When to try again, in place of `times`, `base`, `factor` and `cap`. Its input is the error, or the result that was judged a failure. */
  readonly schedule?: Schedule.Schedule<unknown, unknown> | undefined
  /** Which of the retryable errors are retried; it is not asked about results and defects. Default: all. */
  readonly while?: ((error: E) => boolean) | undefined
  /** What pays for retries; it counts the calls, too. Default: nothing, and no bound. */
  readonly budget?: RetryBudget.RetryBudget | undefined
  /** Judges an attempt; one's own is asked about results too, but not about those of a stream. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier<E> | undefined
}

type Decision = Pull.Pull<[output: unknown, delay: Duration.Duration], never, unknown>
type Step = (now: number, input: unknown) => Decision
type AnyFiber = Fiber.Fiber<unknown, unknown>

const defaults = {
  name: "default",
  times: 5,
  base: "1 second",
  factor: 2,
  cap: "1 minute",
  maxElapsed: Duration.infinity,
  maxRetryAfter: "1 minute",
  aboveMaxRetryAfter: "fail",
  classify: Outcome.classify
} satisfies Options

/** Retries after a hint are spread over a share of the hint, at most `most` milliseconds. */
const hintSpread = { share: 0.2, most: 10_000 }

/** Settings with nothing left out, times in milliseconds. */
interface Checked {
  readonly times: number
  readonly base: number
  readonly factor: number
  readonly cap: number
  readonly maxElapsed: number
  readonly maxRetryAfter: number
  readonly aboveMaxRetryAfter: "fail" | "cap"
}

/** The settings over those that hold without them. */
const checked = (
  where: string,
  settings: Settings | undefined,
  otherwise: { readonly [K in keyof Settings]-?: Exclude<Settings[K], undefined> }
): Checked => {
  const factor = settings?.factor ?? otherwise.factor
  if (!(factor >= 1 && factor < Infinity)) check.refuse(where, "factor", "a finite number of at least 1", factor)
  const above = settings?.aboveMaxRetryAfter ?? otherwise.aboveMaxRetryAfter
  if (above !== "fail" && above !== "cap") check.refuse(where, "aboveMaxRetryAfter", "fail or cap", above)
  return {
    times: check.count(where, "times", settings?.times ?? otherwise.times),
    base: check.positive(where, "base", settings?.base ?? otherwise.base),
    factor,
    cap: check.positive(where, "cap", settings?.cap ?? otherwise.cap),
    maxElapsed: check.notNegative(where, "maxElapsed", settings?.maxElapsed ?? otherwise.maxElapsed),
    maxRetryAfter: check.notNegative(where, "maxRetryAfter", settings?.maxRetryAfter ?? otherwise.maxRetryAfter),
    aboveMaxRetryAfter: above
  }
}

const refuseBesideSchedule = (where: string, settings: Settings): void => {
  for (const field of ["times", "base", "factor", "cap"] as const) {
    if (settings[field] !== undefined) check.refuse(where, field, "left out when schedule is given", settings[field])
  }
}

const isWanted = <A, E>(exit: Exit.Exit<A, E>, wanted: (error: E) => boolean): boolean => {
  const failed = exit._tag === "Failure" ? exit.cause.reasons.find((reason) => reason._tag === "Fail") : undefined
  return failed === undefined || wanted(failed.error)
}

/** One call; most need none before their first failure. */
interface Call {
  /** When its first attempt began. */
  readonly startedAt: number
  /** Attempts that were begun. */
  attempts: number
  step: Step | undefined
  /** What pays for the retry that waits, or else for the last one. */
  reservation: RetryBudget.Reservation | undefined
  /** When its wait began, while it waits. */
  waitingSince: number | undefined
  gaveUp: boolean
  /** Its last attempt failed with an error that is judged a success. */
  good: boolean
}

/**
 * Creates a retry.
 *
 * **Details**
 *
 * The wait before an attempt is the larger of the backoff's and the outcome's
 * `retryAfter`, to which up to a fifth of it, and at most 10 seconds, is added by
 * chance: callers that were given the same hint come back one after the other,
 * and never before it. What is added makes no wait too long for `maxElapsed` or
 * the caller's deadline. A wait that would end after `maxElapsed`, or when the
 * caller's deadline ends, is not begun. Elapsed time counts from the start of the
 * call.
 *
 * A retry is paid from the `budget` before its wait, and given back when it is
 * interrupted before its attempt starts.
 *
 * Throws a `RangeError` when an option is out of its bounds, and when `schedule`
 * comes beside an option that it replaces.
 *
 * **Example** (Retrying what the dependency is too busy for)
 *
 * ```ts
 * import { Retry } from "@ballast/resilience"
 * import { Effect } from "effect"
 * import { isTagged } from "effect/Predicate"
 *
 * const retry = Retry.make({ times: 3, maxElapsed: "10 seconds", while: (error) => isTagged(error, "Busy") })
 * const program = retry(Effect.succeed("answer"))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = unknown>(options?: Options<E>): Retry<E> => {
  const name = options?.name ?? defaults.name
  const schedule = options?.schedule
  if (options !== undefined && schedule !== undefined) refuseBesideSchedule("Retry.make", options)
  let settings = checked("Retry.make", options, defaults)
  const budget = options?.budget
  // Only programs that fail with `E` come here.
  const wanted = options?.while as ((error: unknown) => boolean) | undefined
  const classify = (options?.classify ?? defaults.classify) as Outcome.Classifier
  // The default judges no result a failure, so it need not be asked.
  const judgesResults = classify !== Outcome.classify
  const waited = telemetry.makeWaited("retry", name)
  const retried = telemetry.makeRetried(name)
  const countGaveUp = telemetry.makeGaveUp(name)
  const events = Events.make<Event>()
  let waiting = 0

  const begin = (startedAt: number): Call => ({
    startedAt,
    attempts: 1,
    step: undefined,
    reservation: undefined,
    waitingSince: undefined,
    gaveUp: false,
    good: false
  })

  const delayOf = (fiber: AnyFiber, call: Call, reason: unknown): Effect.Effect<number | undefined> => {
    if (schedule !== undefined) return scheduled(schedule, fiber, call, reason)
    const { base, cap, factor, times } = settings
    if (call.attempts > times) return Effect.undefined
    // The cap comes before the jitter, so that callers whose bound is the cap still draw different waits.
    const bound = Math.min(cap, base * Math.pow(factor, call.attempts - 1))
    return Effect.succeed(fiber.getRef(Random.Random).nextDoubleUnsafe() * bound)
  }

  /** Why an attempt that ended so is not followed by another whatever the wait; undefined if it may be. */
  const forbids = (fiber: AnyFiber, outcome: Outcome.Failure | Outcome.Ignored, hint: number): Because | undefined => {
    if (outcome.executed !== false && !fiber.getRef(CurrentIdempotent)) return "not-idempotent"
    if (hint > settings.maxRetryAfter && settings.aboveMaxRetryAfter === "fail") return "retry-after"
    return undefined
  }

  /** Why no attempt may begin at that time. An attempt with no time left would only be work for the dependency. */
  const tooLate = (fiber: AnyFiber, call: Call, at: number): Because | undefined => {
    if (at - call.startedAt > settings.maxElapsed) return "elapsed"
    return at >= deadlineOf(fiber) ? "deadline" : undefined
  }

  /** The wait for a hint: never less, and spread over the time after it as far as the call's time allows. */
  const hinted = (fiber: AnyFiber, call: Call, hint: number): number => {
    if (hint === 0) return 0
    const now = time.now(fiber)
    const latest = Math.min(call.startedAt + settings.maxElapsed, deadlineOf(fiber)) - now
    const spread = Math.max(0, Math.min(hint * hintSpread.share, hintSpread.most, latest - hint))
    return hint + fiber.getRef(Random.Random).nextDoubleUnsafe() * spread
  }

  /** Begins the wait, or says why there is none. */
  const wait = (
    fiber: AnyFiber,
    call: Call,
    delay: number | undefined,
    exit: Exit.Exit<unknown, unknown>
  ): Because | undefined => {
    if (delay === undefined) return "times"
    const now = time.now(fiber)
    const late = tooLate(fiber, call, now + delay)
    if (late !== undefined) return late
    if (budget !== undefined) {
      const reservation = budget.tryReserveUnsafe(fiber, budget.costOf(exit))
      if (reservation === undefined) return "budget"
      call.reservation = reservation
    }
    call.waitingSince = now
    waiting++
    if (events.active) {
      events.publish({ _tag: "Waiting", attempt: call.attempts + 1, delay: Duration.millis(delay) })
    }
    return undefined
  }

  const endWait = (fiber: AnyFiber, call: Call): void => {
    if (call.waitingSince === undefined) return
    waited(fiber, time.now(fiber) - call.waitingSince)
    call.waitingSince = undefined
    waiting--
  }

  /** Ends the wait in the very step in which the attempt starts: interrupted before, it takes nothing. */
  const beginAgain = (fiber: AnyFiber, call: Call): void => {
    endWait(fiber, call)
    call.attempts++
    retried(fiber, call.attempts)
    call.gaveUp = false
  }

  /** What follows an attempt: `next` after a wait, or the end of the call as the attempt ended. */
  const after = <A, E, A2, E2, R>(
    call: Call,
    exit: Exit.Exit<A, E>,
    next: Effect.Effect<A2, E2, R>
  ): Effect.Effect<A | A2, E | E2, R> =>
    Effect.withFiber((fiber) => {
      const outcome = classify(exit)
      if (outcome._tag === "Success") {
        call.good = true
        return exit
      }
      call.gaveUp = true
      if (!outcome.retryable) return exit
      const reason = exit._tag === "Success" ? exit.value : Cause.squash(exit.cause)
      if (wanted !== undefined && !isWanted(exit, wanted)) return exit

      const giveUp = (because: Because) => {
        countGaveUp(fiber, because)
        if (events.active) events.publish({ _tag: "GaveUp", attempts: call.attempts, because })
        return exit
      }
      const hint = outcome.retryAfter === undefined ? 0 : Duration.toMillis(outcome.retryAfter)
      const forbidden = forbids(fiber, outcome, hint)
      if (forbidden !== undefined) return giveUp(forbidden)
      return Effect.flatMap(delayOf(fiber, call, reason), (backoff): Effect.Effect<A | A2, E | E2, R> => {
        const delay = backoff === undefined
          ? undefined
          : Math.max(backoff, hinted(fiber, call, Math.min(hint, settings.maxRetryAfter)))
        const because = wait(fiber, call, delay, exit)
        if (because !== undefined || delay === undefined) return giveUp(because ?? "times")
        return Effect.flatMap(Effect.sleep(delay), (): Effect.Effect<A | A2, E | E2, R> => {
          // The timer may be late.
          const late = tooLate(fiber, call, time.now(fiber))
          return late === undefined ? next : giveUp(late)
        })
      })
    })

  /** Gives back what a call that was interrupted while it waited had reserved. */
  const leave = (fiber: AnyFiber, call: Call): void => {
    if (call.waitingSince === undefined) return
    endWait(fiber, call)
    if (call.reservation !== undefined) budget?.giveBackUnsafe(fiber, call.reservation)
  }

  const answered = (call: Call): void => {
    if (call.attempts > 1 && events.active) events.publish({ _tag: "Recovered", attempts: call.attempts })
  }

  const judge = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    attempt: Effect.Effect<A, E, R>,
    call: Call
  ): Effect.Effect<A, E, R> => {
    const next = again(self, call)
    const onFailure = (cause: Cause.Cause<E>) => after(call, Exit.failCause(cause), next)
    return judgesResults
      ? Effect.matchCauseEffect(attempt, {
        onFailure,
        onSuccess: (value) => after(call, Exit.succeed(value), next)
      })
      : Effect.catchCause(attempt, onFailure)
  }

  const again = <A, E, R>(self: Effect.Effect<A, E, R>, call: Call): Effect.Effect<A, E, R> => {
    const attempt = Effect.withFiber<A, E, R>((fiber) => {
      beginAgain(fiber, call)
      return Effect.provideService(self, CurrentAttempt, call.attempts)
    })
    return Effect.suspend(() => judge(self, attempt, call))
  }

  // The fiber may yield, and be interrupted, between any two steps. So the
  // finalizer stands before anything is counted or reserved.
  const guarded = <A, E, R>(fiber: AnyFiber, call: Call, body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.onExitPrimitive(body, (exit) => {
      leave(fiber, call)
      if (exit._tag === "Failure" ? !call.good : call.gaveUp) return undefined
      answered(call)
      budget?.settleUnsafe(fiber, call.reservation)
      return undefined
    })

  /** A call of which only its begin need be known before it fails: most never do. */
  const unwatched = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    attempt: Effect.Effect<A, E, R>,
    startedAt: number
  ): Effect.Effect<A, E, R> =>
    Effect.catchCause(attempt, (cause) =>
      Effect.withFiber((fiber) => {
        const call = begin(startedAt)
        return guarded(fiber, call, after(call, Exit.failCause(cause), again(self, call)))
      }))

  const watched = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    first: Effect.Effect<A, E, R>,
    fiber: AnyFiber
  ): Effect.Effect<A, E, R> => {
    const call = begin(time.now(fiber))
    return guarded(
      fiber,
      call,
      Effect.suspend(() => {
        budget?.depositUnsafe(fiber)
        return judge(self, first, call)
      })
    )
  }

  const effect = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) => {
      // A retry inside another one counts its own attempts.
      const first = fiber.getRef(CurrentAttempt) === 1 ? self : numbered(self, 1)
      return budget !== undefined || judgesResults
        ? watched(self, first, fiber)
        : unwatched(self, first, time.now(fiber))
    })

  const stream = <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
    Layered.stream((scope) => {
      const running = new Running<A, E, R>(budget)

      const attempt = (call: Call, begin: (fiber: AnyFiber) => void): ItemPull<A, E, R> =>
        Effect.withFiber((fiber) => {
          begin(fiber)
          const inner = running.scope = Scope.makeUnsafe()
          const number = call.attempts
          const isNumbered = fiber.getRef(CurrentAttempt) === number
          const items = Effect.flatMap(
            numbered(Channel.toPullScoped(Stream.toChannel(self), inner), number),
            (pull) => {
              const rest = isNumbered ? pull : numbered(pull, number)
              return Effect.map(rest, (items) => {
                running.begun(rest)
                return items
              })
            }
          )
          return Effect.catchCause(items, (cause) => {
            const end = Pull.doneExitFromCause(cause)
            return Effect.flatMap(
              Scope.close(inner, end),
              () => Exit.isSuccess(end) ? Cause.done() : after(call, Exit.failCause(end.cause), again(call))
            )
          })
        })

      const again = (call: Call) => attempt(call, (fiber) => beginAgain(fiber, call))

      const first = Effect.withFiber((fiber) => {
        const begun = begin(time.now(fiber))
        return Effect.onExitPrimitive(
          attempt(begun, (fiber) => budget?.depositUnsafe(fiber)),
          (exit) => {
            leave(fiber, begun)
            if (exit._tag === "Failure" && !begun.good && Exit.isFailure(Pull.doneExitFromCause(exit.cause))) {
              return undefined
            }
            answered(begun)
            running.owing = begun
            if (exit._tag === "Failure") running.settle(fiber)
            return undefined
          }
        )
      })

      running.next = first
      return Effect.as(Scope.addFinalizerExit(scope, running.closing()), running)
    })

  const update = (changes: Settings): Effect.Effect<void> => {
    const where = "Retry.update"
    if (schedule !== undefined) refuseBesideSchedule(where, changes)
    checked(where, changes, defaults)
    return Effect.sync(() => {
      settings = checked(where, changes, settings)
    })
  }

  return Object.assign(Policy.make<never>({ effect, stream }), {
    inspect: Effect.sync((): State => ({ waiting })),
    events: events.stream,
    update
  })
}

type ItemPull<A, E, R> = Pull.Pull<readonly [A, ...Array<A>], E, void, R>

/** A stream over all its attempts, and the layer that looks for its end. Nothing in it refers to what opens one, once one has begun. */
class Running<A, E, R> extends Layered.Switching<A, E | Cause.Done<void>, R> {
  next: ItemPull<A, E, R> = Effect.never
  /** Of the attempt that runs. */
  scope: Scope.Closeable | undefined
  /** The call whose budget waits to hear of its good end. */
  owing: Call | undefined
  private readonly budget: RetryBudget.RetryBudget | undefined

  constructor(budget: RetryBudget.RetryBudget | undefined) {
    super()
    this.budget = budget
  }

  override asEffect(): ItemPull<A, E, R> {
    return this.next
  }

  begun(pull: ItemPull<A, E, R>): void {
    this.next = this.budget === undefined ? pull : Layered.around(pull, this)
  }

  failed(cause: Cause.Cause<E | Cause.Done<void>>): ItemPull<A, E, never> {
    return Effect.withFiber((fiber) => {
      if (Exit.isSuccess(Pull.doneExitFromCause(cause))) this.settle(fiber)
      this.owing = undefined
      return Effect.failCause(cause)
    })
  }

  settle(fiber: AnyFiber): void {
    const { owing } = this
    this.owing = undefined
    if (owing !== undefined) this.budget?.settleUnsafe(fiber, owing.reservation)
  }

  /** A consumer that stops early and ends well had what it wanted. */
  closing(): (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void> {
    return (exit) =>
      Effect.withFiber((fiber) => {
        if (Exit.isSuccess(exit)) this.settle(fiber)
        return this.scope === undefined ? Effect.void : Scope.close(this.scope, exit)
      })
  }
}

const numbered = <A, E, R>(self: Effect.Effect<A, E, R>, number: number): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    fiber.getRef(CurrentAttempt) === number ? self : Effect.provideService(self, CurrentAttempt, number)
  )

/** The wait of a schedule in milliseconds, or undefined when it is done. */
const scheduled = (
  schedule: Schedule.Schedule<unknown, unknown>,
  fiber: AnyFiber,
  call: Call,
  reason: unknown
): Effect.Effect<number | undefined> => {
  const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
  const step = call.step === undefined
    ? Effect.map(Schedule.toStep(schedule), (made): Step => call.step = made)
    : Effect.succeed(call.step)
  const decision: Decision = Effect.flatMap(step, (step) => step(now, reason))
  return Pull.matchEffect(decision, {
    onSuccess: ([, delay]) => Effect.succeed(Duration.toMillis(delay)),
    onFailure: Effect.failCause,
    onDone: () => Effect.undefined
  })
}

/**
 * The retry that never tries again.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Retry = Object.assign(Policy.make<never>({ effect: (self) => self, stream: (self) => self }), {
  inspect: Effect.succeed<State>({ waiting: 0 }),
  events: Stream.empty,
  update: () => Effect.void
})
