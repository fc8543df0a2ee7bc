import { CircuitBreaker } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { begin, fail, ok, open, opened, tagOf } from "./support/breaker.ts"

/** Lets a probe fail whenever one may run, and gives the lengths of the openings, in seconds. */
const openings = (breaker: CircuitBreaker.CircuitBreaker, n: number, call: Effect.Effect<string, Fault> = fail) =>
  Effect.gen(function*() {
    const seconds = Array<number>()
    for (let i = 0; i < n; i++) {
      yield* Effect.exit(breaker(call))
      const state = yield* breaker.inspect
      if (state._tag !== "Open") return seconds
      assert.strictEqual(state.openings, i + 1)
      seconds.push(Duration.toSeconds(state.retryAfter))
      yield* TestClock.adjust(state.retryAfter)
    }
    return seconds
  })

const make = (options: CircuitBreaker.Options) => CircuitBreaker.make({ minimumCalls: 1, ...options })

describe("CircuitBreaker", () => {
  describe("open time", () => {
    it.effect("is the same each time when it is a duration", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: "7 seconds" })
        assert.deepStrictEqual(yield* openings(breaker, 4), [7, 7, 7, 7])
      }))

    it.effect("follows the delays of a schedule", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.exponential("1 second") })
        assert.deepStrictEqual(yield* openings(breaker, 5), [1, 2, 4, 8, 16])
      }))

    it.effect("repeats the last delay of a schedule that ends", () =>
      Effect.gen(function*() {
        const openDuration = Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 3 }))
        assert.deepStrictEqual(yield* openings(yield* make({ openDuration }), 6), [1, 2, 4, 4, 4, 4])
      }))

    it.effect("is measured in time spent open by a schedule that knows time", () =>
      Effect.gen(function*() {
        const openDuration = Schedule.exponential("1 second").pipe(Schedule.upTo({ duration: "10 seconds" }))
        const breaker = yield* make({ openDuration })
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* openings(breaker, 6), [1, 2, 4, 8, 8, 8])
      }))

    it.effect("never passes its maximum", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.exponential("1 second"), maxOpenDuration: "5 seconds" })
        assert.deepStrictEqual(yield* openings(breaker, 5), [1, 2, 4, 5, 5])
      }))

    it.effect("is five minutes at most unless told", () =>
      Effect.gen(function*() {
        const scheduled = yield* make({ openDuration: Schedule.exponential("1 minute") })
        assert.deepStrictEqual(yield* openings(scheduled, 5), [60, 120, 240, 300, 300])
        const long = yield* make({ openDuration: "10 minutes" })
        assert.deepStrictEqual(yield* openings(long, 1), [600])
      }))

    it.effect("is as long as the dependency asks when that is longer", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.exponential("1 second"), maxOpenDuration: "10 seconds" })
        const hinted = Effect.fail(new Fault({ retryAfter: Duration.seconds(3) }))
        assert.deepStrictEqual(yield* openings(breaker, 5, hinted), [3, 3, 4, 8, 10])
      }))

    it.effect("follows the hint of a failed probe too", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        yield* TestClock.adjust("30 seconds")
        yield* Effect.exit(breaker(Effect.fail(new Fault({ retryAfter: Duration.seconds(45) }))))
        assert.deepStrictEqual(yield* breaker.inspect, open("45 seconds", 2))
      }))

    it.effect("stays bounded for a schedule that never ends and any number of openings", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.exponential("1 second", 1) })
        const state = yield* breaker.export
        yield* breaker.import({ ...state, openings: Number.MAX_SAFE_INTEGER - 1 })
        yield* breaker.open()
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("is asked of a schedule once for each opening, and of its start in each row", () =>
      Effect.gen(function*() {
        const asked = Array<number>()
        const breaker = yield* make({
          openDuration: Schedule.tap(
            Schedule.exponential("1 second"),
            ({ attempt }) => Effect.sync(() => asked.push(attempt))
          )
        })
        asked.length = 0
        yield* openings(breaker, 4)
        assert.deepStrictEqual(asked, [1, 2, 3, 4])
        yield* breaker.close
        yield* openings(breaker, 1)
        yield* breaker.close
        yield* openings(breaker, 1)
        assert.deepStrictEqual(asked, [1, 2, 3, 4, 1, 1])
      }))

    it.effect("repeats the last delay that a schedule had before it suspended", () =>
      Effect.gen(function*() {
        const suspending = Schedule.tap(
          Schedule.exponential("1 second"),
          ({ attempt }) => attempt > 2 ? Effect.never : Effect.void
        )
        assert.deepStrictEqual(yield* openings(yield* make({ openDuration: suspending }), 4), [1, 2, 2, 2])
      }))

    it.effect("draws the delays of a jittered schedule within its bounds", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.jittered(Schedule.spaced("10 seconds")) })
        for (const seconds of yield* openings(breaker, 20)) {
          assert.isAtLeast(seconds, 8)
          assert.isAtMost(seconds, 12.001)
        }
      }))
  })

  describe("the row of openings", () => {
    const openAgain = Effect.fnUntraced(function*(closedFor: Duration.Input) {
      const breaker = yield* make({ openDuration: Schedule.exponential("10 seconds") })
      yield* openings(breaker, 2)
      yield* breaker(ok)
      assert.strictEqual(yield* tagOf(breaker), "Closed")
      yield* TestClock.adjust(closedFor)
      yield* Effect.exit(breaker(fail))
      return yield* breaker.inspect
    })

    it.effect("goes on when it closes for less than it was open", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* openAgain(19_999), open("40 seconds", 3))
      }))

    it.effect("ends when it stays closed for as long as it was open", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* openAgain(20_000), open("10 seconds", 1))
      }))

    it.effect("goes on however long the probes of a half-open circuit take", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.exponential("10 seconds") })
        yield* openings(breaker, 2)
        const probe = yield* begin(breaker)
        yield* TestClock.adjust("1 minute")
        yield* probe.fail
        assert.deepStrictEqual(yield* breaker.inspect, open("40 seconds", 3))
      }))

    it.effect("begins anew with the schedule", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.exponential("1 second") })
        for (let i = 0; i < 2; i++) {
          assert.deepStrictEqual(yield* openings(breaker, 3), [1, 2, 4])
          yield* breaker(ok)
          yield* TestClock.adjust("4 seconds")
        }
      }))
  })

  describe("options", () => {
    const refused: ReadonlyArray<readonly [CircuitBreaker.Options, string]> = [
      [{ openDuration: 0 }, "CircuitBreaker.make: openDuration must be a finite duration above zero, got 0"],
      [
        { openDuration: Schedule.recurs(3) },
        "CircuitBreaker.make: openDuration must be a schedule whose first delay is above zero, got 0"
      ],
      [{ maxOpenDuration: 0 }, "CircuitBreaker.make: maxOpenDuration must be a finite duration above zero, got 0"],
      [
        { maxOpenDuration: 29_999 },
        "CircuitBreaker.make: maxOpenDuration must be at least openDuration (30s), got 29s 999ms"
      ],
      [
        { openDuration: Schedule.tap(Schedule.spaced("1 second"), () => Effect.never) },
        "CircuitBreaker.make: openDuration must be a schedule whose first delay is above zero, got 0"
      ],
      [
        { openDuration: Schedule.fromStep<number, number, never, never, never, never>(Effect.never) },
        "CircuitBreaker.make: openDuration must be a schedule whose first delay is above zero, got 0"
      ],
      [{ slowRate: 0 }, "CircuitBreaker.make: slowRate must be in (0, 1], got 0"],
      [{ slowAfter: 0 }, "CircuitBreaker.make: slowAfter must be a finite duration above zero, got 0"],
      [
        { trip: CircuitBreaker.consecutive(2), window: "1 second" },
        "CircuitBreaker.make: window must be left out beside trip, got 1 second"
      ],
      [
        { trip: CircuitBreaker.consecutive(2), failureRate: 0.5 },
        "CircuitBreaker.make: failureRate must be left out beside trip, got 0.5"
      ],
      [
        { trip: CircuitBreaker.consecutive(2), slowRate: 0.25 },
        "CircuitBreaker.make: slowRate must be left out beside trip, got 0.25"
      ],
      [
        { trip: CircuitBreaker.consecutive(2), minimumCalls: 7 },
        "CircuitBreaker.make: minimumCalls must be left out beside trip, got 7"
      ]
    ]
    for (const [index, [options, message]] of refused.entries()) {
      it(`refuses (${index}): ${message}`, () => {
        assert.throws(() => CircuitBreaker.make(options), RangeError, message)
      })
    }

    it.effect("take what is just within bounds", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: "30 seconds", maxOpenDuration: "30 seconds" })
        yield* Effect.exit(breaker(fail))
        yield* TestClock.adjust(29_999)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(breaker(ok))))
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* breaker(ok), "ok")
      }))
  })
})
