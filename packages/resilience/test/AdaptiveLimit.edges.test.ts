import { AdaptiveLimit, Outcome } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Fault, metrics, withMetrics } from "./support.ts"
import { glance, rest, start } from "./support/queueing.ts"
import { limitOf, Overloaded } from "./support/service.ts"

/** An algorithm that goes by what it is told next, and shows within which bounds it was asked. */
const steered = () => {
  const asked: Array<AdaptiveLimit.Bounds> = []
  const state = { next: 0, asked }
  const at = (limit: number): AdaptiveLimit.Learner => ({
    limit,
    learn: (_, bounds) => {
      asked.push(bounds)
      return at(state.next)
    }
  })
  const algorithm: AdaptiveLimit.Algorithm = { name: "steered", start: at }
  return { algorithm, state }
}

const limitIs = (limit: AdaptiveLimit.AdaptiveLimit) => Effect.map(limit.inspect, (state) => state.limit)

/** So many calls at once, which all succeed after so long. */
const round = Effect.fnUntraced(function*(limit: AdaptiveLimit.AdaptiveLimit, calls: number, millis = 10) {
  const fibers = yield* Effect.forEach(Array.from({ length: calls }), () => start(limit(Effect.sleep(millis))))
  yield* TestClock.adjust(millis)
  yield* Fiber.joinAll(fibers)
})

const drop = (limit: AdaptiveLimit.AdaptiveLimit) => Effect.exit(limit(Effect.fail(new Fault({}))))

