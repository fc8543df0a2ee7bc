/** Each policy around the same small effect, called again and again inside one fiber. */
import { CircuitBreaker, ConcurrencyLimit, Deadline, Policy, RateLimiter, Retry } from "@ballast/resilience"
import { Effect } from "effect"
import type { Side } from "../measure.ts"

const one = Effect.promise(() => Promise.resolve(1))

const side = (policy: Effect.Effect<Policy.Policy<unknown>>) => async (): Promise<Side> => {
  const guarded = (await Effect.runPromise(policy))(one)
  return (operations) =>
    Effect.runPromise(Effect.gen(function*() {
      let sum = 0
      for (let index = 0; index < operations; index++) sum += yield* guarded
      return sum
    }))
}

export const bare = side(Effect.succeed(Policy.identity))
export const retry = side(Effect.sync(() => Retry.make()))
export const circuitBreaker = side(CircuitBreaker.make())
export const rateLimiter = side(RateLimiter.make({ limit: 1_000_000_000, window: "1 second" }))
export const concurrencyLimit = side(ConcurrencyLimit.make({ limit: 16 }))
export const totalDeadline = side(Effect.sync(() => Deadline.total("1 minute")))
export const attemptDeadline = side(Effect.sync(() => Deadline.attempt("1 minute")))
export const common = side(Policy.common({
  total: "2 minutes",
  retry: {},
  circuitBreaker: {},
  rateLimiter: { limit: 1_000_000_000, window: "1 second" },
  concurrencyLimit: { limit: 16 },
  attempt: "1 minute"
}))
