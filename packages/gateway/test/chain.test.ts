import { assert, describe, it } from "@effect/vitest"
import { Chain } from "../src/internal/chain.ts"

describe("Chain", () => {
  it("holds what is in it in the order in which it came", () => {
    const chain = new Chain<{ readonly name: string }>()
    const [first, second, third] = ["a", "b", "c"].map((name) => chain.add({ name }))
    const names = () => chain.all().map(({ name }) => name).join("")
    assert.strictEqual(names(), "abc")
    second?.()
    second?.()
    assert.strictEqual(names(), "ac")
    first?.()
    chain.add({ name: "d" })
    assert.strictEqual(names(), "cd")
    third?.()
    assert.strictEqual(names(), "d")
    assert.strictEqual(chain.size, 1)
  })
})
