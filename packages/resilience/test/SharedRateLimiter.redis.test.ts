import { RateLimiter, RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer } from "effect"
import { Redis } from "effect/persistence"
import * as rate from "./support/rate.ts"
import * as redis from "./support/redis.ts"
import * as RedisProcess from "./support/redisProcess.ts"

const inRedis = Effect.provide(rate.storeRedis)

/** The stores of another process: over a connection of its own, with a clock that is off. */
const process = <A, E, R>(millis: number, self: Effect.Effect<A, E, R | RateLimiterStore.RateLimiterStore>) =>
  Effect.clockWith((clock) => {
    const nanos = BigInt(millis) * 1_000_000n
    const shifted: Clock.Clock = {
      ...clock,
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + millis,
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + nanos,
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + nanos,
      sleep: (duration) => clock.sleep(duration)
    }
    return self.pipe(
      Effect.provideService(Clock.Clock, shifted),
      Effect.provide(RateLimiterStore.layerStoreRedis().pipe(Layer.provide(redis.connected)))
    )
  })

/** Calls, each with the server's time before and after it started. */
const call = (limiter: SharedRateLimiter.Limiter, spans: Array<readonly [number, number]>) =>
  Effect.gen(function*() {
    const before = yield* redis.serverTime
    yield* limiter(Effect.void)
    spans.push([before, yield* redis.serverTime])
  })

/**
 * Admissions happened between their two times. However slow the machine is, those
 * that lie wholly within a stretch of time were admitted within it.
 */
const assertWithin = (
  spans: ReadonlyArray<readonly [number, number]>,
  most: (millis: number) => number
) => {
  for (const [from] of spans) {
    for (const [, to] of spans) {
      const inside = spans.filter(([before, after]) => before >= from && after <= to).length
      if (inside > 0) assert.isAtMost(inside, most(to - from), `${to - from} ms`)
    }
  }
}

