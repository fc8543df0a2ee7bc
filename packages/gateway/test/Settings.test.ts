import { Settings } from "@ballast/gateway"
import { Settings as Live } from "@ballast/settings"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, FileSystem, Redacted } from "effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { snippets } from "../../../test/support/snippets.ts"
import { text as initial } from "../src/internal/cli/settings.ts"

/** What a gateway file gives, or the message with the name of the file in place of its path. */
const load = Effect.fnUntraced(
  function*(
    yaml: string,
    options: {
      readonly env?: Record<string, string>
      readonly profile?: string
      readonly flags?: object
      readonly keys?: Record<string, string>
    } = {}
  ) {
    const files = yield* FileSystem.FileSystem
    const folder = yield* Effect.orDie(files.makeTempDirectoryScoped())
    const file = `${folder}/ballast.yaml`
    yield* Effect.orDie(files.writeFileString(file, yaml))
    if (options.profile !== undefined) {
      yield* Effect.orDie(files.writeFileString(`${folder}/ballast.prod.yaml`, options.profile))
    }
    for (const [name, key] of Object.entries(options.keys ?? {})) {
      yield* Effect.orDie(files.writeFileString(`${folder}/${name}`, key))
    }
    return yield* Settings.make({
      file,
      profile: options.profile === undefined ? undefined : "prod",
      flags: options.flags
    }).pipe(
      Effect.flatMap(({ current }) => current),
      Effect.mapError((error) => error.message.replaceAll(`${folder}/`, "")),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env: options.env ?? {} }))
    )
  },
  Effect.scoped,
  Effect.provide(NodeFileSystem.layer)
)

const noRedis = "this is no address of a Redis, such as redis://:password@127.0.0.1:6379; " +
  "/, # and % are written %2F, %23 and %25 in a password"

