import { ConcurrencyLimit } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { CurrentDeadline } from "../src/internal/currentDeadline.ts"
import { metrics, withMetrics } from "./support.ts"
import { as, glance, makeCalls, makeFull, rest, start } from "./support/queueing.ts"
import { countingSleeps } from "./support/streams.ts"

const until = (at: number) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, CurrentDeadline, at)

describe("ConcurrencyLimit", () => {
  describe("rejections", () => {
    const catalogue = { limiter: "catalogue" }

    it("are told in words", () => {
      const { QueueFull, QueueTimeout, TooHeavy } = ConcurrencyLimit
      const errors = [
        new QueueFull({ ...catalogue, limit: 3, queue: 2 }),
        new QueueFull({ ...catalogue, limit: 3, queue: 2, tenant: "acme" }),
        new QueueTimeout({ ...catalogue, maxWait: Duration.millis(1_500) }),
        new TooHeavy({ ...catalogue, weight: 4, limit: 3 })
      ]
      assert.deepStrictEqual(errors.map(({ _tag, message }) => `${_tag}: ${message}`), [
        "QueueFull: Concurrency limit \"catalogue\" is full: 3 calls run and 2 wait",
        "QueueFull: Concurrency limit \"catalogue\" is full for tenant \"acme\": 3 calls run and 2 wait",
        "QueueTimeout: Concurrency limit \"catalogue\" had no free slot within 1s 500ms",
        "TooHeavy: Concurrency limit \"catalogue\" has 3 slots, and the call takes 4"
      ])
    })

    it.effect("name the tenant only when slots are free and it has all of its own", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 2, perTenant: 1, queue: 0 })
        const { call } = makeCalls(limit)
        const rejected = Effect.fnUntraced(function*(tenant: string) {
          const error = yield* Effect.flip(Fiber.join(yield* call("", { tenant })))
          assert.strictEqual(error._tag, "QueueFull")
          return error._tag === "QueueFull" ? [error.limiter, error.limit, error.queue, error.tenant] : []
        })
        yield* call("a", { tenant: "a" })
        assert.deepStrictEqual(yield* rejected("a"), ["default", 1, 0, "a"])
        yield* call("b", { tenant: "b" })
        assert.deepStrictEqual(yield* rejected("c"), ["default", 2, 0, undefined])
        assert.deepStrictEqual(yield* rejected("a"), ["default", 1, 0, "a"])
      }))

    it.effect("of a heavy call say how many slots it can have at most, given its tenant", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, perTenant: 2 })
        const tooHeavy = (tenant: string | undefined, weight: number) =>
          Effect.flip(limit.weigh(weight)(Effect.void)).pipe(
            as(tenant === undefined ? {} : { tenant }),
            Effect.map((error) => error._tag === "TooHeavy" ? [error.weight, error.limit] : error._tag)
          )
        assert.deepStrictEqual(yield* tooHeavy("a", 3), [3, 2])
        assert.deepStrictEqual(yield* tooHeavy(undefined, 5), [5, 4])
        yield* limit.weigh(4)(Effect.void)
        yield* as({ tenant: "a" })(limit.weigh(2)(Effect.void))
        yield* limit.update({ perTenant: 9 })
        assert.deepStrictEqual(yield* tooHeavy("a", 5), [5, 4])
      }))
  })

  describe("defaults", () => {
    it.effect("nobody waits unless a queue is asked for", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1 })
        yield* start(limit(Effect.never))
        assert.strictEqual((yield* Effect.flip(limit(Effect.void)))._tag, "QueueFull")
        assert.deepStrictEqual(yield* metrics, {
          "ballast_policy_rejections_total{name=default,policy=concurrency-limit}": 1
        })
      }).pipe(withMetrics))

    it.effect("one waits for thirty seconds unless told otherwise", () =>
      Effect.gen(function*() {
        const { call, log } = yield* makeFull()
        yield* call("a")
        yield* TestClock.adjust(29_999)
        assert.deepStrictEqual(log, ["first"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(log, ["first", "QueueTimeout a"])
      }))

    it.effect("a tenant may take all slots unless told otherwise", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 100 })
        const { call } = makeCalls(limit)
        yield* call("a", { tenant: "a", weight: 100 })
        assert.deepStrictEqual(yield* limit.tenants, [{ tenant: "a", running: 100, queued: 0 }])
      }))
  })

  describe("deadline", () => {
    it.effect("one that is now leaves no time to wait, one a millisecond later does", () =>
      Effect.gen(function*() {
        const { limit } = yield* makeFull()
        yield* TestClock.adjust(1_000)
        const error = yield* Effect.flip(until(1_000)(limit(Effect.void)))
        assert.strictEqual(error.message, "Concurrency limit \"default\" had no free slot within 0")
        assert.strictEqual(
          (yield* Effect.flip(until(500)(limit(Effect.void)))).message,
          "Concurrency limit \"default\" had no free slot within 0"
        )
        const waiter = yield* start(Effect.flip(until(1_001)(limit(Effect.void))))
        assert.isUndefined(waiter.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(
          (yield* Fiber.join(waiter)).message,
          "Concurrency limit \"default\" had no free slot within 1ms"
        )
      }))

    it.effect("waiters with any deadlines are rejected each at its own", () =>
      Effect.gen(function*() {
        const { limit } = yield* makeFull({ maxWait: 50 })
        const ends: Array<readonly [number, number]> = []
        for (const at of [30, 10, 100, 20, 50]) {
          const note = Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => ends.push([at, now])))
          yield* start(Effect.ensuring(Effect.exit(until(at)(limit(Effect.void))), note))
        }
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(ends.toSorted(([a], [b]) => a - b), [[10, 10], [20, 20], [30, 30], [50, 50], [100, 50]])
        assert.deepStrictEqual(yield* glance(limit), { running: 1, queued: 0 })
      }))

    it.effect("no timer is left once a waiter was served or has left", () =>
      Effect.gen(function*() {
        const sleeps = yield* countingSleeps
        const { end, limit } = yield* makeFull()
        const served = yield* start(sleeps.provide(limit(Effect.void)))
        const left = yield* start(sleeps.provide(until(500)(limit(Effect.void))))
        yield* Testing.settle
        assert.strictEqual(sleeps.running(), 1)
        yield* Fiber.interrupt(left)
        yield* Testing.settle
        assert.strictEqual(sleeps.running(), 1)
        yield* end
        yield* Fiber.join(served)
        yield* Testing.settle
        assert.strictEqual(sleeps.running(), 0)
      }))

    it.effect("who may wait for ever has no timer", () =>
      Effect.gen(function*() {
        const sleeps = yield* countingSleeps
        const { limit } = yield* makeFull({ maxWait: Infinity })
        yield* start(sleeps.provide(limit(Effect.void)))
        yield* Testing.settle
        assert.strictEqual(sleeps.started(), 0)
      }))
  })

  describe("queue", () => {
    it.effect("holds exactly as many as it says", () =>
      Effect.gen(function*() {
        const { call, limit, log } = yield* makeFull({ queue: 2 })
        for (const id of "abc") yield* call(id)
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "QueueFull c"])
        yield* limit.update({ queue: 3 })
        for (const id of "de") yield* call(id)
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "QueueFull c", "QueueFull e"])
      }))

    it.effect("who arrives does not overtake a large one, though a slot is free", () =>
      Effect.gen(function*() {
        const { call, limit, log } = yield* makeFull({ limit: 2 })
        yield* limit.resize(3)
        yield* call("large", { weight: 2 })
        yield* call("small")
        assert.deepStrictEqual(log, ["first"])
        assert.deepStrictEqual(yield* glance(limit), { running: 2, queued: 2 })
        yield* call("tenant", { tenant: "a" })
        assert.deepStrictEqual(log, ["first"])
      }))

    it.effect("a waiter of a tenant that has all its slots lets others pass, and goes when one is free", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, perTenant: 1, queue: 9 })
        const { call, end, log } = makeCalls(limit)
        yield* call("a1", { tenant: "a" })
        yield* call("a2", { tenant: "a" })
        yield* call("nobody")
        yield* call("b1", { tenant: "b" })
        yield* call("b2", { tenant: "b" })
        assert.deepStrictEqual(log, ["a1", "nobody", "b1"])
        assert.deepStrictEqual(yield* limit.tenants, [
          { tenant: "a", running: 1, queued: 1 },
          { tenant: "b", running: 1, queued: 1 }
        ])
        yield* end
        assert.deepStrictEqual(log, ["a1", "nobody", "b1", "a2"])
        yield* end
        assert.deepStrictEqual(log, ["a1", "nobody", "b1", "a2"])
        yield* end
        assert.deepStrictEqual(log, ["a1", "nobody", "b1", "a2", "b2"])
      }))

    it.effect("those who name no tenant are nobody's, running and waiting", () =>
      Effect.gen(function*() {
        const { call, limit } = yield* makeFull()
        yield* call("a")
        assert.deepStrictEqual(yield* limit.tenants, [])
        yield* call("b", { tenant: "b" })
        assert.deepStrictEqual(yield* limit.tenants, [{ tenant: "b", running: 0, queued: 1 }])
      }))

    it.effect("an interruption between grant and start gives the tenant's slots back too", () =>
      Effect.gen(function*() {
        const { end, limit } = yield* makeFull({ limit: 2, perTenant: 2 })
        const waiter = yield* start(as({ tenant: "a" })(limit.weigh(2)(Effect.never)))
        yield* Effect.andThen(end, Effect.void)
        assert.deepStrictEqual(yield* limit.tenants, [{ tenant: "a", running: 2, queued: 0 }])
        yield* Fiber.interrupt(waiter)
        assert.deepStrictEqual(yield* limit.tenants, [])
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))
  })

  describe("events", () => {
    it.effect("a resize to the same limit is none, and another setting neither", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3 })
        const recorded = yield* Testing.record(limit.events)
        yield* limit.resize(3)
        yield* limit.update({ queue: 5, maxWait: 7, perTenant: 2 })
        yield* limit.update({ limit: 2 })
        assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [{ _tag: "Resized", from: 3, to: 2 }])
      }))

    it.effect("tell whose call it was, how much it takes and how long it waited", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 2, queue: 2, maxWait: 500 })
        const { call, end } = makeCalls(limit)
        yield* call("first", { weight: 2 })
        const recorded = yield* Testing.record(limit.events)
        const traits = { priority: "high", tenant: "acme", weight: 2 } as const
        yield* call("a", traits)
        yield* TestClock.adjust(200)
        yield* end
        const waiting = yield* call("b", traits)
        yield* TestClock.adjust(300)
        yield* Fiber.interrupt(waiting)
        yield* call("c", traits)
        yield* TestClock.adjust(500)
        yield* call("d", { ...traits, weight: 3 })
        yield* call("e", { ...traits, priority: "low" })
        yield* call("f", { ...traits, priority: "low" })
        yield* TestClock.adjust(100)
        yield* call("g", traits)
        assert.deepStrictEqual<ReadonlyArray<ConcurrencyLimit.Event>>((yield* recorded).map(({ event }) => event), [
          { _tag: "Queued", ...traits },
          { _tag: "Admitted", ...traits, waited: Duration.millis(200) },
          { _tag: "Queued", ...traits },
          { _tag: "Left", ...traits, waited: Duration.millis(300) },
          { _tag: "Queued", ...traits },
          { _tag: "Rejected", ...traits, reason: "timeout", waited: Duration.millis(500) },
          { _tag: "Rejected", ...traits, weight: 3, reason: "weight", waited: Duration.zero },
          { _tag: "Queued", ...traits, priority: "low" },
          { _tag: "Queued", ...traits, priority: "low" },
          { _tag: "Rejected", ...traits, priority: "low", reason: "full", waited: Duration.millis(100) },
          { _tag: "Queued", ...traits }
        ])
      }))
  })

  describe("settings", () => {
    it.effect("an update that is run later keeps what was changed in between", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 0 })
        const later = limit.update({ queue: 5 })
        yield* limit.resize(7)
        yield* later
        assert.strictEqual((yield* limit.inspect).limit, 7)
      }))

    it.effect("what is refused is told with the method and the field", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3 })
        const integer = "must be an integer of at least 1, got 1.5"
        assert.throws(() => limit.resize(1.5), RangeError, `ConcurrencyLimit.resize: limit ${integer}`)
        assert.throws(() => limit.weigh(1.5), RangeError, `ConcurrencyLimit.weigh: weight ${integer}`)
        assert.throws(
          () => limit.update({ perTenant: 1.5 }),
          RangeError,
          `ConcurrencyLimit.update: perTenant ${integer}`
        )
        assert.throws(
          () => limit.update({ queue: 0.5 }),
          RangeError,
          "ConcurrencyLimit.update: queue must be an integer of at least 0, or Infinity, got 0.5"
        )
        assert.throws(
          () => ConcurrencyLimit.keyed({ limit: 0 }),
          RangeError,
          "ConcurrencyLimit.keyed: limit must be an integer of at least 1, got 0"
        )
        yield* limit.update({ perTenant: Infinity, queue: Infinity, maxWait: Infinity })
        assert.deepStrictEqual(yield* limit.inspect, { limit: 3, running: 0, queued: 0 })
      }))

    it.effect("a tenant's bound that is set while calls wait turns away who is heavier than it", () =>
      Effect.gen(function*() {
        const { call, limit, log } = yield* makeFull({ limit: 3 })
        yield* call("a", { tenant: "a", weight: 3 })
        yield* limit.update({ perTenant: 2 })
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "TooHeavy a"])
      }))
  })

  it.effect("a key is kept while a call waits in it, and dropped after its idle time", () =>
    Effect.gen(function*() {
      const limits = yield* ConcurrencyLimit.keyed({ limit: 1, idleTimeToLive: "1 second" })
      const fiber = yield* start(limits("used")(Effect.never))
      yield* limits("idle")(Effect.void)
      yield* TestClock.adjust("1 minute")
      yield* limits("other")(Effect.void)
      assert.deepStrictEqual((yield* limits.keys).toSorted(), ["other", "used"])
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 minute")
      yield* limits("last")(Effect.void)
      assert.deepStrictEqual(yield* limits.keys, ["last"])
    }))

  it.effect("calls of no tenant are named so", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* ConcurrencyLimit.CurrentTenant, undefined)
    }))
})
