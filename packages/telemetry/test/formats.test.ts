import { CallMetrics, Exporter } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Metric } from "effect"
import * as OtlpResource from "effect/observability/OtlpResource"
import { TestClock } from "effect/testing"
import { createServer, type Server } from "node:http"
import { createRequire } from "node:module"
import type { AddressInfo } from "node:net"

/** The messages of the protocol, as its own generated code decodes them. */
// oxlint-disable-next-line typescript/no-explicit-any -- generated code without types of its own
const { opentelemetry }: any = createRequire(import.meta.url)(
  "../../../node_modules/@opentelemetry/otlp-transformer/build/src/generated/root.js"
)

interface Received {
  readonly url: string
  readonly type: string
  readonly body: Buffer
}

/** A collector that answers with a status. */
const collector = (status: number | "silent" = 200) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly received: Array<Received>; readonly server: Server }>((resume) => {
      const received: Array<Received> = []
      const server = createServer((request, response) => {
        const parts: Array<Buffer> = []
        request.on("data", (part: Buffer) => parts.push(part))
        request.on("end", () => {
          received.push({
            url: request.url ?? "",
            type: request.headers["content-type"] ?? "",
            body: Buffer.concat(parts)
          })
          if (status !== "silent") response.writeHead(status).end()
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, received, server }))
      })
    }),
    ({ server }) =>
      Effect.sync(() => server.closeAllConnections()).pipe(Effect.andThen(Effect.sync(() => server.close())))
  )

const exporting = (env: Record<string, string>) =>
  Exporter.layer({ serviceName: "shop" }).pipe(
    Layer.provide(
      ConfigProvider.layer(ConfigProvider.fromEnv({ env: { OTEL_EXPORTER_OTLP_TIMEOUT: "20000", ...env } }))
    )
  )

const labels = { name: "n", provider: "p", model: "m" }

const call = Effect.gen(function*() {
  yield* Metric.update(CallMetrics.duration({ ...labels, error_type: "Overloaded" }), 1.5)
  yield* Metric.update(CallMetrics.tokens({ ...labels, type: "input" }), 374)
  const span = yield* Effect.currentSpan
  span.event("ballast.wait", 1_000n, { seconds: 0.5 })
}).pipe(
  Effect.withSpan("chat m", { kind: "client", attributes: { "gen_ai.request.model": "m", key: "sk-0123456789" } }),
  Effect.withSpan("POST /v1/chat/completions", { kind: "server" })
)

/** Runs with metrics of its own. */
const own = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Metric.MetricRegistry, new Map())

/** How many spans are counted as lost. */
const droppedTraces = Effect.map(Metric.snapshot, (all) => {
  const found = all.find(({ attributes, id }) =>
    id === "ballast_telemetry_dropped_total" && attributes?.["signal"] === "traces"
  )
  return found?.type === "Counter" ? Number(found.state.count) : 0
})

const tick = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))

/** Waits in real time for what a server outside brings about. */
const eventually = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(
    condition,
    (holds) => holds ? Effect.void : Effect.andThen(tick, eventually(condition))
  )

/** Variables by which spans go to a collector in a format. */
const formats = (url: string): Record<string, Record<string, string>> => ({
  "http/json": { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces`, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" },
  "http/protobuf": {
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces`,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf"
  },
  zipkin: { OTEL_TRACES_EXPORTER: "zipkin", OTEL_EXPORTER_ZIPKIN_ENDPOINT: `${url}/api/v2/spans` }
})

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