const mistakes: ReadonlyArray<readonly [kind: string, yaml: string, message: string]> = [
  [
    "syntax",
    "listen:\n  port: [1\n",
    "ballast.yaml:3:1: syntax: Flow sequence in block collection must be sufficiently indented and end with a ]"
  ],
  [
    "type",
    "listen:\n  port: lots\n",
    "ballast.yaml:2:9: listen.port: found \"lots\", expected a whole number from 0 to 65535"
  ],
  [
    "bounds",
    "policies:\n  retry: { times: 21 }\n",
    "ballast.yaml:2:19: policies.retry.times: found 21, expected a whole number from 0 to 20"
  ],
  [
    "bounds of a size",
    "limits:\n  maxBodySize: 64MiB\n",
    "ballast.yaml:2:16: limits.maxBodySize: found \"64MiB\", expected a size such as 512kB or 16MiB, from 1kB to 48MiB"
  ],
  [
    "bounds of a duration",
    "policies: { deadlines: { total: 0s } }\n",
    "ballast.yaml:1:33: policies.deadlines.total: found \"0s\", expected a duration such as 30s or 5m, from 1ms to 7d"
  ],
  ["unknown key", "policies:\n  retryy: {}\n", "ballast.yaml:2:3: policies.retryy: unknown key; did you mean retry?"],
  [
    "a memory of several processes",
    "database: \":memory:\"\nlisten: { workers: 2 }\n",
    "ballast.yaml:1:11: database: :memory: is of one process, and listen.workers asks for several. Name a file or a Postgres"
  ],
  [
    "a database that is not known",
    "database: mysql://127.0.0.1/ballast\n",
    "ballast.yaml:1:11: database: mysql is not known here: expected the path of a SQLite file, :memory:, or postgres://user:password@host/name"
  ],
  [
    "a Postgres with a slash too few",
    "database: postgres:/user:hidden@127.0.0.1/ballast\n",
    "ballast.yaml:1:11: database: this is no address of a Postgres, such as postgres://user:password@127.0.0.1:5432/ballast"
  ],
  ...["http://127.0.0.1", "redis://:hid#den@127.0.0.1", "redis://127.0.0.1/name", "redis://:100%@127.0.0.1"].map((
    url
  ) =>
    [
      `a Redis at ${url}`,
      `redis: { url: "${url}" }\n`,
      `ballast.yaml:1:15: redis.url: ${noRedis}`
    ] as const
  ),
  [
    "a center that is no Redis",
    "center: { redis: { url: \"http://127.0.0.1\" } }\n",
    `ballast.yaml:1:25: center.redis.url: ${noRedis}`
  ],
  [
    "missing secret",
    "deepseek:\n  apiKey: ${env:DEEPSEEK_KEY}\n",
    "ballast.yaml:2:11: deepseek.apiKey: the environment variable DEEPSEEK_KEY is not set"
  ],
  [
    "missing secret file",
    "clients:\n  alice: { keys: [ \"${file:alice.key}\" ] }\n",
    "ballast.yaml:2:20: clients.alice.keys[0]: the file alice.key does not exist"
  ],
  [
    "wrong secret",
    "deepseek: { apiKey: \"sk se cret\" }\n",
    "ballast.yaml:1:21: deepseek.apiKey: found <redacted>, expected a key of visible ASCII characters without spaces, at least one"
  ],
  [
    "a provider that is not there",
    "providers: { a: { type: ollama } }\nmodels:\n  x: { targets: [ { provider: b } ] }\n",
    "ballast.yaml:3:31: models.x.targets[0].provider: there is no provider b; known: a"
  ],
  [
    "a provider without a key",
    "providers:\n  a: { type: deepseek }\n",
    "ballast.yaml:2:6: providers.a: it needs accounts with at least one key"
  ],
  [
    "no provider, and no key for DeepSeek",
    "models:\n  x: { targets: [ { provider: deepseek } ] }\n",
    "ballast.yaml:2:31: models.x.targets[0].provider: there is no provider deepseek; known: simulator"
  ],
  [
    "wrong condition",
    "providers: { a: { type: ollama } }\nmodels:\n  x: { targets: [ { provider: a, when: \"request.sise > 5\" } ] }\n",
    "ballast.yaml:3:40: models.x.targets[0].when: No such key: sise"
  ],
  [
    "everyone in the network",
    "listen:\n  host: 0.0.0.0\n",
    "ballast.yaml:2:9: listen.host: 0.0.0.0 lets other machines in, who could spend your balance. Name clients with the keys " +
    "that they must send (BALLAST_CLIENT_KEYS), or listen on 127.0.0.1 to serve this machine only"
  ],
  [
    "a key of two clients",
    "clients:\n  alice: { keys: [ one ] }\n  bob: { keys: [ two, one ] }\n",
    "ballast.yaml:3:23: clients.bob.keys[1]: this key is given to alice already"
  ],
  [
    "a name that is none",
    "clients:\n  \"a b\": { keys: [ one ] }\n",
    "ballast.yaml:2:10: clients.a b: expected a name of 1 to 64 letters, digits, _, . and -"
  ],
  [
    "a currency without a price",
    "prices: { currency: RMB }\nproviders: { a: { type: ollama } }\n",
    "ballast.yaml:1:21: prices.currency: no price is in RMB; known: CNY, USD"
  ],
  [
    "a price below nothing",
    "prices:\n  list: [ { provider: a, model: m, currency: CNY, hit: 0, miss: -1, output: 2 } ]\n",
    "ballast.yaml:2:65: prices.list[0].miss: found -1, expected an amount of at least 0 with at most 12 decimals"
  ],
  ...["2027-02-30", "2027-01-01T00:00:00"].map((from) =>
    [
      `a price from ${from} on`,
      `prices:\n  list: [ { provider: a, model: m, currency: CNY, from: "${from}", hit: 0, miss: 1, output: 2 } ]\n`,
      `ballast.yaml:2:57: prices.list[0].from: found "${from}", ` +
      "expected a day or a moment with its zone, such as 2026-08-16 or 2026-08-16T16:00:00Z"
    ] as const
  ),
  [
    "a day that the calendar does not have",
    "clients:\n  a: { keys: [ one ], expires: 2027-02-30 }\n",
    "ballast.yaml:2:32: clients.a.expires: found \"2027-02-30\", expected a day or a moment such as 2027-01-31 or 2027-01-31T12:00:00Z"
  ],
  [
    "two centers",
    "center:\n  etcd: { url: \"http://a\" }\n  nacos: { url: \"http://b\" }\n",
    "ballast.yaml:2:3: center: expected one of nacos, apollo, etcd, redis"
  ],
  [
    "two policies of a lane",
    "providers: { a: { type: ollama } }\nmodels:\n" +
    "  x: { targets: [ { provider: a, model: m } ], policies: { circuitBreaker: { window: 1m } } }\n" +
    "  m: { targets: [ { provider: a } ], policies: { retry: { times: 1 }, deadlines: { idle: 1m } } }\n",
    "ballast.yaml:4:48: models.m.policies: x leads to m of a, too, with another breaker, rate limit, concurrency or deadline; " +
    "give both the same, or one none"
  ],
  [
    "a rate limit without a limit",
    "models:\n  x: { targets: [ { provider: simulator } ], policies: { rateLimit: { window: 1m } } }\n",
    "ballast.yaml:2:69: models.x.policies.rateLimit: it needs a limit, since policies has no rateLimit"
  ],
  [
    "a wrong policy of a model",
    "models:\n  x: { targets: [ { provider: simulator } ], policies: { retry: { times: 21 } } }\n",
    "ballast.yaml:2:74: models.x.policies.retry.times: found 21, expected a whole number from 0 to 20"
  ],
  [
    "wrong fault",
    "simulator:\n  faults: [ { fault: \"status=99\" } ]\n",
    "ballast.yaml:2:22: simulator.faults[0].fault: status must be a whole number from 200 to 599, got \"99\""
  ],
  [
    "a fault of single requests",
    "simulator:\n  faults: [ { fault: \"status=503, times=2, id=a\" } ]\n",
    "ballast.yaml:2:22: simulator.faults[0].fault: times and id belong to requests of the header x-simulate"
  ],
  [
    "wrong collector",
    "telemetry:\n  endpoint: collector:4318\n",
    "ballast.yaml:2:13: telemetry.endpoint: found \"collector:4318\", expected an http or https URL without user, query or fragment"
  ],
  [
    "wrong headers of a collector",
    "telemetry:\n  headers: { a b: secret }\n",
    "ballast.yaml:2:12: telemetry.headers: \"a b\" is no name of letters, digits, -, _, . and ~"
  ],
  [
    "a wrong secret header of a collector",
    "telemetry:\n  headers: { a: sécret }\n",
    "ballast.yaml:2:17: telemetry.headers.a: found <redacted>, expected a header of visible ASCII characters"
  ],
  [
    "several at once",
    "listen: { port: -1 }\nlog: { level: loud }\n",
    "ballast.yaml:1:17: listen.port: found -1, expected a whole number from 0 to 65535\n" +
    "ballast.yaml:2:15: log.level: found \"loud\", expected one of \"trace\", \"debug\", \"info\", \"warn\", \"error\", \"fatal\", \"none\""
  ]
]

