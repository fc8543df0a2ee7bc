import { RateLimiter } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CurrentDeadline } from "../src/internal/currentDeadline.ts"
import { metrics, withMetrics } from "./support.ts"
import { empty, make } from "./support/rate.ts"
import { countingSleeps } from "./support/streams.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const at = (limiter: RateLimiter.RateLimiter, weight = 1) => limiter.weigh(weight)(Clock.currentTimeMillis)

/** Events without their durations' class, which are easier to read. */
const told = (recorded: ReadonlyArray<{ readonly event: RateLimiter.Event }>) => recorded.map(({ event }) => event._tag)

describe("RateLimiter", () => {
  describe("reasons", () => {
    it.effect("blocked comes before weight, weight before limit, limit before queue", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: 150, maxQueue: 1 })
        const because = (weight: number) =>
          Effect.map(Effect.flip(limiter.weigh(weight)(Effect.void)), (e) => e.because)
        yield* start(limiter(Effect.void))
        assert.deepStrictEqual([yield* because(11), yield* because(1)], ["weight", "limit"])
        yield* limiter.update({ maxWait: 200 })
        assert.strictEqual(yield* because(1), "queue")
        yield* limiter.block("1 second")
        assert.deepStrictEqual([yield* because(11), yield* because(1)], ["blocked", "blocked"])
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* because(11), "weight")
      }))

    it.effect("with a queue of none nobody waits, and who need not wait goes", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ maxQueue: 0 })
        yield* limiter.weigh(10)(Effect.void)
        assert.strictEqual((yield* Effect.flip(limiter(Effect.void))).because, "queue")
        yield* TestClock.adjust(100)
        yield* limiter(Effect.void)
      }))

    it.effect("whoever has to wait for less than the grain of timers is rejected, too", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ limit: 10_000_000, burst: 1, maxWait: 0 })
        yield* limiter(Effect.void)
        assert.strictEqual((yield* Effect.flip(limiter(Effect.void))).because, "limit")
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(limiter.stream(Stream.make(1))))).because, "limit")
      }))

    it.effect("a late timer makes nobody rejected who need not wait", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const waiter = yield* start(limiter(Effect.succeed("waiter")))
        yield* limiter.update({ maxQueue: 0 })
        const clock = yield* Clock.Clock
        const ahead: Clock.Clock = { ...clock, monotonicTimeNanosUnsafe: () => 60_000_000_000n }
        const late = yield* start(Effect.provideService(limiter(Effect.succeed("late")), Clock.Clock, ahead))
        assert.deepStrictEqual(yield* Fiber.joinAll([waiter, late]), ["waiter", "late"])
      }))
  })

  describe("turns", () => {
    it.effect("a waiter that is interrupted in the moment of its grant gives its weight back", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        let ran = false
        const waiter = yield* start(
          limiter.weigh(5)(Effect.sync(() => {
            ran = true
          }))
        )
        const next = yield* start(at(limiter, 8))
        yield* limiter.reward(6)
        waiter.interruptUnsafe()
        yield* Fiber.await(waiter)
        assert.isFalse(ran)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 6, queued: 1 })
        yield* TestClock.adjust(200)
        assert.strictEqual(yield* Fiber.join(next), 200)
      }))

    it.effect("a waiter that leaves takes its weight out of the waits of others", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const waiters = yield* Effect.forEach([0.5, 2, 3], (weight) => start(limiter.weigh(weight)(Effect.void)))
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(650))
        const [first, second, third] = waiters
        if (second !== undefined) yield* Fiber.interrupt(second)
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(450))
        if (first !== undefined) yield* Fiber.interrupt(first)
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(400))
        if (third !== undefined) yield* Fiber.interrupt(third)
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(100))
      }))

    it.effect("who runs out of patience is told when its turn would have come, behind those ahead", () =>
      Effect.gen(function*() {
        // A log tells the least that the wait can be: who is ahead may need more of it to be forgotten than that.
        const limiter = yield* make({ algorithm: "sliding-log" })
        yield* limiter.weigh(2)(Effect.void)
        yield* TestClock.adjust(400)
        yield* limiter.weigh(6)(Effect.void)
        yield* TestClock.adjust(600)
        yield* start(limiter.weigh(7)(Effect.void))
        yield* start(limiter.weigh(5)(Effect.void))
        const within = (deadline: number, weight: number) =>
          Effect.provideService(Effect.flip(limiter.weigh(weight)(Effect.void)), CurrentDeadline, deadline)
        const fiber = yield* start(within(2_177, 2))
        yield* TestClock.adjust(1_176)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(fiber)
        assert.deepStrictEqual([error.because, error.retryAfter, error.weight], ["limit", Duration.millis(223), 2])
        assert.strictEqual((yield* limiter.inspect).queued, 1)
      }))

    it.effect("patience ends in time behind one that has less, and one that has much more", () =>
      Effect.gen(function*() {
        // A counter tells the least that the wait can be, too.
        const limiter = yield* make({ algorithm: "sliding-counter" })
        for (const weight of [3, 4]) {
          yield* limiter.weigh(weight)(Effect.void)
          yield* TestClock.adjust(400)
        }
        for (const weight of [4, 9]) yield* start(limiter.weigh(weight)(Effect.void))
        const by = (deadline: number) => Effect.provideService(CurrentDeadline, deadline)
        yield* start(by(2_277)(limiter(Effect.void)))
        const effect = yield* start(by(2_377)(limiter(Effect.void)))
        const stream = yield* start(by(2_377)(Stream.runDrain(limiter.stream(Stream.empty))))
        yield* TestClock.adjust(1_576)
        assert.deepStrictEqual([effect.pollUnsafe(), stream.pollUnsafe()], [undefined, undefined])
        yield* TestClock.adjust(1)
        assert.isDefined(effect.pollUnsafe())
        assert.isDefined(stream.pollUnsafe())
      }))

    it.effect("the deadline does not end a wait whose turn has come", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        yield* start(limiter(Effect.void))
        const fiber = yield* start(Effect.provideService(at(limiter), CurrentDeadline, 250))
        yield* limiter.reward(1)
        yield* TestClock.adjust(100)
        assert.strictEqual(yield* Fiber.join(fiber), 100)
      }))

    it.effect("a turn that comes exactly at the end of the patience is taken, after a change too", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: 500 })
        const fiber = yield* start(at(limiter))
        yield* limiter.penalize(4)
        assert.deepStrictEqual(yield* limiter.inspect, { available: -4, queued: 1 })
        yield* TestClock.adjust(500)
        assert.strictEqual(yield* Fiber.join(fiber), 500)
      }))

    it.effect("a penalty turns away who then would wait too long, and counts the rest for those behind", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: "1 second" })
        const weights = [2, 6, 1]
        const fibers = yield* Effect.forEach(weights, (weight) => start(Effect.exit(at(limiter, weight))))
        yield* limiter.penalize(5)
        yield* Testing.settle
        // 500 owed: two by 700; six more by 1,300 is too late; one by 800.
        assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe() !== undefined), [false, true, false])
        yield* TestClock.adjust(700)
        assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe() !== undefined), [true, true, false])
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))
  })

  describe("timer", () => {
    const counted = Effect.gen(function*() {
      const sleeps = yield* countingSleeps
      const limiter = yield* empty({ maxWait: Infinity })
      const fiber = yield* start(sleeps.provide(at(limiter)))
      assert.deepStrictEqual([sleeps.running(), sleeps.started()], [1, 1])
      return { limiter, sleeps, fiber }
    })

    it.effect("who need not wait has none", () =>
      Effect.gen(function*() {
        const sleeps = yield* countingSleeps
        const limiter = yield* make()
        yield* sleeps.provide(limiter(Effect.void))
        assert.strictEqual(sleeps.started(), 0)
      }))

    it.effect("one that fires too soon sets itself anew, and is not set before", () =>
      Effect.gen(function*() {
        const { fiber, limiter, sleeps } = yield* counted
        yield* limiter.penalize(5)
        assert.strictEqual(sleeps.started(), 1)
        yield* TestClock.adjust(100)
        assert.deepStrictEqual([sleeps.running(), sleeps.started()], [1, 2])
        yield* TestClock.adjust(500)
        assert.strictEqual(yield* Fiber.join(fiber), 600)
        assert.deepStrictEqual([sleeps.running(), sleeps.started()], [0, 2])
      }))

    it.effect("a turn that comes sooner sets it anew", () =>
      Effect.gen(function*() {
        const { fiber, limiter, sleeps } = yield* counted
        yield* limiter.penalize(5)
        yield* TestClock.adjust(100)
        yield* limiter.reward(3)
        yield* Testing.settle
        assert.deepStrictEqual([sleeps.running(), sleeps.started()], [1, 3])
        yield* TestClock.adjust(200)
        assert.strictEqual(yield* Fiber.join(fiber), 300)
      }))

    it.effect("ends with a block, with the last waiter, and with a pause that never ends", () =>
      Effect.gen(function*() {
        const blocked = yield* counted
        yield* start(Effect.exit(blocked.limiter.block("1 second")))
        yield* Testing.settle
        assert.strictEqual(blocked.sleeps.running(), 0)
        const left = yield* counted
        yield* Fiber.interrupt(left.fiber)
        yield* Testing.settle
        assert.strictEqual(left.sleeps.running(), 0)
        const paused = yield* counted
        yield* paused.limiter.pause(Infinity)
        yield* TestClock.adjust(100)
        assert.deepStrictEqual([paused.sleeps.running(), paused.sleeps.started()], [0, 1])
        yield* paused.limiter.resume
        const now = yield* Clock.currentTimeMillis
        assert.strictEqual(yield* Fiber.join(paused.fiber), now)
      }))
  })

  describe("by hand", () => {
    it.effect("what changes nothing is not told and not counted", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ name: "a" })
        const recorded = yield* Testing.record(limiter.events)
        yield* limiter.pause(0)
        yield* limiter.block(0)
        yield* limiter.resume
        yield* limiter.unblock
        assert.deepStrictEqual(told(yield* recorded), [])
        yield* limiter.pause("2 seconds")
        yield* limiter.pause("2 seconds")
        yield* limiter.block("1 second")
        yield* limiter.block("1 second")
        assert.deepStrictEqual(told(yield* recorded), ["Paused", "Blocked"])
        yield* TestClock.adjust("1 second")
        yield* limiter.unblock
        yield* TestClock.adjust("1 second")
        yield* limiter.resume
        assert.deepStrictEqual(told(yield* recorded), ["Paused", "Blocked"])
        assert.deepStrictEqual(yield* metrics, { "ballast_rate_limiter_pauses_total{name=a}": 1 })
      }).pipe(withMetrics))

    it.effect("shows pause and block while they last, side by side", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.pause("3 seconds")
        yield* limiter.block("2 seconds")
        yield* TestClock.adjust(500)
        assert.deepStrictEqual(yield* limiter.inspect, {
          available: 10,
          queued: 0,
          paused: Duration.millis(2_500),
          blocked: Duration.millis(1_500)
        })
        yield* TestClock.adjust(1_500)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 10, queued: 0, paused: Duration.seconds(1) })
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(1))
        yield* TestClock.adjust(1_000)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 10, queued: 0 })
        assert.deepStrictEqual(yield* limiter.peek(), Duration.zero)
      }))

    it.effect("the longer of pause and block holds, in either order", () =>
      Effect.gen(function*() {
        const limiter = yield* make()
        yield* limiter.block("3 seconds")
        yield* limiter.pause("1 second")
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(3))
        yield* limiter.unblock
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(1))
        yield* limiter.block("2 seconds")
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(2))
        yield* limiter.resume
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(2))
        yield* limiter.unblock
        assert.deepStrictEqual(yield* limiter.peek(), Duration.zero)
      }))

    it.effect("when a pause ends before what was taken is back, the call waits for that", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        yield* limiter.pause(200)
        assert.deepStrictEqual(yield* limiter.peek(5), Duration.millis(500))
        assert.deepStrictEqual(yield* limiter.peek(1), Duration.millis(200))
      }))

    it.effect("a cold limiter is not taken for a warm one while it is paused", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ warmUp: "1 minute", maxWait: Infinity })
        yield* limiter.pause("1 second")
        for (let n = 0; n < 10; n++) yield* start(limiter(Effect.void))
        const wait = Duration.toMillis(yield* limiter.peek())
        // Told too short rather than too long, but no shorter than with the whole burst.
        assert.isAtLeast(wait, 1_100)
      }))
  })

  describe("reservations", () => {
    it.effect("each is told, also one that changes nothing", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ limit: 100 })
        const recorded = yield* Testing.record(limiter.events)
        for (const weight of [3, 5, 7]) yield* limiter.settle(yield* limiter.reserve(5), weight)
        assert.deepStrictEqual<ReadonlyArray<RateLimiter.Event>>((yield* recorded).map(({ event }) => event), [
          { _tag: "Settled", reserved: 5, weight: 3 },
          { _tag: "Settled", reserved: 5, weight: 5 },
          { _tag: "Settled", reserved: 5, weight: 7 }
        ])
      }))

    it.effect("one that waited is given back to the time at which it was granted", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ algorithm: "sliding-log" })
        yield* limiter.weigh(10)(Effect.void)
        const fiber = yield* start(limiter.reserve(6))
        yield* TestClock.adjust("1 second")
        const reservation = yield* Fiber.join(fiber)
        yield* TestClock.adjust(500)
        yield* limiter.settle(reservation, 1)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 9, queued: 0 })
      }))

    it.effect("one that did not wait is given back to the time at which it was made", () =>
      Effect.gen(function*() {
        const limiter = yield* make({ algorithm: "sliding-log" })
        yield* TestClock.adjust(300)
        const reservation = yield* limiter.reserve(6)
        yield* TestClock.adjust(500)
        yield* limiter.settle(reservation, 1)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 9, queued: 0 })
      }))

    it.effect("in a bucket one that waited gives back however much later", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const fiber = yield* start(limiter.reserve(5))
        yield* TestClock.adjust(500)
        const reservation = yield* Fiber.join(fiber)
        for (let n = 0; n < 20; n++) {
          yield* TestClock.adjust(100)
          yield* limiter(Effect.void)
        }
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
        yield* limiter.settle(reservation, 0)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 5, queued: 0 })
      }))

    it.effect("in a scope, one that was rejected gives nothing back when that is interrupted later", () =>
      Effect.gen(function*() {
        const limiter = yield* empty({ maxWait: 0 })
        const recorded = yield* Testing.record(limiter.events)
        const rejected = Effect.andThen(Effect.exit(limiter.reserveScoped(4)), Effect.never)
        const fiber = yield* start(Effect.scoped(rejected))
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(told(yield* recorded), ["Rejected"])
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 0 })
      }))

    it.effect("an interrupted wait in a scope takes nothing and leaves its place", () =>
      Effect.gen(function*() {
        const limiter = yield* empty()
        const recorded = yield* Testing.record(limiter.events)
        const fiber = yield* start(Effect.scoped(Effect.andThen(limiter.reserveScoped(4), Effect.never)))
        const next = yield* start(at(limiter))
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 0, queued: 1 })
        yield* TestClock.adjust(100)
        assert.strictEqual(yield* Fiber.join(next), 100)
        assert.deepStrictEqual(told(yield* recorded), ["Queued", "Queued", "Granted"])
      }))
  })

  describe("keyed", () => {
    it.effect("keeps a key that somebody waits for, or that is paused", () =>
      Effect.gen(function*() {
        const limiters = yield* RateLimiter.keyed({
          limit: 10,
          window: "1 second",
          maxWait: Infinity,
          idleTimeToLive: "1 second"
        })
        yield* limiters.pause("paused", "1 hour")
        yield* limiters.get("idle")
        yield* TestClock.adjust("1 minute")
        yield* limiters.get("other")
        assert.deepStrictEqual(yield* limiters.keys, ["paused", "other"])
      }))

    it.effect("blocks a key for the time that is given", () =>
      Effect.gen(function*() {
        const limiters = yield* RateLimiter.keyed({ limit: 10, window: "1 second", name: "a" })
        yield* limiters.block("x", "2 seconds")
        const error = yield* Effect.flip(limiters("x")(Effect.void))
        assert.strictEqual(error.message, "Rate limit \"a\" is blocked: retry in 2s")
      }))

    it("refuses an idle time that is none", () => {
      assert.throws(() => RateLimiter.keyed({ limit: 1, window: 1, idleTimeToLive: -1 }), RangeError)
    })
  })

  describe("the largest weights", () => {
    const algorithms = ["token-bucket", "leaky-bucket", "fixed-window", "sliding-counter", "sliding-log"] as const

    for (const algorithm of algorithms) {
      it.effect(`of a ${algorithm} are given back to the last unit`, () =>
        Effect.gen(function*() {
          const limiter = yield* RateLimiter.make({ algorithm, limit: 10, window: "36500 days" })
          const reservation = yield* limiter.reserve(1)
          for (const absurd of [1e308, Number.MAX_SAFE_INTEGER, 1e12 + 1]) {
            assert.throws(
              () => reservation.settle(absurd),
              RangeError,
              "settle: weight must be a number from 0 to 10^12"
            )
          }
          for (let n = 0; n < 1_000; n++) yield* limiter.penalize(1e12)
          yield* reservation.settle(1e12)
          const { available } = yield* limiter.inspect
          assert.isTrue(available <= 0 && available > -1e16, String(available))
          for (let n = 0; n < 1_001; n++) yield* limiter.reward(1e12)
          assert.deepStrictEqual(yield* limiter.peek(1), Duration.zero)
          assert.strictEqual(yield* limiter(Effect.succeed("answer")), "answer")
        }))
    }

    it("of windows are 100 years, and so are those of warm-ups", () => {
      const message = "RateLimiter.make: window must be no longer than 100 years"
      assert.throws(() => RateLimiter.make({ limit: 1, window: "36501 days" }), RangeError, message)
      assert.throws(
        () => RateLimiter.make({ limit: 1, window: 1, warmUp: Infinity }),
        RangeError,
        "warmUp must be no longer"
      )
    })
  })

  it.effect("the one that does nothing hands out reservations of the weight that is asked for", () =>
    Effect.gen(function*() {
      const { noop } = RateLimiter
      assert.strictEqual((yield* noop.reserve(5)).weight, 5)
      const reservation = yield* noop.reserve()
      assert.strictEqual(reservation.weight, 1)
      yield* reservation.settle(3)
      assert.strictEqual((yield* Effect.scoped(noop.reserveScoped(2))).weight, 2)
      assert.strictEqual(yield* noop(Effect.succeed("ok")), "ok")
      assert.deepStrictEqual(yield* noop.peek(5), Duration.zero)
    }))
})
