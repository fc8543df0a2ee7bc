/** Runs programs under a time limit; `Deadline` says what the limits are. */
import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Layered from "../Layered.ts"
import * as Alarms from "./alarms.ts"
import { asPull, CurrentDeadline, deadlineOf } from "./currentDeadline.ts"
import * as leastRate from "./leastRate.ts"
import * as time from "./time.ts"

export interface Limit<E> {
  readonly millis: number
  readonly expire: Effect.Effect<never, E>
}

/**
 * How a deadline ends the waits of a stream's source without a fiber for each
 * pull.
 *
 * **Details**
 *
 * A source that reads `CurrentStop` while it is opened may claim it once. From
 * its first item on its pulls then run on the consumer's own fiber, and when
 * time is up the deadline calls `interrupt`, upon which the source must at once
 * fail with `Effect.interrupt` in whatever it waits for, or in its next pull.
 * When it is closed it calls what `claim` gave it, so that a stream that takes
 * its place is bounded even if that one claims nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stop {
  readonly claim: (interrupt: () => void) => () => void
}

/**
 * The `Stop` of the nearest deadline, when that one is `cooperative`.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentStop: Context.Reference<Stop | undefined> = Context.Reference(
  "@ballast/resilience/Deadline/CurrentStop",
  { defaultValue: (): Stop | undefined => undefined }
)

/**
 * Bounds an effect. The body runs on a fiber of its own, which alone can be
 * interrupted without its caller, and sees when it must have ended; its alarm is
 * only set if it suspends.
 */
export const boundedEffect = <A, E1, R, E>(
  self: Effect.Effect<A, E1, R>,
  alarms: Alarms.Alarms,
  limitOf: () => Limit<E> | undefined
): Effect.Effect<A, E1 | E, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.withFiber((fiber) => {
      const limit = limitOf()
      return limit === undefined ? self : bound(self, alarms, limit, context, fiber)
    })
  )