describe("Settings", () => {
  it.effect.each(mistakes)("says where and what is wrong: %s", ([, yaml, message]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(load(yaml)), message)
    }))

  it.effect("lays the profile over the file, the environment over both, and flags over all", () =>
    Effect.gen(function*() {
      const { listen, log } = yield* load("listen: { port: 1, allowedHosts: [ a, b ] }\nlog: { level: warn }\n", {
        profile: "listen: { port: 2, host: \"::1\", allowedHosts: [ c ] }\n",
        env: { PORT: "3" },
        flags: { listen: { port: 4 } }
      })
      assert.deepInclude(listen, { port: 4, host: "::1", allowedHosts: ["c"] })
      assert.strictEqual(log.level, "warn")
    }))

  it.effect("names the variable or flag that contradicts the file", () =>
    Effect.gen(function*() {
      const env = { HOST: "0.0.0.0" }
      assert.match(yield* Effect.flip(load("{}", { env })), /^environment variable HOST: listen\.host: 0\.0\.0\.0 lets/)
      const flags = { listen: { host: "::" } }
      assert.match(yield* Effect.flip(load("{}", { flags })), /^flags: listen\.host: :: lets/)
    }))

  it.effect("goes to the simulator without a key, to DeepSeek with one, and to the first provider where no model is named", () =>
    Effect.gen(function*() {
      const first = (settings: Settings.GatewaySettings) => {
        const { models, providers } = Settings.routing(settings)
        return [models["*"]?.targets.map(({ provider }) => provider), Object.keys(providers)]
      }
      assert.deepStrictEqual(first(yield* load("{}")), [["simulator"], ["simulator"]])
      const env = { DEEPSEEK_API_KEY: "sk-x" }
      assert.deepStrictEqual(first(yield* load("{}", { env })), [["deepseek"], ["deepseek"]])
      const two = "providers: { a: { type: ollama }, b: { type: vllm } }"
      assert.deepStrictEqual(first(yield* load(two, { env })), [["a"], ["a", "b"]])
    }))

  it.effect("has an initial file that changes nothing, and whose examples are right", () =>
    Effect.gen(function*() {
      const text = initial()
      assert.deepStrictEqual(yield* load(text), yield* load("{}"))
      const example = text.slice(0, text.indexOf("\n\n")).split("\n").flatMap((line) =>
        /^# {3}(.*)$/.exec(line)?.[1] ?? []
      ).join("\n")
      const { providers } = yield* load(example, { env: { DEEPSEEK_API_KEY: "sk-x" } })
      assert.deepStrictEqual(Object.keys(providers), ["deepseek", "local"])
    }))

  it.effect("gives a model's policies over those of all, setting by setting", () =>
    Effect.gen(function*() {
      const { models, ...all } = Settings.policies(
        yield* load(
          `policies: { retry: { times: 2, cap: 5s }, deadlines: { total: 1m }, circuitBreaker: { window: 20s } }
models:
  x:
    targets: [ { provider: simulator } ]
    policies: { retry: { times: 0 }, circuitBreaker: { minimumCalls: 3 }, deadlines: { idle: 5s } }
  y:
    targets: [ { provider: simulator } ]
    policies: { retry: { base: 10s }, deadlines: { total: 10m }, rateLimit: { limit: 5 } }
  z: { targets: [ { provider: simulator } ] }
`
        )
      )
      const seconds = Duration.seconds
      assert.deepInclude(all, {
        retry: { times: 2, base: seconds(1), cap: seconds(5), maxRetryAfter: seconds(60) },
        circuitBreaker: { failureRate: 0.5, minimumCalls: 100, window: seconds(20), openDuration: seconds(30) }
      })
      assert.deepStrictEqual(models, {
        x: {
          retry: false,
          circuitBreaker: { failureRate: 0.5, minimumCalls: 3, window: seconds(20), openDuration: seconds(30) },
          deadlines: { attempt: seconds(900), firstToken: seconds(120), idle: seconds(5) }
        },
        y: {
          retry: { times: 2, base: seconds(5), cap: seconds(5), maxRetryAfter: seconds(60) },
          rateLimit: { limit: 5, window: seconds(1), maxWait: Duration.zero },
          deadlines: { total: seconds(600) }
        }
      })
    }))

  it.effect("hides secrets when they are shown, in a form that can be read again", () =>
    Effect.gen(function*() {
      const shown = Live.print(
        yield* load("clients: { alice: { keys: [ key-of-alice ] } }\nlimits: { bodyMemory: 1536KiB }", {
          env: { DEEPSEEK_API_KEY: "sk-secret" }
        })
      )
      assert.notMatch(shown, /sk-secret|key-of-alice/)
      assert.include(shown, "bodyMemory: 1536KiB")
      const again = yield* load(shown)
      assert.strictEqual(Redacted.value(again.deepseek.apiKey!), "<redacted>")
      assert.strictEqual(Live.print(again), shown)
    }))

  const sections = Object.keys(Settings.GatewaySettings.fields)
  const examples = snippets.filter(({ code, language }) =>
    language === "yaml" && sections.includes(/^\w+/m.exec(code)?.[0] ?? "")
  )

  it("have examples in the documents", () => {
    const files = examples.map(({ file }) => file)
    assert.includeMembers(files, ["README.md", "docs/routing.md", "docs/inference.md"])
  })

  it.effect.each(examples)("load the example of $file:$line", ({ code }) =>
    Effect.gen(function*() {
      const named = (source: RegExp) => Array.from(code.matchAll(source), ([, name = ""]) => name)
      const settings = yield* load(code, {
        env: {
          ...Object.fromEntries(named(/\$\{env:(\w+)/g).map((name) => [name, `value-of-${name}`])),
          DEEPSEEK_API_KEY: "sk-main",
          DATABASE_URL: "postgres://127.0.0.1/ballast",
          REDIS_URL: "redis://127.0.0.1:6379"
        },
        keys: Object.fromEntries(named(/\$\{file:([^}]+)/g).map((name) => [name, `key-in-${name}`]))
      })
      const { models, providers } = Settings.routing(settings)
      assert.isAbove(Object.keys(models).length * Object.keys(providers).length, 0)
    }))

  it("are described by a table in the docs, which is made of them", async () => {
    const path = fileURLToPath(new URL("../../../docs/gateway-settings.md", import.meta.url))
    const table = Live.markdown(Settings.GatewaySettings)
    const docs = readFileSync(path, "utf8").replace(
      /(<!-- made of .*-->\n)[^]*(<!-- end -->)/,
      (_, begin, end) => `${begin}\n${table}\n${end}`
    )
    await expect(docs).toMatchFileSnapshot(path)
  })
})
