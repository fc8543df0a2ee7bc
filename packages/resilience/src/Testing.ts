/**
 * Tools to test what is composed of policies, under virtual time: a dependency
 * that answers as scripted and records its attempts, a record of events,
 * transitions, waits and metrics, time that passes by itself, and a harness that
 * interrupts a program at every step.
 *
 * Nothing here waits in real time. All of it needs a `TestClock`, which
 * `it.effect` of `@effect/vitest` gives; `interruptEverywhere` brings its own.
 * The module is no part of the package's index, so that a production program
 * never loads it.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import { hasProperty } from "effect/Predicate"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import * as bracket from "./internal/bracket.ts"
import * as check from "./internal/check.ts"
import { readMetrics } from "./internal/readMetrics.ts"
import * as Stage from "./internal/stage.ts"

/**
 * One execution of a scripted dependency.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt<out A, out E> {
  /** Milliseconds of the clock; a `TestClock` begins at zero. */
  readonly startedAt: number
  /** Milliseconds of the clock; undefined while it runs. */
  readonly endedAt: number | undefined
  /** How it ended; undefined while it runs. */
  readonly exit: Exit.Exit<A, E> | undefined
  /** Whether it was interrupted. */
  readonly interrupted: boolean
}

/**
 * What a scripted dependency has seen so far.
 *
 * @category models
 * @since 0.1.0
 */
export interface History<out Attempt> {
  /** All executions, in the order in which they began. */
  readonly attempts: ReadonlyArray<Attempt>
  /** Executions under way now. */
  readonly running: number
  /** The most executions that were under way at one time. */
  readonly peak: number
}

/**
 * A dependency that answers as scripted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Dependency<out A, out E, out R = never> {
  /** Plays the next part of the script; each run of the effect is one attempt. */
  readonly call: Effect.Effect<A, E, R>
  readonly inspect: Effect.Effect<History<Attempt<A, E>>>
}

/**
 * One execution of a scripted stream, with the items that it emitted.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamAttempt<out A, out E> extends Attempt<void, E> {
  readonly items: ReadonlyArray<A>
}

/**
 * A dependency that streams as scripted.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamDependency<out A, out E, out R = never> {
  /** Plays the next part of the script; each run of the stream is one attempt. */
  readonly stream: Stream.Stream<A, E, R>
  readonly inspect: Effect.Effect<History<StreamAttempt<A, E>>>
}

/**
 * Creates a dependency whose first execution runs the first effect of a script,
 * and so on; past its end the last one is repeated.
 *
 * **Details**
 *
 * `Effect.succeed`, `Effect.fail` and `Effect.die` answer at once, `Effect.never`
 * hangs, and `Effect.delay` answers after a while.
 *
 * **Example** (Asserting how often a retry called)
 *
 * ```ts
 * import { Retry } from "@ballast/resilience"
 * import * as Testing from "@ballast/resilience/testing"
 * import { Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const { call, inspect } = yield* Testing.script([Effect.fail("busy"), Effect.succeed("answer")])
 *   const answer = yield* Testing.passTime(Retry.make({ times: 2 })(call))
 *   const { attempts } = yield* inspect
 *   return [answer, attempts.length] // => ["answer", 2]
 * })
 * ```
 *
 * @category dependencies
 * @since 0.1.0
 */
export const script = <A, E = never, R = never>(
  answers: readonly [Effect.Effect<A, E, R>, ...Array<Effect.Effect<A, E, R>>]
): Effect.Effect<Dependency<A, E, R>> =>
  Effect.sync(() => {
    const recorder = makeRecorder(answers, (begun: Attempt<A, E>) => begun)
    const call = Effect.withFiber((fiber): Effect.Effect<A, E, R> => {
      let attempt: Writable<Attempt<A, E>> | undefined
      return Effect.onExitPrimitive(
        Effect.suspend(() => {
          const [answer, begun] = recorder.begin(fiber)
          attempt = begun
          return answer
        }),
        (exit) => {
          if (attempt !== undefined) recorder.end(fiber, attempt, exit)
          return undefined
        }
      )
    })
    return { call, inspect: recorder.inspect }
  })

