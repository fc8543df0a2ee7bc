/** Variables of OpenTelemetry that are not followed here: who sets one shall not wait for its effect. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/** @see {@link https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/} */
const names = [
  "OTEL_CONFIG_FILE",
  "OTEL_LOG_LEVEL",
  "OTEL_BSP_MAX_QUEUE_SIZE",
  "OTEL_BLRP_MAX_QUEUE_SIZE",
  "OTEL_METRICS_EXEMPLAR_FILTER",
  "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
  "OTEL_EXPORTER_ZIPKIN_TIMEOUT",
  "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
  "OTEL_ATTRIBUTE_COUNT_LIMIT",
  "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
  "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
  "OTEL_SPAN_EVENT_COUNT_LIMIT",
  "OTEL_SPAN_LINK_COUNT_LIMIT",
  "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
  "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
  "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
  "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT"
]

const config = Config.all({
  found: Config.all(names.map((name) => Config.option(Config.String(name)))),
  sampler: Config.withDefault(Config.String("OTEL_TRACES_SAMPLER"), ""),
  argument: Config.option(Config.String("OTEL_TRACES_SAMPLER_ARG"))
})

/** Only samplers by ratio have an argument. */
const argument =
  "OTEL_TRACES_SAMPLER_ARG, without a sampler by ratio such as OTEL_TRACES_SAMPLER=parentbased_traceidratio"

export const warn = Effect.flatMap(config, (config) => {
  const variables = names.filter((_, index) => Option.isSome(config.found[index] ?? Option.none()))
  if (Option.isSome(config.argument) && !config.sampler.endsWith("traceidratio")) variables.push(argument)
  return variables.length === 0
    ? Effect.void
    : Effect.logWarning("variables of OpenTelemetry that have no effect here are set", { variables })
})
