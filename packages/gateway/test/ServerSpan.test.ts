/** How the span of a request ends, as the conventions for HTTP servers have it. */
import { Exporter } from "@ballast/telemetry"
import { NodeStdio } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Tracer } from "effect"
import { send } from "../src/internal/cli/adminClient.ts"
import * as harness from "./harness.ts"
import * as collector from "./support/collector.ts"

const chat = "/v1/chat/completions"

/** The spans of requests to a gateway in front of a simulator. */
const spansOf = Effect.fnUntraced(
  function*(
    requests: (url: string, running: harness.Running["Service"]) => Effect.Effect<unknown>,
    options: harness.Options,
    sampler: Record<string, string> = {}
  ) {
    const { spans, url } = yield* collector.start()
    const env = { OTEL_EXPORTER_OTLP_TIMEOUT: "20000", ...collector.environment(url, "http/json"), ...sampler }
    const telemetry = Exporter.layer().pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))))
    yield* Effect.flatMap(harness.Running, (running) => requests(running.url, running)).pipe(
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
      ["that an account without money can't pay for", "status=402", false, "UNSET", "insufficient_balance"],
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

  it.live.each([true, false])(
    "whose client goes away keeps no trace that the sampler leaves out; stream %s",
    (stream) =>
      Effect.gen(function*() {
        const left = (url: string) => {
          const gone = new AbortController()
          const request = fetch(url + chat, {
            method: "POST",
            headers: { "content-type": "application/json", "x-simulate": "tps=1", "x-request-id": "left" },
            body: JSON.stringify({ ...harness.hello, stream }),
            signal: gone.signal
          }).catch(() => undefined)
          return { gone, request }
        }
        const leaving = (sampler: string) =>
          spansOf(
            (url, { inspect, log }) =>
              Effect.gen(function*() {
                const { gone, request } = left(url)
                yield* harness.eventually(Effect.map(inspect, ({ inFlight }) => inFlight === 1))
                if (stream) yield* Effect.promise(() => request)
                gone.abort()
                yield* harness.eventually(Effect.sync(() => log.some((line) => line["request_id"] === "left")))
              }),
            {},
            { OTEL_TRACES_SAMPLER: sampler }
          )
        assert.deepStrictEqual(yield* leaving("always_off"), [])
        const [span] = yield* leaving("always_on")
        assert.deepInclude(span, { status: "UNSET" })
        assert.strictEqual(span?.attributes["error.type"], "client_closed_request")
      })
  )

  it.live("is named beside its duration where its end is what its trace is kept for", () =>
    Effect.gen(function*() {
      const found: Array<string | undefined> = []
      const spans = yield* spansOf(
        (url) =>
          Effect.gen(function*() {
            yield* harness.send(`${url}/nowhere`)
            const { text } = yield* harness.send(`${url}/metrics`, {
              headers: { accept: "application/openmetrics-text" }
            })
            found.push(/route="unknown".* # \{trace_id="(.*?)"/.exec(text)?.[1])
          }),
        {},
        { OTEL_TRACES_SAMPLER: "always_off", BALLAST_TRACES_SLOW: "0ms" }
      )
      assert.deepStrictEqual(found, [spans.find(({ name }) => name === "GET")?.traceId ?? "none"])
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

  it.live("of a command in the terminal is left to the sampler", () =>
    Effect.gen(function*() {
      const spans = yield* spansOf(
        (url) =>
          Effect.provideService(
            Effect.orDie(send({ url, key: undefined }, "GET", "/v1/models")).pipe(Effect.provide(NodeStdio.layer)),
            Tracer.Tracer,
            Tracer.nativeTracer
          ),
        {},
        { OTEL_TRACES_SAMPLER: "parentbased_always_off" }
      )
      assert.deepStrictEqual(spans, [])
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
