import { ConcurrencyLimit } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CurrentDeadline } from "../src/internal/currentDeadline.ts"
import { metrics, withMetrics } from "./support.ts"
import { as, glance, makeCalls, makeFull, rest, start } from "./support/queueing.ts"

const numbers = (n: number) => Array.from({ length: n }, (_, index) => index)

describe("ConcurrencyLimit", () => {
  describe("deadline of the caller", () => {
    it.effect("ends the wait when it comes before the longest wait", () =>
      Effect.gen(function*() {
        const { limit } = yield* makeFull({ maxWait: "10 seconds", name: "catalogue" })
        yield* TestClock.adjust("1 second")
        const waiter = yield* start(Effect.flip(Effect.provideService(limit(Effect.void), CurrentDeadline, 3_000)))
        yield* TestClock.adjust(1_999)
        assert.isUndefined(waiter.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(waiter)
        assert.strictEqual(error.message, "Concurrency limit \"catalogue\" had no free slot within 2s")
        assert.deepStrictEqual(yield* glance(limit), { running: 1, queued: 0 })
      }))

    it.effect("one that comes later than the longest wait changes nothing", () =>
      Effect.gen(function*() {
        const { limit } = yield* makeFull({ maxWait: "1 second" })
        const waiter = yield* start(Effect.flip(Effect.provideService(limit(Effect.void), CurrentDeadline, 3_000)))
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(waiter))._tag, "QueueTimeout")
      }))

    it.effect("bounds a wait that has no other bound", () =>
      Effect.gen(function*() {
        const { limit } = yield* makeFull({ maxWait: Duration.infinity })
        const waiter = yield* start(Effect.flip(Effect.provideService(limit(Effect.void), CurrentDeadline, 5)))
        yield* TestClock.adjust(5)
        assert.strictEqual((yield* Fiber.join(waiter))._tag, "QueueTimeout")
      }))

    it.effect("one that has passed rejects at once, and a free slot is given all the same", () =>
      Effect.gen(function*() {
        const { end, limit } = yield* makeFull()
        yield* TestClock.adjust("1 second")
        const late = Effect.provideService(limit(Effect.succeed("ok")), CurrentDeadline, 500)
        assert.strictEqual((yield* Effect.flip(late))._tag, "QueueTimeout")
        yield* end
        assert.strictEqual(yield* late, "ok")
      }))
  })

  it.effect("with a longest wait of zero nobody waits", () =>
    Effect.gen(function*() {
      const { limit } = yield* makeFull({ maxWait: 0 })
      assert.strictEqual((yield* Effect.flip(limit(Effect.void)))._tag, "QueueTimeout")
      assert.deepStrictEqual(yield* glance(limit), { running: 1, queued: 0 })
    }))

  describe("many", () => {
    it.effect("a thousand concurrent callers never take more than there is, and each is answered", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 7, queue: 500, maxWait: "1 second", perTenant: 3 })
        let taken = 0
        let most = 0
        const call = (weight: number) =>
          limit.weigh(weight)(Effect.acquireUseRelease(
            Effect.sync(() => most = Math.max(most, taken += weight)),
            () => Effect.sleep(10),
            () => Effect.sync(() => taken -= weight)
          ))
        const priorities = ["low", "normal", "high", "critical"] as const
        const fibers = yield* Effect.forEach(
          numbers(1_000),
          (n) => start(as({ priority: priorities[n % 4] ?? "normal", tenant: `${n % 5}` })(call(1 + n % 3)))
        )
        yield* TestClock.adjust("10 seconds")
        const exits = yield* Fiber.awaitAll(fibers)
        assert.strictEqual(exits.length, 1_000)
        assert.strictEqual(most, 7)
        assert.isAbove(exits.filter(Exit.isSuccess).length, 200)
        assert.deepStrictEqual(yield* glance(limit), rest)
        assert.deepStrictEqual(yield* limit.tenants, [])
      }))

    it.effect("ten thousand of a thousand tenants wait, and are served in turn", () =>
      Effect.gen(function*() {
        const { end, limit } = yield* makeFull({ queue: Infinity, maxWait: Duration.infinity })
        const log: Array<number> = []
        const fibers = yield* Effect.forEach(numbers(10_000), (n) =>
          start(as({ tenant: `${Math.floor(n / 10)}` })(limit(Effect.sync(() => log.push(n))))))
        assert.deepStrictEqual(yield* glance(limit), { running: 1, queued: 10_000 })
        yield* end
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(
          log,
          numbers(10).flatMap((turn) =>
            numbers(1_000).map((tenant) => 10 * tenant + turn)
          )
        )
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))

    it.effect("ten thousand leave in any order", () =>
      Effect.gen(function*() {
        const { limit } = yield* makeFull({ queue: Infinity, maxWait: Duration.infinity })
        const fibers = yield* Effect.forEach(numbers(10_000), (n) =>
          start(as({ tenant: `${n % 97}` })(limit(Effect.void))))
        const shuffled = numbers(10_000).flatMap((n) =>
          fibers[(n * 7_919) % 10_000] ?? []
        )
        yield* Fiber.interruptAll(shuffled)
        assert.strictEqual(shuffled.length, 10_000)
        assert.deepStrictEqual(yield* glance(limit), { running: 1, queued: 0 })
        assert.deepStrictEqual(yield* limit.tenants, [])
      }))
  })

  describe("interruption at every step", () => {
    const idle = Effect.fnUntraced(function*(limit: ConcurrencyLimit.ConcurrencyLimit) {
      assert.deepStrictEqual(yield* glance(limit), rest)
      assert.deepStrictEqual(yield* limit.tenants, [])
    })
    for (const beside of ["10 millis", "3 millis"] as const) {
      it.live(`loses no slot and leaves no fiber, beside a call of ${beside}`, () =>
        Effect.gen(function*() {
          const { interrupted } = yield* Testing.interruptEverywhere({
            setup: ConcurrencyLimit.make({ limit: 1, queue: 10, maxWait: "5 millis" }),
            beside: (limit) => limit(Effect.sleep(beside)),
            run: (limit) => Effect.exit(Effect.all([limit(Effect.sleep(1)), limit(Effect.void)], { concurrency: 2 })),
            check: idle
          })
          assert.isAbove(interrupted, 100)
        }), 60_000)
    }

    it.live("loses no slot of heavy calls of several tenants and priorities", () =>
      Effect.gen(function*() {
        const { interrupted } = yield* Testing.interruptEverywhere({
          setup: ConcurrencyLimit.make({ limit: 3, queue: 2, perTenant: 2, maxWait: "5 millis" }),
          beside: (limit) =>
            Effect.exit(Effect.all([
              as({ tenant: "a" })(limit.weigh(2)(Effect.sleep(2))),
              as({ tenant: "a" })(limit(Effect.sleep(2)))
            ], { concurrency: 2 })),
          run: (limit) =>
            Effect.exit(Effect.all([
              as({ tenant: "a" })(limit.weigh(2)(Effect.sleep(2))),
              as({ tenant: "b", priority: "high" })(limit.weigh(2)(Effect.void))
            ], { concurrency: 2 })),
          check: idle
        })
        assert.isAbove(interrupted, 100)
      }), 60_000)

    it.live("loses no slot of a stream", () =>
      Effect.gen(function*() {
        const { interrupted } = yield* Testing.interruptEverywhere({
          setup: ConcurrencyLimit.make({ limit: 1, queue: 10, maxWait: "5 millis" }),
          beside: (limit) => limit(Effect.sleep(2)),
          run: (limit) => Stream.runDrain(limit.stream(Stream.make(1, 2))),
          check: idle
        })
        assert.isAbove(interrupted, 100)
      }), 60_000)
  })

  describe("update", () => {
    it.effect("changes what is given and leaves the rest", () =>
      Effect.gen(function*() {
        const { call, limit, log } = yield* makeFull({ queue: 1 })
        yield* limit.update({ queue: 2 })
        yield* call("a")
        yield* call("b")
        yield* call("c")
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "QueueFull c"])
        yield* limit.update({ limit: 2 })
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "QueueFull c", "a"])
        assert.deepStrictEqual(yield* limit.inspect, { limit: 2, running: 2, queued: 1 })
      }))

    it.effect("those who wait keep their place and their time", () =>
      Effect.gen(function*() {
        const { call, limit, log } = yield* makeFull({ queue: 1, maxWait: "2 seconds" })
        yield* call("a")
        yield* limit.update({ queue: 0, maxWait: "1 second" })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(log, ["first"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(log, ["first", "QueueTimeout a"])
      }))

    it.effect("refuses what make refuses, and changes nothing then", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3 })
        assert.throws(
          () => limit.update({ limit: 5, perTenant: 0 }),
          RangeError,
          "ConcurrencyLimit.update: perTenant must be an integer of at least 1, got 0"
        )
        assert.strictEqual((yield* limit.inspect).limit, 3)
      }))
  })

  it.effect("tells of those who wait and of its size, in order of the decisions", () =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ limit: 1, queue: 2, maxWait: "5 seconds" })
      const record = yield* Testing.record(limit.events)
      const { call, end } = makeCalls(limit)
      yield* call("first")
      yield* call("a", { tenant: "acme" })
      const left = yield* call("b", { priority: "low" })
      yield* call("c", { priority: "low" })
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(left)
      yield* end
      yield* call("d", { weight: 2 })
      yield* limit.resize(2)
      yield* call("e", { weight: 2 })
      yield* TestClock.adjust("5 seconds")
      const normal = { priority: "normal", tenant: undefined, weight: 1 } as const
      const low = { ...normal, priority: "low" } as const
      const acme = { ...normal, tenant: "acme" } as const
      const heavy = { ...normal, weight: 2 } as const
      assert.deepStrictEqual<ReadonlyArray<ConcurrencyLimit.Event>>((yield* record).map(({ event }) => event), [
        { _tag: "Queued", ...acme },
        { _tag: "Queued", ...low },
        { _tag: "Rejected", ...low, reason: "full", waited: Duration.zero },
        { _tag: "Left", ...low, waited: Duration.seconds(1) },
        { _tag: "Admitted", ...acme, waited: Duration.seconds(1) },
        { _tag: "Rejected", ...heavy, reason: "weight", waited: Duration.zero },
        { _tag: "Resized", from: 1, to: 2 },
        { _tag: "Queued", ...heavy },
        { _tag: "Rejected", ...heavy, reason: "timeout", waited: Duration.seconds(5) }
      ])
    }))

  it.effect("counts the one that is turned away for another", () =>
    Effect.gen(function*() {
      const { call } = yield* makeFull({ queue: 1, name: "catalogue" })
      yield* call("a", { priority: "low" })
      yield* TestClock.adjust("2 seconds")
      yield* call("b")
      yield* Testing.settle
      assert.deepStrictEqual(yield* metrics, {
        "ballast_policy_rejections_total{name=catalogue,policy=concurrency-limit}": 1,
        "ballast_policy_wait_seconds{name=catalogue,policy=concurrency-limit}": 2,
        "ballast_policy_wait_seconds_count{name=catalogue,policy=concurrency-limit}": 1
      })
    }).pipe(withMetrics))

  it.effect("keeps a limit for each key, while calls run in it", () =>
    Effect.gen(function*() {
      const limits = yield* ConcurrencyLimit.keyed({ limit: 1 })
      const fiber = yield* start(limits("a")(Effect.never))
      assert.strictEqual((yield* Effect.flip(limits("a")(Effect.void)))._tag, "QueueFull")
      yield* limits("b")(Effect.void)
      yield* TestClock.adjust("15 minutes")
      yield* limits("c")(Effect.void)
      assert.deepStrictEqual(yield* limits.keys, ["c", "a"])
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("noop has no limit", () =>
    Effect.gen(function*() {
      const { noop } = ConcurrencyLimit
      assert.strictEqual(yield* noop.weigh(1_000)(noop(Effect.succeed("ok"))), "ok")
      assert.deepStrictEqual(yield* Stream.runCollect(noop.stream(Stream.make(1))), [1])
      yield* Effect.andThen(noop.resize(1), noop.update({ queue: 0 }))
      assert.deepStrictEqual(yield* noop.inspect, { limit: Infinity, running: 0, queued: 0 })
      assert.deepStrictEqual(yield* noop.tenants, [])
      assert.deepStrictEqual(yield* Stream.runCollect(noop.events), [])
    }))
})
