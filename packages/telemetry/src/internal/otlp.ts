import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import type * as HttpBody from "effect/http/HttpBody"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as Otlp from "effect/observability/Otlp"
import * as OtlpExporter from "effect/observability/OtlpExporter"
import type * as OtlpMetrics from "effect/observability/OtlpMetrics"
import * as OtlpResource from "effect/observability/OtlpResource"
import type { KeyValue } from "effect/observability/OtlpResource"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { hostname } from "node:os"
import { Attribute, schemaUrl } from "../GenAi.ts"
import * as MetricNames from "../MetricNames.ts"
import { type Compression, counted, dropped, layer as collector, type Signal } from "./collector.ts"
import { idsOf, isRecord, IsWritten, read } from "./entry.ts"
import { type Handed, make as handedOf } from "./handed.ts"
import { masked } from "./mask.ts"
import * as otlpTraces from "./otlpTraces.ts"
import * as sampling from "./sampling.ts"
import type { Span } from "./span.ts"
import * as zipkin from "./zipkin.ts"

/**
 * What Effect's exporters leave to others: spans, and the way to the collector compresses, since they would hide from it what is in a batch.
 */
const ours = {
  OTEL_TRACES_EXPORTER: "none",
  OTEL_EXPORTER_OTLP_COMPRESSION: "none",
  OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: "none",
  OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: "none",
  OTEL_EXPORTER_OTLP_LOGS_COMPRESSION: "none"
}

/** Whether attributes of the environment have one. */
const hasAttribute = (attributes: string, name: string): boolean =>
  attributes.split(",").some((one) => one.split("=", 1)[0]?.trim() === name)

/** Attributes by which a collector tells this process from others of the service: their metrics would be one series else. */
const withInstance = (attributes: string): string =>
  hasAttribute(attributes, "service.instance.id")
    ? attributes
    : [attributes, `service.instance.id=${encodeURIComponent(`${hostname()}-${process.pid}`)}`].filter(Boolean).join()

/**
 * OpenTelemetry's defaults, where Effect has others: export every signal, and a service always has a name. The timeout is that of the last
 * export, by which a collector that is down holds up the end of the program.
 */
const defaults = ({ serviceName, serviceVersion }: Options) =>
  Layer.effect(
    ConfigProvider.ConfigProvider,
    Effect.gen(function*() {
      const provider = yield* ConfigProvider.ConfigProvider
      const attributes = yield* Config.withDefault(Config.String("OTEL_RESOURCE_ATTRIBUTES"), "")
      const has = (name: string) => hasAttribute(attributes, name)
      return ConfigProvider.orElse(
        ConfigProvider.orElse(
          ConfigProvider.fromEnv({ env: { ...ours, OTEL_RESOURCE_ATTRIBUTES: withInstance(attributes) } }),
          provider
        ),
        ConfigProvider.fromUnknown({
          OTEL_METRICS_EXPORTER: "otlp",
          OTEL_LOGS_EXPORTER: "otlp",
          OTEL_METRIC_EXPORT_INTERVAL: "60000",
          // The last that is looked for, after those of OTLP.
          OTEL_METRIC_EXPORT_TIMEOUT: "1000",
          OTEL_BSP_EXPORT_TIMEOUT: "1000",
          OTEL_BLRP_EXPORT_TIMEOUT: "1000",
          ...(!has("service.name") && { OTEL_SERVICE_NAME: serviceName }),
          ...(!has("service.version") && serviceVersion !== undefined && { OTEL_SERVICE_VERSION: serviceVersion })
        })
      )
    })
  )

const renamed = (attributes: ReadonlyArray<KeyValue>, names: Readonly<Record<string, string>>): Array<KeyValue> =>
  attributes.filter(({ key }) => key !== "unit").map((attribute) => ({
    ...attribute,
    key: names[attribute.key] ?? attribute.key
  }))

type Metric = OtlpMetrics.MetricsData["resourceMetrics"][number]["scopeMetrics"][number]["metrics"][number]

