import { ConcurrencyLimit, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { eventsOf, metrics, withMetrics, withStepBudget } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** Takes the only slot until `free` is run. */
const occupied = Effect.fnUntraced(function*(options: Omit<ConcurrencyLimit.Options, "limit">) {
  const limit = yield* ConcurrencyLimit.make({ limit: 1, ...options })
  const gate = yield* Deferred.make<void>()
  yield* start(limit(Deferred.await(gate)))
  return { limit, free: Deferred.succeed(gate, undefined) }
})

const idle = Effect.fnUntraced(function*(limit: ConcurrencyLimit.ConcurrencyLimit) {
  const { queued, running } = yield* limit.inspect
  assert.deepStrictEqual({ queued, running }, { queued: 0, running: 0 })
})

describe("ConcurrencyLimit", () => {
  describe("slots", () => {
    it.effect("passes results and errors on as they are", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1 })
        assert.strictEqual(yield* limit(Effect.succeed("ok")), "ok")
        assert.strictEqual(yield* Effect.flip(limit(Effect.fail("error"))), "error")
        yield* idle(limit)
      }))

    it.effect("runs n calls at once and rejects the next", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, name: "catalogue" })
        for (let n = 0; n < 3; n++) yield* start(limit(Effect.never))
        let executions = 0
        const error = yield* Effect.flip(limit(Effect.sync(() => executions++)))
        assert.strictEqual(error._tag, "QueueFull")
        assert.strictEqual(error.message, "Concurrency limit \"catalogue\" is full: 3 calls run and 0 wait")
        assert.deepStrictEqual(error[Outcome.key], Outcome.ignored({ executed: false }))
        assert.strictEqual(executions, 0)
        assert.deepStrictEqual(yield* limit.inspect, { limit: 3, running: 3, queued: 0 })
      }))

    it.effect("an interrupted and a dying call free their slots", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1 })
        const fiber = yield* start(limit(Effect.never))
        yield* Fiber.interrupt(fiber)
        yield* idle(limit)
        assert.deepStrictEqual(yield* Effect.exit(limit(Effect.die("boom"))), Exit.die("boom"))
        yield* idle(limit)
      }))
  })

  describe("queue", () => {
    it.effect("holds n calls and rejects the next", () =>
      Effect.gen(function*() {
        const { limit } = yield* occupied({ queue: 2 })
        yield* start(limit(Effect.void))
        yield* start(limit(Effect.void))
        const error = yield* Effect.flip(limit(Effect.void))
        assert.strictEqual(error._tag, "QueueFull")
        assert.deepStrictEqual(yield* limit.inspect, { limit: 1, running: 1, queued: 2 })
      }))

    it.effect("gives a freed slot to the longest waiter", () =>
      Effect.gen(function*() {
        const { free, limit } = yield* occupied({ queue: 10 })
        const order: Array<number> = []
        const fibers = yield* Effect.forEach([1, 2, 3, 4], (n) => start(limit(Effect.sync(() => order.push(n)))))
        yield* free
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, [1, 2, 3, 4])
        yield* idle(limit)
      }))

    it.effect("lets nobody slip in between a freed slot and its waiter", () =>
      Effect.gen(function*() {
        const { free, limit } = yield* occupied({ queue: 10 })
        const order: Array<string> = []
        const waiter = yield* start(limit(Effect.sync(() => order.push("waiter"))))
        yield* free
        const late = yield* start(limit(Effect.sync(() => order.push("late"))))
        yield* Fiber.joinAll([waiter, late])
        assert.deepStrictEqual(order, ["waiter", "late"])
      }))

    it.effect("gives up after the longest wait and not before", () =>
      Effect.gen(function*() {
        const { limit } = yield* occupied({ queue: 10, maxWait: "2 seconds", name: "catalogue" })
        const fiber = yield* start(Effect.flip(limit(Effect.void)))
        yield* TestClock.adjust(1_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error._tag, "QueueTimeout")
        assert.strictEqual(error.message, "Concurrency limit \"catalogue\" had no free slot within 2s")
        assert.deepStrictEqual(yield* limit.inspect, { limit: 1, running: 1, queued: 0 })
      }))

    it.effect("waits for ever when told to", () =>
      Effect.gen(function*() {
        const { free, limit } = yield* occupied({ queue: 1, maxWait: Duration.infinity })
        const fiber = yield* start(limit(Effect.succeed("ok")))
        yield* TestClock.adjust("1 day")
        yield* free
        assert.strictEqual(yield* Fiber.join(fiber), "ok")
      }))

    it.effect("runs a call whose slot comes in the moment in which its time is over", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1, queue: 1 })
        let finish = () => {}
        let timeOut = () => {}
        yield* start(limit(Effect.callback<void>((resume) => {
          finish = () => resume(Effect.void)
        })))
        const clock: Clock.Clock = {
          ...yield* Clock.Clock,
          sleep: () =>
            Effect.callback((resume) => {
              timeOut = () => resume(Effect.void)
            })
        }
        const waiter = yield* start(Effect.provideService(limit(Effect.succeed("ok")), Clock.Clock, clock))
        finish()
        timeOut()
        assert.strictEqual(yield* Fiber.join(waiter), "ok")
        yield* idle(limit)
      }))

    it.effect("an interrupted waiter leaves and the next one moves up", () =>
      Effect.gen(function*() {
        const { free, limit } = yield* occupied({ queue: 10 })
        const first = yield* start(limit(Effect.never))
        const second = yield* start(limit(Effect.succeed("second")))
        yield* Fiber.interrupt(first)
        assert.strictEqual((yield* limit.inspect).queued, 1)
        yield* free
        assert.strictEqual(yield* Fiber.join(second), "second")
        yield* idle(limit)
      }))

    it.effect("a waiter interrupted after it got its slot hands it on", () =>
      Effect.gen(function*() {
        const { free, limit } = yield* occupied({ queue: 10 })
        let ran = false
        const first = yield* start(limit(Effect.sync(() => {
          ran = true
        })))
        const second = yield* start(limit(Effect.succeed("second")))
        yield* Effect.andThen(free, Effect.sync(() => first.interruptUnsafe()))
        assert.strictEqual(yield* Fiber.join(second), "second")
        assert.isFalse(ran)
        yield* idle(limit)
      }))

    it.effect("a long chain of short calls does not grow the stack", () =>
      Effect.gen(function*() {
        const { free, limit } = yield* occupied({ queue: Infinity, maxWait: Duration.infinity })
        const fibers = yield* Effect.forEach(Array.from({ length: 10_000 }), () => start(limit(Effect.void)))
        yield* free
        yield* Fiber.joinAll(fibers)
        yield* idle(limit)
      }))
  })

  describe("resize", () => {
    it.effect("a larger limit admits waiters at once", () =>
      Effect.gen(function*() {
        const { limit } = yield* occupied({ queue: 10 })
        const fibers = yield* Effect.forEach([1, 2, 3], (n) => start(limit(Effect.succeed(n))))
        yield* limit.resize(2)
        assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [1, 2, 3])
        assert.deepStrictEqual(yield* limit.inspect, { limit: 2, running: 1, queued: 0 })
      }))

    it.effect("a smaller limit lets running calls finish first", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3, queue: 1 })
        const never = start(limit(Effect.never))
        const [a, b, c] = yield* Effect.all([never, never, never])
        const waiter = yield* start(limit(Effect.succeed("ok")))
        yield* limit.resize(1)
        yield* Fiber.interrupt(a)
        yield* Fiber.interrupt(b)
        assert.deepStrictEqual(yield* limit.inspect, { limit: 1, running: 1, queued: 1 })
        yield* Fiber.interrupt(c)
        assert.strictEqual(yield* Fiber.join(waiter), "ok")
      }))

    it.effect("refuses a limit below 1", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 3 })
        assert.throws(
          () => limit.resize(0),
          RangeError,
          "ConcurrencyLimit.resize: limit must be an integer of at least 1, got 0"
        )
      }))
  })

  describe("stream", () => {
    it.effect("holds its slot from its first pull until it ends", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1 })
        const running = Effect.map(limit.inspect, (state) => state.running)
        const stream = limit.stream(Stream.mapEffect(Stream.make(1, 2), () => running))
        assert.strictEqual(yield* running, 0)
        assert.deepStrictEqual(yield* Stream.runCollect(stream), [1, 1])
        yield* idle(limit)
      }))

    it.effect("frees its slot when it fails, dies, is cut short or interrupted", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1 })
        const endless = Stream.concat(Stream.make(1), Stream.never)
        yield* Effect.exit(Stream.runDrain(limit.stream(Stream.fail("error"))))
        yield* idle(limit)
        yield* Effect.exit(Stream.runDrain(limit.stream(Stream.die("boom"))))
        yield* idle(limit)
        yield* Stream.runDrain(Stream.take(limit.stream(endless), 1))
        yield* idle(limit)
        const fiber = yield* start(Stream.runDrain(limit.stream(endless)))
        yield* Fiber.interrupt(fiber)
        yield* idle(limit)
      }))

    it.effect("frees its slot only after its resources are released", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1 })
        const seen: Array<number> = []
        const look = Effect.map(limit.inspect, ({ running }) => {
          seen.push(running)
        })
        const stream = (tail: Stream.Stream<number, string>) =>
          limit.stream(Stream.unwrap(Effect.as(
            Effect.addFinalizer(() => look),
            Stream.concat(Stream.make(1), tail)
          )))
        yield* Stream.runDrain(stream(Stream.empty))
        yield* Effect.exit(Stream.runDrain(stream(Stream.fail("error"))))
        yield* Stream.runDrain(Stream.take(stream(Stream.never), 1))
        assert.deepStrictEqual(seen, [1, 1, 1])
        yield* idle(limit)
      }))

    it.effect("waits in the queue, and an interruption there leaks nothing", () =>
      Effect.gen(function*() {
        const { free, limit } = yield* occupied({ queue: 2 })
        const first = yield* start(Stream.runCollect(limit.stream(Stream.make(1))))
        const second = yield* start(Stream.runCollect(limit.stream(Stream.make(2))))
        yield* Fiber.interrupt(first)
        yield* free
        assert.deepStrictEqual(yield* Fiber.join(second), [2])
        yield* idle(limit)
      }))

    it.effect("is rejected without being pulled", () =>
      Effect.gen(function*() {
        const { limit } = yield* occupied({})
        let pulled = false
        const stream = Stream.suspend(() => {
          pulled = true
          return Stream.make(1)
        })
        const error = yield* Effect.flip(Stream.runDrain(limit.stream(stream)))
        assert.strictEqual(error._tag, "QueueFull")
        assert.isFalse(pulled)
      }))
  })

  it.effect("records waits and rejections, and nothing for a call that does not wait", () =>
    Effect.gen(function*() {
      const { free, limit } = yield* occupied({ queue: 1, name: "catalogue" })
      assert.deepStrictEqual(yield* metrics, {})
      const fiber = yield* start(eventsOf(limit(Effect.void)))
      yield* Effect.exit(limit(Effect.void))
      yield* TestClock.adjust("3 seconds")
      yield* free
      assert.deepStrictEqual(yield* Fiber.join(fiber), [
        { name: "ballast.wait", attributes: { policy: "concurrency-limit", name: "catalogue", seconds: 3 } }
      ])
      assert.deepStrictEqual(yield* metrics, {
        "ballast_policy_rejections_total{name=catalogue,policy=concurrency-limit}": 1,
        "ballast_policy_wait_seconds{name=catalogue,policy=concurrency-limit}": 3,
        "ballast_policy_wait_seconds_count{name=catalogue,policy=concurrency-limit}": 1
      })
    }).pipe(withMetrics))

  const Call = Schema.Struct({
    after: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
    runs: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 8 })),
    interruptedAfter: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 })),
    end: Schema.Literals(["succeed", "fail", "die"])
  })

  const isAssertion = (exit: Exit.Exit<unknown, unknown>) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    return error instanceof Error && error.name === "AssertionError"
  }

  /** Calls that arrive, run, end and are interrupted at their times. Gives their exits. */
  const play = Effect.fnUntraced(function*(
    limit: ConcurrencyLimit.ConcurrencyLimit,
    calls: ReadonlyArray<typeof Call.Type>,
    steps: number,
    onStart: (place: number) => void,
    onEnd: () => void
  ) {
    const ends = { succeed: Effect.void, fail: Effect.fail("error"), die: Effect.die("boom") }
    const fibers: Array<Fiber.Fiber<void, unknown>> = []
    for (const [place, call] of calls.entries()) {
      yield* TestClock.adjust(call.after)
      const body = Effect.suspend(() => {
        onStart(place)
        return Effect.andThen(Effect.sleep(call.runs), ends[call.end])
      }).pipe(Effect.ensuring(Effect.sync(onEnd)))
      const fiber = yield* start(withStepBudget(steps)(limit(body)))
      fibers.push(fiber)
      yield* start(Effect.andThen(Effect.sleep(call.interruptedAfter), Fiber.interrupt(fiber)))
    }
    yield* TestClock.adjust("1 minute")
    return yield* Fiber.awaitAll(fibers)
  })

  it.effect.prop("never runs more than its limit and leaks nothing, wherever its fibers yield", {
    calls: Schema.Array(Call),
    limit: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
    steps: Schema.Int.check(Schema.isBetween({ minimum: 3, maximum: 64 }))
  }, ({ calls, limit: size, steps }) =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ limit: size, queue: Infinity, maxWait: 10 })
      let running = 0
      const exits = yield* play(limit, calls, steps, () => assert.isAtMost(++running, size), () => running--)
      assert.deepStrictEqual(exits.filter(isAssertion), [])
      yield* idle(limit)
    }))

  // With one slot, calls start in the order in which they got it; with more, one that finds a slot free may start in
  // the moment between the grant of a waiter's slot and that waiter's next step.
  it.effect.prop("keeps the order of arrival", { calls: Schema.Array(Call) }, ({ calls }) =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ limit: 1, queue: Infinity, maxWait: 10 })
      const started: Array<number> = []
      yield* play(limit, calls, 2048, (place) => started.push(place), () => {})
      assert.deepStrictEqual(started, started.toSorted((a, b) => a - b))
      yield* idle(limit)
    }))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [ConcurrencyLimit.Options, string]> = [
      [{ limit: 0 }, "ConcurrencyLimit.make: limit must be an integer of at least 1, got 0"],
      [{ limit: 1, queue: -1 }, "ConcurrencyLimit.make: queue must be an integer of at least 0, or Infinity, got -1"],
      [{ limit: 1, maxWait: -5 }, "ConcurrencyLimit.make: maxWait must be a duration of at least zero, got -5ms"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => ConcurrencyLimit.make(options), RangeError, message)
      })
    }
  })
})
