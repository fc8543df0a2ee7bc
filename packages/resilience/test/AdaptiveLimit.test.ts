import { AdaptiveLimit, Outcome } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault, metrics, withMetrics } from "./support.ts"
import { as, glance, makeCalls, rest, start } from "./support/queueing.ts"
import { limitOf, Overloaded } from "./support/service.ts"

/** An algorithm that raises by one, and remembers what it was shown. */
const recording = () => {
  const samples: Array<AdaptiveLimit.Sample> = []
  const at = (limit: number): AdaptiveLimit.Learner => ({
    limit,
    learn: (sample, { max, min }) => {
      samples.push(sample)
      return at(Math.max(min, Math.min(max, sample.dropped ? limit - 1 : limit + 1)))
    }
  })
  const algorithm: AdaptiveLimit.Algorithm = { name: "recording", start: at }
  return { algorithm, samples }
}

const limitIs = (limit: AdaptiveLimit.AdaptiveLimit) => Effect.map(limit.inspect, (state) => state.limit)

/** Runs so many calls at once, each for so long. */
const round = (limit: AdaptiveLimit.AdaptiveLimit, calls: number, millis: number) =>
  Effect.gen(function*() {
    const fibers = yield* Effect.forEach(Array.from({ length: calls }), () => start(limit(Effect.sleep(millis))))
    yield* TestClock.adjust(millis)
    yield* Fiber.joinAll(fibers)
  })