const bound = <A, E1, R, E>(
  self: Effect.Effect<A, E1, R>,
  alarms: Alarms.Alarms,
  limit: Limit<E>,
  context: Context.Context<R>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<A, E1 | E, R> =>
  Effect.callback<A, E1 | E>((resume) => {
    const at = time.now(fiber) + limit.millis
    const body = Effect.runForkWith(endingAt(context, fiber, at))(self)
    const done = body.pollUnsafe()
    if (done !== undefined) return resume(done)
    let expired = false
    const alarm = Alarms.alarm(at, () => {
      expired = true
      body.interruptUnsafe()
    })
    alarms.set(fiber, context, alarm)
    body.addObserver((exit) => {
      alarms.clear(alarm)
      resume(expired ? expire(exit, limit) : exit)
    })
    return Effect.suspend(() => {
      alarms.clear(alarm)
      return Fiber.interrupt(body)
    })
  })

/** The context in which the nearer of the caller's deadline and one's own is the current one. */
const endingAt = <R>(
  context: Context.Context<R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  at: number
): Context.Context<R> => {
  const nearer = Math.min(deadlineOf(fiber), at)
  return nearer < fiber.getRef(CurrentDeadline) ? Context.add(context, CurrentDeadline, nearer) : context
}

/**
 * Runs a pull of a stream whose whole must have ended by `whole`, and this pull by `at`. The source may have been opened by an
 * earlier pull, and what it forked then must not take that pull's end for its own: so only the fiber of the pull sees it.
 */
const forkPull = <A, E, R>(
  pull: Effect.Effect<A, E, R>,
  context: Context.Context<R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  whole: number,
  at: number
): Fiber.Fiber<A, E> => {
  const outer = fiber.getRef(CurrentDeadline)
  const inner = whole < outer ? Context.add(context, CurrentDeadline, whole) : context
  const endsAt = Math.min(at, deadlineOf(fiber))
  return Effect.runForkWith(inner)(endsAt < Math.min(whole, outer) ? asPull(pull, endsAt) : pull)
}

/** A defect that the interrupted body died of is worse news than the deadline. */
const expire = <A, E1, E>(exit: Exit.Exit<A, E1>, limit: Limit<E>): Effect.Effect<A, E1 | E> =>
  Exit.hasDies(exit) ? exit : limit.expire

/** What bounds a stream; what is undefined does not. */
export interface Limits<E> {
  readonly whole: Limit<E> | undefined
  readonly first: Limit<E> | undefined
  readonly idle: Limit<E> | undefined
  /** The least weight in any so many milliseconds of waiting. */
  readonly rate: Limit<E> & { readonly least: number } | undefined
}

/** What is looked for in the items of a stream. */
export interface Items {
  readonly progress: ((item: unknown) => boolean) | undefined
  readonly weigh: (item: unknown) => number
  readonly cooperative: boolean
}

/**
 * Bounds a stream: all of it, the wait for its first item, the waits between
 * items, and its least rate.
 */
export const boundedStream = <A, E1, R, E>(
  self: Stream.Stream<A, E1, R>,
  items: Items,
  limitsOf: () => Limits<E>
): Stream.Stream<A, E1 | E, R> =>
  Layered.stream((scope) =>
    Effect.withFiber((opener) => {
      const { cooperative, progress, weigh } = items
      const { first, idle, rate, whole } = limitsOf()
      const outer = opener.getRef(CurrentStop)
      const watchdog = makeWatchdog()
      /** Of the sources that are open: attempts of a hedge are so at the same time. */
      const claims = new Set<() => void>()
      const interrupt = () => {
        for (const claimed of claims) claimed()
      }
      const stop: Stop = {
        claim: (claimed) => {
          claims.add(claimed)
          const release = outer?.claim(claimed)
          return () => {
            claims.delete(claimed)
            release?.()
          }
        }
      }
      /** Lets the source see this deadline's stop, and never that of one further out. */
      const offered = <A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>) =>
        cooperative || outer !== undefined
          ? Effect.provideService(effect, CurrentStop, cooperative ? stop : undefined)
          : effect

      // Opened by the first pull, so that a source that takes its time to open is waited for like its first item.
      const inner = Scope.forkUnsafe(scope)
      let pull: BoundedPull<A, E1, R> = Effect.flatMap(
        Channel.toPullScoped(Stream.toChannel(self), inner),
        (opened) => pull = opened
      )
      const opening = offered(Effect.suspend(() => pull))
      let endsAt: number | undefined
      let since = 0
      let limit: Limit<E> | undefined
      let waiting = first
      let left = waiting?.millis ?? Infinity
      const flow = rate && leastRate.make(rate.least, rate.millis)

      /** Starts to count a wait and chooses the limit that will end first. Returns when that is. */
      const start = (fiber: Fiber.Fiber<unknown, unknown>): number => {
        since = time.now(fiber)
        endsAt ??= since + (whole?.millis ?? Infinity)
        limit = endsAt <= since + left ? whole : waiting
        const at = Math.min(endsAt, since + left)
        const slowAt = flow === undefined ? Infinity : since + flow.left()
        if (at <= slowAt) return at
        limit = rate
        return slowAt
      }

      const waited = (fiber: Fiber.Fiber<unknown, unknown>, items: ReadonlyArray<A>) => {
        const progressed = progress === undefined || items.some(progress)
        const took = progressed && flow === undefined ? 0 : time.now(fiber) - since
        if (progressed) {
          waiting = idle
          left = idle?.millis ?? Infinity
        } else {
          left -= took
        }
        flow?.arrive(took, weightOf(items, weigh), progressed)
      }

      /** A pull on a fiber of its own. */
      const guarded: BoundedPull<A, E1 | E, R> = Effect.withFiber((fiber) => {
        const at = start(fiber)
        if (limit !== undefined && at < since) return limit.expire
        const ended = limit === undefined ? opening : watchdog.guard(opening, fiber, endsAt ?? Infinity, at, limit)
        return Effect.map(ended, (items) => {
          waited(fiber, items)
          if (claims.size > 0) next = watchedBy(fiber)
          return items
        })
      })

      /** A pull on the consumer's fiber, of a source that ends its waits itself. */
      const watchedBy = (opener: Fiber.Fiber<unknown, unknown>): BoundedPull<A, E1 | E, R> => {
        const onFailure = (cause: Cause.Cause<E1 | Cause.Done<void>>): BoundedPull<A, E1 | E, never> => {
          const exit = Exit.failCause(cause)
          const ended = watchdog.stop()
          return limit !== undefined && ended ? expire(exit, limit) : exit
        }
        // Only the whole is limited: one watch is enough for all pulls.
        if (waiting === undefined && idle === undefined && flow === undefined) {
          watchdog.watch(opener, start(opener), interrupt)
          return Layered.around(pull, { failed: onFailure })
        }
        return Layered.around(pull, {
          before: (fiber) => {
            const at = start(fiber)
            if (limit !== undefined && at < since) return limit.expire
            watchdog.watch(fiber, at, interrupt)
            return undefined
          },
          items: (items, fiber) => {
            watchdog.rest()
            waited(fiber, items)
          },
          failed: onFailure
        })
      }

      let next = guarded
      return Effect.as(Scope.addFinalizer(scope, Effect.sync(watchdog.stop)), Layered.switching(() => next))
    })
  )

