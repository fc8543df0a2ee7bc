/** One decision after the other on a limit in Redis that is never reached, 16 of them in flight. */
import { RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { Context, Effect, Layer, Scope } from "effect"
import { RateLimiterRedis } from "rate-limiter-flexible"
import { createClient } from "redis"
import { concurrency, inFlight, type Side } from "../measure.ts"

export const flexible = async (url: string): Promise<Side> => {
  const client = createClient({ url })
  await client.connect()
  const limiter = new RateLimiterRedis({
    storeClient: client,
    useRedisPackage: true,
    keyPrefix: "flexible",
    points: 1_000_000_000,
    duration: 1
  })
  return inFlight(concurrency, async () => (await limiter.consume("key")).consumedPoints > 0 ? 1 : 0)
}

const shared = (options?: Partial<SharedRateLimiter.Options>) => async (url: string): Promise<Side> => {
  const scope = Scope.makeUnsafe()
  const store = await Effect.runPromise(
    Layer.buildWithScope(RateLimiterStore.layerStoreRedis().pipe(Layer.provide(NodeRedis.layer({ url }))), scope)
  )
  const limiter = await Effect.runPromise(
    SharedRateLimiter.make({
      name: "bench",
      algorithm: "fixed-window",
      limit: 1_000_000_000,
      window: "1 minute",
      onStoreError: "fail",
      ...options
    }).pipe(Effect.provide(Context.add(store, Scope.Scope, scope)))
  )
  const one = limiter("key")(Effect.succeed(1))
  return (operations) =>
    Effect.runPromise(Effect.gen(function*() {
      let started = 0
      let sum = 0
      const lane = Effect.gen(function*() {
        while (started++ < operations) {
          const result = yield* one
          sum += result
        }
      })
      yield* Effect.all(Array.from({ length: concurrency }, () => lane), { concurrency: "unbounded", discard: true })
      return sum
    }))
}

export const plain = shared()
export const leased = shared({ lease: { size: 100_000 } })
