import { EnvironmentSource, Field, FileSource, Settings, ValuesSource } from "@ballast/settings"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Schema } from "effect"
import { App, files, folderWith } from "./support/fixtures.ts"

/** The message for one file, with the path of its folder taken off. */
const message = (text: string, schema: Schema.Decoder<unknown> = App, more: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const { at, folder } = yield* folderWith({ "app.yaml": text, ...more })
    const error = yield* Effect.flip(Settings.make(schema, [FileSource.make(at("app.yaml"))]))
    return error.message.replaceAll(`${folder}/`, "")
  }).pipe(Effect.scoped, Effect.provide(files))

const cases: ReadonlyArray<readonly [string, string, string]> = [
  [
    "syntax",
    "retry:\n  times: 3\n wait: 1s\n",
    "app.yaml:3:1: syntax: All mapping items must start at the same column"
  ],
  ["a key twice", "format: json\nformat: json\n", "app.yaml:2:1: syntax: Map keys must be unique"],
  ["a list at the top", "- a\n", "app.yaml:1:1: expected a map of settings at the top"],
  ["a tag", "format: !secret x\n", "app.yaml:1:9: syntax: Unresolved tag: !secret"],
  [
    "type",
    "retry:\n  times: three\n",
    `app.yaml:2:10: retry.times: found "three", expected a whole number from 0 to 10`
  ],
  ["type of a section", "retry: [1]\n", "app.yaml:1:8: retry: found a list, expected a map"],
  ["type of a list", "models: deepseek-flash\n", `app.yaml:1:9: models: found "deepseek-flash", expected a list`],
  ["type of an item", "models: [a, {}]\n", "app.yaml:1:13: models[1]: found a map, expected text"],
  ["bounds", "retry:\n  times: 11\n", "app.yaml:2:10: retry.times: found 11, expected a whole number from 0 to 10"],
  [
    "fraction",
    "retry: { times: 1.5 }\n",
    "app.yaml:1:17: retry.times: found 1.5, expected a whole number from 0 to 10"
  ],
  [
    "duration without a unit",
    "retry:\n  wait: 200\n",
    "app.yaml:2:9: retry.wait: found 200, expected a duration such as 30s or 5m, from 10ms to 1m"
  ],
  [
    "duration out of bounds",
    "retry:\n  wait: 2m\n",
    `app.yaml:2:9: retry.wait: found "2m", expected a duration such as 30s or 5m, from 10ms to 1m`
  ],
  ["size", "body: 65MiB\n", `app.yaml:1:7: body: found "65MiB", expected a size such as 512kB or 16MiB, at most 64MiB`],
  ["choice", "format: xml\n", `app.yaml:1:9: format: found "xml", expected one of "json", "pretty"`],
  ["unknown key", "retry:\n  tiems: 3\n", "app.yaml:2:3: retry.tiems: unknown key; did you mean times?"],
  [
    "unknown key in another case",
    "retry:\n  Times: 3\n",
    "app.yaml:2:3: retry.Times: unknown key; did you mean times?"
  ],
  [
    "unknown key without a near one",
    "listen:\n  colour: 3\n",
    "app.yaml:2:3: listen.colour: unknown key; known here: host, port"
  ],
  [
    "`__proto__`",
    "listen:\n  __proto__: { port: 1 }\n",
    "app.yaml:2:3: listen.__proto__: unknown key; known here: host, port"
  ],
  ["missing in a map", "limits:\n  flash:\n", "app.yaml:2:3: limits.flash.rate: is missing, expected a number above 0"],
  [
    "bounds in a map",
    "limits:\n  flash: { rate: 0 }\n",
    "app.yaml:2:18: limits.flash.rate: found 0, expected a number above 0"
  ],
  [
    "missing environment variable",
    "key: ${env:BALLAST_TEST_ABSENT}\n",
    "app.yaml:1:6: key: the environment variable BALLAST_TEST_ABSENT is not set"
  ],
  ["missing file", "key: ${file:key.txt}\n", "app.yaml:1:6: key: the file key.txt does not exist"],
  [
    "unknown reference",
    "key: ${vault:key}\n",
    "app.yaml:1:6: key: ${vault:key} is no reference; write ${env:NAME}, ${env:NAME:default} or ${file:PATH}"
  ],
  [
    "wrong secret",
    "key: 42424242\n",
    "app.yaml:1:6: key: found <redacted>, expected a secret that is not empty, best as ${env:NAME} or ${file:PATH}"
  ],
  ["an alias without its anchor", "retry: *none\n", "app.yaml:1:8: syntax: there is no anchor &none above it"],
  ["an alias within its anchor", "retry: &a { times: *a }\n", "app.yaml:1:20: syntax: *a contains itself"],
  [
    "a second document",
    "format: json\n---\nretry: {}\n",
    "app.yaml:2:1: syntax: a second document begins here; there can be one only"
  ],
  ["deep nesting", `models: ${"[".repeat(200)}${"]".repeat(200)}\n`, "app.yaml: is nested deeper than 100 levels"],
  [
    "no number",
    "retry: { times: .nan }\n",
    "app.yaml:1:17: retry.times: found NaN, expected a whole number from 0 to 10"
  ],
  [
    "a reference that does not end",
    "format: ${env:FORMAT\n",
    "app.yaml:1:9: format: ${ begins a reference that no } ends; references do not nest, and $${ stands for ${ itself"
  ],
  [
    "a password in a URL",
    "format: https://user:hid//den@host/x\n",
    `app.yaml:1:9: format: found "https://***@host/x", expected one of "json", "pretty"`
  ],
  [
    "a token in a URL",
    "format: https://host/x?token=hid//den\n",
    `app.yaml:1:9: format: found "https://host/x?***", expected one of "json", "pretty"`
  ],
  [
    "contradiction",
    "retry:\n  times: 0\n  wait: 1m\n",
    "app.yaml:3:9: retry.wait: a wait of 1m needs retry.times above 0"
  ],
  [
    "several at once, in their order",
    "format: xml\nretry:\n  tiems: 3\n  times: -1\n",
    `app.yaml:1:9: format: found "xml", expected one of "json", "pretty"\n` +
    `app.yaml:3:3: retry.tiems: unknown key; did you mean times?\n` +
    `app.yaml:4:10: retry.times: found -1, expected a whole number from 0 to 10`
  ]
]

