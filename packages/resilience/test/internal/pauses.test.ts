import { assert, describe, it } from "@effect/vitest"
import * as Pauses from "../../src/internal/rate/pauses.ts"

describe("pauses", () => {
  it("last until they are over, the longest of a key", () => {
    const pauses = Pauses.make()
    pauses.add("a", 0, 10)
    pauses.add("a", 1, 5)
    assert.deepStrictEqual([pauses.left("a", 2), pauses.left("b", 2)], [8, 0])
    assert.strictEqual(pauses.left("a", 10), 0)
    assert.strictEqual(pauses.size(), 0)
  })

  it("of keys that nobody asks for again are dropped", () => {
    const pauses = Pauses.make()
    for (let now = 0; now < 100_000; now++) pauses.add(`key ${now}`, now, 10)
    assert.isAtMost(pauses.size(), 1_024)
    for (let key = 0; key < 5_000; key++) pauses.add(`kept ${key}`, 100_000, 10)
    assert.strictEqual(pauses.left("kept 0", 100_001), 9)
  })
})
