import { ApolloSource, Field, NacosSource, Settings, type Source } from "@ballast/settings"
import { assert, describe, it } from "@effect/vitest"
import apollo from "ctrip-apollo"
import { Effect, FileSystem, Layer, Redacted, Schema } from "effect"
import { FetchHttpClient, type HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { NacosConfigClient } from "nacos"
import * as ApolloServer from "./support/ApolloServer.ts"
import { type Exchange, inMemory, overHttp } from "./support/exchange.ts"
import { files, until } from "./support/fixtures.ts"
import * as NacosServer from "./support/NacosServer.ts"

const Limits = Schema.Struct({
  rate: Schema.Int.pipe(Field.withDefault(0)),
  retry: Field.section({ times: Schema.Int.pipe(Field.withDefault(3)) })
})

const url = "http://center"

const start = Effect.fnUntraced(
  function*(source: Source.Source<HttpClient.HttpClient>, exchange: Exchange, copies?: string) {
    const settings = yield* Settings.make(Limits, [source], { copies }).pipe(Effect.provide(inMemory(exchange)))
    return {
      settings,
      is: (rate: number) => until(Effect.map(settings.current, (value) => value.rate === rate)),
      state: Effect.map(settings.status, ({ sources: [source] }) => `${source?.state}: ${source?.reason ?? ""}`)
    }
  }
)

const count = (asked: ReadonlyArray<string>, route: string) => asked.filter((line) => line === route).length

describe("Nacos v1", () => {
  const read = "GET /nacos/v1/cs/configs"
  const listen = "POST /nacos/v1/cs/configs/listener"
  const source = NacosSource.make({ url, dataId: "app.yaml" })

  it.effect("is told of a change while its question is held", () =>
    Effect.gen(function*() {
      const server = NacosServer.make()
      yield* server.publish("app.yaml", "rate: 1")
      const { is, settings } = yield* start(source, server.exchange)
      assert.strictEqual((yield* settings.current).rate, 1)
      yield* until(Effect.sync(() => count(server.asked, listen) === 1))
      yield* server.publish("other.yaml", "rate: 7")
      yield* server.publish("app.yaml", "rate: 2")
      yield* is(2)
    }).pipe(Effect.provide(files)))

  it.effect("asks again when the time is up, and reads nothing", () =>
    Effect.gen(function*() {
      const server = NacosServer.make()
      yield* server.publish("app.yaml", "rate: 1")
      yield* start(source, server.exchange)
      yield* until(Effect.sync(() => count(server.asked, listen) === 1))
      yield* TestClock.adjust("5 minutes")
      assert.isAtLeast(count(server.asked, listen), 9)
      assert.isAtMost(count(server.asked, listen), 11)
      assert.strictEqual(count(server.asked, read), 1)
    }).pipe(Effect.provide(files)))

  it.effect("asks for the namespace, and logs in again when its token has expired", () =>
    Effect.gen(function*() {
      const server = NacosServer.make({ password: "p" })
      yield* server.publish("app.yaml", "rate: 1", "prod")
      const secured = NacosSource.make({
        url,
        dataId: "app.yaml",
        namespace: "prod",
        username: "u",
        password: Redacted.make("p")
      })
      const { is, settings } = yield* start(secured, server.exchange)
      assert.strictEqual((yield* settings.current).rate, 1)
      yield* server.expireTokens
      yield* server.publish("app.yaml", "rate: 2", "prod")
      yield* is(2)
    }).pipe(Effect.provide(files)))

  it.effect("refuses a start with wrong credentials", () =>
    Effect.gen(function*() {
      const server = NacosServer.make({ password: "p" })
      const wrong = NacosSource.make({ url, dataId: "app.yaml", username: "u", password: Redacted.make("q") })
      const error = yield* Effect.flip(start(wrong, server.exchange))
      assert.strictEqual(
        error.message,
        "nacos app.yaml: refused the credentials (403), and there is no copy of its settings on disk"
      )
    }).pipe(Effect.provide(files)))

  it.effect("keeps the settings when the configuration is removed", () =>
    Effect.gen(function*() {
      const server = NacosServer.make()
      yield* server.publish("app.yaml", "rate: 1")
      const { settings } = yield* start(source, server.exchange)
      yield* server.remove("app.yaml")
      yield* until(Effect.map(settings.status, ({ refusal }) => refusal !== undefined))
      assert.strictEqual(
        (yield* settings.status).refusal?.error.message,
        "nacos app.yaml: the settings were there and are gone"
      )
      assert.strictEqual((yield* settings.current).rate, 1)
    }).pipe(Effect.provide(files)))

  it.effect("is retried while it is down, slow or starting again, and the settings stay", () =>
    Effect.gen(function*() {
      const server = NacosServer.make()
      yield* server.publish("app.yaml", "rate: 1")
      const { is, settings, state } = yield* start(source, server.exchange)
      yield* server.down(true)
      yield* until(Effect.map(state, (state) => state === "down: cannot be reached (ECONNREFUSED)"))
      const before = server.asked.length
      yield* TestClock.adjust("10 minutes")
      const tries = server.asked.length - before
      assert.isAtLeast(tries, 10)
      assert.isAtMost(tries, 30)
      assert.strictEqual((yield* settings.current).rate, 1)
      yield* server.slow(Effect.sleep("20 seconds"))
      yield* server.down(false)
      yield* until(Effect.map(state, (state) => state === "down: did not answer in time"))
      yield* server.slow(Effect.void)
      yield* server.publish("app.yaml", "rate: 2")
      yield* is(2)
      assert.strictEqual(yield* state, "read: ")
      yield* server.restart
      yield* server.publish("app.yaml", "rate: 3")
      yield* is(3)
    }).pipe(Effect.provide(files)))

  it.effect("that is down at the start is answered from the last accepted copy", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.flatMap(FileSystem.FileSystem, (files) => files.makeTempDirectoryScoped())
      const server = NacosServer.make()
      yield* server.publish("app.yaml", "rate: 1")
      yield* Effect.scoped(Effect.gen(function*() {
        const { is, settings } = yield* start(source, server.exchange, folder)
        yield* server.publish("app.yaml", "rate: 2")
        yield* is(2)
        yield* server.publish("app.yaml", "rate: wrong")
        yield* until(Effect.map(settings.status, ({ refusal }) => refusal !== undefined))
      }))
      yield* server.down(true)
      const { is, settings, state } = yield* start(source, server.exchange, folder)
      assert.strictEqual((yield* settings.current).rate, 2)
      assert.strictEqual(yield* state, "copy: cannot be reached (ECONNREFUSED)")
      yield* server.publish("app.yaml", "rate: 3")
      yield* server.down(false)
      yield* is(3)
      assert.strictEqual(yield* state, "read: ")
    }).pipe(Effect.provide(files)))

  it.live("speaks as npm's client does", () =>
    Effect.gen(function*() {
      const server = NacosServer.make()
      const serverAddr = (yield* overHttp(server.exchange)).replace("http://", "")
      yield* server.publish("app.yaml", "rate: 1")
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new NacosConfigClient({ serverAddr })),
        (client) => Effect.sync(() => client.close())
      )
      assert.strictEqual(yield* Effect.promise(() => client.getConfig("app.yaml", "DEFAULT_GROUP")), "rate: 1")
      const told = Effect.callback<string>((resume) => {
        client.subscribe({ dataId: "app.yaml", group: "DEFAULT_GROUP" }, (text: string) => {
          if (text === "rate: 1") Effect.runFork(server.publish("app.yaml", "rate: 2"))
          else resume(Effect.succeed(text))
        })
      })
      assert.strictEqual(yield* told, "rate: 2")
      const settings = yield* Settings.make(Limits, [
        NacosSource.make({ url: `http://${serverAddr}`, dataId: "app.yaml" })
      ])
      assert.strictEqual((yield* settings.current).rate, 2)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(files, FetchHttpClient.layer))))
})

