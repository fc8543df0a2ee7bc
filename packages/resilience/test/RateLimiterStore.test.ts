import { RateLimiterStore } from "@ballast/resilience"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { Redis } from "effect/persistence"
import * as rate from "./support/rate.ts"
import * as redis from "./support/redis.ts"

const Store = RateLimiterStore.RateLimiterStore
const one = { weights: [1], extra: 0, marked: false }

/** Windows are so long that no test depends on how fast it runs, but those that count by the store's own clock. */
const suite = <R>(name: string, store: Layer.Layer<RateLimiterStore.RateLimiterStore | R, unknown>) =>
  layer(store, { excludeTestServices: true })(name, (it) => {
    for (const algorithm of rate.algorithms) {
      const spec = rate.spec({ algorithm, limit: 3, window: "1 hour" })
      const burst = algorithm === "leaky-bucket" ? 1 : 3

      it.effect(`${algorithm}: admits n and rejects n + 1, which takes nothing`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const key = `${algorithm} boundary`
          for (let i = 0; i < burst; i++) {
            const decision = yield* store.take(key, spec, one)
            assert.deepStrictEqual([decision.admitted, decision.wait, decision.blocked], [1, 0, false])
          }
          const rejected = yield* store.take(key, spec, one)
          const again = yield* store.take(key, spec, one)
          for (const { admitted, remaining, wait } of [rejected, again]) {
            assert.strictEqual(admitted, 0)
            assert.isAbove(wait, 0)
            assert.isBelow(remaining, 1)
          }
          assert.isAtMost(again.wait, rejected.wait)
          assert.isAtLeast(again.remaining, rejected.remaining)
        }))

      it.effect(`${algorithm}: admits the weights that fit, in their order, and none past the first that does not`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const wide = rate.spec({ algorithm, limit: 10, window: "1 hour" })
          const key = `${algorithm} prefix`
          const { admitted, wait } = yield* store.take(key, wide, { ...one, weights: [6, 5, 1] })
          assert.strictEqual(admitted, 1)
          assert.isAbove(wait, 0)
          assert.strictEqual((yield* store.take(key, wide, { ...one, weights: [11] })).wait, Infinity)
        }))

      it.effect(`${algorithm}: what is given back may be taken again`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const key = `${algorithm} back`
          const { at } = yield* store.take(key, spec, { ...one, weights: [burst], marked: true })
          assert.strictEqual((yield* store.take(key, spec, one)).admitted, 0)
          yield* store.giveBack(key, spec, burst, at)
          assert.strictEqual((yield* store.take(key, spec, { ...one, weights: [burst] })).admitted, 1)
        }))

      it.effect(`${algorithm}: what is charged beyond the limit is owed, and a reward pays it`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const key = `${algorithm} charge`
          yield* store.charge(key, spec, 7)
          const owing = yield* store.peek(key, spec, 1)
          assert.isBelow(owing.remaining, algorithm === "leaky-bucket" ? 1 : -3.9)
          assert.isAbove(owing.wait, 0)
          yield* store.reward(key, spec, 100)
          assert.strictEqual((yield* store.take(key, spec, { ...one, weights: [burst] })).admitted, 1)
          assert.strictEqual((yield* store.take(key, spec, one)).admitted, 0)
        }))

      it.effect(`${algorithm}: a look takes nothing`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const key = `${algorithm} peek`
          for (let i = 0; i < 5; i++) assert.strictEqual((yield* store.peek(key, spec, burst)).wait, 0)
          assert.strictEqual((yield* store.peek(key, spec, burst + 100)).wait, Infinity)
          assert.strictEqual((yield* store.take(key, spec, { ...one, weights: [burst] })).admitted, 1)
          assert.isAbove((yield* store.peek(key, spec, burst)).wait, 0)
        }))

      it.effect(`${algorithm}: a look by another limit leaves all as it is`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const key = `${algorithm} other`
          const short = rate.spec({ algorithm, limit: 3, window: 1 })
          yield* store.take(key, spec, { ...one, weights: [burst] })
          yield* Effect.sleep(5)
          assert.isAtMost((yield* store.peek(key, short, 1)).wait, 1)
          for (const other of rate.algorithms.filter((other) => other !== algorithm)) {
            const look = yield* store.peek(key, rate.spec({ algorithm: other, limit: 3, window: "1 hour" }), 1)
            assert.deepStrictEqual([look.wait, look.reset], [0, 0])
          }
          assert.strictEqual((yield* store.take(key, spec, one)).admitted, 0)
        }))

      it.effect(`${algorithm}: limit 1 admits exactly one of 1,000 at once`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const single = rate.spec({ algorithm, limit: 1, window: "1 hour" })
          const decisions = yield* Effect.all(
            Array.from({ length: 1_000 }, () => store.take(`${algorithm} single`, single, one)),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(decisions.reduce((sum, { admitted }) => sum + admitted, 0), 1)
        }))
    }

    it.effect("admits no more than the burst at once, at whatever rate", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const spec = rate.spec({ algorithm: "token-bucket", limit: 2_000, window: 1, burst: 2 })
        const weights = Array.from({ length: 10 }, () => 1)
        assert.strictEqual((yield* store.take("fast", spec, { ...one, weights })).admitted, 2)
        const besides = yield* store.take("fast besides", spec, { ...one, extra: 10 })
        assert.deepStrictEqual([besides.admitted, besides.extra], [1, 1])
      }))

    it.effect("takes what there is besides, up to what is asked", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const spec = rate.spec({ algorithm: "fixed-window", limit: 10, window: "1 hour" })
        const first = yield* store.take("extra", spec, { weights: [2], extra: 5, marked: true })
        assert.deepStrictEqual([first.admitted, first.extra, first.remaining], [1, 5, 3])
        const second = yield* store.take("extra", spec, { weights: [1, 1], extra: 5, marked: true })
        assert.deepStrictEqual([second.admitted, second.extra, second.remaining], [2, 1, 0])
        const third = yield* store.take("extra", spec, { weights: [1], extra: 5, marked: true })
        assert.deepStrictEqual([third.admitted, third.extra], [0, 0])
      }))

    it.effect("a pause lets nothing through, and a shorter one doesn't shorten it", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const spec = rate.spec({ algorithm: "token-bucket", limit: 10, window: "1 hour" })
        yield* store.hold("pause", "pause", 60_000)
        yield* store.hold("pause", "pause", 10)
        const held = yield* store.take("pause", spec, { ...one, extra: 3 })
        assert.deepStrictEqual([held.admitted, held.extra, held.blocked], [0, 0, false])
        assert.isAbove(held.wait, 1_000)
        assert.isAtMost(held.wait, 60_000)
        yield* store.release("pause", "pause")
        assert.strictEqual((yield* store.take("pause", spec, one)).admitted, 1)
      }))

    it.effect("a block says so", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const spec = rate.spec({ algorithm: "sliding-log", limit: 10, window: "1 hour" })
        yield* store.take("block", spec, one)
        yield* store.hold("block", "block", 60_000)
        const held = yield* store.take("block", spec, one)
        assert.deepStrictEqual([held.admitted, held.blocked, held.remaining], [0, true, 9])
        assert.isTrue((yield* store.peek("block", spec, 1)).blocked)
        yield* store.release("block", "block")
        assert.deepStrictEqual((yield* store.take("block", spec, one)).remaining, 8)
      }))

    for (const [open, off] of [[500, 0], [1_000, 500]] as const) {
      it.effect(`${open} open reservations are corrected to their true cost`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const spec = rate.spec({ algorithm: "token-bucket", limit: 100_000, window: "10 days" })
          const key = `${open} open`
          const times = yield* Effect.forEach(
            Array.from({ length: open }),
            () => Effect.map(store.take(key, spec, { weights: [100], extra: 0, marked: true }), ({ at }) => at),
            { concurrency: 100 }
          )
          // After a reward only a mark tells what may be given back.
          yield* store.reward(key, spec, 0)
          yield* Effect.forEach(times, (at) => store.giveBack(key, spec, 90, at), { concurrency: 100 })
          const { remaining } = yield* store.peek(key, spec, 1)
          assert.closeTo(remaining, 100_000 - open * 10 - off / 2, off / 2 + 5)
        }))
    }

    it.effect("keys know nothing of each other", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const spec = rate.spec({ algorithm: "fixed-window", limit: 1, window: "1 hour" })
        for (const key of ["a", "b", "", "{", "}", "{}", "a}", "ä 🙂"]) {
          assert.strictEqual((yield* store.take(key, spec, one)).admitted, 1, key)
          assert.strictEqual((yield* store.take(key, spec, one)).admitted, 0, key)
        }
      }))

    it.effect("another limit keeps what was taken, another algorithm begins anew", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const small = rate.spec({ algorithm: "token-bucket", limit: 4, window: "1 hour" })
        const large = rate.spec({ algorithm: "token-bucket", limit: 8, window: "1 hour" })
        yield* store.take("change", small, { ...one, weights: [4] })
        const grown = yield* store.take("change", large, { ...one, weights: [4] })
        assert.strictEqual(grown.admitted, 1)
        assert.strictEqual((yield* store.take("change", large, one)).admitted, 0)
        const log = rate.spec({ algorithm: "sliding-log", limit: 4, window: "1 hour" })
        assert.strictEqual((yield* store.take("change", log, { ...one, weights: [4] })).admitted, 1)
        assert.strictEqual((yield* store.take("change", log, one)).admitted, 0)
      }))

    for (const algorithm of ["token-bucket", "fixed-window", "sliding-counter", "sliding-log"] as const) {
      it.effect(`${algorithm}: another limit, and a further one, take nothing from what may be given back`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const key = `${algorithm} back after changes`
          const [first, second] = [100, 90].map((limit) => rate.spec({ algorithm, limit, window: "1 hour" }))
          if (first === undefined || second === undefined) return
          const { at } = yield* store.take(key, first, { ...one, weights: [60] })
          yield* store.giveBack(key, second, 20, at)
          assert.closeTo((yield* store.peek(key, second, 1)).remaining, 50, 0.1)
          yield* store.giveBack(key, first, 40, at)
          assert.closeTo((yield* store.peek(key, first, 1)).remaining, 100, 0.1)
        }))
    }

    for (const algorithm of ["token-bucket", "leaky-bucket"] as const) {
      it.effect(`${algorithm}: a warm-up that is turned on takes back nothing of what has flowed`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const plain = rate.spec({ algorithm, limit: 10, window: "1 second" })
          const warm = rate.spec({ algorithm, limit: 10, window: "1 second", warmUp: "1 minute" })
          for (const change of ["look", "take", "charge"] as const) {
            const key = `${algorithm} warm-up ${change}`
            const { at } = yield* store.take(key, plain, { ...one, weights: [algorithm === "token-bucket" ? 10 : 1] })
            yield* store.charge(key, plain, 20)
            yield* Effect.sleep(100)
            // The warm-up begins at a time between the two, however long a busy machine takes from one request to the next.
            const earliest = (yield* store.peek(key, plain, 1)).at
            if (change === "take") yield* store.take(key, warm, one)
            if (change === "charge") yield* store.charge(key, warm, 0)
            const { at: now, reset } = yield* store.peek(key, warm, 1)
            /** What is left of the flow, and then of the cooling that takes as long as it did. */
            const resetOf = (begin: number) => {
              const owed = (algorithm === "token-bucket" ? 30 : 21) - (begin - at) / 100
              // At first it flows at a third of the rate.
              const flowTime = 180_000 * (Math.sqrt(1 / 9 + 4 * owed * 100 / 180_000) - 1 / 3) / 2
              return 2 * flowTime - (now - begin)
            }
            assert.isAtMost(reset, resetOf(change === "look" ? now : earliest) + 2, change)
            assert.isAtLeast(reset, resetOf(now) - 2, change)
          }
        }))
    }

    for (const algorithm of rate.algorithms) {
      it.effect(`${algorithm}: a rejected call, too, goes over to another limit`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const short = rate.spec({ algorithm, limit: 1, window: 200 })
          const long = rate.spec({ algorithm, limit: 1, window: "1 hour" })
          for (let attempt = 0;; attempt++) {
            const key = `${algorithm} goes over ${attempt}`
            const { at } = yield* store.take(key, short, one)
            const rejected = yield* store.take(key, long, one)
            // On a busy machine the short window may be over before the second request comes.
            if (rejected.at - at >= 200) continue
            assert.strictEqual(rejected.admitted, 0)
            yield* Effect.sleep(500)
            assert.strictEqual((yield* store.take(key, long, one)).admitted, 0)
            return
          }
        }))

      it.effect(`${algorithm}: what is past does not come back with a longer window`, () =>
        Effect.gen(function*() {
          const store = yield* Store
          const key = `${algorithm} past`
          yield* store.take(key, rate.spec({ algorithm, limit: 1, window: 20 }), one)
          yield* Effect.sleep(50)
          const long = rate.spec({ algorithm, limit: 1, window: "1 hour" })
          assert.strictEqual((yield* store.peek(key, long, 1)).wait, 0)
          assert.strictEqual((yield* store.take(key, long, one)).admitted, 1)
        }))
    }

    it.effect("a window of 250 ms lets through what it allows in the time that passed", () =>
      Effect.forEach(rate.algorithms, (algorithm) =>
        Effect.gen(function*() {
          const store = yield* Store
          const spec = rate.spec({ algorithm, limit: 5, window: 250 })
          const key = `${algorithm} window`
          const admissions: Array<number> = []
          const start = (yield* store.peek(key, spec, 1)).at
          const least = algorithm === "leaky-bucket" ? 1 : 5
          let at = start
          // By the store's clock, in which a busy machine may get few requests through.
          while (at < start + 800 || admissions.length < least) {
            const decision = yield* store.take(key, spec, one)
            at = decision.at
            if (decision.admitted === 1) admissions.push(at)
            else yield* Effect.sleep(Math.min(20, Math.max(1, decision.wait)))
          }
          rate.assertWithin(spec, admissions)
        }), { concurrency: "unbounded" }))
  })

