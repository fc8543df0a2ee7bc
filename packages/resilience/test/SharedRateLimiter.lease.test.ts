import { RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Queue, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"

const memory = Effect.provide(RateLimiterStore.layerStoreMemory)

/** A store that counts what it is asked. */
const counted = Effect.gen(function*() {
  const store = yield* RateLimiterStore.RateLimiterStore
  const asked = { takes: 0 }
  const take: typeof store.take = (key, spec, request) => {
    asked.takes++
    return store.take(key, spec, request)
  }
  return { asked, layer: Layer.succeed(RateLimiterStore.RateLimiterStore, { ...store, take }) }
})

/** How many of so many calls run. */
const admitted = (limiter: SharedRateLimiter.Limiter, calls: number) =>
  Effect.map(
    Effect.all(Array.from({ length: calls }, () => Effect.exit(limiter(Effect.void)))),
    (exits) => exits.filter(Exit.isSuccess).length
  )

describe("SharedRateLimiter", () => {
  describe("with a lease", () => {
    it.effect("asks once for many calls", () =>
      Effect.gen(function*() {
        const { asked, layer } = yield* counted
        const limiter = yield* Effect.provide(
          SharedRateLimiter.make({ limit: 1_000, window: "1 hour", lease: { size: 100 } }),
          layer
        )
        assert.strictEqual(yield* admitted(limiter("a"), 1_000), 1_000)
        assert.isAtMost(asked.takes, 25)
        assert.strictEqual(yield* admitted(limiter("a"), 1), 0)
        assert.strictEqual((yield* limiter.inspect).leased, 0)
      }).pipe(memory))

    it.effect("gives back what it did not use when its time is over, and when it is closed", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const limiters = yield* Effect.provideService(
          SharedRateLimiter.make({ limit: 10, window: "1 hour", lease: { size: 6, duration: "10 seconds" } }),
          Scope.Scope,
          scope
        )
        const limiter = limiters("a")
        yield* limiter(Effect.void)
        assert.deepStrictEqual(yield* limiters.inspect, { keys: 1, queued: 0, leased: 6 })
        assert.strictEqual((yield* limiter.peek()).available, 3)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* limiters.inspect, { keys: 0, queued: 0, leased: 0 })
        assert.strictEqual((yield* limiter.peek()).available, 9)
        yield* limiter(Effect.void)
        yield* Scope.close(scope, Exit.void)
        const other = yield* SharedRateLimiter.make({ limit: 10, window: "1 hour" })
        assert.strictEqual((yield* other("a").peek()).available, 8)
        assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(limiter(Effect.void))))
      }).pipe(memory))

    for (const algorithm of ["token-bucket", "fixed-window", "sliding-counter", "sliding-log"] as const) {
      it.effect(`${algorithm}: what was leased at several times goes back to each of them`, () =>
        Effect.gen(function*() {
          const limiters = yield* SharedRateLimiter.make({
            algorithm,
            limit: 60,
            window: "1 hour",
            lease: { size: 50 }
          })
          const limiter = limiters("a")
          yield* limiter(Effect.void)
          yield* TestClock.adjust(1)
          yield* limiter.weigh(30)(Effect.void)
          yield* TestClock.adjust(1)
          // Twenty are left of the first lease.
          const reservation = yield* limiter.reserve(25)
          yield* reservation.settle(2)
          const { leased } = yield* limiters.inspect
          assert.strictEqual(leased, 4)
          assert.strictEqual((yield* limiter.peek()).available, 60 - 31 - 2 - leased)
        }).pipe(memory))
    }

    it.effect("what is used of a lease goes back as though its true weight had been used", () =>
      Effect.gen(function*() {
        const options = { algorithm: "sliding-log", limit: 60, window: "1 minute", lease: { size: 10 } } as const
        const limiters = yield* SharedRateLimiter.make(options)
        const limiter = limiters("a")
        yield* limiter(Effect.void)
        yield* TestClock.adjust("2 seconds")
        yield* limiter.weigh(8)(Effect.void)
        const reservation = yield* limiter.reserve(4)
        yield* reservation.settle(1)
        yield* limiters.update({})
        assert.strictEqual((yield* limiter.peek()).available, 50)
        // Ten were taken with the first lease, and all of them were used.
        yield* TestClock.adjust("58 seconds")
        assert.strictEqual((yield* limiter.peek()).available, 60)
      }).pipe(memory))

    it.effect("gives back in time what it leased for a shorter window than before", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ limit: 10, window: "1 hour", lease: { size: 6 } })
        yield* limiters("a")(Effect.void)
        yield* limiters.update({ window: "1 minute" })
        yield* limiters("a")(Effect.void)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* limiters.inspect, { keys: 0, queued: 0, leased: 0 })
      }).pipe(memory))

    it.effect("a pause or block of its own ends what it holds", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ limit: 10, window: "1 hour", lease: { size: 6 } })
        const limiter = limiters("a")
        yield* limiter(Effect.void)
        yield* limiter.pause("1 minute")
        assert.strictEqual((yield* limiters.inspect).leased, 0)
        assert.strictEqual(yield* admitted(limiter, 1), 0)
        yield* limiter.resume
        assert.strictEqual(yield* admitted(limiter, 10), 9)
      }).pipe(memory))

    it.effect("starts at most the limit and what each process held, in any window, and no less can be said", () =>
      Effect.gen(function*() {
        const [limit, size, processes] = [20, 4, 3]
        // Alone, a log never lets more than its limit through.
        const options = { algorithm: "sliding-log", limit, window: "1 second", lease: { size } } as const
        const limiters = yield* Effect.all(Array.from({ length: processes }, () => SharedRateLimiter.make(options)))
        const starts: Array<number> = []
        let now = 0
        const step = Effect.fnUntraced(function*(until: number, calls: number) {
          yield* TestClock.adjust(until - now)
          now = until
          for (const limiter of limiters) {
            const ran = yield* admitted(limiter("a"), calls)
            for (let i = 0; i < ran; i++) starts.push(now)
          }
        })
        yield* step(0, 1)
        // What each holds since then it uses just before the log forgets it.
        yield* step(990, 4)
        yield* step(1_000, 20)
        yield* step(1_985, 20)
        yield* step(2_000, 20)
        const within = (from: number) => starts.filter((at) => at >= from && at < from + 1_000).length
        const most = Math.max(...starts.map(within))
        assert.isAtMost(most, limit + processes * size)
        assert.isAbove(most, limit)
      }).pipe(memory))

    it.effect("what is more than it may hold is refused with words", () =>
      Effect.sync(() => {
        const bad = (options: Partial<SharedRateLimiter.Options>) => () =>
          SharedRateLimiter.make({ limit: 1, window: "1 second", ...options })
        assert.throws(bad({ lease: { size: 0 } }), RangeError, "lease.size must be an integer of at least 1, got 0")
        assert.throws(bad({ lease: { size: 1, duration: "2 seconds" } }), RangeError, "no longer than window")
        assert.throws(bad({ lease: { size: 1 }, algorithm: "leaky-bucket" }), RangeError, "left out with leaky-bucket")
        assert.throws(bad({ storeTimeout: 0 }), RangeError, "SharedRateLimiter.make: storeTimeout must be")
        assert.throws(bad({ limit: 0 }), RangeError, "limit must be an integer of at least 1, got 0")
      }))
  })

  describe("tells", () => {
    it.effect("metrics", () =>
      withMetrics(Effect.gen(function*() {
        const options = { name: "n", limit: 2, window: "2 seconds", maxWait: "1 second" } as const
        const limiter = yield* SharedRateLimiter.make(options)
        yield* limiter("a").weigh(2)(Effect.void)
        const waiting = yield* Effect.forkChild(limiter("a")(Effect.void), { startImmediately: true })
        yield* Effect.exit(limiter("a")(Effect.void))
        yield* TestClock.adjust("1 second")
        assert.isDefined(waiting.pollUnsafe())
        const leasing = yield* SharedRateLimiter.make({ ...options, name: "l", lease: { size: 1, duration: 500 } })
        yield* leasing("b")(Effect.void)
        yield* TestClock.adjust("1 second")
        yield* limiter("a").pause("1 second")
        yield* limiter("a").block("1 second")
        const seen = yield* metrics
        const labels = "name=n,policy=shared-rate-limiter"
        assert.strictEqual(seen[`ballast_policy_rejections_total{${labels}}`], 1)
        assert.strictEqual(seen[`ballast_policy_wait_seconds{${labels}}`], 1)
        assert.strictEqual(seen["ballast_rate_limiter_pauses_total{name=n}"], 1)
        assert.strictEqual(seen["ballast_rate_limiter_leased_weight_total{because=taken,name=l}"], 1)
        assert.strictEqual(seen["ballast_rate_limiter_leased_weight_total{because=returned,name=l}"], 1)
      })).pipe(memory))

    it.effect("events", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ limit: 2, window: "2 seconds", maxWait: "1 second" })
        const limiter = limiters("a")
        const seen = yield* Queue.unbounded<string>()
        yield* Effect.forkChild(Stream.runForEach(limiters.events, (event) => Queue.offer(seen, event._tag)), {
          startImmediately: true
        })
        yield* TestClock.adjust(0)
        const reservation = yield* limiter.reserve(2)
        yield* Effect.forkChild(limiter(Effect.void), { startImmediately: true })
        yield* Effect.exit(limiter(Effect.void))
        yield* TestClock.adjust("1 second")
        yield* reservation.settle(1)
        yield* limiter.penalize(1)
        yield* limiter.reward(1)
        yield* limiter.pause("1 second")
        yield* limiter.resume
        yield* limiter.block("1 second")
        yield* limiter.unblock
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(yield* Queue.takeAll(seen), [
          "Rejected",
          "Granted",
          "Settled",
          "Penalized",
          "Rewarded",
          "Paused",
          "Resumed",
          "Blocked",
          "Unblocked"
        ])
      }).pipe(memory))

    it.effect("settings change while calls wait", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ limit: 1, window: "1 hour", maxWait: "1 day" })
        yield* limiters("a")(Effect.void)
        const waiting = yield* Effect.forkChild(limiters("a")(Effect.void), { startImmediately: true })
        assert.throws(() => limiters.update({ limit: -1 }), RangeError, "SharedRateLimiter.update: limit must be")
        yield* limiters.update({ limit: 3_600 })
        yield* TestClock.adjust("1 second")
        assert.isDefined(waiting.pollUnsafe())
      }).pipe(memory))

    it.effect("the no-op twin has no limit", () =>
      Effect.gen(function*() {
        const limiter = SharedRateLimiter.noop("a")
        yield* limiter.block("1 hour")
        assert.strictEqual(yield* admitted(limiter, 100), 100)
        assert.strictEqual((yield* limiter.peek()).available, Infinity)
        yield* limiter.settle(yield* limiter.reserve(5), 1)
      }))
  })
})