describe("AdaptiveLimit", () => {
  it("a drop is a failure that another try may mend, and what was judged slow", () => {
    const cases: ReadonlyArray<readonly [Outcome.Outcome, boolean]> = [
      [Outcome.success, false],
      [Outcome.slowSuccess, true],
      [Outcome.failure(), true],
      [Outcome.failure({ retryable: false }), false],
      [Outcome.failure({ retryable: false, slow: true }), true],
      [Outcome.ignored(), false],
      [Outcome.ignored({ retryable: true }), false]
    ]
    assert.deepStrictEqual(cases.map(([outcome]) => AdaptiveLimit.isDrop(outcome)), cases.map(([, isDrop]) => isDrop))
  })

  describe("defaults", () => {
    it.effect("it is an aimd limit from 1 to 1,000 that starts with 20, named default", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make()
        assert.deepStrictEqual(yield* limit.inspect, {
          limit: 20,
          running: 0,
          queued: 0,
          algorithm: "aimd",
          rtt: undefined,
          history: []
        })
        assert.deepStrictEqual(yield* metrics, { "ballast_adaptive_limit{name=default}": 20 })
        for (let n = 0; n < 60; n++) yield* drop(limit)
        assert.strictEqual(yield* limitIs(limit), 1)
        const high = yield* AdaptiveLimit.make({ initial: 1_000 })
        yield* round(high, 500)
        assert.strictEqual(yield* limitIs(high), 1_000)
      }).pipe(withMetrics))

    it.effect("nobody waits, and then for thirty seconds", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 1 })
        yield* start(limit(Effect.never))
        assert.strictEqual((yield* Effect.flip(limit(Effect.void)))._tag, "QueueFull")
        yield* limit.update({ queue: 1 })
        const waiter = yield* start(Effect.flip(limit(Effect.void)))
        yield* TestClock.adjust(29_999)
        assert.isUndefined(waiter.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(
          (yield* Fiber.join(waiter)).message,
          "Concurrency limit \"default\" had no free slot within 30s"
        )
      }))

    it.effect("calls are judged as everywhere: a rejection by another policy is no drop", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 10 })
        yield* Effect.exit(limit(Effect.fail(new Fault({ ignored: true }))))
        assert.strictEqual(yield* limitIs(limit), 10)
        yield* drop(limit)
        assert.strictEqual(yield* limitIs(limit), 9)
      }))
  })

  describe("what an algorithm says", () => {
    it.effect("is rounded down and kept in the bounds", () =>
      Effect.gen(function*() {
        const { algorithm, state } = steered()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 4, min: 2, max: 9 })
        for (const [next, expected] of [[5.9, 5], [100, 9], [2.1, 2], [-5, 2], [3, 3]] as const) {
          state.next = next
          yield* round(limit, yield* limitIs(limit))
          assert.strictEqual(yield* limitIs(limit), expected)
        }
      }))

    it.effect("may be more once half of the slots were taken, and not before", () =>
      Effect.gen(function*() {
        const { algorithm, state } = steered()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 9, max: 50 })
        state.next = 20
        // Four are half of what makes a round, and less than half of the slots.
        yield* round(limit, 4)
        assert.strictEqual(yield* limitIs(limit), 9)
        state.next = 9
        yield* round(limit, 4)
        state.next = 20
        yield* round(limit, 5)
        assert.strictEqual(yield* limitIs(limit), 20)
        // What it had said while it was not allowed to is what it may say again.
        assert.deepStrictEqual(state.asked, [{ min: 1, max: 9 }, { min: 1, max: 20 }, { min: 1, max: 50 }])
      }))

    it.effect("may not be more upon a drop, and less at any time", () =>
      Effect.gen(function*() {
        const { algorithm, state } = steered()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 1, max: 50 })
        state.next = 20
        yield* drop(limit)
        assert.strictEqual(yield* limitIs(limit), 1)
        assert.deepStrictEqual(state.asked, [{ min: 1, max: 1 }])
        yield* round(limit, 1)
        assert.strictEqual(yield* limitIs(limit), 20)
        state.next = 7
        yield* round(limit, 10)
        assert.strictEqual(yield* limitIs(limit), 7)
      }))

    it.effect("that is no number changes nothing, now and later", () =>
      Effect.gen(function*() {
        const { algorithm, state } = steered()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 4 })
        for (const next of [NaN, Infinity, -Infinity]) {
          state.next = next
          yield* round(limit, 4)
          assert.strictEqual(yield* limitIs(limit), 4)
        }
        state.next = 6
        yield* round(limit, 4)
        assert.strictEqual(yield* limitIs(limit), 6)
      }))
  })

  describe("a stated limit", () => {
    for (
      const [stated, expected] of [[3, 3], [3.9, 3], [0, 1], [-1, 10], [NaN, 10], [Infinity, 10], [
        undefined,
        10
      ]] as const
    ) {
      it.effect(`of ${stated} makes ${expected} of 10`, () =>
        Effect.gen(function*() {
          const limit = yield* AdaptiveLimit.make({
            algorithm: AdaptiveLimit.told(),
            initial: 10,
            limitOf: () => stated
          })
          yield* Effect.forEach(Array.from({ length: 8 }), () => start(limit(Effect.never)))
          yield* limit(Effect.void)
          assert.strictEqual(yield* limitIs(limit), expected)
        }))
    }
  })

  describe("shows", () => {
    it.effect("why it was changed, with the last time of the calls", () =>
      Effect.gen(function*() {
        const { algorithm, state } = steered()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 4, limitOf, name: "a" })
        const recorded = yield* Testing.record(limit.events)
        state.next = 6
        yield* round(limit, 4, 30)
        state.next = 5
        yield* round(limit, 6, 50)
        // Nothing is told of what stays as it is.
        yield* round(limit, 5, 40)
        state.next = 4
        yield* drop(limit)
        assert.deepStrictEqual((yield* limit.inspect).rtt, Duration.millis(40))
        state.next = 3
        yield* Effect.exit(limit(Effect.fail(new Overloaded({ limit: 3 }))))
        yield* limit.update({ min: 8 })
        const changes = [
          { from: 4, to: 6, because: "grown" },
          { from: 6, to: 5, because: "latency" },
          { from: 5, to: 4, because: "dropped" },
          { from: 4, to: 3, because: "stated" },
          { from: 3, to: 8, because: "update" }
        ] as const
        const { history, limit: now } = yield* limit.inspect
        assert.strictEqual(now, 8)
        assert.deepStrictEqual<ReadonlyArray<AdaptiveLimit.Change>>(
          history.map(({ ago: _, ...change }) => change),
          changes
        )
        assert.deepStrictEqual(history.map(({ ago }) => Duration.toMillis(ago)), [90, 40, 0, 0, 0])
        assert.deepStrictEqual<ReadonlyArray<AdaptiveLimit.Event>>(
          (yield* recorded).map(({ event }) => event),
          changes.map((change) => ({ _tag: "Adapted", ...change }))
        )
        assert.deepStrictEqual(yield* metrics, {
          "ballast_adaptive_limit{name=a}": 8,
          "ballast_adaptive_limit_changes_total{because=dropped,name=a}": 1,
          "ballast_adaptive_limit_changes_total{because=grown,name=a}": 1,
          "ballast_adaptive_limit_changes_total{because=latency,name=a}": 1,
          "ballast_adaptive_limit_changes_total{because=stated,name=a}": 1,
          "ballast_adaptive_limit_changes_total{because=update,name=a}": 1
        })
      }).pipe(withMetrics))

    it.effect("the last 32 changes, the oldest first", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 1 })
        for (let n = 2; n <= 33; n++) yield* limit.update({ min: n })
        const changes = () => Effect.map(limit.inspect, ({ history }) => history.map(({ to }) => to))
        assert.deepStrictEqual(yield* changes(), Array.from({ length: 32 }, (_, n) => n + 2))
        yield* limit.update({ min: 34 })
        assert.deepStrictEqual(yield* changes(), Array.from({ length: 32 }, (_, n) => n + 3))
      }))
  })

  describe("settings", () => {
    it.effect("what is left out stays", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 5, min: 2, max: 8, queue: 1 })
        yield* limit.update({ max: 6 })
        assert.strictEqual(yield* limitIs(limit), 5)
        yield* limit.update({ max: 4 })
        assert.strictEqual(yield* limitIs(limit), 4)
        assert.throws(
          () => limit.update({ max: 1 }),
          RangeError,
          "AdaptiveLimit.update: max must be at least min (2), got 1"
        )
        assert.throws(
          () => limit.update({ min: 5 }),
          RangeError,
          "AdaptiveLimit.update: max must be at least min (5), got 4"
        )
        yield* limit.update({ min: 4 })
        for (let n = 0; n < 5; n++) yield* start(limit(Effect.never))
        assert.deepStrictEqual(yield* glance(limit), { running: 4, queued: 1 })
      }))

    it.effect("a bound may be what the limit is", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* limitIs(yield* AdaptiveLimit.make({ min: 5, max: 5 })), 5)
        assert.strictEqual(yield* limitIs(yield* AdaptiveLimit.make({ initial: 4, max: 4 })), 4)
        assert.strictEqual(yield* limitIs(yield* AdaptiveLimit.make({ initial: 4, min: 4 })), 4)
      }))

    it("what is refused is told with the method and the field", () => {
      const refused: ReadonlyArray<readonly [() => unknown, string]> = [
        [() => AdaptiveLimit.make({ max: 0 }), "AdaptiveLimit.make: max must be an integer of at least 1, got 0"],
        [
          () => AdaptiveLimit.make({ initial: 1.5 }),
          "AdaptiveLimit.make: initial must be an integer of at least 1, got 1.5"
        ],
        [
          () => AdaptiveLimit.make({ initial: 3, min: 4, max: 9 }),
          "AdaptiveLimit.make: initial must be from min (4) to max (9), got 3"
        ],
        [() => AdaptiveLimit.keyed({ min: 0 }), "AdaptiveLimit.keyed: min must be an integer of at least 1, got 0"]
      ]
      for (const [make, message] of refused) assert.throws(make, RangeError, message)
    })

    it.effect("a weight that is none is refused", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make()
        const message = "AdaptiveLimit.weigh: weight must be an integer of at least 1, got 0.5"
        assert.throws(() => limit.weigh(0.5), RangeError, message)
      }))
  })

  it.effect("a key is kept while a call runs in it, and dropped with what it learnt after its idle time", () =>
    Effect.gen(function*() {
      const limits = yield* AdaptiveLimit.keyed({ initial: 10, idleTimeToLive: "1 second" })
      const fiber = yield* start(limits("used")(Effect.never))
      yield* drop(yield* limits.get("learnt"))
      assert.strictEqual(yield* limitIs(yield* limits.get("learnt")), 9)
      yield* TestClock.adjust("1 minute")
      yield* limits("other")(Effect.void)
      assert.deepStrictEqual((yield* limits.keys).toSorted(), ["other", "used"])
      assert.strictEqual(yield* limitIs(yield* limits.get("learnt")), 10)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* glance(yield* limits.get("used")), rest)
    }))

  it.effect("the one that does nothing shows no limit", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* AdaptiveLimit.noop.inspect, {
        limit: Infinity,
        running: 0,
        queued: 0,
        algorithm: "none",
        rtt: undefined,
        history: []
      })
    }))
})
