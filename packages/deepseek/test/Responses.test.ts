import { type ChatModel, Completions, Responses, ResponsesChat } from "@ballast/chat"
import { type DeepSeek, Provider } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { bare, on, reasonOf } from "./support/client.ts"
import * as Scripted from "./support/scripted.ts"

const { deepSeek } = Provider
const chatOnly = Provider.make({ name: "chat-only", baseUrl: deepSeek.baseUrl })

const simulated = (options: Partial<DeepSeek.Options> = {}) =>
  on(Simulator.layerHttpClient({ latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity }), { ...bare, ...options })

const tools = [{
  type: "function",
  name: "get_weather",
  description: "Weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
}] as const

const request = { model: "deepseek-flash", input: "What is the weather in Paris?", tools } satisfies Responses.Request

const decode = Schema.decodeUnknownSync(Responses.Answer)

const last = <E>(model: ChatModel.ChatModel<E>, request: Responses.Request) =>
  Effect.map(Stream.runCollect(ResponsesChat.stream(model, request)), (events) => {
    assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, index) => index))
    const event = events.at(-1)!
    assert.strictEqual(event.type, "response.completed")
    return (event as { readonly response: Responses.Answer }).response
  })

/** What an answer says, without its ids. */
const said = ({ output }: Responses.Answer) =>
  output.map((item) => "content" in item ? item.content?.[0]?.text : "arguments" in item ? item.arguments : item)

for (const provider of [deepSeek, chatOnly]) {
  describe(`Responses of ${provider.name}`, () => {
    it.effect("say the same whole and streamed, and are what the schema says", () =>
      Effect.gen(function*() {
        const model = yield* simulated({ provider })
        const whole = yield* ResponsesChat.create(model, request)
        assert.deepStrictEqual(decode(whole).output.map(({ type }) => type), ["reasoning", "function_call"])
        assert.isAbove(whole.usage!.output_tokens_details!.reasoning_tokens!, 0)
        assert.deepStrictEqual(said(decode(yield* last(model, request))), said(whole))
      }))

    it.effect("go on for 20 turns of calls, however the client carries the thinking", () =>
      Effect.gen(function*() {
        const model = yield* simulated({ provider })
        const input: Array<Responses.InputItem> = [{ role: "user", content: request.input }]
        for (let turn = 0; turn < 20; turn++) {
          const asked = { ...request, input, include: ["reasoning.encrypted_content"] }
          const { output } = turn % 2 === 0 ? yield* ResponsesChat.create(model, asked) : yield* last(model, asked)
          for (const item of output) {
            // A client such as Codex sends what it can't read, and not the text.
            input.push(item.type === "reasoning" ? { ...item, content: null } : item)
            if (item.type === "function_call") {
              input.push({ type: "function_call_output", call_id: item.call_id, output: "18 °C" })
            }
          }
          input.push({ role: "user", content: `And the weather on day ${turn}?` })
        }
        assert.isAbove(input.length, 60)
      }))

    it.effect("satisfy a schema", () =>
      Effect.gen(function*() {
        const model = yield* simulated({ provider })
        const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
        const { output } = yield* ResponsesChat.create(model, {
          model: request.model,
          input: "Which city is the capital of France?",
          text: { format: { type: "json_schema", name: "place", schema } }
        })
        const text = output.flatMap((item) => item.type === "message" ? item.content.map(({ text }) => text) : []).join(
          ""
        )
        assert.property(JSON.parse(text), "city")
      }))

    it.effect("call apply_patch with plain text", () =>
      Effect.gen(function*() {
        const model = yield* simulated({ provider })
        const asked = {
          ...request,
          input: "Apply patch to a.txt",
          tools: [{ type: "custom", name: "apply_patch" }]
        } as const
        for (const { output } of [yield* ResponsesChat.create(model, asked), yield* last(model, asked)]) {
          const call = output.at(-1)
          assert.isTrue(call?.type === "custom_tool_call" && call.input !== "" && !call.input.startsWith("{"))
        }
      }))
  })
}