/** A metric under the name, unit and attributes that OpenTelemetry's conventions have for it. */
const conventional = (metric: Metric): Metric => {
  const { attributes = {}, name, unit, usual = {} } = MetricNames.rowOf(metric.name)
  const withUsual = (given: Array<KeyValue>): Array<KeyValue> => [
    ...given,
    ...OtlpResource.entriesToAttributes(
      Object.entries(usual).filter(([key]) => given.every((attribute) => attribute.key !== key))
    )
  ]
  const pointed = <P extends { attributes?: Array<KeyValue> }, D extends { dataPoints: Array<P> }>(
    data: D
  ): D => ({
    ...data,
    dataPoints: data.dataPoints.map((point) => ({
      ...point,
      attributes: renamed(withUsual(point.attributes ?? []), attributes)
    }))
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

const formats = { "http/json": OtlpSerialization.layerJson, "http/protobuf": OtlpSerialization.layerProtobuf }

/** Each signal in the format of its protocol. */
const serializationOf = Effect.fnUntraced(function*(protocol: Options["protocol"]) {
  const of = (signal: Signal) =>
    Effect.map(Layer.build(formats[protocol[signal]]), Context.get(OtlpSerialization.OtlpSerialization))
  const [{ traces }, { metrics }, { logs }] = yield* Effect.all([of("traces"), of("metrics"), of("logs")])
  return { traces, metrics, logs }
})

/** Bodies in which keys are masked, names are those of the conventions, and whose loss can be counted. */
const serialization = (protocol: Options["protocol"], handed: Handed) =>
  Layer.effect(
    OtlpSerialization.OtlpSerialization,
    Effect.map(serializationOf(protocol), ({ logs, metrics, traces }) => ({
      traces,
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
        )
    }))
  )

const attributeOf = (value: unknown): unknown =>
  isRecord(value) || Array.isArray(value) ? Formatter.formatJson(value) : value

/** Gives a logger the text of an entry as its message, and the fields as annotations: each becomes an attribute of the record. */
const structured = <Output>(
  logger: Logger.Logger<unknown, Output>,
  handed: Handed,
  isWritten: (level: LogLevel.LogLevel) => boolean
): Logger.Logger<unknown, Output | undefined> =>
  Logger.make((entry) => {
    if (!isWritten(entry.logLevel)) return undefined
    handed.add("logs")
    const fields: Array<readonly [string, unknown]> = []
    const message = read(entry, (name, value) => void fields.push([name, attributeOf(value)]))
    const { spanTrace, trace } = idsOf(entry)
    // The record's own id is that of the span's trace.
    if (spanTrace !== undefined) fields.push([Attribute.traceId, trace])
    const annotations = Object.fromEntries(fields)
    const context = Context.add(entry.fiber.context, References.CurrentLogAnnotations, annotations)
    return logger.log({ ...entry, message, fiber: Object.create(entry.fiber, { context: { value: context } }) })
  })

/** Where spans go that have ended; nowhere without a collector for them. */
class Spans extends Context.Service<Spans, { readonly push: ((span: Span) => void) | undefined }>()(
  "@ballast/telemetry/internal/otlp/Spans"
) {}

/** A layer of its own beside Effect's: at the end of the program they send what is left at the same time. */
const spans = ({ protocol, serviceName, traces }: Options, handed: Handed) => {
  const countedSpans = (body: HttpBody.HttpBody, items: number) => {
    handed.taken("traces", items)
    return counted(body, "traces", items)
  }
  const push = Effect.gen(function*() {
    if (traces === "none") return undefined
    if (traces === "otlp") return yield* otlpTraces.make(protocol.traces === "http/json", countedSpans)
    return yield* zipkin.make(
      yield* Config.withDefault(Config.String("OTEL_SERVICE_NAME"), serviceName),
      countedSpans
    )
  })
  return Layer.effect(Spans, Effect.map(push, (push) => ({ push }))).pipe(Layer.provide(OtlpExporter.layerFlusher))
}

/** The exporters, where the logger, if there is one, gets structured entries. */
const exporters = (options: Options, handed: Handed) =>
  Layer.effectContext(Effect.gen(function*() {
    const outer = yield* Effect.context<never>()
    const built = yield* Layer.build(Layer.merge(Otlp.layerFromConfig(), spans(options, handed)))
    const before = Context.get(outer, Logger.CurrentLoggers)
    const isWritten = Context.get(outer, IsWritten)
    const loggers = Array.from(
      Context.get(Context.merge(outer, built), Logger.CurrentLoggers),
      (logger) => before.has(logger) ? logger : structured(logger, handed, isWritten)
    )
    const withLoggers = Context.add(built, Logger.CurrentLoggers, new Set(loggers))
    const { push } = Context.get(built, Spans)
    if (push === undefined) return Context.merge(withLoggers, sampling.withoutExport(outer))
    const lost = dropped("traces")
    const tracer = sampling.make(options.sampler, {
      dropped: (spans) => lost.updateUnsafe(spans, outer),
      exported: (span) => {
        handed.add("traces")
        push(span)
      }
    })
    return Context.add(withLoggers, Tracer.Tracer, tracer)
  }))

export interface Options {
  readonly serviceName: string
  readonly serviceVersion: string | undefined
  readonly protocol: Readonly<Record<Signal, keyof typeof formats>>
  readonly traces: "otlp" | "zipkin" | "none"
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
        defaults(options)
      ]))
    )
  }))
