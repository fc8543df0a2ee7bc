/**
 * The section `telemetry` of the settings: where traces, metrics and logs are sent. It stands for the variables of OpenTelemetry, which win
 * over it.
 *
 * @since 0.1.0
 */
import * as Source from "@ballast/deepseek/Source"
import * as Field from "@ballast/settings/Field"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/** Says which name can not be sent as a header. */
const wrongName = (headers: Readonly<Record<string, unknown>>): string | undefined => {
  const wrong = Object.keys(headers).find((name) => !/^[\w.~-]+$/.test(name))
  return wrong === undefined ? undefined : `${JSON.stringify(wrong)} is no name of letters, digits, -, _, . and ~`
}

const value = Field.secret.check(Schema.makeFilter(
  (secret) => /^[\x20-\x7e]*$/.test(Redacted.value(secret).trim()),
  { expected: "a header of visible ASCII characters" }
))

const signal = Schema.Literals(["otlp", "none"]).pipe(Field.withDefault("otlp"))

/**
 * @category schemas
 * @since 0.1.0
 */
export const Telemetry = Field.section({
  endpoint: Schema.optionalKey(Schema.String.check(Schema.makeFilter(
    (text) => Source.parseUrl(text) !== undefined,
    { expected: Source.usableUrl }
  ))).annotate({
    description: "Base URL of an OpenTelemetry collector, such as http://127.0.0.1:4318. Default: nothing is sent."
  }),
  headers: Schema.Record(Schema.String, value).check(Schema.makeFilter(wrongName)).pipe(Field.withDefault({})).annotate(
    {
      description: "Headers that are sent to it, by name."
    }
  ),
  compression: Schema.Literals(["none", "gzip"]).pipe(Field.withDefault("none")).annotate({
    description: "How what is sent is compressed."
  }),
  tracesExporter: signal.annotate({ description: "Whether traces are sent." }),
  metricsExporter: signal.annotate({ description: "Whether metrics are sent." }),
  logsExporter: signal.annotate({ description: "Whether logs are sent." }),
  serviceName: Schema.NonEmptyString.pipe(Field.withDefault("ballast")).annotate({
    description: "What the gateway is called there."
  }),
  attributes: Schema.Record(Schema.String, Schema.String).pipe(Field.withDefault({})).annotate({
    description: "Further attributes of the gateway there, such as deployment.environment.name."
  }),
  balanceInterval: Field.duration({ maximum: "30d" }).pipe(Field.withDefault("10m")).annotate({
    description: "How often each account's balance is read for the metrics, where the provider tells it. 0s: never."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Telemetry = typeof Telemetry.Type

const pairs = (values: Readonly<Record<string, string>>): string =>
  Object.entries(values).map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join(",")

/** Only an operator who names `otlp` in the environment is warned that it has no endpoint. */
const unlessUsual = (exporter: string): string => exporter === "otlp" ? "" : exporter

const variables = (settings: Telemetry): Readonly<Record<string, string>> => {
  const { attributes, compression, endpoint, headers, logsExporter, metricsExporter, tracesExporter } = settings
  const sent = Object.entries(headers).map(([name, value]) => [name, Redacted.value(value).trim()] as const)
  const given = {
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint ?? "",
    OTEL_EXPORTER_OTLP_HEADERS: pairs(Object.fromEntries(sent)),
    OTEL_EXPORTER_OTLP_COMPRESSION: compression,
    OTEL_TRACES_EXPORTER: unlessUsual(tracesExporter),
    OTEL_METRICS_EXPORTER: unlessUsual(metricsExporter),
    OTEL_LOGS_EXPORTER: unlessUsual(logsExporter),
    OTEL_RESOURCE_ATTRIBUTES: pairs(attributes)
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ""))
}

/**
 * Configuration in which the settings stand behind the environment's variables.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (settings: Telemetry): Layer.Layer<never> =>
  Layer.effect(
    ConfigProvider.ConfigProvider,
    Effect.map(
      ConfigProvider.ConfigProvider,
      (environment) => ConfigProvider.orElse(environment, ConfigProvider.fromEnv({ env: variables(settings) }))
    )
  )
