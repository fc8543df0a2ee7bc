import { assert, describe, it } from "@effect/vitest"
import * as TimeWindow from "../../src/internal/timeWindow.ts"

const counts = ({ calls, failures, slow }: TimeWindow.TimeWindow) => [calls, failures, slow]

/** A window of one second in slices of 100 ms, with a call in each of the times given. */
const withCalls = (...times: ReadonlyArray<number>) => {
  const window = TimeWindow.make(1_000)
  for (const time of times) TimeWindow.record(window, time, false, false)
  return window
}

const countsAt = (window: TimeWindow.TimeWindow, now: number) => {
  TimeWindow.advance(window, now)
  return counts(window)
}

describe("TimeWindow", () => {
  it("counts calls, failures and slow calls apart", () => {
    const window = TimeWindow.make(1_000)
    TimeWindow.record(window, 0, false, false)
    TimeWindow.record(window, 0, true, false)
    TimeWindow.record(window, 0, false, true)
    TimeWindow.record(window, 0, true, true)
    TimeWindow.record(window, 0, true, false)
    assert.deepStrictEqual(counts(window), [5, 3, 2])
  })

  it("holds the running slice and the nine before it", () => {
    const window = TimeWindow.make(1_000)
    TimeWindow.record(window, 250, true, true)
    assert.deepStrictEqual(countsAt(window, 1_199), [1, 1, 1])
    assert.deepStrictEqual(countsAt(window, 1_200), [0, 0, 0])
  })

  it("forgets slice by slice, each just once", () => {
    const window = TimeWindow.make(1_000)
    for (let slice = 0; slice < 35; slice++) {
      TimeWindow.record(window, slice * 100, slice % 2 === 0, slice % 5 === 0)
      const held = Math.min(10, slice + 1)
      assert.strictEqual(window.calls, held)
      assert.strictEqual(window.failures, Math.ceil((held + (slice % 2 === 0 ? 0 : -1)) / 2))
      assert.strictEqual(window.slow, Math.min(2, Math.floor(slice / 5) + 1))
    }
  })

  it("forgets the slices of a pause, and no others", () => {
    const window = withCalls(0, 100, 200, 300)
    assert.deepStrictEqual(countsAt(window, 1_150), [2, 0, 0])
    assert.deepStrictEqual(countsAt(window, 1_250), [1, 0, 0])
    assert.deepStrictEqual(countsAt(window, 1_350), [0, 0, 0])
  })

  it("is empty after a pause of any length", () => {
    for (const pause of [1_000, 1_001, 9_999, 1e9]) {
      assert.deepStrictEqual(countsAt(withCalls(0, 50, 99), pause), [0, 0, 0])
    }
  })

  it("does not go back when it is asked for a time that is over", () => {
    const window = withCalls(1_500)
    assert.deepStrictEqual(countsAt(window, 200), [1, 0, 0])
    TimeWindow.record(window, 200, true, false)
    assert.deepStrictEqual(countsAt(window, 2_499), [2, 1, 0])
    assert.deepStrictEqual(countsAt(window, 2_500), [0, 0, 0])
  })

  describe("saved", () => {
    it("is one entry for each slice with calls, the oldest first", () => {
      const window = TimeWindow.make(1_000)
      TimeWindow.record(window, 510, true, false)
      TimeWindow.record(window, 590, false, true)
      TimeWindow.record(window, 1_310, false, false)
      TimeWindow.record(window, 1_400, true, true)
      assert.deepStrictEqual(TimeWindow.save(window, 1_420), [
        { age: 870, calls: 2, failures: 1, slow: 1 },
        { age: 70, calls: 1, failures: 0, slow: 0 },
        { age: -30, calls: 1, failures: 1, slow: 1 }
      ])
    })

    it("leaves out what has left the window by then", () => {
      const window = withCalls(0, 100)
      assert.deepStrictEqual(TimeWindow.save(window, 1_050), [{ age: 900, calls: 1, failures: 0, slow: 0 }])
      assert.deepStrictEqual(TimeWindow.save(window, 1_100), [])
    })

    it("holds all ten slices", () => {
      const window = withCalls(...Array.from({ length: 10 }, (_, slice) => slice * 100))
      assert.strictEqual(TimeWindow.save(window, 950).length, 10)
    })
  })

  describe("restored", () => {
    const slice = (age: number) => ({ age, calls: 4, failures: 2, slow: 1 })

    const restored = (now: number, ...ages: ReadonlyArray<number>) => {
      const window = TimeWindow.make(1_000)
      TimeWindow.restore(window, ages.map(slice), now)
      return window
    }

    it("goes on from what was saved, at another time", () => {
      const from = TimeWindow.make(1_000)
      TimeWindow.record(from, 520, true, false)
      TimeWindow.record(from, 1_310, true, true)
      const window = TimeWindow.make(1_000)
      TimeWindow.restore(window, TimeWindow.save(from, 1_350), 77_750)
      assert.deepStrictEqual(counts(window), [2, 2, 1])
      assert.deepStrictEqual(countsAt(window, 77_899), [2, 2, 1])
      assert.deepStrictEqual(countsAt(window, 77_900), [1, 1, 1])
      assert.deepStrictEqual(countsAt(window, 78_699), [1, 1, 1])
      assert.deepStrictEqual(countsAt(window, 78_700), [0, 0, 0])
    })

    it("adds up entries that lie in one slice", () => {
      const window = restored(5_050, 10, 20)
      assert.deepStrictEqual(counts(window), [8, 4, 2])
      assert.deepStrictEqual(TimeWindow.save(window, 5_050), [{ age: 0, calls: 8, failures: 4, slow: 2 }])
    })

    it("leaves out a slice that is ten slices old, and none that is nine", () => {
      assert.deepStrictEqual(counts(restored(5_050, 950)), [4, 2, 1])
      assert.deepStrictEqual(counts(restored(5_050, 951)), [0, 0, 0])
    })

    it("takes what is still to come as of now", () => {
      const window = restored(5_050, -700)
      assert.deepStrictEqual(countsAt(window, 5_999), [4, 2, 1])
      assert.deepStrictEqual(countsAt(window, 6_000), [0, 0, 0])
    })

    it("reaches back before the clock began", () => {
      const window = restored(50, 650)
      assert.deepStrictEqual(TimeWindow.save(window, 50), [{ age: 600, calls: 4, failures: 2, slow: 1 }])
      assert.deepStrictEqual(countsAt(window, 399), [4, 2, 1])
      assert.deepStrictEqual(countsAt(window, 400), [0, 0, 0])
    })
  })
})
