import { Settings } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Redacted } from "effect"
import { readFileSync } from "node:fs"

const read = (env: Record<string, string>) => Settings.config.parse(ConfigProvider.fromEnv({ env }))

describe("Settings", () => {
  it.effect("has defaults", () =>
    Effect.map(read({}), (settings) => {
      assert.strictEqual(settings.host, "127.0.0.1")
      assert.strictEqual(settings.port, 8787)
      assert.isUndefined(settings.apiKey)
      assert.strictEqual(settings.baseUrl, "https://api.deepseek.com")
      assert.deepStrictEqual(settings.clientKeys, [])
      assert.strictEqual(Duration.toSeconds(settings.shutdownTimeout), 30)
    }))

  it.effect("takes an empty variable for an absent one", () =>
    Effect.map(read({ PORT: "", DEEPSEEK_API_KEY: "", BALLAST_CLIENT_KEYS: "" }), (settings) => {
      assert.strictEqual(settings.port, 8787)
      assert.isUndefined(settings.apiKey)
      assert.deepStrictEqual(settings.clientKeys, [])
    }))

  it.effect("reads every variable", () =>
    Effect.map(
      read({
        HOST: "::1",
        PORT: "0",
        DEEPSEEK_API_KEY: " sk-secret ",
        DEEPSEEK_BASE_URL: "http://127.0.0.1:8788/v1/",
        BALLAST_CLIENT_KEYS: "one, two,",
        BALLAST_SHUTDOWN_TIMEOUT: "1.5m",
        BALLAST_REQUEST_TIMEOUT: "1.5s",
        BALLAST_ALLOWED_HOSTS: "gateway.test, ::1",
        BALLAST_ALLOWED_ORIGINS: "https://chat.example.com:8443,app://notes,null"
      }),
      (settings) => {
        assert.strictEqual(settings.host, "::1")
        assert.strictEqual(settings.port, 0)
        assert.strictEqual(Redacted.value(settings.apiKey!), "sk-secret")
        assert.strictEqual(settings.baseUrl, "http://127.0.0.1:8788/v1")
        assert.deepStrictEqual(settings.clientKeys.map(Redacted.value), ["one", "two"])
        assert.strictEqual(Duration.toSeconds(settings.shutdownTimeout), 90)
        assert.strictEqual(Duration.toMillis(settings.requestTimeout), 1500)
        assert.deepStrictEqual(settings.allowedHosts, ["gateway.test", "::1"])
        assert.deepStrictEqual(settings.allowedOrigins, ["https://chat.example.com:8443", "app://notes", "null"])
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
    ([env, text]) => Effect.map(Effect.flip(read(env)), (error) => assert.include(error.message, text))
  )

  it.effect.each([
    { DEEPSEEK_API_KEY: "sk-se cret" },
    { BALLAST_CLIENT_KEYS: "se cret" },
    { BALLAST_CLIENT_KEYS: "," },
    { DEEPSEEK_BASE_URL: "https://me:secret@x/v1?key=secret" },
    { DEEPSEEK_BASE_URL: "https://me:se/cret@x/v1" },
    { DEEPSEEK_BASE_URL: "https:me:secret@x" },
    { DEEPSEEK_BASE_URL: "https:\\\\me:secret@x" },
    { DEEPSEEK_BASE_URL: "me:secret@x:80/v1" }
  ])("never shows a secret: %j", (env) =>
    Effect.map(Effect.flip(read(env)), (error) => {
      assert.notInclude(error.message, "cret")
      assert.match(
        error.message,
        /(DEEPSEEK_API_KEY|BALLAST_CLIENT_KEYS|DEEPSEEK_BASE_URL) has a wrong value\. Expected/
      )
    }))

  it("are all described in the README and named in the help", () => {
    const textOf = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")
    const names = new Set(
      textOf("../src/Settings.ts").match(/(?<=")(?:HOST|PORT|DEEPSEEK_[A-Z_]+|BALLAST_[A-Z_]+)(?=")/g)
    )
    assert.isAbove(names.size, 10)
    for (const name of names) {
      assert.include(textOf("../README.md"), `| \`${name}\` |`)
      assert.match(textOf("../src/Cli.ts"), new RegExp(`^  (?:\\w+, )?${name}\\b`, "m"))
    }
  })
})
