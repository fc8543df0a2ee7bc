import { EffectRateLimiter, Fallback, RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"

/** Makes something in a fiber that has ended when it is used, and so has lost its clock and its metrics. */
const madeBefore = <A, E, R>(make: Effect.Effect<A, E, R>) =>
  // Whoever joins a fiber may go on before that has lost its context.
  Effect.tap(Effect.flatMap(Effect.forkChild(make), Fiber.join), () => Effect.yieldNow)

const broken = Effect.fail(new RateLimiterStore.RateLimiterStoreError({ operation: "take", cause: "broken" }))

/** A store that fails whatever is asked of it. */
const brokenStore = Effect.provideService(RateLimiterStore.RateLimiterStore, {
  take: () => broken,
  peek: () => broken,
  charge: () => broken,
  giveBack: () => broken,
  reward: () => broken,
  hold: () => broken,
  release: () => broken
})

const memory = Effect.provide(RateLimiterStore.layerStoreMemory)

describe("made in a fiber that has ended", () => {
  it.effect("a shared limiter keeps its clock", () =>
    Effect.gen(function*() {
      const lease = { size: 10, duration: "10 seconds" } as const
      const limiter = yield* madeBefore(SharedRateLimiter.make({ limit: 100, window: "1 minute", lease }))
      yield* limiter("a")(Effect.void)
      assert.deepStrictEqual((yield* limiter.inspect).leased, 10)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* limiter.inspect).leased, 0)
    }).pipe(memory))

  it.effect("a shared limiter keeps its metrics", () =>
    Effect.gen(function*() {
      const limiter = yield* madeBefore(SharedRateLimiter.make({ name: "shared", limit: 1, window: "1 minute" }))
      yield* Effect.exit(limiter("a")(Effect.void))
      assert.propertyVal(
        yield* metrics,
        "ballast_store_errors_total{name=shared,op=take,policy=shared-rate-limiter}",
        1
      )
    }).pipe(brokenStore, withMetrics))

  it.effect("Effect's limiter keeps its metrics", () =>
    Effect.gen(function*() {
      const limiter = yield* madeBefore(EffectRateLimiter.make({ name: "effect" }))
      const request = { key: "a", limit: 1, window: "1 minute", onExceeded: "fail" } as const
      yield* Effect.exit(limiter.consume(request))
      assert.propertyVal(
        yield* metrics,
        "ballast_store_errors_total{name=effect,op=take,policy=shared-rate-limiter}",
        1
      )
    }).pipe(brokenStore, withMetrics))

  it.effect("the last good answer of a stream is dated by the clock of its end", () =>
    Effect.gen(function*() {
      const kept = yield* Fallback.lastGood<number>({ maxAge: "1 minute" })
      yield* TestClock.adjust("1 hour")
      const scope = yield* Effect.scope
      const pull = yield* Scope.provide(Stream.toPull(kept("a").stream(Stream.make(1))), scope)
      yield* madeBefore(pull)
      yield* Effect.exit(pull)
      assert.deepStrictEqual(yield* Stream.runCollect(kept("a").stream(Stream.fail("down"))), [1])
    }))
})
