import { ChatChunk, WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { reasonOf, request, scripted } from "../support/client.ts"
import { recorded } from "../support/spans.ts"
import { done, event, sse } from "../support/wire.ts"

const whole = (body: unknown) =>
  Effect.flatMap(scripted({ body: [JSON.stringify(body)] }), (deepseek) => deepseek.complete(request))

const streamed = (...chunks: ReadonlyArray<unknown>) =>
  Effect.flatMap(
    scripted(sse([...chunks.map(event), done])),
    (deepseek) => Stream.runCollect(deepseek.stream(request))
  )

describe("DeepSeek answers", () => {
  describe("that leave fields out", () => {
    it.effect("are whole with an id and a message, and keep fields that are new", () =>
      Effect.gen(function*() {
        const answer = yield* whole({ id: "a", choices: [{ message: { content: "hi", new_field: [1] } }], other: 2 })
        assert.deepStrictEqual<unknown>(answer, {
          id: "a",
          choices: [{ message: { role: "assistant", content: "hi", new_field: [1] } }],
          other: 2
        })
      }))

    it.effect("may call tools without saying what can be only one thing", () =>
      Effect.gen(function*() {
        const { choices: [{ message }] } = yield* whole({
          id: "a",
          choices: [{ message: { tool_calls: [{ id: "c", function: { name: "now" } }] }, finish_reason: "tool_calls" }]
        })
        assert.deepStrictEqual(message.tool_calls, [{
          id: "c",
          type: "function",
          function: { name: "now", arguments: "" }
        }])
      }))

    it.effect("are counted as far as they tell", () =>
      Effect.gen(function*() {
        for (
          const [usage, input, output] of [[{ prompt_tokens: 3, completion_tokens: 2 }, 3, 2], [{}, 0, 0]] as const
        ) {
          const body = { id: "a", choices: [{ message: { content: "hi" }, finish_reason: "stop" }], usage }
          const { metrics } = yield* recorded(whole(body))
          const counted = Object.fromEntries(
            metrics.filter(({ name }) => name === "gen_ai_client_token_usage").map(({ attributes, state }) => [
              attributes?.["type"],
              "sum" in state ? Number(state.sum) : undefined
            ])
          )
          assert.deepStrictEqual(counted, { input, output, cached: 0, reasoning: 0 })
        }
      }))

    it.effect("may be streams of chunks without choices, delta or index", () =>
      Effect.gen(function*() {
        const chunks = yield* streamed(
          { id: "a", choices: [{ delta: { content: "hi" } }] },
          { id: "a", choices: [{ delta: { tool_calls: [{ id: "c", function: { name: "now" } }] } }] },
          { id: "a", choices: [{ finish_reason: "stop", new_field: 1 }] },
          { id: "a", usage: { prompt_tokens: 3, completion_tokens: 2 } }
        )
        assert.deepStrictEqual<unknown>(chunks, [
          { id: "a", choices: [{ delta: { content: "hi" } }] },
          {
            id: "a",
            choices: [{ delta: { tool_calls: [{ index: 0, id: "c", type: "function", function: { name: "now" } }] } }]
          },
          { id: "a", choices: [{ delta: {}, finish_reason: "stop", new_field: 1 }] },
          { id: "a", choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } }
        ])
      }))
  })

  describe("in a field that is new", () => {
    const refusal = { content: null, refusal: "no", annotations: [] }
    const nothing = { role: "assistant", content: "", refusal: null, annotations: [], reasoning: "", audio: {} }
    const stop = { id: "a", choices: [{ delta: {}, finish_reason: "stop" }] }

    it.effect("are answers, whole and streamed", () =>
      Effect.gen(function*() {
        const { choices: [{ message }] } = yield* whole({
          id: "a",
          choices: [{ message: refusal, finish_reason: "stop" }]
        })
        assert.deepStrictEqual<unknown>(message, { role: "assistant", ...refusal })
        const chunks = yield* streamed({ id: "a", choices: [{ delta: refusal }] }, stop)
        assert.deepStrictEqual<unknown>(chunks[0]?.choices[0]?.delta, refusal)
      }))

    it.effect("are none when nothing is in it", () =>
      Effect.gen(function*() {
        const message = whole({ id: "a", choices: [{ message: nothing, finish_reason: "stop" }] })
        assert.deepInclude(yield* reasonOf(Effect.scoped(message)), { _tag: "EmptyCompletion" })
        const chunks = streamed({ id: "a", choices: [{ delta: nothing }] }, stop)
        assert.deepInclude(yield* reasonOf(Effect.scoped(chunks)), { _tag: "EmptyCompletion" })
      }))

    it("move on what they are chunks of", () => {
      const progress = (delta: object) => ChatChunk.isProgress({ id: "a", choices: [{ delta }] })
      assert.deepStrictEqual([refusal, nothing, {}].map(progress), [true, false, false])
    })
  })

  describe("with numbers that a number of the language can not hold", () => {
    const large = "12345678901234567890"

    it.effect("keep them in their text, whole and streamed", () =>
      Effect.gen(function*() {
        const text =
          `{"id":"a","choices":[{"message":{"role":"assistant","content":"${large}"}}],"new":[-${large},1e400],"created":${large}, "deep":{"n": 1.0}}`
        const deepseek = yield* scripted({ body: [text] })
        const answer = yield* deepseek.complete(request)
        assert.deepStrictEqual([WireText.of(answer), answer.created], [text, Number(large)])
        const chunk = `{"id":"a","choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}],"new":${large}}`
        const streaming = yield* scripted(sse([`data: ${chunk}\n\n`, done]))
        const chunks = yield* Stream.runCollect(streaming.stream(request))
        assert.deepStrictEqual(chunks.map(WireText.of), [chunk])
      }))
  })
})
