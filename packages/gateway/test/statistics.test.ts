import { assert, describe, it } from "@effect/vitest"
import * as statistics from "../src/internal/ledger/statistics.ts"

const moments = (values: ReadonlyArray<number>): statistics.Moments => ({
  n: values.length,
  sum: values.reduce((sum, value) => sum + value, 0),
  squares: values.reduce((sum, value) => sum + value * value, 0)
})

const near = (actual: number, expected: number, within: number) =>
  assert.isBelow(Math.abs(actual - expected), within, `${actual} is not near ${expected}`)

describe("statistics", () => {
  // Printed tables of Student's t, two-sided 95 %.
  it.each([[3, 3.182], [5, 2.571], [10, 2.228], [30, 2.042], [120, 1.98], [Infinity, 1.96]])(
    "the quantile of t with %d degrees of freedom is %d",
    (degrees, expected) => near(statistics.tQuantile(degrees), expected, expected / 100)
  )

  it("Wilson's interval is that of his paper's formula, and holds at the edges", () => {
    // 81 of 263, the example of Newcombe (1998), table I.
    const { high, low } = statistics.intervalOfShare(81, 263)
    near(low, 0.2553, 0.0001)
    near(high, 0.3662, 0.0001)
    assert.deepStrictEqual(statistics.intervalOfShare(0, 20).low, 0)
    near(statistics.intervalOfShare(0, 20).high, 0.1611, 0.0001)
  })

  it("Newcombe's interval of a difference is that of his table", () => {
    // 56 of 70 against 48 of 80 (Newcombe 1998, table II, method 10): 0.0524 to 0.3339.
    const { high, low } = statistics.intervalOfShares({ hits: 48, n: 80 }, { hits: 56, n: 70 })
    near(low, 0.0524, 0.0001)
    near(high, 0.3339, 0.0001)
  })

  it("Welch's interval holds the difference of means", () => {
    const a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    const b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.4, 24.4]
    // Means 20.82 and 23.65, variances 7.9 and 6.8: a difference of 2.83 ± 2.05 · 0.99.
    const { high, low } = statistics.intervalOfDifference(moments(a), moments(b))
    near((low + high) / 2, statistics.meanOf(moments(b)) - statistics.meanOf(moments(a)), 1e-9)
    assert.isAbove(low, 0)
    const same = statistics.intervalOfDifference(moments([1, 1, 1]), moments([1, 1, 1]))
    assert.deepStrictEqual(same, { low: 0, high: 0 })
  })

  it("covers the truth in about 95 of 100 samples", () => {
    let seed = 3
    const next = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
    let covered = 0
    for (let sample = 0; sample < 1_000; sample++) {
      const { high, low } = statistics.intervalOfMean(moments(Array.from({ length: 20 }, next)))
      if (low <= 0.5 && high >= 0.5) covered++
    }
    assert.isAbove(covered, 930)
    assert.isBelow(covered, 970)
  })
})
