/**
 * A hedge: when a call is slow, starts the same call once more and takes
 * whichever answer comes first. It cuts the tail of the latencies at the price
 * of a little more load; see Dean and Barroso, "The Tail at Scale", 2013.
 *
 * The next attempt starts when the running ones have taken `delay`, or the
 * measured `percentile` of recent latencies, and at once when an attempt failed
 * in a way that another may mend. Each attempt after the first is paid from a
 * budget that calls fill, so that a slow dependency is not buried in hedges.
 *
 * The first success is the answer, and so is the first failure that is not
 * retryable. An attempt that a policy inside turned away (`Ignored`, with
 * `executed: false`) is only lost: the others go on, and no further one starts
 * before its time. The last error is returned when all attempts failed, a
 * rejection only if nothing else came. The other attempts are interrupted and
 * their finalizers have run before the answer is returned; interrupting the
 * caller does the same to all. Attempts run at the same time, so a call that
 * `CurrentIdempotent` marks as one that must not run twice has one attempt only.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CurrentIdempotent } from "./Idempotency.ts"
import * as check from "./internal/check.ts"
import { sharingPull } from "./internal/currentDeadline.ts"
import * as events from "./internal/events.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Latencies from "./internal/latencies.ts"
import * as Policy from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import type * as Keyed from "./Keyed.ts"
import * as Layered from "./Layered.ts"
import * as Outcome from "./Outcome.ts"

/**
 * The number of the running attempt, 1 for the first, for the program inside a
 * hedge.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentHedge: Context.Reference<number> = Context.Reference("@ballast/resilience/Hedge/CurrentHedge", {
  defaultValue: () => 1
})

/**
 * A hedge as a policy, which can be read and changed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hedge<in In = unknown> extends Policy.Policy<never, In> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens to calls from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run, which take them up with their next
   * decision; what is left out stays. Throws a `RangeError` as `make` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * The state of a hedge.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Calls under way. */
  readonly calls: number
  /** Attempts under way, of all calls together. */
  readonly attempts: number
  /** After how long the next attempt would start now. */
  readonly delay: Duration.Duration
  /** Latencies in the window; always zero without `percentile`. */
  readonly measured: number
  /** Attempts after the first that the budget would pay for now. */
  readonly affordable: number
}

/**
 * What happens to a call that is hedged, or would have been. `attempt` counts
 * from 1 for the first attempt.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** Another attempt was started, because the running ones are slow or because one failed. */
  | { readonly _tag: "Hedged"; readonly attempt: number; readonly because: "slow" | "failed" }
  /** Another attempt was due and not started, because the budget is spent. */
  | { readonly _tag: "Denied"; readonly because: "slow" | "failed" }
  /** A call of several attempts was answered by this one. */
  | { readonly _tag: "Won"; readonly attempt: number; readonly of: number; readonly latency: Duration.Duration }

/**
 * Settings of a hedge that can change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** How long the running attempts may take before the next starts, zero or more; infinity to start one only after a failure. Default 1 second. */
  readonly delay?: Duration.Input | undefined
  /** Takes the place of `delay` as soon as it is measured: the share of recent latencies, in (0, 1), that is no reason to hedge. Default: not measured. */
  readonly percentile?: number | undefined
  /** Latencies that must be in the window before `percentile` is used, at least 1. Default 50. */
  readonly minimumSamples?: number | undefined
  /** Attempts of a call, the first included, at least 1; 1 switches hedging off. Default 2. */
  readonly maxAttempts?: number | undefined
  /** Attempts after the first, for each call, on average; zero or more, `Infinity` for no bound. Default 0.1. */
  readonly budget?: number | undefined
}

/**
 * Options of a hedge.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in E = unknown> extends Settings {
  /** Name in metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** The stretch of time whose latencies are measured, above zero. Kept in five slices. Default 1 minute. */
  readonly window?: Duration.Input | undefined
  /** Judges a finished attempt. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier<E> | undefined
}

const defaults = {
  name: "default",
  delay: "1 second",
  percentile: undefined,
  minimumSamples: 50,
  maxAttempts: 2,
  budget: 0.1,
  window: "1 minute",
  classify: Outcome.classify
} satisfies Options

/** Attempts after the first that an idle budget may save up. */
const savings = 10

interface Checked {
  readonly delay: number
  readonly percentile: number | undefined
  readonly minimumSamples: number
  readonly maxAttempts: number
  readonly budget: number
}

