import { LoadShed, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { eventsOf, metrics, withMetrics } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"
import { glance, isShed, makeCalls, makeFull, rest, settle, start } from "./support/shedding.ts"

describe("LoadShed", () => {
  describe("limit", () => {
    it.effect("runs as many calls as it is told and queues the next", () =>
      Effect.gen(function*() {
        const shed = yield* LoadShed.make({ limit: 3 })
        const { call, end, log } = makeCalls(shed)
        for (const id of "abcd") yield* call(id)
        assert.deepStrictEqual(log, ["run a", "run b", "run c"])
        assert.deepStrictEqual(yield* glance(shed), { ...rest, running: 3, queued: 1 })
        yield* end
        assert.deepStrictEqual(log, ["run a", "run b", "run c", "run d"])
        yield* Effect.repeat(end, { times: 2 })
        assert.deepStrictEqual(yield* glance(shed), rest)
      }))

    it.effect("passes results, errors and defects on as they are", () =>
      Effect.gen(function*() {
        const shed = yield* LoadShed.make({ limit: 1 })
        assert.strictEqual(yield* shed(Effect.succeed("ok")), "ok")
        assert.strictEqual(yield* Effect.flip(shed(Effect.fail("busy"))), "busy")
        assert.deepStrictEqual(yield* Effect.exit(shed(Effect.die("boom"))), Exit.die("boom"))
        assert.deepStrictEqual(yield* glance(shed), rest)
      }))

    it.effect("goes in order of arrival", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull()
        for (const id of "abc") yield* call(id)
        yield* Effect.repeat(end, { times: 3 })
        assert.deepStrictEqual(log, ["run first", "run a", "run b", "run c"])
      }))
  })

  describe("delay", () => {
    it.effect("a burst waits for longer than the target and is not shed", () =>
      Effect.gen(function*() {
        const { call, end, log, shed } = yield* makeFull()
        yield* call("a")
        yield* TestClock.adjust(104)
        assert.deepStrictEqual(yield* glance(shed), { running: 1, queued: 1, overloaded: false, delay: 104 })
        yield* end
        assert.deepStrictEqual(log, ["run first", "run a"])
      }))

    it.effect("sheds when the queue has stood for an interval", () =>
      Effect.gen(function*() {
        const { call, log, shed } = yield* makeFull({ name: "database" })
        const fiber = yield* call("a")
        yield* TestClock.adjust(105)
        assert.deepStrictEqual(log, ["run first", "shed a"])
        assert.deepStrictEqual(yield* glance(shed), { ...rest, running: 1 })
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error.message, "Load shedder \"database\" turned a call away: it had waited for 105ms")
        assert.deepStrictEqual(
          error[Outcome.key],
          Outcome.ignored({ retryAfter: Duration.millis(100), executed: false })
        )
      }))

    it.effect("sheds at twice the target while the queue stands", () =>
      Effect.gen(function*() {
        const { call, log, shed } = yield* makeFull()
        yield* call("a")
        yield* TestClock.adjust(97)
        yield* call("b")
        yield* TestClock.adjust(3)
        yield* call("c")
        yield* TestClock.adjust(5)
        // `b` is 8 and not shed, yet over the target, so the queue still stands.
        assert.deepStrictEqual(log, ["run first", "shed a"])
        assert.deepStrictEqual(yield* glance(shed), { running: 1, queued: 2, overloaded: true, delay: 8 })
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(log, ["run first", "shed a"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(log, ["run first", "shed a", "shed b"])
        yield* TestClock.adjust(3)
        assert.deepStrictEqual(log, ["run first", "shed a", "shed b", "shed c"])
      }))

    it.effect("recovers when the oldest is younger than the target, and then starts anew", () =>
      Effect.gen(function*() {
        const { call, log, shed } = yield* makeFull()
        yield* call("a")
        yield* TestClock.adjust(101)
        yield* call("b")
        yield* TestClock.adjust(4)
        assert.deepStrictEqual(log, ["run first", "shed a"])
        assert.isFalse((yield* shed.inspect).overloaded)
        yield* TestClock.adjust(101)
        assert.deepStrictEqual(log, ["run first", "shed a", "shed b"])
      }))

    it.effect("an admission of a young call ends the lateness", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull()
        yield* call("a")
        yield* TestClock.adjust(99)
        yield* call("b")
        yield* end
        yield* TestClock.adjust(50)
        assert.deepStrictEqual(log, ["run first", "run a"])
        yield* TestClock.adjust(55)
        assert.deepStrictEqual(log, ["run first", "run a", "shed b"])
      }))

    it.effect("nobody waits longer than target and interval, even if no call ever ends", () =>
      Effect.gen(function*() {
        const shed = yield* LoadShed.make({ limit: 1, target: "20 millis", interval: "50 millis" })
        yield* start(shed(Effect.never))
        const fibers: Array<Fiber.Fiber<never, LoadShed.Shed>> = []
        for (let i = 0; i < 300; i++) {
          fibers.push(yield* start(shed(Effect.never)))
          yield* TestClock.adjust(1)
        }
        yield* TestClock.adjust(70)
        for (const fiber of fibers) {
          const { waited } = yield* Effect.flip(Fiber.join(fiber))
          assert.isAtMost(Duration.toMillis(waited), 70)
        }
        assert.deepStrictEqual(yield* glance(shed), { ...rest, running: 1 })
      }))
  })

  describe("order", () => {
    const run = Effect.fnUntraced(function*(order: "fifo" | "adaptive-lifo") {
      const { call, end, log } = yield* makeFull({ order })
      yield* call("a")
      yield* TestClock.adjust(97)
      yield* call("b")
      yield* call("c")
      yield* TestClock.adjust(8)
      yield* call("d")
      yield* Effect.repeat(end, { times: 2 })
      return log
    })

    it.effect("takes the oldest first", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* run("fifo"), ["run first", "shed a", "run b", "run c", "run d"])
      }))

    it.effect("takes the newest first while the queue stands, if told to", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* run("adaptive-lifo"), ["run first", "shed a", "run d", "run c", "run b"])
      }))

    it.effect("takes the oldest first while it does not stand", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull({ order: "adaptive-lifo" })
        yield* call("a")
        yield* call("b")
        yield* end
        assert.deepStrictEqual(log, ["run first", "run a"])
      }))
  })

  describe("priority", () => {
    it.effect("takes higher ones first", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull()
        for (const priority of ["low", "normal", "critical", "high", "critical"] as const) {
          yield* call(priority, priority)
        }
        yield* Effect.repeat(end, { times: 4 })
        assert.deepStrictEqual(log, ["first", "critical", "critical", "high", "normal", "low"].map((id) => `run ${id}`))
      }))

    it.effect("sheds lower ones first under a load that the higher ones alone would not make", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull()
        for (let i = 0; i < 100; i++) {
          yield* call(`low`, "low")
          yield* call(`high`, "high")
          yield* TestClock.adjust(3)
          yield* end
        }
        assert.isAbove(log.filter((line) => line === "shed low").length, 80)
        assert.strictEqual(log.filter((line) => line === "shed high").length, 0)
      }))

    it.effect("a full queue sheds the newest of the lowest for a higher one", () =>
      Effect.gen(function*() {
        const { call, log, shed } = yield* makeFull({ queue: 3 })
        yield* call("a", "low")
        yield* call("b", "low")
        yield* call("c", "normal")
        yield* call("d", "high")
        yield* settle
        assert.deepStrictEqual(log, ["run first", "shed b"])
        yield* call("e", "low")
        yield* settle
        yield* call("f", "normal")
        yield* settle
        yield* call("g", "normal")
        yield* settle
        assert.deepStrictEqual(log, ["run first", "shed b", "shed e", "shed a", "shed g"])
        assert.strictEqual((yield* shed.inspect).queued, 3)
      }))
  })

  describe("queue", () => {
    it.effect("rejects at once when it is full", () =>
      Effect.gen(function*() {
        const { call, shed } = yield* makeFull({ name: "database", queue: 1 })
        yield* call("a")
        const error = yield* Effect.flip(shed(Effect.void))
        assert.strictEqual(error.message, "Load shedder \"database\" turned a call away: the queue is full")
        assert.deepStrictEqual(error.waited, Duration.zero)
      }))

    it.effect("of length zero lets nobody wait", () =>
      Effect.gen(function*() {
        const { shed } = yield* makeFull({ queue: 0 })
        assert.isTrue(isShed(yield* Effect.exit(shed(Effect.void)), "full"))
      }))
  })

  describe("interruption", () => {
    it.effect("a waiter leaves at once, and those behind move up", () =>
      Effect.gen(function*() {
        const { call, end, log, shed } = yield* makeFull()
        const fiber = yield* call("a")
        yield* call("b")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* shed.inspect).queued, 1)
        yield* end
        assert.deepStrictEqual(log, ["run first", "run b"])
      }))

    it.effect("a running call gives its slot back", () =>
      Effect.gen(function*() {
        const shed = yield* LoadShed.make({ limit: 1 })
        const fiber = yield* start(shed(Effect.never))
        const waiter = yield* start(shed(Effect.succeed("ok")))
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* Fiber.join(waiter), "ok")
        assert.deepStrictEqual(yield* glance(shed), rest)
      }))

    for (const beside of ["1 second", "50 millis"] as const) {
      it.live(`loses no slot, waiter or timer at any step, beside a call of ${beside}`, () =>
        Effect.gen(function*() {
          const { interrupted } = yield* interruptEverywhere({
            setup: LoadShed.make({ limit: 1 }),
            beside: (shed) => shed(Effect.sleep(beside)),
            run: (shed) =>
              Effect.exit(Effect.all([shed(Effect.sleep(10)), shed(Effect.sleep(10))], { concurrency: 2 })),
            check: (shed) => Effect.map(glance(shed), (state) => assert.deepStrictEqual(state, rest))
          })
          assert.isAbove(interrupted, 100)
        }), 60_000)
    }
  })

  describe("stream", () => {
    it.effect("holds its slot until it has ended", () =>
      Effect.gen(function*() {
        const shed = yield* LoadShed.make({ limit: 1 })
        const gate = yield* Deferred.make<void>()
        const fiber = yield* start(Stream.runCollect(shed.stream(Stream.concat(
          Stream.make(1),
          Stream.fromEffect(Effect.as(Deferred.await(gate), 2))
        ))))
        const waiter = yield* start(shed(Effect.succeed("ok")))
        assert.deepStrictEqual(yield* glance(shed), { ...rest, running: 1, queued: 1 })
        yield* Deferred.succeed(gate, undefined)
        assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2])
        assert.strictEqual(yield* Fiber.join(waiter), "ok")
        assert.deepStrictEqual(yield* glance(shed), rest)
      }))

    it.effect("is shed without being pulled", () =>
      Effect.gen(function*() {
        const { shed } = yield* makeFull({ queue: 0 })
        let pulled = false
        const stream = Stream.fromEffect(Effect.sync(() => pulled = true))
        assert.isTrue(isShed(yield* Effect.exit(Stream.runDrain(shed.stream(stream))), "full"))
        assert.isFalse(pulled)
      }))
  })

  it.effect("a thousand concurrent callers never exceed the limit, and each is answered", () =>
    Effect.gen(function*() {
      const shed = yield* LoadShed.make({ limit: 7, queue: Infinity })
      let running = 0
      let most = 0
      const call = shed(Effect.acquireUseRelease(
        Effect.sync(() => most = Math.max(most, ++running)),
        () => Effect.sleep(3),
        () => Effect.sync(() => running--)
      ))
      const fibers = yield* Effect.forEach(Array.from({ length: 1_000 }), () => start(call))
      yield* TestClock.adjust("10 seconds")
      const exits = yield* Fiber.awaitAll(fibers)
      assert.strictEqual(most, 7)
      assert.strictEqual(exits.filter(Exit.isSuccess).length + exits.filter((exit) => isShed(exit)).length, 1_000)
      assert.isAbove(exits.filter((exit) => isShed(exit, "delay")).length, 0)
      assert.deepStrictEqual(yield* glance(shed), rest)
    }))

  it.effect("a chain of ten thousand short calls does not overflow the stack", () =>
    Effect.gen(function*() {
      const { end, shed } = yield* makeFull({ queue: Infinity })
      const fibers = yield* Effect.forEach(Array.from({ length: 10_000 }), () => start(shed(Effect.void)))
      yield* end
      yield* Fiber.awaitAll(fibers)
      assert.deepStrictEqual(yield* glance(shed), rest)
    }))

  describe("update", () => {
    it.effect("a larger limit admits those who wait", () =>
      Effect.gen(function*() {
        const { call, log, shed } = yield* makeFull()
        for (const id of "abc") yield* call(id)
        yield* shed.update({ limit: 3 })
        yield* settle
        assert.deepStrictEqual(log, ["run first", "run a", "run b"])
      }))

    it.effect("a shorter target and interval hold for those who wait", () =>
      Effect.gen(function*() {
        const { call, log, shed } = yield* makeFull({ target: "1 second", interval: "10 seconds" })
        yield* call("a")
        yield* TestClock.adjust(500)
        yield* shed.update({ target: 5, interval: 100 })
        yield* settle
        assert.deepStrictEqual(log, ["run first", "shed a"])
      }))

    it.effect("refuses what make refuses", () =>
      Effect.gen(function*() {
        const shed = yield* LoadShed.make({ limit: 1 })
        assert.throws(
          () => shed.update({ target: 200 }),
          RangeError,
          "LoadShed.update: target must be no longer than interval (100ms), got 200ms"
        )
        assert.strictEqual((yield* shed.inspect).limit, 1)
      }))
  })

  it.effect("tells when the queue stands and whom it sheds", () =>
    Effect.gen(function*() {
      const { call, shed } = yield* makeFull()
      const heard = yield* start(Stream.runCollect(Stream.take(shed.events, 3)))
      yield* Effect.yieldNow
      yield* call("a", "low")
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(yield* Fiber.join(heard), [
        { _tag: "Overloaded" },
        { _tag: "Shed", reason: "delay", priority: "low", waited: Duration.millis(105) },
        { _tag: "Recovered" }
      ])
    }))

  it.effect("records waits and rejections", () =>
    Effect.gen(function*() {
      const { shed } = yield* makeFull({ name: "database", queue: 1 })
      const waiter = yield* start(eventsOf(shed(Effect.void)))
      yield* Effect.exit(shed(Effect.void))
      yield* TestClock.adjust(105)
      assert.deepStrictEqual(yield* Fiber.join(waiter), [
        { name: "ballast.wait", attributes: { policy: "load-shed", name: "database", seconds: 0.105 } }
      ])
      assert.deepStrictEqual(yield* metrics, {
        "ballast_policy_rejections_total{name=database,policy=load-shed}": 2,
        "ballast_policy_wait_seconds{name=database,policy=load-shed}": 0.105,
        "ballast_policy_wait_seconds_count{name=database,policy=load-shed}": 1
      })
    }).pipe(withMetrics))

  it.effect("keeps a shedder for each key, while calls run in it", () =>
    Effect.gen(function*() {
      const shedders = yield* LoadShed.keyed({ limit: 1, queue: 0 })
      const fiber = yield* start(shedders("a")(Effect.never))
      assert.isTrue(isShed(yield* Effect.exit(shedders("a")(Effect.void))))
      yield* shedders("b")(Effect.void)
      yield* TestClock.adjust("15 minutes")
      yield* shedders("c")(Effect.void)
      assert.deepStrictEqual(yield* shedders.keys, ["c", "a"])
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("noop has no limit", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* LoadShed.noop(Effect.succeed("ok")), "ok")
      yield* LoadShed.noop.update({ limit: 1 })
      assert.deepStrictEqual(yield* glance(LoadShed.noop), rest)
      assert.deepStrictEqual(yield* Stream.runCollect(LoadShed.noop.events), [])
    }))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [LoadShed.Options, string]> = [
      [{ limit: 0 }, "LoadShed.make: limit must be an integer of at least 1, got 0"],
      [{ limit: 1, target: 0 }, "LoadShed.make: target must be a finite duration above zero, got 0"],
      [{ limit: 1, interval: 1 }, "LoadShed.make: target must be no longer than interval (1ms), got 5ms"],
      [{ limit: 1, queue: -1 }, "LoadShed.make: queue must be an integer of at least 0, or Infinity, got -1"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => LoadShed.make(options), RangeError, message)
      })
    }
  })
})
