import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Simulator } from "../src/index.ts"
import { complete, hello, instant, streamed, user, weather } from "./support.ts"

const simulated = (options: Parameters<typeof Simulator.layerHttpClient>[0] = {}) =>
  Effect.provide(Simulator.layerHttpClient({ ...instant, ...options }))

const path = "/beta/chat/completions"

const messageOf = (body: object, options: { readonly path?: string; readonly simulate?: string } = {}) =>
  Effect.map(complete(body, options), ({ choices: [{ message }] }) => ({
    content: message.content ?? "",
    reasoning: message.reasoning_content ?? undefined
  }))

/** The request that goes on after what an answer has said so far. */
const after = (body: typeof hello, content: string, reasoning_content?: string) => ({
  ...body,
  messages: [...body.messages, { role: "assistant", content, reasoning_content, prefix: true }]
})

const plain = { ...hello, thinking: { type: "disabled" } }

describe("prefix completion", () => {
  it.effect("answers every beginning of its answer with the rest", () =>
    Effect.gen(function*() {
      const whole = yield* messageOf(plain)
      for (let at = 0; at <= whole.content.length; at++) {
        const rest = yield* messageOf(after(plain, whole.content.slice(0, at)), { path })
        assert.strictEqual(rest.content, whole.content.slice(at))
        assert.isUndefined(rest.reasoning)
      }
    }).pipe(simulated()))

  it.effect("goes on thinking from a beginning of its thoughts, and thinks no more once it has begun to answer", () =>
    Effect.gen(function*() {
      const whole = yield* messageOf(hello)
      const reasoning = whole.reasoning ?? ""
      assert.isNotEmpty(reasoning)
      for (const at of [1, 9, reasoning.length]) {
        const rest = yield* messageOf(after(hello, "", reasoning.slice(0, at)), { path })
        assert.deepStrictEqual(rest, { content: whole.content, reasoning: reasoning.slice(at) })
      }
      const rest = yield* messageOf(after(hello, whole.content.slice(0, 9), reasoning), { path })
      assert.deepStrictEqual(rest, { content: whole.content.slice(9), reasoning: "" })
      const lost = yield* messageOf(after(hello, whole.content.slice(0, 9)), { path })
      assert.deepStrictEqual(lost, { content: whole.content.slice(9), reasoning })
    }).pipe(simulated()))

  it.effect("calls the tools that it would have called", () =>
    Effect.gen(function*() {
      const body = { ...hello, messages: [user("What is the weather in Paris?")], tools: [weather] }
      const callsOf = (body: object, path?: string) =>
        Effect.map(
          complete(body, path === undefined ? {} : { path }),
          ({ choices: [{ message }] }) => message.tool_calls
        )
      const { reasoning = "" } = yield* messageOf(body)
      assert.deepStrictEqual(yield* callsOf(after(body, "", reasoning.slice(0, 5)), path), yield* callsOf(body))
    }).pipe(simulated()))

  it.effect("writes on after a beginning of the caller's own", () =>
    Effect.gen(function*() {
      assert.isNotEmpty((yield* messageOf(after(plain, "```python\n"), { path })).content)
    }).pipe(simulated()))

  it.effect("has no more than its share of a fixed reply, and keeps the length that a scenario asks for", () =>
    Effect.gen(function*() {
      const first = yield* streamed(plain, { simulate: "tokens=90, after=30, times=1, id=a" })
      const text = first.map(({ choices }) => choices[0]?.delta.content ?? "").join("")
      assert.deepInclude(first.at(-1)?.choices[0], { finish_reason: "length" })
      assert.strictEqual(first.at(-1)?.usage?.completion_tokens, 30)
      const whole = yield* messageOf(plain, { simulate: "tokens=90" })
      const rest = yield* messageOf(after(plain, text), { path, simulate: "tokens=90, after=30, times=1, id=a" })
      assert.strictEqual(text + rest.content, whole.content)
    }).pipe(simulated()))

  it.effect("completes a fixed reply", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* messageOf(after(plain, "one two "), { path })).content, "three")
      assert.strictEqual((yield* messageOf(after(plain, "one two three"), { path })).content, "")
    }).pipe(simulated({ reply: "one two three" })))
})