/** The settings over those that hold without them. */
const checked = (
  where: string,
  settings: Settings | undefined,
  otherwise: Omit<Checked, "delay"> & { readonly delay: Duration.Input }
): Checked => ({
  delay: check.notNegative(where, "delay", settings?.delay ?? otherwise.delay),
  percentile: fraction(where, "percentile", settings?.percentile ?? otherwise.percentile),
  minimumSamples: check.positiveInteger(where, "minimumSamples", settings?.minimumSamples ?? otherwise.minimumSamples),
  maxAttempts: check.positiveInteger(where, "maxAttempts", settings?.maxAttempts ?? otherwise.maxAttempts),
  budget: share(where, "budget", settings?.budget ?? otherwise.budget)
})

const fraction = (where: string, field: string, value: number | undefined): number | undefined =>
  value === undefined || (value > 0 && value < 1) ? value : check.refuse(where, field, "in (0, 1)", value)

const share = (where: string, field: string, value: number): number =>
  value >= 0 ? value : check.refuse(where, field, "a number of at least 0, or Infinity", value)

/** What turned an attempt away would do the same to the next, and says nothing about those that run. */
const isTurnedAway = (outcome: Outcome.Outcome): boolean => outcome._tag === "Ignored" && outcome.executed === false

/** A hedge that also says, in the same step, whether it may be dropped. */
interface Kept extends Hedge {
  readonly atRest: () => boolean
}