/**
 * Creates a dependency whose first execution runs the first stream of a script,
 * and so on; past its end the last one is repeated.
 *
 * **Details**
 *
 * An attempt begins at the first pull. A consumer that stops early ends it with
 * a success.
 *
 * @category dependencies
 * @since 0.1.0
 */
export const scriptStream = <A, E = never, R = never>(
  answers: readonly [Stream.Stream<A, E, R>, ...Array<Stream.Stream<A, E, R>>]
): Effect.Effect<StreamDependency<A, E, R>> =>
  Effect.sync(() => {
    const recorder = makeRecorder(answers, (begun: Attempt<void, E>) => ({ ...begun, items: Array<A>() }))
    const stream = Stream.suspend(() => {
      let attempt: Writable<StreamAttempt<A, E>> & { readonly items: Array<A> } | undefined
      return bracket.stream(
        Effect.withFiber((fiber) => {
          const [answer, begun] = recorder.begin(fiber)
          attempt = begun
          return Effect.succeed(Stream.map(answer, (item) => {
            begun.items.push(item)
            return item
          }))
        }),
        (exit) =>
          Effect.withFiber((fiber) => {
            if (attempt !== undefined) recorder.end(fiber, attempt, Exit.asVoid(exit))
            return Effect.void
          })
      )
    })
    return { stream, inspect: recorder.inspect }
  })

type Writable<T> = { -readonly [K in keyof T]: T[K] }

const makeRecorder = <Answer, A, E, T extends Attempt<A, E>>(
  answers: readonly [Answer, ...Array<Answer>],
  make: (begun: Attempt<A, E>) => T
) => {
  const attempts = Array<Writable<T>>()
  let running = 0
  let peak = 0
  const [first] = answers
  const now = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
  return {
    begin: (fiber: Fiber.Fiber<unknown, unknown>) => {
      const answer = answers[Math.min(attempts.length, answers.length - 1)] ?? first
      const attempt: Writable<T> = make({
        startedAt: now(fiber),
        endedAt: undefined,
        exit: undefined,
        interrupted: false
      })
      attempts.push(attempt)
      peak = Math.max(peak, ++running)
      return [answer, attempt] as const
    },
    end: (fiber: Fiber.Fiber<unknown, unknown>, attempt: Writable<Attempt<A, E>>, exit: Exit.Exit<A, E>) => {
      running--
      attempt.endedAt = now(fiber)
      attempt.exit = exit
      attempt.interrupted = Exit.hasInterrupts(exit)
    },
    inspect: Effect.sync((): History<T> => ({ attempts: attempts.map((attempt) => ({ ...attempt })), running, peak }))
  }
}

/**
 * An event and when it came.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recorded<out A> {
  /** Milliseconds of the clock; a `TestClock` begins at zero. */
  readonly at: number
  readonly event: A
}

/**
 * Listens to the events of a policy from now on; the effect that it gives reads
 * what has come so far.
 *
 * **Example** (Asserting what a hedge did)
 *
 * ```ts
 * import { Hedge } from "@ballast/resilience"
 * import * as Testing from "@ballast/resilience/testing"
 * import { Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const hedge = yield* Hedge.make({ delay: "1 second", budget: 1 })
 *   const recorded = yield* Testing.record(hedge.events)
 *   const { call } = yield* Testing.script([Effect.never, Effect.succeed("answer")])
 *   yield* Testing.passTime(hedge(call))
 *   return (yield* recorded).map(({ at, event }) => [at, event._tag]) // => [[1000, "Hedged"], [1000, "Won"]]
 * })
 * ```
 *
 * @category records
 * @since 0.1.0
 */
export const record = <A, E, R>(
  events: Stream.Stream<A, E, R>
): Effect.Effect<Effect.Effect<ReadonlyArray<Recorded<A>>>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const recorded = Array<Recorded<A>>()
    yield* Stream.runForEach(
      events,
      (event) => Effect.map(Clock.currentTimeMillis, (at) => recorded.push({ at, event }))
    ).pipe(
      Effect.forkScoped({ startImmediately: true })
    )
    yield* settle
    return Effect.map(settle, () => recorded.slice())
  })