describe("AdaptiveLimit", () => {
  describe("slots", () => {
    it.effect("passes results, errors and defects on as they are", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make()
        assert.strictEqual(yield* limit(Effect.succeed("ok")), "ok")
        assert.strictEqual(yield* Effect.flip(limit(Effect.fail("error"))), "error")
        assert.deepStrictEqual(yield* Effect.exit(limit(Effect.die("boom"))), Exit.die("boom"))
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))

    it.effect("runs as many calls as its limit says, queues the next and rejects the surplus", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 2, queue: 1, name: "catalogue" })
        const { call, end, log } = makeCalls(limit)
        for (const id of "abcd") yield* call(id)
        yield* Testing.settle
        assert.deepStrictEqual(log, ["a", "b", "QueueFull d"])
        yield* end
        assert.deepStrictEqual(log, ["a", "b", "QueueFull d", "c"])
      }))

    it.effect("has weights, priorities, tenants and a longest wait", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 2, perTenant: 1, queue: 9, maxWait: "1 second" })
        const { call, end, log } = makeCalls(limit)
        yield* call("a", { tenant: "a" })
        yield* call("a2", { tenant: "a" })
        yield* call("heavy", { weight: 2 })
        yield* call("high", { priority: "high" })
        yield* call("too heavy", { weight: 3 })
        yield* Testing.settle
        assert.deepStrictEqual(log, ["a", "high", "TooHeavy too heavy"])
        assert.deepStrictEqual(yield* limit.tenants, [{ tenant: "a", running: 1, queued: 1 }])
        yield* end
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(log.toSorted(), ["QueueTimeout heavy", "TooHeavy too heavy", "a", "a2", "high"])
        assert.throws(() => limit.weigh(0), RangeError, "AdaptiveLimit.weigh: weight must be")
      }))
  })

  describe("samples", () => {
    it.effect("a round is half of the limit, of calls that started in it", () =>
      Effect.gen(function*() {
        const { algorithm, samples } = recording()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 4 })
        yield* round(limit, 4, 100)
        assert.deepStrictEqual(samples, [{ at: 100, rtt: 100, inFlight: 4, dropped: false, stated: undefined }])
        yield* round(limit, 3, 20)
        assert.strictEqual(samples.length, 2)
        assert.deepStrictEqual(samples[1], { at: 120, rtt: 20, inFlight: 3, dropped: false, stated: undefined })
      }))

    it.effect("the wait for a slot is not the call's time", () =>
      Effect.gen(function*() {
        const { algorithm, samples } = recording()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 1, max: 1, queue: 1 })
        yield* start(limit(Effect.sleep(100)))
        yield* start(limit(Effect.sleep(100)))
        yield* TestClock.adjust(200)
        assert.deepStrictEqual(samples.map(({ rtt }) => rtt), [100, 100])
      }))

    it.effect("an interrupted, an ignored and a call that failed otherwise give none", () =>
      Effect.gen(function*() {
        const { algorithm, samples } = recording()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 1, queue: 1 })
        const fiber = yield* start(limit(Effect.never))
        const waiter = yield* start(limit(Effect.void))
        yield* Fiber.interrupt(waiter)
        yield* Fiber.interrupt(fiber)
        yield* Effect.exit(limit(Effect.fail(new Fault({ ignored: true }))))
        yield* Effect.exit(limit(Effect.fail(new Fault({ retryable: false }))))
        yield* Effect.exit(limit(Effect.die("boom")))
        assert.deepStrictEqual(samples, [])
        yield* Effect.exit(limit(Effect.fail(new Fault({}))))
        assert.strictEqual(samples.length, 1)
      }))

    it.effect("what is a drop is as the options say", () =>
      Effect.gen(function*() {
        const { algorithm, samples } = recording()
        const limit = yield* AdaptiveLimit.make({
          algorithm,
          classify: () => Outcome.ignored({ retryable: true }),
          isDrop: (outcome) => outcome._tag === "Ignored" && outcome.retryable
        })
        yield* limit(Effect.void)
        assert.deepStrictEqual(samples.map(({ dropped }) => dropped), [true])
      }))

    it.effect("a success that is judged slow is a drop", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 10, classify: () => Outcome.slowSuccess })
        yield* limit(Effect.void)
        assert.strictEqual(yield* limitIs(limit), 9)
      }))

    it.effect("a stream is one call, from its first pull to its end", () =>
      Effect.gen(function*() {
        const { algorithm, samples } = recording()
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 1 })
        const stream = limit.stream(Stream.mapEffect(Stream.make(1, 2), (n) => Effect.as(Effect.sleep(50), n)))
        const fiber = yield* start(Stream.runCollect(stream))
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2])
        assert.deepStrictEqual(samples.map(({ rtt }) => rtt), [100])
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))
  })

  describe("growth", () => {
    it.effect("none while less than half of the slots are taken", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 10 })
        for (let n = 0; n < 50; n++) yield* round(limit, 4, 10)
        assert.strictEqual(yield* limitIs(limit), 10)
        yield* round(limit, 5, 10)
        assert.strictEqual(yield* limitIs(limit), 11)
      }))

    it.effect("none either by an algorithm that disregards its bounds", () =>
      Effect.gen(function*() {
        const at = (limit: number): AdaptiveLimit.Learner => ({ limit, learn: () => at(limit * 2) })
        const limit = yield* AdaptiveLimit.make({ algorithm: { name: "greedy", start: at }, initial: 8, max: 20 })
        for (let n = 0; n < 8; n++) yield* round(limit, 1, 10)
        assert.strictEqual(yield* limitIs(limit), 8)
        yield* round(limit, 4, 10)
        assert.strictEqual(yield* limitIs(limit), 20)
      }))

    it.effect("a larger limit admits those who wait at once", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 1, queue: 10 })
        const { call, end, log } = makeCalls(limit)
        for (const id of "abcd") yield* call(id)
        assert.deepStrictEqual(log, ["a"])
        yield* end
        assert.deepStrictEqual(log, ["a", "b", "c"])
      }))

    it.effect("an algorithm that gives no number changes nothing", () =>
      Effect.gen(function*() {
        const start = (limit: number): AdaptiveLimit.Learner => ({ limit, learn: () => start(NaN) })
        const limit = yield* AdaptiveLimit.make({ algorithm: { name: "broken", start }, initial: 1 })
        yield* round(limit, 1, 10)
        assert.strictEqual(yield* limitIs(limit), 1)
      }))
  })

  describe("drops", () => {
    it.effect("count even when the latency is constant", () =>
      Effect.gen(function*() {
        for (
          const algorithm of [
            AdaptiveLimit.aimd(),
            AdaptiveLimit.vegas(),
            AdaptiveLimit.gradient2(),
            AdaptiveLimit.told()
          ]
        ) {
          const limit = yield* AdaptiveLimit.make({ algorithm, initial: 100 })
          for (let n = 0; n < 3; n++) {
            const before = yield* limitIs(limit)
            const fiber = yield* start(
              Effect.exit(limit(Effect.andThen(Effect.sleep(10), Effect.fail(new Overloaded({})))))
            )
            yield* TestClock.adjust(10)
            yield* Fiber.join(fiber)
            assert.isBelow(yield* limitIs(limit), before, algorithm.name)
          }
        }
      }))

    it.effect("count after the bounds were changed by hand, as does what is learnt from there", () =>
      Effect.gen(function*() {
        const own: AdaptiveLimit.Algorithm = recording().algorithm
        for (
          const algorithm of [
            AdaptiveLimit.aimd(),
            AdaptiveLimit.vegas(),
            AdaptiveLimit.gradient2(),
            AdaptiveLimit.told(),
            own
          ]
        ) {
          const limit = yield* AdaptiveLimit.make({ algorithm, initial: 100 })
          yield* limit.update({ max: 20 })
          assert.strictEqual(yield* limitIs(limit), 20)
          yield* Effect.exit(limit(Effect.fail(new Overloaded({}))))
          assert.strictEqual(yield* limitIs(limit), algorithm === own ? 19 : 18, algorithm.name)
          yield* limit.update({ max: 10 })
          yield* limit.update({ max: 1_000 })
          yield* round(limit, 10, 10)
          assert.isAtMost(yield* limitIs(limit), 11, algorithm.name)
        }
      }))

    it.effect("those of one overload count once", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 10 })
        const gate = yield* Deferred.make<void>()
        const call = limit(Effect.andThen(Deferred.await(gate), Effect.fail(new Overloaded({}))))
        const fibers = yield* Effect.forEach(Array.from({ length: 10 }), () => start(call))
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.awaitAll(fibers)
        assert.strictEqual(yield* limitIs(limit), 9)
        yield* Effect.exit(call)
        assert.strictEqual(yield* limitIs(limit), 8)
      }))

    it.effect("the slot that is one too many is not handed on", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ initial: 2, queue: 10 })
        const gate = yield* Deferred.make<void>()
        const dropped = yield* start(limit(Effect.andThen(Deferred.await(gate), Effect.fail(new Overloaded({})))))
        const { call, log } = makeCalls(limit)
        yield* call("a")
        yield* call("b")
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.await(dropped)
        yield* Testing.settle
        assert.deepStrictEqual(log, ["a"])
        assert.deepStrictEqual(yield* glance(limit), { running: 1, queued: 1 })
      }))
  })

  describe("a stated limit", () => {
    const algorithm = AdaptiveLimit.told()

    it.effect("holds at once, also when the error says nothing about the dependency", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({
          algorithm,
          initial: 100,
          limitOf,
          classify: () => Outcome.ignored({ retryable: true })
        })
        const gate = yield* Deferred.make<void>()
        for (let n = 0; n < 25; n++) yield* start(limit(Deferred.await(gate)))
        yield* Effect.exit(limit(Effect.fail(new Overloaded({ limit: 25 }))))
        assert.strictEqual(yield* limitIs(limit), 25)
        yield* Deferred.succeed(gate, undefined)
      }))

    it.effect("of an earlier overload counts when it is lower still", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 10, limitOf })
        const calls = [5, 3, 4].map((stated) =>
          limit(Effect.andThen(Effect.sleep(stated === 5 ? 1 : 2), Effect.fail(new Overloaded({ limit: stated }))))
        )
        yield* Effect.forEach(Array.from({ length: 4 }), () => start(limit(Effect.never)))
        for (const call of calls) yield* start(Effect.exit(call))
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* limitIs(limit), 5)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* limitIs(limit), 3)
      }))

    it.effect("that is no number is none", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 10, limitOf: () => NaN })
        yield* limit(Effect.void)
        assert.strictEqual(yield* limitIs(limit), 10)
      }))

    it.effect("is never above the greatest and never below the least limit", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ algorithm, initial: 10, min: 3, max: 12, limitOf })
        yield* Effect.exit(limit(Effect.fail(new Overloaded({ limit: 0 }))))
        assert.strictEqual(yield* limitIs(limit), 3)
        yield* Effect.exit(limit(Effect.fail(new Overloaded({ limit: 50 }))))
        assert.strictEqual(yield* limitIs(limit), 3)
      }))
  })

  it.effect("a judge that throws makes the call die and frees its slot", () =>
    Effect.gen(function*() {
      const boom = () => {
        throw new Error("boom")
      }
      for (const options of [{ classify: boom }, { isDrop: boom }, { limitOf: boom }]) {
        const limit = yield* AdaptiveLimit.make({ ...options, initial: 1 })
        for (let n = 0; n < 3; n++) assert.isTrue(Exit.hasDies(yield* Effect.exit(limit(Effect.void))))
        assert.isTrue(Exit.hasDies(yield* Effect.exit(Stream.runDrain(limit.stream(Stream.make(1))))))
        assert.deepStrictEqual(yield* glance(limit), rest)
      }
    }))

  for (const algorithm of [AdaptiveLimit.aimd(), AdaptiveLimit.told()]) {
    it.live(
      `interrupted at any step it loses no slot and leaves no fiber (${algorithm.name})`,
      () =>
        Effect.gen(function*() {
          const { interrupted } = yield* Testing.interruptEverywhere({
            setup: AdaptiveLimit.make({
              algorithm,
              initial: 1,
              queue: 10,
              maxWait: "5 millis",
              limitOf
            }),
            beside: (limit) =>
              Effect.exit(limit(Effect.andThen(Effect.sleep(3), Effect.fail(new Overloaded({ limit: 2 }))))),
            run: (limit) => Effect.exit(Effect.all([limit(Effect.sleep(1)), limit(Effect.void)], { concurrency: 2 })),
            check: (limit) => Effect.map(glance(limit), (state) => assert.deepStrictEqual(state, rest))
          })
          assert.isAbove(interrupted, 100)
        }),
      60_000
    )
  }

  it.effect("a thousand concurrent callers are all answered, within the limit of the moment", () =>
    Effect.gen(function*() {
      const limit = yield* AdaptiveLimit.make({ initial: 5, queue: Infinity, max: 50 })
      let running = 0
      const call = Effect.acquireUseRelease(
        Effect.sync(() => assert.isAtMost(++running, 50)),
        () => Effect.andThen(Effect.sleep(10), running > 20 ? Effect.fail(new Overloaded({})) : Effect.void),
        () => Effect.sync(() => running--)
      )
      const fibers = yield* Effect.forEach(
        Array.from({ length: 1_000 }),
        (_, n) => start(as({ tenant: `${n % 3}` })(limit(call)))
      )
      yield* TestClock.adjust("20 seconds")
      const exits = yield* Fiber.awaitAll(fibers)
      assert.isAbove(exits.filter(Exit.isSuccess).length, 500)
      assert.deepStrictEqual(yield* glance(limit), rest)
    }))

  it.effect("shows what it has learnt", () =>
    Effect.gen(function*() {
      const limit = yield* AdaptiveLimit.make({ initial: 10, limitOf })
      assert.deepStrictEqual(yield* limit.inspect, {
        limit: 10,
        running: 0,
        queued: 0,
        algorithm: "aimd",
        rtt: undefined,
        history: []
      })
      yield* round(limit, 10, 100)
      yield* Effect.exit(limit(Effect.fail(new Overloaded({}))))
      yield* TestClock.adjust("1 second")
      yield* limit.update({ max: 5 })
      const { history, rtt, ...state } = yield* limit.inspect
      assert.deepStrictEqual(state, { limit: 5, running: 0, queued: 0, algorithm: "aimd" })
      assert.deepStrictEqual(rtt, Duration.millis(100))
      assert.deepStrictEqual(history.map(({ ago, ...change }) => ({ ...change, ago: Duration.toMillis(ago) })), [
        { from: 10, to: 11, because: "grown", ago: 1_000 },
        { from: 11, to: 9, because: "dropped", ago: 1_000 },
        { from: 9, to: 5, because: "update", ago: 0 }
      ])
      for (let n = 0; n < 50; n++) yield* limit.update({ min: 1 + (n % 2) * 4, max: 5 - ((n + 1) % 2) })
      assert.strictEqual((yield* limit.inspect).history.length, 32)
    }))

  it.effect("tells of each change and records it", () =>
    Effect.gen(function*() {
      const limit = yield* AdaptiveLimit.make({
        initial: 2,
        name: "catalogue",
        algorithm: AdaptiveLimit.vegas(),
        limitOf
      })
      const record = yield* Testing.record(limit.events)
      yield* round(limit, 2, 10)
      for (let n = 0; n < 20; n++) yield* round(limit, 2, 1_000)
      yield* Effect.exit(limit(Effect.fail(new Overloaded({ limit: 1 }))))
      const changes = (yield* record).map(({ event }) => event)
      assert.deepStrictEqual(changes[0], { _tag: "Adapted", from: 2, to: 3, because: "grown" })
      assert.deepStrictEqual(changes.at(-1), { _tag: "Adapted", from: 4, to: 3, because: "stated" })
      assert.deepStrictEqual(yield* metrics, {
        "ballast_adaptive_limit{name=catalogue}": 3,
        "ballast_adaptive_limit_changes_total{because=grown,name=catalogue}": changes.length - 1,
        "ballast_adaptive_limit_changes_total{because=stated,name=catalogue}": 1
      })
    }).pipe(withMetrics))

  it.effect("says when latency is why", () =>
    Effect.gen(function*() {
      const limit = yield* AdaptiveLimit.make({ initial: 20, algorithm: AdaptiveLimit.vegas() })
      yield* round(limit, 10, 10)
      yield* round(limit, 20, 1_000)
      assert.deepStrictEqual((yield* limit.inspect).history.map(({ because }) => because), ["grown", "latency"])
    }))

  it.effect("learns for each key", () =>
    Effect.gen(function*() {
      const limits = yield* AdaptiveLimit.keyed({ initial: 10 })
      yield* Effect.exit(limits("a")(Effect.fail(new Overloaded({}))))
      assert.strictEqual(yield* limitIs(yield* limits.get("a")), 9)
      assert.strictEqual(yield* limitIs(yield* limits.get("b")), 10)
      yield* TestClock.adjust("15 minutes")
      yield* limits("c")(Effect.void)
      assert.deepStrictEqual(yield* limits.keys, ["c"])
    }))

  it.effect("noop has no limit", () =>
    Effect.gen(function*() {
      const { noop } = AdaptiveLimit
      assert.strictEqual(yield* noop.weigh(1_000)(noop(Effect.succeed("ok"))), "ok")
      assert.deepStrictEqual(yield* Stream.runCollect(noop.stream(Stream.make(1))), [1])
      yield* noop.update({ max: 1 })
      assert.strictEqual((yield* noop.inspect).limit, Infinity)
      assert.deepStrictEqual(yield* noop.tenants, [])
      assert.deepStrictEqual(yield* Stream.runCollect(noop.events), [])
    }))

  describe("options", () => {
    it.effect("the initial limit is 20, or the bound that is nearest", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* limitIs(yield* AdaptiveLimit.make()), 20)
        assert.strictEqual(yield* limitIs(yield* AdaptiveLimit.make({ max: 5 })), 5)
        assert.strictEqual(yield* limitIs(yield* AdaptiveLimit.make({ min: 50 })), 50)
      }))

    const refused: ReadonlyArray<readonly [AdaptiveLimit.Options, string]> = [
      [{ min: 0 }, "AdaptiveLimit.make: min must be an integer of at least 1, got 0"],
      [{ min: 5, max: 4 }, "AdaptiveLimit.make: max must be at least min (5), got 4"],
      [{ initial: 5, max: 4 }, "AdaptiveLimit.make: initial must be from min (1) to max (4), got 5"],
      [{ queue: -1 }, "AdaptiveLimit.make: queue must be an integer of at least 0, or Infinity, got -1"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => AdaptiveLimit.make(options), RangeError, message)
      })
    }

    it.effect("an update refuses what make refuses", () =>
      Effect.gen(function*() {
        const limit = yield* AdaptiveLimit.make({ min: 5 })
        assert.throws(
          () => limit.update({ max: 4 }),
          RangeError,
          "AdaptiveLimit.update: max must be at least min (5), got 4"
        )
      }))
  })
})