redis.describeRedis("SharedRateLimiter in Redis", () => {
  it.live("processes whose clocks are 10 s apart share a window of 250 ms", () =>
    Effect.gen(function*() {
      const options = { limit: 10, window: 250, maxWait: "1 minute", maxQueue: 10_000 } as const
      const spans: Array<readonly [number, number]> = []
      yield* Effect.forEach([0, 10_000, -10_000], (shift) =>
        process(
          shift,
          Effect.gen(function*() {
            const limiter = yield* SharedRateLimiter.make(options)
            yield* Effect.all(Array.from({ length: 20 }, () => call(limiter("a"), spans)), {
              concurrency: "unbounded"
            })
          })
        ), { concurrency: "unbounded" })
      assert.strictEqual(spans.length, 60)
      assertWithin(spans, (millis) => 10 + millis / 25 + 1e-6)
    }).pipe(Effect.scoped, inRedis))

  it.live("leased, they start at most the limit and what each may hold", () =>
    Effect.gen(function*() {
      const [processes, size] = [3, 8]
      const options = { limit: 40, window: 250, maxWait: "1 minute", maxQueue: 10_000, lease: { size } } as const
      const spans: Array<readonly [number, number]> = []
      yield* Effect.forEach(Array.from({ length: processes }, (_, i) => i * 10_000), (shift) =>
        process(
          shift,
          Effect.gen(function*() {
            const limiter = yield* SharedRateLimiter.make(options)
            for (let round = 0; round < 4; round++) {
              yield* Effect.all(Array.from({ length: 20 }, () => call(limiter("a"), spans)), {
                concurrency: "unbounded"
              })
              yield* Effect.sleep(50)
            }
          })
        ), { concurrency: "unbounded" })
      assert.strictEqual(spans.length, processes * 80)
      assertWithin(spans, (millis) => 40 + (millis * 40) / 250 + processes * size + 1e-6)
    }).pipe(Effect.scoped, inRedis))

  it.live("a pause by one process holds what is queued in another", () =>
    Effect.gen(function*() {
      const options = { limit: 1_000, window: 100, maxWait: "1 minute" } as const
      const here = (yield* SharedRateLimiter.make(options))("a")
      yield* here.pause(500)
      const spans: Array<readonly [number, number]> = []
      const queued = yield* Effect.forkChild(call(here, spans), { startImmediately: true })
      const before = yield* process(
        10_000,
        Effect.gen(function*() {
          const there = (yield* SharedRateLimiter.make(options))("a")
          const before = yield* redis.serverTime
          yield* there.pause(1_000)
          return before
        })
      )
      yield* Fiber.join(queued)
      const startedBy = spans[0]?.[1] ?? 0
      // On a machine that is too slow for the second pause to find it waiting, it started before.
      if (startedBy > before + 400) assert.isAtLeast(startedBy, before + 1_000)
    }).pipe(Effect.scoped, inRedis))

  it.live("a flushed script cache goes unnoticed", () =>
    Effect.gen(function*() {
      const { send } = yield* Redis.Redis
      const limiter = (yield* SharedRateLimiter.make({ limit: 5, window: "1 hour", onStoreError: "fail" }))("a")
      for (let i = 0; i < 5; i++) {
        yield* limiter(Effect.void)
        yield* send("SCRIPT", "FLUSH")
      }
      assert.instanceOf(yield* Effect.flip(limiter(Effect.void)), RateLimiter.RateLimitExceeded)
    }).pipe(Effect.scoped, inRedis))

  it.live("answers that come late and out of their order cost nothing", () =>
    Effect.gen(function*() {
      const options = { algorithm: "fixed-window", limit: 6, window: "1 hour" } as const
      const real = yield* Redis.Redis
      let turn = 0
      /** Holds every second answer back for longer than it is waited for. */
      const slow: Redis.Redis["Service"] = {
        ...real,
        eval: (script) => (...params) =>
          Effect.flatMap(
            real.eval(script)(...params),
            (reply) => turn++ % 2 === 0 ? Effect.delay(Effect.succeed(reply), 150) : Effect.succeed(reply)
          )
      }
      const store = yield* Layer.build(
        RateLimiterStore.layerStoreRedis().pipe(Layer.provide(Layer.succeed(Redis.Redis, slow)))
      )
      const limiters = yield* Effect.provide(
        SharedRateLimiter.make({ ...options, onStoreError: "fail", storeTimeout: 50 }),
        store
      )
      let ran = 0
      for (let i = 0; i < 8; i++) {
        yield* Effect.exit(limiters("a")(Effect.sync(() => ran++)))
      }
      // All that is late is given back once it came.
      const peek = (yield* SharedRateLimiter.make(options))("a").peek()
      let { available } = yield* peek
      for (let i = 0; i < 100 && available !== 6 - ran; i++) {
        yield* Effect.sleep(20)
        available = (yield* peek).available
      }
      assert.strictEqual(available + ran, 6)
    }).pipe(Effect.scoped, inRedis))

  it.live(
    "a server that is killed and started anew is used again; meanwhile calls run or fail as told",
    () =>
      Effect.gen(function*() {
        const server = yield* RedisProcess.make
        const connection = yield* Layer.build(
          RateLimiterStore.layerStoreRedis().pipe(Layer.provide(NodeRedis.layer({ url: server.url })))
        )
        const make = (onStoreError: "allow" | "fail") =>
          Effect.provide(
            SharedRateLimiter.make({ limit: 2, window: "1 hour", onStoreError, storeTimeout: 300 }),
            connection
          )
        const allowing = yield* make("allow")
        const failing = yield* make("fail")
        yield* allowing("a")(Effect.void)
        yield* failing("a")(Effect.void)
        assert.instanceOf(yield* Effect.flip(allowing("a")(Effect.void)), RateLimiter.RateLimitExceeded)
        yield* server.kill
        for (let i = 0; i < 3; i++) yield* allowing("a")(Effect.void)
        assert.instanceOf(yield* Effect.flip(failing("a")(Effect.void)), RateLimiterStore.RateLimiterStoreError)
        yield* server.restart
        let recovered = Exit.isSuccess(yield* Effect.exit(failing("b").peek()))
        for (let i = 0; i < 100 && !recovered; i++) {
          yield* Effect.sleep(50)
          recovered = Exit.isSuccess(yield* Effect.exit(failing("b").peek()))
        }
        assert.isTrue(recovered)
        // It has forgotten the limit, and begins to count anew.
        yield* failing("c").weigh(2)(Effect.void)
        assert.instanceOf(yield* Effect.flip(allowing("c")(Effect.void)), RateLimiter.RateLimitExceeded)
      }).pipe(Effect.scoped),
    30_000
  )

  it.live("a server's clock that goes back holds nothing up", () =>
    Effect.gen(function*() {
      const { send } = yield* Redis.Redis
      const store = yield* RateLimiterStore.RateLimiterStore
      const spec = rate.spec({ algorithm: "token-bucket", limit: 10, window: "10 seconds" })
      const request = { weights: [10], extra: 0, marked: false }
      yield* store.take("a", spec, request)
      // As if all that is known was of an hour later.
      const hash = redis.hashOf("a")
      for (const field of ["seen", "fullAt", "reckonedAt"]) {
        yield* send("HINCRBYFLOAT", hash, field, "3600000")
      }
      const { wait } = yield* store.peek("a", spec, 1)
      assert.isAtMost(wait, 1_000)
    }).pipe(inRedis))

  it.live("nor does it stop the time for those who are rejected or held", () =>
    Effect.gen(function*() {
      const { send } = yield* Redis.Redis
      const store = yield* RateLimiterStore.RateLimiterStore
      const request = { weights: [1], extra: 0, marked: false }
      const later = ["seen", "fullAt", "reckonedAt", "jumpedAt", "start", "previousStart", "paused"]
      yield* Effect.forEach(rate.algorithms, (algorithm) =>
        Effect.gen(function*() {
          const spec = rate.spec({ algorithm, limit: 1, window: 100 })
          yield* store.take(algorithm, spec, request)
          yield* store.hold(`${algorithm} held`, "pause", 100)
          for (const key of [algorithm, `${algorithm} held`]) {
            for (const field of later) {
              const known = yield* send<string | null>("HGET", redis.hashOf(key), field)
              if (known !== null) yield* send("HINCRBYFLOAT", redis.hashOf(key), field, "3600000")
            }
            for (const member of yield* send<ReadonlyArray<string>>("ZRANGE", `${redis.hashOf(key)}:log`, "0", "-1")) {
              const at = String(Number(member.split("|")[0]) + 3_600_000)
              yield* send("ZREM", `${redis.hashOf(key)}:log`, member)
              yield* send("ZADD", `${redis.hashOf(key)}:log`, at, `${at}|1`)
            }
            // The server's own time ends a key that much later as well.
            yield* send("PEXPIRE", redis.hashOf(key), "3605000")
            // A look doesn't move it, and a rejected call does.
            yield* store.peek(key, spec, 1)
            const { admitted, wait } = yield* store.take(key, spec, request)
            assert.strictEqual(admitted, 0)
            assert.isAtMost(wait, 200)
            yield* Effect.sleep(250)
            assert.strictEqual((yield* store.take(key, spec, request)).admitted, 1, key)
          }
        }), { concurrency: "unbounded" })
    }).pipe(inRedis))

  it.live("the store is not asked to wait: an interrupted call's answer is given back", () =>
    Effect.gen(function*() {
      const limiters = yield* SharedRateLimiter.make({ limit: 1_000, window: "1 hour", algorithm: "fixed-window" })
      let ran = 0
      yield* Effect.all(
        Array.from({ length: 200 }, () => Effect.timeoutOption(limiters("a")(Effect.sync(() => ran++)), 0)),
        { concurrency: "unbounded" }
      )
      let { available } = yield* limiters("a").peek()
      for (let i = 0; i < 100 && available + ran !== 1_000; i++) {
        yield* Effect.sleep(20)
        available = (yield* limiters("a").peek()).available
      }
      assert.strictEqual(available + ran, 1_000)
    }).pipe(Effect.scoped, inRedis))
})
