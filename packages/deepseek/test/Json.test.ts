import { Json } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

describe("Json", () => {
  it.each([
    "{\"seed\":12345678901234567890}",
    "[1,-9007199254740993,{\"a\":18446744073709551615}]",
    "[9007199254740991]",
    "{\"text\":\": 12345678901234567890\",\"n\":1}",
    "{\"__proto__\":12345678901234567890}",
    "[1e400,-1E+400,1e-400,4e-324,12345678901234567890.5]",
    "[0.1234567890123456789,-12345678.123456789012,1234567890123456789e3]"
  ])("writes as it was read: %s", (text) => assert.strictEqual(JSON.stringify(Json.parse(text)), text))

  it("leaves what a number holds a number", () => {
    assert.deepStrictEqual(
      Json.parse(
        "[9007199254740991, 1.00000000000000000, 1e30, 1E+308, 0.12345678901234568, -0.0000000000000000, 100000000000000000000, " +
          "0e999, 0.00100e-120]"
      ),
      [9007199254740991, 1, 1e30, 1e308, 0.12345678901234568, -0, 1e20, 0, 1e-123]
    )
  })

  it.each(["", "{", "[12345678901234567890", "[ 012345678901234567]"])("refuses what is no JSON: %s", (text) => {
    assert.throws(() => Json.parse(text), SyntaxError)
  })

  it("takes no longer for a number of many zeros", () => {
    const text = `[1${"0".repeat(1_000_000)}1, 0.${"0".repeat(1_000_000)}1]`
    assert.strictEqual(JSON.stringify(Json.parse(text)), text.replace(" ", ""))
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
