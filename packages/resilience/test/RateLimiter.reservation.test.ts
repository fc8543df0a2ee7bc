import { RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const tokens = (options?: Partial<RateLimiter.Options>) =>
  RateLimiter.make({ limit: 100, window: "10 seconds", maxWait: "1 minute", name: "tokens", ...options })

describe("RateLimiter", () => {
  describe("reserve and settle", () => {
    it.effect("takes the estimate, and gives the rest back", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve(80)
        assert.strictEqual(reservation.weight, 80)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 20, queued: 0 })
        yield* limiter.settle(reservation, 30)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 70, queued: 0 })
      }))

    it.effect("a second settlement does nothing", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve(80)
        yield* limiter.settle(reservation, 60)
        yield* limiter.settle(reservation, 0)
        yield* reservation.settle(1_000)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 40, queued: 0 })
      }))

    it.effect("an exact estimate changes nothing", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve()
        yield* limiter.settle(reservation, 1)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 99, queued: 0 })
      }))

    it.effect("an excess is a debt that later calls wait for", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve(80)
        yield* limiter.settle(reservation, 150)
        assert.deepStrictEqual(yield* limiter.inspect, { available: -50, queued: 0 })
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(5_100))
        const fiber = yield* start(limiter(Clock.currentTimeMillis))
        yield* TestClock.adjust("6 seconds")
        assert.strictEqual(yield* Fiber.join(fiber), 5_100)
      }))

    it.effect("waits like a call, and those who wait move up at once when it is settled", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve(100)
        const first = yield* start(limiter.reserve(40))
        const second = yield* start(limiter.weigh(20)(Clock.currentTimeMillis))
        yield* TestClock.adjust(500)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 5, queued: 2 })
        yield* limiter.settle(reservation, 40)
        assert.strictEqual((yield* Fiber.join(first)).weight, 40)
        assert.strictEqual(yield* Fiber.join(second), 500)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 5, queued: 0 })
      }))

    it.effect("is rejected like a call", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens({ maxWait: 0 })
        yield* limiter.reserve(100)
        assert.strictEqual((yield* Effect.flip(limiter.reserve(1))).because, "limit")
        assert.strictEqual((yield* Effect.flip(limiter.reserve(101))).because, "weight")
      }))

    it.effect("an interrupted wait reserves nothing", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        yield* limiter.reserve(100)
        const fiber = yield* start(limiter.reserve(50))
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))

    it.effect("gives a bucket nothing that came back by itself", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve(50)
        yield* TestClock.adjust("5 seconds")
        yield* limiter.weigh(60)(Effect.void)
        yield* limiter.settle(reservation, 0)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 40, queued: 0 })
      }))

    it.effect("gives a bucket back what it has missed since, however long ago that was", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve(50)
        for (let n = 0; n < 50; n++) {
          yield* limiter.weigh(30)(Effect.void)
          yield* TestClock.adjust("3 seconds")
        }
        assert.deepStrictEqual(yield* limiter.inspect, { available: 50, queued: 0 })
        yield* limiter.settle(reservation, 0)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 100, queued: 0 })
      }))

    it.effect("hundreds of open reservations never give back more than was taken", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens({ limit: 1_000 })
        const open = yield* Effect.forEach(Array.from({ length: 500 }), () => limiter.reserve(2))
        for (const reservation of open) yield* reservation.settle(1)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 500, queued: 0 })
      }))

    for (const algorithm of ["fixed-window", "sliding-counter", "sliding-log"] as const) {
      it.effect(`${algorithm}: gives nothing back once it no longer counts`, () =>
        Effect.gen(function*() {
          const limiter = yield* tokens({ algorithm })
          const reservation = yield* limiter.reserve(80)
          yield* TestClock.adjust("20 seconds")
          yield* limiter.weigh(70)(Effect.void)
          yield* limiter.settle(reservation, 0)
          assert.deepStrictEqual(yield* limiter.inspect, { available: 30, queued: 0 })
        }))
    }

    it.effect("refuses a weight below zero", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const reservation = yield* limiter.reserve()
        const message = "RateLimiter.settle: weight must be a number from 0 to 10^12, got -1"
        assert.throws(() => limiter.settle(reservation, -1), RangeError, message)
      }))

    it.effect("counts what was refunded and charged", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        yield* limiter.settle(yield* limiter.reserve(10), 4)
        yield* limiter.settle(yield* limiter.reserve(10), 13)
        yield* limiter.settle(yield* limiter.reserve(10), 10)
        assert.deepStrictEqual(yield* metrics, {
          "ballast_rate_limiter_settled_weight_total{because=charge,name=tokens}": 3,
          "ballast_rate_limiter_settled_weight_total{because=refund,name=tokens}": 6
        })
      }).pipe(withMetrics))
  })

  describe("reserve in a scope", () => {
    it.effect("an interruption gives back what was not settled", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const fiber = yield* start(Effect.scoped(Effect.andThen(limiter.reserveScoped(80), Effect.never)))
        assert.deepStrictEqual(yield* limiter.inspect, { available: 20, queued: 0 })
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 100, queued: 0 })
      }))

    it.effect("what was settled stays", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const call = Effect.flatMap(limiter.reserveScoped(80), (reservation) =>
          Effect.andThen(reservation.settle(30), Effect.never))
        const fiber = yield* start(Effect.scoped(call))
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 70, queued: 0 })
      }))

    for (const end of [Effect.void, Effect.fail("error"), Effect.die("boom")]) {
      it.effect(`the estimate stays after ${Exit.isExit(end) ? end._tag : "an end"} of its own`, () =>
        Effect.gen(function*() {
          const limiter = yield* tokens()
          yield* Effect.exit(Effect.scoped(Effect.andThen(limiter.reserveScoped(80), end)))
          assert.deepStrictEqual(yield* limiter.inspect, { available: 20, queued: 0 })
        }))
    }

    it.effect("serves a stream whose cost is known at its end", () =>
      Effect.gen(function*() {
        const limiter = yield* tokens()
        const stream = Stream.unwrap(Effect.map(limiter.reserveScoped(80), (reservation) =>
          Stream.onEnd(Stream.make(1, 2, 3), reservation.settle(3))))
        assert.deepStrictEqual(yield* Stream.runCollect(stream), [1, 2, 3])
        assert.deepStrictEqual(yield* limiter.inspect, { available: 97, queued: 0 })
      }))
  })
})
