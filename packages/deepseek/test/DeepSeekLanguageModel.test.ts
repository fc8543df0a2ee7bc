import { type ChatCompletion, ChatError, type ChatModel, type ChatRequest } from "@ballast/chat"
import { DeepSeekLanguageModel } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, ExecutionPlan, Layer, Ref, Schema, Stream } from "effect"
import { Chat, LanguageModel, Model, Prompt, Tool, Toolkit } from "effect/ai"
import { client } from "./support/simulated.ts"

const flash = DeepSeekLanguageModel.model("deepseek-flash")
const models = ["deepseek-flash", "deepseek-v4-pro"] as const

const Weather = Tool.make("weather", {
  description: "Weather of a city",
  parameters: Schema.Struct({ city: Schema.String }),
  success: Schema.Struct({ degrees: Schema.Finite })
})
const Harbour = Tool.make("harbour", {
  parameters: Schema.Struct({ city: Schema.String }),
  success: Schema.String,
  failureMode: "return"
})
const Tools = Toolkit.make(Weather, Harbour)
const ToolsLayer = Tools.toLayer({
  weather: () => Effect.succeed({ degrees: 18 }),
  harbour: ({ city }) => Effect.succeed(`${city} has one`)
})

/** A model that gives one message after the other, and remembers what it was asked. */
const saying = (...messages: ReadonlyArray<Partial<ChatCompletion.AssistantMessage>>) => {
  const asked: Array<ChatRequest.ChatRequest> = []
  const model: ChatModel.ChatModel<never> = {
    complete: (request) =>
      Effect.sync((): ChatCompletion.ChatCompletion => {
        asked.push(request)
        const message = messages[Math.min(asked.length, messages.length) - 1] ?? {}
        return { choices: [{ message: { role: "assistant", content: "", ...message }, finish_reason: "stop" }] }
      }),
    stream: () => Stream.empty
  }
  return { asked, layer: DeepSeekLanguageModel.layerModel(model, { model: "deepseek-flash" }) }
}

const failing = (error: unknown) =>
  DeepSeekLanguageModel.layerModel({ complete: () => Effect.fail(error), stream: () => Stream.fail(error) }, {
    model: "deepseek-flash"
  })

const calls = (name: string, given: string) => ({
  tool_calls: [{ id: "c1", type: "function" as const, function: { name, arguments: given } }]
})