describe("formats of the exporter", () => {
  it.live("OTLP in protobuf, as the protocol's own schema decodes it", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector()
      yield* Effect.provide(
        call,
        exporting({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf" })
      )
      const traces = received.find((one) => one.url === "/v1/traces")!
      assert.strictEqual(traces.type, "application/x-protobuf")
      assert.notInclude(traces.body.toString("latin1"), "sk-0123456789")
      const { trace } = opentelemetry.proto.collector
      const decoded = trace.v1.ExportTraceServiceRequest.decode(traces.body)
      const [scope] = decoded.resourceSpans[0].scopeSpans
      assert.match(scope.schemaUrl, /^https:\/\/opentelemetry\.io\/schemas\//)
      const [client, server] = scope.spans
      assert.strictEqual(client.name, "chat m")
      assert.strictEqual(hex(client.parentSpanId), hex(server.spanId))
      assert.strictEqual(hex(client.traceId), hex(server.traceId))
      assert.strictEqual(client.events[0].name, "ballast.wait")
      assert.strictEqual(client.kind, 3)

      const metrics = received.find((one) => one.url === "/v1/metrics")!
      const sent = opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest.decode(metrics.body)
      const all = sent.resourceMetrics[0].scopeMetrics[0].metrics
      // oxlint-disable-next-line typescript/no-explicit-any -- generated code without types of its own
      const named = (name: string) => all.find((metric: any) => metric.name === name)
      const duration = named("gen_ai.client.operation.duration")
      assert.strictEqual(duration.unit, "s")
      assert.deepStrictEqual(
        Object.fromEntries(
          // oxlint-disable-next-line typescript/no-explicit-any -- generated code without types of its own
          duration.histogram.dataPoints[0].attributes.map(({ key, value }: any) => [key, value.stringValue])
        ),
        {
          "ballast.name": "n",
          "gen_ai.provider.name": "p",
          "gen_ai.request.model": "m",
          "error.type": "Overloaded",
          "gen_ai.operation.name": "chat"
        }
      )
      assert.strictEqual(named("gen_ai.client.token.usage").unit, "{token}")
    })))

  it.live("OTLP in JSON, with numbers that JSON does not have, and how spans ended", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector()
      const spans = Effect.all([
        Effect.withSpan(Effect.void, "fine", { attributes: { ratio: NaN, text: ":null", "sk-0123456789": 1 } }),
        Effect.exit(Effect.withSpan(Effect.interrupt, "cut")),
        Effect.exit(Effect.withSpan(Effect.die(new Error("no sk-0123456789")), "failed"))
      ])
      yield* Effect.provide(spans, exporting({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces` }))
      assert.lengthOf(received, 1)
      assert.strictEqual(received[0]!.type, "application/json")
      const [{ scopeSpans: [{ spans: sent }] }] = JSON.parse(received[0]!.body.toString()).resourceSpans
      const [fine, cut, failed] = sent
      assert.deepStrictEqual(fine.attributes, [
        { key: "ratio", value: { doubleValue: "NaN" } },
        { key: "text", value: { stringValue: ":null" } },
        { key: "sk-***", value: { intValue: 1 } }
      ])
      assert.deepStrictEqual(fine.status, { code: 0 })
      assert.deepStrictEqual(cut.status, { code: 0 })
      assert.deepStrictEqual(cut.attributes, [{ key: "effect.fiber.interrupted", value: { boolValue: true } }])
      assert.deepStrictEqual(failed.status, { code: 2, message: "no sk-***" })
      assert.strictEqual(failed.events[0].name, "exception")
    })))

  it.live("OTLP in JSON, with attributes of every kind", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector()
      const strings = ["a", "b", "1", "true", "null", "", "\"\\\n\u2028\ud800", "long ".repeat(100)]
      const numbers = [0, -0, 1, 1.5, 2 ** 53, 2 ** 64, NaN, -Infinity, 1n, 2n ** 63n]
      const others = [true, false, null, [], ["a"], ["b", 1, [true, NaN]], [undefined], { a: 1 }]
      const values: ReadonlyArray<unknown> = [...strings, ...numbers, ...others]
      const spans = Effect.forEach(values, (value) => Effect.withSpan(Effect.void, "span", { attributes: { value } }))
      yield* Effect.provide(spans, exporting({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces` }))
      const sent = received.flatMap(({ body }) => JSON.parse(body.toString()).resourceSpans[0].scopeSpans[0].spans)
      assert.deepStrictEqual(
        sent.map(({ attributes }) => attributes),
        values.map((value) => {
          const written = JSON.stringify(
            OtlpResource.unknownToAttributeValue(value),
            (_, one) => typeof one === "number" && !Number.isFinite(one) ? String(one) : one
          )
          return [{ key: "value", value: JSON.parse(written) }]
        })
      )
    })))

  it.live.each(["http/json", "http/protobuf", "zipkin"])(
    "sends a span that can't be encoded without its attributes; %s",
    (format) =>
      Effect.scoped(Effect.gen(function*() {
        const { received, url } = yield* collector()
        const endless: Array<unknown> = []
        endless.push(endless)
        const calls = Effect.forEach(
          Array.from({ length: 40 }, (_, index) => index),
          (index) =>
            Effect.withSpan(Effect.void, `span ${index}`, {
              attributes: { good: "good", value: index === 3 ? endless : 1 }
            })
        )
        yield* Effect.provide(calls, exporting({ ...formats(url)[format] }))
        const text = received.map(({ body }) => body.toString("latin1")).join()
        assert.deepStrictEqual(text.match(/span \d+/g)?.length, 40)
        assert.deepStrictEqual(text.match(/good/g)?.length, 2 * 39)
      }))
  )

  it.live("Zipkin", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector(202)
      yield* Effect.provide(
        Effect.andThen(call, Effect.ignore(Effect.withSpan(Effect.fail("no sk-0123456789"), "failed"))),
        exporting({ OTEL_TRACES_EXPORTER: "zipkin", OTEL_EXPORTER_ZIPKIN_ENDPOINT: `${url}/api/v2/spans` })
      )
      assert.lengthOf(received, 1)
      const [{ body, url: path }] = received as [Received]
      assert.strictEqual(path, "/api/v2/spans")
      const [client, server, failed] = JSON.parse(body.toString())
      assert.match(client.traceId, /^[0-9a-f]{32}$/)
      assert.strictEqual(client.traceId, server.traceId)
      assert.strictEqual(client.parentId, server.id)
      assert.notProperty(server, "parentId")
      assert.deepInclude(client, { name: "chat m", kind: "CLIENT", localEndpoint: { serviceName: "shop" } })
      assert.deepStrictEqual(client.tags, { "gen_ai.request.model": "m", key: "sk-***" })
      assert.deepStrictEqual(client.annotations, [{ timestamp: 1, value: "ballast.wait {\"seconds\":0.5}" }])
      assert.isAbove(client.duration, 0)
      assert.isAbove(client.timestamp, 1e15)
      assert.strictEqual(failed.tags.error, "no sk-***")
    })))

  it.effect.each(["http/json", "zipkin"])(
    "sends spans as often, and as many at once, as it is told; %s",
    (format) =>
      Effect.scoped(Effect.gen(function*() {
        const { received, url } = yield* collector(202)
        const sent = (batches: number) => eventually(Effect.sync(() => received.length === batches))
        yield* Effect.gen(function*() {
          yield* call
          yield* sent(1)
          yield* Effect.withSpan(Effect.void, "one")
          yield* TestClock.adjust("200 millis")
          yield* sent(2)
        }).pipe(Effect.provide(exporting({
          ...formats(url)[format],
          OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "2",
          OTEL_BSP_SCHEDULE_DELAY: "200"
        })))
      }))
  )

  it.effect("counts what is lost while sending pauses", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector(400)
      yield* Effect.gen(function*() {
        yield* call
        yield* TestClock.adjust("5 seconds")
        yield* eventually(Effect.map(droppedTraces, (count) => count === 2))
        // Sending pauses for a minute: these two are lost, and counted with the next ones, which are refused as well.
        yield* TestClock.adjust("30 seconds")
        yield* call
        yield* TestClock.adjust("40 seconds")
        yield* call
        yield* TestClock.adjust("5 seconds")
        yield* eventually(Effect.map(droppedTraces, (count) => count === 6))
        assert.lengthOf(received, 2)
      }).pipe(Effect.provide(exporting({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces` })))
    })).pipe(own))

  it.live("lets eight batches wait for a collector that never answers, and counts the rest", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector("silent")
      yield* Effect.gen(function*() {
        for (let i = 0; i < 100; i++) yield* Effect.withSpan(Effect.void, "one")
        yield* eventually(Effect.map(droppedTraces, (count) => count > 0 && received.length === 8))
      }).pipe(Effect.provide(exporting({
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces`,
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "1",
        OTEL_EXPORTER_OTLP_TIMEOUT: "1"
      })))
      assert.lengthOf(received, 8)
    })).pipe(own))

  it.live.each([["none", 400], ["gzip", 400], ["none", 302]] as const)(
    "counts what a collector refuses; compression %s, status %s",
    ([compression, status]) =>
      Effect.scoped(Effect.gen(function*() {
        const { received, url } = yield* collector(status)
        yield* Effect.provide(
          call,
          exporting({
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces`,
            OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: compression
          })
        )
        assert.strictEqual(yield* droppedTraces, 2)
        assert.strictEqual(received[0]?.body.subarray(0, 2).toString("hex") === "1f8b", compression === "gzip")
      })).pipe(own)
  )

  it.live("OTLP in the protocol of each signal", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector()
      yield* Effect.provide(
        Effect.andThen(Effect.logInfo("line"), call),
        exporting({
          OTEL_EXPORTER_OTLP_ENDPOINT: url,
          OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
          OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json",
          OTEL_EXPORTER_OTLP_LOGS_PROTOCOL: "http/json"
        })
      )
      assert.deepStrictEqual(received.map(({ type, url }) => `${url} ${type}`).toSorted(), [
        "/v1/logs application/json",
        "/v1/metrics application/x-protobuf",
        "/v1/traces application/json"
      ])
    })).pipe(own))

  it.effect("refuses certificates at the start", () =>
    Effect.gen(function*() {
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE: "ca.pem" }
      const error = yield* Effect.flip(Effect.provide(call, exporting(env)))
      assert.include(error.message, "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE is not read here")
    }))

  it.effect.each<readonly [name: string, value: string, text: string]>([
    ["OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "no exporter over gRPC"],
    ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "no exporter over gRPC"],
    ["OTEL_TRACES_EXPORTER", "jaeger", "otlp or zipkin or none"],
    ["OTEL_TRACES_EXPORTER", "otlp,zipkin", "one of them, since a collector can pass on to several"],
    ["OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "gzip or none"],
    ["OTEL_METRICS_EXPORTER", "prometheus", "otlp or none"],
    ["OTEL_TRACES_SAMPLER_ARG", "half", "0 to 1"],
    ["OTEL_TRACES_SAMPLER_ARG", "2", "0 to 1"],
    ["OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "whole number of milliseconds, 0 or more"],
    ["OTEL_METRIC_EXPORT_INTERVAL", "-5", "whole number of milliseconds, 1 or more"],
    ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "whole number of items, 1 or more"],
    ["OTEL_RESOURCE_ATTRIBUTES", "region", "key=value,key=value"],
    ["OTEL_RESOURCE_ATTRIBUTES", "a=%zz", "key=value,key=value"]
  ])("refuses %s=%s at the start", ([name, value, text]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.provide(call, exporting({ [name]: value })))
      assert.include(error.message, `${name} is "${value}"`)
      assert.include(error.message, text)
    }))

  it.effect.each<readonly [name: string, value: string, text: string]>([
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "http or https URL"],
    ["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://user:hidden@collector", "without user and password"],
    ["OTEL_EXPORTER_ZIPKIN_ENDPOINT", "localhost:9411", "http or https URL"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "hidden", "Expected name=value"],
    ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-team=blue,x key=hidden", "Expected name=value"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "x-key=hidden%0a", "Expected name=value"]
  ])("refuses %s=%s at the start, and does not show it", ([name, value, text]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.provide(call, exporting({ [name]: value })))
      assert.include(error.message, `${name} `)
      assert.include(error.message, text)
      assert.notInclude(error.message, "hidden")
    }))
})
