/** The stores of shared circuits under tests, each with a clock that the test moves. */
import { CircuitBreakerStore } from "@ballast/resilience"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import * as RedisServer from "../../../../test/support/RedisServer.ts"
import * as redisStore from "../../src/internal/circuit/redisStore.ts"

/** Moves the store's clock, and the test's along with it. */
export class StoreClock extends Context.Service<StoreClock, {
  readonly advance: (millis: number) => Effect.Effect<void>
}>()("test/StoreClock") {}

export type Store = CircuitBreakerStore.CircuitBreakerStore | StoreClock

export const memory: Layer.Layer<Store> = Layer.merge(
  CircuitBreakerStore.layerStoreMemory(),
  Layer.succeed(StoreClock, { advance: (millis) => TestClock.adjust(millis) })
)

/** A connection to a server of the tests' own. */
export const connected = Layer.unwrap(Effect.map(RedisServer.RedisServer, ({ url }) => NodeRedis.layer({ url })))

export const server = connected.pipe(Layer.provideMerge(RedisServer.layer), Layer.orDie)

const failure = (operation: string, cause: unknown) =>
  new CircuitBreakerStore.CircuitBreakerStoreError({ operation, cause })

let stores = 0

/**
 * The script in a real server, by a clock that the test moves: it is kept under
 * a key of the store's own, in milliseconds, and takes the place of the server's.
 */
export const redis: Layer.Layer<Store, never, Redis.Redis> = Layer.effectContext(Effect.gen(function*() {
  const { send } = yield* Redis.Redis
  const prefix = `test-${++stores}`
  const clock = `{${prefix}}clock`
  const store = yield* redisStore.make(
    "test",
    { prefix },
    failure,
    `local micros = tonumber(redis.call("GET", "${clock}")) * 1000\n`
  )
  yield* Effect.orDie(send("SET", clock, "0"))
  return Context.make(CircuitBreakerStore.CircuitBreakerStore, store).pipe(
    Context.add(StoreClock, {
      advance: (millis) => Effect.andThen(Effect.orDie(send("INCRBY", clock, `${millis}`)), TestClock.adjust(millis))
    })
  )
}))

/** Declares a test with a store of its own. */
export type Test = <E>(name: string, self: Effect.Effect<void, E, Store | Scope.Scope>) => void

/** Describes the same tests for both stores; those of Redis share a server. */
export const describeStores = (name: string, suite: (test: Test) => void): void => {
  describe(`${name} in memory`, () => {
    suite((name, self) => it.effect(name, () => Effect.provide(self, Layer.fresh(memory))))
  })
  RedisServer.describeRedis(`${name} in Redis`, () => {
    it.layer(server)((it) => {
      suite((name, self) => it.effect(name, () => Effect.provide(self, Layer.fresh(redis))))
    })
  })
}

/** A circuit that opens at the second failure in a row. */
export const spec = (changes?: Partial<CircuitBreakerStore.Spec>): CircuitBreakerStore.Spec => ({
  trip: { _tag: "Consecutive", times: 2, of: "failures" },
  openDurations: [1_000],
  maxOpenDuration: 60_000,
  probes: 1,
  probeThreshold: 1,
  probeTimeout: 5_000,
  ...changes
})
