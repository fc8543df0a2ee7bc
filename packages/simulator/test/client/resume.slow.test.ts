/** The proof at full length: 2,000 tokens, cut at each of 200 places. */
import { ChatAccumulator, ChatError, type ChatRequest } from "@ballast/chat"
import { DeepSeek } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Random, Redacted } from "effect"
import { Simulator } from "../../src/index.ts"
import { instant } from "../support.ts"

const apiKey = Redacted.make("sk-test")
const request: ChatRequest.ChatRequest = {
  model: "deepseek-flash",
  messages: [{ role: "user", content: "Why does a ship carry ballast?" }]
}

/** A client on a simulator whose first stream meets a fault. */
const on = (fault: object, options: Partial<DeepSeek.Options> = {}) =>
  Effect.map(
    Layer.build(Layer.provideMerge(
      DeepSeek.layer({ apiKey, retry: { times: 2 }, ...options }),
      Simulator.layerHttpClient({
        ...instant,
        plan: [{ nth: 1, fault: { tokens: 2000, ...fault } }, { fault: { tokens: 2000 } }]
      })
    )),
    (context) => ({
      deepseek: Context.get(context, DeepSeek.DeepSeek),
      requests: Effect.map(Context.get(context, Simulator.Simulator).inspect, ({ requests }) => requests)
    })
  )

const streamed = (deepseek: DeepSeek.DeepSeek["Service"], asked = request) =>
  Effect.map(ChatAccumulator.collect(deepseek.stream(asked)), (completion) => completion!)

describe("a stream of 2,000 tokens", () => {
  it.effect("arrives whole, byte for byte, wherever it is cut, by one prefix call at most", () =>
    Effect.gen(function*() {
      const whole = yield* Effect.scoped(Effect.flatMap(on({}), ({ deepseek }) => streamed(deepseek)))
      const { completion_tokens: tokens } = whole.usage!
      assert.isAtLeast(tokens, 2000)
      for (let n = 0; n < 200; n++) {
        // The opening chunk is event 1, the last one comes after all tokens.
        const at = yield* Random.nextIntBetween(2, tokens + 1)
        yield* Effect.scoped(Effect.gen(function*() {
          const { deepseek, requests } = yield* on({ cut: at })
          const { choices, usage } = yield* streamed(deepseek)
          assert.deepStrictEqual(choices, whole.choices, `cut after ${at} events`)
          assert.strictEqual(usage!.completion_tokens, tokens)
          assert.strictEqual(yield* requests, 2)
        }))
      }
    }).pipe(Random.withSeed("cuts")))

  it.effect("ends in the typed error where it may not go on", () =>
    Effect.gen(function*() {
      for (let n = 0; n < 20; n++) {
        const at = yield* Random.nextIntBetween(2, 2000)
        const error = yield* Effect.scoped(
          Effect.flatMap(on({ cut: at }, { resume: false }), ({ deepseek }) => Effect.flip(streamed(deepseek)))
        )
        assert.instanceOf(error, ChatError.ProtocolError)
        assert.strictEqual(error.reason._tag, "StreamTruncated")
      }
    }).pipe(Random.withSeed("cuts")))
})
