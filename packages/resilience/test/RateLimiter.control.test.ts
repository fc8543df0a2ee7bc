import { Outcome, RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const make = (options?: Partial<RateLimiter.Options>) =>
  RateLimiter.make({ limit: 10, window: "1 second", maxWait: "10 seconds", name: "catalogue", ...options })

const at = (limiter: RateLimiter.RateLimiter) => limiter(Clock.currentTimeMillis)

describe("RateLimiter", () => {
  describe("pause", () => {
    it.effect("holds new calls and those already queued, then goes on at the rate", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.penalize(10)
        const queued = yield* start(at(limiter))
        yield* limiter.pause("2 seconds")
        const late = yield* start(at(limiter))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 2, paused: Duration.seconds(2) })
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 10, queued: 2, paused: Duration.millis(1) })
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([yield* Fiber.join(queued), yield* Fiber.join(late)], [2_000, 2_000])
        assert.deepStrictEqual(yield* limiter.inspect, { available: 8, queued: 0 })
      }))

    it.effect("a longer one counts, a shorter one never shortens it", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.pause("2 seconds")
        yield* limiter.pause("1 second")
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(2))
        yield* TestClock.adjust("1 second")
        yield* limiter.pause("3 seconds")
        const fiber = yield* start(at(limiter))
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual(yield* Fiber.join(fiber), 4_000)
      }))

    it.effect("turns those away at once who would then wait for too long", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ maxWait: "1 second" })
        yield* limiter.penalize(10)
        const fibers = yield* Effect.all([start(Effect.flip(at(limiter))), start(Effect.flip(at(limiter)))])
        yield* limiter.pause("5 seconds")
        const errors = yield* Effect.all(fibers.map(Fiber.join))
        assert.deepStrictEqual(errors.map(({ because }) => because), ["limit", "limit"])
        assert.deepStrictEqual(errors.map(({ retryAfter }) => Duration.toMillis(retryAfter)), [5_000, 5_000])
        assert.strictEqual((yield* Effect.flip(at(limiter))).because, "limit")
      }))

    it.effect("a long queue behind a pause is known to wait for the pause and its turn", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ maxWait: "1 minute" })
        yield* limiter.pause("5 seconds")
        for (let n = 0; n < 30; n++) yield* start(limiter(Effect.void))
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(7_100))
      }))

    it.effect("can be ended", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ maxWait: Infinity })
        yield* limiter.pause(Infinity)
        const fiber = yield* start(at(limiter))
        yield* TestClock.adjust("1 day")
        yield* limiter.resume
        assert.strictEqual(yield* Fiber.join(fiber), 86_400_000)
        yield* limiter.resume
        assert.deepStrictEqual(yield* limiter.inspect, { available: 9, queued: 0 })
      }))
  })

  describe("block", () => {
    it.effect("rejects calls and waiters at once, until it is over", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.penalize(10)
        const waiter = yield* start(Effect.flip(at(limiter)))
        yield* limiter.block("3 seconds")
        yield* limiter.block("1 second")
        const error = yield* Fiber.join(waiter)
        assert.deepStrictEqual([error.because, error.retryAfter], ["blocked", Duration.seconds(3)])
        assert.strictEqual(error.message, "Rate limit \"catalogue\" is blocked: retry in 3s")
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0, blocked: Duration.seconds(3) })
        yield* TestClock.adjust(2_999)
        assert.strictEqual((yield* Effect.flip(at(limiter))).because, "blocked")
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* at(limiter), 3_000)
      }))

    it.effect("lasts until it is ended when no time is given", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.block()
        yield* TestClock.adjust("1 day")
        const error = yield* Effect.flip(at(limiter))
        assert.strictEqual(error.message, "Rate limit \"catalogue\" is blocked: until it is unblocked")
        assert.deepStrictEqual(error[Outcome.key], Outcome.ignored({ executed: false }))
        assert.deepStrictEqual(yield* limiter.peek(), Duration.infinity)
        yield* limiter.unblock
        yield* limiter.unblock
        yield* at(limiter)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 9, queued: 0 })
      }))

    it.effect("does not end a pause", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.pause("2 seconds")
        yield* limiter.block("1 second")
        yield* limiter.unblock
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(2))
        yield* limiter.block("3 seconds")
        yield* limiter.resume
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(3))
      }))
  })

  describe("penalize, reward and peek", () => {
    it.effect("a penalty goes beyond the limit, a reward up to it", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.penalize(15)
        assert.deepStrictEqual(yield* limiter.inspect, { available: -5, queued: 0 })
        assert.deepStrictEqual(yield* limiter.peek(2), Duration.millis(700))
        yield* limiter.reward(6)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 1, queued: 0 })
        yield* limiter.reward(100)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 10, queued: 0 })
        yield* limiter.penalize(0)
        assert.deepStrictEqual(yield* limiter.peek(10), Duration.zero)
      }))

    it.effect("a reward lets waiters go at once, also past a timer that is set for later", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.penalize(20)
        const fibers = yield* Effect.all([start(at(limiter)), start(at(limiter))])
        yield* TestClock.adjust(100)
        yield* limiter.reward(10)
        assert.strictEqual(yield* Fiber.join(fibers[0]), 100)
        yield* TestClock.adjust(100)
        assert.strictEqual(yield* Fiber.join(fibers[1]), 200)
      }))

    it.effect("peek counts those who wait and takes nothing", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.penalize(10)
        yield* start(limiter.weigh(4)(Effect.void))
        for (let n = 0; n < 3; n++) assert.deepStrictEqual(yield* limiter.peek(2), Duration.millis(600))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 1 })
      }))

    it.effect("refuse what is no weight and no duration", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        assert.throws(() => limiter.penalize(-1), RangeError, "RateLimiter.penalize: weight must be")
        assert.throws(() => limiter.reward(Number.NaN), RangeError, "RateLimiter.reward: weight must be")
        assert.throws(() => limiter.pause(-1), RangeError, "RateLimiter.pause: duration must be")
        assert.throws(() => limiter.block(-1), RangeError, "RateLimiter.block: duration must be")
      }))
  })

  describe("update", () => {
    it.effect("a higher limit lets waiters go at once, and what was taken stays taken", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.weigh(10)(Effect.void)
        const fiber = yield* start(at(limiter))
        yield* TestClock.adjust(50)
        yield* limiter.update({ limit: 20 })
        assert.strictEqual(yield* Fiber.join(fiber), 50)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 9, queued: 0 })
      }))

    it.effect("a lower limit makes those wait longer who wait", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.weigh(10)(Effect.void)
        const fiber = yield* start(at(limiter))
        yield* limiter.update({ limit: 5, window: "1 second", burst: 10 })
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(fiber), 200)
      }))

    it.effect("a smaller burst turns those away who weigh more", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ maxWait: Infinity })
        yield* limiter.weigh(10)(Effect.void)
        const heavy = yield* start(Effect.flip(limiter.weigh(8)(Effect.void)))
        const light = yield* start(at(limiter))
        yield* limiter.update({ burst: 5 })
        assert.strictEqual((yield* Fiber.join(heavy)).because, "weight")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(light), 600)
      }))

    it.effect("bounds of the queue hold from then on; what is left out stays", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ maxQueue: 1 })
        yield* limiter.weigh(10)(Effect.void)
        yield* start(at(limiter))
        assert.strictEqual((yield* Effect.flip(at(limiter))).because, "queue")
        yield* limiter.update({ maxQueue: 2 })
        yield* start(at(limiter))
        yield* limiter.update({ maxWait: 100, maxQueue: undefined })
        assert.strictEqual((yield* Effect.flip(at(limiter))).because, "limit")
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 2 })
      }))

    it.effect("refuses a wrong setting at once", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        const message = "RateLimiter.update: limit must be an integer of at least 1, got 0"
        assert.throws(() => limiter.update({ limit: 0 }), RangeError, message)
      }))
  })

  it.effect("tells what happens", () =>
    Effect.gen(function*() {
      const limiter = yield* make({ limit: 2, maxWait: "1 second", maxQueue: 1 })
      const listener = yield* start(Stream.runCollect(Stream.take(limiter.events, 11)))
      const reservation = yield* limiter.reserve(2)
      const waiter = yield* start(limiter(Effect.void))
      yield* Effect.exit(limiter(Effect.void))
      yield* limiter.settle(reservation, 1)
      yield* Fiber.join(waiter)
      yield* limiter.penalize(3)
      yield* limiter.reward(2)
      yield* limiter.pause("1 second")
      yield* limiter.resume
      yield* limiter.block("1 second")
      yield* limiter.unblock
      yield* Effect.exit(limiter.weigh(3)(Effect.void))
      const second = Duration.seconds(1)
      assert.deepStrictEqual(yield* Fiber.join(listener), [
        { _tag: "Queued", weight: 1, wait: Duration.millis(500) },
        { _tag: "Rejected", weight: 1, because: "queue", retryAfter: second },
        { _tag: "Settled", reserved: 2, weight: 1 },
        { _tag: "Granted", weight: 1, waited: Duration.zero },
        { _tag: "Penalized", weight: 3 },
        { _tag: "Rewarded", weight: 2 },
        { _tag: "Paused", duration: second },
        { _tag: "Resumed" },
        { _tag: "Blocked", duration: second },
        { _tag: "Unblocked" },
        { _tag: "Rejected", weight: 3, because: "weight", retryAfter: Duration.infinity }
      ])
    }))

  it.effect("counts pauses", () =>
    Effect.gen(function*() {
      const limiter = yield* make()
      yield* limiter.pause("2 seconds")
      yield* limiter.pause("1 second")
      assert.deepStrictEqual(yield* metrics, { "ballast_rate_limiter_pauses_total{name=catalogue}": 1 })
    }).pipe(withMetrics))

  it.effect("a defect in a call passes, and leaves the limiter as it was", () =>
    Effect.gen(function*() {
      const limiter = yield* make()
      yield* limiter.penalize(10)
      const fiber = yield* start(limiter(Effect.die("boom")))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.await(fiber), Exit.failCause(Cause.die("boom")))
      assert.deepStrictEqual(yield* limiter.inspect, { available: 9, queued: 0 })
    }))

  it("a rejection survives its encoding, and says the usual when told no more", () => {
    const error = new RateLimiter.RateLimitExceeded({ limiter: "a", retryAfter: Duration.infinity, because: "blocked" })
    const codec = Schema.toCodecJson(RateLimiter.RateLimitExceeded)
    const back = Schema.decodeSync(codec)(Schema.encodeSync(codec)(error))
    assert.deepStrictEqual([back.because, back.weight, back.message], ["blocked", 1, error.message])
    const usual = new RateLimiter.RateLimitExceeded({ limiter: "a", retryAfter: Duration.seconds(1) })
    assert.deepStrictEqual([usual.because, usual.weight], ["limit", 1])
  })

  describe("keyed", () => {
    it.effect("keys have limits of their own, and are steered one by one", () =>
      Effect.gen(function*() {
        const limiters = yield* RateLimiter.keyed({ limit: 1, window: "1 second", maxWait: "1 minute" })
        yield* limiters("a")(Effect.void)
        yield* limiters("b")(Effect.void)
        yield* limiters.pause("a", "5 seconds")
        yield* limiters.block("b")
        const paused = yield* start(limiters("a")(Clock.currentTimeMillis))
        assert.strictEqual((yield* Effect.flip(limiters("b")(Effect.void))).because, "blocked")
        yield* limiters("c")(Effect.void)
        assert.strictEqual((yield* (yield* limiters.get("a")).inspect).queued, 1)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* Fiber.join(paused), 5_000)
        assert.deepStrictEqual(yield* limiters.keys, ["b", "c", "a"])
      }))

    it.effect("drops a key once it is idle and as good as new, and no sooner", () =>
      Effect.gen(function*() {
        const limiters = yield* RateLimiter.keyed({ limit: 1, window: "1 minute", idleTimeToLive: "10 seconds" })
        yield* limiters("used")(Effect.void)
        yield* limiters.block("blocked", "50 seconds")
        yield* limiters.get("fresh")
        yield* TestClock.adjust("30 seconds")
        yield* limiters.get("other")
        assert.deepStrictEqual(yield* limiters.keys, ["used", "blocked", "other"])
        yield* TestClock.adjust("30 seconds")
        yield* limiters.get("other")
        assert.deepStrictEqual(yield* limiters.keys, ["other"])
      }))

    it("refuses wrong options", () => {
      const message = "RateLimiter.keyed: limit must be an integer of at least 1, got 0"
      assert.throws(() => RateLimiter.keyed({ limit: 0, window: 1 }), RangeError, message)
    })
  })

  it.effect("the one that does nothing lets everything through", () =>
    Effect.gen(function*() {
      const { noop } = RateLimiter
      yield* noop.block()
      yield* noop.pause("1 day")
      yield* noop.penalize(1_000)
      for (let n = 0; n < 100; n++) assert.strictEqual(yield* noop.weigh(1_000)(Effect.succeed(n)), n)
      assert.deepStrictEqual(yield* Stream.runCollect(noop.stream(Stream.make(1))), [1])
      yield* noop.settle(yield* noop.reserve(5), 1)
      yield* Effect.scoped(noop.reserveScoped())
      yield* noop.resume
      yield* noop.unblock
      yield* noop.reward(1)
      yield* noop.update({ limit: 1 })
      assert.deepStrictEqual(yield* noop.peek(), Duration.zero)
      assert.deepStrictEqual(yield* noop.inspect, { available: Infinity, queued: 0 })
      assert.deepStrictEqual(yield* Stream.runCollect(noop.events), [])
    }))
})
