import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { createConnection } from "node:net"
import * as RedisServer from "./support/RedisServer.ts"

const Connected = Layer.unwrap(Effect.map(RedisServer.RedisServer, ({ url }) => NodeRedis.layer({ url })))

const refuses = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = createConnection(port, "127.0.0.1")
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(false))
    })
    socket.once("error", () => resume(Effect.succeed(true)))
  })

RedisServer.describeRedis("RedisServer", () => {
  it.effect("answers through Effect's Redis", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      assert.strictEqual(yield* redis.send("PING"), "PONG")
    }).pipe(Effect.provide(Connected.pipe(Layer.provide(RedisServer.layer)))))

  it.effect("stops with its scope", () =>
    Effect.gen(function*() {
      const port = yield* Effect.provide(Effect.map(RedisServer.RedisServer, ({ port }) => port), RedisServer.layer)
      assert.isTrue(yield* refuses(port))
    }))
})
