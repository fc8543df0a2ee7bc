import { Exemplars, OpenMetrics } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Metric, Tracer } from "effect"
import { TestClock } from "effect/testing"

const own = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Metric.MetricRegistry, new Map())

const histogram = () =>
  Metric.histogram("wait_seconds", {
    description: "How long \"it\" waits\nat all",
    boundaries: [0.5, 1],
    attributes: { route: "/a\"b\\c\n" }
  })

/** Observes values, each in a span of its own, and gives the ids of their traces. */
const observeAll = (values: ReadonlyArray<number>, sampled = true) =>
  Effect.gen(function*() {
    const observe = Exemplars.observing(histogram())
    const context = yield* Effect.context<never>()
    return values.map((value) => {
      const span = Tracer.externalSpan({ traceId: `trace-of-${value}`, spanId: "s", sampled })
      observe(value, context, span)
      return span.traceId
    })
  })

describe("OpenMetrics", () => {
  it.effect("writes each type as the specification has it", () =>
    Effect.gen(function*() {
      yield* Metric.update(Metric.counter("calls_total", { description: "Calls", attributes: { fault: "none" } }), 3)
      yield* Metric.update(Metric.counter("calls_total", { description: "Calls", attributes: { fault: "policy" } }), 1)
      yield* Metric.update(Metric.gauge("load"), Infinity)
      yield* Metric.update(Metric.frequency("words"), "ship")
      yield* observeAll([])
      yield* Metric.update(histogram(), 0.75)
      assert.strictEqual(
        yield* OpenMetrics.format,
        `# TYPE calls counter
# HELP calls Calls
calls_total{fault="none"} 3
calls_total{fault="policy"} 1
# TYPE load gauge
load +Inf
# TYPE words counter
words_total{key="ship"} 1
# TYPE wait_seconds histogram
# HELP wait_seconds How long \\"it\\" waits\\nat all
wait_seconds_bucket{route="/a\\"b\\\\c\\n",le="0.5"} 0
wait_seconds_bucket{route="/a\\"b\\\\c\\n",le="1.0"} 1
wait_seconds_bucket{route="/a\\"b\\\\c\\n",le="+Inf"} 1
wait_seconds_sum{route="/a\\"b\\\\c\\n"} 0.75
wait_seconds_count{route="/a\\"b\\\\c\\n"} 1
# EOF
`
      )
    }).pipe(own))

  it.effect("shows the last trace of each bucket, bounds included", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_700_000_000_500)
      yield* observeAll([0.1, 0.5, 0.6, 1, 7])
      const exemplars = (yield* OpenMetrics.format).split("\n").flatMap((line) => {
        const [, le, exemplar] = /le="(.*)"\} \d+ # (.*)$/.exec(line) ?? []
        return le === undefined ? [] : [[le, exemplar]]
      })
      assert.deepStrictEqual(exemplars, [
        ["0.5", "{trace_id=\"trace-of-0.5\"} 0.5 1700000000.5"],
        ["1.0", "{trace_id=\"trace-of-1\"} 1 1700000000.5"],
        ["+Inf", "{trace_id=\"trace-of-7\"} 7 1700000000.5"]
      ])
    }).pipe(own))

  it.effect("leaves out traces that are not exported, and those of other registries", () =>
    Effect.gen(function*() {
      yield* observeAll([0.1], false)
      yield* own(observeAll([7]))
      const text = yield* OpenMetrics.format
      assert.include(text, "wait_seconds_count")
      assert.notInclude(text, "trace_id")
    }).pipe(own))

  it.effect("keeps memory bounded by the buckets", () =>
    Effect.gen(function*() {
      yield* observeAll(Array.from({ length: 1_000 }, (_, index) => index / 100))
      const registry = Context.get(yield* Effect.context<never>(), Metric.MetricRegistry)
      const { attributes, id } = histogram()
      assert.lengthOf(Exemplars.of(registry, id, attributes), 3)
    }).pipe(own))

  it.each<readonly [accept: string | undefined, wanted: boolean]>([
    [undefined, false],
    ["*/*", false],
    ["text/plain", false],
    ["application/openmetrics-text", true],
    // Prometheus 2.42, and what a browser sends.
    [
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
      true
    ],
    ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false],
    ["text/plain, application/openmetrics-text;q=0.5", false],
    ["application/openmetrics-text;q=0", false],
    ["application/openmetrics-text;q=nonsense", false]
  ])("is wanted by %s: %s", (accept, wanted) => assert.strictEqual(OpenMetrics.isWanted(accept), wanted))
})
