import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Otlp from "effect/observability/Otlp"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as References from "effect/References"
import { isRecord, read } from "./entry.ts"
import { mask } from "./mask.ts"

/** A collector that accepts connections and never answers must not pile up requests. OpenTelemetry's default. */
const timeout = "10 seconds"

const noAnswer = (request: HttpClientRequest.HttpClientRequest) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, description: `no answer within ${timeout}` })
  })

const quietMillis = 60_000

/** Bounds each request, and warns of failures at most once a minute. */
const Client = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(HttpClient.HttpClient, (client) => {
    let warnedAt: number | undefined
    const warn = Effect.fnUntraced(function*(error: Error) {
      const now = yield* Clock.currentTimeMillis
      if (warnedAt !== undefined && now - warnedAt < quietMillis) return
      warnedAt = now
      yield* Effect.logWarning("telemetry could not be exported", { reason: error.message })
    })
    return client.pipe(
      HttpClient.transform((response, request) =>
        Effect.timeoutOrElse(response, { duration: timeout, orElse: () => Effect.fail(noAnswer(request)) })
      ),
      HttpClient.tapError(warn)
    )
  })
).pipe(Layer.provide(FetchHttpClient.layer))

/** Whether the environment's attributes name the service. */
const namesService = (attributes: string): boolean => /(?:^|,)\s*service\.name\s*=/.test(attributes)

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
        provider,
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

const decoder = new TextDecoder()

const masked = (body: HttpBody.HttpBody): HttpBody.HttpBody =>
  body._tag === "Uint8Array" ? HttpBody.text(mask(decoder.decode(body.body)), body.contentType) : body

/** JSON in which keys are masked, whatever name, attribute, event or message they stand in. */
const Serialization = Layer.effect(
  OtlpSerialization.OtlpSerialization,
  Effect.map(OtlpSerialization.OtlpSerialization, ({ logs, metrics, traces }) => ({
    logs: (data) => masked(logs(data)),
    metrics: (data) => masked(metrics(data)),
    traces: (data) => masked(traces(data))
  }))
).pipe(Layer.provide(OtlpSerialization.layerJson))

const attributeOf = (value: unknown): unknown =>
  isRecord(value) || Array.isArray(value) ? Formatter.formatJson(value) : value

/** Gives a logger the text of an entry as its message, and the fields as annotations: each becomes an attribute of the record. */
const structured = <Output>(logger: Logger.Logger<unknown, Output>): Logger.Logger<unknown, Output> =>
  Logger.make((entry) => {
    const { fields, message } = read(entry)
    const annotations = Object.fromEntries(fields.map(([key, value]) => [key, attributeOf(value)]))
    const context = Context.add(entry.fiber.context, References.CurrentLogAnnotations, annotations)
    return logger.log({ ...entry, message, fiber: Object.create(entry.fiber, { context: { value: context } }) })
  })

/** Effect's exporters, where the logger, if there is one, gets structured entries. */
const Exporters = Layer.effectContext(Effect.gen(function*() {
  const outer = yield* Effect.context<never>()
  const built = yield* Layer.build(Otlp.layerFromConfig())
  const before = Context.get(outer, Logger.CurrentLoggers)
  const loggers = Array.from(
    Context.get(Context.merge(outer, built), Logger.CurrentLoggers),
    (logger) => before.has(logger) ? logger : structured(logger)
  )
  return Context.add(built, Logger.CurrentLoggers, new Set(loggers))
}))

export const layer = (serviceName: string): Layer.Layer<never, Config.ConfigError> =>
  Exporters.pipe(Layer.provide([Client, Serialization, defaults(serviceName)]))
