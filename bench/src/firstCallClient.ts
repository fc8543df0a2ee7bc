/** A process that makes a hundred calls, one after the other: `firstCallClient.ts <url> <whether the connection is warmed>`. */
import { DeepSeek, Undici } from "@ballast/deepseek"
import { Effect, Layer, Redacted } from "effect"

const [url = "", warmUp] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const model = yield* DeepSeek.DeepSeek
  // A program has other things to do as it starts.
  yield* Effect.sleep("500 millis")
  const times: Array<number> = []
  for (let call = 0; call < 100; call++) {
    const began = performance.now()
    yield* model.complete({ model: "deepseek-flash", messages: [{ role: "user", content: "Hello!" }] })
    times.push(performance.now() - began)
  }
  process.send?.({ first: times[0], hundredth: times[99] }, () => process.disconnect?.())
})

const layer = DeepSeek.layer({ apiKey: Redacted.make("sk-bench"), baseUrl: url, warmUp: warmUp === "true" })
await Effect.runPromise(program.pipe(Effect.provide(Layer.provide(layer, Undici.layer()))))
