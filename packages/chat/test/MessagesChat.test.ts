import {
  ChatAccumulator,
  type ChatChunk,
  type ChatCompletion,
  type ChatModel,
  Messages,
  MessagesChat,
  Native
} from "@ballast/chat"
import { Unreadable } from "@ballast/chat/WireText"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"

const user = (content: Messages.Message["content"]): Messages.Message => ({ role: "user", content })
const ask = (rest: object) => MessagesChat.toChat({ model: "m", max_tokens: 9, ...rest })
const messagesOf = (...messages: ReadonlyArray<object>) => ask({ messages }).messages

const weather = { name: "weather", description: "Tells it", input_schema: { type: "object" } }

describe("MessagesChat", () => {
  describe("toChat", () => {
    it("keeps what chat has", () => {
      const request: Messages.Request = {
        model: "deepseek-flash",
        max_tokens: 100,
        system: [
          { type: "text", text: "x-anthropic-billing-header: cc_version=2; cch=a1b2;" },
          { type: "text", text: "Be brief." },
          { type: "text", text: "Be kind." }
        ],
        messages: [user("Hi")],
        stop_sequences: ["END"],
        stream: true,
        temperature: 0.5,
        top_p: 0.9,
        thinking: { type: "enabled", budget_tokens: 2000 },
        output_config: { effort: "max" },
        tools: [weather, { type: "web_search_20250305", name: "web_search" }],
        tool_choice: { type: "auto" },
        metadata: { user_id: "{\"device\":\"ä\"}" }
      }
      assert.deepStrictEqual(Schema.decodeUnknownSync(Messages.Request)(request), request)
      assert.deepStrictEqual(MessagesChat.toChat({ ...request, top_k: 5, service_tier: "auto" }), {
        model: "deepseek-flash",
        messages: [{ role: "system", content: "Be brief.\n\nBe kind." }, { role: "user", content: "Hi" }],
        max_tokens: 100,
        stop: ["END"],
        stream: true,
        temperature: 0.5,
        top_p: 0.9,
        reasoning_effort: "max",
        user_id: "__device______",
        tools: [{
          type: "function",
          function: { name: "weather", description: "Tells it", parameters: { type: "object" } }
        }],
        tool_choice: "auto",
        thinking: { type: "enabled" }
      })
    })

    it("puts the results of tools before what the user says", () => {
      const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "AA==" } }
      const part = { type: "image_url", image_url: { url: "data:image/png;base64,AA==" } }
      assert.deepStrictEqual(
        messagesOf(
          {
            role: "assistant",
            content: [
              { type: "thinking", thinking: "Hm", signature: "s" },
              { type: "redacted_thinking", data: "x" },
              { type: "text", text: "Let me see." },
              { type: "tool_use", id: "a", name: "weather", input: { city: "Rome" } },
              { type: "tool_use", id: "b", name: "weather" }
            ]
          },
          {
            role: "user",
            content: [
              { type: "text", text: "One" },
              { type: "tool_result", tool_use_id: "a", content: [{ type: "text", text: "Sun" }, image] },
              { type: "tool_result", tool_use_id: "b", is_error: true },
              { type: "text", text: "Two", cache_control: { type: "ephemeral" } },
              { type: "document", source: { type: "file", file_id: "f" } }
            ]
          }
        ),
        [
          {
            role: "assistant",
            content: "Let me see.",
            reasoning_content: "Hm",
            tool_calls: [
              { id: "a", type: "function", function: { name: "weather", arguments: "{\"city\":\"Rome\"}" } },
              { id: "b", type: "function", function: { name: "weather", arguments: "{}" } }
            ]
          },
          { role: "tool", tool_call_id: "a", content: [{ type: "text", text: "Sun" }, part] },
          { role: "tool", tool_call_id: "b", content: "" },
          { role: "user", content: "One\n\nTwo\n\n[A block of the type document was left out.]" }
        ] as unknown as ReturnType<typeof messagesOf>
      )
    })

    it.each([
      [{ type: "any" }, "required", "disabled"],
      [{ type: "tool", name: "weather" }, { type: "function", function: { name: "weather" } }, "disabled"],
      [{ type: "none" }, "none", undefined],
      [undefined, undefined, undefined]
    ])("switches thinking off for a forced call: %j", (tool_choice, expected, thinking) => {
      const chat = ask({ messages: [user("Hi")], tools: [weather], tool_choice })
      assert.deepStrictEqual(chat.tool_choice as unknown, expected)
      assert.strictEqual(chat.thinking?.type, thinking)
      const asked = ask({ messages: [user("Hi")], tools: [weather], tool_choice, thinking: { type: "adaptive" } })
      assert.strictEqual(asked.thinking?.type, "enabled")
    })

    it("leaves out turns that say nothing to chat, and takes any object", () => {
      assert.deepStrictEqual(
        messagesOf({ role: "assistant", content: [{ type: "thinking", thinking: "Hm" }] }, user([])),
        [] as unknown as ReturnType<typeof messagesOf>
      )
      for (const odd of [{}, { messages: 1, tools: "a", system: 2 }, { messages: [null, 1, { role: 3 }, user([])] }]) {
        assert.deepStrictEqual(MessagesChat.toChat(odd).messages as unknown, [])
      }
    })
  })

  const usage = {
    prompt_tokens: 30,
    completion_tokens: 9,
    total_tokens: 39,
    prompt_tokens_details: { cached_tokens: 20 },
    prompt_cache_hit_tokens: 20,
    prompt_cache_miss_tokens: 10,
    completion_tokens_details: { reasoning_tokens: 4 }
  }
  const call = (index: number, args: string) => ({
    index,
    id: `call_${index}`,
    type: "function" as const,
    function: { name: "weather", arguments: args }
  })
  const completion: ChatCompletion.ChatCompletion = {
    id: "1",
    object: "chat.completion",
    model: "m",
    choices: [{
      index: 0,
      message: {
        role: "assistant",
        content: "Let me see.",
        reasoning_content: "Hm",
        tool_calls: [call(0, "{\"city\":\"Rome\"}"), call(1, "{}")]
      },
      finish_reason: "tool_calls"
    }],
    usage
  }
  const answer: Messages.Answer = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "m",
    content: [
      { type: "thinking", thinking: "Hm", signature: "" },
      { type: "text", text: "Let me see." },
      { type: "tool_use", id: "call_0", name: "weather", input: { city: "Rome" } },
      { type: "tool_use", id: "call_1", name: "weather", input: {} }
    ],
    stop_reason: "tool_use",
    stop_sequence: null,
    usage: {
      input_tokens: 10,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 20,
      output_tokens: 9,
      output_tokens_details: { thinking_tokens: 4 }
    } as Messages.Usage
  }

  it("translates a whole answer there and back", () => {
    assert.deepStrictEqual(MessagesChat.fromCompletion(completion), answer)
    const text = JSON.stringify(answer)
    const back = MessagesChat.parse(text)
    assert.deepStrictEqual(back, { ...completion, id: "msg_1" })
    assert.strictEqual(Native.textOf(back, "messages"), text)
  })

  it.each([
    ["stop", "end_turn"],
    ["length", "max_tokens"],
    ["content_filter", "refusal"],
    ["news", "end_turn"]
  ])("translates the finish reason %s", (finish_reason, stop_reason) => {
    const message = { role: "assistant" as const, content: "Hi" }
    assert.strictEqual(
      MessagesChat.fromCompletion({ choices: [{ message, finish_reason }] }).stop_reason,
      stop_reason
    )
  })

  it.each([["", {}], ["[1]", { INVALID_JSON: "[1]" }], ["{\"a\":", { INVALID_JSON: "{\"a\":" }]])(
    "gives a tool the input of %j",
    (args, input) => {
      const message = { role: "assistant" as const, tool_calls: [call(0, args)] }
      const { content } = MessagesChat.fromCompletion({ choices: [{ message, finish_reason: "tool_calls" }] })
      assert.deepStrictEqual(content, [{ type: "tool_use", id: "call_0", name: "weather", input }])
    }
  )

  it("gives a tool an id with all its digits", () => {
    const message = { role: "assistant" as const, tool_calls: [call(0, "{\"id\":1234567890123456789}")] }
    const answer = MessagesChat.fromCompletion({ choices: [{ message, finish_reason: "tool_calls" }] })
    assert.include(JSON.stringify(answer), "\"input\":{\"id\":1234567890123456789}")
  })

  const chunkOf = (delta: ChatChunk.Delta, finish_reason: string | null = null): ChatChunk.ChatChunk => ({
    id: "1",
    model: "m",
    choices: [{ index: 0, delta, finish_reason }]
  })
  const piece = (index: number, text: string) => ({ tool_calls: [{ index, function: { arguments: text } }] })
  const chunks: ReadonlyArray<ChatChunk.ChatChunk> = [
    chunkOf({ role: "assistant", content: "" }),
    chunkOf({ reasoning_content: "H" }),
    chunkOf({ reasoning_content: "m" }),
    chunkOf({ content: "Let me" }),
    chunkOf({ content: " see." }),
    chunkOf({ tool_calls: [call(0, "")] }),
    chunkOf(piece(0, "{\"city\":")),
    chunkOf(piece(0, "\"Rome\"}")),
    chunkOf({ tool_calls: [call(1, "{}")] }),
    chunkOf({}, "tool_calls"),
    { id: "1", model: "m", choices: [], usage }
  ]

  const write = (given: ReadonlyArray<ChatChunk.ChatChunk>): string => {
    const { chunk, end } = MessagesChat.writer()
    return given.map(chunk).join("") + end()
  }
  const dataOf = (text: string): Array<string> =>
    text.split("\n").flatMap((line) => line.startsWith("data: ") ? [line.slice(6)] : [])

  it("writes a stream as blocks one after the other", () => {
    const events: Array<Messages.Event> = dataOf(write(chunks)).map((data) => JSON.parse(data))
    assert.deepStrictEqual(
      events.map((event) =>
        event.type === "content_block_start"
          ? `start ${event.index} ${event.content_block.type}`
          : "index" in event
          ? `${event.type.slice("content_block_".length)} ${event.index}`
          : event.type
      ),
      [
        "message_start",
        "start 0 thinking",
        "delta 0",
        "delta 0",
        "stop 0",
        "start 1 text",
        "delta 1",
        "delta 1",
        "stop 1",
        "start 2 tool_use",
        "delta 2",
        "delta 2",
        "stop 2",
        "start 3 tool_use",
        "delta 3",
        "stop 3",
        "message_delta",
        "message_stop"
      ]
    )
    assert.deepInclude(events.at(-2), { usage: answer.usage, delta: { stop_reason: "tool_use", stop_sequence: null } })
  })

  it("writes why a stream ended", () => {
    const ends = (...given: ReadonlyArray<ChatChunk.ChatChunk>) =>
      JSON.parse(dataOf(write(given)).at(-2)!).delta.stop_reason
    assert.strictEqual(ends(chunkOf({ content: "Hi" }), chunkOf({}, "length")), "max_tokens")
    assert.strictEqual(ends(chunkOf({ content: "Hi" }, "stop")), "end_turn")
    assert.strictEqual(ends(), "end_turn")
  })

  it("reads the events of a stream as the chunks that they came from, with their texts", () => {
    const read = MessagesChat.reader()
    const joined = ChatAccumulator.make()
    const text = write(chunks)
    const texts = dataOf(text).map((data) => {
      const chunk = read(data)
      assert(chunk !== undefined && !(chunk instanceof Unreadable))
      ChatAccumulator.add(joined, chunk)
      return Native.textOf(chunk, "messages")
    })
    const { choices: [choice], ...head } = completion
    assert.deepStrictEqual(ChatAccumulator.toCompletion(joined), {
      ...head,
      id: "msg_1",
      choices: [{ ...choice, logprobs: null }]
    })
    assert.strictEqual(texts.join(""), text)
  })

  it("passes native events on, and adds the end where it is missing", () => {
    const read = MessagesChat.reader()
    const natives = (text: string) => dataOf(text).map((data) => read(data) as ChatChunk.ChatChunk)
    const text = write(chunks)
    assert.strictEqual(write(natives(text)), text)
    const stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    assert.isTrue(text.endsWith(stop))
    assert.strictEqual(write(natives(text.slice(0, -stop.length))), text)
  })

  it("writes nothing for the usage of a native answer that has failed", () => {
    const read = MessagesChat.reader()
    const { chunk } = MessagesChat.writer()
    const [native] = dataOf(write(chunks)).map((data) => read(data) as ChatChunk.ChatChunk)
    assert.include(chunk(native!), "message_start")
    assert.strictEqual(chunk({ choices: [], usage }), "")
  })

  it("reads input that comes whole, blocks that chat does not know, pings, errors and no events", () => {
    const read = MessagesChat.reader()
    const delta = (event: object) => {
      const chunk = read(JSON.stringify(event))
      return chunk instanceof Unreadable ? chunk.detail : chunk?.choices[0]?.delta
    }
    const block = (content_block: object) => ({ type: "content_block_start", index: 0, content_block })
    delta(block({ type: "tool_use", id: "a", name: "f", input: { b: 1 } }))
    assert.deepStrictEqual(delta({ type: "content_block_stop", index: 0 }), {
      tool_calls: [{ index: 0, function: { arguments: "{\"b\":1}" } }]
    })
    assert.deepStrictEqual(delta(block({ type: "server_tool_use", id: "a", name: "web_search", input: {} })), {
      native_block: "server_tool_use"
    } as object)
    assert.deepStrictEqual(delta({ type: "something_new", index: {} }), {})
    assert.isUndefined(delta({ type: "ping" }))
    assert.strictEqual(delta({ type: "error", error: { type: "overloaded_error", message: "Busy" } }), "an error")
    assert.strictEqual(delta({ choices: [] }), "JSON without a type")
    assert.strictEqual(delta({ type: "a\n\nevent: b" }), "JSON without a type")
  })

  const model = (native: boolean): ChatModel.ChatModel => ({
    complete: () =>
      Effect.succeed(
        native ? MessagesChat.parse(JSON.stringify({ ...answer, extra: 1 })) as typeof completion : completion
      ),
    stream: () => Stream.fromIterable(chunks)
  })
  const request: Messages.Request = { model: "m", max_tokens: 9, messages: [user("Hi")] }

  it.effect("asks any model", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* MessagesChat.create(model(false), request), answer)
      assert.deepStrictEqual<object>(yield* MessagesChat.create(model(true), request), { ...answer, extra: 1 })
      const events = yield* Stream.runCollect(MessagesChat.stream(model(false), request))
      assert.deepStrictEqual(Array.from(events), dataOf(write(chunks)).map((data) => JSON.parse(data)))
    }))
})
