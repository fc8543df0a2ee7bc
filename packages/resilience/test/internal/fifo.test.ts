import { assert, describe, it } from "@effect/vitest"
import * as Fifo from "../../src/internal/fifo.ts"

interface Place extends Fifo.Place<Place> {
  readonly name: string
}

const place = (name: string): Place => ({ name, previous: undefined, next: undefined })

const makeFull = (names: string) => {
  const fifo = Fifo.make<Place>()
  const places = Array.from(names, place)
  for (const each of places) Fifo.append(fifo, each)
  return { fifo, places }
}

/** The names from the first to the last, and from the last to the first. */
const read = (fifo: Fifo.Fifo<Place>) => {
  let [forth, back] = ["", ""]
  for (let at = fifo.head; at !== undefined; at = at.next) forth += at.name
  for (let at = fifo.tail; at !== undefined; at = at.previous) back += at.name
  assert.strictEqual(fifo.size, forth.length)
  return [forth, back]
}

describe("fifo", () => {
  it("is empty at first", () => {
    const fifo = Fifo.make<Place>()
    assert.deepStrictEqual(fifo, { head: undefined, tail: undefined, size: 0 })
  })

  it("keeps the order of arrival, in both directions", () => {
    assert.deepStrictEqual(read(makeFull("abc").fifo), ["abc", "cba"])
  })

  for (const [gone, left] of [["a", "bc"], ["b", "ac"], ["c", "ab"], ["ab", "c"], ["cb", "a"], ["bac", ""]] as const) {
    it(`has ${left === "" ? "nobody" : left} when ${gone} left, who have no neighbours any more`, () => {
      const { fifo, places } = makeFull("abc")
      for (const leaving of places.filter(({ name }) => gone.includes(name))) {
        Fifo.remove(fifo, leaving)
        assert.deepStrictEqual(leaving, place(leaving.name))
      }
      assert.deepStrictEqual(read(fifo), [left, Array.from(left).toReversed().join("")])
    })
  }

  it("takes one who left again, as the last", () => {
    const { fifo, places: [first] } = makeFull("abc")
    assert.isDefined(first)
    Fifo.remove(fifo, first)
    Fifo.append(fifo, first)
    assert.deepStrictEqual(read(fifo), ["bca", "acb"])
  })

  it("is as good as new once all have left", () => {
    const { fifo, places } = makeFull("ab")
    for (const each of places) Fifo.remove(fifo, each)
    assert.deepStrictEqual(fifo, Fifo.make())
    Fifo.append(fifo, place("c"))
    assert.deepStrictEqual(read(fifo), ["c", "c"])
  })
})
