import { Json } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

describe("Json", () => {
  it.each([
    "{\"seed\":12345678901234567890}",
    "[1,-9007199254740993,{\"a\":18446744073709551615}]",
    "[9007199254740991]",
    "{\"text\":\": 12345678901234567890\",\"n\":1}",
    "{\"__proto__\":12345678901234567890}"
  ])("writes as it was read: %s", (text) => assert.strictEqual(JSON.stringify(Json.parse(text)), text))

  it("leaves what a number holds a number", () => {
    assert.deepStrictEqual(
      Json.parse("[9007199254740991, 1.00000000000000000, 1e30, 0.1234567890123456789, 12345678901234567890.5]"),
      [9007199254740991, 1, 1e30, 0.12345678901234568, 12345678901234567000]
    )
  })

  it.each(["", "{", "[12345678901234567890", "[ 012345678901234567]"])("refuses what is no JSON: %s", (text) => {
    assert.throws(() => Json.parse(text), SyntaxError)
  })

  it("reads what is too deep to be kept exact as ever", () => {
    const depth = 100_000
    const text = `{"seed":12345678901234567890,"deep":${"[".repeat(depth)}${"]".repeat(depth)}}`
    assert.deepInclude(Json.parse(text), { seed: Number("12345678901234567890") })
  })

  it.prop("parses as ever what has no long number", [Schema.Json], ([value]) => {
    const text = JSON.stringify(value)
    assert.strictEqual(JSON.stringify(Json.parse(text)), text)
  })
})
