import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"

/**
 * What a policy does on behalf of its callers, on fibers of their own: a caller
 * that is interrupted must not take the answer of a store with it.
 */
export interface Background {
  /** Runs at once, on the stack of the caller, until it first suspends. */
  readonly run: <A, E>(context: Context.Context<never>, effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  /** Runs what is to come to its end before all is stopped. */
  readonly work: <A, E>(context: Context.Context<never>, effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  /**
   * Waits for the end of work on a fiber of its own for so many milliseconds.
   * The work goes on when the wait is interrupted, or is over and `expire` says
   * how it ends; `late` is told how the work ended then.
   */
  readonly within: <A, E>(
    work: Effect.Effect<A, E>,
    millis: number,
    expire: Effect.Effect<never, E>,
    late?: (exit: Exit.Exit<A, E>) => void
  ) => Effect.Effect<A, E>
  /** Waits until all work has ended, also what follows from it, but for what is past its time. */
  readonly worked: Effect.Effect<void>
  /** Interrupts all that runs. */
  readonly stop: Effect.Effect<void>
}

export const make = (): Background => {
  const fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  const works = new Set<Fiber.Fiber<unknown, unknown>>()

  const run = <A, E>(context: Context.Context<never>, effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> => {
    const fiber = Effect.runForkWith(context)(effect)
    if (fiber.pollUnsafe() !== undefined) return fiber
    fibers.add(fiber)
    fiber.addObserver(() => fibers.delete(fiber))
    return fiber
  }

  const work = <A, E>(context: Context.Context<never>, effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> => {
    const fiber = run(context, effect)
    if (fiber.pollUnsafe() !== undefined) return fiber
    works.add(fiber)
    fiber.addObserver(() => works.delete(fiber))
    return fiber
  }

  const within = <A, E>(
    effect: Effect.Effect<A, E>,
    millis: number,
    expire: Effect.Effect<never, E>,
    late?: (exit: Exit.Exit<A, E>) => void
  ): Effect.Effect<A, E> =>
    Effect.withFiber(({ context }) =>
      Effect.callback<A, E>((resume) => {
        const fiber = work(context, effect)
        const done = fiber.pollUnsafe()
        if (done !== undefined) return resume(done)
        let over = false
        const timer = run(
          context,
          Effect.andThen(
            Effect.sleep(millis),
            Effect.sync(() => {
              over = true
              works.delete(fiber)
              resume(expire)
            })
          )
        )
        fiber.addObserver((exit) => {
          if (over) return late?.(exit)
          timer.interruptUnsafe()
          resume(exit)
        })
        return Effect.sync(() => {
          over = true
          timer.interruptUnsafe()
        })
      })
    )

  const worked: Effect.Effect<void> = Effect.suspend(() =>
    works.size === 0 ? Effect.void : Effect.andThen(Fiber.awaitAll(Array.from(works)), worked)
  )

  return {
    run,
    work,
    within,
    worked,
    stop: Effect.suspend(() => Fiber.interruptAll(Array.from(fibers)))
  }
}
