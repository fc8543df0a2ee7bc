import { DeepSeek } from "@ballast/deepseek"
import { Content, Propagation } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Inspectable, Logger, Option, Stream, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { apiKey, bare, key, on, request } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"
import { recorded } from "../support/spans.ts"
import * as Spans from "../support/spans.ts"
import { busy, done, failure, good, last, opening, sse, thought, token, traceId } from "../support/wire.ts"

const options: DeepSeek.Options = { apiKey, baseUrl: "https://api.deepseek.com" }

const callAttributes = {
  "gen_ai.operation.name": "chat",
  "gen_ai.provider.name": "deepseek",
  "ballast.name": "deepseek",
  "gen_ai.request.model": "deepseek-flash",
  "server.address": "api.deepseek.com",
  "server.port": 443
}

const answerAttributes = {
  "gen_ai.response.id": "930c60df-bf64-41c9-a88e-3ec75f81e00e",
  "gen_ai.response.model": "deepseek-flash",
  "gen_ai.response.finish_reasons": ["stop"],
  "gen_ai.usage.input_tokens": 374,
  "gen_ai.usage.output_tokens": 60,
  "gen_ai.usage.cache_read.input_tokens": 256,
  "gen_ai.usage.reasoning.output_tokens": 16
}

const attemptAttributes = {
  "http.request.method": "POST",
  "url.full": "https://api.deepseek.com/chat/completions",
  "server.address": "api.deepseek.com",
  "server.port": 443
}

/** Runs a call, through all its waits. */
const run = <A, E, R>(
  script: Scripted.Script,
  call: (deepseek: DeepSeek.DeepSeek["Service"]) => Effect.Effect<A, E, R>,
  given = options
) =>
  recorded(Effect.gen(function*() {
    const deepseek = yield* on(script.layer, given)
    const fiber = yield* Effect.forkChild(call(deepseek), { startImmediately: true })
    yield* TestClock.adjust("10 minutes")
    return yield* Fiber.join(fiber)
  }))

const drain = (deepseek: DeepSeek.DeepSeek["Service"]) => Stream.runDrain(deepseek.stream(request))

