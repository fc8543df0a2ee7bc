import Anthropic from "@anthropic-ai/sdk"
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { layer as gateway, type Options, post, Running } from "./harness.ts"

const messages = [{ role: "user" as const, content: "What is the weather in Paris?" }]
const asked = { model: "claude-sonnet-5", max_tokens: 2_000, messages }

const tools: Array<Anthropic.Tool> = [{
  type: "custom",
  name: "weather",
  description: "The weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
}]

const client = Effect.map(
  Running,
  ({ url }) => new Anthropic({ apiKey: "key-of-alice", authToken: null, baseURL: url, maxRetries: 0 })
)

/** The error that a promise of the SDK rejects with. */
const failure = (run: () => Promise<unknown>) =>
  Effect.promise(() =>
    run().then(
      () => assert.fail("expected a failure"),
      (error: unknown) => {
        assert.instanceOf(error, Anthropic.APIError)
        return error
      }
    )
  )

const clientKeys = ["key-of-alice"]

/** A host that speaks chat alone, and tries faults. */
const chatOnly: Options = {
  clientKeys,
  settings: {
    providers: {
      local: { type: "openai", baseUrl: "https://api.deepseek.com", accounts: { default: { keys: ["sk-test"] } } }
    },
    simulator: { forward: true }
  }
}

const upstreams: ReadonlyArray<readonly [name: string, options: Options, isNative: boolean]> = [
  ["that speaks Messages", { clientKeys }, true],
  ["that speaks chat alone", chatOnly, false]
]

