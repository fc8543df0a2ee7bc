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
 *
 * @category models
 * @since 0.1.0
 */
export interface Stop {
  readonly claim: (interrupt: () => void) => void
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
 * interrupted without its caller; the timer starts only if the body suspends.
 */
export const boundedEffect = <A, E1, R, E>(
  self: Effect.Effect<A, E1, R>,
  limit: Limit<E>
): Effect.Effect<A, E1 | E, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback<A, E1 | E>((resume) => {
      const run = Effect.runForkWith(context)
      const body = run(self)
      const done = body.pollUnsafe()
      if (done !== undefined) return resume(done)
      let expired = false
      const timer = run(Effect.andThen(
        Effect.sleep(limit.millis),
        Effect.sync(() => {
          expired = true
          body.interruptUnsafe()
        })
      ))
      body.addObserver((exit) => {
        timer.interruptUnsafe()
        resume(expired ? expire(exit, limit) : exit)
      })
      return Effect.suspend(() => {
        timer.interruptUnsafe()
        return Fiber.interrupt(body)
      })
    })
  )

/** A defect that the interrupted body died of is worse news than the deadline. */
const expire = <A, E1, E>(exit: Exit.Exit<A, E1>, limit: Limit<E>): Effect.Effect<A, E1 | E> =>
  Exit.hasDies(exit) ? exit : limit.expire

/**
 * Bounds a stream: all of it, the wait for its first item, and the waits
 * between items.
 */
export const boundedStream = <A, E1, R, E>(
  self: Stream.Stream<A, E1, R>,
  limits: {
    readonly whole: Limit<E> | undefined
    readonly first: Limit<E> | undefined
    readonly idle: Limit<E> | undefined
    readonly progress: ((item: unknown) => boolean) | undefined
    readonly cooperative: boolean
  }
): Stream.Stream<A, E1 | E, R> =>
  Stream.fromChannel(
    Channel.fromTransform((_upstream, scope) =>
      Effect.withFiber((opener) => {
        const { cooperative, idle, progress, whole } = limits
        const outer = opener.getRef(CurrentStop)
        const watchdog = makeWatchdog()
        let interrupt: (() => void) | undefined
        const stop: Stop = {
          claim: (claimed) => {
            interrupt = claimed
            outer?.claim(claimed)
          }
        }
        /** Lets the source see this deadline's stop, and never that of one further out. */
        const offered = <A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>) =>
          cooperative || outer !== undefined
            ? Effect.provideService(effect, CurrentStop, cooperative ? stop : undefined)
            : effect

        return Effect.flatMap(offered(Channel.toPullScoped(Stream.toChannel(self), scope)), (pull) => {
          const opening = offered(pull)
          let endsAt: number | undefined
          let since = 0
          let limit: Limit<E> | undefined
          let waiting = limits.first
          let left = waiting?.millis ?? Infinity

          /** Starts to count a wait and chooses the limit that will end first. Returns when that is. */
          const start = (fiber: Fiber.Fiber<unknown, unknown>): number => {
            since = time.now(fiber)
            endsAt ??= since + (whole?.millis ?? Infinity)
            limit = endsAt <= since + left ? whole : waiting
            return Math.min(endsAt, since + left)
          }

          const waited = (fiber: Fiber.Fiber<unknown, unknown>, items: ReadonlyArray<A>) => {
            if (progress === undefined || items.some(progress)) {
              waiting = idle
              left = idle?.millis ?? Infinity
            } else {
              left -= time.now(fiber) - since
            }
          }

          /** A pull on a fiber of its own. */
          const guarded: BoundedPull<A, E1 | E, R> = Effect.withFiber((fiber) => {
            const at = start(fiber)
            if (limit !== undefined && at < since) return limit.expire
            const ended = limit === undefined ? opening : watchdog.guard(opening, at, limit)
            return Effect.map(ended, (items) => {
              waited(fiber, items)
              if (interrupt !== undefined) next = watchedBy(fiber, interrupt)
              return items
            })
          })

          /** A pull on the consumer's fiber, of a source that ends its waits itself. */
          const watchedBy = (
            opener: Fiber.Fiber<unknown, unknown>,
            interrupt: () => void
          ): BoundedPull<A, E1 | E, R> => {
            const onFailure = (cause: Cause.Cause<E1 | Cause.Done<void>>): BoundedPull<A, E1 | E, never> => {
              const exit = Exit.failCause(cause)
              const ended = watchdog.stop()
              return limit !== undefined && ended ? expire(exit, limit) : exit
            }
            // Only the whole is limited: one watch is enough for all pulls.
            if (waiting === undefined && idle === undefined) {
              watchdog.watch(opener, start(opener), interrupt)
              return Effect.catchCause(pull, onFailure)
            }
            let puller = opener
            const watched = Effect.matchCauseEffect(pull, {
              onSuccess: (items) => {
                watchdog.rest()
                waited(puller, items)
                return Effect.succeed(items)
              },
              onFailure
            })
            return Effect.withFiber((fiber) => {
              puller = fiber
              const at = start(fiber)
              if (limit !== undefined && at < since) return limit.expire
              watchdog.watch(fiber, at, interrupt)
              return watched
            })
          }

          let next = guarded
          return Effect.as(Scope.addFinalizer(scope, Effect.sync(watchdog.stop)), Effect.suspend(() => next))
        })
      })
    )
  )

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
    at: number,
    limit: Limit<E>
  ): Effect.Effect<A, E1 | E, R> =>
    Effect.contextWith((context: Context.Context<R>) =>
      Effect.callback<A, E1 | E>((resume) => {
        const body = Effect.runForkWith(context)(pull)
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
