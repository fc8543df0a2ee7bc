import type { Priority } from "@ballast/resilience"
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

  describe("of several priorities", () => {
    interface Named extends Line.Item<Named> {
      readonly name: string
    }

    /** A line in which those of the tenants in `held` may not go. */
    const makeNamed = () => {
      const held = new Set<string>()
      const line = Line.make<Named>((tenant) => tenant === undefined || !held.has(tenant))
      const items = new Map<string, Named>()
      let number = 0
      const arrive = (name: string, priority: Priority.Priority, tenant?: string, weight = 1) => {
        const lane = Line.laneOf(line, priority, tenant)
        const item = { name, weight, number: number++, lane, previous: undefined, next: undefined }
        items.set(name, item)
        Line.append(line, item)
      }
      const leave = (name: string) => {
        const item = items.get(name)
        if (item !== undefined) Line.remove(line, item)
      }
      /** Serves all whose turn comes. */
      const all = () => {
        const names: Array<string> = []
        for (let item = Line.next(line); item !== undefined; item = Line.next(line)) {
          Line.serve(line, item)
          names.push(item.name)
        }
        return names.join(" ")
      }
      return { line, held, arrive, leave, all }
    }

    it("counts those who wait", () => {
      const { arrive, leave, line } = makeNamed()
      assert.deepStrictEqual([line.size, Line.waiting(line)], [0, new Map()])
      arrive("a", "high", "x")
      arrive("b", "low", "x")
      arrive("c", "low", "x")
      arrive("d", "normal")
      assert.strictEqual(line.size, 4)
      assert.deepStrictEqual(Line.waiting(line), new Map([["x", 3], [undefined, 1]]))
      leave("b")
      assert.deepStrictEqual([line.size, Line.waiting(line).get("x")], [3, 2])
      leave("d")
      assert.deepStrictEqual(Line.waiting(line), new Map([["x", 2]]))
    })

    it("serves the higher priority first", () => {
      const { all, arrive } = makeNamed()
      for (const priority of ["low", "normal", "high", "critical"] as const) arrive(priority, priority)
      assert.strictEqual(all(), "critical high normal low")
    })

    it("who arrives is next if nobody of its priority or above may go, and nobody of its own lane waits", () => {
      const { arrive, held, line } = makeNamed()
      assert.isTrue(Line.isNext(line, "low", "x"))
      arrive("a", "normal", "x")
      const isNext = (tenant?: string) =>
        (["critical", "high", "normal", "low"] as const).filter((priority) => Line.isNext(line, priority, tenant))
      assert.deepStrictEqual(isNext("x"), ["critical", "high"])
      assert.deepStrictEqual(isNext("y"), ["critical", "high"])
      held.add("x")
      Line.reconsider(line, "x")
      assert.deepStrictEqual(isNext("x"), ["critical", "high", "low"])
      assert.deepStrictEqual(isNext("y"), ["critical", "high", "normal", "low"])
      assert.deepStrictEqual(isNext(), ["critical", "high", "normal", "low"])
    })

    it("those who may not go are passed over, until they may", () => {
      const { all, arrive, held, line } = makeNamed()
      held.add("x")
      arrive("a", "high", "x")
      arrive("b", "low", "x")
      arrive("c", "low", "y")
      held.add("y")
      assert.strictEqual(Line.next(line)?.name, "c")
      Line.reconsider(line, "y")
      assert.isUndefined(Line.next(line))
      held.clear()
      Line.reconsider(line, "x")
      assert.strictEqual(all(), "a b")
      Line.reconsiderAll(line)
      assert.strictEqual(all(), "c")
    })

    it("asks about the first of a lane, also once another has become that", () => {
      const line = Line.make<Named>((_, weight) => weight < 3)
      const lane = Line.laneOf(line, "normal", "x")
      const item = (name: string, weight: number) => ({
        name,
        weight,
        number: weight,
        lane,
        previous: undefined,
        next: undefined
      })
      const [first, heavy] = [item("first", 1), item("heavy", 3)]
      Line.append(line, first)
      Line.append(line, heavy)
      assert.strictEqual(Line.next(line), first)
      Line.remove(line, first)
      assert.isUndefined(Line.next(line))
      Line.append(line, item("light", 2))
      assert.isUndefined(Line.next(line))
      Line.remove(line, heavy)
      assert.strictEqual(Line.next(line)?.name, "light")
    })

    it("the place of the newest of the lowest priority below is given up", () => {
      const { arrive, line } = makeNamed()
      const lesser = (priority: Priority.Priority, tenant?: string) => Line.lesser(line, priority, tenant)?.name
      assert.isUndefined(lesser("critical"))
      arrive("a", "normal", "x")
      arrive("b", "normal", "y")
      assert.deepStrictEqual([lesser("critical"), lesser("high"), lesser("normal"), lesser("low")], [
        "b",
        "b",
        undefined,
        undefined
      ])
      arrive("c", "low", "z")
      assert.deepStrictEqual([lesser("normal"), lesser("low")], ["c", undefined])
    })

    it("of its own priority, that of the newest of who waits most, if they have two more", () => {
      const { arrive, line } = makeNamed()
      const lesser = (tenant?: string) => Line.lesser(line, "normal", tenant)?.name
      arrive("x1", "normal", "x")
      arrive("y1", "normal", "y")
      assert.strictEqual(lesser("z"), undefined)
      arrive("y2", "normal", "y")
      arrive("x2", "normal", "x")
      assert.deepStrictEqual([lesser("z"), lesser("x"), lesser("y"), lesser()], ["x2", undefined, undefined, "x2"])
      arrive("y3", "normal", "y")
      assert.deepStrictEqual([lesser("z"), lesser("x")], ["y3", undefined])
      arrive("y4", "normal", "y")
      assert.deepStrictEqual([lesser("x"), lesser("y")], ["y4", undefined])
    })

    it("shares by weight: a lane that got more waits longer", () => {
      const { all, arrive } = makeNamed()
      for (const name of ["x1", "x2", "x3"]) arrive(name, "normal", "x", 2)
      for (const name of ["y1", "y2", "y3", "y4"]) arrive(name, "normal", "y")
      assert.strictEqual(all(), "x1 y1 y2 x2 y3 y4 x3")
    })

    it("who begins to wait starts at the clock and not before it", () => {
      const { arrive, line, all } = makeNamed()
      for (let n = 1; n <= 8; n++) arrive(`x${n}`, "normal", "x")
      for (let n = 0; n < 4; n++) {
        const item = Line.next(line)
        if (item !== undefined) Line.serve(line, item)
      }
      for (let n = 1; n <= 3; n++) arrive(`y${n}`, "normal", "y")
      assert.strictEqual(all(), "x5 y1 x6 y2 x7 y3 x8")
    })

    it("a lane that got much waits until the others have got as much", () => {
      const { all, arrive } = makeNamed()
      for (const name of ["x1", "x2"]) arrive(name, "normal", "x", 4)
      for (const name of ["y1", "y2", "y3", "y4", "y5"]) arrive(name, "normal", "y")
      assert.strictEqual(all(), "x1 y1 y2 y3 y4 x2 y5")
    })

    it("who could not go for a while has saved nothing up", () => {
      const { all, arrive, held, line } = makeNamed()
      held.add("y")
      for (const name of ["x1", "x2", "x3"]) arrive(name, "normal", "x", 4)
      for (const name of ["y1", "y2", "y3", "y4", "y5"]) arrive(name, "normal", "y")
      for (let n = 0; n < 2; n++) {
        const item = Line.next(line)
        if (item !== undefined) Line.serve(line, item)
      }
      assert.strictEqual(line.ranks.normal.clock, 6)
      held.clear()
      Line.reconsider(line, "y")
      assert.strictEqual(all(), "y1 y2 x3 y3 y4 y5")
    })

    it("of who waits most, the newest gives way, also after others have left", () => {
      const { arrive, leave, line } = makeNamed()
      const lesser = () => Line.lesser(line, "normal", "z")?.name
      for (const name of ["x1", "x2", "x3"]) arrive(name, "normal", "x")
      arrive("y1", "normal", "y")
      assert.strictEqual(lesser(), "x3")
      arrive("y2", "normal", "y")
      leave("x3")
      assert.strictEqual(lesser(), "y2")
      leave("y2")
      assert.strictEqual(lesser(), "x2")
      for (const name of ["y3", "y4"]) arrive(name, "normal", "y")
      for (const name of ["y1", "y3"]) leave(name)
      assert.strictEqual(lesser(), "x2")
    })

    it("says of each lane what its priority is, and asks nothing of an empty one", () => {
      const { arrive, line } = makeNamed()
      for (const priority of ["low", "normal", "high", "critical"] as const) {
        assert.strictEqual(Line.laneOf(line, priority, "x").rank.priority, priority)
      }
      arrive("y", "normal", "y")
      Line.reconsider(line, "x")
      assert.strictEqual(Line.next(line)?.name, "y")
    })

    it("the lane of nobody in particular owes nothing once nobody waits", () => {
      const { all, arrive, line } = makeNamed()
      for (const name of ["a", "b", "c"]) arrive(name, "normal")
      assert.strictEqual(all(), "a b c")
      assert.deepStrictEqual(Array.from(line.ranks.normal.lanes.keys()), [undefined])
      arrive("d", "normal")
      arrive("x1", "normal", "x")
      arrive("x2", "normal", "x")
      arrive("e", "normal")
      assert.strictEqual(all(), "d x1 x2 e")
      assert.strictEqual(line.ranks.normal.lanes.size, 0)
    })
  })

  it("keeps 64 lanes of those who are gone, then drops those that owe nothing", () => {
    const { arrive, line, serve } = makeLine()
    const { normal } = line.ranks
    for (let n = 0; n < 200; n++) arrive("patient")
    for (let n = 0; n < 63; n++) {
      arrive(`passer-by ${n}`)
      while (serve() === "patient");
    }
    assert.strictEqual(normal.lanes.size, 64)
    arrive("last")
    while (serve() === "patient");
    assert.isBelow(normal.lanes.size, 64)
    assert.isTrue(normal.lanes.has("patient"))
    assert.strictEqual(normal.sweepAt, 64)
  })

  it("keeps those that owe, and does not look again before as many have come", () => {
    const { arrive, line, serve } = makeLine()
    const { normal } = line.ranks
    for (let n = 0; n < 100; n++) arrive(`${n}`, 10)
    for (let n = 0; n < 60; n++) assert.strictEqual(serve(), `${n}`)
    assert.deepStrictEqual([normal.lanes.size, normal.sweepAt], [100, 200])
    arrive("0", 10)
    arrive("late", 10)
    const order = Array.from({ length: 42 }, serve)
    assert.isBelow(order.indexOf("late"), order.indexOf("0"))
  })
})
