import * as OtelTracer from "@effect/opentelemetry/OtelTracer"
import { assert, describe, it } from "@effect/vitest"
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { Effect, Layer } from "effect"
import { request, scripted } from "./support/client.ts"
import { good } from "./support/wire.ts"

describe("DeepSeek in an app with an OpenTelemetry SDK of its own", () => {
  it.effect("gives the SDK a span for the call and one for its attempt", () =>
    Effect.gen(function*() {
      const exporter = new InMemorySpanExporter()
      const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
      const tracing = OtelTracer.layer.pipe(
        Layer.provide(Layer.succeed(OtelTracer.OtelTracerProvider, provider))
      )
      const model = yield* scripted(good)
      yield* Effect.provide(model.complete(request), tracing)

      const [attempt, call] = exporter.getFinishedSpans()
      assert.strictEqual(call?.name, "chat deepseek-flash")
      assert.strictEqual(attempt?.name, "POST /chat/completions")
      assert.strictEqual(attempt?.parentSpanContext?.spanId, call?.spanContext().spanId)
    }))
})
