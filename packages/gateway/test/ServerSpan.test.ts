/** How the span of a request ends, as the conventions for HTTP servers have it. */
import { Exporter } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer } from "effect"
import * as harness from "./harness.ts"
import * as collector from "./support/collector.ts"

const chat = "/v1/chat/completions"

/** The spans of requests to a gateway in front of a simulator. */
const spansOf = Effect.fnUntraced(
  function*(requests: (url: string) => Effect.Effect<unknown>, options: harness.Options) {
    const { spans, url } = yield* collector.start()
    const env = { OTEL_EXPORTER_OTLP_TIMEOUT: "20000", ...collector.environment(url, "http/json") }
    const telemetry = Exporter.layer().pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))))
    yield* Effect.flatMap(harness.Running, (running) => requests(running.url)).pipe(
      Effect.provide(Layer.provideMerge(harness.layer(options), telemetry))
    )
    return spans().filter(({ kind }) => kind === "SERVER")
  },
  Effect.scoped
)

describe("the span of a request", () => {
  it.live.each(
    [
      ["that succeeds", "none", false, "UNSET", undefined],
      ["that the caller got wrong", "status=400", false, "UNSET", undefined],
      ["that the provider fails", "status=503", false, "ERROR", "upstream_overloaded"],
      ["whose stream breaks off", "cut=2", true, "ERROR", "upstream_truncated"]
    ] as const
  )("%s has the status of its end", ([, fault, stream, status, type]) =>
    Effect.gen(function*() {
      const [span] = yield* spansOf(
        (url) => harness.post(url + chat, { ...harness.hello, stream }, { "x-simulate": fault }),
        {
          settings: {
            providers: { simulator: { type: "simulator", resume: false, accounts: { default: { keys: ["sk-a"] } } } }
          }
        }
      )
      assert.strictEqual(span?.status, status)
      assert.strictEqual(span?.attributes["error.type"], type)
    }))

  it.live("that only watches the gateway is in no trace but its caller's", () =>
    Effect.gen(function*() {
      const spans = yield* spansOf((url) =>
        Effect.all([
          harness.send(`${url}/healthz`),
          harness.send(`${url}/metrics`, { headers: { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` } })
        ]), {})
      assert.deepStrictEqual(spans.map(({ name }) => name), ["GET /metrics"])
    }))

  it.live("that its caller wants no trace of is in none", () =>
    Effect.gen(function*() {
      const spans = yield* spansOf((url) =>
        Effect.all([
          harness.post(url + chat, harness.hello, { b3: "0" }),
          harness.post(url + chat, harness.hello, { b3: `${"a".repeat(32)}-${"b".repeat(16)}-1` })
        ]), {})
      assert.deepStrictEqual(spans.map(({ traceId }) => traceId), ["a".repeat(32)])
    }))
})
