import { Cache } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber, Option, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { withStepBudget } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const executions = (dependency: { readonly inspect: Effect.Effect<Testing.History<unknown>> }) =>
  Effect.map(dependency.inspect, ({ attempts }) => attempts.length)

/** A dependency that answers 1, 2, 3 and so on, each after a while. */
const counter = (takes = 0) =>
  Effect.sync(() => {
    let n = 0
    const call = Effect.suspend(() => Effect.delay(Effect.succeed(++n), takes))
    return { call, calls: () => n }
  })

const setup = Effect.fnUntraced(function*(options?: Cache.Options<number, string>, takes?: number) {
  const cache = yield* Cache.make<number, string>({ timeToLive: "10 seconds", ...options })
  const { call, calls } = yield* counter(takes)
  return { cache, calls, get: (key = "a") => cache.through(call, key), call }
})

describe("Cache", () => {
  describe("fresh entries", () => {
    it.effect("answer up to their time to live and not at it", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup()
        assert.strictEqual(yield* get(), 1)
        yield* TestClock.adjust("9999 millis")
        assert.strictEqual(yield* get(), 1)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* get(), 2)
        assert.deepStrictEqual(yield* cache.inspect, { size: 1, hits: 1, stale: 0, misses: 2, evictions: 0 })
      }))

    it.effect("are apart by key", () =>
      Effect.gen(function*() {
        const { get } = yield* setup()
        assert.deepStrictEqual([yield* get("a"), yield* get("b"), yield* get("a")], [1, 2, 1])
      }))

    it.effect("live as long as their value says", () =>
      Effect.gen(function*() {
        const { get } = yield* setup({ timeToLive: (value, key) => key === "b" ? Infinity : value === 1 ? 0 : 5 })
        assert.deepStrictEqual([yield* get(), yield* get(), yield* get(), yield* get("b")], [1, 2, 2, 3])
        yield* TestClock.adjust("365 days")
        assert.deepStrictEqual([yield* get(), yield* get("b")], [4, 3])
      }))

    it.effect("are made once for 1,000 callers at a time", () =>
      Effect.gen(function*() {
        const { cache, calls, get } = yield* setup({}, 1_000)
        const answers = yield* Testing.passTime(
          Effect.all(Array.from({ length: 1_000 }, () => get()), { concurrency: "unbounded" })
        )
        assert.deepStrictEqual(new Set(answers), new Set([1]))
        assert.strictEqual(calls(), 1)
        assert.deepStrictEqual(yield* cache.inspect, { size: 1, hits: 0, stale: 0, misses: 1_000, evictions: 0 })
      }))
  })

  describe("failures", () => {
    const ends = { "an error": Exit.fail("error"), "a defect": Exit.die("boom"), "an interruption": Exit.interrupt(1) }
    for (const [what, exit] of Object.entries(ends)) {
      it.effect(`are not kept: ${what}`, () =>
        Effect.gen(function*() {
          const { cache, get } = yield* setup()
          assert.deepStrictEqual(yield* Effect.exit(cache.through(exit, "a")), exit)
          assert.strictEqual(yield* get(), 1)
        }))
    }

    it.effect("are kept when asked, for as long as their cause says, interruptions never", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({
          failureTimeToLive: (cause) => Cause.hasDies(cause) ? "1 second" : "2 seconds"
        })
        yield* Effect.exit(cache.through(Effect.fail("error"), "a"))
        yield* Effect.exit(cache.through(Effect.die("boom"), "b"))
        yield* Effect.exit(cache.through(Effect.interrupt, "c"))
        assert.strictEqual(yield* Effect.flip(get("a")), "error")
        assert.deepStrictEqual(yield* Effect.exit(get("b")), Exit.die("boom"))
        assert.strictEqual(yield* get("c"), 1)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Effect.flip(get("a")), "error")
        assert.strictEqual(yield* get("b"), 2)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* get("a"), 3)
      }))

    it.effect("of a lifetime that can't be told are the call's own, and wedge nothing", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({
          timeToLive: (value) => {
            if (value === 1) throw "boom"
            return value === 2 ? -1 : 1
          }
        })
        assert.deepStrictEqual(yield* Effect.exit(get()), Exit.die("boom"))
        const [reason] = (yield* Effect.flip(Effect.sandbox(get()))).reasons
        assert.isTrue(reason?._tag === "Die" && reason.defect instanceof RangeError)
        assert.strictEqual(yield* get(), 3)
        assert.strictEqual((yield* cache.inspect).size, 1)
      }))
  })

  describe("staleWhileRevalidate", () => {
    const options = { staleWhileRevalidate: "5 seconds" } as const

    it.effect("answers at once and refreshes in the background, once", () =>
      Effect.gen(function*() {
        const { cache, calls, get } = yield* setup(options, 1_000)
        yield* Testing.passTime(get())
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* Effect.all([get(), get()], { concurrency: 2 }), [1, 1])
        yield* Testing.settle
        assert.strictEqual(yield* get(), 1)
        yield* Testing.advance("1 second")
        assert.strictEqual(yield* get(), 2)
        assert.strictEqual(calls(), 2)
        assert.deepStrictEqual(yield* cache.inspect, { size: 1, hits: 1, stale: 3, misses: 1, evictions: 0 })
      }))

    it.effect("waits for the new answer when the old one is past that too", () =>
      Effect.gen(function*() {
        const { get } = yield* setup(options)
        yield* get()
        yield* TestClock.adjust("15 seconds")
        assert.strictEqual(yield* get(), 2)
      }))

    it.effect("goes on with a refresh whose caller is gone", () =>
      Effect.gen(function*() {
        const { get } = yield* setup(options, 1_000)
        yield* Testing.passTime(get())
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.interrupt(yield* start(Effect.andThen(get(), Effect.never)))
        yield* Testing.advance("1 second")
        assert.strictEqual(yield* get(), 2)
      }))

    it.effect("keeps the old answer when a refresh fails, tells so, and tries again", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup(options)
        const recorded = yield* Testing.record(cache.events)
        yield* get()
        yield* TestClock.adjust("10 seconds")
        for (const bad of [Effect.fail("error"), Effect.die("boom")]) {
          assert.strictEqual(yield* cache.through(bad, "a"), 1)
        }
        assert.strictEqual(yield* get(), 1)
        assert.strictEqual(yield* get(), 2)
        const failed = (yield* recorded).filter(({ event }) => event._tag === "RefreshFailed")
        assert.strictEqual(failed.length, 2)
      }))
  })

  describe("a refresh that does not end", () => {
    const options = { timeToLive: "10 seconds", staleWhileRevalidate: "5 seconds", maxItems: 3 } as const
    type Settings = Pick<Cache.Options<unknown, unknown>, "capacity" | "staleWhileRevalidate">

    /** Either cache over a dependency that answers, hangs where the script says so, and answers again. */
    const kinds = {
      effect: Effect.fnUntraced(function*(settings: Settings = {}) {
        const dependency = yield* Testing.script<string, never>([
          Effect.succeed("old"),
          Effect.never,
          Effect.succeed("new")
        ])
        const cache = yield* Cache.make<string>({ ...options, ...settings })
        return { cache, dependency, get: (key = "a") => cache.through(dependency.call, key) }
      }),
      stream: Effect.fnUntraced(function*(settings: Settings = {}) {
        const hangs = Stream.concat(Stream.make("lost"), Stream.never)
        const dependency = yield* Testing.scriptStream<string, never>([Stream.make("old"), hangs, Stream.make("new")])
        const cache = yield* Cache.makeStream<string>({ ...options, ...settings })
        const get = (key = "a") =>
          Effect.map(Stream.runCollect(cache.through(dependency.stream, key)), (items) => items.join())
        return { cache, dependency, get }
      })
    }

    for (const [kind, setup] of Object.entries(kinds)) {
      describe(kind, () => {
        /** The old answer is stale, and the refresh of it hangs. */
        const hanging = Effect.fnUntraced(function*(settings?: Settings) {
          const made = yield* setup(settings)
          const recorded = yield* Testing.record(made.cache.events)
          yield* made.get()
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual(yield* made.get(), "old")
          yield* Testing.settle
          assert.strictEqual((yield* made.dependency.inspect).running, 1)
          const failed = Effect.map(recorded, (all) => all.filter(({ event }) => event._tag === "RefreshFailed"))
          return { ...made, failed }
        })

        it.effect("is one, though callers come before it has begun", () =>
          Effect.gen(function*() {
            for (let budget = 3; budget <= 16; budget++) {
              const { dependency, get } = yield* setup()
              yield* get()
              yield* TestClock.adjust("10 seconds")
              const stale = withStepBudget(budget)(get())
              yield* Effect.all([stale, stale, stale], { concurrency: "unbounded" })
              yield* Testing.advance("1 minute")
              assert.deepInclude(yield* dependency.inspect, { running: 0 }, String(budget))
            }
          }))

        it.effect("is stopped when the old answer is not served any more, and the next call starts anew", () =>
          Effect.gen(function*() {
            const { dependency, failed, get } = yield* hanging()
            yield* Testing.advance("4999 millis")
            assert.strictEqual(yield* get(), "old")
            assert.strictEqual((yield* dependency.inspect).running, 1)
            yield* Testing.advance("1 millis")
            assert.strictEqual((yield* dependency.inspect).running, 0)
            assert.strictEqual(yield* get(), "new")
            assert.strictEqual(yield* executions(dependency), 3)
            assert.deepStrictEqual((yield* failed).map(({ at }) => at), [15_000])
          }))

        it.effect("is not joined by a call that comes at the same moment", () =>
          Effect.gen(function*() {
            const made = yield* setup()
            // Its time comes before that of the refresh, which is set later.
            const caller = yield* start(Effect.delay(Effect.suspend(() => made.get()), "15 seconds"))
            yield* made.get()
            yield* TestClock.adjust("10 seconds")
            yield* made.get()
            yield* Testing.settle
            yield* TestClock.adjust("5 seconds")
            yield* Testing.settle
            assert.deepStrictEqual(caller.pollUnsafe(), Exit.succeed("new"))
            assert.strictEqual((yield* made.dependency.inspect).running, 0)
          }))

        it.effect("goes on for those who wait for it, because the old answer was evicted", () =>
          Effect.gen(function*() {
            const { cache, dependency, get } = yield* hanging({ capacity: 1 })
            assert.strictEqual(yield* get("b"), "new")
            const waits = yield* start(get())
            yield* Testing.advance("1 hour")
            assert.strictEqual((yield* dependency.inspect).running, 1)
            assert.isUndefined(waits.pollUnsafe())
            yield* Fiber.interrupt(waits)
            assert.strictEqual((yield* dependency.inspect).running, 0)
            assert.strictEqual((yield* cache.inspect).evictions, 1)
          }))

        it.effect("goes on as long as the old answer is served", () =>
          Effect.gen(function*() {
            const { dependency, get } = yield* hanging({ staleWhileRevalidate: Infinity })
            yield* Testing.advance("365 days")
            assert.strictEqual(yield* get(), "old")
            assert.strictEqual((yield* dependency.inspect).running, 1)
          }))

        for (const how of ["invalidate", "clear"] as const) {
          it.effect(`${how} stops it, which is no failure`, () =>
            Effect.gen(function*() {
              const { cache, dependency, failed, get } = yield* hanging()
              yield* how === "clear" ? cache.clear : cache.invalidate("a")
              yield* Testing.settle
              assert.strictEqual((yield* dependency.inspect).running, 0)
              assert.strictEqual(yield* get(), "new")
              yield* Testing.advance("5 seconds")
              assert.deepStrictEqual(yield* failed, [])
              assert.deepStrictEqual(yield* cache.inspect, { size: 1, hits: 0, stale: 1, misses: 2, evictions: 0 })
            }))
        }
      })
    }

    it.effect("is told once, and not waited for, however long its finalizers take", () =>
      Effect.gen(function*() {
        const cache = yield* Cache.make<string>(options)
        const recorded = yield* Testing.record(cache.events)
        const hangs = Effect.ensuring(Effect.never, Effect.sleep("1 hour"))
        const caller = yield* start(Effect.delay(cache.through(Effect.succeed("new"), "a"), "15 seconds"))
        yield* cache.through(Effect.succeed("old"), "a")
        yield* TestClock.adjust("10 seconds")
        yield* cache.through(hangs, "a")
        yield* Testing.advance("5 seconds")
        assert.deepStrictEqual(caller.pollUnsafe(), Exit.succeed("new"))
        yield* Testing.advance("2 hours")
        assert.deepStrictEqual((yield* recorded).map(({ at, event }) => [at, event._tag]), [
          [0, "Miss"],
          [0, "Stored"],
          [10_000, "Stale"],
          [15_000, "RefreshFailed"],
          [15_000, "Miss"],
          [15_000, "Stored"]
        ])
      }))

    it.effect("is stopped as soon as it is too long to be kept", () =>
      Effect.gen(function*() {
        const cache = yield* Cache.makeStream<number>(options)
        const recorded = yield* Testing.record(cache.events)
        const seconds = Stream.mapEffect(Stream.range(1, Infinity), (n) => Effect.delay(Effect.succeed(n), "1 second"))
        const dependency = yield* Testing.scriptStream([Stream.make(0), seconds, Stream.make(1, 2, 3)])
        const get = Stream.runCollect(cache.through(dependency.stream, "a"))
        yield* get
        yield* TestClock.adjust("10 seconds")
        yield* get
        yield* Testing.advance("3999 millis")
        assert.strictEqual((yield* dependency.inspect).running, 1)
        yield* Testing.advance("1 millis")
        assert.strictEqual((yield* dependency.inspect).running, 0)
        assert.strictEqual((yield* recorded).filter(({ event }) => event._tag === "RefreshFailed").length, 1)
        assert.deepStrictEqual(yield* get, [0])
        yield* Testing.settle
        assert.deepStrictEqual(yield* get, [1, 2, 3])
      }))
  })

  describe("staleIfError", () => {
    const options = { staleIfError: "5 seconds" } as const
    const fails = Effect.fail("error")

    it.effect("answers with the old answer when a new one fails, up to its time", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup(options)
        yield* get()
        yield* TestClock.adjust("14999 millis")
        assert.strictEqual(yield* cache.through(fails, "a"), 1)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* Effect.flip(cache.through(fails, "a")), "error")
        assert.deepStrictEqual(yield* cache.inspect, { size: 0, hits: 0, stale: 1, misses: 3, evictions: 0 })
      }))

    it.effect("is not for defects, interruptions and the errors that staleWhen leaves out", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({ ...options, staleWhen: (error) => error !== "not found" })
        yield* get()
        yield* TestClock.adjust("10 seconds")
        for (const exit of [Exit.fail("not found"), Exit.die("boom"), Exit.interrupt(1)]) {
          assert.deepStrictEqual(yield* Effect.exit(cache.through(exit, "a")), exit)
        }
        assert.strictEqual(yield* cache.through(fails, "a"), 1)
      }))

    it.effect("is not undone by a failure that is kept, nor by time alone", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({ ...options, failureTimeToLive: "1 minute" })
        yield* get()
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* cache.through(fails, "a"), 1)
        assert.strictEqual(yield* get(), 2)
      }))

    it.effect("does not bring back what was invalidated meanwhile", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup(options)
        yield* get()
        yield* TestClock.adjust("10 seconds")
        const caller = yield* start(Effect.flip(cache.through(Effect.delay(fails, "1 second"), "a")))
        yield* Testing.settle
        yield* cache.invalidate("a")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(caller), "error")
      }))
  })

  describe("by hand", () => {
    for (const how of ["invalidate", "clear"] as const) {
      it.effect(`${how} drops what is kept, and what is under way`, () =>
        Effect.gen(function*() {
          const { cache, get } = yield* setup({}, 1_000)
          const drop = how === "clear" ? cache.clear : cache.invalidate("a")
          yield* Testing.passTime(get())
          yield* drop
          const old = yield* start(get())
          yield* Testing.settle
          yield* drop
          const young = yield* start(get())
          yield* Testing.advance("1 second")
          assert.deepStrictEqual([yield* Fiber.join(old), yield* Fiber.join(young)], [2, 3])
          assert.strictEqual(yield* get(), 3)
        }))
    }

    it.effect("invalidate keeps what is under way from being kept, even if nobody asks anew", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({}, 1_000)
        const caller = yield* start(get())
        yield* Testing.settle
        yield* cache.invalidate("a")
        yield* Testing.advance("1 second")
        assert.strictEqual(yield* Fiber.join(caller), 1)
        assert.strictEqual((yield* cache.inspect).size, 0)
      }))

    it.effect("invalidate leaves other keys alone", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup()
        yield* Effect.all([get("a"), get("b")])
        yield* cache.invalidate("a")
        assert.deepStrictEqual([yield* get("a"), yield* get("b")], [3, 2])
      }))

    it.effect("get looks for a fresh answer, and runs nothing", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({ timeToLive: "10 millis", staleIfError: "1 hour" })
        assert.deepStrictEqual(yield* cache.get("a"), Option.none())
        yield* get("a")
        assert.deepStrictEqual(yield* cache.get("a"), Option.some(1))
        yield* TestClock.adjust("10 millis")
        assert.deepStrictEqual(yield* cache.get("a"), Option.none())
        const { hits, misses } = yield* cache.inspect
        assert.deepStrictEqual([hits, misses], [1, 1])
      }))

    it.effect("invalidateWhere drops what is meant by its answer", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup()
        yield* Effect.all([get("a"), get("b")])
        assert.strictEqual(yield* cache.invalidateWhere((_key, _storedAt, answer) => answer === 2), 1)
        assert.deepStrictEqual([yield* get("a"), yield* get("b")], [1, 3])
      }))

    it.effect("invalidateWhere drops what is meant by key and by age", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup()
        yield* get("a")
        yield* TestClock.adjust("5 millis")
        const now = yield* Clock.currentTimeMillis
        yield* Effect.all([get("b"), get("c")])
        assert.strictEqual(yield* cache.invalidateWhere((key, storedAt) => key !== "c" && storedAt >= now), 1)
        assert.deepStrictEqual([yield* get("a"), yield* get("b"), yield* get("c")], [1, 4, 3])
      }))

    it.effect("invalidateWhere gives times of the wall clock, and ages that hold when it is corrected", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(60_000)
        yield* TestClock.setTime(20_000)
        const { cache, get } = yield* setup()
        yield* get("a")
        yield* TestClock.adjust("5 seconds")
        yield* TestClock.setTime(1_000)
        yield* get("b")
        const times = new Map<string, number>()
        yield* cache.invalidateWhere((key, storedAt) => {
          times.set(key, storedAt)
          return false
        })
        assert.deepStrictEqual(Array.from(times), [["a", -4_000], ["b", 1_000]])
      }))

    it.effect("update changes times from now on and the capacity at once", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup()
        yield* Effect.all(["a", "b", "c"].map(get))
        yield* cache.update({ timeToLive: "1 minute", capacity: 2 })
        assert.strictEqual((yield* cache.inspect).size, 2)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* get("c"), 4)
        yield* TestClock.adjust("59 seconds")
        assert.strictEqual(yield* get("c"), 4)
        assert.throws(() => cache.update({ capacity: 0 }), RangeError, "Cache.update: capacity must be an integer")
      }))
  })

  describe("capacity", () => {
    it.effect("is never passed, and spares what was used again", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({ capacity: 3 })
        yield* Effect.all(["a", "b", "c", "a"].map(get))
        yield* get("d")
        assert.strictEqual(yield* get("a"), 1)
        assert.deepStrictEqual(yield* cache.inspect, { size: 3, hits: 2, stale: 0, misses: 4, evictions: 1 })
        assert.strictEqual(yield* get("b"), 5)
      }))

    it.effect("keeps the few that are asked for often through a scan of many", () =>
      Effect.gen(function*() {
        const { cache, get } = yield* setup({ capacity: 20 })
        const often = ["x", "y", "z"]
        yield* Effect.forEach([...often, ...often], get)
        for (let n = 0; n < 1_000; n++) {
          yield* get(`once ${n}`)
          if (n % 5 === 0) yield* Effect.forEach(often, get)
        }
        const { evictions, hits, size } = yield* cache.inspect
        assert.deepStrictEqual([hits, size, evictions], [603, 20, 983])
      }))

    it.effect.prop("holds for any order of calls", {
      keys: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 }))),
      capacity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 6 }))
    }, ({ capacity, keys }) =>
      Effect.gen(function*() {
        const { cache, call } = yield* setup({ capacity })
        for (const key of keys) {
          yield* cache.through(call, `${key}`)
          assert.isAtMost((yield* cache.inspect).size, capacity)
          const { hits } = yield* cache.inspect
          yield* cache.through(call, `${key}`)
          assert.strictEqual((yield* cache.inspect).hits, hits + 1)
        }
        const { evictions, misses, size } = yield* cache.inspect
        assert.strictEqual(size, misses - evictions)
      }))
  })

  it.effect.prop("answers what a model of it answers", {
    steps: Schema.Array(Schema.Struct({
      after: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
      key: Schema.Literals(["a", "b"]),
      fails: Schema.Boolean,
      invalidates: Schema.Literals([true, false, false, false])
    }))
  }, ({ steps }) =>
    Effect.gen(function*() {
      const cache = yield* Cache.make<number, string>({
        timeToLive: 10,
        staleWhileRevalidate: 5,
        staleIfError: 15,
        failureTimeToLive: 3
      })
      const model = new Map<string, { readonly value: number | undefined; readonly at: number }>()
      let now = 0
      let n = 0
      for (const { after, fails, invalidates, key } of steps) {
        yield* Testing.advance(after)
        now += after
        if (invalidates) {
          yield* cache.invalidate(key)
          model.delete(key)
        }
        n++
        const old = model.get(key)
        const age = old === undefined ? Infinity : now - old.at
        const fresh = old !== undefined && age < (old.value === undefined ? 3 : 10)
        const stale = old?.value !== undefined && !fresh && age < 15
        const rescued = old?.value !== undefined && age < 25
        if (!fresh) {
          if (!fails) model.set(key, { value: n, at: now })
          else if (!rescued) model.set(key, { value: undefined, at: now })
        }
        const expected = fresh || stale ? old?.value : fails ? (rescued ? old?.value : undefined) : n
        const answer = yield* Effect.option(cache.through(fails ? Effect.fail("error") : Effect.succeed(n), key))
        assert.strictEqual(answer._tag === "Some" ? answer.value : undefined, expected)
      }
    }))

  for (const victim of ["a caller that misses", "a caller that shares", "a caller that refreshes"] as const) {
    it.effect(`leaves nothing behind when it is interrupted at any step: ${victim}`, () =>
      Testing.interruptEverywhere({
        setup: Effect.gen(function*() {
          const dependency = yield* Testing.script([Effect.delay(Effect.succeed("ok"), "1 second")])
          const cache = yield* Cache.make<string>({ timeToLive: "1 hour", staleWhileRevalidate: "1 hour" })
          if (victim === "a caller that refreshes") {
            yield* cache.through(Effect.succeed("old"), "a")
            yield* TestClock.adjust("1 hour")
          }
          return { dependency, cache, get: cache.through(dependency.call, "a") }
        }),
        run: ({ get }) => get,
        beside: ({ get }) => victim === "a caller that shares" ? get : Effect.void,
        check: ({ cache, dependency, get }) =>
          Effect.gen(function*() {
            // A refresh goes on without its caller.
            yield* Testing.advance("2 seconds")
            assert.strictEqual((yield* dependency.inspect).running, 0)
            const before = yield* executions(dependency)
            yield* Testing.passTime(Effect.replicateEffect(get, 2))
            yield* Testing.advance("2 seconds")
            assert.isAtMost(yield* executions(dependency), before + 1)
            assert.strictEqual(yield* get, "ok")
            assert.strictEqual((yield* cache.inspect).size, 1)
          })
      }))
  }

  describe("streams", () => {
    const setup = Effect.fnUntraced(function*(
      options: Cache.StreamOptions<number, string>,
      ...streams: [
        Stream.Stream<number, string>,
        ...Array<Stream.Stream<number, string>>
      ]
    ) {
      const cache = yield* Cache.makeStream<number, string>({ timeToLive: "10 seconds", ...options })
      const dependency = yield* Testing.scriptStream(streams)
      return { cache, dependency, get: Stream.runCollect(dependency.stream.pipe(cache.through("a"))) }
    })
    const cut = Stream.concat(Stream.make(1, 2), Stream.fail("cut"))

    it.effect("are replayed when they ended well", () =>
      Effect.gen(function*() {
        const { cache, dependency, get } = yield* setup({}, Stream.make(1, 2, 3), Stream.make(4))
        assert.deepStrictEqual(yield* get, [1, 2, 3])
        assert.deepStrictEqual(yield* get, [1, 2, 3])
        assert.strictEqual(yield* executions(dependency), 1)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* get, [4])
        assert.deepStrictEqual(yield* cache.inspect, { size: 1, hits: 1, stale: 0, misses: 2, evictions: 0 })
      }))

    it.effect("are not kept when they were cut, or left by their consumers, or too long", () =>
      Effect.gen(function*() {
        const { cache, dependency, get } = yield* setup(
          { maxItems: 3 },
          cut,
          Stream.concat(Stream.make(1), Stream.never),
          Stream.make(1, 2, 3, 4),
          Stream.make(1, 2, 3)
        )
        assert.strictEqual(yield* Effect.flip(get), "cut")
        yield* Stream.runHead(cache.through(dependency.stream, "a"))
        assert.deepStrictEqual(yield* get, [1, 2, 3, 4])
        assert.deepStrictEqual(yield* get, [1, 2, 3])
        assert.deepStrictEqual(yield* get, [1, 2, 3])
        assert.strictEqual(yield* executions(dependency), 4)
      }))

    it.effect("are shared while they run, from the first item on", () =>
      Effect.gen(function*() {
        const items = Stream.mapEffect(Stream.make(1, 2, 3), (n) => Effect.delay(Effect.succeed(n), "1 second"))
        const { dependency, get } = yield* setup({}, items)
        const both = Effect.all([get, Effect.delay(get, "1500 millis")], { concurrency: 2 })
        assert.deepStrictEqual(yield* Testing.passTime(both), [[1, 2, 3], [1, 2, 3]])
        assert.strictEqual(yield* executions(dependency), 1)
      }))

    it.effect("are served stale while they are refreshed in the background", () =>
      Effect.gen(function*() {
        const { get } = yield* setup({ staleWhileRevalidate: "5 seconds" }, Stream.make(1), Stream.make(2))
        yield* get
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* get, [1])
        yield* Testing.settle
        assert.deepStrictEqual(yield* get, [2])
      }))

    it.effect("are served stale when they fail before their first item, and not after", () =>
      Effect.gen(function*() {
        const { get } = yield* setup({ staleIfError: "5 seconds" }, Stream.make(9), Stream.fail("down"), cut)
        yield* get
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* get, [9])
        assert.strictEqual(yield* Effect.flip(get), "cut")
      }))

    it.effect("leave nothing behind when they are interrupted at any step", () =>
      Testing.interruptEverywhere({
        setup: setup({}, Stream.mapEffect(Stream.make(1, 2), (n) => Effect.delay(Effect.succeed(n), "1 second"))),
        run: ({ get }) => get,
        check: ({ dependency, get }) =>
          Effect.gen(function*() {
            assert.strictEqual((yield* dependency.inspect).running, 0)
            assert.deepStrictEqual(yield* Testing.passTime(get), [1, 2])
            assert.deepStrictEqual(yield* get, [1, 2])
          }),
        budgets: [3, 4, 5, 6, 7, 9, 12, 16, 24, 32, 48, 64]
      }))
  })

  it.effect("tells what happens", () =>
    Effect.gen(function*() {
      const { cache, get } = yield* setup({ capacity: 1, staleIfError: "1 minute" })
      const recorded = yield* Testing.record(cache.events)
      yield* get("a")
      yield* get("a")
      yield* TestClock.adjust("10 seconds")
      yield* cache.through(Effect.fail("error"), "a")
      yield* get("b")
      yield* cache.invalidate("b")
      yield* cache.clear
      assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [
        { _tag: "Miss", key: "a" },
        { _tag: "Stored", key: "a", success: true },
        { _tag: "Hit", key: "a" },
        { _tag: "Miss", key: "a" },
        { _tag: "Stale", key: "a", because: "error" },
        { _tag: "Miss", key: "b" },
        { _tag: "Evicted", key: "a" },
        { _tag: "Stored", key: "b", success: true },
        { _tag: "Invalidated", key: "b" },
        { _tag: "Invalidated", key: undefined }
      ])
    }))

  it.effect("counts hits, misses, stale answers, evictions and failed refreshes", () =>
    Effect.gen(function*() {
      const { metrics } = yield* Testing.observe(Effect.gen(function*() {
        const { cache, get } = yield* setup({ name: "prices", capacity: 1, staleWhileRevalidate: "1 minute" })
        yield* Effect.all([get("a"), get("b"), get("b")])
        yield* TestClock.adjust("10 seconds")
        yield* cache.through(Effect.fail("error"), "b")
        yield* cache.through(Effect.never, "b")
        yield* Testing.advance("1 minute")
      }))
      assert.deepStrictEqual(metrics, {
        "ballast_cache_requests_total{name=prices,result=hit}": 1,
        "ballast_cache_requests_total{name=prices,result=miss}": 2,
        "ballast_cache_requests_total{name=prices,result=stale}": 2,
        "ballast_cache_evictions_total{name=prices}": 1,
        "ballast_cache_refresh_failures_total{name=prices}": 2,
        "ballast_single_flight_cancelled_total{name=prices}": 1
      })
    }))

  it.effect("keeps nothing as its twin", () =>
    Effect.gen(function*() {
      const { call } = yield* counter()
      const cache = Cache.noop<number>()
      assert.deepStrictEqual([yield* cache.through(call, "a"), yield* cache.through(call, "a")], [1, 2])
      assert.strictEqual((yield* cache.inspect).misses, 0)
      const streams = Cache.noopStream<number>()
      assert.deepStrictEqual(yield* Stream.runCollect(streams.through(Stream.make(1), "a")), [1])
    }))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [Cache.StreamOptions<number, string>, string]> = [
      [{ capacity: 0 }, "Cache.makeStream: capacity must be an integer of at least 1, got 0"],
      [{ maxItems: 0 }, "Cache.makeStream: maxItems must be an integer of at least 1, got 0"],
      [{ timeToLive: -1 }, "Cache.makeStream: timeToLive must be a duration of at least zero, got -1ms"],
      [{ staleIfError: -1 }, "Cache.makeStream: staleIfError must be a duration of at least zero, got -1ms"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => Cache.makeStream(options), RangeError, message)
      })
    }
  })
})