describe("DeepSeek telemetry", () => {
  describe("spans", () => {
    it.effect("cover the call and each attempt", () =>
      Effect.gen(function*() {
        const { spans } = yield* run(Scripted.make(busy, good), (deepseek) =>
          deepseek.complete({ ...request, max_tokens: 100, temperature: 0.5, top_p: 0.9 }))
        const [call, first, second] = spans
        assert.lengthOf(spans, 3)
        assert.deepStrictEqual(spans.map(Spans.describe), [
          {
            name: "chat deepseek-flash",
            kind: "client",
            attributes: {
              ...callAttributes,
              "gen_ai.request.stream": false,
              "gen_ai.request.max_tokens": 100,
              "gen_ai.request.temperature": 0.5,
              "gen_ai.request.top_p": 0.9,
              ...answerAttributes
            }
          },
          {
            name: "POST /chat/completions",
            kind: "client",
            attributes: {
              ...attemptAttributes,
              "http.response.status_code": 503,
              "ballast.upstream.trace_id": traceId,
              "error.type": "Overloaded"
            }
          },
          {
            name: "POST /chat/completions",
            kind: "client",
            attributes: {
              ...attemptAttributes,
              "http.request.resend_count": 1,
              "http.response.status_code": 200,
              "ballast.upstream.trace_id": traceId
            }
          }
        ])
        for (const attempt of [first, second]) {
          assert.strictEqual(Option.getOrUndefined(attempt?.parent ?? Option.none())?.spanId, call?.spanId)
        }
        assert.isTrue(spans.every(({ status }) =>
          status._tag === "Ended"
        ))
      }))

    it.effect("have only numbers where the convention wants one, whatever is passed on", () =>
      Effect.gen(function*() {
        const odd = Object(JSON.parse("{\"max_tokens\":\"many\",\"temperature\":\"hot\",\"top_p\":[1]}"))
        const { spans: [call] } = yield* run(
          Scripted.make(good),
          (deepseek) => deepseek.complete({ ...request, ...odd })
        )
        assert.deepStrictEqual(Object.fromEntries(call?.attributes ?? []), {
          ...callAttributes,
          "gen_ai.request.stream": false,
          ...answerAttributes
        })
      }))

    it.effect("of a stream last until it ends, with the time to its first token", () =>
      Effect.gen(function*() {
        const pause = Duration.seconds(1)
        const { spans } = yield* run(
          Scripted.make(sse([opening, pause, thought("Hm"), pause, token("a"), last])),
          drain
        )
        assert.lengthOf(spans, 2)
        const [call, attempt] = spans
        assert.deepStrictEqual(call && Object.fromEntries(call.attributes), {
          ...callAttributes,
          "gen_ai.request.stream": true,
          "gen_ai.response.time_to_first_chunk": 1,
          ...answerAttributes
        })
        for (const span of [call, attempt]) {
          assert(span?.status._tag === "Ended")
          assert.strictEqual(span.status.endTime - span.status.startTime, 2_000_000_000n)
          assert.isTrue(Exit.isSuccess(span.status.exit))
        }
      }))

    it.effect("say why a call failed", () =>
      Effect.gen(function*() {
        const refused = failure(401, { message: "no" })
        for (const call of [drain, (deepseek: DeepSeek.DeepSeek["Service"]) => deepseek.complete(request)]) {
          const { spans } = yield* run(Scripted.make(refused), call)
          assert.deepStrictEqual(spans.map((span) => span.attributes.get("error.type")), [
            "Unauthorized",
            "Unauthorized"
          ])
          assert.isTrue(spans.every(({ status }) => status._tag === "Ended" && Exit.isFailure(status.exit)))
        }
      }))

    it.effect("end when the consumer stops, and when the call is interrupted", () =>
      Effect.gen(function*() {
        const stalled = sse([token("a")], "stall")
        const stopped = yield* run(Scripted.make(stalled), (deepseek) => Stream.runHead(deepseek.stream(request)))
        const interrupted = yield* recorded(Effect.gen(function*() {
          const deepseek = yield* on(Scripted.make({ end: "stall" }).layer, bare)
          yield* Fiber.interrupt(yield* Effect.forkChild(deepseek.complete(request), { startImmediately: true }))
          yield* Fiber.interrupt(yield* Effect.forkChild(drain(deepseek), { startImmediately: true }))
        }))
        const spans = [...stopped.spans, ...interrupted.spans]
        assert.lengthOf(spans, 6)
        assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
        assert.deepStrictEqual(
          spans.filter(({ name }) => name.startsWith("chat")).map((span) => span.attributes.get("error.type")),
          ["interrupted", "interrupted", "interrupted"]
        )
      }))
  })

  describe("traceparent", () => {
    it.effect("names the attempt's span", () =>
      Effect.gen(function*() {
        const script = Scripted.make(good)
        const { spans: [, attempt] } = yield* run(script, (deepseek) => deepseek.complete(request))
        assert.strictEqual(script.seen[0]?.headers["traceparent"], `00-${attempt?.traceId}-${attempt?.spanId}-01`)
      }))

    it.effect("goes with the id of the trace, or the one that the caller sent, and what travels beside it", () =>
      Effect.gen(function*() {
        const script = Scripted.make(good, good)
        const { spans: [, attempt] } = yield* run(script, (deepseek) => deepseek.complete(request))
        assert.strictEqual(script.seen[0]?.headers["x-trace-id"], attempt?.traceId)
        const carried = { traceId: "order-17", traceState: "v=1", baggage: "tenant=acme" }
        yield* run(
          script,
          (deepseek) => Effect.provideService(deepseek.complete(request), Propagation.Carried, carried)
        )
        const { baggage, tracestate, "x-trace-id": id } = script.seen[1]?.headers ?? {}
        assert.deepStrictEqual({ baggage, tracestate, id }, {
          baggage: "tenant=acme",
          tracestate: "v=1",
          id: "order-17"
        })
      }))

    it.effect("is left out where propagation is disabled", () =>
      Effect.gen(function*() {
        for (const service of [Tracer.DisablePropagation]) {
          const script = Scripted.make(good)
          yield* run(script, (deepseek) => Effect.provideService(deepseek.complete(request), service, true))
          assert.notProperty(script.seen[0]?.headers, "traceparent")
        }
        const script = Scripted.make(good)
        yield* run(script, (deepseek) => Effect.withTracerEnabled(deepseek.complete(request), false))
        assert.notProperty(script.seen[0]?.headers, "traceparent")
      }))
  })

  describe("headers", () => {
    it.effect("may be added by the caller, but never replace our own", () =>
      Effect.gen(function*() {
        const script = Scripted.make(good)
        const extra = { "X-Simulate": "busy", Authorization: "Bearer theirs" }
        yield* run(script, (deepseek) =>
          Effect.provideService(deepseek.complete(request), DeepSeek.CurrentHeaders, extra))
        assert.deepInclude(script.seen[0]?.headers, { "x-simulate": "busy", authorization: `Bearer ${key}` })
      }))
  })

  describe("content", () => {
    const messagesOf = (span: Tracer.Span | undefined) => [
      span?.attributes.get("gen_ai.input.messages"),
      span?.attributes.get("gen_ai.output.messages")
    ]

    it.effect("is in no span unless it is asked for", () =>
      Effect.gen(function*() {
        const { spans: [call] } = yield* run(Scripted.make(good), (deepseek) => deepseek.complete(request))
        assert.deepStrictEqual(messagesOf(call), [undefined, undefined])
      }))

    it.effect("is redacted before it is kept, of whole answers and streams", () =>
      Effect.gen(function*() {
        const redact = (text: string) => text.replaceAll(/[a-z]/g, "x")
        for (
          const ask of [(deepseek: DeepSeek.DeepSeek["Service"]) => Effect.asVoid(deepseek.complete(request)), drain]
        ) {
          const streams = ask === drain
          const script = Scripted.make(streams ? sse([opening, token("the answer"), last, done]) : good)
          const { spans: [call] } = yield* run(script, (deepseek) =>
            Effect.provideService(ask(deepseek), Content.Current, { redact }))
          const [input, output] = messagesOf(call).map(String)
          assert.include(input, "\"role\":\"user\"")
          assert.notMatch(JSON.parse(input!)[0].parts[0].content, /[a-wyz]/)
          assert.notMatch(JSON.parse(output!)[0].parts[0].content, /[a-wyz]/)
          assert.strictEqual(JSON.parse(output!)[0].role, "assistant")
        }
      }))
  })

  describe("metrics", () => {
    it.effect("count calls, attempts, tokens and times", () =>
      Effect.gen(function*() {
        const { metrics } = yield* run(Scripted.make(busy, good), (deepseek) => deepseek.complete(request))
        const of = (name: string) =>
          metrics.filter((metric) => metric.name === name).map(({ attributes, state }): object => ({
            ...attributes,
            count: "count" in state ? state.count : undefined
          }))
        const labels = { name: "deepseek", provider: "deepseek", model: "deepseek-flash" }
        assert.deepStrictEqual(of("ballast_calls_total"), [{
          ...labels,
          outcome: "ok",
          fault: "none",
          count: 1
        }])
        assert.deepStrictEqual(of("ballast_attempts_total"), [
          { ...labels, outcome: "Overloaded", count: 1 },
          { ...labels, outcome: "ok", count: 1 }
        ])
        assert.sameDeepMembers(
          metrics.filter(({ name }) => name === "gen_ai_client_token_usage").map(({ attributes, state }): object => ({
            ...attributes,
            sum: "sum" in state ? state.sum : undefined
          })),
          [
            { ...labels, type: "input", sum: 374 },
            { ...labels, type: "cached", sum: 256 },
            { ...labels, type: "output", sum: 60 },
            { ...labels, type: "reasoning", sum: 16 }
          ]
        )
        assert.deepStrictEqual(of("gen_ai_client_operation_duration_seconds"), [{ ...labels, count: 1 }])
      }))

    it.effect("tell failures and streams apart, and stay few whatever the names of models", () =>
      Effect.gen(function*() {
        const refused = yield* run(Scripted.make(failure(401, { message: "no" })), drain)
        assert.deepInclude(
          refused.metrics.find(({ name }) => name === "gen_ai_client_operation_duration_seconds")?.attributes,
          { error_type: "Unauthorized" }
        )
        assert.deepInclude(
          refused.metrics.find(({ name }) => name === "ballast_calls_total")?.attributes,
          { outcome: "error", fault: "ballast" }
        )
        const many = yield* run(
          Scripted.make(good),
          (deepseek) =>
            Effect.forEach(
              Array.from({ length: 200 }, (_, i) => i),
              (i) => deepseek.complete({ ...request, model: `m${i}` })
            )
        )
        const models = new Set(many.metrics.map(({ attributes }) => attributes?.["model"]))
        assert.isAtMost(models.size, 65)
        assert.isTrue(models.has("other"))
        const name = "n".repeat(300)
        const long = yield* run(
          Scripted.make(good),
          (deepseek) => Effect.repeat(deepseek.complete({ ...request, model: name }), { times: 2 })
        )
        assert.notInclude(JSON.stringify(long.metrics.map(({ attributes }) => attributes)), "nnn")
        assert.strictEqual(long.spans[0]?.name, `chat ${"n".repeat(256)}…`)
        assert.strictEqual(long.spans[0]?.attributes.get("gen_ai.request.model"), `${"n".repeat(256)}…`)
        const streamed = yield* run(Scripted.make(sse([token("a"), last])), drain)
        assert.exists(streamed.metrics.find(({ name }) => name === "gen_ai_client_time_to_first_token_seconds"))
      }))
  })

  it.effect("never holds a key or a prompt", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make((entry) =>
        lines.push(JSON.stringify([entry.message, Inspectable.toStringUnknown(entry.cause)]))
      )
      const secret = key.slice("sk-".length)
      const replies = [
        failure(401, { message: `Authentication Fails, Your api key: ****${key.slice(-4)} is invalid` }),
        failure(500, { message: `${key}` }),
        { body: [`no json, but ${key}`] },
        { code: "ECONNREFUSED" },
        { body: [], end: "stall" as const }
      ]
      for (const reply of replies) {
        const script = Scripted.make(reply)
        for (const call of [drain, (deepseek: DeepSeek.DeepSeek["Service"]) => deepseek.complete(request)]) {
          const { exit, spans } = yield* run(script, call, {
            ...options,
            warmUp: true,
            deadlines: { attempt: "1 minute" }
          }).pipe(
            Effect.tap(({ exit }) => Effect.logError("failed", exit)),
            Effect.provide(Logger.layer([logger]))
          )
          const all = [
            Spans.dump(spans),
            ...lines,
            JSON.stringify(exit),
            Inspectable.toStringUnknown(exit),
            String(exit)
          ].join()
          assert.isAbove(all.length, 100)
          for (const hidden of [secret, key.slice(-4), "What is in the prompt?"]) assert.notInclude(all, hidden)
        }
      }
      assert.isNotEmpty(lines)
    }))
})
