import { EtcdSource, Settings } from "@ballast/settings"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Queue, Schema, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import * as EtcdServer from "../../../test/support/EtcdServer.ts"
import { files } from "./support/fixtures.ts"

const Limits = Schema.Struct({ rate: Schema.Int })
const encode = (text: string) => Buffer.from(text).toString("base64")

EtcdServer.describeEtcd("EtcdSource", () => {
  it.live("reads a key and is told of its changes", () =>
    Effect.gen(function*() {
      const { url } = yield* EtcdServer.EtcdServer
      const post = (path: string, body: object) =>
        Effect.scoped(Effect.flatMap(
          HttpClient.execute(HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(url + path), body)),
          (response) => response.text
        ))
      const put = (key: string, value: string) => post("/v3/kv/put", { key: encode(key), value: encode(value) })
      yield* put("app", "rate: 1 # ü")
      const settings = yield* Settings.make(Limits, [EtcdSource.make({ url, key: "app" })])
      const rates = yield* Queue.unbounded<number>()
      yield* Effect.forkScoped(Stream.runForEach(settings.changes, ({ after }) => Queue.offer(rates, after.rate)), {
        startImmediately: true
      })
      assert.strictEqual((yield* settings.current).rate, 1)
      yield* put("other", "rate: 9")
      yield* put("app", "rate: 2")
      assert.strictEqual(yield* Queue.take(rates), 2)
      // Changes that come between a reading and the next watch are not missed.
      for (const rate of [3, 4, 5]) yield* put("app", `rate: ${rate}`)
      while ((yield* Queue.take(rates)) !== 5);
      yield* post("/v3/kv/deleterange", { key: encode("app") })
      while (Option.isNone(Option.fromNullishOr((yield* settings.status).refusal))) {
        yield* Effect.ignore(settings.refresh)
      }
      assert.strictEqual(
        (yield* settings.status).refusal?.error.message,
        "etcd app: the settings were there and are gone"
      )
      assert.strictEqual((yield* settings.current).rate, 5)
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(files, FetchHttpClient.layer, EtcdServer.layer))), 30_000)

  it.live("refuses a wrong value by its place in the key", () =>
    Effect.gen(function*() {
      const { url } = yield* EtcdServer.EtcdServer
      const body = { key: encode("app"), value: encode("# limits\nrate: x\n") }
      yield* Effect.scoped(
        HttpClient.execute(HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(`${url}/v3/kv/put`), body))
      )
      const error = yield* Effect.flip(Settings.make(Limits, [EtcdSource.make({ url, key: "app" })]))
      assert.strictEqual(error.message, `etcd app:2:7: rate: found "x", expected a whole number`)
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(files, FetchHttpClient.layer, EtcdServer.layer))), 30_000)
})
