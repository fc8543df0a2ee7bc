import { RateLimiter, RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"

const memory = Effect.provide(RateLimiterStore.layerStoreMemory)
const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const settle = TestClock.adjust(0)

/** Calls that note when they start. */
const noting = Effect.sync(() => {
  const started: Array<string> = []
  return { started, note: (name: string) => Effect.sync(() => void started.push(name)) }
})

const rejection = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(self), (error) => {
    assert.instanceOf(error, RateLimiter.RateLimitExceeded)
    return error
  })

describe("SharedRateLimiter", () => {
  describe("calls", () => {
    it.effect("admits n and rejects n + 1 with the time until its turn; other keys don't matter", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ name: "shared", limit: 2, window: "10 seconds" })
        assert.strictEqual(yield* limiter("a")(Effect.succeed(1)), 1)
        assert.strictEqual(yield* Effect.succeed(2).pipe(limiter("a")), 2)
        const error = yield* rejection(limiter("a")(Effect.die("ran")))
        assert.deepStrictEqual(
          [error.limiter, error.because, error.weight, Duration.toMillis(error.retryAfter)],
          ["shared", "limit", 1, 5_000]
        )
        yield* limiter("b")(Effect.void)
        assert.deepStrictEqual(yield* limiter.inspect, { keys: 0, queued: 0, leased: 0 })
      }).pipe(memory))

    it.effect("recovers with time", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 1, window: "1 second", algorithm: "fixed-window" })
        yield* limiter("a")(Effect.void)
        yield* TestClock.adjust(999)
        yield* rejection(limiter("a")(Effect.void))
        yield* TestClock.adjust(1)
        yield* limiter("a")(Effect.void)
      }).pipe(memory))

    it.effect("never admits what is heavier than its burst, without asking", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 5, window: "1 second", maxWait: "1 minute" })
        const error = yield* rejection(limiter("a").weigh(6)(Effect.void))
        assert.deepStrictEqual([error.because, Duration.isFinite(error.retryAfter)], ["weight", false])
        yield* limiter("a").weigh(5)(Effect.void)
      }).pipe(memory))

    it.effect("a call that fails or dies keeps what it took", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 2, window: "1 minute" })
        assert.strictEqual(yield* Effect.flip(limiter("a")(Effect.fail("sorry"))), "sorry")
        assert.isTrue(Exit.hasDies(yield* Effect.exit(limiter("a")(Effect.die("broken")))))
        yield* rejection(limiter("a")(Effect.void))
      }).pipe(memory))

    it.effect("two limiters on one store share a limit", () =>
      Effect.gen(function*() {
        const options = { limit: 2, window: "1 minute" } as const
        const one = yield* SharedRateLimiter.make(options)
        const other = yield* SharedRateLimiter.make(options)
        yield* one("a")(Effect.void)
        yield* other("a")(Effect.void)
        yield* rejection(one("a")(Effect.void))
        yield* rejection(other("a")(Effect.void))
      }).pipe(memory))

    it.effect("limiters of different names have limits of their own, also nested with one key", () =>
      Effect.gen(function*() {
        const requests = yield* SharedRateLimiter.make({
          name: "requests",
          algorithm: "fixed-window",
          limit: 3,
          window: "1 hour"
        })
        const tokens = yield* SharedRateLimiter.make({ name: "tokens", limit: 30, window: "1 hour" })
        const call = requests("a")(tokens("a").weigh(10)(Effect.void))
        for (let i = 0; i < 3; i++) yield* call
        assert.strictEqual((yield* rejection(call)).limiter, "requests")
        assert.strictEqual((yield* requests("a").peek()).available, 0)
        assert.strictEqual((yield* rejection(tokens("a")(Effect.void))).limiter, "tokens")
      }).pipe(memory))

    it.effect("no two names and keys share a limit", () =>
      Effect.gen(function*() {
        for (const [name, key] of [["a", "b:c"], ["a:b", "c"], ["a%3Ab", "c"], ["", "a:b:c"], ["a:b:c", ""]] as const) {
          const limiter = yield* SharedRateLimiter.make({ name, limit: 1, window: "1 hour" })
          yield* limiter(key)(Effect.void)
          yield* rejection(limiter(key)(Effect.void))
        }
      }).pipe(memory))

    it.effect("admits exactly as many of 1,000 at once as there is room for", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 300, window: "1 hour" })
        const exits = yield* Effect.all(
          Array.from({ length: 1_000 }, () => Effect.exit(limiter("a")(Effect.yieldNow))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 300)
        assert.strictEqual((yield* limiter.inspect).keys, 0)
      }).pipe(memory))

    it.effect("a stream takes once, at its first pull", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 1, window: "1 minute" })
        const stream = limiter("a").stream(Stream.make(1, 2, 3))
        assert.deepStrictEqual(yield* Stream.runCollect(stream), [1, 2, 3])
        yield* rejection(Stream.runCollect(stream))
      }).pipe(memory))
  })

  describe("waiting", () => {
    it.effect("in order of arrival, a heavy call is not overtaken", () =>
      Effect.gen(function*() {
        const { note, started } = yield* noting
        const limiter = yield* SharedRateLimiter.make({ limit: 4, window: "4 seconds", maxWait: "1 minute" })
        yield* limiter("a").weigh(4)(note("first"))
        yield* start(limiter("a").weigh(3)(note("heavy")))
        yield* start(limiter("a")(note("light")))
        yield* TestClock.adjust("2999 millis")
        assert.deepStrictEqual(started, ["first"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(started, ["first", "heavy"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(started, ["first", "heavy", "light"])
      }).pipe(memory))

    it.effect("no longer than maxWait, which is known at once", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 1, window: "1 second", maxWait: "2 seconds" })
        yield* limiter("a")(Effect.void)
        yield* start(limiter("a")(Effect.void))
        yield* start(limiter("a")(Effect.void))
        const error = yield* rejection(limiter("a")(Effect.void))
        assert.deepStrictEqual([error.because, Duration.toMillis(error.retryAfter)], ["limit", 3_000])
        assert.strictEqual((yield* limiter.inspect).queued, 2)
      }).pipe(memory))

    it.effect("in a bounded queue", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({
          limit: 1,
          window: "1 second",
          maxWait: Duration.infinity,
          maxQueue: 2
        })
        yield* limiter("a")(Effect.void)
        const waiting = [yield* start(limiter("a")(Effect.void)), yield* start(limiter("a")(Effect.void))]
        assert.strictEqual((yield* rejection(limiter("a")(Effect.void))).because, "queue")
        yield* TestClock.adjust("2 seconds")
        for (const fiber of waiting) yield* Fiber.join(fiber)
      }).pipe(memory))

    it.effect("an interrupted waiter took nothing and those behind it move up at once", () =>
      Effect.gen(function*() {
        const { note, started } = yield* noting
        const limiter = yield* SharedRateLimiter.make({ limit: 4, window: "4 seconds", maxWait: "1 minute" })
        yield* limiter("a").weigh(3)(Effect.void)
        const heavy = yield* start(limiter("a").weigh(4)(note("heavy")))
        yield* start(limiter("a")(note("light")))
        yield* settle
        assert.deepStrictEqual(started, [])
        yield* Fiber.interrupt(heavy)
        yield* settle
        assert.deepStrictEqual(started, ["light"])
      }).pipe(memory))

    it.effect("lets a less patient call go in time", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 1, window: "1 second", maxWait: "10 seconds" })
        yield* limiter("a")(Effect.void)
        yield* start(limiter("a")(Effect.void))
        yield* limiter.update({ maxWait: "2 seconds" })
        const impatient = yield* start(rejection(limiter("a")(Effect.void)))
        yield* limiter("a").penalize(2)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(impatient)).because, "limit")
      }).pipe(memory))

    it.effect("10,000 in line start in their order and nothing is left", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({
          limit: 1_000,
          window: "1 second",
          maxWait: Duration.infinity,
          maxQueue: Infinity
        })
        const order: Array<number> = []
        yield* Effect.forEach(
          Array.from({ length: 10_000 }, (_, i) => i),
          (i) => start(limiter("a")(Effect.sync(() => void order.push(i))))
        )
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(order, Array.from({ length: 10_000 }, (_, i) => i))
        assert.deepStrictEqual(yield* limiter.inspect, { keys: 0, queued: 0, leased: 0 })
      }).pipe(memory))
  })

  describe("by hand", () => {
    it.effect("a pause holds those already queued, also through another limiter", () =>
      Effect.gen(function*() {
        const { note, started } = yield* noting
        const options = { limit: 1, window: "1 second", maxWait: "1 minute" } as const
        const one = yield* SharedRateLimiter.make(options)
        const other = yield* SharedRateLimiter.make(options)
        yield* one("a")(Effect.void)
        yield* start(one("a")(note("queued before")))
        yield* other("a").pause("10 seconds")
        yield* other("a").pause("2 seconds")
        yield* start(other("a")(note("after")))
        yield* TestClock.adjust("9999 millis")
        assert.deepStrictEqual(started, [])
        yield* TestClock.adjust("1001 millis")
        assert.sameMembers(started, ["queued before", "after"])
      }).pipe(memory))

    it.effect("the end of a pause is seen by others within a second", () =>
      Effect.gen(function*() {
        const { note, started } = yield* noting
        const options = { limit: 1, window: "1 second", maxWait: "1 hour" } as const
        const one = yield* SharedRateLimiter.make(options)
        const other = yield* SharedRateLimiter.make(options)
        yield* one("a").pause("10 minutes")
        yield* start(other("a")(note("other")))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(started, [])
        yield* one("a").resume
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(started, ["other"])
      }).pipe(memory))

    it.effect("a waiter for whom a pause is too long is rejected when it is asked for", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 1, window: "1 second", maxWait: "5 seconds" })
        yield* limiter("a")(Effect.void)
        const waiting = yield* start(rejection(limiter("a")(Effect.void)))
        yield* limiter("a").pause("10 seconds")
        yield* settle
        assert.strictEqual(Duration.toMillis((yield* Fiber.join(waiting)).retryAfter), 10_000)
      }).pipe(memory))

    it.effect("a block rejects all, waiters included, until it is over or ended", () =>
      Effect.gen(function*() {
        const limiter = yield* SharedRateLimiter.make({ limit: 1, window: "1 second", maxWait: "1 hour" })
        yield* limiter("a")(Effect.void)
        const waiting = yield* start(rejection(limiter("a")(Effect.void)))
        yield* limiter("a").block("30 seconds")
        assert.strictEqual((yield* Fiber.join(waiting)).because, "blocked")
        const error = yield* rejection(limiter("a")(Effect.void))
        assert.deepStrictEqual([error.because, Duration.toMillis(error.retryAfter)], ["blocked", 30_000])
        yield* TestClock.adjust("1 second")
        yield* limiter("a").unblock
        yield* limiter("a")(Effect.void)
        yield* limiter("a").block("1 second")
        yield* TestClock.adjust("1 second")
        yield* limiter("a")(Effect.void)
      }).pipe(memory))

    it.effect("a hold of no time is none, and a block without a time lasts until it is ended", () =>
      Effect.gen(function*() {
        const limiter = (yield* SharedRateLimiter.make({ limit: 10, window: "1 second" }))("a")
        yield* limiter.pause(0)
        yield* limiter.block(Duration.zero)
        yield* limiter(Effect.void)
        for (const block of [limiter.block(), limiter.block(Infinity)]) {
          yield* block
          yield* TestClock.adjust("1000 days")
          assert.strictEqual((yield* rejection(limiter(Effect.void))).because, "blocked")
          yield* limiter.unblock
          yield* limiter(Effect.void)
        }
      }).pipe(memory))

    it.effect("a hold is that of a name and key", () =>
      Effect.gen(function*() {
        const options = { limit: 10, window: "1 second" } as const
        const one = yield* SharedRateLimiter.make({ ...options, name: "one" })
        const other = yield* SharedRateLimiter.make({ ...options, name: "other" })
        yield* one("a").block("1 hour")
        yield* one("a").pause("1 hour")
        yield* other("a")(Effect.void)
        yield* other("a").unblock
        yield* other("a").resume
        assert.strictEqual((yield* rejection(one("a")(Effect.void))).because, "blocked")
      }).pipe(memory))

    it.effect("penalize, reward and peek", () =>
      Effect.gen(function*() {
        const limiter = (yield* SharedRateLimiter.make({ limit: 10, window: "10 seconds" }))("a")
        yield* limiter.penalize(12)
        const owing = yield* limiter.peek()
        assert.deepStrictEqual(
          [Duration.toMillis(owing.wait), owing.available, owing.blocked, Duration.toMillis(owing.resetAfter)],
          [3_000, -2, false, 12_000]
        )
        yield* limiter.reward(5)
        assert.strictEqual((yield* limiter.peek()).available, 3)
        assert.isFalse(Duration.isFinite((yield* limiter.peek(11)).wait))
        yield* limiter.reward(100)
        assert.strictEqual((yield* limiter.peek()).available, 10)
      }).pipe(memory))
  })

  it.effect("a warm-up that is turned on leaves as much as in one process", () =>
    Effect.gen(function*() {
      const options = { limit: 10, window: "10 seconds" } as const
      const shared = yield* SharedRateLimiter.make(options)
      const own = yield* RateLimiter.make(options)
      yield* shared("a").weigh(10)(Effect.void)
      yield* own.weigh(10)(Effect.void)
      yield* TestClock.adjust("9 seconds")
      for (const changes of [{ warmUp: "1 minute" }, { warmUp: "10 seconds" }, { warmUp: 0 }] as const) {
        yield* shared.update(changes)
        yield* own.update(changes)
        for (const millis of [0, 300]) {
          yield* TestClock.adjust(millis)
          assert.strictEqual((yield* shared("a").peek()).available, (yield* own.inspect).available)
        }
        // A rejected call goes over to the new settings, as the limiter in one process did at once.
        yield* rejection(shared("a").weigh(10)(Effect.void))
      }
      assert.strictEqual((yield* own.inspect).available, 9)
    }).pipe(memory))

  describe("reservations", () => {
    it.effect("an estimate is corrected once, down or up", () =>
      Effect.gen(function*() {
        const limiter = (yield* SharedRateLimiter.make({ limit: 100, window: "100 seconds" }))("a")
        const available = Effect.map(limiter.peek(), ({ available }) => available)
        const high = yield* limiter.reserve(60)
        yield* TestClock.adjust("10 seconds")
        yield* limiter.settle(high, 40)
        yield* limiter.settle(high, 0)
        assert.strictEqual(yield* available, 70)
        const low = yield* limiter.reserve(10)
        yield* low.settle(80)
        assert.strictEqual(yield* available, -10)
      }).pipe(memory))

    it.effect("is given back by a scope that an interruption closes", () =>
      Effect.gen(function*() {
        const limiter = (yield* SharedRateLimiter.make({ limit: 10, window: "1 minute" }))("a")
        const fiber = yield* start(Effect.scoped(Effect.andThen(limiter.reserveScoped(10), Effect.never)))
        assert.strictEqual((yield* limiter.peek()).available, 0)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* limiter.peek()).available, 10)
        yield* Effect.scoped(limiter.reserveScoped(10))
        assert.strictEqual((yield* limiter.peek()).available, 0)
      }).pipe(memory))
  })
})
