import { assert, describe, it } from "@effect/vitest"
import * as mergedMetrics from "../src/internal/mergedMetrics.ts"

const page = (requests: number, fast: number, heap: number, active: number) =>
  `# HELP ballast_requests_total Requests
# TYPE ballast_requests_total counter
ballast_requests_total{route="/a b",fault="none"} ${requests}
# TYPE took_seconds histogram
took_seconds_bucket{le="1"} ${fast}
took_seconds_bucket{le="+Inf"} ${requests}
took_seconds_sum ${requests / 2}
took_seconds_count ${requests}
# TYPE v8js_memory_heap_used_bytes gauge
v8js_memory_heap_used_bytes ${heap}
# TYPE ballast_account_usable gauge
ballast_account_usable{account="a, \\"b\\""} 1
# TYPE http_server_active_requests gauge
http_server_active_requests ${active}
`

const merged = (requests: number, fast: number, heaps: ReadonlyArray<readonly [number, number]>, active: number) =>
  `# HELP ballast_requests_total Requests
# TYPE ballast_requests_total counter
ballast_requests_total{route="/a b",fault="none"} ${requests}
# TYPE took_seconds histogram
took_seconds_bucket{le="1"} ${fast}
took_seconds_bucket{le="+Inf"} ${requests}
took_seconds_sum ${requests / 2}
took_seconds_count ${requests}
# TYPE v8js_memory_heap_used_bytes gauge
${heaps.map(([worker, heap]) => `v8js_memory_heap_used_bytes{worker="${worker}"} ${heap}\n`).join("")}` +
  `# TYPE ballast_account_usable gauge
${heaps.map(([worker]) => `ballast_account_usable{account="a, \\"b\\"",worker="${worker}"} 1\n`).join("")}` +
  `# TYPE http_server_active_requests gauge
http_server_active_requests ${active}
`

describe("mergedMetrics", () => {
  it("sums counters and histograms, and tells gauges apart unless they add up", () => {
    const metrics = mergedMetrics.make()
    const both = [{ worker: 1, text: page(10, 4, 100, 1) }, { worker: 2, text: page(30, 6, 200, 2) }]
    const heaps = [[1, 100], [2, 200]] as const
    assert.strictEqual(metrics.merge(both), merged(40, 10, heaps, 3))
    assert.strictEqual(metrics.merge(both), merged(40, 10, heaps, 3))
    // One that does not answer in time counts as it was last seen.
    assert.strictEqual(metrics.merge([{ worker: 2, text: page(31, 6, 200, 2) }]), merged(41, 10, heaps, 3))
  })

  it("keeps what a worker had counted, so that no sum falls", () => {
    const metrics = mergedMetrics.make()
    metrics.merge([{ worker: 1, text: page(10, 4, 100, 1) }, { worker: 2, text: page(30, 6, 200, 2) }])
    metrics.remove(1)
    const text = metrics.merge([{ worker: 2, text: page(30, 6, 200, 2) }])
    assert.strictEqual(text, merged(40, 10, [[2, 200]], 2))
    metrics.merge([{ worker: 1, text: page(1, 1, 50, 0) }])
    metrics.remove(1)
    assert.include(metrics.merge([]), `ballast_requests_total{route="/a b",fault="none"} 41\n`)
  })

  it("merges OpenMetrics, too, with the last exemplar", () => {
    const open = (count: number, exemplar: string) =>
      `# TYPE took_seconds histogram
# HELP took_seconds How long
took_seconds_bucket{le="1.0"} ${count}${exemplar}
# TYPE made counter
made_total ${count}
# EOF
`
    const first = " # {trace_id=\"a1\"} 0.5 1700000000.1"
    const metrics = mergedMetrics.make()
    const text = metrics.merge([{ worker: 1, text: open(1, first) }, { worker: 2, text: open(2, "") }])
    assert.strictEqual(
      text,
      `# HELP took_seconds How long
# TYPE took_seconds histogram
took_seconds_bucket{le="1.0"} 3${first}
# TYPE made counter
made_total 3
# EOF
`
    )
  })

  it("writes values that are no numbers of JavaScript as Prometheus does", () => {
    const text = "# TYPE x gauge\nx +Inf\n# TYPE y gauge\ny{a=\"b\"} NaN\n"
    assert.strictEqual(
      mergedMetrics.make().merge([{ worker: 1, text }]),
      "# TYPE x gauge\nx{worker=\"1\"} +Inf\n# TYPE y gauge\ny{a=\"b\",worker=\"1\"} NaN\n"
    )
  })
})
