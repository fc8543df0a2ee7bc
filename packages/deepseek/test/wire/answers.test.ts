import { ChatAccumulator, ChatChunk, ChatCompletion, WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import { shapes } from "./shapes.ts"
import { wholes } from "./wholes.ts"

const chunksOf = (events: ReadonlyArray<object>): ReadonlyArray<ChatChunk.ChatChunk> => {
  const read = ChatChunk.reader()
  return events.map((event) => {
    const chunk = read(JSON.stringify(event))
    if (chunk instanceof WireText.Unreadable) throw new Error(`${chunk.detail}: ${JSON.stringify(event)}`)
    return chunk
  })
}

const join = (chunks: ReadonlyArray<ChatChunk.ChatChunk>) => {
  const joined = ChatAccumulator.make()
  for (const chunk of chunks) ChatAccumulator.add(joined, chunk)
  return ChatAccumulator.toCompletion(joined)
}

const read = (text: string): ChatCompletion.ChatCompletion => {
  const completion = ChatCompletion.parse(text)
  if (completion instanceof WireText.Unreadable) throw new Error(`${completion.detail}: ${text}`)
  return completion
}

describe("answers on the wire", () => {
  describe("of every host say what they say", () => {
    for (const { calls = [], content = "", events, finish = "stop", kept = true, name, reasoning, tokens } of shapes) {
      it(name, () => {
        const chunks = chunksOf(events)
        const joined = join(chunks)
        const choice = joined?.choices[0]
        assert.strictEqual(choice?.message.content, content)
        assert.strictEqual(choice?.message.reasoning_content || undefined, reasoning)
        assert.strictEqual(choice?.finish_reason, finish)
        const joinedCalls = choice?.message.tool_calls ?? []
        assert.deepStrictEqual(joinedCalls.map(({ function: named }) => [named.name, named.arguments]), calls as never)
        assert.strictEqual(new Set(joinedCalls.map(({ id }) => id)).size, calls.length)
        assert.notInclude(joinedCalls.map(({ id }) => id), "")
        assert.deepStrictEqual(
          joined?.usage && [joined.usage.prompt_tokens, joined.usage.completion_tokens],
          tokens as never
        )
        const texts = chunks.map(WireText.of)
        assert.strictEqual(texts.every((text, i) => text === JSON.stringify(events[i])), kept)
      })
    }
  })

  describe("of every host, whole, say what they say", () => {
    for (const { calls = [], content, finish = "stop", json, kept = true, name, reasoning } of wholes) {
      it(name, () => {
        for (const text of [JSON.stringify(json), JSON.stringify(json, undefined, 2)]) {
          const completion = read(text)
          const { finish_reason, message } = completion.choices[0]
          assert.strictEqual(message.content, content)
          assert.strictEqual(message.reasoning_content, reasoning)
          assert.deepStrictEqual(
            (message.tool_calls ?? []).map(({ function: named }) => [named.name, named.arguments]),
            calls as never
          )
          assert.strictEqual(finish_reason, finish)
          assert.strictEqual(WireText.of(completion), kept ? text : undefined)
        }
      })
    }
  })

  const fields = Schema.Record(Schema.Literals(["a", "n", "content_filter_results", "x_groq"]), Schema.Json)
  const odd = Arbitrary.schema(Schema.Json)
  const more = Arbitrary.schema(fields)

  describe("lose nothing by a field that is not in use", () => {
    /** Fields that no answer needs, each missing, null or of any other type. */
    const unused = ["id", "object", "created", "model", "system_fingerprint", "service_tier"]
    const places = Arbitrary.array(Arbitrary.schema(Schema.Literals(["missing", "null", "odd", "kept"])), {
      minLength: 6,
      maxLength: 6
    })
    const vary = (json: object, how: ReadonlyArray<string>, value: Schema.Json, added: object): object => {
      const varied: Record<string, unknown> = { ...json, ...added }
      for (const [i, name] of unused.entries()) {
        if (how[i] === "missing") delete varied[name]
        else if (how[i] === "null") varied[name] = null
        else if (how[i] === "odd") varied[name] = value
      }
      return varied
    }

    it.prop("streamed, and keep their text", { how: places, value: odd, added: more }, ({ added, how, value }) => {
      for (const { content = "", events, kept = true, name, reasoning } of shapes) {
        if (!kept) continue
        const varied = events.map((event) => vary(event, how, value, added))
        const chunks = chunksOf(varied)
        assert.deepStrictEqual(chunks.map(WireText.of), varied.map((event) => JSON.stringify(event)), name)
        const message = join(chunks)?.choices[0].message
        assert.deepStrictEqual([message?.content, message?.reasoning_content || undefined], [content, reasoning], name)
      }
    }, { arbitrary: { runs: 100 } })

    it.prop("whole, and keep their text", { how: places, value: odd, added: more }, ({ added, how, value }) => {
      const message = { role: "assistant", content: "Hello", annotations: value, ...added }
      const choices = [{ index: value, message, finish_reason: "stop", logprobs: value, ...added }]
      const text = JSON.stringify(vary({ choices, usage: value }, how, value, added))
      const completion = read(text)
      assert.strictEqual(completion.choices[0].message.content, "Hello")
      assert.strictEqual(WireText.of(completion), text)
    }, { arbitrary: { runs: 300 } })

    it("whatever type a field of usage has", () => {
      const usage = { prompt_tokens: "9", completion_tokens: null, prompt_tokens_details: 3, total_tokens: {}, cost: 1 }
      const text = JSON.stringify({ choices: [{ message: { content: "a" } }], usage })
      const completion = read(text)
      assert.deepInclude(Object(completion.usage), {
        prompt_tokens: 0,
        completion_tokens: 0,
        total_tokens: null,
        cost: 1
      })
      assert.strictEqual(WireText.of(completion), text)
    })
  })

  describe("are repaired where their readers need it", () => {
    it("arguments are text, ids and types are given", () => {
      const calls = [
        { function: { name: "a", arguments: { city: "杭州" } } },
        { id: "", type: null, function: { name: "b", arguments: null } },
        { id: "c", type: "", function: { name: "c" } }
      ]
      const text = JSON.stringify({
        id: "x",
        choices: [{ message: { tool_calls: calls }, finish_reason: "tool_calls" }]
      })
      const completion = read(text)
      assert.deepStrictEqual(completion.choices[0].message.tool_calls, [
        { function: { name: "a", arguments: "{\"city\":\"杭州\"}" }, id: "call_0_x", type: "function" },
        { id: "call_1_x", type: "function", function: { name: "b", arguments: "" } },
        { id: "c", type: "function", function: { name: "c", arguments: "" } }
      ])
      assert.isUndefined(WireText.of(completion))
    })

    const argumentsOf = (...fragments: ReadonlyArray<object>) =>
      join(chunksOf(fragments.map((call) => ({ choices: [{ delta: { tool_calls: [call] } }] }))))
        ?.choices[0].message.tool_calls?.map((call) => [call.function.name, call.function.arguments])

    it("parallel calls are told apart by id, name and order", () => {
      const first = { index: 0, function: { name: "a", arguments: "{}" } }
      assert.deepStrictEqual(argumentsOf(first, { index: 0, function: { name: "b", arguments: "{}" } }), [["a", "{}"], [
        "b",
        "{}"
      ]])
      assert.deepStrictEqual(argumentsOf(first, first), [["a", "{}"], ["a", "{}"]])
      assert.deepStrictEqual(
        argumentsOf(
          { index: 0, id: "1", function: { name: "a", arguments: "{" } },
          { index: 0, id: "2", function: { name: "a", arguments: "[" } },
          { id: "1", function: { arguments: "}" } },
          { index: 0, id: "2", function: { arguments: "]" } }
        ),
        [["a", "{}"], ["a", "[]"]]
      )
    })

    it("a name that comes with each fragment is one name, and one in pieces is joined", () => {
      const again = (args: string) => ({ index: 0, function: { name: "a", arguments: args } })
      assert.deepStrictEqual(argumentsOf(again(""), again("{\"x\":"), again("1}")), [["a", "{\"x\":1}"]])
      assert.deepStrictEqual(
        argumentsOf({ index: 0, id: "1", function: { name: "get_" } }, { index: 0, function: { name: "x" } }),
        [[
          "get_x",
          ""
        ]]
      )
    })
  })

  describe("of another shape are not read", () => {
    it("without a choice or a message", () => {
      for (
        const json of [{}, [], 1, "a", null, { choices: [] }, { choices: null }, { choices: [1] }, { choices: [{}] }]
      ) {
        assert.instanceOf(ChatCompletion.parse(JSON.stringify(json)), WireText.Unreadable)
      }
      // A piece of a stream is not whole.
      assert.instanceOf(ChatCompletion.parse("{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}"), WireText.Unreadable)
    })

    it("with an error, but with a field of that name that says nothing", () => {
      const whole = { choices: [{ message: { content: "a" } }] }
      for (const error of [null, "", {}, [], false]) read(JSON.stringify({ ...whole, error }))
      for (const error of ["busy", { code: 1 }, [1], true]) {
        assert.instanceOf(ChatCompletion.parse(JSON.stringify({ ...whole, error })), WireText.Unreadable)
      }
    })
  })

  describe("are bounded", () => {
    it("in the tool calls of a message", () => {
      const calls = (count: number) => Array.from({ length: count }, (_, index) => ({ index, function: { name: "a" } }))
      const event = (count: number) => JSON.stringify({ choices: [{ delta: { tool_calls: calls(count) } }] })
      assert.notInstanceOf(ChatChunk.reader()(event(1024)), WireText.Unreadable)
      assert.instanceOf(ChatChunk.reader()(event(1025)), WireText.Unreadable)
    })

    it("in their choices", () => {
      const event = (count: number) =>
        JSON.stringify({ choices: Array.from({ length: count }, (_, index) => ({ index, delta: {} })) })
      assert.notInstanceOf(ChatChunk.reader()(event(128)), WireText.Unreadable)
      assert.instanceOf(ChatChunk.reader()(event(129)), WireText.Unreadable)
    })
  })
})
