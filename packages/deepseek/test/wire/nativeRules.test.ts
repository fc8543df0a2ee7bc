import { Native } from "@ballast/chat"
import { Provider } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { bare, on, reasonOf, request } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"

const model = "deepseek-flash"
const hello = [{ role: "user", content: "What is the weather in Paris?" }]

const bases = {
  messages: { model, max_tokens: 500, messages: hello, tools: [{ name: "f", input_schema: { type: "object" } }] },
  responses: { model, input: hello, tools: [{ type: "function", name: "f", parameters: { type: "object" } }] },
  completions: { model, prompt: "a" }
} as const

type Protocol = keyof typeof bases

const ask = (protocol: Protocol, change: object) =>
  Native.attach(request, {
    protocol,
    body: { ...bases[protocol], ...change },
    ...(protocol === "completions" ? { only: true } : undefined)
  })

const fast = Simulator.layerHttpClient({ latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity })

const texts = Array.from({ length: 17 }, String)
const turns = (...contents: ReadonlyArray<object>) =>
  contents.map((block, index) => ({ role: index % 2 === 0 ? "user" : "assistant", content: [block] }))
const result = { type: "tool_result", tool_use_id: "a", content: "18 °C" }
const call = { type: "tool_use", id: "a", name: "f", input: {} }
const output = { type: "function_call_output", call_id: "a", output: "18 °C" }
const made = { type: "function_call", call_id: "a", name: "f", arguments: "{}" }
const forced = { type: "tool", name: "f" }

const wrong: ReadonlyArray<readonly [Protocol, path: string, change: object]> = [
  ["messages", "temperature", { temperature: 2.1 }],
  ["messages", "top_p", { top_p: 0 }],
  ["messages", "max_tokens", { max_tokens: 393_217 }],
  ["messages", "stop_sequences", { stop_sequences: texts }],
  ["messages", "tool_choice", { tool_choice: forced, thinking: { type: "enabled" } }],
  ["messages", "tool_choice", { tool_choice: { type: "any" }, thinking: { type: "adaptive" } }],
  ["messages", "messages[0].content[0]", { messages: turns(result) }],
  ["messages", "messages[0].content[0]", { messages: turns(result, call) }],
  ["responses", "temperature", { temperature: 3 }],
  ["responses", "top_p", { top_p: 2 }],
  ["responses", "max_output_tokens", { max_output_tokens: 0 }],
  ["responses", "top_logprobs", { top_logprobs: 21 }],
  ["responses", "tools[0]", { tools: [{ type: "custom", name: "other" }] }],
  ["responses", "tool_choice", { tool_choice: "required" }],
  ["responses", "tool_choice", { tool_choice: { type: "function", name: "f" } }],
  ["responses", "input[1]", { input: [...hello, output, made] }],
  ["responses", "input", { text: { format: { type: "json_object" } } }],
  ["completions", "temperature", { temperature: -1 }],
  ["completions", "top_p", { top_p: 0 }],
  ["completions", "stop", { stop: texts }],
  ["completions", "logprobs", { logprobs: 21 }],
  ["completions", "echo", { echo: true, suffix: "b" }],
  ["completions", "echo", { echo: true, logprobs: 1 }]
]

const right: ReadonlyArray<readonly [Protocol, change: object]> = [
  ["messages", { temperature: 2, top_p: 1, max_tokens: 393_216, stop_sequences: texts.slice(1) }],
  ["messages", { tool_choice: { type: "any" }, thinking: { type: "disabled" } }],
  ["messages", { tool_choice: { type: "auto" } }],
  ["messages", { tool_choice: forced, output_config: { effort: "none" } }],
  ["messages", { messages: turns({ type: "text", text: "Hi" }, call, result) }],
  ["responses", { temperature: 0, top_p: 1, max_output_tokens: 1, top_logprobs: 20 }],
  ["responses", { tool_choice: "required", reasoning: { effort: "none" } }],
  ["responses", { input: [...hello, made, output] }],
  ["responses", { instructions: "Answer in JSON.", text: { format: { type: "json_object" } } }],
  ["completions", { temperature: 2, top_p: 1, stop: texts.slice(1), logprobs: 20, suffix: "b" }]
]

describe("the rules of other protocols", () => {
  for (const [protocol, path, change] of wrong) {
    it.effect(`${protocol}: ${JSON.stringify(change).slice(0, 80)} is refused before it is sent, as by the service`, () =>
      Effect.gen(function*() {
        const script = Scripted.make({ body: ["{}"] })
        const asked = ask(protocol, change)
        const checked = yield* reasonOf((yield* on(script.layer)).complete(asked))
        assert.deepInclude(checked, { _tag: "InvalidRequest", status: 400, path })
        assert.lengthOf(script.seen, 0)
        const unchecked = yield* on(fast, { ...bare, preflight: false })
        assert.deepInclude(yield* reasonOf(unchecked.complete(asked)), { _tag: "InvalidRequest", status: 400 })
      }))
  }

  for (const [protocol, change] of right) {
    it.effect(`${protocol}: ${JSON.stringify(change).slice(0, 80)} is answered`, () =>
      Effect.gen(function*() {
        const { choices } = yield* (yield* on(fast, bare)).complete(ask(protocol, change))
        assert.lengthOf(choices, 1)
      }))
  }

  it.effect("leave another type to the service, and any host but DeepSeek alone", () =>
    Effect.gen(function*() {
      const script = Scripted.make({ status: 400, body: ["{\"error\":{\"message\":\"so\"}}"] })
      const strange = { temperature: "3", max_tokens: null, messages: [null, { content: [7] }], tool_choice: 1 }
      const deepseek = yield* on(script.layer)
      assert.deepInclude(yield* reasonOf(deepseek.complete(ask("messages", strange))), { detail: "so" })
      const other = yield* on(script.layer, { ...bare, provider: { ...Provider.deepSeek, rules: "none" } })
      assert.deepInclude(yield* reasonOf(other.complete(ask("messages", { temperature: 3 }))), { detail: "so" })
    }))

  it.effect("name efforts as the service knows them, and put thinking off for a forced tool where nobody asked for it", () =>
    Effect.gen(function*() {
      const script = Scripted.make({ status: 400, body: ["{\"error\":{\"message\":\"so\"}}"] })
      const deepseek = yield* on(script.layer)
      const sent = (protocol: Protocol, change: object) =>
        Effect.map(reasonOf(deepseek.complete(ask(protocol, change))), () => Object(script.seen.at(-1)?.body))
      const effort = (given: string) =>
        Effect.all([
          Effect.map(
            sent("messages", { output_config: { effort: given, format: null } }),
            (body) => body.output_config
          ),
          Effect.map(sent("responses", { reasoning: { effort: given, summary: null } }), (body) => body.reasoning)
        ])
      for (
        const [given, effective] of [["ultra", "max"], ["xhigh", "high"], ["minimal", "low"], ["max", "max"]] as const
      ) {
        assert.deepStrictEqual(yield* effort(given), [
          { effort: effective, format: null },
          { effort: effective, summary: null }
        ])
      }
      assert.deepInclude(yield* sent("messages", { tool_choice: forced }), { thinking: { type: "disabled" } })
      assert.notProperty(yield* sent("messages", { tool_choice: { type: "auto" } }), "thinking")
    }))
})