describe("RateLimiterStore", () => {
  suite("memory", RateLimiterStore.layerStoreMemory)

  redis.describeRedis("in Redis", () => {
    suite("redis", rate.storeRedis)

    it.live("every key expires, and the braces put all of a limit into one hash slot", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const { send } = yield* Redis.Redis
        for (const algorithm of rate.algorithms) {
          const spec = rate.spec({ algorithm, limit: 3, window: "1 minute" })
          const { at } = yield* store.take(algorithm, spec, { ...one, marked: true })
          yield* store.charge(algorithm, spec, 1)
          yield* store.giveBack(algorithm, spec, 1, at)
          yield* store.hold(algorithm, "pause", 100)
          yield* store.take(algorithm, spec, one)
        }
        yield* store.hold("held", "block", 60_000)
        const keys = yield* send<ReadonlyArray<string>>("KEYS", "*")
        assert.strictEqual(keys.length, 7)
        for (const key of keys) {
          const left = yield* send<number>("PTTL", key)
          assert.isAbove(left, 0, key)
          assert.isAtMost(left, 125_001, key)
          // What is between the first braces, and nothing else, chooses the slot.
          assert.match(key, /^\{ballast:rate:[a-z-]+\}(:log)?$/)
        }
      }).pipe(Effect.provide(rate.storeRedis)))

    it.effect("names a key that holds something else, and what to do", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const { send } = yield* Redis.Redis
        const spec = rate.spec({ algorithm: "token-bucket", limit: 3, window: "1 minute" })
        yield* send("SET", "{ballast:rate:strange}", "no limit")
        for (const use of [store.take("strange", spec, one), store.hold("strange", "block", 1_000)]) {
          const { message } = yield* Effect.flip(use)
          assert.match(message, /the Redis key \{ballast:rate:strange\}.* holds something else: delete it, or choose/)
        }
        yield* send("DEL", "{ballast:rate:strange}")
        assert.strictEqual((yield* store.take("strange", spec, one)).admitted, 1)
      }).pipe(Effect.provide(rate.storeRedis)))
  })
})