/** What weighs nothing, or is no number, takes nothing from the others. */
const weightOf = (items: ReadonlyArray<unknown>, weigh: Items["weigh"]): number =>
  items.reduce<number>((sum, item) => {
    const weight = weigh(item)
    return weight > 0 ? sum + weight : sum
  }, 0)

type BoundedPull<A, E, R> = Pull.Pull<readonly [A, ...Array<A>], E, void, R>

/** A wait under watch. */
interface Watched {
  readonly at: number
  readonly interrupt: () => void
}

/**
 * One timer for all pulls of a stream. It is not reset by each pull: when it
 * fires it looks whether the pull that then runs is past its limit, and else
 * sleeps on. So a stream of many items starts few timers.
 */
const makeWatchdog = () => {
  let current: Watched | undefined
  let bitten: Watched | undefined
  let timer: Fiber.Fiber<void> | undefined
  let wakesAt = Infinity

  const guarding: Effect.Effect<void> = Effect.withFiber((fiber) => {
    if (current === undefined) {
      wakesAt = Infinity
      return Effect.void
    }
    const left = current.at - time.now(fiber)
    if (left <= 0) {
      wakesAt = Infinity
      bitten = current
      current.interrupt()
      return Effect.void
    }
    wakesAt = current.at
    return Effect.andThen(Effect.sleep(Math.ceil(left)), guarding)
  })

  const rest = () => {
    current = undefined
  }

  /** Ends the watch. Returns whether it had ended what was watched. */
  const stop = (): boolean => {
    const wasBitten = current !== undefined && current === bitten
    rest()
    timer?.interruptUnsafe()
    timer = undefined
    wakesAt = Infinity
    return wasBitten
  }

  const watch = (fiber: Fiber.Fiber<unknown, unknown>, at: number, interrupt: () => void): void => {
    current = { at, interrupt }
    if (at < wakesAt) {
      timer?.interruptUnsafe()
      timer = Effect.runForkWith(fiber.context)(guarding)
    }
  }

  /** Runs a pull on a fiber of its own, which can be interrupted. */
  const guard = <A, E1, R, E>(
    pull: Effect.Effect<A, E1, R>,
    fiber: Fiber.Fiber<unknown, unknown>,
    whole: number,
    at: number,
    limit: Limit<E>
  ): Effect.Effect<A, E1 | E, R> =>
    Effect.contextWith((context: Context.Context<R>) =>
      Effect.callback<A, E1 | E>((resume) => {
        const body = forkPull(pull, context, fiber, whole, at)
        const done = body.pollUnsafe()
        if (done !== undefined) return resume(done)
        watch(body, at, () => body.interruptUnsafe())
        body.addObserver((exit) => {
          const ended = current === bitten
          if (exit._tag === "Failure") stop()
          else rest()
          resume(ended ? expire(exit, limit) : exit)
        })
        return Effect.suspend(() => {
          stop()
          return Fiber.interrupt(body)
        })
      })
    )

  return { guard, watch, rest, stop }
}
