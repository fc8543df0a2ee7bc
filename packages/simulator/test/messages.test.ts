import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { Simulator } from "../src/index.ts"
import { ask, instant, message, read, user, weather } from "./support.ts"

const simulated = (options: Parameters<typeof Simulator.layerHttpClient>[0] = {}) =>
  Effect.provide(Simulator.layerHttpClient({ ...instant, ...options }))

const json = (text: string) => JSON.parse(text)

const path = "/anthropic/v1/messages"
const body = { model: "deepseek-flash", max_tokens: 2_000, messages: [user("Why does a ship carry ballast?")] }
const { description, name, parameters } = weather.function
const tools = [{ name, description, input_schema: parameters }, { type: "web_search_20250305", name: "web_search" }]

const whole = (change: object = {}) => Effect.map(ask({ ...body, ...change }, { path }), ({ text }) => json(text))

const events = (change: object = {}, simulate = "") =>
  Effect.map(
    ask({ ...body, stream: true, ...change }, { path, simulate }),
    ({ text }) =>
      text.split("\n\n").filter((event) => event.startsWith("event: ")).map((event) => {
        const [, type, data] = /^event: (\S+)\ndata: (.*)$/.exec(event) ?? []
        const parsed = json(data!)
        assert.strictEqual(parsed.type, type)
        return parsed
      })
  )

const called = [
  user("What is the weather in Paris?"),
  {
    role: "assistant",
    content: [{ type: "thinking", thinking: "" }, { type: "tool_use", id: "a", name, input: { city: "Paris" } }]
  },
  user("")
]
const result = {
  role: "user",
  content: [{ type: "tool_result", tool_use_id: "a", content: [{ type: "text", text: "Sun" }] }]
}
const history = [...called.slice(0, 2), result]
const forgetful = [called[0], { role: "assistant", content: [{ type: "tool_use", id: "a", name, input: {} }] }, result]

describe("Messages", () => {
  it.effect("have the same blocks whole and streamed, and counts that are disjoint", () =>
    Effect.gen(function*() {
      const answer = yield* whole()
      assert.deepInclude(answer, {
        type: "message",
        role: "assistant",
        model: "deepseek-flash",
        stop_reason: "end_turn"
      })
      assert.deepStrictEqual(answer.content.map(({ type }: { readonly type: string }) => type), ["thinking", "text"])
      const again = yield* whole()
      const { cache_creation_input_tokens, cache_read_input_tokens, input_tokens } = again.usage
      assert.strictEqual(
        cache_creation_input_tokens + cache_read_input_tokens + input_tokens,
        answer.usage.input_tokens
      )
      const streamed = yield* events()
      assert.deepStrictEqual([streamed[0].type, streamed.at(-1).type], ["message_start", "message_stop"])
      const joined = (kind: string, field: string) =>
        streamed.filter(({ delta }) => delta?.type === kind).map(({ delta }) => delta[field]).join("")
      assert.deepStrictEqual(
        [joined("thinking_delta", "thinking"), joined("text_delta", "text")],
        [answer.content[0].thinking, answer.content[1].text]
      )
      assert.strictEqual(streamed.at(-2).usage.output_tokens, answer.usage.output_tokens)
    }).pipe(simulated()))

  it.effect("call tools", () =>
    Effect.gen(function*() {
      const asked = { tools, messages: called.slice(0, 1) }
      const { content, stop_reason } = yield* whole(asked)
      assert.strictEqual(stop_reason, "tool_use")
      const call = content.at(-1)
      assert.deepInclude(call, { type: "tool_use", name })
      const deltas = (yield* events(asked)).filter(({ delta }) => delta?.type === "input_json_delta")
      assert.deepStrictEqual(json(deltas.map(({ delta }) => delta.partial_json).join("")), call.input)
      assert.strictEqual((yield* whole({ tools, messages: history })).stop_reason, "end_turn")
    }).pipe(simulated()))

  it.effect("are answered by DeepSeek's models for Anthropic's", () =>
    Effect.gen(function*() {
      for (const [asked, answered] of [["claude-opus-5", "deepseek-v4-pro"], ["claude-haiku-5", "deepseek-flash"]]) {
        assert.strictEqual((yield* whole({ model: asked })).model, answered)
      }
    }).pipe(simulated()))

  it.effect("ignore what the service ignores", () =>
    Effect.gen(function*() {
      const ignored = {
        top_k: 3,
        service_tier: "auto",
        container: "c",
        mcp_servers: [],
        context_management: {},
        thinking: { type: "enabled", budget_tokens: 5 }
      }
      assert.deepStrictEqual((yield* whole(ignored)).content[1], (yield* whole()).content[1])
    }).pipe(simulated()))

  it.effect("refuse what the service refuses", () =>
    Effect.gen(function*() {
      const refusals: ReadonlyArray<readonly [object, RegExp]> = [
        [{ model: "gpt-5" }, /supported API model names are deepseek-flash, deepseek-v4-pro, but you passed gpt-5/],
        [{ messages: undefined }, /missing field `messages`/],
        [{ messages: [user("a"), { role: "tool", content: "b" }] }, /messages\[1\]\.role: unknown variant `tool`/],
        [{ messages: [{ role: "user", content: [{ type: "document" }] }] }, /unknown variant `document`/],
        [{ messages: [result] }, /must be a response to a preceding message/],
        [{ tools: [{ ...tools[0], type: "custom" }] }, /tools\[0\]\.type: unknown variant `custom`/],
        [{ tools, tool_choice: { type: "any" } }, /Thinking mode does not support this tool_choice/],
        [{ tools, messages: forgetful }, /The `content\[\]\.thinking` in the thinking mode must be passed back/],
        [{ temperature: 3 }, /valid range of temperature/],
        [
          { model: "claude-opus-5", messages: [...body.messages, { role: "system", content: "Be brief" }] },
          /messages\[1\]\.role: unknown variant `system`/
        ]
      ]
      for (const [change, expected] of refusals) {
        const { status, text } = yield* ask({ ...body, ...change }, { path })
        assert.strictEqual(status, 400)
        assert.match(message(text), expected)
      }
      assert.strictEqual(
        (yield* ask({ ...body, tools, messages: forgetful, thinking: { type: "disabled" } }, { path })).status,
        200
      )
    }).pipe(simulated()))

  it.effect("break as the fault says", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* events({}, "end=3")).length, 4)
      const { text } = yield* ask({ ...body, stream: true }, { path, simulate: "error=2" })
      assert.include(text, "Service is too busy")
      assert.strictEqual((yield* whole({ max_tokens: 5 })).stop_reason, "max_tokens")
    }).pipe(simulated()))

  it.effect("count tokens, and take a key of another header", () =>
    Effect.gen(function*() {
      const post = (headers: Record<string, string>) =>
        Effect.flatMap(
          HttpClient.execute(
            HttpClientRequest.post(`https://api.deepseek.com${path}/count_tokens`, { headers }).pipe(
              HttpClientRequest.bodyText(JSON.stringify({ ...body, max_tokens: undefined }), "application/json")
            )
          ),
          read
        )
      const counted = yield* post({ "x-api-key": "sk-test" })
      const { usage } = yield* whole()
      assert.deepStrictEqual(json(counted.text), { input_tokens: usage.input_tokens })
      assert.strictEqual((yield* post({})).text, "Authentication Fails (governor)")
      assert.strictEqual((yield* post({ authorization: "Bearer no", "x-api-key": "sk-test" })).status, 401)
    }).pipe(simulated()))
})
