import { type ChatChunk, type ChatCompletion, Native, Responses, ResponsesChat, WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

const model = "deepseek-flash"

const eventsOf = (text: string): Array<Responses.Event> =>
  text.split("\n").filter((line) => line.startsWith("data: ")).map((line) => JSON.parse(line.slice(6)))

const chunk = (
  delta: ChatChunk.Delta,
  more: Partial<ChatChunk.ChatChunk> = {},
  finish_reason: string | null = null
): ChatChunk.ChatChunk => ({ id: "c1", created: 5, model, choices: [{ index: 0, delta, finish_reason }], ...more })

const usage = {
  prompt_tokens: 10,
  completion_tokens: 7,
  total_tokens: 17,
  prompt_tokens_details: { cached_tokens: 4 },
  completion_tokens_details: { reasoning_tokens: 2 }
}

describe("ResponsesChat", () => {
  describe("toChat", () => {
    it("joins the items of a turn, reasoning first", () => {
      const { messages } = ResponsesChat.toChat({
        model,
        instructions: "Be brief.",
        input: [
          { role: "developer", content: "In English." },
          { type: "message", role: "user", content: [{ type: "input_text", text: "Weather?" }] },
          { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: "Hmm." }] },
          { type: "message", role: "assistant", content: [{ type: "output_text", text: "Let me see." }] },
          { type: "function_call", call_id: "a", name: "weather", arguments: "{}" },
          { type: "function_call", call_id: "b", name: "weather", arguments: "[" },
          { type: "function_call_output", call_id: "a", output: "18 °C" },
          { type: "function_call_output", call_id: "b", output: [{ type: "input_text", text: "19 °C" }] },
          { type: "reasoning", summary: [{ type: "summary_text", text: "Warm." }] },
          { type: "message", role: "assistant", content: "Warm." },
          { type: "web_search_call", id: "w" },
          { role: "user", content: "Thanks" }
        ]
      })
      assert.deepStrictEqual(messages, [
        { role: "system", content: "Be brief." },
        { role: "system", content: "In English." },
        { role: "user", content: "Weather?" },
        {
          role: "assistant",
          content: "Let me see.",
          reasoning_content: "Hmm.",
          tool_calls: [
            { id: "a", type: "function", function: { name: "weather", arguments: "{}" } },
            { id: "b", type: "function", function: { name: "weather", arguments: "[" } }
          ]
        },
        { role: "tool", tool_call_id: "a", content: "18 °C" },
        { role: "tool", tool_call_id: "b", content: "19 °C" },
        { role: "assistant", content: "Warm.", reasoning_content: "Warm." },
        { role: "user", content: "Thanks" }
      ])
    })

    it("keeps images and files as parts", () => {
      const content = [
        { type: "input_text", text: "What is this?" },
        { type: "input_image", image_url: "https://a.example/b.png", detail: "low" },
        { type: "input_image", file_id: "file-api-1" },
        { type: "input_file", file_data: "data:image/png;base64,AAAA", filename: "a.png" }
      ]
      const { messages } = ResponsesChat.toChat({ model, input: [{ role: "user", content }] })
      assert.deepStrictEqual(messages, [{
        role: "user",
        content: [
          { type: "text", text: "What is this?" },
          { type: "image_url", image_url: { url: "https://a.example/b.png", detail: "low" } },
          { type: "file", file: { file_id: "file-api-1" } },
          { type: "file", file: { file_data: "data:image/png;base64,AAAA", filename: "a.png" } }
        ]
      }])
    })

    it("makes functions of custom tools, and leaves out what a service runs", () => {
      const { messages, tool_choice, tools } = ResponsesChat.toChat({
        model,
        input: [
          { role: "user", content: "Patch" },
          { type: "custom_tool_call", call_id: "p", name: "apply_patch", input: "*** \"a\"" },
          { type: "custom_tool_call_output", call_id: "p", output: "Done" }
        ],
        tools: [
          {
            type: "custom",
            name: "apply_patch",
            description: "Patches.",
            format: { type: "grammar", definition: "g: X" }
          },
          { type: "function", name: "f", parameters: { type: "object" }, strict: true },
          { type: "web_search" }
        ],
        tool_choice: { type: "custom", name: "apply_patch" }
      })
      assert.deepStrictEqual(tools!.map(({ function: { name } }) => name), ["apply_patch", "f"])
      assert.include(tools![0]!.function.description, "g: X")
      assert.notProperty(tools![1]!.function, "strict")
      assert.deepStrictEqual(tool_choice, { type: "function", function: { name: "apply_patch" } })
      assert.deepNestedInclude(messages[1], {
        "tool_calls[0].function": { name: "apply_patch", arguments: "{\"input\":\"*** \\\"a\\\"\"}" }
      })
    })

    it("tells the model the schema", () => {
      const schema = { type: "object", properties: { city: { type: "string" } } }
      const chat = ResponsesChat.toChat({
        model,
        instructions: "Be brief.",
        input: "Where?",
        text: { format: { type: "json_schema", name: "place", schema } },
        reasoning: { effort: "ultra" },
        max_output_tokens: 100,
        top_logprobs: 2,
        user: "u"
      })
      assert.deepInclude(chat, {
        response_format: { type: "json_object" },
        reasoning_effort: "max",
        max_tokens: 100,
        logprobs: true,
        top_logprobs: 2,
        user_id: "u"
      })
      const { content } = chat.messages[0]
      assert.isTrue(String(content).startsWith("Be brief.\n\n"))
      assert.include(content, JSON.stringify(schema))
    })

    it("takes any object", () => {
      const odd = [
        {},
        { input: 5, tools: {}, text: [], reasoning: "high", tool_choice: 7 },
        { input: [null, 1, "a", [], {}, { type: "reasoning" }, { type: "function_call" }, { role: "user" }] },
        { input: [{ role: "user", content: [null, {}, { type: "input_image" }] }], tools: [null, { type: "custom" }] }
      ]
      for (const request of odd) {
        const { messages } = ResponsesChat.toChat(request)
        assert.isNotEmpty(messages)
      }
    })
  })

  describe("attach", () => {
    it("puts thinking that clients only carry back in the open", () => {
      const completion: ChatCompletion.ChatCompletion = {
        choices: [{ message: { role: "assistant", content: "Yes", reasoning_content: "Hmm 嗯" } }]
      }
      const { output: [reasoning] } = ResponsesChat.fromCompletion(completion, {
        include: ["reasoning.encrypted_content"]
      })
      const { content: _, ...carried } = reasoning as Responses.Reasoning
      assert.notInclude(carried.encrypted_content, "Hmm")
      const request = { model, input: [{ role: "user", content: "?" }, carried, { role: "assistant", content: "Yes" }] }
      const chat = ResponsesChat.attach(request)
      assert.deepInclude(chat.messages[1], { reasoning_content: "Hmm 嗯" })
      assert.deepNestedInclude(Native.of(chat)?.body, { "input[1].content[0].text": "Hmm 嗯" })
      assert.notNestedProperty(Native.of(chat)?.body, "input[1].encrypted_content")
    })

    it("leaves what is another's, and keeps the text of a body", () => {
      const text = JSON.stringify({ model, input: [{ type: "reasoning", summary: [], encrypted_content: "gAAAAA" }] })
      const body = WireText.attach(JSON.parse(text), text)
      assert.strictEqual(WireText.of(Native.of(ResponsesChat.attach(body))!.body), text)
    })
  })

  describe("fromCompletion", () => {
    it("gives items, status and usage", () => {
      const answer = ResponsesChat.fromCompletion({
        id: "c1",
        created: 5,
        model,
        usage,
        choices: [{
          finish_reason: "length",
          message: {
            role: "assistant",
            content: "Yes",
            reasoning_content: "Hmm",
            tool_calls: [
              { id: "a", type: "function", function: { name: "f", arguments: "{}" } },
              { id: "b", type: "function", function: { name: "apply_patch", arguments: "{\"input\":\"x\"}" } },
              { id: "c", type: "function", function: { name: "apply_patch", arguments: "x" } }
            ]
          }
        }]
      }, { tools: [{ type: "custom", name: "apply_patch" }], temperature: 1 })
      assert.deepStrictEqual(Schema.decodeUnknownSync(Responses.Answer)(answer).status, "incomplete")
      assert.propertyVal(answer, "temperature", 1)
      assert.deepInclude(answer, { id: "resp_c1", incomplete_details: { reason: "max_output_tokens" } })
      assert.deepStrictEqual(answer.output.map(({ type }) => type), [
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
        "custom_tool_call"
      ])
      assert.deepInclude(answer.output[3], { call_id: "b", input: "x" })
      assert.deepInclude(answer.output[4], { call_id: "c", input: "x" })
      assert.deepStrictEqual(answer.usage, {
        input_tokens: 10,
        input_tokens_details: { cached_tokens: 4 },
        output_tokens: 7,
        output_tokens_details: { reasoning_tokens: 2 },
        total_tokens: 17
      })
    })
  })

  describe("writer", () => {
    const call = (index: number, fn: object, id?: string): ChatChunk.ChatChunk =>
      chunk({ tool_calls: [{ index, ...(id === undefined ? undefined : { id }), function: fn }] })

    it("writes numbered events whose pieces add up, calls of which alternate", () => {
      const writer = ResponsesChat.writer({ model, tools: [{ type: "custom", name: "apply_patch" }] })
      const chunks = [
        chunk({ role: "assistant", content: null, reasoning_content: "" }),
        chunk({ reasoning_content: "Hm" }),
        chunk({ reasoning_content: "m" }),
        chunk({ content: "Ye" }),
        chunk({ content: "s" }),
        call(0, { name: "f", arguments: "" }, "a"),
        call(1, { name: "apply_patch", arguments: "{\"inp" }, "b"),
        call(0, { arguments: "{}" }),
        call(1, { arguments: "ut\":\"x\"}" }),
        chunk({}, { usage }, "tool_calls")
      ]
      const events = eventsOf(chunks.map((chunk) => writer.chunk(chunk)).join("") + writer.end())
      assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, index) => index))
      const last = events.at(-1)!
      assert.strictEqual(last.type, "response.completed")
      const { response } = last as { response: Responses.Answer }
      assert.deepInclude(response.output[1], {
        content: [{ type: "output_text", text: "Yes", annotations: [], logprobs: [] }]
      })
      assert.deepInclude(response.output[2], { call_id: "a", arguments: "{}" })
      assert.deepInclude(response.output[3], { call_id: "b", input: "x" })
      assert.strictEqual(response.usage?.total_tokens, 17)
      for (const [index, item] of response.output.entries()) {
        const of = events.filter((event) => "output_index" in event && event.output_index === index)
        assert.strictEqual(of[0]?.type, "response.output_item.added")
        assert.deepInclude(of.at(-1), { type: "response.output_item.done", item })
      }
      // What the events say is what chat reads from them again.
      const read = ResponsesChat.reader()
      const said = events.map((event) => read(JSON.stringify(event)) as ChatChunk.ChatChunk)
      const deltas = said.map(({ choices: [choice] }) => choice!.delta)
      assert.strictEqual(deltas.map(({ content }) => content ?? "").join(""), "Yes")
      assert.strictEqual(deltas.map(({ reasoning_content }) => reasoning_content ?? "").join(""), "Hmm")
      const fragments = deltas.flatMap(({ tool_calls }) => tool_calls ?? [])
      const args = (index: number) =>
        fragments.filter((one) => one.index === index).map((one) => one.function?.arguments ?? "").join("")
      assert.deepStrictEqual([args(0), args(1)], ["{}", "{\"input\":\"x\"}"])
      assert.strictEqual(said.at(-1)?.choices[0]?.finish_reason, "tool_calls")
      assert.strictEqual(said.at(-1)?.usage?.prompt_tokens, 10)
    })

    it("ends a failure with response.failed and error", () => {
      const writer = ResponsesChat.writer({ model })
      const begun = writer.chunk(chunk({ content: "Ye" }))
      const error = { code: "upstream_truncated", message: "cut" }
      const events = eventsOf(begun + writer.fail(error))
      assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, index) => index))
      assert.deepNestedInclude(events.at(-2), {
        type: "response.failed",
        "response.status": "failed",
        "response.error": error
      })
      assert.deepInclude(Object(events.at(-1)), { type: "error", ...error })
    })

    it("writes events of the service as they came, and goes on from them where it fails", () => {
      const read = ResponsesChat.reader()
      const created =
        "{\"type\":\"response.created\",\"sequence_number\":0, \"response\":{\"id\":\"resp_9\",\"odd\":1e400}}"
      const delta = "{\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"a\"}"
      const writer = ResponsesChat.writer({ model })
      const text = [created, delta].map((data) => writer.chunk(read(data) as ChatChunk.ChatChunk)).join("")
      assert.strictEqual(
        text,
        `event: response.created\ndata: ${created}\n\nevent: response.output_text.delta\ndata: ${delta}\n\n`
      )
      const [failed] = eventsOf(writer.fail({ code: "c", message: "m" }))
      assert.deepNestedInclude(failed, { sequence_number: 2, "response.id": "resp_9" })
      assert.strictEqual(writer.end(), "")
    })
  })

  describe("reader", () => {
    it("tells errors from events", () => {
      const read = ResponsesChat.reader()
      const errors = [
        { type: "error", code: "rate_limit_exceeded", message: "slow down" },
        { type: "response.failed", response: { error: { code: "server_error", message: "no" } } },
        { type: "response.failed", response: { error: null } },
        { error: { message: "no" } }
      ]
      for (const error of errors) {
        const unreadable = read(JSON.stringify(error))
        assert.instanceOf(unreadable, WireText.Unreadable)
        assert.property(unreadable.json, "error")
      }
      for (const data of ["", "x", "[]", "{}", "{\"type\":1}"]) assert.instanceOf(read(data), WireText.Unreadable)
    })

    it("reads a response that has failed as an error", () => {
      const answer = { id: "r", object: "response", status: "failed", output: [], error: { code: "c", message: "no" } }
      const unreadable = ResponsesChat.parse(JSON.stringify(answer))
      assert.instanceOf(unreadable, WireText.Unreadable)
      assert.deepNestedInclude(unreadable.json, { "error.message": "no" })
    })

    it("does not take an answer of other items for an empty one", () => {
      const answer = { id: "r", status: "completed", output: [{ type: "web_search_call" }] }
      const completion = ResponsesChat.parse(JSON.stringify(answer)) as ChatCompletion.ChatCompletion
      assert.property(completion.choices[0].message, "native_item")
    })
  })
})
