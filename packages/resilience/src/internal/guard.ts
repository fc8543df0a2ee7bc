/**
 * The shared machinery of policies that admit a call before it runs and hear
 * of its end after: breaker, rate limiter, concurrency limit.
 */
import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Layered from "../Layered.ts"
import * as Policy from "./policy.ts"
import * as time from "./time.ts"

/** One admission. `wait` is undefined when the call may run at once, and fails when it is rejected. */
export interface Entry<E> {
  readonly wait: Effect.Effect<void, E> | undefined
}

/**
 * `enter` decides in one synchronous step and `exit` is called exactly once for
 * every entry: after the call, or while it still waits if that is interrupted.
 * An entry that waits must therefore say in its own state whether it was
 * granted.
 *
 * `held` is how long a stream's consumer did something else than wait for the
 * next items, in milliseconds: that says nothing about the source. It is measured
 * for the entries that `isTimed` wants it for, and zero for all others.
 */
export interface Guard<T extends Entry<E>, E> {
  readonly enter: (fiber: Fiber.Fiber<unknown, unknown>) => T
  readonly exit: (
    entry: T,
    exit: Exit.Exit<unknown, unknown>,
    fiber: Fiber.Fiber<unknown, unknown>,
    held: number
  ) => void
  readonly isTimed?: (entry: T) => boolean
}

export const makePolicy = <T extends Entry<E>, E>(guard: Guard<T, E>): Policy.Policy<E> =>
  Policy.make<E>({
    effect: (self) => guardEffect(guard, self),
    stream: (self) => guardStream(guard, self)
  })

const guardEffect = <T extends Entry<E>, E, A, E1, R>(
  guard: Guard<T, E>,
  self: Effect.Effect<A, E1, R>
): Effect.Effect<A, E1 | E, R> =>
  Effect.withFiber((fiber) => {
    let entry: T | undefined
    // The fiber may yield, and be interrupted, between any two steps. So the
    // finalizer stands before the entry is made.
    return Effect.onExitPrimitive(
      Effect.suspend((): Effect.Effect<A, E1 | E, R> => {
        entry = guard.enter(fiber)
        return entry.wait === undefined ? self : Effect.flatMap(entry.wait, () => self)
      }),
      (exit) => {
        if (entry !== undefined) guard.exit(entry, exit, fiber, 0)
        return undefined
      }
    )
  })

const guardStream = <T extends Entry<E>, E, A, E1, R>(
  guard: Guard<T, E>,
  self: Stream.Stream<A, E1, R>
): Stream.Stream<A, E1 | E, R> =>
  Layered.stream((scope) =>
    Effect.suspend(() => {
      let entry: T | undefined
      let emitted = false
      let opened: Pull.Pull<readonly [A, ...Array<A>], E1 | E, void, R> | undefined
      let held = 0
      /** When the consumer got the last items, while it has not asked for more. */
      let emittedAt: number | undefined

      /** Ends a time in which the consumer has not pulled. */
      const resume = (fiber: Fiber.Fiber<unknown, unknown>) => {
        if (emittedAt !== undefined) held += time.now(fiber) - emittedAt
        emittedAt = undefined
      }

      /** The layer around all pulls but the first. */
      const timing = {
        before: (fiber: Fiber.Fiber<unknown, unknown>) => {
          resume(fiber)
          return undefined
        },
        items: (_: unknown, fiber: Fiber.Fiber<unknown, unknown>) => {
          emittedAt = time.now(fiber)
        }
      }

      const settle = (exit: Exit.Exit<unknown, unknown>) =>
        Effect.withFiber((fiber) => {
          const settling = entry
          entry = undefined
          if (settling === undefined) return Effect.void
          resume(fiber)
          guard.exit(settling, exit, fiber, held)
          return Effect.void
        })

      // The upstream gets a scope of its own, closed before the entry ends: a
      // slot is free only once the call's resources are.
      const inner = Scope.makeUnsafe()
      const finish = <E2>(cause: Cause.Cause<E2>): Effect.Effect<never, E2> => {
        const end = Pull.doneExitFromCause(cause)
        return Effect.uninterruptible(
          Effect.andThen(Effect.ensuring(Scope.close(inner, end), settle(end)), Effect.failCause(cause))
        )
      }
      // Interrupted pulls are left to the finalizer below.
      const first = Effect.catchCause(
        Effect.withFiber((fiber): Pull.Pull<readonly [A, ...Array<A>], E1 | E, void, R> => {
          entry = guard.enter(fiber)
          const isTimed = guard.isTimed?.(entry) ?? false
          const open = Effect.flatMap(Channel.toPullScoped(Stream.toChannel(self), inner), (pull) =>
            Effect.map(pull, (items) => {
              emitted = true
              opened = Layered.around(pull, { ...(isTimed ? timing : undefined), failed: finish })
              if (isTimed) emittedAt = time.now(fiber)
              return items
            }))
          return entry.wait === undefined ? open : Effect.flatMap(entry.wait, () =>
            open)
        }),
        finish
      )

      return Effect.as(
        Scope.addFinalizerExit(
          scope,
          (exit) => Effect.ensuring(Scope.close(inner, exit), Effect.suspend(() => settle(closedEarly(exit, emitted))))
        ),
        Layered.switching(() => opened ?? first)
      )
    })
  )

/**
 * The consumer stopped before the stream's own end: that is a success once an
 * item has arrived and the consumer ended well, and says nothing otherwise. An
 * error that closes the scope is the consumer's, never the dependency's.
 */
const closedEarly = (exit: Exit.Exit<unknown, unknown>, emitted: boolean): Exit.Exit<unknown, unknown> =>
  emitted && Exit.isSuccess(exit) ? exit : Exit.interrupt()
