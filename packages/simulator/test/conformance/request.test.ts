import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { complete, hello, streamed, user, weather } from "../support.ts"
import { all, beta, refuses, section, takes } from "./rows.ts"

const off = { thinking: { type: "disabled" } }
const messageOf = (body: object) => Effect.map(complete(body), ({ choices: [{ message }] }) => message)
const tool = (name: string, more: object = {}) => ({ type: "function", function: { name, ...more } })
const call = { id: "call_00_a", type: "function", function: { name: "get_weather", arguments: "{}" } }
const calling = { role: "assistant", content: "", reasoning_content: "", tool_calls: [call] }
const result = { role: "tool", tool_call_id: "call_00_a", content: "18 °C" }
const image = { type: "image_url", image_url: { url: "https://example.com/a.png" } }
const chat = (...messages: ReadonlyArray<object>) => ({ ...hello, messages })

section("§5.1 fields of a request", {
  "model: a string, required": all(
    refuses({ messages: hello.messages }, /missing field `model`/),
    refuses({ ...hello, model: 1 }, /model: invalid type/)
  ),
  "messages: at least one": all(
    refuses({ model: hello.model }, /missing field `messages`/),
    refuses(chat(), "Empty input messages")
  ),
  "thinking: enabled or disabled or null, enabled by default": Effect.gen(function*() {
    for (const thinking of [undefined, null, { type: "enabled" }]) {
      assert.isDefined((yield* messageOf({ ...hello, thinking })).reasoning_content)
    }
    assert.isUndefined((yield* messageOf({ ...hello, ...off })).reasoning_content)
    yield* refuses({ ...hello, thinking: { type: "adaptive" } }, /unknown variant `adaptive`/)
  }),
  "reasoning_effort: none, minimal, low, medium, high, xhigh, max; none is no thinking": Effect.gen(function*() {
    for (const effort of ["minimal", "low", "medium", "high", "xhigh", "max"]) {
      yield* takes({ ...hello, reasoning_effort: effort })
    }
    assert.isUndefined((yield* messageOf({ ...hello, reasoning_effort: "none" })).reasoning_content)
    yield* refuses({ ...hello, reasoning_effort: "ultra" }, /unknown variant `ultra`/)
  }),
  "max_tokens: 1…393216, counts reasoning and answer": Effect.gen(function*() {
    for (const max_tokens of [0, 393_217]) {
      yield* refuses(
        { ...hello, max_tokens },
        "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]"
      )
    }
    const { choices: [{ finish_reason, message }], usage } = yield* complete({ ...hello, max_tokens: 2 })
    assert.deepInclude(message, { content: "" })
    assert.deepStrictEqual([finish_reason, usage?.completion_tokens], ["length", 2])
  }),
  "max_completion_tokens: not documented, tolerated": takes({ ...hello, max_completion_tokens: 5 }),
  "response_format: text or json_object; json_schema is not available": all(
    takes({ ...hello, response_format: { type: "text" } }),
    takes({ ...hello, messages: [user("json")], response_format: { type: "json_object" } }),
    refuses({ ...hello, response_format: { type: "json_schema" } }, "This response_format type is unavailable now")
  ),
  "stop: a string or at most 16": all(
    takes({ ...hello, stop: "x" }),
    takes({ ...hello, stop: Array(16).fill("x") }),
    refuses({ ...hello, stop: Array(17).fill("x") }, "Stop string array too long: 17")
  ),
  "stream: a boolean": refuses({ ...hello, stream: "yes" }, /stream: invalid type/),
  "stream_options: with stream only": all(
    takes({ ...hello, stream: true, stream_options: { include_usage: true } }),
    refuses({ ...hello, stream_options: { include_usage: true } }, /stream_options/)
  ),
  "temperature: 0…2; no effect and no error while thinking": Effect.gen(function*() {
    for (const temperature of [-0.1, 2.1]) {
      yield* refuses(
        { ...hello, temperature },
        "Invalid temperature value, the valid range of temperature is [0, 2]"
      )
    }
    assert.deepStrictEqual(yield* messageOf({ ...hello, temperature: 2 }), yield* messageOf(hello))
  }),
  "top_p: (0, 1]": all(
    takes({ ...hello, top_p: 1 }),
    refuses({ ...hello, top_p: 0 }, "Invalid top_p value, the valid range of top_p is (0, 1.0]"),
    refuses({ ...hello, top_p: 1.1 }, "Invalid top_p value, the valid range of top_p is (0, 1.0]")
  ),
  "tools: functions with unique names of [a-zA-Z0-9_-], at most 128 characters": all(
    takes({ ...hello, tools: [weather, tool("a".repeat(128))] }),
    refuses({ ...hello, tools: [tool("a".repeat(129))] }, /tools\[0\]\.function\.name/),
    refuses({ ...hello, tools: [tool("a b")] }, /tools\[0\]\.function\.name/),
    refuses({ ...hello, tools: [weather, weather] }, /unique/),
    refuses({ ...hello, tools: [{ type: "custom", custom: {} }] }, /unknown variant `custom`/)
  ),
  "tool_choice: none, auto, required or a name; forced needs thinking off": Effect.gen(function*() {
    const asked = { ...hello, tools: [weather] }
    for (const tool_choice of ["required", tool("get_weather")]) {
      yield* refuses({ ...asked, tool_choice }, "Thinking mode does not support this tool_choice")
      assert.isNotEmpty((yield* messageOf({ ...asked, ...off, tool_choice })).tool_calls)
    }
    assert.isUndefined((yield* messageOf({ ...asked, tool_choice: "none" })).tool_calls)
    assert.isNotEmpty((yield* messageOf(asked)).tool_calls)
  }),
  "logprobs, top_logprobs: 0…20, with logprobs only": all(
    takes({ ...hello, logprobs: true, top_logprobs: 20 }),
    refuses({ ...hello, logprobs: true, top_logprobs: 21 }, /the valid range of top_logprobs is \[0, 20\]\.$/),
    refuses(
      { ...hello, top_logprobs: 1 },
      "Invalid top_logprobs and logprobs value, logprobs must be set to true if top_logprobs is used."
    )
  ),
  "user_id: at most 512 bytes": all(
    takes({ ...hello, user_id: "a".repeat(512) }),
    refuses({ ...hello, user_id: "é".repeat(257) }, /user_id/)
  ),
  "frequency_penalty, presence_penalty: accepted and ignored": takes({
    ...hello,
    frequency_penalty: 2,
    presence_penalty: -2
  }),
  "further fields: tolerated, and there is one choice": Effect.map(
    complete({ ...hello, n: 3, seed: 1, parallel_tool_calls: false, store: true, metadata: {}, dsh_extra: [] }),
    ({ choices }) => assert.lengthOf(choices, 1)
  )
})

