import { type AdaptiveLimit, Outcome } from "@ballast/resilience"
import { Cause, Data, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"

export class Overloaded extends Data.TaggedError("Overloaded")<{ readonly limit?: number }> {
  get [Outcome.key](): Outcome.Outcome {
    return Outcome.failure()
  }
}

export const limitOf = (exit: Exit.Exit<unknown, unknown>): number | undefined => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return error instanceof Overloaded ? error.limit : undefined
}

/** What a service does with the calls that are too many for it. */
export interface Behaviour {
  /** Calls that it serves at full speed. */
  capacity: number
  /** How long such a call takes, in milliseconds. */
  time: number
  /** Calls that it takes in; more are rejected. They share its speed. */
  readonly admits: (capacity: number) => number
  /** Whether a rejection states the limit. */
  readonly states?: boolean
}

/** A service that is as fast as its capacity, then slower with each call, and that rejects the surplus. */
export const makeService = (behaviour: Behaviour) => {
  let inside = 0
  const counts = { served: 0, rejected: 0 }
  const call = Effect.acquireUseRelease(
    Effect.sync(() => ++inside),
    (present) => {
      const admits = behaviour.admits(behaviour.capacity)
      if (present > admits) {
        counts.rejected++
        return Effect.andThen(Effect.sleep(1), Effect.fail(new Overloaded(behaviour.states ? { limit: admits } : {})))
      }
      counts.served++
      return Effect.sleep(behaviour.time * Math.max(1, present / behaviour.capacity))
    },
    () => Effect.sync(() => inside--)
  )
  return { call, counts, behaviour }
}

/** Many callers that call without a pause, and what the limit is as time passes. */
export const load = Effect.fnUntraced(function*(
  limit: AdaptiveLimit.AdaptiveLimit,
  call: Effect.Effect<void, Overloaded>,
  callers = 100
) {
  const one = Effect.forever(Effect.exit(limit(call)))
  const fibers = yield* Effect.forEach(Array.from({ length: callers }), () => Effect.forkChild(one))
  /** Lets so many seconds pass. Returns the limit at the end of each. */
  const watch = Effect.fnUntraced(function*(seconds: number) {
    const limits: Array<number> = []
    for (let second = 0; second < seconds; second++) {
      yield* TestClock.adjust("1 second")
      limits.push((yield* limit.inspect).limit)
    }
    return limits
  })
  return { watch, stop: Fiber.interruptAll(fibers) }
})