describe("Nacos v3", () => {
  const source = NacosSource.make({ url, dataId: "app.yaml", api: "v3" })

  it.effect("is read at intervals, where there is no v1", () =>
    Effect.gen(function*() {
      const server = NacosServer.make({ noV1: true })
      yield* server.publish("app.yaml", "rate: 1")
      const { is, settings } = yield* start(source, server.exchange)
      assert.strictEqual((yield* settings.current).rate, 1)
      yield* server.publish("app.yaml", "rate: 2")
      yield* is(2)
    }).pipe(Effect.provide(files)))

  it.effect("may hold nothing at the start", () =>
    Effect.gen(function*() {
      const server = NacosServer.make({ noV1: true })
      const { is, settings } = yield* start(source, server.exchange)
      assert.strictEqual((yield* settings.current).rate, 0)
      yield* server.publish("app.yaml", "rate: 2")
      yield* is(2)
    }).pipe(Effect.provide(files)))
})

describe("Apollo", () => {
  const accessKey = "secret"
  const source = ApolloSource.make({ url, appId: "app", accessKey: Redacted.make(accessKey) })
  const notifications = "GET /notifications/v2"

  it.effect("can't be reached at what is no URL", () =>
    Effect.gen(function*() {
      const wrong = ApolloSource.make({ url: "center", appId: "app" })
      const { message } = yield* Effect.flip(start(wrong, ApolloServer.make({}).exchange))
      assert.include(message, "apollo app/application: cannot be reached (ERR_INVALID_URL)")
    }).pipe(Effect.provide(files)))

  it.effect("is told of a change while its question is held, and signs what it asks", () =>
    Effect.gen(function*() {
      const server = ApolloServer.make({ accessKey })
      yield* server.release("application", { rate: "1", "retry.times": "5" })
      const { is, settings } = yield* start(source, server.exchange)
      assert.deepStrictEqual(yield* settings.current, { rate: 1, retry: { times: 5 } })
      yield* until(Effect.sync(() => count(server.asked, notifications) === 2))
      yield* server.release("application", { rate: "2" })
      yield* is(2)
      assert.strictEqual((yield* settings.current).retry.times, 3)
    }).pipe(Effect.provide(files)))

  it.effect("asks again when the time is up, and reads nothing", () =>
    Effect.gen(function*() {
      const server = ApolloServer.make({ accessKey })
      yield* server.release("application", { rate: "1" })
      yield* start(source, server.exchange)
      yield* until(Effect.sync(() => count(server.asked, notifications) === 2))
      const reads = count(server.asked, "GET /configs/app/default/application")
      yield* TestClock.adjust("5 minutes")
      assert.isAtLeast(count(server.asked, notifications), 6)
      assert.isAtMost(count(server.asked, notifications), 8)
      assert.strictEqual(count(server.asked, "GET /configs/app/default/application"), reads)
    }).pipe(Effect.provide(files)))

  it.effect("refuses a start with a wrong signature", () =>
    Effect.gen(function*() {
      const server = ApolloServer.make({ accessKey: "other" })
      yield* server.release("application", { rate: "1" })
      const error = yield* Effect.flip(start(source, server.exchange))
      assert.strictEqual(
        error.message,
        "apollo app/application: refused the credentials (401), and there is no copy of its settings on disk"
      )
    }).pipe(Effect.provide(files)))

  it.effect("names the key of a wrong value", () =>
    Effect.gen(function*() {
      const server = ApolloServer.make()
      yield* server.release("application", { "retry.times": "many" })
      const error = yield* Effect.flip(start(source, server.exchange))
      assert.strictEqual(
        error.message,
        "apollo app/application key retry.times: retry.times: " +
          "found the text of apollo app/application key retry.times, expected a whole number"
      )
    }).pipe(Effect.provide(files)))

  it.effect("reads a YAML namespace as one text", () =>
    Effect.gen(function*() {
      const server = ApolloServer.make()
      yield* server.release("limits.yaml", { content: "rate: 4\nretry:\n  times: 1\n" })
      const { settings } = yield* start(
        ApolloSource.make({ url, appId: "app", namespace: "limits.yaml" }),
        server.exchange
      )
      assert.deepStrictEqual(yield* settings.current, { rate: 4, retry: { times: 1 } })
    }).pipe(Effect.provide(files)))

  it.effect("is retried while it is down, and after a restart", () =>
    Effect.gen(function*() {
      const server = ApolloServer.make({ accessKey })
      yield* server.release("application", { rate: "1" })
      const { is, state } = yield* start(source, server.exchange)
      yield* server.down(true)
      yield* until(Effect.map(state, (state) => state === "down: cannot be reached (ECONNREFUSED)"))
      yield* server.release("application", { rate: "2" })
      yield* server.down(false)
      yield* is(2)
      yield* server.restart
      yield* server.release("application", { rate: "3" })
      yield* is(3)
    }).pipe(Effect.provide(files)))

  it.live("speaks as npm's client does", () =>
    Effect.gen(function*() {
      const server = ApolloServer.make()
      const host = yield* overHttp(server.exchange)
      yield* server.release("application", { rate: "1" })
      const told = Effect.callback<readonly [string, string]>((resume) => {
        const cluster = apollo({ host, appId: "app" }).cluster("default")
        const namespace = cluster.namespace("application")
        namespace.on("change", ({ newValue, oldValue }) => {
          cluster.enableUpdateNotification(false)
          resume(Effect.succeed([oldValue, newValue]))
        })
        namespace.ready().then(() => {
          // The client takes the first notification as what it has read already.
          const asked = () => server.asked.filter((line) => line === notifications).length
          const next = () =>
            asked() < 2 ? setImmediate(next) : Effect.runFork(server.release("application", { rate: "2" }))
          next()
        })
      })
      assert.deepStrictEqual(yield* told, ["1", "2"])
      const settings = yield* Settings.make(Limits, [ApolloSource.make({ url: host, appId: "app" })])
      assert.strictEqual((yield* settings.current).rate, 2)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(files, FetchHttpClient.layer))))
})