section("§5.2 messages", {
  "system: text, also in mid-conversation, without images": all(
    takes(chat({ role: "system", content: "Be brief.", name: "a" }, user("x"), { role: "system", content: "Now." })),
    refuses(chat({ role: "system", content: [image] }, user("x")), /unknown variant `image_url`/)
  ),
  "user: text or parts of text, image_url and file": all(
    takes(chat({ role: "user", content: [{ type: "text", text: "x" }, image] })),
    takes(chat({ role: "user", content: [{ type: "file", file: { file_id: "file-api-1" } }] })),
    refuses(chat({ role: "user", content: [{ type: "file", file: {} }] }), /file/)
  ),
  "assistant: content is required and may be null; no images": all(
    takes(chat(user("x"), { ...calling, content: null }, result)),
    refuses(chat(user("x"), { role: "assistant" }, user("y")), /missing field `content`/),
    refuses(chat(user("x"), { role: "assistant", content: [image] }, user("y")), /unknown variant `image_url`/)
  ),
  "assistant: empty content needs tool calls": refuses(
    chat(user("x"), { role: "assistant", content: null }, user("y")),
    "Invalid assistant message: content or tool_calls must be set"
  ),
  "tool: tool_call_id, content of text or parts": all(
    takes(chat(user("x"), calling, { ...result, content: [{ type: "text", text: "18" }, image] })),
    refuses(chat(user("x"), calling, { role: "tool", content: "18" }), /missing field `tool_call_id`/)
  ),
  "latest_reminder: accepted": takes(chat(user("x"), { role: "latest_reminder", content: "Soon." })),
  "developer: rejected, with the roles that there are": refuses(
    chat({ role: "developer", content: "x" }),
    /unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`, `latest_reminder`/
  ),
  "successive messages of one role: accepted": takes(chat(user("x"), user("y")))
})

const strict = (parameters: object) => ({ ...hello, tools: [tool("probe", { strict: true, parameters })] })
const object = (properties: object, more: object = {}) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more
})

section("§5.3 strict tools", {
  "all functions are strict, or none": refuses(
    { ...hello, tools: [...strict(object({})).tools, weather] },
    /All functions must set strict/,
    beta
  ),
  "with and without thinking": all(takes(strict(object({})), beta), takes({ ...strict(object({})), ...off }, beta)),
  "types: object, string, number, integer, boolean, array, enum, anyOf, $ref": takes(
    strict(
      object({
        a: { type: "string" },
        b: { type: "number" },
        c: { type: "integer" },
        d: { type: "boolean" },
        e: { type: "array", items: { $ref: "#/$def/f" } },
        f: { enum: ["x"] },
        g: { anyOf: [{ type: "string" }, { type: "integer" }] }
      }, { $def: { f: object({ again: { $ref: "#/$def/f" } }) } })
    ),
    beta
  ),
  "object: all properties required, additionalProperties false": all(
    refuses(strict(object({ a: { type: "string" } }, { required: [] })), /required/, beta),
    refuses(strict(object({}, { additionalProperties: true })), /additionalProperties/, beta)
  ),
  "string: pattern and format, no length": all(
    takes(strict(object({ a: { type: "string", pattern: "^a", format: "uuid" } })), beta),
    refuses(strict(object({ a: { type: "string", minLength: 1 } })), /minLength/, beta),
    refuses(strict(object({ a: { type: "string", maxLength: 1 } })), /maxLength/, beta)
  ),
  "number, integer: const, default, bounds, multipleOf": takes(
    strict(
      object({
        a: { type: "integer", minimum: 1, maximum: 2, exclusiveMinimum: 0, exclusiveMaximum: 3, multipleOf: 1 },
        b: { type: "number", const: 1, default: 1 }
      })
    ),
    beta
  ),
  "array: no minItems, no maxItems": all(
    refuses(strict(object({ a: { type: "array", items: {}, minItems: 1 } })), /minItems/, beta),
    refuses(strict(object({ a: { type: "array", items: {}, maxItems: 1 } })), /maxItems/, beta)
  ),
  "away from the beta path strict does nothing": Effect.map(
    streamed(strict(object({ a: { type: "string", minLength: 1 } }))),
    (chunks) => assert.isNotEmpty(chunks)
  )
})
