import { Outcome, RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"
import { empty, make } from "./support/rate.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

describe("RateLimiter", () => {
  describe("rejections in words", () => {
    const rejection = (because: RateLimiter.Reason, retryAfter: Duration.Duration) =>
      new RateLimiter.RateLimitExceeded({ limiter: "a", because, retryAfter, weight: 7 })
    const second = Duration.seconds(1)
    const never = Duration.infinity
    const messages: ReadonlyArray<readonly [RateLimiter.Reason, Duration.Duration, string]> = [
      ["limit", second, "Rate limit \"a\" is exceeded: retry in 1s"],
      ["limit", never, "Rate limit \"a\" is exceeded: no time to retry is known"],
      ["queue", second, "Rate limit \"a\" is exceeded and its queue is full: retry in 1s"],
      ["queue", never, "Rate limit \"a\" is exceeded and its queue is full: no time to retry is known"],
      ["blocked", second, "Rate limit \"a\" is blocked: retry in 1s"],
      ["blocked", never, "Rate limit \"a\" is blocked: until it is unblocked"],
      ["weight", never, "Rate limit \"a\" never admits a weight of 7"]
    ]
    for (const [because, retryAfter, message] of messages) {
      it(message, () => {
        const error = rejection(because, retryAfter)
        assert.strictEqual(error.message, message)
        assert.strictEqual(error._tag, "RateLimitExceeded")
        assert.deepStrictEqual(
          error[Outcome.key],
          Outcome.ignored({ retryAfter: retryAfter === never ? undefined : retryAfter, executed: false })
        )
      })
    }
  })

  describe("options", () => {
    const base = { limit: 5, window: "1 second" } as const
    for (const algorithm of ["leaky-bucket", "fixed-window", "sliding-counter", "sliding-log"] as const) {
      it(`a burst is of a token bucket only, not of ${algorithm}`, () => {
        assert.throws(
          () => RateLimiter.make({ ...base, algorithm, burst: 5 }),
          RangeError,
          `RateLimiter.make: burst must be left out with ${algorithm}, got 5`
        )
      })
    }

    it("a warm-up is of buckets only; one of zero is none", () => {
      for (const algorithm of ["fixed-window", "sliding-counter", "sliding-log"] as const) {
        const message = `RateLimiter.make: warmUp must be left out with ${algorithm}, got 5ms`
        assert.throws(() => RateLimiter.make({ ...base, algorithm, warmUp: 5 }), RangeError, message)
        assert.isTrue(Effect.isEffect(RateLimiter.make({ ...base, algorithm, warmUp: 0 })))
      }
      for (const algorithm of ["token-bucket", "leaky-bucket"] as const) {
        assert.isTrue(Effect.isEffect(RateLimiter.make({ ...base, algorithm, warmUp: 5 })))
      }
    })

    it.effect("without more it is a token bucket of its limit, named default, that lets nobody wait", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 5, window: "1 second" })
        assert.deepStrictEqual(yield* limiter.inspect, { available: 5, queued: 0 })
        yield* limiter.weigh(5)(Effect.void)
        const error = yield* Effect.flip(limiter(Effect.void))
        assert.deepStrictEqual([error.limiter, error.because, error.weight], ["default", "limit", 1])
        yield* TestClock.adjust(200)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 1, queued: 0 })
        assert.deepStrictEqual(yield* metrics, {
          "ballast_policy_rejections_total{name=default,policy=rate-limiter}": 1
        })
      }).pipe(withMetrics))

    it.effect("a thousand may wait unless told otherwise", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: Infinity })
        for (let n = 0; n < 1_000; n++) yield* start(limiter(Effect.void))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 1_000 })
        assert.strictEqual((yield* Effect.flip(limiter(Effect.void))).because, "queue")
      }))

    it.effect("an update of one setting leaves the others", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second", burst: 4 })
        yield* limiter.weigh(4)(Effect.void)
        yield* limiter.update({ limit: 5 })
        assert.deepStrictEqual(yield* limiter.peek(4), Duration.millis(800))
        yield* limiter.update({ window: "2 seconds" })
        assert.deepStrictEqual(yield* limiter.peek(4), Duration.millis(1_600))
        assert.strictEqual((yield* Effect.flip(limiter(Effect.void))).because, "limit")
        yield* limiter.update({ burst: 6 })
        assert.deepStrictEqual(yield* limiter.inspect, { available: 2, queued: 0 })
        assert.deepStrictEqual(yield* limiter.peek(6), Duration.millis(1_600))
        yield* limiter.weigh(2)(Effect.void)
        yield* limiter.update({ maxWait: Infinity })
        yield* limiter.update({ maxQueue: 1 })
        yield* start(limiter(Effect.void))
        assert.strictEqual((yield* Effect.flip(limiter(Effect.void))).because, "queue")
        yield* limiter.update({ warmUp: "1 second" })
        // Cold by now: a third of the burst.
        assert.deepStrictEqual(yield* limiter.inspect, { available: -4, queued: 1 })
      }))

    it("refuses an update that would not be refused of a new one, and tells of what", () =>
      Effect.runSync(Effect.gen(function*() {
        const limiter = yield* make({ algorithm: "sliding-log" })
        const message = "RateLimiter.update: burst must be left out with sliding-log, got 3"
        assert.throws(() => limiter.update({ burst: 3 }), RangeError, message)
      })))

    it.effect("what is no weight is refused with the name of the method", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        const positive = "weight must be a number above 0, at most 10^12, got 0"
        assert.throws(() => limiter.reserve(0), RangeError, `RateLimiter.reserve: ${positive}`)
        assert.throws(() => limiter.reserveScoped(0), RangeError, `RateLimiter.reserveScoped: ${positive}`)
        assert.throws(() => limiter.peek(0), RangeError, `RateLimiter.peek: ${positive}`)
        const amount = "weight must be a number from 0 to 10^12, got Infinity"
        assert.throws(() => limiter.penalize(Infinity), RangeError, `RateLimiter.penalize: ${amount}`)
        assert.throws(() => limiter.reward(Infinity), RangeError, `RateLimiter.reward: ${amount}`)
        const reservation = yield* limiter.reserve()
        assert.throws(() => reservation.settle(Infinity), RangeError, `RateLimiter.settle: ${amount}`)
        yield* limiter.penalize(0)
        yield* limiter.reward(0)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 9, queued: 0 })
      }))
  })
})
