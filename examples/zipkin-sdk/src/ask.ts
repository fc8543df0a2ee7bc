import { DeepSeek } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { Effect, Layer, Redacted } from "effect"

const Model = DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(
  Layer.provide(Simulator.layerHttpClient({ latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity }))
)

/** The model's answer to a question. */
export const ask = (question: string) =>
  Effect.gen(function*() {
    const model = yield* DeepSeek.DeepSeek
    const { choices } = yield* model.complete({
      model: "deepseek-flash",
      messages: [{ role: "user", content: question }]
    })
    return choices[0].message.content
  }).pipe(Effect.withSpan("ask"), Effect.provide(Model))