const build = (where: string, options: Options | undefined): Effect.Effect<Kept> => {
  const name = options?.name ?? defaults.name
  const initial = checked(where, options, defaults)
  const window = check.positive(where, "window", options?.window ?? defaults.window)
  const classify = options?.classify ?? defaults.classify

  const hedged = telemetry.makeHedged(name)
  const denied = telemetry.makeHedgeDenied(name)
  const won = telemetry.makeHedgeWon(name)

  return Effect.sync(() => {
    let settings = initial
    let calls = 0
    let attempts = 0
    /** The budget, in calls: each call adds one, and a hedge takes as many as it needs. */
    let saved = 0
    let latencies: Latencies.Latencies | undefined
    const listeners = events.make<Event>()

    const price = () => 1 / settings.budget

    const arrive = () => {
      calls++
      if (settings.budget > 0) saved = Math.min(savings * price(), saved + 1)
    }

    const pay = (): boolean => {
      const cost = price()
      // Without a budget the price is infinite, and with an endless one it is zero.
      if (saved < cost) return false
      saved -= cost
      return true
    }

    const delayNow = (fiber: Fiber.Fiber<unknown, unknown>): number => {
      if (settings.percentile === undefined || latencies === undefined) return settings.delay
      const now = time.now(fiber)
      Latencies.advance(latencies, now)
      if (latencies.count < settings.minimumSamples) return settings.delay
      return Latencies.percentile(latencies, now, settings.percentile) ?? settings.delay
    }

    const measure = (now: number, latency: number) => {
      if (settings.percentile === undefined) return
      latencies ??= Latencies.make(window)
      Latencies.record(latencies, now, latency)
    }

    const race = <A, E, R>(
      attempt: (number: number) => Effect.Effect<A, E, R>,
      judge: Outcome.Classifier
    ): Effect.Effect<A, E, R> =>
      Effect.contextWith((context: Context.Context<R>) =>
        Effect.withFiber((fiber) => {
          const run = Effect.runForkWith(context)
          const running = new Set<Fiber.Fiber<A, E>>()
          const mayRunTwice = fiber.getRef(CurrentIdempotent)
          let entered = false
          let settled = false
          let started = 0
          /** The last error of an attempt that was not turned away. */
          let failed: Exit.Exit<A, E> | undefined
          let timer: Fiber.Fiber<void> | undefined
          let resume: (exit: Effect.Effect<A, E>) => void

          const isLast = () => !mayRunTwice || started >= settings.maxAttempts

          /** Starts an attempt. Returns whether it is over already and another one is to follow. */
          const launch = (): boolean => {
            const number = ++started
            const since = time.now(fiber)
            attempts++
            const body = run(sharingPull(fiber, attempt(number)))
            const done = body.pollUnsafe()
            if (done !== undefined) return ended(done, number, since)
            running.add(body)
            body.addObserver((exit) => {
              running.delete(body)
              if (ended(exit, number, since)) go()
            })
            return false
          }

          /** Starts attempts as long as each calls for the next at once: in a loop, so that the stack does not grow. */
          const go = () => {
            while (launch() || arm());
          }

          /** Returns whether another attempt is to follow. */
          const ended = (exit: Exit.Exit<A, E>, number: number, since: number): boolean => {
            attempts--
            // A loser, or an attempt of an interrupted call.
            if (settled) return false
            let outcome: Outcome.Outcome
            try {
              outcome = judge(exit)
            } catch (defect) {
              return settle(Exit.die(defect))
            }
            if (outcome._tag === "Success") {
              const now = time.now(fiber)
              measure(now, now - since)
              if (number > 1) won(fiber)
              if (started > 1 && listeners.active) {
                listeners.publish({ _tag: "Won", attempt: number, of: started, latency: Duration.millis(now - since) })
              }
              return settle(exit)
            }
            if (!isTurnedAway(outcome)) {
              if (!outcome.retryable) return settle(exit)
              failed = exit
              if (next("failed")) return true
            }
            return running.size === 0 && settle(failed ?? exit)
          }

          const settle = (exit: Exit.Exit<A, E>): false => {
            settled = true
            stop()
            resume(exit)
            return false
          }

          /** Pays for another attempt, which then is to follow, if there may be one. */
          const next = (because: telemetry.HedgeReason): boolean => {
            if (isLast()) return false
            if (!pay()) {
              denied(fiber)
              if (listeners.active) listeners.publish({ _tag: "Denied", because })
              return false
            }
            stop()
            hedged(fiber, started + 1, because)
            if (listeners.active) listeners.publish({ _tag: "Hedged", attempt: started + 1, because })
            return true
          }

          /** Sets the timer for the next attempt. Returns whether its time has come already. */
          const arm = (): boolean => {
            if (settled || isLast() || running.size === 0) return false
            const delay = delayNow(fiber)
            if (delay === Infinity) return false
            stop()
            const sleep = run(Effect.sleep(delay))
            if (sleep.pollUnsafe() !== undefined) return next("slow")
            timer = sleep
            sleep.addObserver((exit) => {
              if (exit._tag === "Success" && !settled && next("slow")) go()
            })
            return false
          }

          const stop = () => {
            timer?.interruptUnsafe()
            timer = undefined
          }

          // The fiber may yield, and be interrupted, between any two steps. So
          // the finalizer stands before the first attempt is made.
          return Effect.onExitPrimitive(
            Effect.callback<A, E>((register) => {
              entered = true
              arrive()
              resume = register
              go()
            }),
            () => {
              if (!entered) return undefined
              settled = true
              stop()
              calls--
              return running.size === 0 ? undefined : close(running)
            }
          )
        })
      )

    const effect = <A, E1, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A, E1, R> =>
      race((number) => numbered(self, number), classify)

    const stream = <A, E1, R>(self: Stream.Stream<A, E1, R>): Stream.Stream<A, E1, R> =>
      Layered.stream((scope) =>
        Effect.sync(() => {
          const scopes: Array<Scope.Closeable> = []
          let winner: Opened<A, E1, R> | undefined

          const attempt = (number: number) =>
            Effect.suspend(() => {
              const own = Scope.forkUnsafe(scope)
              scopes.push(own)
              return open(self, own, number)
            })
          const judge: Outcome.Classifier = (exit) => classify(Exit.isSuccess(exit) ? Exit.void : exit)

          const first = Effect.onExitPrimitive(race(attempt, judge), (exit) => {
            if (exit._tag === "Success") winner = exit.value
            // A loser may have had its first item too, but a moment later.
            const lost = scopes.filter((scope) => scope !== winner?.scope)
            return lost.length === 0
              ? undefined
              : Effect.forEach(lost, (scope) => Scope.close(scope, Exit.interrupt()), { discard: true })
          })

          return Effect.suspend(() =>
            winner === undefined
              ? Effect.flatMap(first, ({ items }) => items === undefined ? Cause.done() : Effect.succeed(items))
              : winner.rest
          )
        })
      )

    const inspect = Effect.withFiber((fiber) =>
      Effect.succeed<State>({
        calls,
        attempts,
        delay: Duration.millis(delayNow(fiber)),
        measured: latencies === undefined ? 0 : latencies.count,
        affordable: settings.budget === Infinity ? Infinity : Math.floor(saved * settings.budget + 1e-9)
      })
    )

    const update = (changes: Settings): Effect.Effect<void> => {
      checked("Hedge.update", changes, defaults)
      return Effect.sync(() => {
        settings = checked("Hedge.update", changes, settings)
        saved = settings.budget > 0 ? Math.min(savings * price(), saved) : 0
      })
    }

    return Object.assign(Policy.make<never>({ effect, stream }), {
      inspect,
      events: listeners.stream,
      update,
      atRest: () => calls === 0
    })
  })
}

