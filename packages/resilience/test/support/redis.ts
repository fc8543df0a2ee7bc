import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { type Clock, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import * as RedisServer from "../../../../test/support/RedisServer.ts"

export { describeRedis, RedisServer } from "../../../../test/support/RedisServer.ts"

/** A connection to the server. */
export const connected = Layer.unwrap(
  Effect.map(RedisServer.RedisServer, ({ url }) => NodeRedis.layer({ url }))
)

/** A server of the tests' own, and a connection to it. */
export const layer = connected.pipe(Layer.provideMerge(RedisServer.layer))

/** Milliseconds on the server's clock. */
export const serverTime = Effect.gen(function*() {
  const redis = yield* Redis.Redis
  const [seconds = "", micros = ""] = yield* redis.send<ReadonlyArray<string>>("TIME")
  return Number(seconds) * 1_000 + Number(micros) / 1_000
})

/** The hash in which a limit is kept. */
export const hashOf = (key: string, prefix = "ballast:rate") => `{${prefix}:${key}}`

/** A clock that says what it is told. */
export const makeClock = (now: () => number): Clock.Clock => {
  const nanos = () => BigInt(Math.round(now() * 1e6))
  return {
    currentTimeMillisUnsafe: now,
    currentTimeMillis: Effect.sync(now),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: () => Effect.never
  }
}
