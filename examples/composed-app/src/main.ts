/**
 * Asks a few questions at once and prints each answer as it streams in, thinking first.
 *
 * The model is put together from layers: settings and the key from the environment (DEEPSEEK_API_KEY), HTTP from undici, and on top of
 * DeepSeek's own policies a request limit of this app. Without a key the simulator answers instead.
 *
 *     npm start --workspace @ballast/example-composed-app
 */
import { ChatModel } from "@ballast/chat"
import { DeepSeek, Undici } from "@ballast/deepseek"
import { RateLimiter } from "@ballast/resilience"
import { Simulator } from "@ballast/simulator"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Option, Redacted, Stream } from "effect"

const Model = Layer.unwrap(Effect.gen(function*() {
  const key = yield* Config.option(Config.Redacted("DEEPSEEK_API_KEY"))
  return Option.isSome(key)
    ? DeepSeek.layerConfig().pipe(Layer.provide(Undici.layer()))
    : DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(Layer.provide(Simulator.layerHttpClient()))
}))

const ask = Effect.fn("ask")(
  function*(model: ChatModel.ChatModel<DeepSeek.CallError | RateLimiter.RateLimitExceeded>, question: string) {
    const answer = yield* model.stream({
      model: "deepseek-flash",
      messages: [{ role: "user", content: question }]
    }).pipe(
      Stream.map((chunk) => chunk.choices[0]?.delta.content ?? ""),
      Stream.mkString
    )
    yield* Console.log(`Q: ${question}\nA: ${answer}\n`)
  },
  (effect, _model, question) =>
    effect.pipe(
      Effect.catchTag(
        "ClientError",
        (error) => Console.error(`${question}: check the request or the account. ${error.message}`)
      ),
      Effect.catch((error) => Console.error(`${question}: no answer this time. ${error.message}`))
    )
)

const program = Effect.gen(function*() {
  const deepseek = yield* DeepSeek.DeepSeek
  const limiter = yield* RateLimiter.make({ limit: 2, window: "1 second", maxWait: "30 seconds" })
  const model = ChatModel.withPolicy(deepseek, limiter)
  yield* Effect.forEach(
    ["Why does a ship carry ballast?", "What does a lamp's ballast do?", "为什么船需要压舱物？"],
    (question) => ask(model, question),
    { concurrency: "unbounded", discard: true }
  )
})

program.pipe(Effect.provide(Model), NodeRuntime.runMain)
