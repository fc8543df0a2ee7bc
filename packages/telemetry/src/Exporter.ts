/**
 * Sends traces, metrics and logs to an OpenTelemetry collector over OTLP/HTTP, when the environment names one.
 *
 * With `OTEL_EXPORTER_OTLP_ENDPOINT` (or the variable of one signal) set, finished spans and log entries are buffered and sent every
 * few seconds, metrics every minute, all by fibers of their own: a call never waits for the collector. While the collector is down,
 * what is buffered is dropped and counted, sending pauses for a minute, and a warning says so at most once a minute. `OTEL_TRACES_EXPORTER=zipkin`
 * sends spans to Zipkin instead. Without an endpoint nothing is loaded and nothing is sent; spans have ids, and their attributes are not made. A log record has the entry's message as its body, fields and annotations as attributes. What looks
 * like a DeepSeek key is masked in everything that is sent: names, attributes, events and messages.
 *
 * The variables are those of OpenTelemetry; the README of this package lists them with their defaults.
 *
 * @see {@link https://opentelemetry.io/docs/specs/otel/protocol/exporter/}
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as sampling from "./internal/sampling.ts"
import * as unread from "./internal/unread.ts"
import * as variables from "./internal/variables.ts"

/**
 * Options of the exporter.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** `service.name` where the environment gives none. Default `unknown_service:node`, as OpenTelemetry has it. */
  readonly serviceName?: string | undefined
  /** `service.version` where the environment gives none. Default none. */
  readonly serviceVersion?: string | undefined
}

const signals = ["", "TRACES_", "METRICS_", "LOGS_"]

/** Variables that each signal can have of its own. */
const perSignal = <A>(kind: string, of: (name: string) => Config.Config<A>) =>
  signals.map((signal) => of(`OTEL_EXPORTER_OTLP_${signal}${kind}`))

/** What holds for each signal: its own variable, else that of all, else what is usual. */
const bySignal = <A extends string>(kind: string, usual: A, of: (name: string) => Config.Config<A | undefined>) =>
  Config.map(
    Config.all({
      all: of(`OTEL_EXPORTER_OTLP_${kind}`),
      traces: of(`OTEL_EXPORTER_OTLP_TRACES_${kind}`),
      metrics: of(`OTEL_EXPORTER_OTLP_METRICS_${kind}`),
      logs: of(`OTEL_EXPORTER_OTLP_LOGS_${kind}`)
    }),
    ({ all = usual, logs = all, metrics = all, traces = all }) => ({ traces, metrics, logs })
  )

const protocol = (name: string) =>
  variables.choice(name, ["http/json", "http/protobuf"], "; there is no exporter over gRPC here")

const compression = (name: string) => variables.choice(name, ["gzip", "none"])

/** What is read elsewhere, some of it by Effect: an interval below zero, say, would make it send without a pause. */
const checked = Config.all([
  ...perSignal("HEADERS", variables.headers),
  ...perSignal("TIMEOUT", (name) => variables.whole(name, "milliseconds", 0)),
  ...["OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BLRP_SCHEDULE_DELAY"].map((name) =>
    variables.whole(name, "milliseconds", 1)
  ),
  ...["OTEL_METRIC_EXPORT_TIMEOUT", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BLRP_EXPORT_TIMEOUT"].map((name) =>
    variables.whole(name, "milliseconds", 0)
  ),
  ...["OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"].map((name) =>
    variables.whole(name, "items", 1)
  ),
  ...["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"].flatMap((kind) => perSignal(kind, variables.refused)),
  variables.attributes("OTEL_RESOURCE_ATTRIBUTES"),
  variables.endpoint("OTEL_EXPORTER_ZIPKIN_ENDPOINT")
])

const config = Config.all({
  endpoints: Config.all(perSignal("ENDPOINT", variables.endpoint)),
  protocol: bySignal("PROTOCOL", "http/json", protocol),
  exporters: Config.all({
    traces: variables.choice("OTEL_TRACES_EXPORTER", ["otlp", "zipkin", "none"]),
    metrics: variables.choice("OTEL_METRICS_EXPORTER", ["otlp", "none"]),
    logs: variables.choice("OTEL_LOGS_EXPORTER", ["otlp", "none"])
  }),
  compression: bySignal("COMPRESSION", "none", compression),
  disabled: Config.withDefault(Config.Boolean("OTEL_SDK_DISABLED"), false),
  sampler: sampling.config,
  checked
})

const unexported = Layer.effectContext(
  Effect.contextWith((context: Context.Context<never>) => Effect.succeed(sampling.withoutExport(context)))
)

/**
 * Exports as the environment says, or does nothing. Fails when a variable asks for what is not there, or an endpoint is not a URL.
 *
 * **Gotchas**
 *
 * Keeps the loggers that are there when it is built, so provide those first: `Exporter.layer().pipe(Layer.provideMerge(Logs.layerConfig))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(Effect.gen(function*() {
    const { compression, disabled, endpoints, exporters, protocol, sampler } = yield* config
    const { traces = "otlp" } = exporters
    if (disabled) return unexported
    if (traces !== "zipkin" && endpoints.every((endpoint) => endpoint === undefined)) {
      if (Object.values(exporters).includes("otlp")) {
        yield* Effect.logWarning(
          "nothing is exported: OTEL_EXPORTER_OTLP_ENDPOINT, such as http://127.0.0.1:4318, is not set"
        )
      }
      return unexported
    }
    yield* unread.warn
    const otlp = yield* Effect.promise(() => import("./internal/otlp.ts"))
    const serviceName = options?.serviceName ?? "unknown_service:node"
    return otlp.layer({ serviceName, serviceVersion: options?.serviceVersion, protocol, traces, sampler, compression })
  }))