describe("Responses", () => {
  const lost = [
    { role: "user", content: "Hi" },
    { type: "reasoning", summary: [], encrypted_content: null },
    { type: "function_call", call_id: "a", name: "get_weather", arguments: "{}" },
    { type: "function_call_output", call_id: "a", output: "18 °C" },
    { type: "message", role: "assistant", content: "18 °C" },
    { role: "user", content: "Thanks" }
  ] as const

  it.effect("go on where a client has lost the thinking", () =>
    Effect.gen(function*() {
      const model = yield* simulated()
      assert.strictEqual((yield* ResponsesChat.create(model, { ...request, input: lost })).status, "completed")
    }))

  it.effect("tell what the service refuses, in its words", () =>
    Effect.gen(function*() {
      const model = yield* simulated({ provider: { ...deepSeek, rules: "none" } })
      const reason = yield* reasonOf(ResponsesChat.create(model, { ...request, input: lost }))
      assert.deepInclude(reason, { class: "ClientError", _tag: "InvalidRequest", status: 400 })
      assert.match(reason.detail, /`reasoning_text` in the thinking mode must be passed back/)
    }))

  it.effect("are refused before they are sent where the service would refuse them", () =>
    Effect.gen(function*() {
      const script = Scripted.make({ body: ["{}"] })
      const model = yield* on(script.layer)
      const wrong: ReadonlyArray<readonly [Partial<Responses.Request>, string]> = [
        [{ tools: [...tools, { type: "custom", name: "other" }] }, "tools[1]"],
        [{ top_logprobs: 21 }, "top_logprobs"],
        [{ temperature: 3 }, "temperature"]
      ]
      for (const [change, path] of wrong) {
        assert.deepInclude(yield* reasonOf(ResponsesChat.create(model, { ...request, ...change })), {
          path,
          status: 400
        })
      }
      assert.lengthOf(script.seen, 0)
    }))

  it.effect("that fail on their way are typed errors", () =>
    Effect.gen(function*() {
      const failed = { type: "response.failed", response: { error: { code: "server_error", message: "out of luck" } } }
      const cut = { type: "response.output_text.delta", delta: "a" }
      const script = Scripted.make(
        { body: [`data: ${JSON.stringify(failed)}\n\n`] },
        { body: [`data: ${JSON.stringify(cut)}\n\n`] }
      )
      const model = yield* on(script.layer)
      const run = Stream.runDrain(ResponsesChat.stream(model, request))
      assert.deepInclude(yield* reasonOf(run), { class: "ServerError", _tag: "InternalError", detail: "out of luck" })
      assert.deepInclude(yield* reasonOf(run), { class: "ProtocolError", _tag: "StreamTruncated" })
      assert.deepStrictEqual(script.seen.map(({ url }) => new URL(url).pathname), ["/responses", "/responses"])
    }))
})

describe("Completions", () => {
  const request = {
    model: "deepseek-flash",
    prompt: "def add(a, b):\n",
    suffix: "\n",
    logprobs: 1
  } satisfies Completions.Request

  it.effect("fill in the middle, whole and streamed", () =>
    Effect.gen(function*() {
      const model = yield* simulated()
      const whole = yield* Completions.create(model, request)
      assert.strictEqual(whole.choices[0]?.finish_reason, "stop")
      assert.strictEqual(whole.choices[0]?.logprobs?.tokens?.join(""), whole.choices[0]?.text)
      const chunks = yield* Stream.runCollect(Completions.stream(model, request))
      assert.strictEqual(chunks.map(({ choices }) => choices[0]?.text ?? "").join(""), whole.choices[0]?.text)
      assert.strictEqual(chunks.at(-1)?.usage?.total_tokens, whole.usage?.total_tokens)
      assert.deepStrictEqual(Schema.decodeUnknownSync(Completions.Completion)(whole).object, "text_completion")
    }))

  it.effect("fail where a host has none, and send nothing", () =>
    Effect.gen(function*() {
      const script = Scripted.make({ body: ["{}"] })
      const model = yield* on(script.layer, { ...bare, provider: chatOnly })
      assert.deepInclude(yield* reasonOf(Completions.create(model, request)), {
        class: "ClientError",
        _tag: "NotFound"
      })
      assert.lengthOf(script.seen, 0)
    }))

  it.effect("are refused before they are sent where the service would refuse them", () =>
    Effect.gen(function*() {
      const script = Scripted.make({ body: ["{}"] })
      const model = yield* on(script.layer)
      const wrong: ReadonlyArray<readonly [Partial<Completions.Request>, string]> = [
        [{ echo: true }, "echo"],
        [{ echo: true, suffix: null }, "echo"],
        [{ logprobs: 21 }, "logprobs"],
        [{ stop: Array.from({ length: 17 }, () => "x") }, "stop"]
      ]
      for (const [change, path] of wrong) {
        assert.deepInclude(yield* reasonOf(Completions.create(model, { ...request, ...change })), { path, status: 400 })
      }
      assert.lengthOf(script.seen, 0)
    }))

  it.effect("tell what the service refuses", () =>
    Effect.gen(function*() {
      const model = yield* simulated({ provider: { ...deepSeek, rules: "none" } })
      const reason = yield* reasonOf(Completions.create(model, { ...request, echo: true }))
      assert.deepInclude(reason, { class: "ClientError", _tag: "InvalidRequest" })
      assert.match(reason.detail, /echo/)
    }))
})
