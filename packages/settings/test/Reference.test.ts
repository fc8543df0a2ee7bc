import { Field, FileSource, Settings } from "@ballast/settings"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Yaml from "yaml"
import { App, files, folderWith } from "./support/fixtures.ts"

const Service = Schema.Struct({
  upstream: Schema.Struct({
    url: Schema.String.annotate({ description: "Base URL of the API." }),
    apiKey: Field.secret.annotate({ description: "Its key." })
  }).annotate({ description: "Where calls go." }),
  retry: Field.section({
    times: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10 })).pipe(Field.withDefault(3))
      .annotate({ description: "Attempts after the first.", unit: "attempts" }),
    wait: Field.duration({ maximum: "1m" }).pipe(Field.withDefault("200ms"))
  }),
  models: Schema.Array(Schema.String).pipe(Field.withDefault(["a", "b"])),
  label: Schema.optionalKey(Schema.String)
})

describe("docs of settings", () => {
  it("list every setting in a table", () =>
    assert.strictEqual(
      Settings.markdown(Service),
      "| setting | value | unit | default | meaning |\n" +
        "| --- | --- | --- | --- | --- |\n" +
        "| `upstream.url` | text |  | required | Base URL of the API. |\n" +
        "| `upstream.apiKey` | a secret that is not empty, best as ${env:NAME} or ${file:PATH} |  | required | Its key. |\n" +
        "| `retry.times` | a whole number from 0 to 10 | attempts | `3` | Attempts after the first. |\n" +
        "| `retry.wait` | a duration such as 30s or 5m, at most 1m |  | `200ms` |  |\n" +
        "| `models` | a list of text |  | `[\"a\",\"b\"]` |  |\n" +
        "| `label` | text |  | none |  |\n"
    ))

  it("show a commented file", () =>
    assert.strictEqual(
      Settings.template(Service),
      [
        "# Where calls go.",
        "upstream:",
        "  # Base URL of the API.",
        "  # Value: text. Required.",
        "  url:",
        "  # Its key.",
        "  # Value: a secret that is not empty, best as ${env:NAME} or ${file:PATH}. Required.",
        "  apiKey: ${env:UPSTREAM_API_KEY}",
        "",
        "# retry:",
        "  # Attempts after the first. Unit: attempts.",
        "  # Value: a whole number from 0 to 10.",
        "  # times: 3",
        "  # Value: a duration such as 30s or 5m, at most 1m.",
        "  # wait: 200ms",
        "",
        "# Value: a list of text.",
        "# models: [ a, b ]",
        "",
        "# Value: text.",
        "# label:",
        ""
      ].join("\n")
    ))

  it.effect("show a file that is right as it is, and with all marks taken off", () =>
    Effect.gen(function*() {
      const text = Settings.template(App)
      // A setting is marked by `# name:`; explanations have a space after their first word.
      const all = text.replaceAll(/^(\s*)# (\w+:.*)$/gm, (line, indent, rest) =>
        rest.startsWith("Value:") ? line : `${indent}${rest}`)
      const { at } = yield* folderWith({ "as-it-is.yaml": text, "all.yaml": all.replace(/^key:.*$/m, "key: x") })
      const asItIs = yield* Settings.make(App, [FileSource.make(at("as-it-is.yaml"))])
      const whole = yield* Settings.make(App, [FileSource.make(at("all.yaml"))])
      const { key: _, ...rest } = yield* whole.current
      assert.deepStrictEqual(rest, yield* asItIs.current)
      assert.sameMembers(Object.keys(Yaml.parse(all)), Object.keys(rest).concat("key"))
    }).pipe(Effect.provide(files)))

  it("become a JSON Schema that allows references", () => {
    const reference = { type: "string", pattern: "\\$\\{(env|file):" }
    assert.deepStrictEqual<unknown>(Settings.jsonSchema(Service), {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      properties: {
        upstream: {
          type: "object",
          properties: {
            url: { type: "string", description: "Base URL of the API." },
            apiKey: { type: "string", minLength: 1, description: "Its key." }
          },
          required: ["url", "apiKey"],
          additionalProperties: false,
          description: "Where calls go."
        },
        retry: {
          type: "object",
          properties: {
            times: {
              anyOf: [{ type: "integer", minimum: 0, maximum: 10 }, reference],
              description: "Attempts after the first. Unit: attempts.",
              default: 3
            },
            wait: {
              anyOf: [
                { type: "string", pattern: "^(\\d+(\\.\\d+)?(ms|s|m|h|d) ?)+$", examples: ["30s"] },
                reference
              ],
              default: "200ms"
            }
          },
          required: [],
          additionalProperties: false
        },
        models: { type: "array", items: { type: "string" }, default: ["a", "b"] },
        label: { type: "string" }
      },
      required: ["upstream"],
      additionalProperties: false
    })
  })
})
