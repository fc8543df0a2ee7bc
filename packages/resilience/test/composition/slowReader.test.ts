import {
  AdaptiveLimit,
  CircuitBreaker,
  CircuitBreakerStore,
  Hedge,
  type Policy,
  SharedCircuitBreaker
} from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"

/** A source that takes so long for each of three items, and a reader that takes so long with each. */
const read = Effect.fnUntraced(function*<E>(policy: Policy.Policy<E>, source: Duration.Input, reader: Duration.Input) {
  const items = Stream.mapEffect(Stream.make(1, 2, 3), (item) => Effect.delay(Effect.succeed(item), source))
  const reading = Stream.runForEach(policy.stream(items), () => Effect.sleep(reader))
  const fiber = yield* Effect.forkChild(reading, { startImmediately: true })
  yield* TestClock.adjust("1 minute")
  yield* Fiber.join(fiber)
})

describe("the reader of a stream", () => {
  it.effect("does not make it a slow call of a circuit breaker", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ window: "5 minutes", slowAfter: "400 millis", slowRate: 1 })
      const counts = Effect.map(breaker.inspect, (state) => state._tag === "Closed" ? [state.calls, state.slow] : [])
      yield* read(breaker, "100 millis", "1 second")
      assert.deepStrictEqual(yield* counts, [1, 0])
      yield* read(breaker, "200 millis", "1 second")
      assert.deepStrictEqual(yield* counts, [2, 1])
    }))

  it.effect("does not make it a slow call when it stops early", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ window: "5 minutes", slowAfter: "400 millis", slowRate: 1 })
      const first = Stream.runForEach(Stream.take(breaker.stream(Stream.make(1, 2, 3)), 1), () =>
        Effect.sleep("1 second"))
      const fiber = yield* Effect.forkChild(first, { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      assert.propertyVal(yield* breaker.inspect, "slow", 0)
    }))

  it.effect("does not make it a slow call of a shared circuit breaker", () =>
    Effect.gen(function*() {
      const breaker = yield* SharedCircuitBreaker.make({
        trip: CircuitBreaker.consecutiveSlow(1),
        slowAfter: "400 millis"
      })
      yield* read(breaker("key"), "100 millis", "1 second")
      assert.propertyVal(yield* breaker.inspect("key"), "_tag", "Closed")
      yield* read(breaker("key"), "200 millis", "1 second")
      assert.propertyVal(yield* breaker.inspect("key"), "_tag", "HalfOpen")
    }).pipe(Effect.provide(CircuitBreakerStore.layerStoreMemory())))

  it.effect("does not make it a long call of an adaptive limit", () =>
    Effect.gen(function*() {
      const limit = yield* AdaptiveLimit.make({ initial: 1 })
      yield* read(limit, "100 millis", "1 second")
      assert.deepStrictEqual((yield* limit.inspect).rtt, Duration.millis(300))
    }))

  it.effect("does not make it a late answer of a hedge, which measures the wait for the first item", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({ window: "5 minutes", percentile: 0.5, minimumSamples: 1, delay: "5 seconds" })
      yield* read(hedge, "100 millis", "1 second")
      assert.approximately(Duration.toMillis((yield* hedge.inspect).delay), 100, 5)
    }))
})
