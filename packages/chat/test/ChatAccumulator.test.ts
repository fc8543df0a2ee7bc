import { ChatAccumulator, type ChatChunk } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Schema, Stream } from "effect"
import { chunk, completion, usage } from "../../../test/support/wire.ts"

const join = (...chunks: ReadonlyArray<ChatChunk.ChatChunk>) => {
  const self = ChatAccumulator.make()
  for (const chunk of chunks) ChatAccumulator.add(self, chunk)
  return ChatAccumulator.toCompletion(self)
}

const call = (index: number, id: string | undefined, name: string | undefined, args: string) =>
  chunk({
    tool_calls: [{ index, ...(id && { id, type: "function" }), function: { ...(name && { name }), arguments: args } }]
  })

describe("ChatAccumulator", () => {
  it("joins content, reasoning, usage and the finish reason", () => {
    assert.deepStrictEqual(
      join(
        chunk({ role: "assistant", content: null, reasoning_content: "" }),
        chunk({ content: null, reasoning_content: "Hm" }),
        chunk({ content: null, reasoning_content: "m" }),
        chunk({ content: "Hel", reasoning_content: null }),
        chunk({ content: "lo", reasoning_content: null }),
        chunk({ content: "" }, "stop", { usage, system_fingerprint: "f" })
      ),
      completion({ content: "Hello", reasoning_content: "Hmm" }, "stop", { system_fingerprint: "f" })
    )
  })

  it("takes usage from a chunk without choices too", () => {
    const usageChunk = { ...chunk({}), choices: [], usage }
    assert.deepStrictEqual(join(chunk({ content: "Hello" }), chunk({ content: "" }, "stop"), usageChunk), completion())
  })

  it("joins tool calls by their index, mixed as they come", () => {
    const joined = join(
      call(0, "call_00_a", "weather", ""),
      call(0, undefined, undefined, "{\"city\""),
      call(1, "call_01_b", "time", ""),
      call(0, undefined, undefined, ":\"Paris\"}"),
      call(1, undefined, undefined, "{}"),
      chunk({ content: "" }, "tool_calls")
    )
    assert.deepStrictEqual(joined?.choices[0].message.tool_calls, [
      { index: 0, id: "call_00_a", type: "function", function: { name: "weather", arguments: "{\"city\":\"Paris\"}" } },
      { index: 1, id: "call_01_b", type: "function", function: { name: "time", arguments: "{}" } }
    ])
    assert.strictEqual(joined?.choices[0].finish_reason, "tool_calls")
  })

  it("appends log-probabilities", () => {
    const token = (token: string) => ({ token, logprob: -0.5, bytes: null, top_logprobs: [] })
    const withLogprobs = (text: string) => {
      const { choices: [choice], ...rest } = chunk({ content: text })
      return { ...rest, choices: [{ index: 0, delta: {}, ...choice, logprobs: { content: [token(text)] } }] }
    }
    assert.deepStrictEqual(join(withLogprobs("a"), withLogprobs("b"))?.choices[0].logprobs, {
      content: [token("a"), token("b")],
      reasoning_content: []
    })
  })

  it("is nothing before the first chunk, and says when it is empty", () => {
    const self = ChatAccumulator.make()
    assert.isUndefined(ChatAccumulator.toCompletion(self))
    ChatAccumulator.add(self, chunk({ role: "assistant", content: "", reasoning_content: "" }))
    assert.isTrue(ChatAccumulator.isEmpty(self))
    ChatAccumulator.add(self, chunk({ content: "a" }))
    assert.isFalse(ChatAccumulator.isEmpty(self))
  })

  it.effect.prop(
    "collects the text of every stream",
    {
      texts: Arbitrary.array(Arbitrary.schema(Schema.String)),
      size: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))
    },
    ({ size, texts }) =>
      Effect.gen(function*() {
        const chunks = texts.map((content) => chunk({ content }))
        const joined = yield* ChatAccumulator.collect(Stream.fromIterable(chunks).pipe(Stream.rechunk(size)))
        assert.strictEqual(joined?.choices[0].message.content ?? "", texts.join(""))
      })
  )
})
