import { Settings } from "@ballast/gateway"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Redacted } from "effect"
import { readFileSync } from "node:fs"

const withEnv = (env: Record<string, string>) =>
  Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))

/** The settings of an environment, without any file. */
const read = (env: Record<string, string>) =>
  Effect.flatMap(Settings.make({ flags: {} }), ({ current }) => current).pipe(
    Effect.scoped,
    Effect.provide(NodeFileSystem.layer),
    withEnv(env)
  )

/** The message as the program prints it. */
const wrong = (env: Record<string, string>) =>
  Effect.map(Effect.flip(read(env)), (error) => error._tag === "ConfigError" ? String(error.cause) : error.message)

describe("Environment", () => {
  it.effect("leaves the defaults where it says nothing", () =>
    Effect.map(read({}), ({ clients, deepseek, limits, listen }) => {
      assert.deepInclude(listen, { host: "127.0.0.1", port: 8787 })
      assert.deepStrictEqual(deepseek, { baseUrl: "https://api.deepseek.com" })
      assert.deepStrictEqual(clients, {})
      assert.strictEqual(Duration.toSeconds(limits.shutdownTimeout), 30)
    }))

  it.effect("takes an empty variable for an absent one", () =>
    Effect.map(read({ PORT: "", DEEPSEEK_API_KEY: "", BALLAST_CLIENT_KEYS: "" }), ({ clients, deepseek, listen }) => {
      assert.strictEqual(listen.port, 8787)
      assert.deepStrictEqual(deepseek, { baseUrl: "https://api.deepseek.com" })
      assert.deepStrictEqual(clients, {})
    }))

  it.effect("sets what each variable says", () =>
    Effect.map(
      read({
        HOST: "::1",
        PORT: "0",
        DEEPSEEK_API_KEY: "sk-secret${env:HOST}",
        DEEPSEEK_BASE_URL: "http://127.0.0.1:8788/v1/",
        BALLAST_WORKERS: "4",
        BALLAST_FORWARD_SIMULATE: "true",
        BALLAST_CLIENT_KEYS: "one, alice:two, alice:three,",
        BALLAST_SHUTDOWN_TIMEOUT: "1.5m",
        BALLAST_REQUEST_TIMEOUT: "1.5s",
        BALLAST_ALLOWED_HOSTS: "gateway.test, ::1",
        BALLAST_ALLOWED_ORIGINS: "https://chat.example.com:8443,app://notes,null",
        BALLAST_MAX_BODY_SIZE: "2MiB",
        BALLAST_BODY_MEMORY: "1GiB",
        BALLAST_LOG_LEVEL: "Warning",
        BALLAST_LOG_FORMAT: "pretty"
      }),
      ({ clients, deepseek, limits, listen, log, simulator }) => {
        assert.deepStrictEqual(listen, {
          host: "::1",
          port: 0,
          workers: 4,
          allowedHosts: ["gateway.test", "::1"],
          allowedOrigins: ["https://chat.example.com:8443", "app://notes", "null"],
          trustedProxies: [],
          keysRequired: false
        })
        assert.strictEqual(Redacted.value(deepseek.apiKey!), "sk-secret${env:HOST}")
        assert.strictEqual(deepseek.baseUrl, "http://127.0.0.1:8788/v1")
        assert.isTrue(simulator.forward)
        assert.deepStrictEqual(Object.keys(clients), ["client-1", "alice"])
        assert.deepStrictEqual(clients["alice"]!.keys.map(Redacted.value), ["two", "three"])
        assert.strictEqual(Duration.toSeconds(limits.shutdownTimeout), 90)
        assert.strictEqual(Duration.toMillis(limits.requestTimeout), 1500)
        assert.deepStrictEqual([limits.maxBodySize, limits.bodyMemory].map(Number), [2 * 1024 ** 2, 1024 ** 3])
        assert.deepStrictEqual(log, { level: "warn", format: "pretty" })
      }
    ))

  it.effect.each(
    [
      [{ PORT: "abc" }, "PORT is \"abc\". Expected a whole number from 0 to 65535"],
      [{ PORT: "65536" }, "PORT is \"65536\""],
      [{ PORT: "-1" }, "PORT is \"-1\""],
      [{ HOST: "http://x" }, "HOST is \"http://x\". Expected a host name"],
      [
        { DEEPSEEK_BASE_URL: "api.deepseek.com" },
        "DEEPSEEK_BASE_URL is \"api.deepseek.com\". Expected an http or https URL"
      ],
      [{ DEEPSEEK_BASE_URL: "ftp://x" }, "DEEPSEEK_BASE_URL is \"ftp://x\""],
      [{ DEEPSEEK_BASE_URL: "https://x/v1?key=secret" }, "DEEPSEEK_BASE_URL is \"https://x/v1?***\""],
      [{ BALLAST_REQUEST_TIMEOUT: "0s" }, "BALLAST_REQUEST_TIMEOUT is \"0s\". Expected a number above zero"],
      [{ BALLAST_ALLOWED_HOSTS: "http://x" }, "BALLAST_ALLOWED_HOSTS is \"http://x\". Expected one or more names"],
      [
        { BALLAST_ALLOWED_ORIGINS: "https://x/y" },
        "BALLAST_ALLOWED_ORIGINS is \"https://x/y\". Expected one or more origins"
      ],
      [{ BALLAST_SHUTDOWN_TIMEOUT: "soon" }, "BALLAST_SHUTDOWN_TIMEOUT is \"soon\". Expected a number with a unit"]
    ] as const
  )(
    "says what is wrong and what would be right: %j",
    ([env, text]) => Effect.map(wrong(env), (message) => assert.include(message, text))
  )

  it.effect.each([
    { DEEPSEEK_API_KEY: "sk-se cret" },
    { BALLAST_CLIENT_KEYS: "se cret" },
    { BALLAST_CLIENT_KEYS: "," },
    { BALLAST_CLIENT_KEYS: "one,alice:" },
    { BALLAST_CLIENT_KEYS: ":" },
    { BALLAST_CLIENT_KEYS: "\"\"" },
    { BALLAST_CLIENT_KEYS: "one,alice:''" },
    { DEEPSEEK_BASE_URL: "https://me:secret@x/v1?key=secret" },
    { DEEPSEEK_BASE_URL: "https://me:se/cret@x/v1" },
    { DEEPSEEK_BASE_URL: "https:me:secret@x" },
    { DEEPSEEK_BASE_URL: "https:\\\\me:secret@x" },
    { DEEPSEEK_BASE_URL: "me:secret@x:80/v1" }
  ])("never shows a secret: %j", (env) =>
    Effect.map(wrong(env), (message) => {
      assert.notInclude(message, "cret")
      assert.match(
        message,
        /(DEEPSEEK_API_KEY|BALLAST_CLIENT_KEYS|DEEPSEEK_BASE_URL) has a wrong value\. Expected/
      )
    }))

  it("are all described in the README and named in the help", () => {
    const textOf = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")
    const names = new Set(
      textOf("../src/Environment.ts").match(/(?<=")(?:HOST|PORT|DEEPSEEK_[A-Z_]+|BALLAST_[A-Z_]+)(?=")/g)
    )
    assert.isAbove(names.size, 10)
    for (const name of names) {
      assert.include(textOf("../README.md"), `| \`${name}\` |`)
      assert.match(textOf("../src/Cli.ts"), new RegExp(`^  (?:\\w+, )?${name}\\b`, "m"))
    }
  })
})