/**
 * An event that tells of a change from one state to another.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transition {
  readonly from: unknown
  readonly to: unknown
}

/**
 * Listens to the transitions of a policy from now on, which are those of its
 * events that have a `from` and a `to`; the effect that it gives reads what has
 * come so far.
 *
 * **Example** (Asserting that a circuit breaker opens once)
 *
 * ```ts
 * import * as Testing from "@ballast/resilience/testing"
 * import { Effect, type Stream } from "effect"
 *
 * type Event = { readonly _tag: "Changed"; readonly from: string; readonly to: string } | { readonly _tag: "Rejected" }
 *
 * const test = (breaker: { readonly events: Stream.Stream<Event> }) =>
 *   Effect.gen(function*() {
 *     const recorded = yield* Testing.transitions(breaker.events)
 *     // … calls that fail
 *     return (yield* recorded).map(({ event }) => `${event.from} to ${event.to}`)
 *   })
 * ```
 *
 * @category records
 * @since 0.1.0
 */
export const transitions = <A, E, R>(
  events: Stream.Stream<A, E, R>
): Effect.Effect<Effect.Effect<ReadonlyArray<Recorded<Extract<A, Transition>>>>, never, R | Scope.Scope> =>
  record(Stream.filter(events, isTransition))

const isTransition = <A>(event: A): event is Extract<A, Transition> =>
  hasProperty(event, "from") && hasProperty(event, "to")

/**
 * A wait inside a policy, read from the span event `ballast.wait`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wait {
  readonly policy: string
  readonly name: string
  readonly seconds: number
}

/**
 * What a program did to spans and metrics.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observation<out A, out E> {
  readonly exit: Exit.Exit<A, E>
  /** Milliseconds of the clock that it took. */
  readonly millis: number
  /** The waits in its policies, in the order in which they ended. */
  readonly waits: ReadonlyArray<Wait>
  /** The metrics by `name{label=value,…}`; a histogram as its sum, and its count under `name_count{…}`. */
  readonly metrics: Readonly<Record<string, number>>
}

/**
 * Runs a program in a span, with metrics of its own, and gives back what became
 * of both beside its exit.
 *
 * **Gotchas**
 *
 * A program that installs its own tracer or metric registry hides from it.
 *
 * @category records
 * @since 0.1.0
 */
export const observe = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Observation<A, E>, never, R> =>
  Effect.gen(function*() {
    const waits = Array<Wait>()
    const outer = yield* Effect.tracer
    const tracer = Tracer.make({
      span: (options) => {
        const span = outer.span(options)
        const event = span.event.bind(span)
        return Object.assign(span, {
          event: (name: string, time: bigint, attributes?: Record<string, unknown>) => {
            if (name === "ballast.wait") {
              waits.push({
                policy: String(attributes?.["policy"]),
                name: String(attributes?.["name"]),
                seconds: Number(attributes?.["seconds"])
              })
            }
            event(name, time, attributes)
          }
        })
      }
    })
    const startedAt = yield* Clock.currentTimeMillis
    const exit = yield* self.pipe(
      Effect.withSpan("observed"),
      Effect.provideService(Tracer.Tracer, tracer),
      Effect.exit
    )
    const millis = (yield* Clock.currentTimeMillis) - startedAt
    return { exit, millis, waits, metrics: readMetrics(yield* Metric.snapshot) }
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))

/** Turns of the scheduler that `settle` gives to other fibers. */
const turns = 64

/**
 * Lets other fibers go on for 64 turns of the scheduler, without any time
 * passing: enough for whatever was just woken to arrive where it waits next.
 *
 * @category time
 * @since 0.1.0
 */
export const settle: Effect.Effect<void> = Effect.suspend(() => {
  let turn = 0
  return Effect.whileLoop({ while: () => turn < turns, body: () => Effect.yieldNow, step: () => turn++ })
})

