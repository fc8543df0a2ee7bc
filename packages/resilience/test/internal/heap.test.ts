import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Heap from "../../src/internal/heap.ts"

interface Item {
  key: number
  place: number
}

const makeHeap = () => {
  let comparisons = 0
  const heap = Heap.make<Item>({
    before: (a, b) => {
      comparisons++
      return a.key < b.key
    },
    placeOf: (item) => item.place,
    setPlace: (item, place) => {
      item.place = place
    }
  })
  /** The comparisons since this was last asked. */
  const lap = () => {
    const spent = comparisons
    comparisons = 0
    return spent
  }
  return { heap, lap }
}

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("heap", () => {
  it.effect.prop("shows the least of what was put, moved and removed", {
    steps: Schema.Array(Schema.Struct({
      kind: Schema.Literals(["put", "put", "move", "remove", "take"]),
      which: between(0, 30),
      key: between(0, 20)
    }))
  }, ({ steps }) =>
    Effect.sync(() => {
      const { heap } = makeHeap()
      let items: Array<Item> = []
      for (const { key, kind, which } of steps) {
        const item = kind === "take" ? Heap.first(heap) : items[which % Math.max(1, items.length)]
        if (kind === "put") {
          const item = { key, place: -1 }
          items.push(item)
          Heap.put(heap, item)
        } else if (item !== undefined && kind === "move") {
          item.key = key
          Heap.put(heap, item)
        } else if (item !== undefined) {
          Heap.remove(heap, item)
          assert.strictEqual(item.place, -1)
          items = items.filter((other) => other !== item)
        }
        assert.strictEqual(Heap.first(heap)?.key, items.map(({ key }) => key).sort((a, b) => a - b)[0])
        assert.deepStrictEqual(heap.items.map(({ place }) => place), heap.items.map((_, index) => index))
        assert.strictEqual(heap.items.length, items.length)
      }
    }))

  it("ignores the removal of what is not in it", () => {
    const { heap } = makeHeap()
    Heap.put(heap, { key: 1, place: -1 })
    Heap.remove(heap, { key: 1, place: -1 })
    assert.strictEqual(heap.items.length, 1)
  })

  it("takes O(log n) comparisons for each operation among 10,000", () => {
    const { heap, lap } = makeHeap()
    const most = 3 * Math.ceil(Math.log2(10_000))
    for (let n = 0; n < 10_000; n++) {
      Heap.put(heap, { key: (n * 7_919) % 10_007, place: -1 })
      assert.isAtMost(lap(), most)
    }
    for (let last = -1; heap.items.length > 0;) {
      const item = Heap.first(heap)
      assert.isDefined(item)
      assert.isAtLeast(item.key, last)
      last = item.key
      Heap.remove(heap, item)
      assert.isAtMost(lap(), most)
    }
  })
})
