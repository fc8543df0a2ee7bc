import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import type * as HttpBody from "effect/http/HttpBody"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Otlp from "effect/observability/Otlp"
import type * as OtlpMetrics from "effect/observability/OtlpMetrics"
import type { KeyValue } from "effect/observability/OtlpResource"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { schemaUrl } from "../GenAi.ts"
import * as MetricNames from "../MetricNames.ts"
import { type Compression, counted, dropped, layer as collector, type Signal } from "./collector.ts"
import { isRecord, read } from "./entry.ts"
import { type Handed, make as handedOf } from "./handed.ts"
import { mask } from "./mask.ts"
import * as sampling from "./sampling.ts"
import * as zipkin from "./zipkin.ts"

/** Whether the environment's attributes name the service. */
const namesService = (attributes: string): boolean => /(?:^|,)\s*service\.name\s*=/.test(attributes)

/** The way to the collector compresses: Effect's exporters would hide from it what is in a batch. */
const uncompressed = {
  OTEL_EXPORTER_OTLP_COMPRESSION: "none",
  OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: "none",
  OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: "none",
  OTEL_EXPORTER_OTLP_LOGS_COMPRESSION: "none"
}

/**
 * OpenTelemetry's defaults, where Effect has others: export every signal, and a service always has a name. The timeout is that of the last
 * export, by which a collector that is down holds up the end of the program.
 */
const defaults = (serviceName: string) =>
  Layer.effect(
    ConfigProvider.ConfigProvider,
    Effect.gen(function*() {
      const provider = yield* ConfigProvider.ConfigProvider
      const attributes = yield* Config.withDefault(Config.String("OTEL_RESOURCE_ATTRIBUTES"), "")
      return ConfigProvider.orElse(
        ConfigProvider.orElse(ConfigProvider.fromUnknown(uncompressed), provider),
        ConfigProvider.fromUnknown({
          OTEL_TRACES_EXPORTER: "otlp",
          OTEL_METRICS_EXPORTER: "otlp",
          OTEL_LOGS_EXPORTER: "otlp",
          OTEL_EXPORTER_OTLP_TIMEOUT: "1000",
          ...(namesService(attributes) ? {} : { OTEL_SERVICE_NAME: serviceName })
        })
      )
    })
  )

/** Data with every text masked. What has nothing to mask is not copied. */
const masked = <A>(value: A): A => {
  // A copy has the shape of what it is copied from.
  if (typeof value === "string") return mask(value) as A
  if (Array.isArray(value)) {
    let copy: Array<unknown> | undefined
    for (let i = 0; i < value.length; i++) {
      const one: unknown = masked(value[i])
      if (one !== value[i]) (copy ??= value.slice())[i] = one
    }
    return (copy ?? value) as A
  }
  if (!isRecord(value)) return value
  let copy: Record<string, unknown> | undefined
  for (const key in value) {
    const one = masked(value[key])
    if (one !== value[key]) (copy ??= { ...value })[key] = one
  }
  return (copy ?? value) as A
}

const renamed = (attributes: ReadonlyArray<KeyValue>, names: Readonly<Record<string, string>>): Array<KeyValue> =>
  attributes.filter(({ key }) => key !== "unit").map((attribute) => ({
    ...attribute,
    key: names[attribute.key] ?? attribute.key
  }))

type Metric = OtlpMetrics.MetricsData["resourceMetrics"][number]["scopeMetrics"][number]["metrics"][number]

/** A metric under the name, unit and attributes that OpenTelemetry's conventions have for it. */
const conventional = (metric: Metric): Metric => {
  const { attributes = {}, name, unit } = MetricNames.rowOf(metric.name)
  const pointed = <P extends { attributes?: Array<KeyValue> }, D extends { dataPoints: Array<P> }>(
    data: D
  ): D => ({
    ...data,
    dataPoints: data.dataPoints.map((point) => ({ ...point, attributes: renamed(point.attributes ?? [], attributes) }))
  })
  return {
    ...metric,
    name,
    unit,
    ...(metric.gauge && { gauge: pointed(metric.gauge) }),
    ...(metric.sum && { sum: pointed(metric.sum) }),
    ...(metric.histogram && { histogram: pointed(metric.histogram) })
  }
}