/**
 * Lets virtual time pass, and other fibers react to it: before, whenever one of
 * them is due, and after.
 *
 * @category time
 * @since 0.1.0
 */
export const advance = (duration: Duration.Input): Effect.Effect<void> =>
  Effect.andThen(settle, Effect.andThen(TestClock.adjust(duration), settle))

/**
 * Runs a program while virtual time passes by itself: whenever the program can
 * only wait, the clock goes to where the next of its sleeps ends.
 *
 * **Gotchas**
 *
 * A program that waits on something other than time for ever is interrupted and
 * dies with an error that says so, and so does one that is not done within a
 * year.
 *
 * @category time
 * @since 0.1.0
 */
export const passTime = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const stage = yield* Stage.make()
    const fiber = yield* Effect.provide(Effect.forkChild(self, { startImmediately: true }), stage.context)
    if (yield* stage.drive(fiber, year)) return yield* Fiber.join(fiber)
    yield* Fiber.interrupt(fiber)
    return yield* broken("Testing.passTime: the program waits for something that time does not bring")
  })

const year = 365 * 24 * 60 * 60 * 1_000

/**
 * What `interruptEverywhere` runs again and again.
 *
 * @category options
 * @since 0.1.0
 */
export interface InterruptOptions<S, A, E, R> {
  /** Makes what one run needs, such as the policies: each run gets its own, and a clock that starts at zero. */
  readonly setup: Effect.Effect<S, unknown, R>
  /** The program that is interrupted. */
  readonly run: (setup: S) => Effect.Effect<A, E, R>
  /** A program that runs beside it from the start, is not interrupted and must end. Default: none. */
  readonly beside?: ((setup: S) => Effect.Effect<unknown, unknown, R>) | undefined
  /** Asserts the state of rest, after both have ended; throws or fails when something is amiss. */
  readonly check: (setup: S, exit: Exit.Exit<A, E>) => Effect.Effect<unknown, unknown, R>
  /** Operations that a fiber does before it yields, each at least 3. Default 3 to 64. */
  readonly budgets?: Iterable<number> | undefined
  /** Virtual time after which a program that still waits is interrupted anyway, above zero. Default 1 minute. */
  readonly within?: Duration.Input | undefined
}

/**
 * What `interruptEverywhere` did.
 *
 * @category models
 * @since 0.1.0
 */
export interface InterruptReport {
  /** Runs, one for each step of each budget. */
  readonly runs: number
  /** Runs whose program had not ended when the interruption came. */
  readonly interrupted: number
}

// With a budget below 3 a fiber yields before it has done anything, for ever.
const interruptDefaults = { within: "1 minute", smallest: 3, largest: 64 } as const

/**
 * Runs a program over and over and interrupts it at one step later each time,
 * until it ends before its interruption; asserts that nothing is left behind.
 *
 * **When to use**
 *
 * Use it for whatever holds something that must be given back: a slot, a token,
 * a probe, a fiber.
 *
 * **Details**
 *
 * A step ends where a fiber of the run yields. A fiber yields after as many
 * operations as its budget says, and every budget is tried, so the interruption
 * comes between any two operations. A run must be deterministic and wait on
 * nothing but its clock. Time passes only when nothing else can go on.
 *
 * After `check`, no fiber that `run` or `beside` forked may live.
 *
 * Dies with an error that names the budget and the step when the check fails,
 * when a fiber is left, or when a program doesn't end.
 *
 * **Example** (Interrupting a guarded call at every step)
 *
 * ```ts
 * import { ConcurrencyLimit } from "@ballast/resilience"
 * import * as Testing from "@ballast/resilience/testing"
 * import { Effect } from "effect"
 *
 * const program = Testing.interruptEverywhere({
 *   setup: ConcurrencyLimit.make({ limit: 1 }),
 *   run: (limit) => limit(Effect.sleep("1 second")),
 *   check: (limit) => Effect.filterOrFail(limit.inspect, (state) => state.running === 0)
 * })
 * ```
 *
 * @category interruption
 * @since 0.1.0
 */
