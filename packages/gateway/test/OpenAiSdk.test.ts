import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import OpenAI from "openai"
import { eventually, hello, layer as gateway, Running } from "./harness.ts"

const messages = [{ role: "user" as const, content: "What is the weather in Paris?" }]
const model = "deepseek-flash"

const tools = [{
  type: "function" as const,
  function: {
    name: "weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
  }
}]

const client = Effect.map(
  Running,
  ({ url }) => new OpenAI({ apiKey: "key-of-alice", baseURL: `${url}/v1`, maxRetries: 0 })
)

/** The error that a promise of the SDK rejects with. */
const failure = (run: () => Promise<unknown>) =>
  Effect.promise(() =>
    run().then(
      () => assert.fail("expected a failure"),
      (error: unknown) => {
        assert.instanceOf(error, OpenAI.APIError)
        return error
      }
    )
  )

describe("the OpenAI SDK", () => {
  layer(gateway({ clientKeys: ["key-of-alice"] }), { excludeTestServices: true })((it) => {
    it.effect("chats", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const completion = yield* Effect.promise(() => openai.chat.completions.create({ model, messages }))
        assert.isNotEmpty(completion.choices[0]?.message.content)
        assert.strictEqual(completion.choices[0]?.finish_reason, "stop")
        assert.isAbove(completion.usage!.total_tokens, 0)
      }))

    it.effect.each([model, "deepseek-v4-pro"])(
      "goes on for 20 rounds with tools, though it drops the thinking: %s",
      (model) =>
        Effect.gen(function*() {
          const openai = yield* client
          const history: Array<OpenAI.ChatCompletionMessageParam> = [...messages]
          for (let round = 0; round < 20; round++) {
            const calls = { headers: { "x-simulate": "calls=1" } }
            const completion = yield* Effect.promise(() =>
              openai.chat.completions.create({ model, messages: history, tools, reasoning_effort: "medium" }, calls)
            )
            const { content, tool_calls = [] } = completion.choices[0]!.message
            history.push({ role: "assistant", content, tool_calls })
            for (const { id } of tool_calls) history.push({ role: "tool", tool_call_id: id, content: "18 °C" })
          }
          assert.strictEqual(history.length, 41)
        })
    )

    it.effect("embeds texts, in the encoding that it asks for", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const ask = (more: { readonly encoding_format?: "float" }) =>
          Effect.promise(() =>
            openai.embeddings.create({ model: "vectors", input: ["a ship", "three apples"], ...more })
          )
        // The SDK asks for base64 by itself.
        const { data, usage } = yield* ask({})
        const plain = yield* ask({ encoding_format: "float" })
        assert.deepStrictEqual(data.map(({ embedding }) => embedding), plain.data.map(({ embedding }) => embedding))
        assert.isAbove(usage.prompt_tokens, 0)
        const error = yield* failure(() => openai.embeddings.create({ model: "vectors", input: [] }))
        assert.deepInclude(error, { status: 400, code: "invalid_request", param: "input" })
      }))

    it.effect("streams the same answer", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const stream = openai.chat.completions.stream({ model, messages, stream_options: { include_usage: true } })
        const completion = yield* Effect.promise(() => stream.finalChatCompletion())
        const whole = yield* Effect.promise(() => openai.chat.completions.create({ model, messages }))
        assert.strictEqual(completion.choices[0]?.message.content, whole.choices[0]?.message.content)
        assert.isAbove(completion.usage!.completion_tokens, 0)
      }))

    it.effect("thinks, and shows the thoughts", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const completion = yield* Effect.promise(() => openai.chat.completions.create({ model, messages }))
        // A field of DeepSeek's that the SDK does not know.
        assert.isNotEmpty(Reflect.get(completion.choices[0]!.message, "reasoning_content"))
        const plain = { model, messages, thinking: { type: "disabled" } }
        const silent = yield* Effect.promise(() => openai.chat.completions.create(plain))
        assert.isUndefined(Reflect.get(silent.choices[0]!.message, "reasoning_content"))
      }))

    it.effect("calls a tool and goes on with its result", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const first = yield* Effect.promise(() => openai.chat.completions.create({ model, messages, tools }))
        const asked = first.choices[0]!
        assert.strictEqual(asked.finish_reason, "tool_calls")
        const call = asked.message.tool_calls![0]!
        assert.strictEqual(call.type === "function" && call.function.name, "weather")
        const second = yield* Effect.promise(() =>
          openai.chat.completions.create({
            model,
            tools,
            messages: [...messages, asked.message, { role: "tool", tool_call_id: call.id, content: "18 °C, sunny" }]
          })
        )
        assert.strictEqual(second.choices[0]?.finish_reason, "stop")
        assert.isNotEmpty(second.choices[0]?.message.content)
      }))

    it.effect("streams a tool call", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const stream = openai.chat.completions.stream({ model, messages, tools })
        const completion = yield* Effect.promise(() => stream.finalChatCompletion())
        const call = completion.choices[0]!.message.tool_calls![0]!
        assert.isObject(JSON.parse(call.type === "function" ? call.function.arguments : ""))
      }))

    it.effect("answers in JSON mode", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const completion = yield* Effect.promise(() =>
          openai.chat.completions.create({
            model,
            messages: [{ role: "user", content: "Answer in json." }],
            response_format: { type: "json_object" }
          })
        )
        assert.isObject(JSON.parse(completion.choices[0]!.message.content!))
      }))

    it.effect("lists the models", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const models = yield* Effect.promise(() => openai.models.list())
        assert.include(models.data.map(({ id }) => id), model)
      }))

    it.effect("throws BadRequestError for a model that there is not", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const error = yield* failure(() => openai.chat.completions.create({ model: "gpt-4", messages }))
        assert.instanceOf(error, OpenAI.BadRequestError)
        assert.strictEqual(error.code, "model_not_found")
        assert.include(error.message, "deepseek-v4-pro")
        assert.isString(error.requestID)
      }))

    it.effect("throws AuthenticationError for a wrong client key", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const stranger = new OpenAI({ apiKey: "key-of-eve", baseURL: `${url}/v1`, maxRetries: 0 })
        const error = yield* failure(() => stranger.models.list())
        assert.instanceOf(error, OpenAI.AuthenticationError)
      }))

    it.effect("throws InternalServerError for an overloaded service, and RateLimitError for a limit", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const fail = (fault: string) =>
          failure(() => openai.chat.completions.create({ model, messages }, { headers: { "x-simulate": fault } }))
        const overloaded = yield* fail("status=503")
        assert.instanceOf(overloaded, OpenAI.InternalServerError)
        assert.strictEqual(overloaded.status, 503)
        assert.instanceOf(yield* fail("status=429"), OpenAI.RateLimitError)
      }))

    it.effect("throws APIError for an error inside a stream", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const error = yield* failure(async () => {
          const options = { headers: { "x-simulate": "cut=4" } }
          const stream = await openai.chat.completions.create({ model, messages, stream: true }, options)
          let chunks = 0
          for await (const _ of stream) chunks++
          assert.isAbove(chunks, 0)
        })
        assert.strictEqual(error.code, "upstream_truncated")
      }))

    it.effect("tries again by itself where that helps, not where it is pointless", () =>
      Effect.gen(function*() {
        const { inspect, url } = yield* Running
        const openai = new OpenAI({ apiKey: "key-of-alice", baseURL: `${url}/v1`, maxRetries: 1 })
        const requests = Effect.map(inspect, ({ requests }) => requests)
        const ask = (fault: string) =>
          failure(() => openai.chat.completions.create({ model, messages }, { headers: { "x-simulate": fault } }))
        const before = yield* requests
        yield* ask("status=401")
        assert.strictEqual(yield* requests, before + 1)
      }))
  })

  layer(gateway({ clientKeys: ["key-of-alice"], retry: { times: 5, base: "1ms" } }), {
    excludeTestServices: true
  })(
    "at its defaults",
    (it) => {
      it.effect.each([[false, "status=503"], [true, "status=503"], [false, "status=429"], [true, "cut=0"]] as const)(
        "does not multiply the gateway's tries; stream %s, %s",
        ([stream, fault]) =>
          Effect.gen(function*() {
            const { inspect, url } = yield* Running
            const openai = new OpenAI({ apiKey: "key-of-alice", baseURL: `${url}/v1` })
            assert.strictEqual(openai.maxRetries, 2)
            const requests = Effect.map(inspect, ({ requests }) => requests)
            const before = yield* requests
            yield* failure(() =>
              openai.chat.completions.create({ model, messages, stream }, { headers: { "x-simulate": fault } })
            )
            assert.strictEqual(yield* requests, before + 6)
          })
      )
    }
  )

  layer(gateway({ clientKeys: ["key-of-alice"], simulator: { tokensPerSecond: 5 } }), { excludeTestServices: true })(
    "and a slow answer",
    (it) => {
      it.effect("abort: the call upstream ends", () =>
        Effect.gen(function*() {
          const { inspect } = yield* Running
          const openai = yield* client
          const inFlight = Effect.map(inspect, ({ inFlight }) => inFlight)
          const stream = yield* Effect.promise(() =>
            openai.chat.completions.create({ ...hello, messages, stream: true })
          )
          assert.strictEqual(yield* inFlight, 1)
          stream.controller.abort()
          yield* eventually(Effect.map(inFlight, (count) => count === 0))
        }))
    }
  )

  layer(gateway({ clientKeys: ["key-of-alice"], kind: "deepseek" }), { excludeTestServices: true })(
    "in front of DeepSeek alone",
    (it) => {
      it.effect("finds no embeddings", () =>
        Effect.gen(function*() {
          const openai = yield* client
          const error = yield* failure(() => openai.embeddings.create({ model: "vectors", input: "x" }))
          assert.deepInclude(error, { status: 404, code: "upstream_not_found" })
        }))
    }
  )
})
