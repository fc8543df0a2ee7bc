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
import * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as sampling from "./internal/sampling.ts"
import * as unread from "./internal/unread.ts"

/**
 * Options of the exporter.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** `service.name` where the environment gives none. Default `unknown_service:node`, as OpenTelemetry has it. */
  readonly serviceName?: string | undefined
}

const endpoint = (name: string) => Config.option(Config.URL(name))

/** A variable whose value is one of a few. OpenTelemetry lets some have a list, which is refused in words. */
const choice = <A extends string>(name: string, values: ReadonlyArray<A>, why = ""): Config.Config<A | undefined> =>
  Config.String(name).pipe(
    Config.mapEffect((text): Effect.Effect<A, Config.ConfigError> => {
      const value = values.find((value) => value === text.trim().toLowerCase())
      const one = text.includes(",") ? ": one of them, since a collector can pass on to several" : ""
      return value !== undefined ? Effect.succeed(value) : Effect.fail(
        new Config.ConfigError(
          new ConfigProvider.SourceError({
            message: `${name} is ${JSON.stringify(text)}. Expected ${values.join(" or ")}${one}${why}.`
          })
        )
      )
    }),
    Config.withDefault(undefined)
  )

/** A variable that each signal can have of its own. */
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

const protocol = (name: string) => choice(name, ["http/json", "http/protobuf"], "; there is no exporter over gRPC here")

const compression = (name: string) => choice(name, ["gzip", "none"])

/** A variable that can not be followed: better no start than a connection that is not as it asks. */
const refused = (name: string) =>
  Config.String(name).pipe(
    Config.mapEffect(() =>
      Effect.fail(
        new Config.ConfigError(
          new ConfigProvider.SourceError({
            message:
              `${name} is not read here. NODE_EXTRA_CA_CERTS names authorities; there are no client certificates.`
          })
        )
      )
    ),
    Config.withDefault(undefined)
  )

const config = Config.all({
  endpoints: Config.all([
    endpoint("OTEL_EXPORTER_OTLP_ENDPOINT"),
    endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    endpoint("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
    endpoint("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
  ]),
  protocol: bySignal("PROTOCOL", "http/json", protocol),
  traces: choice("OTEL_TRACES_EXPORTER", ["otlp", "zipkin", "none"]),
  metrics: choice("OTEL_METRICS_EXPORTER", ["otlp", "none"]),
  logs: choice("OTEL_LOGS_EXPORTER", ["otlp", "none"]),
  compression: bySignal("COMPRESSION", "none", compression),
  certificates: Config.all(
    ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"].flatMap((kind) =>
      ["", "TRACES_", "METRICS_", "LOGS_"].map((signal) => refused(`OTEL_EXPORTER_OTLP_${signal}${kind}`))
    )
  ),
  disabled: Config.withDefault(Config.Boolean("OTEL_SDK_DISABLED"), false),
  sampler: sampling.config
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
    const { compression, disabled, endpoints, protocol, sampler, traces = "otlp" } = yield* config
    if (disabled || (traces !== "zipkin" && endpoints.every((endpoint) => endpoint._tag === "None"))) return unexported
    yield* unread.warn
    const otlp = yield* Effect.promise(() => import("./internal/otlp.ts"))
    const serviceName = options?.serviceName ?? "unknown_service:node"
    return otlp.layer({ serviceName, protocol, traces, sampler, compression })
  }))