describe("SettingsRefused", () => {
  describe("says place, setting, what was found and what would be right", () => {
    for (const [name, text, expected] of cases) {
      it.effect(name, () => Effect.map(message(text), (actual) => assert.strictEqual(actual, expected)))
    }
  })

  it.effect("shows no secret that stands in the place of its list or map", () =>
    Effect.gen(function*() {
      const Client = Schema.Struct({ keys: Schema.Array(Field.secret) })
      const schema = Schema.Struct({ clients: Schema.Record(Schema.String, Client) })
      assert.strictEqual(
        yield* message("clients: { a: { keys: hunter2 }, b: hunter3 }\n", schema),
        "app.yaml:1:23: clients.a.keys: found <redacted>, expected a list\n" +
          "app.yaml:1:37: clients.b: found <redacted>, expected a map"
      )
    }))

  it.effect("says what is missing", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({ upstream: Schema.Struct({ key: Field.secret, url: Schema.String }) })
      assert.strictEqual(
        yield* message("upstream:\n  url: x\n", schema),
        "app.yaml:1:1: upstream.key: is missing, expected a secret that is not empty, best as ${env:NAME} or ${file:PATH}"
      )
      assert.strictEqual(yield* message("", schema), "app.yaml: upstream: is missing, expected a map")
    }))

  it.effect("names the variable or flag that is wrong, and shows no text of a variable", () =>
    Effect.gen(function*() {
      const env = { APP_RETRY_TIMES: "three", APP_FORMAT: "sk-0123" }
      const error = yield* Effect.flip(
        Settings.make(App, [EnvironmentSource.make({ prefix: "APP" }), ValuesSource.make({ body: -1 })]).pipe(
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
        )
      )
      assert.deepStrictEqual(error.message.split("\n"), [
        `environment variable APP_RETRY_TIMES: retry.times: found the text of environment variable APP_RETRY_TIMES, expected a whole number from 0 to 10`,
        `flags: body: found -1, expected a size such as 512kB or 16MiB, at most 64MiB`,
        `environment variable APP_FORMAT: format: found the text of environment variable APP_FORMAT, expected one of "json", "pretty"`
      ])
    }).pipe(Effect.scoped, Effect.provide(files)))

  it.effect("shows the reference, not what it stands for", () =>
    Effect.map(
      message("retry:\n  times: ${file:secret}\n", App, { secret: "hunter2\n" }),
      (actual) =>
        assert.strictEqual(
          actual,
          "app.yaml:2:10: retry.times: found the text of ${file:secret}, expected a whole number from 0 to 10"
        )
    ))

  it.effect("says that a file is absent, unreadable as text or too long", () =>
    Effect.gen(function*() {
      const { at, folder, write } = yield* folderWith({})
      const refused = (name: string) =>
        Effect.map(Effect.flip(Settings.make(App, [FileSource.make(at(name))])), ({ message }) =>
          message.replaceAll(`${folder}/`, ""))
      assert.strictEqual(yield* refused("absent.yaml"), "absent.yaml: the file does not exist")
      assert.strictEqual(yield* refused("."), `${folder}: the file is a folder`)
      yield* write("long.yaml", `# ${"x".repeat(1_048_576)}`)
      assert.strictEqual(yield* refused("long.yaml"), "long.yaml: the file is longer than 1048576 bytes")
    }).pipe(Effect.scoped, Effect.provide(files)))

  it.effect("stops at an explosion of aliases", () =>
    Effect.gen(function*() {
      const levels = Array.from(
        { length: 9 },
        (_, i) => `m${i + 1}: &m${i + 1} [${Array(9).fill(`*m${i}`).join(", ")}]`
      )
      const actual = yield* message(`m0: &m0 [x]\n${levels.join("\n")}\n`)
      assert.strictEqual(actual, "app.yaml: syntax: Excessive alias count indicates a resource exhaustion attack")
    }))

  it.effect("says of an empty list that it is empty", () =>
    Effect.gen(function*() {
      const hosts = Schema.Struct({ hosts: Schema.Array(Schema.String).check(Schema.isNonEmpty()) })
      assert.strictEqual(
        yield* message("hosts: []\n", hosts),
        "app.yaml:1:8: hosts: found an empty list, expected a non-empty list"
      )
    }))
})
