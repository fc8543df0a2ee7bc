import { assert, describe, layer } from "@effect/vitest"
import { HumanMessage, ToolMessage } from "@langchain/core/messages"
import { tool } from "@langchain/core/tools"
import { ChatOpenAI } from "@langchain/openai"
import { Effect } from "effect"
import { layer as gateway, Running } from "./harness.ts"

const prompt = "What is the weather in Paris?"

const schema = {
  title: "place",
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false
}

const weather = tool(async () => "18 °C, sunny", { name: "weather", description: "The weather of a city", schema })

const textOf = (content: unknown): string =>
  typeof content === "string"
    ? content
    : Array.isArray(content)
    ? content.map((part) => String(Object(part).text ?? "")).join("")
    : ""

for (const useResponsesApi of [true, false]) {
  const model = Effect.map(Running, ({ url }) =>
    new ChatOpenAI({
      model: "deepseek-flash",
      apiKey: "key-of-alice",
      useResponsesApi,
      configuration: { baseURL: `${url}/v1` },
      maxRetries: 0
    }))

  describe(`LangChain.js by ${useResponsesApi ? "Responses" : "chat"}`, () => {
    layer(gateway({ clientKeys: ["key-of-alice"] }), { excludeTestServices: true })((it) => {
      it.effect("answers the same, whole and streamed", () =>
        Effect.gen(function*() {
          const openai = yield* model
          const whole = yield* Effect.promise(() => openai.invoke(prompt))
          assert.isNotEmpty(textOf(whole.content))
          const text = yield* Effect.promise(async () => {
            let text = ""
            for await (const chunk of await openai.stream(prompt)) text += textOf(chunk.content)
            return text
          })
          assert.strictEqual(text, textOf(whole.content))
        }))

      it.effect("calls a tool and goes on with its result", () =>
        Effect.gen(function*() {
          const bound = (yield* model).bindTools([weather])
          const first = yield* Effect.promise(() => bound.invoke(prompt))
          const [call] = first.tool_calls ?? []
          assert.strictEqual(call?.name, "weather")
          const second = yield* Effect.promise(() =>
            bound.invoke([
              new HumanMessage(prompt),
              first,
              new ToolMessage({ tool_call_id: call!.id!, content: "18 °C, sunny" })
            ])
          )
          assert.include(textOf(second.content), "18 °C")
        }))

      if (useResponsesApi) {
        it.effect("satisfies a schema", () =>
          Effect.gen(function*() {
            const structured = (yield* model).withStructuredOutput(schema, { method: "jsonSchema" })
            const value = yield* Effect.promise(() => structured.invoke("Name a city."))
            assert.isString(value["city"])
          }))
      }
    })
  })
}