describe("the Anthropic SDK", () => {
  for (const [name, options, isNative] of upstreams) {
    describe(`and a service ${name}`, () => {
      layer(gateway(options), { excludeTestServices: true })((it) => {
        it.effect("asks, with thoughts", () =>
          Effect.gen(function*() {
            const anthropic = yield* client
            const answer = yield* Effect.promise(() => anthropic.messages.create(asked))
            assert.deepStrictEqual(answer.content.map(({ type }) => type), ["thinking", "text"])
            assert.strictEqual(answer.stop_reason, "end_turn")
            assert.strictEqual(answer.model, "deepseek-flash")
            assert.isAbove(answer.usage.input_tokens, 0)
            assert.isAbove(answer.usage.output_tokens, 0)
            assert.isString(answer._request_id)
            // Only a native answer has a signature here.
            const [thinking] = answer.content
            assert.strictEqual(thinking?.type === "thinking" && thinking.signature !== "", isNative)
          }))

        it.effect("streams the same answer", () =>
          Effect.gen(function*() {
            const anthropic = yield* client
            const streamed = yield* Effect.promise(() => anthropic.messages.stream(asked).finalMessage())
            const whole = yield* Effect.promise(() => anthropic.messages.create(asked))
            assert.deepStrictEqual(
              streamed.content.map((block) => ({ ...block, signature: undefined })),
              whole.content.map((block) => ({ ...block, signature: undefined }))
            )
            assert.strictEqual(streamed.stop_reason, "end_turn")
            const start = yield* Effect.promise(async () => {
              for await (const event of anthropic.messages.stream(asked)) return event
              return undefined
            })
            assert.isAbove(start?.type === "message_start" ? start.message.usage.input_tokens : 0, 0)
            const { cache_read_input_tokens, input_tokens, output_tokens } = streamed.usage
            assert.strictEqual(
              (cache_read_input_tokens ?? 0) + input_tokens,
              (whole.usage.cache_read_input_tokens ?? 0) + whole.usage.input_tokens
            )
            assert.strictEqual(output_tokens, whole.usage.output_tokens)
          }))

        it.effect("takes a model of Anthropic's for DeepSeek's, and thinks only if it shall", () =>
          Effect.gen(function*() {
            const anthropic = yield* client
            const answer = yield* Effect.promise(() =>
              anthropic.messages.create({ ...asked, model: "claude-opus-5", thinking: { type: "disabled" } })
            )
            assert.strictEqual(answer.model, "deepseek-v4-pro")
            assert.deepStrictEqual(answer.content.map(({ type }) => type), ["text"])
          }))

        for (const model of ["deepseek-flash", "deepseek-v4-pro"]) {
          it.effect(`goes through twenty turns with tools on ${model}, thoughts sent back`, () =>
            Effect.gen(function*() {
              const anthropic = yield* client
              const history: Array<Anthropic.MessageParam> = [...messages]
              for (let turn = 0; turn < 20; turn++) {
                const answer = yield* Effect.promise(() =>
                  turn % 2 === 0
                    ? anthropic.messages.create({ ...asked, model, messages: history, tools })
                    : anthropic.messages.stream({ ...asked, model, messages: history, tools }).finalMessage()
                )
                assert.strictEqual(answer.model, model)
                history.push({ role: "assistant", content: answer.content as Array<Anthropic.ContentBlockParam> })
                const calls = answer.content.filter((block) => block.type === "tool_use")
                if (calls.length === 0) {
                  history.push({ role: "user", content: "What is the weather in Rome?" })
                  continue
                }
                assert.strictEqual(answer.stop_reason, "tool_use")
                assert.strictEqual(calls[0]?.name, "weather")
                assert.property(calls[0]?.input, "city")
                history.push({
                  role: "user",
                  content: calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "18 °C, sunny" }))
                })
              }
              assert.isAbove(history.length, 30)
            }))
        }

        it.effect("forces a tool", () =>
          Effect.gen(function*() {
            const anthropic = yield* client
            const answer = yield* Effect.promise(() =>
              anthropic.messages.create({
                ...asked,
                tools,
                tool_choice: { type: "tool", name: "weather" },
                thinking: { type: "disabled" }
              })
            )
            assert.strictEqual(answer.stop_reason, "tool_use")
          }))

        it.effect("counts tokens", () =>
          Effect.gen(function*() {
            const anthropic = yield* client
            const { input_tokens } = yield* Effect.promise(() =>
              anthropic.messages.countTokens({ model: "claude-haiku-5", messages, tools })
            )
            assert.isAbove(input_tokens, 100)
          }))

        it.effect("throws the error of each status", () =>
          Effect.gen(function*() {
            const anthropic = yield* client
            const fail = (fault: string, model = "deepseek-flash") =>
              failure(() => anthropic.messages.create({ ...asked, model }, { headers: { "x-simulate": fault } }))
            const cases = [
              ["status=503", 503, "overloaded_error"],
              ["status=429", 429, "rate_limit_error"],
              ["status=402", 402, "billing_error"],
              ["status=500", 502, "api_error"]
            ] as const
            for (const [fault, status, type] of cases) {
              const error = yield* fail(fault)
              assert.strictEqual(error.status, status)
              assert.strictEqual(error.type, type)
            }
            const unknown = yield* failure(() => anthropic.messages.create({ ...asked, model: "gpt-5" }))
            assert.instanceOf(unknown, Anthropic.BadRequestError)
            assert.include(unknown.message, "deepseek-v4-pro")
            assert.isString(unknown.requestID)
          }))

        it.effect("throws the error of a stream that breaks off", () =>
          Effect.gen(function*() {
            const anthropic = yield* client
            for (const [fault, message] of [["end=5", "ended before"], ["finish=aborted", "too busy"]] as const) {
              const error = yield* failure(() =>
                anthropic.messages.stream(asked, { headers: { "x-simulate": fault } }).finalMessage()
              )
              assert.include(error.message, message)
            }
          }))
      })
    })
  }

  layer(gateway({ clientKeys }), { excludeTestServices: true })((it) => {
    it.effect("lists the models", () =>
      Effect.gen(function*() {
        const anthropic = yield* client
        const { data } = yield* Effect.promise(() => anthropic.models.list())
        assert.include(data.map(({ id }) => id), "deepseek-v4-pro")
      }))

    it.effect("is told what is wrong with a body, and that a key is needed", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const key = { "x-api-key": "key-of-alice" }
        const turn = yield* post(`${url}/v1/messages`, { ...asked, messages: [{ role: "robot", content: "" }] }, key)
        assert.deepStrictEqual([turn.status, turn.json], [400, {
          type: "error",
          error: {
            type: "invalid_request_error",
            message: "`messages.0.role` must be \"user\", \"assistant\" or \"system\"."
          }
        }])
        const stranger = yield* post(`${url}/anthropic/v1/messages`, asked)
        assert.strictEqual(stranger.status, 401)
        assert.strictEqual(stranger.json.error.type, "authentication_error")
        const bearer = yield* post(`${url}/anthropic/v1/messages?beta=true`, asked, {
          authorization: "Bearer key-of-alice"
        })
        assert.strictEqual(bearer.status, 200)
      }))
  })
})
