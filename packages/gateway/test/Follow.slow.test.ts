import { Registry } from "@ballast/resilience"
import { NodeRedis } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { readFileSync } from "node:fs"
import { connect } from "node:tls"
import * as EtcdServer from "../../../test/support/EtcdServer.ts"
import { describeRedis, layer as RedisServerLayer, RedisServer } from "../../../test/support/RedisServer.ts"
import * as ApolloServer from "../../settings/test/support/ApolloServer.ts"
import { overHttp } from "../../settings/test/support/exchange.ts"
import * as NacosServer from "../../settings/test/support/NacosServer.ts"
import { eventually, hello, post, send } from "./harness.ts"
import { gateway, load, provided, service } from "./support/hosts.ts"

const chat = "/v1/chat/completions"

describe("a gateway whose settings change", { timeout: 120_000 }, () => {
  it.live("loses no call in 50 changes under 200 in flight, mixes no two revisions, and keeps its breakers", () =>
    Effect.gen(function*() {
      const url = yield* service(({ model }) => model === "broken" ? 500 : 200)
      const revision = (n: number) =>
        `listen: { port: 0 }
providers:
  p: { type: openai, baseUrl: "${url}", accounts: { main: { keys: [ key-${n} ] } } }
models:
  x: { targets: [ { provider: p, model: "m-${n}", arm: "arm-${n}" } ] }
  broken: { targets: [ { provider: p } ] }
policies:
  retry: { times: 0 }
  circuitBreaker: { minimumCalls: 2, failureRate: ${0.5 + (n % 10) / 100}, openDuration: 1h }
  concurrency: { queue: ${1000 + n} }
`
      const { serve, write } = yield* gateway(revision(0))
      const { port, settings, upstream } = yield* serve
      const at = `http://127.0.0.1:${port}${chat}`
      // The first answer of a name makes its lane, and so its breaker.
      const breakers = Effect.map(
        Effect.flatMap(Registry.Current, (registry) => registry.list({ kind: "circuitBreaker" })),
        (entries) => new Map(entries.map(({ handle, name }) => [name, handle]))
      )
      yield* post(at, { ...hello, model: "x" })
      const before = yield* breakers
      const calls = yield* load(200, post(at, { ...hello, model: "x" }))
      yield* eventually(Effect.sync(() => calls.answers.length > 200))
      yield* before.get("p/main/m-0")!.isolate
      for (let n = 1; n <= 50; n++) {
        yield* write("ballast.yaml", revision(n))
        yield* settings.refresh
        const reached = calls.answers.length + 10
        yield* eventually(Effect.sync(() => calls.answers.length >= reached))
      }
      yield* calls.stop
      assert.strictEqual((yield* settings.status).revision, 51)

      // Only the model that was isolated by hand answers otherwise, and no call to it is lost either.
      const lost = calls.answers.filter(({ json, status }) => status !== 200 && json.error.code !== "circuit_open")
      assert.deepStrictEqual(lost.map(({ text }) => text), [])
      for (const { headers, json, status } of calls.answers) {
        if (status !== 200) continue
        const n = Number(json.model.slice(2))
        assert.strictEqual(headers.get("x-ballast-arm"), `arm-${n}`)
        assert.strictEqual(headers.get("x-ballast-model"), `m-${n}`)
        // Keys belong to the account: a call that waits takes the newest.
        assert.isAtLeast(Number(json.choices[0].message.content.slice(4)), n)
      }
      const revisions = new Set(calls.answers.map(({ json }) => json.model))
      assert.isAbove(revisions.size, 40)

      const after = yield* breakers
      assert.strictEqual(after.get("p/main/m-0"), before.get("p/main/m-0"))
      assert.strictEqual((yield* after.get("p/main/m-0")!.inspect)._tag, "Isolated")
      assert.deepStrictEqual((yield* upstream.router.names).toSorted(), ["broken", "x"])
    }).pipe(Effect.scoped, provided))

  it.live("follows the policies of a model, keeps its circuit, and follows the faults of the simulator", () =>
    Effect.gen(function*() {
      let broken = 0
      const url = yield* service(({ model }) => {
        if (model !== "broken") return 200
        broken++
        return 500
      })
      const yaml = (policies: string, faults: string) =>
        `listen: { port: 0 }
providers:
  p: { type: openai, baseUrl: "${url}", accounts: { main: { keys: [ key ] } } }
  s: { type: simulator }
models:
  broken: { targets: [ { provider: p } ], policies: ${policies} }
  sim: { targets: [ { provider: s, model: deepseek-flash } ] }
simulator: { latency: 0s, timeToFirstToken: 0s, tokensPerSecond: 100000, faults: ${faults} }
policies: { retry: { times: 1, base: 1ms } }
`
      const breaker = "circuitBreaker: { minimumCalls: 3, openDuration: 1h }"
      const { serve, write } = yield* gateway(yaml(`{ retry: { times: 0 }, ${breaker} }`, "[]"))
      const { port, settings } = yield* serve
      const ask = (model: string) =>
        Effect.map(
          post(`http://127.0.0.1:${port}${chat}`, { ...hello, model }),
          ({ json, status }) => status === 200 ? status : `${status} ${json.error.code}`
        )
      const handle = Effect.flatMap(
        Registry.Current,
        (registry) => registry.find("circuitBreaker", "p/main/broken")
      )
      const before = yield* handle
      assert.strictEqual(yield* ask("sim"), 200)
      yield* ask("broken")
      assert.strictEqual(broken, 1)
      yield* write("ballast.yaml", yaml(`{ retry: { times: 2 }, ${breaker} }`, "[ { fault: \"status=422\" } ]"))
      yield* settings.refresh
      // The first try had counted: the circuit opens with the third.
      yield* ask("broken")
      yield* ask("broken")
      const tried = broken
      assert.strictEqual(yield* handle, before)
      assert.strictEqual((yield* before!.inspect)._tag, "Open")
      assert.strictEqual(yield* ask("broken"), "503 circuit_open")
      assert.strictEqual(broken, tried)
      assert.match(String(yield* ask("sim")), /^422 /)
    }).pipe(Effect.scoped, provided))

  it.live("loses no call when the file of a key is replaced", () =>
    Effect.gen(function*() {
      const accepted = new Set(["key-old"])
      const counts = new Map<string, number>()
      const url = yield* service(({ key }) => {
        counts.set(key, (counts.get(key) ?? 0) + 1)
        return accepted.has(key) ? 200 : 401
      })
      const { serve, write } = yield* gateway(`listen: { port: 0 }
providers:
  p: { type: openai, baseUrl: "${url}", accounts: { main: { keys: [ "\${file:p.key}" ] } } }
`)
      yield* write("p.key", "key-old\n")
      const { port } = yield* serve
      const calls = yield* load(50, post(`http://127.0.0.1:${port}${chat}`, { ...hello, model: "x" }))
      yield* eventually(Effect.sync(() => (counts.get("key-old") ?? 0) > 100))
      accepted.add("key-new")
      yield* write("p.key", "key-new\n")
      yield* eventually(Effect.sync(() => (counts.get("key-new") ?? 0) > 200))
      // No call has the old key any more.
      accepted.delete("key-old")
      yield* eventually(Effect.sync(() => (counts.get("key-new") ?? 0) > 400))
      yield* calls.stop
      assert.deepStrictEqual(calls.answers.filter(({ status }) => status !== 200).map(({ text }) => text), [])
    }).pipe(Effect.scoped, provided))

  it.live("takes a renewed certificate for new connections, and refuses one that does not belong to its key", () =>
    Effect.gen(function*() {
      const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}`, import.meta.url), "utf8")
      const { serve, write } = yield* gateway(
        "listen: { port: 0, tls: { certificate: \"${file:tls.crt}\", key: \"${file:tls.key}\" } }"
      )
      yield* write("tls.crt", fixture("first.crt"))
      yield* write("tls.key", fixture("first.key"))
      const { port, settings } = yield* serve
      /** The name in the certificate, and how the gateway answers. */
      const ask = Effect.callback<readonly [string, string]>((resume) => {
        const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
          const name = String(socket.getPeerCertificate().subject.CN)
          let text = ""
          socket.setEncoding("utf8").on("data", (part: string) => text += part)
          socket.on("end", () => resume(Effect.succeed([name, text.split("\r\n")[0]!])))
          socket.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        })
      })
      assert.deepStrictEqual(yield* ask, ["first", "HTTP/1.1 200 OK"])
      yield* write("tls.crt", fixture("second.crt"))
      const refused = yield* Effect.flip(settings.refresh)
      assert.match(refused.message, /listen\.tls: certificate and key can not be used: /)
      assert.deepStrictEqual(yield* ask, ["first", "HTTP/1.1 200 OK"])
      yield* write("tls.key", fixture("second.key"))
      yield* settings.refresh
      assert.deepStrictEqual(yield* ask, ["second", "HTTP/1.1 200 OK"])
    }).pipe(Effect.scoped, provided))

  it.live("follows a config center, over its file and under the environment", () =>
    Effect.gen(function*() {
      const nacos = NacosServer.make()
      yield* nacos.publish(
        "ballast.yaml",
        "listen: { port: 0 }\nclients: { alice: { keys: [ first ] } }\nlog: { level: warn }\n"
      )
      const { serve } = yield* gateway(
        `center: { nacos: { url: "${yield* overHttp(nacos.exchange)}" } }\nlog: { level: error, format: json }\n`
      )
      const { port, settings } = yield* serve
      assert.deepStrictEqual((yield* settings.current).log, { level: "warn", format: "json" })
      const status = (key: string) =>
        Effect.map(
          post(`http://127.0.0.1:${port}${chat}`, hello, { authorization: `Bearer ${key}` }),
          ({ status }) => status
        )
      assert.strictEqual(yield* status("first"), 200)
      yield* nacos.publish("ballast.yaml", "listen: { port: 0 }\nclients: { alice: { keys: [ second ] } }\n")
      yield* eventually(Effect.map(status("second"), (status) => status === 200))
      assert.strictEqual(yield* status("first"), 401)
      assert.strictEqual((yield* settings.current).log.level, "error")
    }).pipe(Effect.scoped, provided))

  describeRedis("with Redis and etcd", () =>
    it.live("follows each kind of center", () =>
      Effect.gen(function*() {
        const redisUrl = (yield* RedisServer).url
        const redis = Context.get(yield* Layer.build(NodeRedis.layer({ url: redisUrl })), Redis.Redis)
        const etcdUrl = (yield* EtcdServer.EtcdServer).url
        const apollo = ApolloServer.make({ accessKey: "secret" })
        const encode = (text: string) => Buffer.from(text).toString("base64")
        const centers = [
          {
            center: `redis: { url: "${redisUrl}" }`,
            publish: (text: string) =>
              Effect.andThen(
                redis.send("CONFIG", "SET", "notify-keyspace-events", "K$g"),
                redis.send("SET", "ballast.yaml", text)
              )
          },
          {
            center: `etcd: { url: "${etcdUrl}" }`,
            publish: (text: string) =>
              post(`${etcdUrl}/v3/kv/put`, { key: encode("ballast.yaml"), value: encode(text) })
          },
          {
            center: `apollo: { url: "${yield* overHttp(
              apollo.exchange
            )}", appId: app, namespace: ballast.yaml, accessKey: secret }`,
            publish: (text: string) => apollo.release("ballast.yaml", { content: text })
          }
        ]
        for (const { center, publish } of centers) {
          yield* publish("listen: { port: 0 }\nlog: { level: warn }\n")
          const { serve } = yield* gateway(`center: { ${center} }\nlog: { level: error, format: json }\n`)
          const { settings } = yield* serve
          assert.deepStrictEqual((yield* settings.current).log, { level: "warn", format: "json" }, center)
          yield* publish("listen: { port: 0 }\nlog: { level: debug }\n")
          yield* eventually(Effect.map(settings.current, ({ log }) => log.level === "debug"))
        }
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.merge(RedisServerLayer, EtcdServer.layer)),
        provided
      )))

  it.live("holds limits, hosts and log for requests from the change on", () =>
    Effect.gen(function*() {
      const { serve, write } = yield* gateway("listen: { port: 0 }")
      const { port, settings } = yield* serve
      const url = `http://127.0.0.1:${port}`
      const pages = { origin: "https://chat.example.com" }
      assert.strictEqual((yield* send(`${url}/healthz`, { headers: pages })).status, 403)
      const long = { ...hello, user: "x".repeat(2000) }
      assert.strictEqual((yield* post(url + chat, long)).status, 200)
      yield* write(
        "ballast.yaml",
        "listen: { port: 0, allowedOrigins: [ \"https://chat.example.com\" ] }\nlimits: { maxBodySize: 1kB }\n"
      )
      yield* settings.refresh
      assert.strictEqual((yield* send(`${url}/healthz`, { headers: pages })).status, 200)
      assert.strictEqual((yield* post(url + chat, long)).status, 413)
    }).pipe(Effect.scoped, provided))
})
