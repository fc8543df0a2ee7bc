/** One order: its call fails over to another provider, and goes on over a queue. All of it is one trace. */
import { Gateway, Settings, Upstream } from "@ballast/gateway"
import { Carrier, Exporter, Logs, Propagation } from "@ballast/telemetry"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer } from "effect"
import { hello, post } from "./harness.ts"
import * as collector from "./support/collector.ts"

const busy = { error: { message: "busy" } }

const completion = {
  id: "c-1",
  object: "chat.completion",
  created: 1,
  model: "deepseek-flash",
  choices: [{ index: 0, message: { role: "assistant", content: "Aye." }, finish_reason: "stop" }],
  usage: { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 }
}

const settingsOf = (first: string, second: string) => ({
  listen: { port: 0 },
  providers: {
    first: { type: "openai", baseUrl: first, accounts: { main: { keys: ["sk-first"] } } },
    second: { type: "openai", baseUrl: second, accounts: { main: { keys: ["sk-second"] } } }
  },
  models: { "deepseek-flash": { targets: [{ provider: "first" }], failover: [{ provider: "second" }] } },
  policies: { retry: { times: 0 } }
})

/** Calls the gateway and sends a message, in one span; who receives the message knows nothing but it. */
const order = (url: string) =>
  Effect.gen(function*() {
    const headers = yield* Propagation.inject<Record<string, string>>({})
    const answer = yield* post(`${url}/v1/chat/completions`, hello, headers)
    const message = yield* Propagation.inject<Array<string>>(["order", "17"], Carrier.fields)
    return { answer, message }
  }).pipe(Effect.withSpan("order", { kind: "producer" }))

const received = (message: Array<string>) =>
  Effect.logInfo("received").pipe(
    Effect.withSpan("process orders", { kind: "consumer" }),
    Propagation.joined(message, Carrier.fields)
  )

const run = Effect.fnUntraced(
  function*(format: collector.Format) {
    const spans = yield* collector.start()
    const first = yield* collector.service(503, busy)
    const second = yield* collector.service(200, completion)
    const log: Array<Record<string, unknown>> = []
    const telemetry = Exporter.layer({ serviceName: "test" }).pipe(
      Layer.provideMerge(Logs.layer({ write: (line) => log.push(JSON.parse(line)) })),
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({
        env: { OTEL_EXPORTER_OTLP_TIMEOUT: "20000", ...collector.environment(spans.url, format) }
      })))
    )
    const { answer, message } = yield* Effect.gen(function*() {
      const settings = yield* Settings.makeValues(settingsOf(first.url, second.url))
      const address = yield* Gateway.serve({ settings, upstream: yield* Upstream.make(settings) })
      const port = address._tag === "UnixPathAddress" ? 0 : address.port
      const sent = yield* order(`http://127.0.0.1:${port}`)
      yield* received(sent.message)
      return sent
    }).pipe(Effect.scoped, Effect.provide(telemetry))
    return { answer, message, log, spans: spans.spans(), calls: [...first.calls, ...second.calls] }
  },
  Effect.scoped,
  Effect.provide(NodeFileSystem.layer)
)

/** A span with its children, by name and provider. */
const treeOf = (spans: ReadonlyArray<collector.Span>, parent?: string): object =>
  Object.fromEntries(
    spans.filter((span) => span.parent === parent).map((span) => {
      const { attributes } = span
      const provider = span.name.startsWith("chat") ? ` ${attributes["gen_ai.provider.name"]}` : ""
      return [`${span.kind} ${span.name}${provider}`, treeOf(spans, span.id)]
    })
  )

describe("one tree", () => {
  it.live.each(collector.formats)(
    "of a request with two attempts and a failover, exported as %s",
    (format) =>
      Effect.gen(function*() {
        const { answer, calls, log, message, spans } = yield* run(format)
        assert.strictEqual(answer.status, 200)
        const attempt = { "CLIENT POST /chat/completions": {} }
        assert.deepStrictEqual(treeOf(spans), {
          "PRODUCER order": {
            "SERVER POST /v1/chat/completions": {
              "CLIENT chat deepseek-flash first": attempt,
              "CLIENT chat deepseek-flash second": attempt
            },
            "CONSUMER process orders": {}
          }
        })

        const byId = new Map(spans.map((span) => [span.id, span]))
        const [traceId] = new Set(spans.map((span) => span.traceId))
        for (const span of spans) {
          assert.strictEqual(span.traceId, traceId)
          assert.isTrue(span.start <= span.end, span.name)
          const parent = byId.get(span.parent ?? "")
          // A message is received when the order is done; the gateway may end its span just after the client has read the answer.
          if (parent?.name.startsWith("chat") || span.name.startsWith("chat")) {
            assert.isTrue(parent!.start <= span.start && span.end <= parent!.end, span.name)
          }
        }

        const named = (name: string) => spans.filter((span) => span.name === name)
        const [server] = named("POST /v1/chat/completions")
        assert.include(server!.events, "ballast.failover")
        assert.deepInclude(server!.attributes, { "http.route": "/v1/chat/completions", "ballast.provider": "second" })
        const [failed, done] = named("chat deepseek-flash")
        assert.strictEqual(failed!.attributes["error.type"], "Overloaded")
        assert.notProperty(done!.attributes, "error.type")
        assert.strictEqual(Number(done!.attributes["gen_ai.usage.output_tokens"]), 2)
        const attempts = named("POST /chat/completions")
        assert.deepStrictEqual(
          attempts.map(({ attributes }) => Number(attributes["http.response.status_code"])),
          [503, 200]
        )

        // The same id, whoever looks: services, log, client, and who receives the message.
        assert.deepStrictEqual(
          calls.map((headers) => headers["traceparent"]),
          attempts.map(({ id }) => `00-${traceId}-${id}-01`)
        )
        assert.deepStrictEqual(calls.map((headers) => headers["x-trace-id"]), [traceId, traceId])
        assert.strictEqual(answer.headers.get("x-trace-id"), traceId)
        assert.strictEqual(Carrier.fields.get(message, "x-trace-id"), traceId)
        const lines = log.filter((line) => line["message"] === "request" || line["message"] === "received")
        assert.deepStrictEqual(lines.map((line) => line["trace_id"]), [traceId, traceId])
        assert.strictEqual(lines[0]!["span_id"], server!.id)
      })
  )
})
