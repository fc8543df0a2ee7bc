/**
 * All metrics as OpenMetrics text 1.0.0, with exemplars: what Prometheus asks for first. Scrapers that don't ask for it get Prometheus' own
 * text, which is Effect's `PrometheusMetrics`.
 *
 * Names and labels are the same in both, but for what OpenMetrics wants otherwise: boundaries are written as floats (`le="1.0"`), the family
 * of a counter is named without `_total`, and the text ends with `# EOF`. Names of metrics and attributes are those of the program and taken as
 * they are.
 *
 * @see {@link https://prometheus.io/docs/specs/om/open_metrics_spec/}
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Exemplars from "./Exemplars.ts"

/**
 * The media type of the text.
 *
 * @category constants
 * @since 0.1.0
 */
export const contentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

/** The highest quality that an `Accept` gives a media type, written as it is; undefined when it does not name it. */
const qualityOf = (accept: string, type: string): number | undefined => {
  let highest: number | undefined
  for (const range of accept.split(",")) {
    const [name = "", ...parameters] = range.split(";").map((part) => part.trim().toLowerCase())
    if (name !== type) continue
    const given = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2)
    const quality = given === undefined ? 1 : Number(given)
    if (Number.isFinite(quality)) highest = Math.max(highest ?? 0, quality)
  }
  return highest
}

/**
 * Whether an `Accept` asks for OpenMetrics: it names it, and likes it no less than plain text.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isWanted = (accept: string | undefined): boolean => {
  if (accept === undefined) return false
  const quality = qualityOf(accept, "application/openmetrics-text") ?? 0
  return quality > 0 && quality >= (qualityOf(accept, "text/plain") ?? 0)
}

const escape = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\"", "\\\"")

const number = (value: number | bigint): string => {
  if (value === Infinity) return "+Inf"
  return value === -Infinity ? "-Inf" : String(value)
}

/** A boundary in the canonical form: with a point. */
const boundary = (value: number): string => Number.isInteger(value) ? value.toFixed(1) : String(value)

type Labels = ReadonlyArray<readonly [name: string, value: string]>

const labelled = (name: string, labels: Labels): string =>
  labels.length === 0 ? name : `${name}{${labels.map(([key, value]) => `${key}="${escape(value)}"`).join(",")}}`

/** Attributes that say how a metric is measured are no labels. */
const labelsOf = ({ attributes = {} }: Metric.Metric.Snapshot): Labels =>
  Object.entries(attributes).filter(([key]) => key !== "unit" && key !== "time_unit")

const exemplarOf = (exemplar: Exemplars.Exemplar | undefined): string =>
  exemplar === undefined
    ? ""
    : ` # {trace_id="${escape(exemplar.traceId)}"} ${number(exemplar.value)} ${exemplar.time / 1000}`

type Snapshot<Type extends Metric.Metric.Type> = Extract<Metric.Metric.Snapshot, { readonly type: Type }>

const histogram = (
  name: string,
  metric: Snapshot<"Histogram">,
  labels: Labels,
  registry: Metric.MetricRegistry
): ReadonlyArray<string> => {
  const { buckets, count, sum } = metric.state
  const exemplars = Exemplars.of(registry, metric.id, metric.attributes)
  const bucket = (le: string, cumulated: number, index: number) =>
    `${labelled(`${name}_bucket`, [...labels, ["le", le]])} ${cumulated}${exemplarOf(exemplars[index])}`
  const finite = buckets.filter(([le]) => le !== Infinity)
  return [
    ...finite.map(([le, cumulated], index) => bucket(boundary(le), cumulated, index)),
    bucket("+Inf", count, finite.length),
    `${labelled(`${name}_sum`, labels)} ${number(sum)}`,
    `${labelled(`${name}_count`, labels)} ${count}`
  ]
}

const summary = (name: string, metric: Snapshot<"Summary">, labels: Labels): ReadonlyArray<string> => {
  const { count, quantiles, sum } = metric.state
  return [
    ...quantiles.flatMap(([quantile, value]) =>
      value === undefined ? [] : [`${labelled(name, [...labels, ["quantile", boundary(quantile)]])} ${number(value)}`]
    ),
    `${labelled(`${name}_sum`, labels)} ${number(sum)}`,
    `${labelled(`${name}_count`, labels)} ${count}`
  ]
}

const samples = (
  family: string,
  metric: Metric.Metric.Snapshot,
  registry: Metric.MetricRegistry
): ReadonlyArray<string> => {
  const labels = labelsOf(metric)
  switch (metric.type) {
    case "Counter":
      return [`${labelled(`${family}_total`, labels)} ${number(metric.state.count)}`]
    case "Gauge":
      return [`${labelled(family, labels)} ${number(metric.state.value)}`]
    case "Histogram":
      return histogram(family, metric, labels, registry)
    case "Summary":
      return summary(family, metric, labels)
    case "Frequency":
      return Array.from(
        metric.state.occurrences,
        ([key, count]) => `${labelled(`${family}_total`, [...labels, ["key", key]])} ${count}`
      )
  }
}

const types: { readonly [T in Metric.Metric.Type]: string } = {
  Counter: "counter",
  Gauge: "gauge",
  Histogram: "histogram",
  Summary: "summary",
  Frequency: "counter"
}

const familyOf = ({ id, type }: Metric.Metric.Snapshot): string =>
  type === "Counter" || type === "Frequency" ? id.replace(/_total$/, "") : id

/**
 * The metrics of the registry at hand as text.
 *
 * @category formatting
 * @since 0.1.0
 */
export const format: Effect.Effect<string> = Effect.contextWith((context: Context.Context<never>) =>
  Effect.sync(() => {
    const registry = Context.get(context, Metric.MetricRegistry)
    const families = new Map<string, Array<string>>()
    for (const metric of Metric.snapshotUnsafe(context)) {
      const family = familyOf(metric)
      let lines = families.get(family)
      if (lines === undefined) {
        lines = [`# TYPE ${family} ${types[metric.type]}`]
        if (metric.description !== undefined) lines.push(`# HELP ${family} ${escape(metric.description)}`)
        families.set(family, lines)
      }
      for (const sample of samples(family, metric, registry)) lines.push(sample)
    }
    return `${[...families.values()].map((lines) => `${lines.join("\n")}\n`).join("")}# EOF\n`
  })
)
