import { RateLimiterMemory } from "rate-limiter-flexible"
import { promises } from "../promises.ts"

export const rateLimiter = promises(() => {
  const limiter = new RateLimiterMemory({ points: 1_000_000_000, duration: 1 })
  return async (call) => {
    await limiter.consume("bench")
    return call()
  }
})
