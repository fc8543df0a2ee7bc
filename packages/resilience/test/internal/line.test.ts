import { assert, describe, it } from "@effect/vitest"
import * as Line from "../../src/internal/concurrency/line.ts"

interface Item extends Line.Item<Item> {}

const makeLine = () => {
  const line = Line.make<Item>(() => true)
  let number = 0
  const arrive = (tenant: string, weight = 1) => {
    const lane = Line.laneOf(line, "normal", tenant)
    Line.append(line, { weight, number: number++, lane, previous: undefined, next: undefined })
  }
  /** Serves the next one. Returns its tenant. */
  const serve = () => {
    const item = Line.next(line)
    if (item !== undefined) Line.serve(line, item)
    return item?.lane.tenant
  }
  return { line, arrive, serve }
}

describe("line", () => {
  it("drops lanes that owe nothing, though somebody waits all the time", () => {
    const { arrive, line, serve } = makeLine()
    for (let n = 0; n < 10; n++) arrive("patient")
    for (let n = 0; n < 10_000; n++) {
      arrive("patient")
      arrive(`passer-by ${n}`, 1 + n % 3)
      serve()
      serve()
      assert.isAtMost(line.ranks.normal.lanes.size, 300)
    }
  })

  it("drops all once nobody waits", () => {
    const { arrive, line, serve } = makeLine()
    for (let n = 0; n < 1_000; n++) arrive(`${n}`)
    for (let n = 0; n < 1_000; n++) assert.strictEqual(serve(), `${n}`)
    assert.strictEqual(line.ranks.normal.lanes.size, 0)
    assert.strictEqual(line.ranks.normal.clock, 0)
    assert.isUndefined(serve())
  })

  it("remembers what a tenant got while others wait", () => {
    const { arrive, serve } = makeLine()
    arrive("a")
    arrive("b")
    arrive("b")
    assert.strictEqual(serve(), "a")
    arrive("a")
    assert.strictEqual(serve(), "b")
    assert.strictEqual(serve(), "b")
    assert.strictEqual(serve(), "a")
  })
})