describe("DeepSeekLanguageModel", () => {
  it.effect("generates text, with its reasoning and usage", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 2; round++) {
        const prompt = `What is a harbour? ${"It has piers. ".repeat(100)}`
        const { finishReason, reasoningText, text, usage } = yield* LanguageModel.generateText({ prompt })
        assert.isNotEmpty(text)
        assert.isNotEmpty(reasoningText)
        assert.strictEqual(finishReason, "stop")
        const { inputTokens, outputTokens } = usage
        assert.strictEqual((inputTokens.cacheRead ?? 0) + (inputTokens.uncached ?? 0), inputTokens.total)
        if (round === 1) assert.isAbove(inputTokens.cacheRead ?? 0, 0)
        assert.isAbove(outputTokens.reasoning ?? 0, 0)
        assert.strictEqual((outputTokens.reasoning ?? 0) + (outputTokens.text ?? 0), outputTokens.total)
      }
    }).pipe(Effect.provide(Layer.provideMerge(flash, client()))))

  it.effect("streams the same in parts that begin and end", () =>
    Effect.gen(function*() {
      const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "What is a harbour?" }))
      const types = parts.map(({ type }) => type).filter((type, index, all) => type !== all[index - 1])
      assert.deepStrictEqual(types, [
        "response-metadata",
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "text-start",
        "text-delta",
        "text-end",
        "finish"
      ])
      const { text } = yield* LanguageModel.generateText({ prompt: "What is a harbour?" })
      assert.strictEqual(parts.map((part) => part.type === "text-delta" ? part.delta : "").join(""), text)
    }).pipe(Effect.provide(Layer.provideMerge(flash, client()))))

  it.effect("generates objects, also of classes and of what JSON has no form for", () =>
    Effect.gen(function*() {
      class Ship extends Schema.Class<Ship>("Ship")({ name: Schema.String, length: Schema.Finite }) {}
      for (const name of models) {
        for (const config of [{}, { thinking: { type: "disabled" } } as const]) {
          const { value } = yield* LanguageModel.generateObject({ prompt: "A ship", schema: Ship }).pipe(
            Effect.provide(DeepSeekLanguageModel.model(name, config))
          )
          assert.instanceOf(value, Ship)
        }
      }
    }).pipe(Effect.provide(client())))

  it.effect("decodes what JSON has no form for", () =>
    Effect.gen(function*() {
      const { value } = yield* LanguageModel.generateObject({
        prompt: "When?",
        schema: Schema.Struct({ at: Schema.Date })
      })
      assert.strictEqual(value.at.getTime(), 0)
    }).pipe(Effect.provide(saying({ content: "{\"at\":\"1970-01-01T00:00:00.000Z\"}" }).layer)))

  it.effect("tells why there is no object", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        LanguageModel.generateObject({ prompt: "A number", schema: Schema.Struct({ n: Schema.Int }) })
      )
      assert.strictEqual(error.reason._tag, "StructuredOutputError")
      assert.include(error.message, "at n: Expected number, got \"x\"")
    }).pipe(Effect.provide(saying({ content: "{\"n\":\"x\"}" }).layer)))

  it.effect("runs tools, whole and streamed", () =>
    Effect.gen(function*() {
      const options = { prompt: "Ask weather and harbour", toolkit: Tools }
      const { toolCalls, toolResults } = yield* LanguageModel.generateText(options)
      assert.deepStrictEqual(toolCalls.map(({ name }) => name), ["weather", "harbour"])
      assert.deepStrictEqual(toolResults[0]?.result, { degrees: 18 })
      const parts = yield* Stream.runCollect(LanguageModel.streamText(options))
      const counts = (type: string) => parts.filter((part) => part.type === type).length
      assert.deepStrictEqual(
        ["tool-params-start", "tool-params-end", "tool-call", "tool-result"].map(counts),
        [2, 2, 2, 2]
      )
    }).pipe(Effect.provide([Layer.provideMerge(flash, client()), ToolsLayer])))

  it.effect("does not think where a tool must be called, since the service refuses both", () =>
    Effect.gen(function*() {
      for (const toolChoice of ["required", { tool: "weather" }, { mode: "required", oneOf: ["harbour"] }] as const) {
        const { reasoningText, toolCalls } = yield* LanguageModel.generateText({
          prompt: "Hm",
          toolkit: Tools,
          toolChoice
        })
        assert.isAbove(toolCalls.length, 0)
        assert.isUndefined(reasoningText)
      }
    }).pipe(Effect.provide([Layer.provideMerge(flash, client()), ToolsLayer])))

  it.effect("gives arguments that are wrong to the toolkit, and goes back to the model with its words", () =>
    Effect.gen(function*() {
      for (const given of ["{\"city\":", "{\"city\":3}"]) {
        const { asked, layer } = saying(calls("harbour", given), { content: "Sorry." })
        const chat = yield* Chat.empty
        yield* Effect.provide(chat.generateText({ prompt: "Bremen?", toolkit: Tools }), layer)
        yield* Effect.provide(chat.generateText({ prompt: [], toolkit: Tools }), layer)
        const [assistant, result] = asked[1]!.messages.slice(-2)
        assert.deepInclude(assistant, calls("harbour", given))
        assert.match(JSON.stringify(result), /"role":"tool".*ToolParameterValidationError/)
      }
    }).pipe(Effect.provide(ToolsLayer)))

  it.effect("fails with wrong arguments where the tool says so", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(LanguageModel.generateText({ prompt: "Bremen?", toolkit: Tools }))
      assert.strictEqual(error.reason._tag, "ToolParameterValidationError")
    }).pipe(Effect.provide([saying(calls("weather", "no JSON")).layer, ToolsLayer])))

  for (const name of models) {
    it.effect(`keeps a conversation of 20 rounds with tools and thinking valid: ${name}`, () =>
      Effect.gen(function*() {
        const chat = yield* Chat.empty
        for (let round = 0; round < 20; round++) {
          const { toolCalls } = yield* chat.generateText({ prompt: `Ask weather, round ${round}`, toolkit: Tools })
          assert.strictEqual(toolCalls.length, 1)
          const { reasoningText, text } = yield* chat.generateText({ prompt: [], toolkit: Tools })
          assert.isNotEmpty(text)
          assert.isNotEmpty(reasoningText)
        }
        const history = yield* Ref.get(chat.history)
        const turns = history.content.filter(({ role }) => role === "assistant")
        assert.strictEqual(turns.length, 40)
        assert.isTrue(turns.every(({ content }) => JSON.stringify(content).includes("\"reasoning\"")))
        const { statuses } = yield* (yield* Simulator.Simulator).inspect
        assert.deepStrictEqual(statuses, { 200: 40 })
      }).pipe(
        Effect.provide([
          Layer.provideMerge(DeepSeekLanguageModel.model(name), client({ replayCheck: "documented" })),
          ToolsLayer
        ])
      ))
  }

  it.effect("sends prompts as the chat has them", () =>
    Effect.gen(function*() {
      const { asked, layer } = saying({ content: "Aye." })
      const prompt = Prompt.make([
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "Look" },
            { type: "file", mediaType: "image/png", data: new Uint8Array([1, 2]) },
            { type: "file", mediaType: "image/jpeg", data: new URL("https://example.com/a.jpg") }
          ]
        },
        {
          role: "assistant",
          content: [
            { type: "reasoning", text: "Hm." },
            { type: "tool-call", id: "c1", name: "weather", params: { city: "Bremen" }, providerExecuted: false }
          ]
        },
        {
          role: "tool",
          content: [{
            type: "tool-result",
            id: "c1",
            name: "weather",
            isFailure: false,
            result: { degrees: 18 },
            providerExecuted: false
          }]
        }
      ])
      yield* Effect.provide(LanguageModel.generateText({ prompt }), layer)
      assert.deepStrictEqual<unknown>(asked[0]!.messages, [
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "Look" },
            { type: "image_url", image_url: { url: "data:image/png;base64,AQI=" } },
            { type: "image_url", image_url: { url: "https://example.com/a.jpg" } }
          ]
        },
        {
          role: "assistant",
          content: null,
          reasoning_content: "Hm.",
          tool_calls: [{
            id: "c1",
            type: "function",
            function: { name: "weather", arguments: "{\"city\":\"Bremen\"}" }
          }]
        },
        { role: "tool", tool_call_id: "c1", content: "{\"degrees\":18}" }
      ])
    }))

  it.effect("takes fields of the model, and those of a call over them", () =>
    Effect.gen(function*() {
      const asked: Array<ChatRequest.ChatRequest> = []
      const model: ChatModel.ChatModel<never> = {
        complete: (request) =>
          Effect.sync((): ChatCompletion.ChatCompletion => {
            asked.push(request)
            return { choices: [{ message: { role: "assistant", content: "x" } }] }
          }),
        stream: () => Stream.empty
      }
      yield* LanguageModel.generateText({ prompt: "x" }).pipe(
        Effect.provideService(DeepSeekLanguageModel.CurrentConfig, { max_tokens: 20 }),
        Effect.provide(
          DeepSeekLanguageModel.layerModel(model, { model: "m", config: { max_tokens: 10, temperature: 0 } })
        )
      )
      assert.deepStrictEqual<unknown>(asked, [
        { model: "m", max_tokens: 20, temperature: 0, messages: [{ role: "user", content: "x" }] }
      ])
    }))

  it.effect("can be one of a plan's models, with its name", () =>
    Effect.gen(function*() {
      const plan = ExecutionPlan.make({ provide: DeepSeekLanguageModel.model("no-such-model") }, { provide: flash })
      const [provider, name] = yield* Effect.gen(function*() {
        yield* LanguageModel.generateText({ prompt: "Hello" })
        return [yield* Model.ProviderName, yield* Model.ModelName]
      }).pipe(Effect.withExecutionPlan(plan))
      assert.deepStrictEqual([provider, name], ["deepseek", "deepseek-flash"])
    }).pipe(Effect.provide(client())))

  describe("errors", () => {
    const told = { status: 400, detail: "told", traceId: "t" }
    const client = (reason: ChatError.ClientError["reason"]) => new ChatError.ClientError({ reason })
    const server = (reason: ChatError.ServerError["reason"]) => new ChatError.ServerError({ reason })
    const transport = (reason: ChatError.TransportError["reason"]) => new ChatError.TransportError({ reason })
    const protocol = (reason: ChatError.ProtocolError["reason"]) => new ChatError.ProtocolError({ reason })

    it.effect.each(
      [
        ["InvalidRequestError", client(new ChatError.InvalidRequest({ ...told, path: "stop" }))],
        ["InvalidRequestError", client(new ChatError.UnknownModel({ ...told, supported: [] }))],
        ["InvalidRequestError", client(new ChatError.ContextLengthExceeded(told))],
        ["InvalidRequestError", client(new ChatError.NotFound(told))],
        ["ContentPolicyError", client(new ChatError.ContentRejected(told))],
        ["AuthenticationError", client(new ChatError.Unauthorized(told))],
        ["QuotaExhaustedError", client(new ChatError.InsufficientBalance(told))],
        ["RateLimitError", client(new ChatError.RateLimited(told))],
        ["RateLimitError", client(new ChatError.ConcurrencyExceeded({ ...told, lowBalance: false }))],
        ["InternalProviderError", client(new ChatError.TemporarilyRefused(told))],
        ["InternalProviderError", server(new ChatError.InternalError(told))],
        ["InternalProviderError", server(new ChatError.Overloaded(told))],
        ["InternalProviderError", server(new ChatError.GatewayError(told))],
        ["NetworkError", transport(new ChatError.ConnectFailed({ detail: "x" }))],
        ["NetworkError", transport(new ChatError.ConnectionLost({ detail: "x" }))],
        ["NetworkError", transport(new ChatError.DeadlineExceeded({ deadline: "idle", limit: Duration.seconds(1) }))],
        ["InvalidOutputError", protocol(new ChatError.MalformedBody({ detail: "x", excerpt: "" }))],
        ["InvalidResponseError", protocol(new ChatError.MalformedBody({ detail: "x", excerpt: "", lasting: true }))],
        ["InvalidOutputError", protocol(new ChatError.EmptyCompletion({}))],
        ["InvalidOutputError", protocol(new ChatError.LeakedToolCall())],
        ["InternalProviderError", { _tag: "CircuitOpen" }],
        ["RateLimitError", { _tag: "RateLimitExceeded", retryAfter: Duration.seconds(2) }],
        ["UnknownError", { _tag: "Odd" }]
      ] as const
    )("%s", ([tag, error]) =>
      Effect.gen(function*() {
        const whole = yield* Effect.flip(LanguageModel.generateText({ prompt: "x" }))
        const streamed = yield* Effect.flip(Stream.runDrain(LanguageModel.streamText({ prompt: "x" })))
        assert.deepStrictEqual([whole.reason._tag, streamed.reason._tag], [tag, tag])
        // What may be tried again here, may be so there.
        if (ChatError.isChatError(error)) {
          assert.strictEqual(whole.isRetryable, ChatError.judge(error.reason).retry)
        }
      }).pipe(Effect.provide(failing(error))))

    it.effect("keep when to come back", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(LanguageModel.generateText({ prompt: "x" }))
        assert.deepInclude(error.reason, { retryAfter: Duration.seconds(7) })
      }).pipe(
        Effect.provide(failing(client(new ChatError.RateLimited({ ...told, retryAfter: Duration.seconds(7) }))))
      ))
  })

  it.live("works over the service with its policies", () =>
    Effect.gen(function*() {
      const { text } = yield* Effect.provide(LanguageModel.generateText({ prompt: "x" }), flash)
      assert.isNotEmpty(text)
      assert.strictEqual((yield* (yield* Simulator.Simulator).inspect).requests, 2)
    }).pipe(Effect.provide(client({ plan: [{ nth: 1, fault: { empty: true } }] }, { retry: { times: 1, base: 1 } }))))
})
