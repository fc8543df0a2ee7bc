import { CircuitBreaker, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { begin, closed, fail, ok, tagOf, times } from "./support/breaker.ts"

const { allOf, anyOf, consecutive, consecutiveSlow, countWindow, timeWindow } = CircuitBreaker

const slow = Effect.succeed("slow")

/** Takes the answer "slow" for a slow one. */
const classify = (exit: Exit.Exit<unknown, unknown>) =>
  exit._tag === "Success" && exit.value === "slow" ? Outcome.slowSuccess : Outcome.classify(exit)

const make = (trip: CircuitBreaker.Trip) => CircuitBreaker.make({ trip, classify })

describe("CircuitBreaker", () => {
  describe("consecutive", () => {
    it.effect("opens at the n-th failure in a row and not before", () =>
      Effect.gen(function*() {
        const breaker = yield* make(consecutive(3))
        yield* times(2, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 2))
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("begins anew after a success, and not after what is ignored", () =>
      Effect.gen(function*() {
        const breaker = yield* make(consecutive(3))
        yield* times(2, breaker(fail))
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        yield* times(2, breaker(fail))
        yield* times(1, breaker(Effect.fail(new Fault({ ignored: true }))))
        yield* Fiber.interrupt(yield* Effect.forkChild(breaker(Effect.never), { startImmediately: true }))
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 2))
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("counts in the order in which calls end", () =>
      Effect.gen(function*() {
        const breaker = yield* make(consecutive(2))
        const [first, second, third] = [yield* begin(breaker), yield* begin(breaker), yield* begin(breaker)]
        yield* third.fail
        yield* second.succeed
        yield* first.fail
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1))
      }))

    it.effect("forgets nothing as time passes", () =>
      Effect.gen(function*() {
        const breaker = yield* make(consecutive(2))
        yield* times(1, breaker(fail))
        yield* TestClock.adjust("1 day")
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))
  })

  describe("consecutiveSlow", () => {
    it.effect("opens at the n-th slow call in a row, failed or not", () =>
      Effect.gen(function*() {
        const breaker = yield* make(consecutiveSlow(2))
        yield* breaker(slow)
        yield* times(1, breaker(fail))
        yield* breaker(slow)
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 0, 1))
        yield* breaker(slow)
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))
  })

  describe("countWindow", () => {
    it.effect("judges once it is full, and from its share on", () =>
      Effect.gen(function*() {
        const breaker = yield* make(countWindow({ size: 4 }))
        yield* times(3, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(3, 3))
        yield* breaker(ok)
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("judges before it is full when it is told", () =>
      Effect.gen(function*() {
        const breaker = yield* make(countWindow({ size: 4, minimumCalls: 2, failureRate: 1 }))
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1))
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("forgets all but the last calls", () =>
      Effect.gen(function*() {
        const breaker = yield* make(countWindow({ size: 4, failureRate: 0.75 }))
        yield* times(2, breaker(fail))
        yield* breaker(ok)
        yield* breaker(slow)
        assert.deepStrictEqual(yield* breaker.inspect, closed(4, 2, 1))
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, closed(4, 1, 1))
        yield* times(3, breaker(ok))
        assert.deepStrictEqual(yield* breaker.inspect, closed(4, 0, 0))
        yield* times(2, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(4, 2))
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("judges slow calls alone when told nothing of failures", () =>
      Effect.gen(function*() {
        const breaker = yield* make(countWindow({ size: 4, slowRate: 0.5 }))
        yield* times(5, breaker(fail))
        yield* breaker(slow)
        assert.deepStrictEqual(yield* breaker.inspect, closed(4, 3, 1))
        yield* breaker(slow)
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))
  })

  describe("timeWindow", () => {
    it.effect("judges failures and slow calls apart", () =>
      Effect.gen(function*() {
        const breaker = yield* make(timeWindow({ minimumCalls: 4, failureRate: 0.5, slowRate: 0.75 }))
        yield* times(2, breaker(slow))
        yield* breaker(ok)
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(4, 1, 2))
        yield* times(3, breaker(slow))
        assert.deepStrictEqual(yield* breaker.inspect, closed(7, 1, 5))
        yield* breaker(slow)
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("forgets slow calls that have left the window", () =>
      Effect.gen(function*() {
        const breaker = yield* make(timeWindow({ window: "1 second", slowRate: 1 }))
        yield* times(9, breaker(slow))
        yield* TestClock.adjust("900 millis")
        assert.deepStrictEqual(yield* breaker.inspect, closed(9, 0, 9))
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("is empty after a pause of many windows", () =>
      Effect.gen(function*() {
        const breaker = yield* make(timeWindow({ window: "1 second" }))
        yield* times(9, breaker(fail))
        yield* TestClock.adjust("1 hour")
        yield* times(9, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(9, 9))
      }))
  })

  describe("anyOf", () => {
    it.effect("opens by the first rule that is met", () =>
      Effect.gen(function*() {
        const trip = anyOf(consecutive(3), countWindow({ size: 4, failureRate: 0.5 }))
        const one = yield* make(trip)
        yield* times(3, one(fail))
        assert.strictEqual(yield* tagOf(one), "Open")
        const other = yield* make(trip)
        yield* times(2, other(fail))
        yield* other(ok)
        assert.deepStrictEqual(yield* other.inspect, closed(0, 0))
        yield* other(ok)
        assert.strictEqual(yield* tagOf(other), "Open")
      }))
  })

  describe("allOf", () => {
    it.effect("opens while all rules are met at once", () =>
      Effect.gen(function*() {
        const breaker = yield* make(allOf(consecutive(2), countWindow({ size: 10, minimumCalls: 4, failureRate: 0.5 })))
        yield* times(3, breaker(fail))
        yield* breaker(ok)
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1))
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))
  })

  describe("slow calls", () => {
    const judging = { slowRate: 0.5, slowAfter: "2 seconds", minimumCalls: 2 } as const

    it.effect("are those that take as long as told, to the millisecond", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ ...judging, minimumCalls: 10 })
        const take = (millis: number) =>
          Effect.gen(function*() {
            const call = yield* begin(breaker)
            yield* TestClock.adjust(millis)
            yield* call.succeed
          })
        yield* take(1_999)
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 0))
        yield* take(2_000)
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 0, 1))
      }))

    it.effect("are measured each from its own start", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ ...judging, minimumCalls: 10 })
        yield* breaker(ok)
        yield* TestClock.adjust("1 second")
        const first = yield* begin(breaker)
        yield* TestClock.adjust("1 second")
        const second = yield* begin(breaker)
        yield* TestClock.adjust("1 second")
        yield* first.succeed
        yield* second.succeed
        assert.deepStrictEqual(yield* breaker.inspect, closed(3, 0, 1))
      }))

    it.effect("open the circuit though they succeed", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make(judging)
        const call = breaker(Effect.sleep("3 seconds"))
        for (const state of ["Closed", "Open"]) {
          const fiber = yield* Effect.forkChild(call, { startImmediately: true })
          yield* TestClock.adjust("3 seconds")
          yield* Fiber.join(fiber)
          assert.strictEqual(yield* tagOf(breaker), state)
        }
      }))

    it.effect("are those that the classifier says, whatever the time", () =>
      Effect.gen(function*() {
        const outcome: Outcome.Outcome = { _tag: "Success", slow: false }
        const breaker = yield* CircuitBreaker.make({ ...judging, classify: () => outcome })
        const call = yield* begin(breaker)
        yield* TestClock.adjust("1 minute")
        yield* call.succeed
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 0))
      }))

    it.effect("are counted and not judged without a share", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, classify })
        yield* times(5, breaker(slow))
        assert.deepStrictEqual(yield* breaker.inspect, closed(5, 0, 5))
      }))

    it.effect("may be failed ones too", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ classify: () => Outcome.failure({ slow: true }) })
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1, 1))
      }))

    it.effect("as probes are bad ones when the rule judges slowness", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ ...judging, minimumCalls: 1, classify })
        yield* breaker(slow)
        yield* TestClock.adjust("30 seconds")
        yield* breaker(slow)
        assert.strictEqual(yield* tagOf(breaker), "Open")
        const careless = yield* CircuitBreaker.make({ minimumCalls: 1, classify })
        yield* times(1, careless(fail))
        yield* TestClock.adjust("30 seconds")
        yield* careless(slow)
        assert.strictEqual(yield* tagOf(careless), "Closed")
      }))
  })

  describe("rules", () => {
    it("are plain data", () => {
      const trip = anyOf(allOf(consecutive(2), consecutiveSlow(3)), countWindow({ size: 4 }), timeWindow())
      assert.deepStrictEqual(JSON.parse(JSON.stringify(trip)), trip)
      assert.deepStrictEqual(timeWindow(), {
        _tag: "TimeWindow",
        window: 10_000,
        minimumCalls: 10,
        failureRate: 0.5
      })
    })

    it.effect("that came as data are checked", () =>
      Effect.gen(function*() {
        const trip: CircuitBreaker.Trip = { _tag: "CountWindow", size: 2, minimumCalls: 2, failureRate: 1 }
        const breaker = yield* make({ _tag: "AnyOf", trips: [trip] })
        yield* times(2, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Open")
        assert.throws(
          () => make({ ...trip, minimumCalls: 3 }),
          RangeError,
          "minimumCalls must be at most size (2), got 3"
        )
        assert.throws(() => make({ _tag: "Consecutive", times: 0, of: "slow" }), RangeError, "trip.times must be")
        assert.throws(() => make({ _tag: "AllOf", trips: [] }), RangeError, "trips must be at least one, got none")
        const unknown = JSON.parse("{\"_tag\":\"Moon\"}")
        assert.throws(() => make(unknown), RangeError, "trip must be a trip rule, got {\"_tag\":\"Moon\"}")
        const both = JSON.parse("{\"_tag\":\"Consecutive\",\"times\":2,\"of\":\"both\"}")
        assert.throws(() => make(both), RangeError, "trip.of must be failures or slow, got both")
      }))

    const refused: ReadonlyArray<readonly [() => unknown, string]> = [
      [() => consecutive(0), "CircuitBreaker.consecutive: failures must be an integer of at least 1, got 0"],
      [() => consecutiveSlow(1.5), "CircuitBreaker.consecutiveSlow: calls must be an integer of at least 1, got 1.5"],
      [() => countWindow({ size: 0 }), "CircuitBreaker.countWindow: size must be an integer of at least 1, got 0"],
      [() => countWindow({ size: 100_001 }), "CircuitBreaker.countWindow: size must be at most 100,000, got 100001"],
      [
        () => countWindow({ size: 2, minimumCalls: 3 }),
        "CircuitBreaker.countWindow: minimumCalls must be at most size (2), got 3"
      ],
      [
        () => countWindow({ size: 2, minimumCalls: 0 }),
        "CircuitBreaker.countWindow: minimumCalls must be an integer of at least 1, got 0"
      ],
      [
        () => countWindow({ size: 2, failureRate: 0 }),
        "CircuitBreaker.countWindow: failureRate must be in (0, 1], got 0"
      ],
      [() => timeWindow({ slowRate: 1.1 }), "CircuitBreaker.timeWindow: slowRate must be in (0, 1], got 1.1"],
      [
        () => timeWindow({ failureRate: 2, slowRate: 0.5 }),
        "CircuitBreaker.timeWindow: failureRate must be in (0, 1], got 2"
      ],
      [
        () => timeWindow({ window: 0 }),
        "CircuitBreaker.timeWindow: window must be a finite duration above zero, got 0"
      ],
      [() => anyOf(), "CircuitBreaker.anyOf: trips must be at least one, got none"],
      [() => allOf(), "CircuitBreaker.allOf: trips must be at least one, got none"]
    ]
    for (const [wrong, message] of refused) {
      it(`refuse: ${message}`, () => {
        assert.throws(wrong, RangeError, message)
      })
    }

    it("have their bounds", () => {
      countWindow({ size: 100_000, minimumCalls: 100_000, failureRate: 1, slowRate: 1 })
      consecutive(1)
    })
  })
})
