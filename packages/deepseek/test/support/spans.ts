import { Effect, Metric, type Tracer } from "effect"
import { collecting } from "../../../../test/support/spans.ts"

/** Runs a program with a tracer that remembers its spans and metrics of its own. */
export const recorded = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const { spans, tracer } = collecting()
    const registry: Metric.MetricRegistry = new Map()
    const inside = <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.provideService(Effect.withTracer(self, tracer), Metric.MetricRegistry, registry)
    const exit = yield* Effect.exit(inside(self))
    const metrics = (yield* inside(Metric.snapshot)).map((metric) => ({
      name: metric.id,
      attributes: metric.attributes,
      state: metric.state
    }))
    return { exit, spans, metrics }
  })

/** What a span says, without its times and ids. */
export const describe = (span: Tracer.NativeSpan) => ({
  name: span.name,
  kind: span.kind,
  attributes: Object.fromEntries(span.attributes)
})

/** All that spans hold, as text to search. */
export const dump = (spans: ReadonlyArray<Tracer.NativeSpan>) =>
  JSON.stringify(
    spans.map((span) => [span.name, Array.from(span.attributes), span.events, span.status]),
    (_: string, value: unknown) => typeof value === "bigint" ? String(value) : value
  )
