import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Layer, Option, Tracer } from "effect"
import { TestClock } from "effect/testing"
import * as sampling from "../src/internal/sampling.ts"
import * as SpanAttributes from "../src/SpanAttributes.ts"

/** A tracer that keeps what is exported. */
const exporting = (sampler: Partial<sampling.Sampler> = {}) => {
  const exported: Array<Tracer.Span> = []
  let lost = 0
  const tracer = sampling.make(
    { ratio: 0, byParent: true, slow: Duration.seconds(30), ...sampler },
    { dropped: (spans) => lost += spans, exported: (span) => exported.push(span) }
  )
  const names = () => exported.map(({ name }) => name).sort()
  return { names, exported, lost: () => lost, layer: Layer.succeed(Tracer.Tracer, tracer) }
}

const trace = "4bf92f3577b34da6a3ce929d0e0e4736"

const call = (inner: Effect.Effect<unknown, unknown>) =>
  inner.pipe(
    Effect.withSpan("attempt"),
    Effect.exit,
    Effect.withSpan("call"),
    Effect.withSpan("request"),
    Effect.ignore
  )

const settings = (env: Record<string, string>) =>
  Effect.provide(
    Effect.gen(function*() {
      return yield* sampling.config
    }),
    ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
  )

describe("sampling", () => {
  it.effect("leaves out a trace that is not chosen, and tells others so", () =>
    Effect.gen(function*() {
      const { layer, names } = exporting()
      const sampled = yield* Effect.map(Effect.currentSpan, (span) => span.sampled).pipe(
        Effect.withSpan("request"),
        Effect.provide(layer)
      )
      yield* Effect.provide(call(Effect.void), layer)
      assert.isFalse(sampled)
      assert.deepStrictEqual(names(), [])
    }))

  it.effect("keeps the whole trace of a failed attempt, though the call succeeds", () =>
    Effect.gen(function*() {
      const { layer, names } = exporting()
      yield* Effect.provide(call(Effect.fail("busy")), layer)
      assert.deepStrictEqual(names(), ["attempt", "call", "request"])
    }))

  it.effect("keeps the trace of a span that names an error, and of none that was interrupted", () =>
    Effect.gen(function*() {
      const { layer, names } = exporting()
      yield* Effect.provide(call(Effect.interrupt), layer)
      assert.deepStrictEqual(names(), [])
      yield* Effect.provide(call(Effect.annotateCurrentSpan("error.type", "timeout")), layer)
      assert.deepStrictEqual(names(), ["attempt", "call", "request"])
    }))

  it.effect("tells of a span that names an error that it is exported, before it ends", () =>
    Effect.gen(function*() {
      const known = Effect.gen(function*() {
        const span = yield* Effect.currentSpan
        const before = sampling.isExported(span)
        span.attribute("error.type", "timeout")
        return [before, sampling.isExported(span)]
      })
      assert.deepStrictEqual(
        yield* known.pipe(Effect.withSpan("call"), Effect.provide(exporting().layer)),
        [false, true]
      )
    }))

  it.effect("keeps the trace of a slow span, from the bound on", () =>
    Effect.gen(function*() {
      for (const [millis, kept] of [[29_999, 0], [30_000, 3]] as const) {
        const { exported, layer } = exporting()
        const fiber = yield* Effect.forkChild(Effect.provide(call(Effect.sleep(millis)), layer))
        yield* TestClock.adjust("1 minute")
        yield* Effect.yieldNow
        assert.isDefined(fiber)
        assert.lengthOf(exported, kept)
      }
    }))

  it.effect("follows the parent's flag, or the ratio where it does not count", () =>
    Effect.gen(function*() {
      const under = (sampled: boolean, sampler: Partial<sampling.Sampler>) =>
        Effect.gen(function*() {
          const { exported, layer } = exporting(sampler)
          const parent = Tracer.externalSpan({ traceId: trace, spanId: "00f067aa0ba902b7", sampled })
          yield* Effect.void.pipe(Effect.withSpan("request", { parent }), Effect.provide(layer))
          return exported.length
        })
      assert.strictEqual(yield* under(true, {}), 1)
      assert.strictEqual(yield* under(false, { ratio: 1 }), 0)
      assert.strictEqual(yield* under(true, { byParent: false }), 0)
      assert.strictEqual(yield* under(false, { byParent: false, ratio: 1 }), 1)
    }))

  it.effect("chooses about the ratio of the traces", () =>
    Effect.gen(function*() {
      const { exported, layer } = exporting({ ratio: 0.25 })
      yield* Effect.repeat(Effect.withSpan(Effect.void, "request"), { times: 3999 }).pipe(Effect.provide(layer))
      assert.isAbove(exported.length, 800)
      assert.isBelow(exported.length, 1200)
    }))

  it.effect("keeps parents and trace ids", () =>
    Effect.gen(function*() {
      const { exported, layer } = exporting({ ratio: 1 })
      yield* Effect.provide(call(Effect.void), layer)
      const [attempt, callSpan, request] = exported
      assert.strictEqual(Option.getOrThrow(attempt!.parent).spanId, callSpan!.spanId)
      assert.strictEqual(Option.getOrThrow(callSpan!.parent).spanId, request!.spanId)
      assert.lengthOf([...new Set(exported.map(({ traceId }) => traceId))], 1)
    }))

  it.effect("keeps a bounded number of spans that wait, and counts the rest", () =>
    Effect.gen(function*() {
      const { layer, lost, names } = exporting()
      yield* Effect.repeat(Effect.withSpan(Effect.void, "step"), { times: 599 }).pipe(
        Effect.andThen(Effect.fail("late")),
        Effect.withSpan("request"),
        Effect.ignore,
        Effect.provide(layer)
      )
      assert.strictEqual(lost(), 88)
      assert.lengthOf(names(), 513)
    }))

  it.effect("makes attributes of a trace only when it is exported", () =>
    Effect.gen(function*() {
      let made = 0
      const described = (inner: Effect.Effect<unknown, unknown>) =>
        Effect.useSpan("attempt", (span) => {
          SpanAttributes.later(span, () => {
            made++
            return { "url.path": "/chat", "http.request.resend_count": undefined }
          })
          span.attribute("url.path", "/beta/chat")
          return inner
        }).pipe(Effect.withSpan("request"), Effect.ignore)
      const { exported, layer } = exporting()
      yield* Effect.provide(described(Effect.void), layer)
      assert.strictEqual(made, 0)
      yield* Effect.provide(described(Effect.fail("busy")), layer)
      assert.deepStrictEqual([...exported[0]!.attributes], [["url.path", "/beta/chat"]])
      assert.isAbove(made, 0)
    }))

  it.effect("gives a span of another tracer its attributes at once", () =>
    Effect.useSpan("request", (span) => {
      SpanAttributes.later(span, () => ({ "url.path": "/chat", "http.request.resend_count": undefined }))
      assert.deepStrictEqual([...span.attributes], [["url.path", "/chat"]])
      return Effect.void
    }))

  it.effect("reads the standard variables", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* settings({}), { ratio: 1, byParent: true, slow: Duration.millis(30_000) })
      const given = yield* settings({
        OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG: "0.01",
        BALLAST_TRACES_SLOW: "5s"
      })
      assert.deepStrictEqual(given, { ratio: 0.01, byParent: true, slow: Duration.millis(5_000) })
      for (const env of [{ OTEL_TRACES_SAMPLER: "jaeger_remote" }, { OTEL_TRACES_SAMPLER_ARG: "2" }]) {
        assert.include((yield* Effect.flip(settings(env))).message, "OTEL_TRACES_SAMPLER")
      }
      assert.include((yield* Effect.flip(settings({ BALLAST_TRACES_SLOW: "soon" }))).message, "such as 30s")
    }))
})
