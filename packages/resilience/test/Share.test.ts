import { Share } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"

const parts = (limit: number, of: number) => Array.from({ length: of }, (_, index) => Share.part(limit, { index, of }))

describe("Share", () => {
  it("divides a limit into parts that add up to it", () => {
    assert.deepStrictEqual(parts(7, 2), [4, 3])
    assert.deepStrictEqual(parts(2500, 4), [625, 625, 625, 625])
    assert.deepStrictEqual(parts(5, 1), [5])
  })

  it("gives each process at least one", () => {
    assert.deepStrictEqual(parts(2, 3), [1, 1, 1])
  })
})
