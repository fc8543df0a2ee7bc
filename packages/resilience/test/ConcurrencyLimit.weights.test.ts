import { ConcurrencyLimit, Outcome } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { glance, makeCalls, makeFull, rest, start } from "./support/queueing.ts"

describe("ConcurrencyLimit", () => {
  describe("weights", () => {
    it.effect("a call takes as many slots as it weighs, up to all", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 5 })
        const { call, end, log } = makeCalls(limit)
        yield* call("three", { weight: 3 })
        yield* call("two", { weight: 2 })
        assert.deepStrictEqual(yield* limit.inspect, { limit: 5, running: 5, queued: 0 })
        const error = yield* Effect.flip(limit(Effect.void))
        assert.strictEqual(error._tag, "QueueFull")
        yield* end
        assert.strictEqual((yield* limit.inspect).running, 2)
        yield* end
        yield* call("five", { weight: 5 })
        assert.deepStrictEqual(log, ["three", "two", "five"])
      }))

    it.effect("a large call is not overtaken by small ones that would fit", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 10 })
        const { call, end, log } = makeCalls(limit)
        yield* call("a", { weight: 2 })
        yield* call("large", { weight: 3 })
        yield* call("small")
        yield* call("small too")
        assert.deepStrictEqual(log, ["a"])
        assert.deepStrictEqual(yield* limit.inspect, { limit: 3, running: 2, queued: 3 })
        yield* end
        assert.deepStrictEqual(log, ["a", "large"])
        yield* end
        assert.deepStrictEqual(log, ["a", "large", "small", "small too"])
      }))

    it.effect("a large call that leaves lets those behind it go at once", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 10 })
        const { call, log } = makeCalls(limit)
        yield* call("a", { weight: 2 })
        const large = yield* call("large", { weight: 3 })
        yield* call("small")
        yield* Fiber.interrupt(large)
        yield* Testing.settle
        assert.deepStrictEqual(log, ["a", "small"])
        assert.deepStrictEqual(yield* limit.inspect, { limit: 3, running: 3, queued: 0 })
      }))

    it.effect("so does one whose time is over", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 10, maxWait: "1 second" })
        const { call, log } = makeCalls(limit)
        yield* call("a", { weight: 2 })
        yield* call("large", { weight: 3 })
        yield* TestClock.adjust(500)
        yield* call("small")
        yield* TestClock.adjust(500)
        assert.deepStrictEqual(log.toSorted(), ["QueueTimeout large", "a", "small"])
      }))

    it.effect("a call that is heavier than the limit is rejected, in words", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 10, name: "catalogue" })
        assert.strictEqual(yield* limit.weigh(3)(Effect.succeed("ok")), "ok")
        const error = yield* Effect.flip(limit.weigh(4)(Effect.void))
        assert.strictEqual(error._tag, "TooHeavy")
        assert.strictEqual(error.message, "Concurrency limit \"catalogue\" has 3 slots, and the call takes 4")
        assert.deepStrictEqual(error[Outcome.key], Outcome.ignored({ executed: false }))
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))

    it.effect("a resize below the weight of one that waits rejects it when its turn comes", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 10 })
        const { call, end, log } = makeCalls(limit)
        yield* call("a", { weight: 3 })
        yield* call("b")
        yield* call("large", { weight: 3 })
        yield* call("c")
        yield* limit.resize(2)
        yield* Testing.settle
        assert.deepStrictEqual(log, ["a"])
        yield* end
        assert.deepStrictEqual(log.toSorted(), ["TooHeavy large", "a", "b", "c"])
        assert.deepStrictEqual(yield* limit.inspect, { limit: 2, running: 2, queued: 0 })
      }))

    it.effect("the first in the line is rejected at the resize itself", () =>
      Effect.gen(function*() {
        const { call, limit, log } = yield* makeFull({ limit: 3 })
        yield* call("large", { weight: 3 })
        yield* limit.resize(2)
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "TooHeavy large"])
      }))

    it.effect("an interrupted, a failing and a dying heavy call give all slots back", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3 })
        const heavy = limit.weigh(3)
        yield* Fiber.interrupt(yield* start(heavy(Effect.never)))
        assert.deepStrictEqual(yield* glance(limit), rest)
        assert.strictEqual(yield* Effect.flip(heavy(Effect.fail("error"))), "error")
        assert.deepStrictEqual(yield* glance(limit), rest)
        assert.deepStrictEqual(yield* Effect.exit(heavy(Effect.die("boom"))), Exit.die("boom"))
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))

    it.effect("a heavy stream holds its slots until it has ended", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3 })
        const running = Effect.map(limit.inspect, (state) => state.running)
        const stream = limit.weigh(2).stream(Stream.mapEffect(Stream.make(1, 2), () => running))
        assert.deepStrictEqual(yield* Stream.runCollect(stream), [2, 2])
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))

    it.effect("refuses a weight below 1", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3 })
        assert.throws(
          () => limit.weigh(0),
          RangeError,
          "ConcurrencyLimit.weigh: weight must be an integer of at least 1, got 0"
        )
      }))
  })

  describe("priorities", () => {
    it.effect("a higher one is served first, and each in order of arrival", () =>
      Effect.gen(function*() {
        const { call, endAll, log } = yield* makeFull()
        for (const id of ["low 1", "normal 1", "critical 1", "high 1", "critical 2", "low 2", "normal 2"]) {
          const priority = (["low", "normal", "critical", "high"] as const).find((each) => id.startsWith(each))
          yield* call(id, priority === undefined ? {} : { priority })
        }
        yield* endAll
        assert.deepStrictEqual(log, [
          "first",
          "critical 1",
          "critical 2",
          "high 1",
          "normal 1",
          "normal 2",
          "low 1",
          "low 2"
        ])
      }))

    it.effect("one that arrives goes before a large one of lower priority, if it fits", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 10 })
        const { call, log } = makeCalls(limit)
        yield* call("a", { weight: 2 })
        yield* call("large", { weight: 3 })
        yield* call("same")
        yield* call("lower", { priority: "low" })
        yield* call("higher", { priority: "high" })
        assert.deepStrictEqual(log, ["a", "higher"])
      }))

    it.effect("a large one of higher priority holds all lower ones back", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 10 })
        const { call, end, log } = makeCalls(limit)
        yield* call("a", { weight: 2 })
        yield* call("large", { weight: 3, priority: "high" })
        yield* call("b")
        yield* end
        assert.deepStrictEqual(log, ["a", "large"])
      }))

    it.effect("in a full queue it takes the place of the newest of the lowest below it", () =>
      Effect.gen(function*() {
        const { call, limit, log } = yield* makeFull({ queue: 3 })
        yield* call("a", { priority: "low" })
        yield* call("b", { priority: "low" })
        yield* call("c")
        yield* call("d", { priority: "high" })
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "QueueFull b"])
        for (const [id, priority] of [["e", "low"], ["f", "normal"], ["g", "normal"], ["h", "critical"]] as const) {
          yield* call(id, { priority })
          yield* Testing.settle
        }
        assert.deepStrictEqual(log, [
          "first",
          "QueueFull b",
          "QueueFull e",
          "QueueFull a",
          "QueueFull g",
          "QueueFull f"
        ])
        assert.strictEqual((yield* limit.inspect).queued, 3)
      }))

    it.effect("nothing but the longest wait ends the wait of a low one", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull({ maxWait: "1 second" })
        yield* call("low", { priority: "low" })
        for (let n = 1; n <= 10; n++) {
          yield* call(`${n}`)
          yield* TestClock.adjust(100)
          yield* end
        }
        assert.deepStrictEqual(log.filter((line) => line.includes("low")), ["QueueTimeout low"])
      }))
  })
})
