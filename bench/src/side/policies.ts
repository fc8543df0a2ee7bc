/** Our policies, put around each call anew. */
import { CircuitBreaker, ConcurrencyLimit, Deadline, Policy, RateLimiter, Retry } from "@ballast/resilience"
import { Effect } from "effect"
import { crowds, fibers, one } from "../fibers.ts"
import type { Side } from "../measure.ts"
import { measured, traced } from "../observed.ts"

type Make = Effect.Effect<Policy.Policy<unknown>>
type Run = typeof fibers

const side = (make: Make, run: Run = fibers) => async (_url: string, lanes: number): Promise<Side> => {
  const policy = await Effect.runPromise(make)
  return run(lanes, () => policy(one()))
}

const rateLimiter_ = { limit: 1_000_000_000, window: "1 second" } as const
const parts = {
  retry: {},
  circuitBreaker: {},
  rateLimiter: rateLimiter_,
  concurrencyLimit: { limit: 16 },
  attempt: "1 minute"
} as const

export const retry = side(Effect.sync(() => Retry.make()))
export const circuitBreaker = side(CircuitBreaker.make())
export const rateLimiter = side(RateLimiter.make(rateLimiter_))
export const concurrencyLimit = side(ConcurrencyLimit.make({ limit: 16 }))
export const deadline = side(Effect.sync(() => Deadline.attempt("1 minute")))
export const five = side(Policy.common(parts))
export const six = side(Policy.common({ ...parts, total: "2 minutes" }))
export const fiveWithMetrics = side(Policy.common(parts), measured)
export const fiveWithSpan = side(Policy.common(parts), traced)

/** Counts rejections; a call that runs fails the bench. */
export const openCircuit = async (_url: string, lanes: number): Promise<Side> => {
  const breaker = await Effect.runPromise(CircuitBreaker.make({ minimumCalls: 1, openDuration: "1 hour" }))
  await Effect.runPromise(Effect.ignore(breaker(Effect.fail("down"))))
  return fibers(lanes, () =>
    Effect.match(breaker(one()), {
      onFailure: ({ _tag }) => _tag === "CircuitOpen" ? 1 : NaN,
      onSuccess: () => NaN
    }))
}

export const crowdedConcurrencyLimit = async (_url: string, size: number): Promise<Side> => {
  const limit = await Effect.runPromise(ConcurrencyLimit.make({ limit: 1, queue: Infinity }))
  return crowds(size, () => limit(one()))
}

/** Each crowd finds the bucket empty, so that all of it waits; the burst is what one turn of the timer lets through. */
export const crowdedRateLimiter = async (_url: string, size: number): Promise<Side> => {
  const burst = 50
  const limiter = await Effect.runPromise(
    RateLimiter.make({ limit: 1_000_000, window: "1 second", burst, maxWait: "1 hour", maxQueue: size })
  )
  return crowds(size, () => limiter(one()), limiter.penalize(burst))
}
