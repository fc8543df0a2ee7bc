import { createDeepSeek } from "@ai-sdk/deepseek"
import { assert, describe, layer } from "@effect/vitest"
import { APICallError, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai"
import { Effect } from "effect"
import { eventually, layer as gateway, Running } from "./harness.ts"

const prompt = "What is the weather in Paris?"

const model = Effect.map(
  Running,
  ({ url }) => createDeepSeek({ apiKey: "key-of-alice", baseURL: `${url}/v1` })("deepseek-flash")
)

const weather = tool({
  description: "The weather of a city",
  inputSchema: jsonSchema<{ city: string }>({
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"]
  }),
  execute: async () => "18 °C, sunny"
})

describe("the AI SDK", () => {
  layer(gateway({ clientKeys: ["key-of-alice"] }), { excludeTestServices: true })((it) => {
    it.effect("chats, with thoughts", () =>
      Effect.gen(function*() {
        const deepseek = yield* model
        const result = yield* Effect.promise(() => generateText({ model: deepseek, prompt }))
        assert.isNotEmpty(result.text)
        assert.isNotEmpty(result.reasoningText)
        assert.strictEqual(result.finishReason, "stop")
        assert.isAbove(result.usage.totalTokens!, 0)
      }))

    it.effect("streams the same answer", () =>
      Effect.gen(function*() {
        const deepseek = yield* model
        const { text } = yield* Effect.promise(() => generateText({ model: deepseek, prompt }))
        const streamed = yield* Effect.promise(async () => {
          let text = ""
          for await (const part of streamText({ model: deepseek, prompt }).textStream) text += part
          return text
        })
        assert.strictEqual(streamed, text)
      }))

    it.effect("makes the round trip of a tool", () =>
      Effect.gen(function*() {
        const deepseek = yield* model
        const result = yield* Effect.promise(() =>
          generateText({ model: deepseek, prompt, tools: { weather }, stopWhen: stepCountIs(3) })
        )
        assert.isAtLeast(result.steps.length, 2)
        assert.strictEqual(result.steps[0]?.toolCalls[0]?.toolName, "weather")
        assert.isNotEmpty(result.text)
      }))

    it.effect("answers in JSON", () =>
      Effect.gen(function*() {
        const deepseek = yield* model
        const result = yield* Effect.promise(() =>
          generateText({ model: deepseek, prompt: "Answer in json.", output: Output.json() })
        )
        assert.isObject(result.output)
      }))

    it.effect("sees the error", () =>
      Effect.gen(function*() {
        const deepseek = yield* model
        const fail = (fault: string) =>
          Effect.promise(() =>
            generateText({ model: deepseek, prompt, maxRetries: 0, headers: { "x-simulate": fault } }).then(
              () => assert.fail("expected a failure"),
              (error: unknown) => {
                assert.isTrue(APICallError.isInstance(error))
                return error as APICallError // just checked
              }
            )
          )
        const overloaded = yield* fail("status=503")
        assert.deepStrictEqual([overloaded.statusCode, overloaded.isRetryable], [503, true])
        assert.include(overloaded.message, "too busy")
        const broke = yield* fail("status=402")
        assert.deepStrictEqual([broke.statusCode, broke.isRetryable], [402, false])
      }))
  })

  layer(gateway({ clientKeys: ["key-of-alice"], simulator: { tokensPerSecond: 5 } }), { excludeTestServices: true })(
    "and a slow answer",
    (it) => {
      it.effect("abort: the call upstream ends", () =>
        Effect.gen(function*() {
          const { inspect } = yield* Running
          const deepseek = yield* model
          const gone = new AbortController()
          const result = streamText({ model: deepseek, prompt, abortSignal: gone.signal, onError: () => {} })
          const drained = result.consumeStream()
          yield* eventually(Effect.map(inspect, ({ inFlight }) => inFlight === 1))
          gone.abort()
          yield* eventually(Effect.map(inspect, ({ inFlight }) => inFlight === 0))
          yield* Effect.promise(() => Promise.resolve(drained))
        }))
    }
  )
})
