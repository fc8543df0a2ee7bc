import { CircuitBreaker, ConcurrencyLimit, Keyed, RateLimiter, RetryBudget } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault, withStepBudget } from "./support.ts"

const limits = (options?: Partial<Keyed.Options<ConcurrencyLimit.ConcurrencyLimit>>) =>
  Keyed.make({ make: () => ConcurrencyLimit.make({ limit: 1 }), idleTimeToLive: "10 seconds", ...options })

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

describe("Keyed", () => {
  it.effect("gives each key a policy of its own", () =>
    Effect.gen(function*() {
      const limit = yield* limits()
      yield* start(limit("a")(Effect.never))
      assert.strictEqual((yield* Effect.flip(limit("a")(Effect.void)))._tag, "QueueFull")
      assert.strictEqual(yield* limit("b")(Effect.succeed("ok")), "ok")
      assert.strictEqual((yield* (yield* limit.get("a")).inspect).running, 1)
      assert.strictEqual(yield* limit.get("a"), yield* limit.get("a"))
    }))

  it.effect("looks the policy up at each run, not when it is applied", () =>
    Effect.gen(function*() {
      const limit = yield* limits()
      const guarded = limit("a")(Effect.void)
      assert.deepStrictEqual(yield* limit.keys, [])
      yield* guarded
      const before = yield* limit.get("a")
      yield* TestClock.adjust("20 seconds")
      yield* limit("b")(Effect.void)
      yield* guarded
      assert.notStrictEqual(yield* limit.get("a"), before)
    }))

  it.effect("lists its keys, the longest unused first", () =>
    Effect.gen(function*() {
      const limit = yield* limits({ idleTimeToLive: "1 hour" })
      for (const key of ["a", "b", "c", "a"]) {
        yield* TestClock.adjust("1 second")
        yield* limit(key)(Effect.void)
      }
      assert.deepStrictEqual(yield* limit.keys, ["b", "c", "a"])
    }))

  describe("idle keys", () => {
    it.effect("are dropped at their time to live and not before", () =>
      Effect.gen(function*() {
        const limit = yield* limits()
        yield* limit("a")(Effect.void)
        yield* TestClock.adjust("9999 millis")
        yield* limit("b")(Effect.void)
        assert.deepStrictEqual(yield* limit.keys, ["a", "b"])
        yield* TestClock.adjust("5 seconds")
        yield* limit("b")(Effect.void)
        assert.deepStrictEqual(yield* limit.keys, ["b"])
      }))

    it.effect("are kept for as long as they guard something that runs or waits", () =>
      Effect.gen(function*() {
        const limit = yield* limits({
          make: () => ConcurrencyLimit.make({ limit: 1, queue: 1, maxWait: Infinity })
        })
        const running = yield* start(limit("a")(Effect.sleep("1 minute")))
        const waiting = yield* start(Stream.runDrain(limit("a").stream(Stream.make(1))))
        const before = yield* limit.get("a")
        yield* TestClock.adjust("50 seconds")
        yield* limit("b")(Effect.void)
        assert.strictEqual(yield* limit.get("a"), before)
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.joinAll([running, waiting])
        yield* TestClock.adjust("9 seconds")
        yield* limit("b")(Effect.void)
        assert.deepStrictEqual(yield* limit.keys, ["a", "b"])
        yield* TestClock.adjust("5 seconds")
        yield* limit("b")(Effect.void)
        assert.deepStrictEqual(yield* limit.keys, ["b"])
      }))

    it.effect("are kept while they remember something that matters", () =>
      Effect.gen(function*() {
        let calm = false
        const breaker = yield* Keyed.make({
          make: () => CircuitBreaker.make({ minimumCalls: 1, openDuration: "1 hour" }),
          atRest: () => calm,
          idleTimeToLive: "10 seconds"
        })
        yield* Effect.exit(breaker("a")(Effect.fail(new Fault({}))))
        yield* TestClock.adjust("1 minute")
        yield* breaker("b")(Effect.void)
        assert.strictEqual((yield* Effect.flip(breaker("a")(Effect.void)))._tag, "CircuitOpen")
        calm = true
        yield* TestClock.adjust("1 minute")
        yield* breaker("b")(Effect.void)
        yield* breaker("a")(Effect.void)
      }))

    it.effect("don't pile up when keys come from outside", () =>
      Effect.gen(function*() {
        const limit = yield* limits()
        for (let n = 0; n < 5_000; n++) {
          yield* TestClock.adjust(10)
          yield* limit(`key ${n}`)(Effect.void)
        }
        assert.isAtMost((yield* limit.keys).length, 1_500)
      }))
  })

  describe("maxKeys", () => {
    const run = (limit: Keyed.Keyed<unknown, ConcurrencyLimit.ConcurrencyLimit>, ...keys: ReadonlyArray<string>) =>
      Effect.forEach(keys, (key) => Effect.andThen(TestClock.adjust(1), limit(key)(Effect.void)), { discard: true })

    it.effect("drops the key that was not used for the longest time", () =>
      Effect.gen(function*() {
        const limit = yield* limits({ maxKeys: 3 })
        yield* run(limit, "a", "b", "c", "a")
        assert.deepStrictEqual(yield* limit.keys, ["b", "c", "a"])
        yield* run(limit, "d", "e")
        assert.sameMembers([...yield* limit.keys], ["a", "d", "e"])
      }))

    it.effect("never drops a key in use, and lets a new one in all the same", () =>
      Effect.gen(function*() {
        const limit = yield* limits({ maxKeys: 2 })
        const running = yield* Effect.forEach(["a", "b", "c"], (key) => start(limit(key)(Effect.never)))
        assert.sameMembers([...yield* limit.keys], ["a", "b", "c"])
        assert.strictEqual((yield* Effect.flip(limit("a")(Effect.void)))._tag, "QueueFull")
        yield* Fiber.interruptAll(running)
        yield* run(limit, "d")
        assert.sameMembers([...yield* limit.keys], ["c", "d"])
      }))

    it.effect("drops one at rest first", () =>
      Effect.gen(function*() {
        const busy = new Set<ConcurrencyLimit.ConcurrencyLimit>()
        const limit = yield* limits({ maxKeys: 3, atRest: (policy) => !busy.has(policy) })
        yield* run(limit, "a", "b", "c")
        busy.add(yield* limit.get("a"))
        yield* run(limit, "d", "e")
        assert.include(yield* limit.keys, "a")
        for (const key of yield* limit.keys) busy.add(yield* limit.get(key))
        yield* run(limit, "f")
        assert.strictEqual((yield* limit.keys).length, 3)
        assert.include(yield* limit.keys, "f")
      }))

    it.effect(
      "is 10,000 unless told, whatever the time to live, and leaves a key that is used all the time",
      () =>
        Effect.gen(function*() {
          const limit = yield* limits({ idleTimeToLive: "1 day" })
          const mine = yield* limit.get("mine")
          for (let n = 0; n < 40_000; n++) {
            if (n % 1_000 === 0) yield* run(limit, "mine")
            yield* limit(`key ${n}`)(Effect.void)
          }
          assert.strictEqual((yield* limit.keys).length, 10_000)
          assert.strictEqual(yield* limit.get("mine"), mine)
        }),
      60_000
    )

    it("is refused when it is no such number", () => {
      assert.throws(
        () => limits({ maxKeys: 0 }),
        RangeError,
        "Keyed.make: maxKeys must be an integer of at least 1, got 0"
      )
    })
  })

  it.effect("guards a stream as the key's policy does, from its first pull", () =>
    Effect.gen(function*() {
      const limit = yield* limits()
      const guarded = limit("a").stream(Stream.concat(Stream.make(1), Stream.never))
      yield* start(Stream.runDrain(guarded))
      assert.strictEqual((yield* Effect.flip(limit("a")(Effect.void)))._tag, "QueueFull")
      assert.deepStrictEqual(yield* Stream.runCollect(limit("b").stream(Stream.make(1, 2))), [1, 2])
    }))

  it.effect("makes one policy when many callers come with a new key at once", () =>
    Effect.gen(function*() {
      let made = 0
      let running = 0
      const limit = yield* limits({
        make: () => {
          made++
          return withStepBudget(3)(Effect.andThen(
            Effect.yieldNow,
            ConcurrencyLimit.make({ limit: 1, queue: Infinity, maxWait: Infinity })
          ))
        }
      })
      const call = limit("a")(Effect.gen(function*() {
        assert.strictEqual(++running, 1)
        yield* Effect.yieldNow
        running--
      }))
      yield* Effect.all(Array.from({ length: 1_000 }, () => call), { concurrency: "unbounded", discard: true })
      assert.isAbove(made, 1)
      assert.deepStrictEqual(yield* limit.keys, ["a"])
      assert.strictEqual((yield* (yield* limit.get("a")).inspect).running, 0)
    }))

  it.effect("dies with the defect of a policy that can't be made, and keeps nothing of it", () =>
    Effect.gen(function*() {
      const limit = yield* limits({ make: () => Effect.die("boom") })
      assert.deepStrictEqual(yield* Effect.exit(limit("a")(Effect.void)), Exit.die("boom"))
      assert.deepStrictEqual(yield* limit.keys, [])
    }))

  for (const kind of ["effect", "stream"] as const) {
    it.effect(`holds no key of an interrupted ${kind}, whatever the step`, () =>
      Testing.interruptEverywhere({
        setup: limits(),
        run: (limit) =>
          kind === "effect"
            ? limit("a")(Effect.sleep("1 second"))
            : Stream.runDrain(limit("a").stream(Stream.mapEffect(Stream.make(1, 2), () => Effect.sleep("1 second")))),
        check: (limit) =>
          Effect.gen(function*() {
            assert.strictEqual((yield* (yield* limit.get("a")).inspect).running, 0)
            yield* TestClock.adjust("1 minute")
            yield* limit("b")(Effect.void)
            assert.deepStrictEqual(yield* limit.keys, ["b"])
          })
      }))
  }

  const Use = Schema.Struct({
    key: Schema.Literals(["a", "b", "c"]),
    after: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 })),
    runs: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 }))
  })

  it.effect.prop(
    "never has two policies at work for one key",
    { uses: Schema.Array(Use) },
    ({ uses }) =>
      Effect.gen(function*() {
        const running = new Map<string, number>()
        const limit = yield* limits({ idleTimeToLive: 10 })
        for (const { after, key, runs } of uses) {
          yield* TestClock.adjust(after)
          const body = Effect.acquireUseRelease(
            Effect.sync(() => {
              const now = (running.get(key) ?? 0) + 1
              running.set(key, now)
              return now
            }),
            (now) => now > 1 ? Effect.die(`${now} run`) : Effect.sleep(runs),
            () => Effect.sync(() => running.set(key, (running.get(key) ?? 0) - 1))
          )
          const fiber = yield* start(Effect.exit(limit(key)(body)))
          const exit = fiber.pollUnsafe()
          if (exit !== undefined && Exit.isSuccess(exit)) assert.isFalse(Exit.hasDies(exit.value), key)
        }
      })
  )

  it.effect("does nothing as its twin", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Keyed.noop("a")(Effect.succeed("ok")), "ok")
      assert.deepStrictEqual(yield* Keyed.noop.keys, [])
      assert.strictEqual(yield* (yield* Keyed.noop.get("a"))(Effect.succeed("ok")), "ok")
      yield* Keyed.noop.update({})
    }))

  it.effect("the twins that do nothing stand in for those of every key", () =>
    Effect.gen(function*() {
      const limiters: RateLimiter.KeyedRateLimiter = RateLimiter.noopKeyed
      yield* limiters.block("a")
      yield* limiters.pause("a", "1 hour")
      yield* limiters.update({ limit: 1 })
      assert.strictEqual(yield* limiters("a")(Effect.succeed("ok")), "ok")
      assert.strictEqual(yield* (yield* limiters.get("a")).peek(), Duration.zero)
      const budgets: Effect.Success<ReturnType<typeof RetryBudget.keyed>> = Keyed.of(RetryBudget.noop)
      assert.strictEqual((yield* (yield* budgets.get("a")).inspect).balance, Infinity)
    }))

  it("refuses an idleTimeToLive of zero", () => {
    assert.throws(
      () => limits({ idleTimeToLive: 0 }),
      RangeError,
      "Keyed.make: idleTimeToLive must be a finite duration above zero, got 0"
    )
  })
})
