import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as partialJson from "../../src/internal/partialJson.ts"

/** Whether a value may still become another one: each part of it is there already, and only texts and lists may be shorter. */
const begins = (part: unknown, whole: unknown): boolean => {
  if (typeof part === "string") return typeof whole === "string" && whole.startsWith(part)
  if (Array.isArray(part)) {
    return Array.isArray(whole) && part.length <= whole.length &&
      part.every((item, index) => begins(item, whole[index]))
  }
  if (typeof part === "object" && part !== null) {
    return typeof whole === "object" && whole !== null &&
      Object.entries(part).every(([name, item]) => Object.hasOwn(whole, name) && begins(item, Reflect.get(whole, name)))
  }
  return Object.is(part, whole)
}

describe("partialJson", () => {
  it.prop("reads a whole text as JSON does, with or without blank space", [Schema.Json], ([value]) => {
    for (const space of [undefined, 2]) {
      // A number alone could still go on.
      const text = JSON.stringify([value], undefined, space)
      assert.deepStrictEqual(partialJson.parse(text), JSON.parse(text))
    }
  })

  it.prop("reads each beginning of a text as a beginning of its value", [Schema.Json], ([value]) => {
    const text = JSON.stringify([value])
    const whole: unknown = JSON.parse(text)
    for (let end = 1; end < Math.min(text.length, 200); end++) {
      assert.isTrue(begins(partialJson.parse(text.slice(0, end)), whole), text.slice(0, end))
    }
  })

  it.prop("takes any text", [Schema.String], ([text]) => void partialJson.parse(text))

  it("reads a long text in one pass", () => {
    assert.isArray(partialJson.parse("[".repeat(1_000_000)))
    assert.strictEqual(partialJson.parse(`"${"a".repeat(1_000_000)}`), "a".repeat(1_000_000))
  })

  it("sets no prototype", () => {
    const value = partialJson.parse("{\"__proto__\":{\"a\":1}}")
    assert.strictEqual(Object.getPrototypeOf(value), Object.prototype)
    assert.isTrue(Object.hasOwn(Object(value), "__proto__"))
  })
})