/** Bodies in which keys are masked, names are those of the conventions, and whose loss can be counted. */
const serialization = (protocol: Protocol, handed: Handed) =>
  Layer.effect(
    OtlpSerialization.OtlpSerialization,
    Effect.map(OtlpSerialization.OtlpSerialization, ({ logs, metrics, traces }) => ({
      logs: (data) => {
        const records = data.resourceLogs[0]?.scopeLogs[0]?.logRecords?.length ?? 0
        handed.taken("logs", records)
        return counted(logs(masked(data)), "logs", records)
      },
      metrics: ({ resourceMetrics }) =>
        counted(
          metrics(masked({
            resourceMetrics: resourceMetrics.map((resource) => ({
              ...resource,
              scopeMetrics: resource.scopeMetrics.map((scope) => ({
                ...scope,
                schemaUrl,
                metrics: scope.metrics.map(conventional)
              }))
            }))
          })),
          "metrics",
          1
        ),
      traces: ({ resourceSpans }) => {
        const spans = resourceSpans[0]?.scopeSpans[0]?.spans.length ?? 0
        handed.taken("traces", spans)
        const data = {
          resourceSpans: resourceSpans.map((resource) => ({
            ...resource,
            scopeSpans: resource.scopeSpans.map((scope) => ({ ...scope, schemaUrl }))
          }))
        }
        return counted(traces(masked(data)), "traces", spans)
      }
    }))
  ).pipe(
    Layer.provide(protocol === "http/protobuf" ? OtlpSerialization.layerProtobuf : OtlpSerialization.layerJson)
  )

const attributeOf = (value: unknown): unknown =>
  isRecord(value) || Array.isArray(value) ? Formatter.formatJson(value) : value

/** Gives a logger the text of an entry as its message, and the fields as annotations: each becomes an attribute of the record. */
const structured = <Output>(
  logger: Logger.Logger<unknown, Output>,
  handed: Handed
): Logger.Logger<unknown, Output> =>
  Logger.make((entry) => {
    handed.add("logs")
    const { fields, message } = read(entry)
    const annotations = Object.fromEntries(fields.map(([key, value]) => [key, attributeOf(value)]))
    const context = Context.add(entry.fiber.context, References.CurrentLogAnnotations, annotations)
    return logger.log({ ...entry, message, fiber: Object.create(entry.fiber, { context: { value: context } }) })
  })

/** The tracer of an exporter, if there is one, exports what the sampler keeps. */
const sampled = (
  tracer: Tracer.Tracer,
  sampler: sampling.Sampler,
  context: Context.Context<never>,
  handed: Handed
) => {
  const lost = dropped("traces")
  return sampling.make(tracer, sampler, {
    dropped: (spans) => lost.updateUnsafe(spans, context),
    exported: () => handed.add("traces")
  })
}

/** Effect's exporters, or Zipkin's of spans, where the logger, if there is one, gets structured entries. */
const exporters = ({ serviceName, sampler, zipkin: toZipkin }: Options, handed: Handed) =>
  Layer.effectContext(Effect.gen(function*() {
    const outer = yield* Effect.context<never>()
    const built = yield* Layer.build(Otlp.layerFromConfig())
    const before = Context.get(outer, Logger.CurrentLoggers)
    const loggers = Array.from(
      Context.get(Context.merge(outer, built), Logger.CurrentLoggers),
      (logger) => before.has(logger) ? logger : structured(logger, handed)
    )
    const withLoggers = Context.add(built, Logger.CurrentLoggers, new Set(loggers))
    const name = yield* Config.withDefault(Config.String("OTEL_SERVICE_NAME"), serviceName)
    const countedSpans = (body: HttpBody.HttpBody, spans: number) => {
      handed.taken("traces", spans)
      return counted(body, "traces", spans)
    }
    const tracer = toZipkin
      ? yield* Effect.provide(zipkin.make(name, countedSpans), built)
      : built.mapUnsafe.get(Tracer.Tracer.key) as Tracer.Tracer | undefined // the context keeps values by key
    return tracer === undefined
      ? withLoggers
      : Context.add(withLoggers, Tracer.Tracer, sampled(tracer, sampler, outer, handed))
  }))

export type Protocol = "http/json" | "http/protobuf"

export interface Options {
  readonly serviceName: string
  readonly protocol: Protocol
  readonly zipkin: boolean
  readonly sampler: sampling.Sampler
  readonly compression: Readonly<Record<Signal, Compression>>
}

export const layer = (options: Options): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(Effect.contextWith((context: Context.Context<never>) => {
    const handed = handedOf(context)
    return Effect.succeed(
      exporters(options, handed).pipe(Layer.provide([
        collector(options.compression),
        serialization(options.protocol, handed),
        defaults(options.serviceName)
      ]))
    )
  }))
