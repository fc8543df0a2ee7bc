import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as jsonError from "../src/internal/jsonError.ts"

const find = (text: string) => jsonError.find(new TextEncoder().encode(text))

const parses = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

describe("jsonError", () => {
  it.each([
    ["{\"a\": x}", 6, "\"x\""],
    ["{\"a\": 1,}", 8, "\"}\""],
    ["{\"a\" 1}", 5, "\"1\""],
    ["[1, 2", 5, "end of the body"],
    ["{\"a\": \"open}", 6, "\"\\\"\""],
    ["{\"a\": 01}", 7, "\"1\""],
    ["nul", 0, "\"n\""],
    ["[] []", 3, "\"[\""],
    ["{\"a\": 1]", 7, "\"]\""],
    ["[1 2]", 3, "\"2\""],
    ["", 0, "end of the body"]
  ])("finds where %j breaks", (text, position, found) => {
    assert.isFalse(parses(text))
    const error = find(text)
    assert.strictEqual(error.position, position)
    assert.strictEqual(error.found, found)
  })

  it("counts lines and columns from 1", () => {
    const { column, line } = find("{\n  \"a\": 1,\n  b\n}")
    assert.deepStrictEqual([line, column], [3, 3])
  })

  it("has no limit of depth or length", () => {
    assert.strictEqual(find("[".repeat(200_000)).position, 200_000)
    const long = `"${"a\\n".repeat(500_000)}"`
    assert.strictEqual(find(`${long}x`).position, long.length)
  })

  it.effect.prop("agrees with JSON.parse on what is whole", { value: Schema.Json }, ({ value }) =>
    Effect.sync(() => {
      const text = JSON.stringify(value, null, 1)
      assert.strictEqual(find(text).position, text.length)
    }))

  it.effect.prop(
    "points at or before the end of what is cut off",
    { value: Schema.Array(Schema.Json) },
    ({ value }) =>
      Effect.sync(() => {
        const text = JSON.stringify(value)
        for (let end = 0; end < Math.min(text.length, 60); end++) {
          const cut = text.slice(0, end)
          assert.isFalse(parses(cut))
          assert.isAtMost(find(cut).position, end)
        }
      })
  )
})