const numbered = <A, E, R>(self: Effect.Effect<A, E, R>, number: number): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    fiber.getRef(CurrentHedge) === number ? self : Effect.provideService(self, CurrentHedge, number)
  )

/** A stream that has given its first items, or has ended without any. */
interface Opened<A, E, R> {
  readonly scope: Scope.Closeable
  readonly items: readonly [A, ...Array<A>] | undefined
  readonly rest: Pull.Pull<readonly [A, ...Array<A>], E, void, R>
}

/** Opens a stream in a scope of its own, which is closed when no item comes. */
const open = <A, E, R>(
  self: Stream.Stream<A, E, R>,
  scope: Scope.Closeable,
  number: number
): Effect.Effect<Opened<A, E, R>, E, R> => {
  const first = Effect.flatMap(numbered(Channel.toPullScoped(Stream.toChannel(self), scope), number), (pull) => {
    const rest = numbered(pull, number)
    return Effect.map(rest, (items): Opened<A, E, R> => ({ scope, items, rest }))
  })
  const empty: Opened<A, E, R> = { scope, items: undefined, rest: Cause.done() }
  return Pull.catchDone(
    Effect.onExitPrimitive(
      first,
      (exit) => exit._tag === "Success" ? undefined : Scope.close(scope, Pull.doneExitFromCause(exit.cause))
    ),
    () => Effect.succeed(empty)
  )
}

/** Interrupts the losers and waits for their finalizers, whose defects are no part of the answer but must be seen. */
const close = <A, E>(losers: ReadonlySet<Fiber.Fiber<A, E>>): Effect.Effect<void> => {
  const fibers = Array.from(losers)
  return Effect.flatMap(Effect.andThen(Fiber.interruptAll(fibers), Fiber.awaitAll(fibers)), (exits) =>
    Effect.forEach(
      exits.filter((exit) => Exit.isFailure(exit) && Cause.hasDies(exit.cause)),
      (exit) => Effect.logWarning("A hedged attempt died after the call was answered", exit),
      { discard: true }
    ))
}

/**
 * Creates a hedge.
 *
 * **Details**
 *
 * The budget counts calls: each one adds `budget` of an attempt, and up to 10
 * are saved up. It begins empty, so with the default the first nine calls are
 * never hedged. An attempt that the budget does not pay for is not made up for
 * later.
 *
 * Only the latencies of answers count towards the percentile, each from the
 * start of its own attempt; those of losers do not. A percentile read from them
 * is at most 5 % above the exact one. While fewer than `minimumSamples` are in
 * the window, `delay` is used.
 *
 * On a stream the attempts race for their first item. The one that has it goes
 * on, the others are closed; what happens to it later is the stream's own
 * affair. An empty stream is an answer.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Hedging the slowest twentieth)
 *
 * ```ts
 * import { Hedge } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const hedge = yield* Hedge.make({ name: "catalogue", percentile: 0.95, delay: "200 millis" })
 *   return yield* hedge(Effect.succeed("answer"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = unknown>(options?: Options<E>): Effect.Effect<Hedge<E>> =>
  // Its programs fail with `E` alone.
  build("Hedge.make", options as Options | undefined)

/**
 * Creates a hedge for each key; all have the same name.
 *
 * **Details**
 *
 * A key's hedge is dropped with its measurements once it was idle for
 * `idleTimeToLive`, 10 minutes by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options?: Options & Keyed.Bounds
): Effect.Effect<Keyed.Updatable<never, Hedge, Settings>> => {
  const one = build("Hedge.keyed", options)
  return keyedPolicies.updatable<never, Settings, Kept>({
    make: () => one,
    atRest: (hedge) => hedge.atRest(),
    idleTimeToLive: options?.idleTimeToLive,
    maxKeys: options?.maxKeys
  })
}

/**
 * The hedge that does nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Hedge = Object.assign(
  Policy.make<never>({ effect: (self) => self, stream: (self) => self }),
  {
    inspect: Effect.succeed<State>({
      calls: 0,
      attempts: 0,
      delay: Duration.infinity,
      measured: 0,
      affordable: 0
    }),
    events: Stream.empty,
    update: () => Effect.void
  }
)
