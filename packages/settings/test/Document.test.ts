import { Document } from "@ballast/settings"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"

const Steps = Schema.Struct({
  steps: Schema.Array(Schema.Struct({ service: Schema.String, retry: Schema.optionalKey(Schema.Int) }))
})

const decode = (text: string) => Document.decode(Steps, { name: "flow.yaml", text })

describe("Document", () => {
  it.effect("reads a text by a schema, and finds the place of what is wrong in it afterwards", () =>
    Effect.gen(function*() {
      const { problem, value } = yield* decode("steps:\n  - service: a # ${output.x}\n  - service: ${b}\n")
      assert.deepStrictEqual(value, { steps: [{ service: "a" }, { service: "${b}" }] })
      const found = yield* Effect.flip(Document.refused([problem(["steps", 1, "service"], "there is no service")]))
      assert.strictEqual(found.message, "flow.yaml:3:14: steps[1].service: there is no service")
      yield* Document.refused([])
    }))

  it.effect("fails with all mistakes and their places", () =>
    Effect.gen(function*() {
      const { message } = yield* Effect.flip(decode("steps:\n  - service: a\n    retry: three\n  - servcie: b\n"))
      assert.deepStrictEqual(message.split("\n"), [
        "flow.yaml:3:12: steps[0].retry: found \"three\", expected a whole number",
        "flow.yaml:4:5: steps[1].servcie: unknown key; did you mean service?",
        "flow.yaml:4:5: steps[1].service: is missing, expected text"
      ])
      assert.match((yield* Effect.flip(decode("steps: [")))["message"], /^flow\.yaml:1:\d+: syntax: /)
    }))
})
