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

  const Text = Schema.Array(Schema.String)
  const Token = Schema.Struct({ token: Schema.String, logprob: Schema.Finite })
  const Answer = Schema.Struct({
    content: Text,
    reasoning: Schema.UndefinedOr(Text),
    calls: Schema.Array(Schema.Struct({ name: Schema.NonEmptyString, pieces: Text })).check(Schema.isMaxLength(4)),
    logprobs: Schema.Array(Token),
    finish: Schema.Literals(["stop", "length", "tool_calls"]),
    usage: Schema.Literals(["with the end", "alone", "none"]),
    /** In what order the fragments of the calls come. */
    order: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 }))),
    size: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))
  })
  type Answer = typeof Answer.Type

  /** The answer as one. */
  const wholeOf = ({ calls, content, finish, logprobs, reasoning, usage: told }: Answer): unknown => ({
    ...completion(),
    choices: [{
      index: 0,
      message: {
        role: "assistant",
        content: content.join(""),
        ...(reasoning !== undefined && { reasoning_content: reasoning.join("") }),
        ...(calls.length > 0 && {
          tool_calls: calls.map(({ name, pieces }, index) => ({
            index,
            id: `call_${index}`,
            type: "function",
            function: { name, arguments: pieces.join("") }
          }))
        })
      },
      logprobs: logprobs.length === 0 ? null : { content: logprobs, reasoning_content: [] },
      finish_reason: finish
    }],
    ...(told === "none" && { usage: undefined })
  })

  /** The fragments of the calls, mixed as `order` says; each call's own stay in their order. */
  const fragmentsOf = ({ calls, order }: Answer): ReadonlyArray<ChatChunk.ChatChunk> => {
    const queues = calls.map(({ name, pieces }, index) => [
      call(index, `call_${index}`, name, ""),
      ...pieces.map((piece) => call(index, undefined, undefined, piece))
    ])
    // A call begins before the next one does.
    const mixed: Array<ChatChunk.ChatChunk> = queues.flatMap((queue) => queue.splice(0, 1))
    for (const index of order) mixed.push(...(queues[index]?.splice(0, 1) ?? []))
    return [...mixed, ...queues.flat()]
  }

  const chunksOf = (answer: Answer): ReadonlyArray<ChatChunk.ChatChunk> => {
    const { content, finish, logprobs, reasoning, usage: told } = answer
    const thinking = reasoning !== undefined
    const withLogprobs = (token: typeof Token.Type) => {
      const { choices, ...rest } = chunk({ content: "" })
      return { ...rest, choices: choices.map((choice) => ({ ...choice, logprobs: { content: [token] } })) }
    }
    return [
      chunk({ role: "assistant", content: thinking ? null : "", ...(thinking && { reasoning_content: "" }) }),
      ...(reasoning ?? []).map((text) => chunk({ content: null, reasoning_content: text })),
      ...content.map((text) => chunk({ content: text, reasoning_content: null })),
      ...logprobs.map(withLogprobs),
      ...fragmentsOf(answer),
      chunk({ content: "" }, finish, told === "with the end" ? { usage } : {}),
      ...(told === "alone" ? [{ ...chunk({}), choices: [], usage }] : [])
    ]
  }

  it.effect.prop(
    "makes of the chunks of every answer exactly that answer",
    { answer: Answer },
    ({ answer }) =>
      Effect.gen(function*() {
        const stream = Stream.fromIterable(chunksOf(answer)).pipe(Stream.rechunk(answer.size))
        const joined = yield* ChatAccumulator.collect(stream)
        // A field that was not told is absent.
        assert.deepStrictEqual(JSON.parse(JSON.stringify(joined)), JSON.parse(JSON.stringify(wholeOf(answer))))
      })
  )
})
