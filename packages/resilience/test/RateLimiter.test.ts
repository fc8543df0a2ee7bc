import { Outcome, RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { eventsOf, metrics, withMetrics, withStepBudget } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** A limiter of one call per second whose only token is gone. */
const drained = Effect.fnUntraced(function*(options?: Partial<RateLimiter.Options>) {
  const limiter = yield* RateLimiter.make({ limit: 1, window: "1 second", ...options })
  yield* limiter(Effect.void)
  return limiter
})

describe("RateLimiter", () => {
  describe("tokens", () => {
    it.effect("passes results and errors on as they are", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second" })
        assert.strictEqual(yield* limiter(Effect.succeed("ok")), "ok")
        assert.strictEqual(yield* Effect.flip(limiter(Effect.fail("error"))), "error")
        assert.deepStrictEqual(yield* Effect.exit(limiter(Effect.die("boom"))), Exit.die("boom"))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 7, queued: 0 })
      }))

    it.effect("admits a burst of n and rejects the next", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 3, window: "1 second", name: "catalogue" })
        for (let n = 0; n < 3; n++) yield* limiter(Effect.void)
        let executions = 0
        const error = yield* Effect.flip(limiter(Effect.sync(() => executions++)))
        assert.strictEqual(error._tag, "RateLimitExceeded")
        assert.strictEqual(error.message, "Rate limit \"catalogue\" is exceeded: retry in 334ms")
        assert.deepStrictEqual(
          error[Outcome.key],
          Outcome.ignored({ retryAfter: Duration.millis(334), executed: false })
        )
        assert.strictEqual(executions, 0)
      }))

    it.effect("gets a token back when the rejection said so, and not before", () =>
      Effect.gen(function*() {
        const limiter = yield* drained({ limit: 3, burst: 1 })
        yield* TestClock.adjust(333)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(limiter(Effect.void))))
        yield* TestClock.adjust(1)
        yield* limiter(Effect.void)
      }))

    it.effect("a rejected call takes no token", () =>
      Effect.gen(function*() {
        const limiter = yield* drained()
        for (let n = 0; n < 10; n++) yield* Effect.exit(limiter(Effect.void))
        yield* TestClock.adjust("1 second")
        yield* limiter(Effect.void)
      }))

    it.effect("saves up no more than a burst", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second", burst: 2 })
        yield* TestClock.adjust("1 day")
        assert.deepStrictEqual(yield* limiter.inspect, { available: 2, queued: 0 })
      }))
  })

  describe("queue", () => {
    it.effect("waits for its token, in order of arrival", () =>
      Effect.gen(function*() {
        const limiter = yield* drained({ maxWait: "1 minute" })
        const order: Array<readonly [number, number]> = []
        const fibers = yield* Effect.forEach([1, 2, 3], (n) =>
          start(limiter(Effect.map(Clock.currentTimeMillis, (now) => order.push([n, now])))))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 3 })
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, [[1, 1_000], [2, 2_000], [3, 3_000]])
      }))

    it.effect("a new call does not overtake one that waits", () =>
      Effect.gen(function*() {
        const limiter = yield* drained({ limit: 2, burst: 1, maxWait: "1 minute" })
        const order: Array<string> = []
        const waiter = yield* start(limiter(Effect.sync(() => order.push("waiter"))))
        const late = yield* start(limiter(Effect.sync(() => order.push("late"))))
        yield* TestClock.adjust("1 second")
        yield* Fiber.joinAll([waiter, late])
        assert.deepStrictEqual(order, ["waiter", "late"])
      }))

    it.effect("a late timer lets nobody overtake", () =>
      Effect.gen(function*() {
        const limiter = yield* drained({ burst: 2, maxWait: "1 minute" })
        yield* limiter(Effect.void)
        const order: Array<string> = []
        const waiter = yield* start(limiter(Effect.sync(() => order.push("waiter"))))
        const clock = yield* Clock.Clock
        const ahead: Clock.Clock = { ...clock, monotonicTimeNanosUnsafe: () => 60_000_000_000n }
        const late = yield* start(
          Effect.provideService(limiter(Effect.sync(() => order.push("late"))), Clock.Clock, ahead)
        )
        yield* TestClock.adjust("1 second")
        yield* Fiber.joinAll([waiter, late])
        assert.deepStrictEqual(order, ["waiter", "late"])
      }))

    it.effect("rejects at once what would wait too long, and a call past the end of the queue", () =>
      Effect.gen(function*() {
        const patient = yield* drained({ maxWait: "2 seconds" })
        yield* start(patient(Effect.void))
        yield* start(patient(Effect.void))
        const tooLong = yield* Effect.flip(patient(Effect.void))
        assert.deepStrictEqual(tooLong.retryAfter, Duration.seconds(3))
        const short = yield* drained({ maxWait: "1 minute", maxQueue: 1 })
        yield* start(short(Effect.void))
        const full = yield* Effect.flip(short(Effect.void))
        assert.deepStrictEqual(full.retryAfter, Duration.seconds(2))
      }))

    it.effect("an interrupted waiter costs nothing and the others move up", () =>
      Effect.gen(function*() {
        const limiter = yield* drained({ maxWait: "1 minute" })
        const call = start(limiter(Clock.currentTimeMillis))
        const [a, b, c] = yield* Effect.all([call, call, call])
        yield* TestClock.adjust(500)
        yield* Fiber.interrupt(a)
        yield* Fiber.interrupt(b)
        yield* TestClock.adjust(500)
        assert.strictEqual(yield* Fiber.join(c), 1_000)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))

    it.effect("a call interrupted while it runs keeps its token spent", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 1, window: "1 second" })
        const fiber = yield* start(limiter(Effect.never))
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))

    it.effect("serves thousands of waiters at its rate", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({
          limit: 1_000,
          window: "1 second",
          maxWait: "1 minute",
          maxQueue: 5_000
        })
        const fibers = yield* Effect.forEach(Array.from({ length: 6_000 }), () => start(limiter(Effect.void)))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 5_000 })
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 3_000 })
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.joinAll(fibers)
      }))
  })

  describe("stream", () => {
    it.effect("takes one token, at its first pull", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 2, window: "1 second" })
        const stream = limiter.stream(Stream.rechunk(Stream.make(1, 2, 3), 1))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 2, queued: 0 })
        assert.deepStrictEqual(yield* Stream.runCollect(stream), [1, 2, 3])
        assert.deepStrictEqual(yield* limiter.inspect, { available: 1, queued: 0 })
      }))

    it.effect("waits, and is rejected, like a call", () =>
      Effect.gen(function*() {
        const limiter = yield* drained({ maxWait: "1 second" })
        const fiber = yield* start(Stream.runCollect(limiter.stream(Stream.make(1))))
        const error = yield* Effect.flip(Stream.runDrain(limiter.stream(Stream.make(2))))
        assert.strictEqual(error._tag, "RateLimitExceeded")
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(fiber), [1])
      }))
  })

  it.effect("records waits and rejections, and nothing for a call that does not wait", () =>
    Effect.gen(function*() {
      const limiter = yield* drained({ maxWait: "1 second", name: "catalogue" })
      assert.deepStrictEqual(yield* metrics, {})
      const fiber = yield* start(eventsOf(limiter(Effect.void)))
      yield* Effect.exit(limiter(Effect.void))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [
        { name: "ballast.wait", attributes: { policy: "rate-limiter", name: "catalogue", seconds: 1 } }
      ])
      assert.deepStrictEqual(yield* metrics, {
        "ballast_policy_rejections_total{name=catalogue,policy=rate-limiter}": 1,
        "ballast_policy_wait_seconds{name=catalogue,policy=rate-limiter}": 1,
        "ballast_policy_wait_seconds_count{name=catalogue,policy=rate-limiter}": 1
      })
    }).pipe(withMetrics))

  const upTo = (maximum: number, minimum = 0) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

  const Calls = Schema.Array(Schema.Struct({ after: upTo(300), interruptedAfter: upTo(2_000) }))
  const Limits = Schema.Struct({ limit: upTo(7, 1), burst: upTo(4, 1) })

  /** Sends calls, of which some give up, and returns which were admitted and when. */
  const send = Effect.fnUntraced(function*(
    limiter: RateLimiter.RateLimiter,
    calls: typeof Calls.Type,
    steps: number
  ) {
    const admitted: Array<{ readonly place: number; readonly at: number }> = []
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (const [place, call] of calls.entries()) {
      yield* TestClock.adjust(call.after)
      const body = Effect.map(Clock.currentTimeMillis, (at) => {
        admitted.push({ place, at })
      })
      const fiber = yield* start(withStepBudget(steps)(limiter(body)))
      fibers.push(fiber)
      yield* start(Effect.andThen(Effect.sleep(call.interruptedAfter), Fiber.interrupt(fiber)))
    }
    yield* TestClock.adjust("1 minute")
    yield* Fiber.awaitAll(fibers)
    return admitted
  })

  it.effect.prop("never admits more than its burst and its rate times the time, and keeps the order", {
    calls: Calls,
    limits: Limits
  }, ({ calls, limits }) =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.make({ ...limits, window: "1 second", maxWait: "1 second" })
      const admitted = yield* send(limiter, calls, 2_048)
      for (const [i, first] of admitted.entries()) {
        for (const [n, later] of admitted.slice(i + 1).entries()) {
          assert.isAbove(later.place, first.place)
          assert.isAtMost(n + 2, limits.burst + (later.at - first.at) * limits.limit / 1_000 + 1e-6)
        }
      }
    }))

  it.effect.prop("interruption at any step loses no token and leaves nobody in the queue", {
    calls: Calls,
    limits: Limits,
    steps: upTo(64, 3)
  }, ({ calls, limits, steps }) =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.make({ ...limits, window: "1 second", maxWait: "1 second" })
      yield* send(limiter, calls, steps)
      assert.deepStrictEqual(yield* limiter.inspect, { available: limits.burst, queued: 0 })
    }))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [RateLimiter.Options, string]> = [
      [{ limit: 0, window: "1 second" }, "RateLimiter.make: limit must be an integer of at least 1, got 0"],
      [{ limit: 1, window: 0 }, "RateLimiter.make: window must be a finite duration above zero, got 0"],
      [{ limit: 1, window: 1, burst: 0 }, "RateLimiter.make: burst must be an integer of at least 1, got 0"],
      [{ limit: 1, window: 1, maxWait: -1 }, "RateLimiter.make: maxWait must be a duration of at least zero, got -1ms"],
      [
        { limit: 1, window: 1, maxQueue: Number.NaN },
        "RateLimiter.make: maxQueue must be an integer of at least 0, or Infinity, got NaN"
      ]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => RateLimiter.make(options), RangeError, message)
      })
    }
  })
})
