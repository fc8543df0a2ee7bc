import { assert, describe, it } from "@effect/vitest"
import { between, parse } from "../src/internal/cli/exposition.ts"

const text = (calls: number, buckets: readonly [number, number, number], gauge = 1) =>
  `# HELP c_total Calls
# TYPE c_total counter
c_total{fault="none",name="a \\"b\\" \\\\ c"} ${calls}
c_total{fault="provider",name="x"} 2
# TYPE d histogram
d_bucket{le="1"} ${buckets[0]}
d_bucket{le="2"} ${buckets[1]}
d_bucket{le="+Inf"} ${buckets[2]} # {trace_id="t"} 3 1700000000
g ${gauge}
not a sample
`

describe("exposition", () => {
  const past = between(parse(text(10, [1, 1, 1]), 1_000), parse(text(40, [1, 11, 21]), 4_000))

  it("reads names, labels and values, and leaves out what is none", () => {
    const { samples } = parse(text(10, [1, 1, 1]), 0)
    assert.deepStrictEqual([...samples.keys()], ["c_total", "d_bucket", "g"])
    assert.deepStrictEqual(samples.get("c_total")?.[0], { labels: { fault: "none", name: "a \"b\" \\ c" }, value: 10 })
    assert.deepStrictEqual(samples.get("d_bucket")?.[2], { labels: { le: "+Inf" }, value: 1 })
  })

  it("tells how much counters grew a second", () => {
    assert.strictEqual(past.rate("c_total"), 10)
    assert.strictEqual(past.rate("c_total", ({ fault }) => fault === "provider"), 0)
    assert.strictEqual(past.rate("unknown"), 0)
  })

  it("takes a counter that fell as one that began anew", () => {
    const anew = between(parse(text(40, [1, 1, 1]), 0), parse(text(6, [1, 1, 1]), 2_000))
    assert.strictEqual(anew.rate("c_total"), 3)
  })

  it("estimates quantiles of what was observed in between", () => {
    // Ten between 1 and 2, ten above.
    assert.strictEqual(past.quantile("d", 0.25), 1.5)
    assert.strictEqual(past.quantile("d", 0.99), 2)
    const idle = between(parse(text(1, [1, 2, 3]), 0), parse(text(1, [1, 2, 3]), 1_000))
    assert.isUndefined(idle.quantile("d", 0.5))
  })

  it("finds the highest gauge of several workers", () => {
    const loops = parse("loop{worker=\"1\"} 0.02\nloop{worker=\"2\"} 0.03\n", 0)
    assert.strictEqual(between(loops, loops).highest("loop"), 0.03)
    assert.strictEqual(between(loops, loops).highest("unknown"), 0)
  })

  it("sums gauges, and lists the values of a label", () => {
    assert.strictEqual(past.now("g"), 1)
    assert.deepStrictEqual(past.valuesOf("c_total", "fault"), ["none", "provider"])
  })
})
