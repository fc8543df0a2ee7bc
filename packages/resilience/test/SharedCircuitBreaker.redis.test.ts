/** Shared circuit breakers on a server whose replies are late and out of order, and which dies and comes back. */
import { CircuitBreaker, CircuitBreakerStore, SharedCircuitBreaker } from "@ballast/resilience"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Random } from "effect"
import { Redis } from "effect/persistence"
import * as RedisServer from "../../../test/support/RedisServer.ts"
import { server } from "./support/circuitStores.ts"
import * as RestartableRedis from "./support/restartableRedis.ts"
import { fail, ok } from "./support/sharedCircuits.ts"

const options = {
  trip: CircuitBreaker.consecutive(2),
  openDuration: "1 hour",
  maxOpenDuration: "1 hour",
  probeTimeout: "1 hour",
  maxStaleness: 0
} satisfies SharedCircuitBreaker.Options

const isRejected = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof CircuitBreaker.CircuitOpen

/** Redis whose replies come after up to 20 more round trips, so that they overtake each other. */
const late = Layer.effect(
  Redis.Redis,
  Effect.map(Redis.Redis, (redis) => ({
    ...redis,
    eval: (script) => (...params) =>
      Effect.tap(
        redis.eval(script)(...params),
        () => Effect.flatMap(Random.nextIntBetween(0, 20), (times) => Effect.repeat(redis.send("PING"), { times }))
      )
  }))
)

/** Redis whose answers to results come after 20 more round trips, and to all else at once. */
const lateResults = Layer.effect(
  Redis.Redis,
  Effect.map(Redis.Redis, (redis) => ({
    ...redis,
    eval: (script) => (...params) =>
      Effect.tap(
        redis.eval(script)(...params),
        () => params.includes("record") ? Effect.repeat(redis.send("PING"), { times: 20 }) : Effect.void
      )
  }))
)

RedisServer.describeRedis("SharedCircuitBreaker in Redis", () => {
  it.layer(server)("with replies that are late and out of order", (it) => {
    it.effect("runs one probe of all processes, and closes and opens as that says", () =>
      Effect.gen(function*() {
        const process = SharedCircuitBreaker.make(options).pipe(
          Effect.provide(CircuitBreakerStore.layerStoreRedis({ prefix: "late" }).pipe(Layer.provide(late)))
        )
        const processes = yield* Effect.all([process, process, process])
        const [one] = processes
        const reached = (tag: string) => Effect.repeat(one.inspect("key"), { until: (state) => state._tag === tag })
        for (let round = 0; round < 6; round++) {
          yield* one.open("key", 1)
          yield* reached("HalfOpen")
          let running = 0
          const release = yield* Deferred.make<void>()
          const succeeds = round % 2 === 0
          const dependency = Effect.suspend(() => {
            running++
            return Effect.andThen(Deferred.await(release), succeeds ? ok : fail)
          })
          const calls = yield* Effect.forEach(
            Array.from({ length: 60 }, (_, n) => processes[n % 3] ?? one),
            (breaker) => Effect.forkChild(Effect.exit(breaker("key")(dependency)))
          )
          yield* Effect.repeat(one.inspect("key"), {
            until: () => calls.filter((call) => call.pollUnsafe() !== undefined).length === 59
          })
          assert.strictEqual(running, 1)
          yield* Deferred.succeed(release, undefined)
          const exits = yield* Effect.forEach(calls, Fiber.join)
          assert.strictEqual(exits.filter(isRejected).length, 59)
          yield* reached(succeeds ? "Closed" : "Open")
        }
      }), 30_000)

    it.effect("lets what is known of a circuit come from the newest request", () =>
      Effect.gen(function*() {
        const redis = yield* Redis.Redis
        const breaker = yield* SharedCircuitBreaker.make({ ...options, maxStaleness: "1 hour" }).pipe(
          Effect.provide(CircuitBreakerStore.layerStoreRedis({ prefix: "newest" }).pipe(Layer.provide(lateResults)))
        )
        for (let round = 0; round < 5; round++) {
          // Its answer says closed, and comes after that to the command.
          assert.strictEqual(yield* breaker("key")(ok), "ok")
          yield* breaker.isolate("key")
          for (let i = 0; i < 40; i++) {
            assert.isTrue(isRejected(yield* Effect.exit(breaker("key")(ok))))
            yield* redis.send("PING")
          }
          yield* breaker.automatic("key")
        }
      }), 30_000)
  })

  it.live(
    "lets every call run while the server is gone, and guards again once it is back",
    () =>
      Effect.gen(function*() {
        const redis = yield* RestartableRedis.make
        const scenario = Effect.gen(function*() {
          const breaker = yield* SharedCircuitBreaker.make({ ...options, storeRetry: 0 })
          const open = Effect.exit(breaker("key")(fail)).pipe(Effect.repeat({ until: isRejected }))
          yield* open
          yield* breaker.close("key")

          let calls = 0
          let stop = false
          const call = Effect.tap(breaker("key")(ok), () =>
            Effect.sync(() => {
              calls++
            }))
          const traffic = yield* Effect.forkChild(
            Effect.all(Array.from({ length: 10 }, () => Effect.repeat(call, { until: () => stop })), {
              concurrency: "unbounded"
            })
          )
          const more = Effect.suspend(() => {
            const enough = calls + 100
            return Effect.repeat(Effect.yieldNow, { until: () => calls >= enough })
          })
          yield* more
          yield* redis.kill
          yield* more
          yield* redis.restart
          yield* more
          stop = true
          // A rejection, or an error of the store, would have ended it.
          yield* Fiber.join(traffic)
          yield* open
          const state = yield* breaker.inspect("key")
          assert.strictEqual(state._tag, "Open")
        })
        yield* Effect.provide(
          scenario,
          CircuitBreakerStore.layerStoreRedis().pipe(
            Layer.provide(NodeRedis.layer({ url: redis.url, disableOfflineQueue: true }))
          )
        )
      }).pipe(Effect.scoped),
    30_000
  )
})
