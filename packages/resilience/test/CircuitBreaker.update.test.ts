import { CircuitBreaker } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { begin, closed, fail, halfOpen, halfOpened, ok, open, opened, tagOf, times } from "./support/breaker.ts"

describe("CircuitBreaker", () => {
  describe("update", () => {
    it.effect("holds from the next result on and keeps the counts", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        const call = yield* begin(breaker)
        yield* times(2, breaker(fail))
        yield* breaker.update({ minimumCalls: 4, window: "1 minute" })
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 2))
        yield* call.fail
        assert.deepStrictEqual(yield* breaker.inspect, closed(3, 3))
        yield* TestClock.adjust("30 seconds")
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("leaves what it does not name", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({
          failureRate: 1,
          minimumCalls: 2,
          window: "1 second",
          openDuration: "3 seconds",
          probes: 2,
          probeThreshold: 1,
          probeTimeout: "4 seconds",
          slowAfter: "2 seconds"
        })
        yield* breaker.update({})
        yield* breaker.update({ slowRate: 0.5 })
        yield* breaker(ok)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        const slow = yield* begin(breaker)
        yield* TestClock.adjust("2 seconds")
        yield* slow.succeed
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 0, 1))
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("3 seconds"))
        yield* TestClock.adjust("3 seconds")
        yield* begin(breaker)
        yield* begin(breaker)
        assert.isFalse(yield* breaker.peek)
        yield* TestClock.adjust("4 seconds")
        yield* breaker(ok)
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))

    it.effect("keeps what an earlier one said", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.update({ minimumCalls: 2, slowRate: 1, slowAfter: "1 second" })
        yield* breaker.update({ failureRate: 1, openDuration: "2 seconds" })
        yield* breaker.update({ maxOpenDuration: "1 hour" })
        for (const state of ["Closed", "Open"]) {
          const slow = yield* begin(breaker)
          yield* TestClock.adjust("1 second")
          yield* slow.succeed
          assert.strictEqual(yield* tagOf(breaker), state)
        }
        assert.deepStrictEqual(yield* breaker.inspect, open("2 seconds"))
      }))

    it.effect("keeps a rule that it does not name, and its counts", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ trip: CircuitBreaker.consecutive(3) })
        yield* times(2, breaker(fail))
        yield* breaker.update({ openDuration: "2 seconds" })
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 2))
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("2 seconds"))
      }))

    it.effect("raises how long an opening lasts at most", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, maxOpenDuration: "30 seconds" })
        yield* breaker.update({ maxOpenDuration: "10 minutes" })
        yield* Effect.exit(breaker(Effect.fail(new Fault({ retryAfter: Duration.minutes(9) }))))
        assert.deepStrictEqual(yield* breaker.inspect, open("9 minutes"))
      }))

    it.effect("begins to measure calls that come after it", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker(ok)
        const before = yield* begin(breaker)
        yield* breaker.update({ slowAfter: "1 second" })
        const after = yield* begin(breaker)
        yield* TestClock.adjust("1 second")
        yield* before.succeed
        yield* after.succeed
        assert.deepStrictEqual(yield* breaker.inspect, closed(3, 0, 1))
      }))

    it.effect("ends a half-open phase that it decides", () =>
      Effect.gen(function*() {
        const good = yield* halfOpened({ probes: 3 })
        yield* good(ok)
        yield* good.update({ probeThreshold: 1 })
        assert.strictEqual(yield* tagOf(good), "Closed")
        const bad = yield* halfOpened({ probes: 3, probeThreshold: 1 })
        yield* times(2, bad(fail))
        yield* bad.update({ probeThreshold: 2 })
        assert.deepStrictEqual(yield* bad.inspect, open("30 seconds", 2))
      }))

    it.effect("lets more probes in at once", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        yield* begin(breaker)
        yield* breaker.update({ probes: 2 })
        assert.isTrue(yield* breaker.peek)
        yield* begin(breaker)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(2, 0))
      }))

    it.effect("leaves an opening under way as long as it is", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        yield* breaker.update({ openDuration: "1 second" })
        assert.deepStrictEqual(yield* breaker.inspect, open("30 seconds"))
        yield* TestClock.adjust("30 seconds")
        yield* Effect.exit(breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("1 second", 2))
      }))

    it.effect("puts another rule in the place of the window", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({
          minimumCalls: 1,
          failureRate: 1,
          window: 1_000,
          slowRate: 1,
          openDuration: "7 seconds"
        })
        yield* breaker.update({ trip: CircuitBreaker.consecutive(2) })
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1))
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("7 seconds"))
      }))

    it.effect("refuses nonsense, and then changes nothing", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ maxOpenDuration: "1 minute" })
        assert.throws(
          () => breaker.update({ failureRate: 2 }),
          RangeError,
          "CircuitBreaker.update: failureRate must be"
        )
        assert.throws(
          () => breaker.update({ openDuration: "2 minutes" }),
          RangeError,
          "CircuitBreaker.update: maxOpenDuration must be at least openDuration (2m), got 1m"
        )
        yield* breaker.update({ trip: CircuitBreaker.consecutive(1) })
        assert.throws(
          () => breaker.update({ minimumCalls: 3 }),
          RangeError,
          "CircuitBreaker.update: minimumCalls must be left out beside trip, got 3"
        )
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("30 seconds"))
      }))
  })
})
