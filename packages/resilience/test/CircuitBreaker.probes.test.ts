import { CircuitBreaker, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { begin, closed, fail, halfOpen, halfOpened, ok, open, tagOf, times } from "./support/breaker.ts"

const rejected = (breaker: CircuitBreaker.CircuitBreaker) => Effect.flip(breaker(ok))

describe("CircuitBreaker", () => {
  describe("probe threshold", () => {
    it.effect("closes as soon as enough probes succeeded", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 3, probeThreshold: 2 })
        const third = yield* begin(breaker)
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(1, 1))
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        yield* third.fail
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("opens as soon as enough probes can no longer succeed", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 3, probeThreshold: 2 })
        const third = yield* begin(breaker)
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(1, 0, 1))
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("30 seconds", 2))
        yield* third.succeed
        assert.deepStrictEqual(yield* breaker.inspect, open("30 seconds", 2))
      }))

    it.effect("bears as many bad probes as it does not need", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 3, probeThreshold: 1 })
        yield* times(2, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0, 2))
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("never runs more probes in all than told, while they go well or not", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 3, probeThreshold: 2 })
        yield* times(1, breaker(fail))
        yield* breaker(ok)
        const last = yield* begin(breaker)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(1, 1, 1))
        assert.isFalse(yield* breaker.peek)
        assert.strictEqual((yield* rejected(breaker))._tag, "CircuitOpen")
        yield* last.interrupt
        assert.isTrue(yield* breaker.peek)
        yield* breaker(ok)
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))

    it("is within the number of probes", () => {
      assert.throws(
        () => CircuitBreaker.make({ probes: 2, probeThreshold: 3 }),
        RangeError,
        "CircuitBreaker.make: probeThreshold must be at most probes (2), got 3"
      )
      assert.throws(() => CircuitBreaker.make({ probeThreshold: 0 }), RangeError, "probeThreshold must be an integer")
      assert.doesNotThrow(() => CircuitBreaker.make({ probes: 2, probeThreshold: 2 }))
    })
  })

  describe("probe limit", () => {
    it.effect("gives the slot to the next caller, and not a millisecond before", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probeTimeout: "20 seconds" })
        yield* begin(breaker)
        yield* TestClock.adjust(19_999)
        assert.isFalse(yield* breaker.peek)
        assert.strictEqual((yield* rejected(breaker))._tag, "CircuitOpen")
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
        assert.isTrue(yield* breaker.peek)
        const next = yield* begin(breaker)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(1, 0))
        assert.isFalse(yield* breaker.peek)
        yield* next.succeed
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))

    it.effect("discards a late result, of whoever was replaced", () =>
      Effect.gen(function*() {
        for (const late of ["succeed", "fail"] as const) {
          const breaker = yield* halfOpened({ probeTimeout: "20 seconds" })
          const stuck = yield* begin(breaker)
          yield* TestClock.adjust("20 seconds")
          const next = yield* begin(breaker)
          yield* stuck[late]
          assert.deepStrictEqual(yield* breaker.inspect, halfOpen(1, 0))
          yield* next.succeed
          assert.strictEqual(yield* tagOf(breaker), "Closed")
        }
      }))

    it.effect("discards a late result even when nobody came", () =>
      Effect.gen(function*() {
        for (const late of ["succeed", "fail"] as const) {
          const breaker = yield* halfOpened({ probeTimeout: "20 seconds" })
          const stuck = yield* begin(breaker)
          yield* TestClock.adjust("20 seconds")
          yield* stuck[late]
          assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
        }
      }))

    it.effect("counts a result that comes in time", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probeTimeout: "20 seconds" })
        const probe = yield* begin(breaker)
        yield* TestClock.adjust(19_999)
        yield* probe.succeed
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))

    it.effect("does not interrupt the probe, which keeps its answer", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probeTimeout: "20 seconds" })
        const stuck = yield* begin(breaker)
        yield* TestClock.adjust("20 seconds")
        yield* breaker(ok)
        yield* stuck.succeed
        assert.deepStrictEqual(yield* stuck.exit, Exit.succeed("ok"))
      }))

    it.effect("replaces the oldest probe and no other", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 2, probeTimeout: "20 seconds" })
        const old = yield* begin(breaker)
        yield* TestClock.adjust("10 seconds")
        const young = yield* begin(breaker)
        yield* TestClock.adjust("10 seconds")
        const third = yield* begin(breaker)
        assert.strictEqual((yield* rejected(breaker))._tag, "CircuitOpen")
        yield* old.fail
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(2, 0))
        yield* young.succeed
        yield* third.succeed
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))

    it.effect("once passed stays passed for a probe that was replaced, though the limit grows", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 2, probeTimeout: "20 seconds" })
        const stuck = yield* begin(breaker)
        yield* TestClock.adjust("20 seconds")
        const [second, third] = [yield* begin(breaker), yield* begin(breaker)]
        yield* breaker.update({ probeTimeout: "1 hour" })
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(2, 0))
        yield* stuck.fail
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(2, 0))
        yield* second.succeed
        yield* third.succeed
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))

    it.effect("is five minutes unless told", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        yield* begin(breaker)
        yield* TestClock.adjust(299_999)
        assert.isFalse(yield* breaker.peek)
        yield* TestClock.adjust(1)
        assert.isTrue(yield* breaker.peek)
      }))

    it("is above zero", () => {
      assert.throws(
        () => CircuitBreaker.make({ probeTimeout: 0 }),
        RangeError,
        "probeTimeout must be a finite duration"
      )
    })
  })

  describe("lowered number of probes", () => {
    it.effect("lets nobody in while as many run within their limit", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 3, probeTimeout: "20 seconds" })
        yield* begin(breaker)
        yield* TestClock.adjust("10 seconds")
        const [second, third] = [yield* begin(breaker), yield* begin(breaker)]
        yield* breaker.update({ probes: 2 })
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(2, 0))
        assert.isFalse(yield* breaker.peek)
        assert.strictEqual((yield* rejected(breaker))._tag, "CircuitOpen")
        yield* third.interrupt
        yield* begin(breaker)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(2, 0))
        yield* second.succeed
        assert.isFalse(yield* breaker.peek)
      }))
  })

  describe("a slow probe", () => {
    const { allOf, anyOf, consecutive, consecutiveSlow, countWindow, timeWindow } = CircuitBreaker
    const failing = [consecutive(1), countWindow({ size: 2 }), timeWindow(), anyOf(consecutive(2), timeWindow())]
    const slowness = [
      consecutiveSlow(1),
      countWindow({ size: 2, slowRate: 1 }),
      timeWindow({ slowRate: 1, failureRate: 1 }),
      anyOf(consecutive(2), consecutiveSlow(3)),
      allOf(consecutive(2), anyOf(timeWindow(), countWindow({ size: 2, slowRate: 1 })))
    ]

    const probed = Effect.fnUntraced(function*(trip: CircuitBreaker.Trip) {
      const breaker = yield* CircuitBreaker.make({ trip, classify: () => Outcome.slowSuccess })
      yield* breaker.open("1 second")
      yield* TestClock.adjust("1 second")
      yield* breaker(ok)
      return yield* tagOf(breaker)
    })

    for (const trip of failing) {
      it.effect(`is a good one for a rule about failures: ${JSON.stringify(trip)}`, () =>
        Effect.gen(function*() {
          assert.strictEqual(yield* probed(trip), "Closed")
        }))
    }

    for (const trip of slowness) {
      it.effect(`is a bad one for a rule about slowness: ${JSON.stringify(trip)}`, () =>
        Effect.gen(function*() {
          assert.strictEqual(yield* probed(trip), "Open")
        }))
    }
  })

  describe("an ignored probe", () => {
    it.effect("gives its slot back as often as it comes", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 2 })
        yield* times(50, breaker(Effect.fail(new Fault({ ignored: true }))))
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
        yield* times(2, breaker(ok))
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))
  })
})
