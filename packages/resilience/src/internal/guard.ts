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
      const guarded = new Guarded<T, A, E1, R, E>(guard)
      guarded.open(self)
      return Effect.as(Scope.addFinalizerExit(scope, guarded.closing()), guarded)
    })
  )

type GuardedPull<A, E, R> = Pull.Pull<readonly [A, ...Array<A>], E, void, R>

/** One stream, and the layer around all its pulls but the first. Nothing in it refers to what opens the source. */
class Guarded<T extends Entry<E>, A, E1, R, E> extends Layered.Switching<A, E1 | E | Cause.Done<void>, R> {
  private next: GuardedPull<A, E1 | E, R> = Effect.never
  private readonly guard: Guard<T, E>
  // The upstream gets a scope of its own, closed before the entry ends: a
  // slot is free only once the call's resources are.
  private readonly scope = Scope.makeUnsafe()
  private entry: T | undefined
  private isTimed = false
  private emitted = false
  private held = 0
  /** When the consumer got the last items, while it has not asked for more. */
  private emittedAt: number | undefined

  constructor(guard: Guard<T, E>) {
    super()
    this.guard = guard
  }

  override asEffect(): GuardedPull<A, E1 | E, R> {
    return this.next
  }

  open(self: Stream.Stream<A, E1, R>): void {
    const first = Effect.withFiber((fiber): GuardedPull<A, E1 | E, R> => {
      const entry = this.entry = this.guard.enter(fiber)
      this.isTimed = this.guard.isTimed?.(entry) ?? false
      const open = Effect.flatMap(
        Channel.toPullScoped(Stream.toChannel(self), this.scope),
        (pull) =>
          Effect.map(pull, (items) => {
            this.emitted = true
            this.next = Layered.around(pull, this)
            this.items(items, fiber)
            return items
          })
      )
      return entry.wait === undefined ? open : Effect.flatMap(entry.wait, () => open)
    })
    // Interrupted pulls are left to `closing`.
    this.next = Effect.catchCause(first, (cause) => this.failed(cause))
  }

  before(fiber: Fiber.Fiber<unknown, unknown>): undefined {
    this.resume(fiber)
  }

  items(_: unknown, fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.isTimed) this.emittedAt = time.now(fiber)
  }

  failed(cause: Cause.Cause<E1 | E | Cause.Done>): GuardedPull<A, E1 | E, never> {
    const end = Pull.doneExitFromCause(cause)
    return Effect.uninterruptible(
      Effect.andThen(Effect.ensuring(Scope.close(this.scope, end), this.settle(end)), Effect.failCause(cause))
    )
  }

  closing(): (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void> {
    return (exit) => Effect.ensuring(Scope.close(this.scope, exit), this.settle(closedEarly(exit, this.emitted)))
  }

  /** Ends a time in which the consumer has not pulled. */
  private resume(fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.emittedAt !== undefined) this.held += time.now(fiber) - this.emittedAt
    this.emittedAt = undefined
  }

  private settle(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      const { entry } = this
      this.entry = undefined
      if (entry === undefined) return Effect.void
      this.resume(fiber)
      this.guard.exit(entry, exit, fiber, this.held)
      return Effect.void
    })
  }
}

/**
 * The consumer stopped before the stream's own end: that is a success once an
 * item has arrived and the consumer ended well, and says nothing otherwise. An
 * error that closes the scope is the consumer's, never the dependency's.
 */
const closedEarly = (exit: Exit.Exit<unknown, unknown>, emitted: boolean): Exit.Exit<unknown, unknown> =>
  emitted && Exit.isSuccess(exit) ? exit : Exit.interrupt()
