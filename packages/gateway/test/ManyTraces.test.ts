/** Many calls at once, each in a trace of its own: no span and no line strays into another's. */
import { Gateway, Settings, Upstream } from "@ballast/gateway"
import { Simulator } from "@ballast/simulator"
import { Logs } from "@ballast/telemetry"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema, Tracer } from "effect"
import { HttpClient } from "effect/http"
import { hello, post } from "./harness.ts"

const count = 200

/** What happens to a call. Its first failures make it wait, try again and go elsewhere. */
const Plan = Schema.Struct({
  fault: Schema.Literals(["", "status=503,times=1", "status=503,times=2", "status=503", "status=400"]),
  latency: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 15 })),
  stream: Schema.Boolean
})

const simulators = {
  listen: { port: 0 },
  providers: {
    first: { type: "simulator", accounts: { main: { keys: ["sk-first"] } } },
    second: { type: "simulator", accounts: { main: { keys: ["sk-second"] } } }
  },
  models: { "deepseek-flash": { targets: [{ provider: "first" }], failover: [{ provider: "second" }] } },
  policies: { retry: { times: 2, base: "1ms" }, circuitBreaker: { openDuration: "100ms" } }
}

/** A gateway whose spans and lines are kept. */
const start = Effect.gen(function*() {
  const spans: Array<Tracer.Span> = []
  const lines: Array<Record<string, unknown>> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const settings = yield* Settings.makeValues(simulators)
  const upstream = yield* Upstream.make(settings, { client: yield* HttpClient.HttpClient })
  const observed = Layer.merge(
    Logs.layer({ level: "Debug", write: (line) => lines.push(JSON.parse(line)) }),
    Layer.succeed(Tracer.Tracer, tracer)
  )
  const address = yield* Effect.provide(Gateway.serve({ settings, upstream }), yield* Layer.build(observed))
  const port = address._tag === "UnixPathAddress" ? 0 : address.port
  return { spans, lines, url: `http://127.0.0.1:${port}/v1/chat/completions` }
})

const hex = (value: number, length: number): string => value.toString(16).padStart(length, "0")

/** The ids of a call, which differ in all of their parts. */
const idsOf = (index: number) => ({
  request: `request-${index}`,
  trace: `ab${hex(index + 1, 30)}`,
  span: `cd${hex(index + 1, 14)}`,
  sought: `order-${index}-of-many`
})

const simulated = Simulator.layerHttpClient({ latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity })

describe("many traces", () => {
  it.live.prop(
    "no span has a foreign parent, and no line a foreign id",
    { plans: Schema.Array(Plan).check(Schema.isMinLength(count), Schema.isMaxLength(count)) },
    ({ plans }) =>
      Effect.gen(function*() {
        const { lines, spans, url } = yield* start
        yield* Effect.forEach(plans, ({ fault, latency, stream }, index) => {
          const { request, sought, span, trace } = idsOf(index)
          const times = fault.includes("times") ? `,id=${request}` : ""
          return post(url, { ...hello, stream }, {
            "x-request-id": request,
            "x-trace-id": sought,
            traceparent: `00-${trace}-${span}-01`,
            "x-simulate": `${fault}${times}${fault === "" ? "" : ","}latency=${latency}ms`
          })
        }, { concurrency: "unbounded", discard: true })

        const calls = new Map(plans.map((_, index) => [idsOf(index).trace, { ...idsOf(index), spans: 0, lines: 0 }]))
        for (const span of spans) {
          const call = calls.get(span.traceId)
          assert.isDefined(call, `${span.name} is in no call's trace`)
          call.spans++
          const parent = Option.getOrThrow(span.parent)
          assert.strictEqual(parent.traceId, span.traceId, span.name)
          if (parent._tag === "ExternalSpan") assert.strictEqual(parent.spanId, call.span)
        }
        const bySought = new Map(Array.from(calls.values(), (call) => [call.sought, call]))
        for (const line of lines.filter((line) => "trace_id" in line)) {
          const call = bySought.get(String(line["trace_id"]))
          assert.isDefined(call, JSON.stringify(line))
          call.lines++
          assert.strictEqual(line["span_trace_id"], call.trace)
          if ("request_id" in line) assert.strictEqual(line["request_id"], call.request)
        }
        for (const call of calls.values()) {
          assert.isAtLeast(call.spans, 3, call.request)
          assert.isAtLeast(call.lines, 1, call.request)
        }
      }).pipe(Effect.scoped, Effect.provide([simulated, NodeFileSystem.layer])),
    { arbitrary: { runs: 1, maxShrinks: 0 }, timeout: 60_000 }
  )
})
