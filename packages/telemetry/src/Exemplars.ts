/**
 * Traces that stand for the values of a histogram: of each bucket the last one, with its trace id and time. `OpenMetrics` shows them, so that
 * a dashboard leads from a slow bucket to a trace.
 *
 * Only traces that the sampler keeps count, as OpenTelemetry's filter `trace_based` has it: those that the sampler chose, and those kept because
 * a span of theirs failed or was slow. Memory is bounded by the buckets, time by one search for the bucket.
 *
 * @see {@link https://opentelemetry.io/docs/specs/otel/metrics/sdk/#exemplarfilter}
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type * as Tracer from "effect/Tracer"
import * as sampling from "./internal/sampling.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Exemplar {
  readonly traceId: string
  readonly value: number
  /** In milliseconds since the epoch. */
  readonly time: number
}

/**
 * Updates a histogram, and notes the trace of the span.
 *
 * @category models
 * @since 0.1.0
 */
export type Observe = (value: number, context: Context.Context<never>, span: Tracer.AnySpan) => void

interface Series {
  readonly boundaries: ReadonlyArray<number>
  /** One place for each bucket, and one above them. */
  readonly last: Array<Exemplar | undefined>
}

/** By registry and key: a program, or a test, may have a registry of its own. */
const all = new WeakMap<Metric.MetricRegistry, Map<string, Series>>()

const keyOf = (id: string, attributes: Metric.Metric.AttributeSet | undefined): string =>
  JSON.stringify([id, Object.entries(attributes ?? {}).toSorted(([a], [b]) => a < b ? -1 : 1)])

const bucketOf = (boundaries: ReadonlyArray<number>, value: number): number => {
  let from = 0
  let to = boundaries.length
  while (from < to) {
    const middle = (from + to) >>> 1
    if (value <= (boundaries[middle] ?? Infinity)) to = middle
    else from = middle + 1
  }
  return from
}

/**
 * A way to update a histogram that notes traces. Make it once for a histogram and keep it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const observing = (metric: Metric.Histogram<number>): Observe => {
  const key = keyOf(metric.id, metric.attributes)
  const seriesOf = (context: Context.Context<never>): Series => {
    const registry = Context.get(context, Metric.MetricRegistry)
    let series = all.get(registry)
    if (series === undefined) all.set(registry, series = new Map())
    let own = series.get(key)
    if (own === undefined) {
      const boundaries = metric.valueUnsafe(context).buckets.map(([boundary]) => boundary)
      series.set(key, own = { boundaries, last: Array.from({ length: boundaries.length + 1 }) })
    }
    return own
  }
  return (value, context, span) => {
    metric.updateUnsafe(value, context)
    if (!sampling.isExported(span)) return
    const { boundaries, last } = seriesOf(context)
    const time = Context.get(context, Clock.Clock).currentTimeMillisUnsafe()
    last[bucketOf(boundaries, value)] = { traceId: span.traceId, value, time }
  }
}

/**
 * The exemplars of a histogram by its buckets, that above them as the last; empty when none were noted.
 *
 * @category accessors
 * @since 0.1.0
 */
export const of = (
  registry: Metric.MetricRegistry,
  id: string,
  attributes: Metric.Metric.AttributeSet | undefined
): ReadonlyArray<Exemplar | undefined> => all.get(registry)?.get(keyOf(id, attributes))?.last ?? []