export const interruptEverywhere = Effect.fnUntraced(function*<S, A, E, R>(
  options: InterruptOptions<S, A, E, R>
): Effect.fn.Return<InterruptReport, never, Exclude<R, Scope.Scope>> {
  const where = "Testing.interruptEverywhere"
  const within = check.positive(where, "within", options.within ?? interruptDefaults.within)
  const { largest, smallest } = interruptDefaults
  const budgets = Array.from(options.budgets ?? range(smallest, largest))
  for (const budget of budgets) {
    if (!(Number.isSafeInteger(budget) && budget >= smallest)) {
      check.refuse(where, "budgets", `integers of at least ${smallest}`, budget)
    }
  }

  let runs = 0
  let interrupted = 0
  for (const budget of budgets) {
    for (let step = 0;; step++) {
      runs++
      const reached = yield* interruptAt(options, { budget, step, within }).pipe(
        Effect.scoped,
        Effect.provide(TestClock.layer(patientClock)),
        Effect.catchCause((cause) => Effect.die(new BrokenRun(budget, step, cause)))
      )
      if (reached !== "ended") interrupted++
      if (reached !== "step") break
    }
  }
  return { runs, interrupted }
})

// By default the clock goes on without a fiber that takes a second of real time, and a busy machine may take that.
const patientClock = { warningDelay: "1 hour" } as const

class BrokenRun extends Error {
  constructor(budget: number, step: number, cause: Cause.Cause<unknown>) {
    const [reason] = cause.reasons
    const inner = reason?._tag === "Fail" ? reason.error : reason?._tag === "Die" ? reason.defect : cause
    const text = inner instanceof Error ? inner.message : String(inner)
    super(`Testing.interruptEverywhere: with a budget of ${budget}, interrupted after step ${step}: ${text}`, {
      cause: inner
    })
    this.name = "BrokenRun"
  }
}

const range = function*(from: number, to: number) {
  for (let n = from; n <= to; n++) yield n
}

/** How a run came to its end: interrupted at its step, or while it waited for too long, or it ended before. */
type Reached = "step" | "waiting" | "ended"

const interruptAt = Effect.fnUntraced(function*<S, A, E, R>(
  options: InterruptOptions<S, A, E, R>,
  { budget, step, within }: Record<"budget" | "step" | "within", number>
): Effect.fn.Return<Reached, unknown, R> {
  const setup = yield* options.setup
  let victim: Fiber.Fiber<A, E> | undefined = undefined
  let reached: Reached = "ended"
  let steps = 0
  const interrupt = (at: Reached) => {
    if (victim === undefined || victim.pollUnsafe() !== undefined) return
    reached = at
    victim.interruptUnsafe()
  }
  const stage = yield* Stage.make(() => {
    if (victim !== undefined && ++steps === step) interrupt("step")
  })
  const context = Context.add(stage.context, Scheduler.MaxOpsBeforeYield, budget)
  const fork = <A2, E2>(effect: Effect.Effect<A2, E2, R>) =>
    Effect.provide(Effect.forkDetach(effect, { startImmediately: true }), context)

  const beside = options.beside && (yield* fork(options.beside(setup)))
  const fiber = yield* fork(options.run(setup))
  victim = fiber
  if (step === 0) interrupt("step")
  if (!(yield* stage.drive(fiber, within))) {
    interrupt("waiting")
    if (!(yield* stage.drive(fiber, within))) return yield* broken("it does not end when it is interrupted")
  }
  if (beside !== undefined) {
    if (!(yield* stage.drive(beside, within))) return yield* broken("what runs beside it does not end")
    yield* Fiber.join(beside)
  }
  yield* stage.settle
  yield* options.check(setup, yield* Fiber.await(fiber))
  yield* stage.settle
  const left = stage.living()
  return left === 0 ? reached : yield* broken(`${left} of its fibers still live`)
})

const broken = (what: string) => Effect.die(new Error(what))
