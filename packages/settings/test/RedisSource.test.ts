import { RedisSource, Settings, type Source } from "@ballast/settings"
import { NodeRedis } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Context, Effect, FileSystem, Layer, Queue, Schema, Scope, Stream } from "effect"
import { Redis } from "effect/persistence"
import { freePort } from "../../../test/support/freePort.ts"
import * as RedisServer from "../../../test/support/RedisServer.ts"
import { startRedis, stop } from "../../../test/support/serverProcess.ts"
import { files } from "./support/fixtures.ts"

const Limits = Schema.Struct({ rate: Schema.Int })

const connect = (url: string) => Effect.map(Layer.build(NodeRedis.layer({ url })), Context.get(Redis.Redis))

const follow = Effect.fnUntraced(function*(source: Source.Source, copies?: string) {
  const settings = yield* Settings.make(Limits, [source], { copies })
  const rates = yield* Queue.unbounded<number>()
  yield* Effect.forkScoped(Stream.runForEach(settings.changes, ({ after }) => Queue.offer(rates, after.rate)), {
    startImmediately: true
  })
  return { settings, rates }
})

RedisServer.describeRedis("RedisSource", () => {
  it.live("is told of changes by the key's own channel, and by a channel with a name", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const redis = yield* connect(url)
      yield* redis.send("CONFIG", "SET", "notify-keyspace-events", "K$g")
      yield* redis.send("SET", "app", "rate: 1")
      const own = yield* follow(RedisSource.make({ connect: connect(url), key: "app", interval: "1 hour" }))
      const named = yield* follow(
        RedisSource.make({ connect: Effect.succeed(redis), key: "app", channel: "app-changed", interval: "1 hour" })
      )
      assert.strictEqual((yield* own.settings.current).rate, 1)
      yield* redis.send("SET", "app", "rate: 2")
      yield* redis.send("PUBLISH", "app-changed", "")
      assert.strictEqual(yield* Queue.take(own.rates), 2)
      assert.strictEqual(yield* Queue.take(named.rates), 2)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(files, RedisServer.layer))), 30_000)

  it.live("is read at intervals when no message comes", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const redis = yield* connect(url)
      yield* redis.send("SET", "app", "rate: 1")
      const { rates } = yield* follow(RedisSource.make({ connect: connect(url), key: "app", interval: "20 millis" }))
      yield* redis.send("SET", "app", "rate: 2")
      assert.strictEqual(yield* Queue.take(rates), 2)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(files, RedisServer.layer))), 30_000)

  it.live("answers from its copy while Redis is down", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.flatMap(FileSystem.FileSystem, (files) => files.makeTempDirectoryScoped())
      const url = yield* Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        yield* Effect.flatMap(connect(url), (redis) => redis.send("SET", "app", "rate: 1"))
        yield* follow(RedisSource.make({ connect: connect(url), key: "app" }), folder)
        return url
      }).pipe(Effect.scoped, Effect.provide(RedisServer.layer))
      const { settings } = yield* follow(RedisSource.make({ connect: connect(url), key: "app" }), folder)
      assert.strictEqual((yield* settings.current).rate, 1)
      const { sources: [source] } = yield* settings.status
      assert.strictEqual(source?.state, "copy")
      assert.strictEqual(source?.reason, "cannot be reached (ECONNREFUSED)")
    }).pipe(Effect.scoped, Effect.provide(files)), 30_000)

  it.live(
    "goes on with what it has while Redis is down, and follows it again when it is back",
    () =>
      Effect.gen(function*() {
        const port = yield* Effect.promise(freePort)
        const url = `redis://127.0.0.1:${port}`
        const running = <A, E, R>(program: Effect.Effect<A, E, R>) =>
          Effect.scoped(Effect.andThen(Effect.acquireRelease(startRedis(port), stop), program))
        const set = (rate: number) => Effect.flatMap(connect(url), (redis) => redis.send("SET", "app", `rate: ${rate}`))
        const { rates, settings } = yield* running(Effect.andThen(
          set(1),
          // It outlives this server.
          Scope.provide(
            follow(RedisSource.make({ connect: connect(url), key: "app", interval: "20 millis" })),
            yield* Effect.scope
          )
        ))
        assert.strictEqual((yield* settings.current).rate, 1)
        yield* running(Effect.gen(function*() {
          yield* set(2)
          assert.strictEqual(yield* Queue.take(rates), 2)
        }))
      }).pipe(Effect.scoped, Effect.provide(files)),
    60_000
  )
})
