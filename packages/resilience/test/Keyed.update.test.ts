import {
  AdaptiveLimit,
  CircuitBreaker,
  ConcurrencyLimit,
  Hedge,
  type Keyed,
  LoadShed,
  type Policy,
  RateLimiter,
  RetryBudget,
  Throttle
} from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"
import { fail, times } from "./support/breaker.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const make = RateLimiter.keyed({ limit: 1, window: "1 second", maxWait: "1 minute", idleTimeToLive: "10 seconds" })

describe("Keyed", () => {
  describe("update", () => {
    it.effect("holds for keys in use, those who wait included, and for keys to come", () =>
      Effect.gen(function*() {
        const limiters = yield* make
        yield* limiters("a")(Effect.void)
        const waiting = yield* start(limiters("a")(Effect.void))
        yield* limiters.update({ limit: 2 })
        assert.isDefined(waiting.pollUnsafe() ?? (yield* Fiber.await(waiting)))
        assert.strictEqual((yield* (yield* limiters.get("a")).inspect).available, 0)
        assert.strictEqual((yield* (yield* limiters.get("b")).inspect).available, 2)
      }))

    it.effect("holds for a key that was dropped and comes again", () =>
      Effect.gen(function*() {
        const limiters = yield* make
        yield* limiters("a")(Effect.void)
        yield* limiters.update({ limit: 3 })
        yield* limiters.update({ maxQueue: 0, limit: undefined })
        yield* TestClock.adjust("10 seconds")
        yield* limiters("b")(Effect.void)
        assert.deepStrictEqual(yield* limiters.keys, ["b"])
        yield* limiters("a")(Effect.void)
        assert.strictEqual((yield* (yield* limiters.get("a")).inspect).available, 2)
        yield* limiters("a")(Effect.void)
        yield* limiters("a")(Effect.void)
        assert.strictEqual((yield* Effect.flip(limiters("a")(Effect.void))).because, "queue")
      }))

    it.effect("is no use of a key", () =>
      Effect.gen(function*() {
        const limiters = yield* make
        yield* limiters("a")(Effect.void)
        yield* TestClock.adjust("9 seconds")
        yield* limiters.update({ limit: 3 })
        yield* TestClock.adjust("1 second")
        yield* limiters("b")(Effect.void)
        assert.deepStrictEqual(yield* limiters.keys, ["b"])
      }))

    it.effect("of one key is kept when its policy is dropped and made anew, and hears what is said of all later", () =>
      Effect.gen(function*() {
        const limits = yield* ConcurrencyLimit.keyed({ limit: 1, idleTimeToLive: "10 seconds" })
        const made = Effect.gen(function*() {
          yield* TestClock.adjust("20 seconds")
          yield* limits("other")(Effect.void)
          assert.notInclude(yield* limits.keys, "resized")
          const limitOf = (key: string) => Effect.flatMap(limits.get(key), (limit) => limit.inspect)
          return [(yield* limitOf("resized")).limit, (yield* limitOf("updated")).limit, (yield* limitOf("new")).limit]
        })
        yield* (yield* limits.get("resized")).resize(7)
        yield* (yield* limits.get("updated")).update({ limit: 8, queue: 5 })
        assert.deepStrictEqual(yield* made, [7, 8, 1])
        yield* limits.update({ queue: 3 })
        assert.deepStrictEqual(yield* made, [7, 8, 1])
        yield* limits.update({ limit: 9 })
        assert.deepStrictEqual(yield* made, [9, 9, 9])
        yield* (yield* limits.get("resized")).resize(2)
        assert.deepStrictEqual(yield* made, [2, 9, 9])
      }))

    it.effect("of one key is kept for the last keys that had one", () =>
      Effect.gen(function*() {
        const limits = yield* ConcurrencyLimit.keyed({ limit: 1, maxKeys: 2 })
        for (const key of ["a", "b", "c"]) yield* (yield* limits.get(key)).resize(5)
        const limitOf = (key: string) =>
          Effect.flatMap(limits.get(key), (limit) => Effect.map(limit.inspect, ({ limit }) => limit))
        assert.deepStrictEqual(yield* Effect.forEach(["a", "b", "c"], limitOf), [1, 5, 5])
      }))

    it.effect("that fits no key of its own settings changes none; one dropped meanwhile forgets what fits no more", () =>
      Effect.gen(function*() {
        const limits = yield* AdaptiveLimit.keyed({ initial: 5, idleTimeToLive: "10 seconds" })
        yield* (yield* limits.get("a")).update({ max: 5 })
        yield* limits.get("b")
        assert.isTrue(Exit.hasDies(yield* Effect.exit(limits.update({ min: 10 }))))
        const limitOf = (key: string) =>
          Effect.flatMap(limits.get(key), (limit) => Effect.map(limit.inspect, ({ limit }) => limit))
        assert.deepStrictEqual([yield* limitOf("a"), yield* limitOf("b")], [5, 5])
        yield* TestClock.adjust("20 seconds")
        yield* limits("other")(Effect.void)
        yield* limits.update({ min: 10 })
        assert.deepStrictEqual([yield* limitOf("a"), yield* limitOf("b")], [10, 10])
      }))

    it.effect("refuses nonsense at once, and then changes nothing", () =>
      Effect.gen(function*() {
        const limiters = yield* make
        yield* limiters("a")(Effect.void)
        assert.throws(() => limiters.update({ limit: 0 }), RangeError, "RateLimiter.update: limit must be")
        assert.strictEqual((yield* (yield* limiters.get("b")).inspect).available, 1)
      }))

    it.effect("of a circuit breaker puts one rule in the place of another, whatever came before", () =>
      Effect.gen(function*() {
        const breakers = yield* CircuitBreaker.keyed({ minimumCalls: 5 })
        yield* breakers.update({ window: "1 minute", openDuration: "1 second" })
        yield* breakers.update({ trip: CircuitBreaker.consecutive(2) })
        assert.throws(() => breakers.update({ window: "1 second" }), RangeError, "must be left out beside trip")
        yield* times(2, breakers("new")(fail))
        const error = yield* Effect.flip(breakers("new")(Effect.void))
        assert.deepStrictEqual([error._tag, error.retryAfter], ["CircuitOpen", Duration.seconds(1)])
      }))

    it.effect("counts what it does to keys, and nothing else", () =>
      withMetrics(Effect.gen(function*() {
        const limits = yield* AdaptiveLimit.keyed({ name: "keyed" })
        assert.deepStrictEqual(yield* metrics, {})
        yield* limits.update({ max: 7 })
        assert.deepStrictEqual(yield* metrics, {})
        yield* limits.get("a")
        assert.strictEqual((yield* metrics)["ballast_adaptive_limit{name=keyed}"], 7)
      })))

    it.effect("is there for every policy that has keys and settings", () =>
      Effect.gen(function*() {
        interface Updated<Settings> {
          readonly inspect: Effect.Effect<unknown>
          readonly update: (settings: Settings) => Effect.Effect<void>
        }
        /** The states of a key that there was, of one that came after, and of a policy that was changed alone. */
        const check = Effect.fnUntraced(function*<E, S, P extends Policy.Policy<E> & Updated<S>>(
          making: Effect.Effect<Keyed.Updatable<E, P, S>>,
          settings: S
        ) {
          const [policies, others] = yield* Effect.all([making, making])
          yield* policies.get("a")
          yield* policies.update(settings)
          const alone = yield* others.get("a")
          const before = yield* alone.inspect
          yield* alone.update(settings)
          const expected = yield* alone.inspect
          assert.notDeepEqual(before, expected)
          for (const key of ["a", "b"]) assert.deepStrictEqual(yield* (yield* policies.get(key)).inspect, expected)
        })
        yield* check(ConcurrencyLimit.keyed({ limit: 1 }), { limit: 2 })
        yield* check(RateLimiter.keyed({ limit: 1, window: 1 }), { limit: 2, burst: 2 })
        yield* check(RetryBudget.keyed(), { floor: 1 })
        yield* check(LoadShed.keyed({ limit: 1 }), { limit: 2 })
        yield* check(Hedge.keyed(), { delay: "5 seconds" })
        yield* check(AdaptiveLimit.keyed(), { max: 2 })
        // A throttle shows nothing of its settings, but refuses wrong ones.
        const throttles = yield* Throttle.keyed()
        assert.throws(() => throttles.update({ multiplier: 0 }), RangeError, "Throttle.update: multiplier must be")
      }))
  })
})
