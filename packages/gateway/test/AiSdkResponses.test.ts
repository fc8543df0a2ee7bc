import { createOpenAI } from "@ai-sdk/openai"
import { assert, describe, layer } from "@effect/vitest"
import { APICallError, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai"
import { Effect } from "effect"
import { layer as gateway, Running } from "./harness.ts"

const prompt = "What is the weather in Paris?"

const model = Effect.map(
  Running,
  ({ url }) => createOpenAI({ apiKey: "key-of-alice", baseURL: `${url}/v1` })("deepseek-flash")
)

/** Whole items are sent, thinking among them. */
const providerOptions = { openai: { store: false, include: ["reasoning.encrypted_content"] } }

const tools = {
  weather: tool({
    description: "The weather of a city",
    inputSchema: jsonSchema<{ city: string }>({
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"]
    }),
    execute: async () => "18 °C, sunny"
  })
}

const chatOnly = {
  providers: {
    other: { type: "openai", baseUrl: "http://other.invalid", accounts: { default: { keys: ["sk-test"] } } }
  }
}

for (const [kind, options] of Object.entries({ native: {}, translated: { settings: chatOnly } })) {
  describe(`the AI SDK by Responses, ${kind}`, () => {
    layer(gateway({ clientKeys: ["key-of-alice"], ...options }), { excludeTestServices: true })((it) => {
      it.effect("answers the same, whole and streamed", () =>
        Effect.gen(function*() {
          const openai = yield* model
          const whole = yield* Effect.promise(() => generateText({ model: openai, prompt, providerOptions }))
          assert.isNotEmpty(whole.text)
          assert.strictEqual(whole.finishReason, "stop")
          assert.isAbove(whole.usage.totalTokens!, 0)
          const text = yield* Effect.promise(async () => {
            let text = ""
            for await (const delta of streamText({ model: openai, prompt, providerOptions }).textStream) text += delta
            return text
          })
          assert.strictEqual(text, whole.text)
        }))

      it.effect("calls a tool and goes on, whole and streamed", () =>
        Effect.gen(function*() {
          const openai = yield* model
          const asked = { model: openai, prompt, providerOptions, tools, stopWhen: stepCountIs(3) }
          const whole = yield* Effect.promise(() => generateText(asked))
          assert.lengthOf(whole.steps, 2)
          assert.include(whole.text, "18 °C")
          const text = yield* Effect.promise(async () => {
            let text = ""
            for await (const delta of streamText(asked).textStream) text += delta
            return text
          })
          assert.include(text, "18 °C")
        }))

      it.effect("satisfies a schema", () =>
        Effect.gen(function*() {
          const openai = yield* model
          const schema = jsonSchema<{ city: string }>({
            type: "object",
            properties: { city: { type: "string" } },
            required: ["city"],
            additionalProperties: false
          })
          const { output } = yield* Effect.promise(() =>
            generateText({ model: openai, prompt: "Name a city.", providerOptions, output: Output.object({ schema }) })
          )
          assert.isString(output.city)
        }))

      it.effect("is told what to do where it relies on stored items", () =>
        Effect.gen(function*() {
          const openai = yield* model
          const error = yield* Effect.promise(() =>
            generateText({ model: openai, prompt, tools, stopWhen: stepCountIs(3), maxRetries: 0 }).catch(
              (error: unknown) => error
            )
          )
          if (!APICallError.isInstance(error)) return assert.fail(String(error))
          assert.strictEqual(error.statusCode, 400)
          assert.match(error.message, /`input\.1` refers to an item of an earlier answer/)
        }))
    })
  })
}
