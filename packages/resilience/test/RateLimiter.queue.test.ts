import { RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CurrentDeadline } from "../src/internal/currentDeadline.ts"
import { empty } from "./support/rate.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** Notes when a call runs. */
const makeLog = () => {
  const log: Array<readonly [string, number]> = []
  const note = (name: string) => Effect.map(Clock.currentTimeMillis, (now) => void log.push([name, now]))
  return { log, note }
}

const deadline = (at: number) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, CurrentDeadline, at)

describe("RateLimiter", () => {
  describe("weights", () => {
    it.effect("a call takes its weight", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second" })
        yield* limiter.weigh(7)(Effect.void)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 3, queued: 0 })
        const error = yield* Effect.flip(limiter.weigh(4)(Effect.void))
        assert.deepStrictEqual([error.because, error.weight, error.retryAfter], ["limit", 4, Duration.millis(100)])
        yield* limiter.weigh(3)(Effect.void)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))

    it.effect("a weight of exactly the burst goes, one more never does", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({
          limit: 10,
          window: "1 second",
          burst: 4,
          maxWait: "1 hour",
          name: "a"
        })
        yield* limiter.weigh(4)(Effect.void)
        const error = yield* Effect.flip(limiter.weigh(5)(Effect.void))
        assert.deepStrictEqual([error.because, error.retryAfter], ["weight", Duration.infinity])
        assert.strictEqual(error.message, "Rate limit \"a\" never admits a weight of 5")
        assert.deepStrictEqual(yield* limiter.peek(5), Duration.infinity)
      }))

    for (const algorithm of ["leaky-bucket", "fixed-window", "sliding-counter", "sliding-log"] as const) {
      it.effect(`${algorithm}: a weight above the limit is never admitted`, () =>
        Effect.gen(function*() {
          const limiter = yield* RateLimiter.make({ algorithm, limit: 10, window: "1 second", maxWait: "1 hour" })
          yield* limiter.weigh(10)(Effect.void)
          assert.strictEqual((yield* Effect.flip(limiter.weigh(10.5)(Effect.void))).because, "weight")
        }))
    }

    it.effect("may be fractions, which leave no remainder", () =>
      Effect.gen(function*() {
        for (const algorithm of ["token-bucket", "fixed-window", "sliding-log"] as const) {
          const limiter = yield* RateLimiter.make({ algorithm, limit: 1, window: "1 second" })
          for (let n = 0; n < 10; n++) yield* limiter.weigh(0.1)(Effect.void)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(limiter.weigh(0.1)(Effect.void))), algorithm)
        }
      }))

    for (const weight of [0, -1, Number.NaN, Infinity]) {
      it.effect(`refuses a weight of ${weight}`, () =>
        Effect.gen(function*() {
          const limiter = yield* RateLimiter.make({ limit: 1, window: 1 })
          const message = `RateLimiter.weigh: weight must be a number above 0, at most 10^12, got ${weight}`
          assert.throws(() => limiter.weigh(weight), RangeError, message)
          assert.throws(() => limiter.reserve(weight), RangeError)
          assert.throws(() => limiter.peek(weight), RangeError)
        }))
    }
  })

  describe("order", () => {
    it.effect("light calls do not overtake a heavy one", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const { log, note } = makeLog()
        yield* start(limiter.weigh(5)(note("heavy")))
        yield* start(limiter(note("light")))
        yield* start(limiter.weigh(2)(note("last")))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(log, [["heavy", 500], ["light", 600], ["last", 800]])
      }))

    it.effect("when the heavy head is interrupted its followers go at once", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const { log, note } = makeLog()
        const heavy = yield* start(limiter.weigh(10)(note("heavy")))
        yield* start(limiter.weigh(2)(note("first")))
        yield* start(limiter.weigh(3)(note("second")))
        yield* start(limiter.weigh(1)(note("third")))
        yield* TestClock.adjust(500)
        assert.deepStrictEqual(log, [])
        yield* Fiber.interrupt(heavy)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(log, [["first", 500], ["second", 500]])
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(log.at(-1), ["third", 600])
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))

    it.effect("an interrupted waiter in the middle lets those behind it move up", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const { log, note } = makeLog()
        yield* start(limiter(note("first")))
        const middle = yield* start(limiter.weigh(8)(note("middle")))
        yield* start(limiter(note("last")))
        yield* Fiber.interrupt(middle)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(log, [["first", 100], ["last", 200]])
      }))

    it.effect("a thousand callers at once are served in their order, at the rate", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 100, window: "1 second", maxWait: "1 minute" })
        const { log, note } = makeLog()
        const fibers = yield* Effect.forEach(
          Array.from({ length: 1_000 }, (_, n) => n),
          (n) => start(limiter(note(`${n}`)))
        )
        yield* TestClock.adjust("9 seconds")
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(
          log,
          Array.from({ length: 1_000 }, (_, n) => [`${n}`, Math.max(0, n - 99) * 10] as const)
        )
      }))

    it.effect("ten thousand waiters have one timer, also when all leave again", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: Infinity, maxQueue: Infinity })
        const clock = yield* Clock.Clock
        let sleeping = 0
        let slept = 0
        const counting: Clock.Clock = {
          ...clock,
          currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
          monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
          sleep: (duration) =>
            Effect.suspend(() => {
              sleeping++
              slept++
              return Effect.ensuring(clock.sleep(duration), Effect.sync(() => sleeping--))
            })
        }
        const call = Effect.provideService(limiter(Effect.void), Clock.Clock, counting)
        const fibers = yield* Effect.forEach(Array.from({ length: 10_000 }), () => start(call))
        assert.deepStrictEqual([sleeping, slept], [1, 1])
        for (const fiber of fibers) fiber.interruptUnsafe()
        yield* Fiber.awaitAll(fibers)
        assert.strictEqual(sleeping, 0)
        assert.isAtMost(slept, 2)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))
  })

  describe("maximum wait", () => {
    it.effect("a wait of exactly the maximum is waited, a millisecond more is not", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: 300 })
        const fiber = yield* start(limiter.weigh(3)(Effect.void))
        yield* TestClock.adjust(300)
        yield* Fiber.join(fiber)
        const strict = yield* empty({ maxWait: 299 })
        const error = yield* Effect.flip(strict.weigh(3)(Effect.void))
        assert.deepStrictEqual([error.because, error.retryAfter], ["limit", Duration.millis(300)])
      }))

    it.effect("a full queue is told from a long wait", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxQueue: 1, name: "b" })
        yield* start(limiter(Effect.void))
        const error = yield* Effect.flip(limiter(Effect.void))
        assert.deepStrictEqual([error.because, error.retryAfter], ["queue", Duration.millis(200)])
        assert.strictEqual(error.message, "Rate limit \"b\" is exceeded and its queue is full: retry in 200ms")
      }))

    it.effect("who turns out to wait too long is rejected as soon as that is known", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: 500 })
        const call = start(Effect.flip(limiter(Effect.void)))
        const [first, second] = yield* Effect.all([call, call])
        yield* TestClock.adjust(50)
        yield* limiter.penalize(4)
        assert.deepStrictEqual((yield* Fiber.join(second)).retryAfter, Duration.millis(550))
        assert.deepStrictEqual(yield* limiter.inspect, { available: -4, queued: 1 })
        yield* limiter.penalize(1)
        assert.deepStrictEqual((yield* Fiber.join(first)).retryAfter, Duration.millis(550))
        assert.deepStrictEqual(yield* limiter.inspect, { available: -5, queued: 0 })
      }))

    it.effect("a wait known to end after the caller's deadline is rejected at once", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const error = yield* Effect.flip(deadline(199)(limiter.weigh(2)(Effect.void)))
        assert.deepStrictEqual([error.because, error.retryAfter], ["limit", Duration.millis(200)])
        const fiber = yield* start(deadline(200)(limiter.weigh(2)(Effect.void)))
        yield* TestClock.adjust(200)
        yield* Fiber.join(fiber)
      }))

    it.effect("a wait that becomes longer than the caller's deadline ends at once", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second", maxWait: "1 minute" })
        const reservation = yield* limiter.reserve(10)
        const { log, note } = makeLog()
        yield* start(limiter(note("patient")))
        const ends = (name: string) => (exit: Exit.Exit<void, RateLimiter.RateLimitExceeded>) =>
          note(`${name} ${exit._tag}`)
        yield* start(Effect.onExit(deadline(250)(limiter(Effect.void)), ends("impatient")))
        yield* limiter.settle(reservation, 15)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(log, [["impatient Failure", 0], ["patient", 600]])
        assert.deepStrictEqual(yield* limiter.inspect, { available: 4, queued: 0 })
      }))

    it.effect("a charge turns those away who would wait for too long, also behind one with a deadline", () =>
      Effect.gen(function*() {
        const { log, note } = makeLog()
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second", maxWait: "100 seconds" })
        const reservation = yield* limiter.reserve(10)
        yield* start(limiter(note("patient")))
        yield* limiter.update({ maxWait: "500 millis" })
        const turnedAway = [
          yield* start(Effect.flip(deadline(400)(limiter(note("one with a deadline"))))),
          yield* start(Effect.flip(limiter(note("effect")))),
          yield* start(Effect.flip(Stream.runDrain(limiter.stream(Stream.fromEffect(note("stream"))))))
        ]
        yield* TestClock.adjust(50)
        yield* reservation.settle(400)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(turnedAway.filter((fiber) => fiber.pollUnsafe() === undefined), [])
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(log, [["patient", 39_100]])
      }))

    it.effect("an impatient waiter is granted in time, and leaves when it is interrupted", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const { log, note } = makeLog()
        yield* start(limiter(note("patient")))
        yield* start(deadline(200)(limiter(note("impatient"))))
        const gone = yield* start(deadline(400)(limiter(note("gone"))))
        yield* TestClock.adjust(200)
        assert.deepStrictEqual(log, [["patient", 100], ["impatient", 200]])
        yield* Fiber.interrupt(gone)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))
  })
})
