import { RateLimiter, RateLimiterStore } from "@ballast/resilience"
import { assert } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import { type algorithms, makeSpec } from "../../src/internal/rate/algorithm.ts"
import * as redis from "./redis.ts"

export { algorithms } from "../../src/internal/rate/algorithm.ts"

type Algorithm = (typeof algorithms)[number]

/** A limit as `RateLimiter.make` checks it. */
export const spec = (options: {
  readonly algorithm: Algorithm
  readonly limit: number
  readonly window: Duration.Input
  readonly burst?: number
  readonly warmUp?: Duration.Input
}): RateLimiterStore.Spec =>
  makeSpec({
    algorithm: options.algorithm,
    limit: options.limit,
    window: Duration.toMillis(options.window),
    burst: options.burst ?? options.limit,
    warmUp: Duration.toMillis(options.warmUp ?? 0)
  })

type Store = RateLimiterStore.RateLimiterStore["Service"]

/** A store in memory, of which some methods are others. */
export const storeWith = (change: (store: Store) => Partial<Store>) =>
  Effect.provide(
    Layer.effect(
      RateLimiterStore.RateLimiterStore,
      Effect.map(RateLimiterStore.RateLimiterStore, (store) => ({ ...store, ...change(store) }))
    ).pipe(Layer.provide(RateLimiterStore.layerStoreMemory))
  )

/** A limiter in process of ten in a second, which lets calls wait. */
export const make = (options?: Partial<RateLimiter.Options>) =>
  RateLimiter.make({ limit: 10, window: "1 second", maxWait: "1 minute", ...options })

/** The same, a bucket of ten, one more each 100 milliseconds, that is empty. */
export const empty = Effect.fnUntraced(function*(options?: Partial<RateLimiter.Options>) {
  const limiter = yield* make(options)
  yield* limiter.weigh(10)(Effect.void)
  return limiter
})

/** Limits in a Redis of the tests' own. */
export const storeRedis = RateLimiterStore.layerStoreRedis().pipe(Layer.provideMerge(redis.layer))

/** The most that may be admitted in any stretch of so many milliseconds. */
const most = ({ algorithm, burst, interval, limit, window }: RateLimiterStore.Spec, millis: number): number => {
  switch (algorithm) {
    case "token-bucket":
      return burst + millis / interval
    case "leaky-bucket":
      // Pacing is no finer than a millisecond.
      return 1 + (millis + 1) / interval
    case "fixed-window":
      return limit * (Math.floor(millis / window) + 2)
    case "sliding-counter":
      return limit * (Math.floor(millis / window) + 2)
    case "sliding-log":
      return limit * Math.ceil(millis / window)
  }
}

/** Asserts that nothing beyond the limit, and `beyond` that, was admitted between any two of the admissions. */
export const assertWithin = (spec: RateLimiterStore.Spec, admissions: ReadonlyArray<number>, beyond = 0) => {
  for (const [first, from] of admissions.entries()) {
    for (const [last, to] of admissions.entries()) {
      if (last < first) continue
      const allowed = most(spec, to - from + 0.01) + beyond
      assert.isAtMost(last - first + 1, allowed, `${spec.algorithm}: from ${from} to ${to}`)
    }
  }
}
