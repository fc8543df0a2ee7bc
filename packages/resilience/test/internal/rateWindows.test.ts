import { assert, describe, it } from "@effect/vitest"
import { use } from "../support/rateAlgorithm.ts"

describe("rate algorithms", () => {
  for (const algorithm of ["fixed-window", "sliding-counter", "sliding-log"] as const) {
    it(`${algorithm}: a sum of fractions that is off by a rounding error is taken for what it is`, () => {
      const limit = use(algorithm, { limit: 3, burst: 3 })
      limit.take(0, 0.1)
      limit.take(0, 2.7)
      assert.isAbove(0.1 + 2.7 + 0.2, 3)
      assert.strictEqual(limit.wait(0, 0.2), 0)
      assert.isAbove(limit.wait(0, 0.21), 0)
    })
  }

  describe("fixed-window", () => {
    it("frees all a window after its first call", () => {
      const limit = use("fixed-window")
      limit.take(300, 4)
      limit.take(900, 6)
      assert.deepStrictEqual([limit.wait(900), limit.available(900), limit.resetAfter(900)], [400, 0, 400])
      assert.strictEqual(limit.wait(1_299), 1)
      assert.deepStrictEqual([limit.wait(1_300, 10), limit.available(1_300), limit.resetAfter(1_300)], [0, 10, 0])
    })

    it("those ahead fill this window and the next ones", () => {
      const limit = use("fixed-window")
      limit.take(0, 4)
      assert.deepStrictEqual(
        [limit.wait(100, 1, 5), limit.wait(100, 1, 6), limit.wait(100, 1, 15), limit.wait(100, 1, 16)],
        [0, 900, 900, 1_900]
      )
      assert.deepStrictEqual([limit.wait(100, 7), limit.wait(100, 7, 9)], [900, 900])
    })

    it("what is owed ends with its window", () => {
      const limit = use("fixed-window")
      limit.take(0, 25)
      assert.deepStrictEqual([limit.available(0), limit.wait(100), limit.wait(100, 10)], [-15, 900, 900])
      assert.strictEqual(limit.wait(100, 1, 10), 1_900)
    })

    it("sums of fractions are as good as whole", () => {
      const limit = use("fixed-window", { limit: 1, burst: 1 })
      for (let n = 0; n < 9; n++) limit.take(0, 0.1)
      assert.strictEqual(limit.wait(0, 0.1), 0)
      assert.strictEqual(limit.wait(0, 0.1001), 1_000)
      limit.take(0, 0.1)
      assert.strictEqual(limit.wait(0, 1, 1e-12), 1_000)
    })

    it("gives back in the same window only, and never more than is taken", () => {
      const limit = use("fixed-window")
      limit.take(0, 6)
      limit.giveBack(500, 0, 2)
      assert.strictEqual(limit.available(500), 6)
      limit.giveBack(500, 0, 20)
      assert.strictEqual(limit.available(500), 10)
      limit.take(600, 5)
      limit.take(1_600, 3)
      limit.giveBack(1_600, 600, 5)
      assert.strictEqual(limit.available(1_600), 7)
      limit.giveBack(1_700, 1_600, 1)
      assert.strictEqual(limit.available(1_700), 8)
    })

    it("begins anew with the next call when all was given back", () => {
      const limit = use("fixed-window")
      limit.take(0, 6)
      limit.giveBack(500, 0, 6)
      limit.take(600, 10)
      assert.strictEqual(limit.wait(700), 900)
    })
  })

  describe("sliding-counter", () => {
    it("the window before counts for the part that is within the last one", () => {
      const limit = use("sliding-counter")
      limit.take(0, 10)
      assert.deepStrictEqual([limit.wait(0), limit.wait(400), limit.available(999)], [1_100, 700, 0])
      assert.deepStrictEqual([limit.available(1_000), limit.available(1_250), limit.available(1_999)], [0, 2.5, 9.99])
      limit.take(1_500, 5)
      assert.deepStrictEqual([limit.available(1_500), limit.wait(1_500, 2)], [0, 200])
      assert.deepStrictEqual([limit.available(2_000), limit.available(2_500)], [5, 7.5])
    })

    it("counts nothing of before two windows, and then begins with the next call", () => {
      const limit = use("sliding-counter")
      limit.take(0, 10)
      assert.strictEqual(limit.wait(2_000, 10), 0)
      limit.take(2_300, 10)
      assert.deepStrictEqual([limit.wait(2_300, 1), limit.resetAfter(2_300)], [1_100, 2_000])
      assert.deepStrictEqual([limit.resetAfter(3_300), limit.resetAfter(4_299)], [1_000, 1])
      limit.take(4_299, 1)
      assert.strictEqual(limit.resetAfter(4_299), 1_001)
    })

    it("knows when there is room beside the running window", () => {
      const limit = use("sliding-counter")
      limit.take(0, 8)
      limit.take(1_000, 2)
      // Eight, of which a part counts, and two: room for the rest.
      assert.deepStrictEqual([limit.wait(1_000, 4), limit.wait(1_000, 8), limit.wait(1_000, 2, 2)], [500, 1_000, 500])
      assert.strictEqual(limit.wait(1_200, 4), 300)
    })

    it("knows when those ahead are through, given how full they leave the windows", () => {
      const limit = use("sliding-counter")
      limit.take(0, 10)
      // One ahead can go at 1,100 at the earliest; ten can fill the next window, and each leaves a share behind.
      assert.deepStrictEqual([limit.wait(0, 1, 1), limit.wait(0, 2, 8), limit.wait(0, 1, 9)], [1_200, 2_000, 2_000])
      assert.deepStrictEqual([limit.wait(0, 1, 10), limit.wait(0, 1, 19), limit.wait(0, 1, 20)], [2_100, 3_000, 3_100])
      limit.take(0, 5)
      assert.deepStrictEqual([limit.available(0), limit.wait(0)], [-5, 1_400])
      const free = use("sliding-counter")
      free.take(0, 4)
      assert.deepStrictEqual([free.wait(0, 3, 3), free.wait(0, 1, 6), free.wait(0, 4, 3)], [
        0,
        1_100,
        1_000 + 1_000 / 7
      ])
    })

    it("sums of fractions are as good as whole", () => {
      const limit = use("sliding-counter", { limit: 1, burst: 1 })
      for (let n = 0; n < 9; n++) limit.take(0, 0.1)
      assert.strictEqual(limit.wait(0, 0.1), 0)
      assert.isAbove(limit.wait(0, 0.1001), 0)
    })

    it("a debt fills the window after the next only as far as those ahead do", () => {
      const limit = use("sliding-counter")
      limit.take(0, 15)
      assert.deepStrictEqual([limit.wait(0, 7), limit.wait(0, 2, 10), limit.wait(0, 2, 20)], [
        1_800,
        2_200,
        3_200
      ])
    })

    it("counts what is past two windows for nothing, and never for less", () => {
      const limit = use("sliding-counter")
      limit.take(0, 10)
      assert.strictEqual(limit.available(2_500), 10)
      limit.take(2_500, 4)
      assert.deepStrictEqual([limit.wait(2_500, 7), limit.resetAfter(2_500)], [1_250, 2_000])
    })

    it("gives back to the window that it was taken from, and never more than is there", () => {
      const limit = use("sliding-counter")
      limit.take(0, 8)
      limit.take(1_000, 2)
      limit.giveBack(1_500, 0, 4)
      assert.strictEqual(limit.available(1_500), 6)
      limit.giveBack(1_500, 1_000, 1)
      assert.strictEqual(limit.available(1_500), 7)
      limit.giveBack(1_500, 1_000, 50)
      assert.strictEqual(limit.available(1_500), 8)
      limit.giveBack(1_500, 999, 50)
      assert.strictEqual(limit.available(1_500), 10)
    })

    it("gives nothing back that was taken before both windows", () => {
      const limit = use("sliding-counter")
      limit.take(0, 8)
      limit.take(1_000, 2)
      limit.take(2_000, 2)
      limit.giveBack(2_000, 999, 8)
      assert.strictEqual(limit.available(2_000), 6)
    })

    it("a reward takes from the running window first, and from the one before what then counts", () => {
      const limit = use("sliding-counter")
      limit.take(0, 8)
      limit.take(1_000, 2)
      limit.reward(1_500, 1)
      assert.deepStrictEqual([limit.available(1_500), limit.available(1_750)], [5, 7])
      limit.reward(1_500, 3)
      assert.deepStrictEqual([limit.available(1_500), limit.available(1_750)], [8, 9])
      limit.reward(1_500, 100)
      assert.strictEqual(limit.available(1_500), 10)
    })
  })

  describe("sliding-log", () => {
    it("each weight leaves a window after it was taken", () => {
      const limit = use("sliding-log")
      limit.take(0, 4)
      limit.take(300, 5)
      limit.take(600, 1)
      assert.deepStrictEqual([1, 4, 5, 9, 10].map((weight) => limit.wait(600, weight)), [400, 400, 700, 700, 1_000])
      assert.deepStrictEqual([limit.available(999), limit.available(1_000), limit.resetAfter(999)], [0, 4, 601])
      assert.deepStrictEqual([limit.available(1_300), limit.available(1_600)], [9, 10])
    })

    it("what those ahead take leaves a window later", () => {
      const limit = use("sliding-log")
      limit.take(0, 4)
      limit.take(300, 6)
      assert.deepStrictEqual(
        [[1, 3], [1, 4], [4, 6], [1, 9], [1, 10], [1, 13], [1, 14], [1, 20]].map(([weight, ahead]) =>
          limit.wait(300, weight, ahead)
        ),
        [700, 1_000, 1_000, 1_000, 1_700, 1_700, 2_000, 2_700]
      )
      assert.deepStrictEqual([limit.wait(400, 1, 9), limit.wait(400, 10), limit.wait(400, 1, 10)], [900, 900, 1_600])
    })

    it("an empty one too is filled by those ahead", () => {
      const limit = use("sliding-log")
      assert.deepStrictEqual([limit.wait(0, 1, 9), limit.wait(0, 1, 10), limit.wait(0, 1, 20)], [0, 1_000, 2_000])
    })

    it("calls of one time are one to it, also when the clock went back", () => {
      const limit = use("sliding-log")
      const { state } = limit
      assert.strictEqual(state._tag, "sliding-log")
      if (state._tag !== "sliding-log") return
      limit.take(100, 2)
      limit.take(100, 3)
      limit.take(50, 1)
      assert.deepStrictEqual([state.times, state.sums], [[100], [6]])
      limit.take(101, 1)
      assert.deepStrictEqual([state.times, state.sums], [[100, 101], [6, 7]])
      limit.take(102, 0)
      assert.strictEqual(state.times.length, 2)
    })

    it("forgets what is past, and keeps no more than about twice what counts", () => {
      const limit = use("sliding-log", { limit: 1_000, burst: 1_000 })
      const { state } = limit
      assert.strictEqual(state._tag, "sliding-log")
      if (state._tag !== "sliding-log") return
      for (let now = 0; now < 20_000; now += 10) {
        limit.take(now, 2)
        assert.isAtMost(state.times.length, 201)
        assert.strictEqual(limit.available(now), 1_000 - 2 * Math.min(100, now / 10 + 1))
      }
      assert.isAtMost(state.sums.at(-1) ?? 0, 402)
      limit.available(21_000)
      assert.deepStrictEqual([state.times, state.sums, state.first, state.forgotten], [[], [], 0, 0])
    })

    it("keeps a few that are past, which are cheap", () => {
      const limit = use("sliding-log", { limit: 1_000, burst: 1_000 })
      const { state } = limit
      assert.strictEqual(state._tag, "sliding-log")
      if (state._tag !== "sliding-log") return
      for (let now = 0; now < 100; now++) limit.take(now, 1)
      limit.available(1_062)
      assert.deepStrictEqual([state.times.length, state.first, state.forgotten], [100, 63, 63])
      assert.strictEqual(limit.wait(1_062, 964), 1)
      limit.available(1_063)
      assert.deepStrictEqual([state.times.length, state.first, state.forgotten], [36, 0, 0])
      assert.deepStrictEqual([limit.available(1_063), limit.wait(1_063, 965)], [964, 1])
    })

    it("cuts only once at least half is past", () => {
      const limit = use("sliding-log", { limit: 1_000, burst: 1_000 })
      const { state } = limit
      assert.strictEqual(state._tag, "sliding-log")
      if (state._tag !== "sliding-log") return
      for (let now = 0; now < 300; now++) limit.take(now, 1)
      limit.available(1_148)
      assert.deepStrictEqual([state.times.length, state.first, limit.available(1_148)], [300, 149, 849])
      limit.available(1_149)
      assert.deepStrictEqual([state.times.length, state.first, limit.available(1_149)], [150, 0, 850])
    })

    it("gives back to the time that it was taken at, and never more than is there", () => {
      const limit = use("sliding-log")
      limit.take(0, 4)
      limit.take(300, 3)
      limit.take(600, 2)
      limit.giveBack(700, 300, 2)
      assert.deepStrictEqual([limit.available(700), limit.available(1_000), limit.available(1_300)], [3, 7, 8])
      const other = use("sliding-log")
      other.take(0, 4)
      other.take(300, 3)
      other.giveBack(700, 0, 50)
      assert.deepStrictEqual([other.available(700), other.wait(700, 8)], [7, 600])
      other.giveBack(700, 299, 1)
      assert.strictEqual(other.available(700), 7)
      other.giveBack(1_350, 300, 3)
      assert.strictEqual(other.available(1_350), 10)
    })

    it("gives back to the oldest that still counts, when some are past", () => {
      const limit = use("sliding-log")
      limit.take(0, 4)
      limit.take(300, 3)
      limit.take(600, 2)
      limit.giveBack(1_100, 300, 50)
      assert.deepStrictEqual([limit.available(1_100), limit.wait(1_100, 9), limit.resetAfter(1_100)], [8, 500, 500])
      limit.giveBack(1_100, 0, 50)
      assert.strictEqual(limit.available(1_100), 8)
    })

    it("a reward takes from the latest first", () => {
      const limit = use("sliding-log")
      limit.take(0, 4)
      limit.take(300, 3)
      limit.take(600, 2)
      limit.reward(700, 3)
      assert.deepStrictEqual([limit.available(700), limit.resetAfter(700), limit.wait(700, 5)], [4, 600, 300])
      assert.deepStrictEqual([limit.available(1_000), limit.wait(1_000, 9)], [8, 300])
      limit.reward(1_000, 50)
      assert.deepStrictEqual([limit.available(1_000), limit.resetAfter(1_000)], [10, 0])
    })

    it("goes on after a reward as though the latest had never been", () => {
      const limit = use("sliding-log")
      limit.take(0, 4)
      limit.take(300, 3)
      limit.reward(300, 4)
      limit.take(400, 2)
      assert.deepStrictEqual([limit.available(500), limit.wait(500, 8), limit.wait(500, 9)], [5, 500, 900])
    })

    it("is as new once all is past", () => {
      const limit = use("sliding-log")
      limit.take(0, 1)
      limit.take(10, 1)
      limit.available(1_010)
      assert.deepStrictEqual(limit.state, use("sliding-log").state)
    })

    it("sums of fractions are as good as whole", () => {
      const limit = use("sliding-log", { limit: 1, burst: 1 })
      for (let n = 0; n < 9; n++) limit.take(n, 0.1)
      assert.strictEqual(limit.wait(9, 0.1), 0)
      assert.strictEqual(limit.wait(9, 0.1001), 991)
      assert.strictEqual(limit.wait(9, 0.2), 991)
      assert.strictEqual(limit.wait(9, 0.3), 992)
      assert.deepStrictEqual([limit.wait(9, 1, 0.1), limit.wait(9, 1, 0.2)], [1_000, 1_991])
    })

    it("keeps what counted when its window gets longer", () => {
      const limit = use("sliding-log")
      limit.take(0, 4)
      limit.take(500, 3)
      limit.convert(1_000, { window: 2_000 })
      assert.deepStrictEqual([limit.available(1_000), limit.available(2_499), limit.available(2_500)], [7, 7, 10])
    })
  })
})
