import { Exporter, Logs, Propagation, SpanAttributes } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Fiber, Layer, Metric, Redacted, Schedule, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { hostname } from "node:os"

/** A collector on loopback: what was posted to which path. */
const collector = Effect.acquireRelease(
  Effect.callback<
    { readonly url: string; readonly received: Map<string, string>; readonly server: ReturnType<typeof createServer> }
  >((resume) => {
    const received = new Map<string, string>()
    const server = createServer((request, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => {
        received.set(request.url!, `${request.headers["x-team"]} ${Buffer.concat(parts).toString()}`)
        response.end("{}")
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

const withEnv = (env: Record<string, string>, options?: Exporter.Options) => {
  const lines: Array<string> = []
  return {
    lines,
    layer: Exporter.layer(options).pipe(
      Layer.provideMerge(Logs.layer({ write: (line) => lines.push(line) })),
      Layer.provide(
        ConfigProvider.layer(ConfigProvider.fromEnv({ env: { OTEL_EXPORTER_OTLP_TIMEOUT: "20000", ...env } }))
      )
    )
  }
}

interface LogRecord {
  readonly body: object
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: object }>
}

const logRecords = (received: ReadonlyMap<string, string>): ReadonlyArray<LogRecord> =>
  JSON.parse(received.get("/v1/logs")!.replace(/^\S+ /, "")).resourceLogs[0].scopeLogs[0].logRecords

const work = Effect.logInfo("working").pipe(
  Effect.andThen(Metric.update(Metric.counter("exporter_test_total"), 1)),
  Effect.withSpan("work")
)

describe("Exporter", () => {
  it.live("sends traces, metrics and logs, and keeps the local log", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector
      const { layer, lines } = withEnv({
        OTEL_EXPORTER_OTLP_ENDPOINT: url,
        OTEL_EXPORTER_OTLP_HEADERS: "x-team=blue",
        OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test"
      })
      yield* work.pipe(Effect.provide(layer))
      assert.deepStrictEqual([...received.keys()].sort(), ["/v1/logs", "/v1/metrics", "/v1/traces"])
      assert.include(received.get("/v1/traces"), "\"work\"")
      assert.include(received.get("/v1/traces"), "deployment.environment.name")
      assert.match(received.get("/v1/traces")!, /^blue /)
      assert.include(received.get("/v1/metrics"), "exporter_test_total")
      assert.include(received.get("/v1/logs"), "working")
      assert.strictEqual(lines.length, 1)
    })))

  it.live("names the service as the environment says, else the options, else as unknown", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector
      const names: Array<string> = []
      for (
        const [env, options] of [
          [{ OTEL_SERVICE_NAME: "env" }, { serviceName: "given" }],
          [{ OTEL_RESOURCE_ATTRIBUTES: "a=b, service.name=attribute" }, { serviceName: "given" }],
          [{}, { serviceName: "given" }],
          [{}, undefined]
        ] as const
      ) {
        yield* Effect.provide(work, withEnv({ OTEL_EXPORTER_OTLP_ENDPOINT: url, ...env }, options).layer)
        const attributes = /"key":"service.name","value":\{"stringValue":"([^"]*)"/.exec(received.get("/v1/traces")!)
        names.push(attributes?.[1] ?? "none")
      }
      assert.deepStrictEqual(names, ["env", "attribute", "given", "unknown_service:node"])
    })))

  it.live("tells a collector the version of the service and which process it is, unless the environment does", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector
      const found: Array<ReadonlyArray<string | undefined>> = []
      for (const given of ["", "service.version=7,service.instance.id=mine,region=eu"]) {
        const env = { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_RESOURCE_ATTRIBUTES: given }
        yield* Effect.provide(work, withEnv(env, { serviceVersion: "1.2.3" }).layer)
        for (const path of ["/v1/traces", "/v1/metrics", "/v1/logs"]) {
          found.push(
            ["service.version", "service.instance.id", "region"].map((name) =>
              new RegExp(`"key":"${name}","value":\\{"stringValue":"([^"]*)"`).exec(received.get(path)!)?.[1]
            )
          )
        }
      }
      const own = ["1.2.3", `${hostname()}-${process.pid}`, undefined]
      const given = ["7", "mine", "eu"]
      assert.deepStrictEqual(found, [own, own, own, given, given, given])
    })))

  it.live("sends the message of an entry as the body of its record, and fields and annotations as attributes", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector
      const { layer, lines } = withEnv({ OTEL_EXPORTER_OTLP_ENDPOINT: url })
      const fields = {
        method: "POST",
        duration_ms: 1.5,
        stream: undefined,
        tags: { team: "blue" },
        key: Redacted.make("hidden")
      }
      yield* Effect.logInfo("request", fields, "ended").pipe(
        Effect.annotateLogs({ tenant: "a" }),
        Effect.andThen(Effect.logError("failed", Cause.die(new Error("boom")))),
        Effect.provide(layer)
      )
      const records = logRecords(received)
      assert.deepStrictEqual(records.map(({ body }) => body), [{ stringValue: "request ended" }, {
        stringValue: "failed"
      }])
      const [request, failed] = records.map(({ attributes }) => {
        const { "effect.fiberId": _, ...rest } = Object.fromEntries(attributes.map(({ key, value }) => [key, value]))
        return rest
      })
      assert.deepStrictEqual(request, {
        method: { stringValue: "POST" },
        duration_ms: { doubleValue: 1.5 },
        tags: { stringValue: "{\"team\":\"blue\"}" },
        key: { stringValue: "<redacted>" },
        tenant: { stringValue: "a" }
      })
      assert.deepStrictEqual(failed?.["exception.message"], { stringValue: "boom" })
      assert.lengthOf(lines, 2)
    })))

  it.live("sends what the log has, as its level changes, with the id that the caller chose", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector
      const logs = Logs.live({ write: () => {} })
      const layer = Exporter.layer().pipe(
        Layer.provideMerge(logs.layer),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({
          env: { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_TIMEOUT: "20000" }
        })))
      )
      yield* Effect.logDebug("not yet").pipe(
        Effect.andThen(logs.update({ level: "Debug" })),
        Effect.andThen(Effect.logDebug("now")),
        Effect.withSpan("call"),
        Propagation.joined({ "x-trace-id": "order-4711" }),
        Effect.provide(layer)
      )
      const [record, ...others] = logRecords(received)
      assert.isEmpty(others)
      assert.deepStrictEqual(record?.body, { stringValue: "now" })
      assert.deepInclude(record?.attributes ?? [], { key: "ballast.trace_id", value: { stringValue: "order-4711" } })
    })))

  it.live("sends no key, whatever it stands in", () =>
    Effect.scoped(Effect.gen(function*() {
      const { received, url } = yield* collector
      const { layer, lines } = withEnv({ OTEL_EXPORTER_OTLP_ENDPOINT: url })
      const texts = [
        "/sk-0123456789/x",
        "/x%2Fsk-0123456789",
        "key:\nsk-0123456789",
        "key_sk-0123456789",
        "\x1bsk-0123456789"
      ]
      for (const text of texts) {
        yield* Effect.logInfo(text, { text, nested: { text } }).pipe(
          Effect.annotateLogs(text, text),
          Effect.andThen(Effect.logError("failed", Cause.fail(text))),
          Effect.andThen(
            Effect.flatMap(Effect.currentSpan, (span) => Effect.sync(() => span.event(text, 0n, { text })))
          ),
          Effect.andThen(Metric.update(Metric.counter("exporter_keys_total", { attributes: { text } }), 1)),
          Effect.andThen(Effect.fail(text)),
          Effect.withSpan(text, { attributes: { text } }),
          Effect.ignore,
          Effect.provide(layer)
        )
        for (const path of ["/v1/traces", "/v1/metrics", "/v1/logs"]) {
          assert.include(received.get(path), "sk-***")
          assert.notInclude(received.get(path), "0123456789")
          assert.isObject(JSON.parse(received.get(path)!.replace(/^\S+ /, "")))
        }
      }
      assert.notInclude(lines.join(""), "0123456789")
    })))

  it.live("neither breaks nor holds up the work while the collector is down", () =>
    Effect.gen(function*() {
      const { layer, lines } = withEnv({
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_TIMEOUT: "50"
      })
      yield* work.pipe(Effect.provide(layer))
      assert.include(lines[0], "working")
    }))

  it.live("says why the collector can't be reached", () =>
    Effect.gen(function*() {
      const { layer, lines } = withEnv({
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://127.0.0.1:9/v1/traces?key=hidden",
        OTEL_EXPORTER_OTLP_TIMEOUT: "0",
        OTEL_BSP_SCHEDULE_DELAY: "1"
      })
      const told = Effect.sync(() => lines.some((line) => line.includes("could not be exported")))
      yield* work.pipe(
        Effect.andThen(Effect.repeat(told, { until: (isTold) => isTold, schedule: Schedule.spaced("5 millis") })),
        Effect.provide(layer)
      )
      assert.include(
        lines.join(),
        "\"signal\":\"traces\",\"reason\":\"Transport error (POST http://127.0.0.1:9/v1/traces): connect ECONNREFUSED 127.0.0.1:9\""
      )
    }))

  it.effect.each<readonly [string, Record<string, string>]>([
    ["a second", {}],
    ["what OTLP's variable says", { OTEL_EXPORTER_OTLP_TIMEOUT: "200", OTEL_BSP_EXPORT_TIMEOUT: "5000" }],
    ["what those of the signals say", {
      OTEL_METRIC_EXPORT_TIMEOUT: "100",
      OTEL_BSP_EXPORT_TIMEOUT: "200",
      OTEL_BLRP_EXPORT_TIMEOUT: "100"
    }]
  ])("holds up the end by %s at most while the collector is silent", ([, env]) =>
    Effect.gen(function*() {
      const { server, url } = yield* collector
      const asked = Promise.withResolvers<void>()
      server.removeAllListeners("request").once("request", () => asked.resolve())
      const { layer } = withEnv({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_TIMEOUT: "", ...env })
      const ending = yield* Effect.forkChild(Effect.provide(work, layer))
      yield* Effect.promise(() => asked.promise)
      yield* TestClock.adjust(env["OTEL_BSP_EXPORT_TIMEOUT"] === undefined ? "1 second" : "200 millis")
      yield* Fiber.join(ending)
    }))

  it.effect("does nothing without an endpoint", () =>
    Effect.gen(function*() {
      const { layer, lines } = withEnv({})
      yield* work.pipe(Effect.provide(layer))
      assert.strictEqual(lines.length, 1)
    }))

  it.effect.each(
    [
      ["without an endpoint", {}],
      ["where traces are not exported", {
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
        OTEL_TRACES_EXPORTER: "none",
        OTEL_METRICS_EXPORTER: "none",
        OTEL_LOGS_EXPORTER: "none"
      }]
    ] as const
  )("gives spans ids, and makes no attributes, %s", ([, env]) =>
    Effect.gen(function*() {
      const { layer } = withEnv(env)
      let made = 0
      const inner = Effect.useSpan("attempt", (span) => {
        SpanAttributes.later(span, () => ({ made: made++ }))
        return Effect.succeed([span.traceId, span.sampled])
      })
      const parent = Tracer.externalSpan({ traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: false })
      const spans = yield* Effect.all([inner, Effect.withParentSpan(inner, parent)]).pipe(Effect.provide(layer))
      assert.match(String(spans[0][0]), /^[0-9a-f]{32}$/)
      assert.strictEqual(spans[0][1], true)
      assert.deepStrictEqual(spans[1], [parent.traceId, false])
      assert.strictEqual(made, 0)
      const own = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
      yield* Effect.provide(inner, layer.pipe(Layer.provideMerge(Layer.succeed(Tracer.Tracer, own))))
      assert.strictEqual(made, 1)
    }))

  it.effect("warns of variables that have no effect", () =>
    Effect.gen(function*() {
      const warned = Effect.fnUntraced(function*(env: Record<string, string>) {
        const { layer, lines } = withEnv({
          OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
          OTEL_EXPORTER_OTLP_TIMEOUT: "0",
          OTEL_SERVICE_NAME: "search",
          ...env
        })
        yield* Effect.provide(Effect.void, layer)
        return lines.flatMap((line): ReadonlyArray<string> => JSON.parse(line).variables ?? [])
      })
      assert.deepStrictEqual(yield* warned({ OTEL_SPAN_EVENT_COUNT_LIMIT: "8" }), ["OTEL_SPAN_EVENT_COUNT_LIMIT"])
      const [alone] = yield* warned({ OTEL_TRACES_SAMPLER_ARG: "0.1" })
      assert.match(alone!, /^OTEL_TRACES_SAMPLER_ARG, without a sampler by ratio/)
      assert.isEmpty(yield* warned({ OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.1" }))
    }))

  it.effect("warns where an exporter is asked for and nothing says where to", () =>
    Effect.gen(function*() {
      const { layer, lines } = withEnv({ OTEL_TRACES_EXPORTER: "otlp" })
      yield* Effect.provide(Effect.void, layer)
      assert.include(lines.join(), "nothing is exported: OTEL_EXPORTER_OTLP_ENDPOINT")
    }))
})
