import { WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"

const text = "{\"n\":12345678901234567890, \"a\":[1]}"

describe("WireText", () => {
  it("is of the value that was read, and of no copy", () => {
    const value = WireText.attach(JSON.parse(text), text)
    assert.strictEqual(WireText.of(value), text)
    for (const copy of [{ ...value }, structuredClone(value), Object.assign({}, value), { value }]) {
      assert.isUndefined(WireText.of(copy))
    }
  })

  it("is not seen by JSON, keys and deep equality", () => {
    const value = WireText.attach(JSON.parse(text), text)
    assert.deepStrictEqual(value, JSON.parse(text))
    assert.deepStrictEqual([Reflect.ownKeys(value), JSON.stringify(value)], [
      ["n", "a"],
      JSON.stringify(JSON.parse(text))
    ])
  })

  it("is the last one that was attached", () => {
    const value = WireText.attach({}, "a")
    assert.strictEqual(WireText.of(WireText.attach(value, "b")), "b")
  })

  it("is what is written, where there is one", () => {
    const value = WireText.attach(JSON.parse(text), text)
    assert.deepStrictEqual([value, { ...value }, { b: 1 }].map(WireText.stringify), [
      text,
      JSON.stringify(JSON.parse(text)),
      "{\"b\":1}"
    ])
  })

  it("keeps the digits of integers that a number cannot hold, in copies too", () => {
    const digits =
      "{\"seed\":12345678901234567890,\"x\":{\"ids\":[-9223372036854775807,9007199254740992],\"y\":0.10000000000000001}}"
    const { seed, x } = Object(WireText.parse(digits))
    assert.strictEqual(
      JSON.stringify({ x, seed }),
      "{\"x\":{\"ids\":[-9223372036854775807,9007199254740992],\"y\":0.1},\"seed\":12345678901234567890}"
    )
    assert.deepStrictEqual(Object(WireText.parseFields(digits)).seed, Number("12345678901234567890"))
    assert.strictEqual(
      JSON.stringify(WireText.parseFields(digits)),
      "{\"seed\":12345678901234567000,\"x\":{\"ids\":[-9223372036854775807,9007199254740992],\"y\":0.1}}"
    )
    assert.throws(() => WireText.parse("12345678901234567890}"), SyntaxError)
  })
})
