import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Simulator } from "../src/index.ts"
import { type Ask, ask, hello, instant, message, user, weather } from "./support.ts"

const simulated = (options: Parameters<typeof Simulator.layerHttpClient>[0] = {}) =>
  Effect.provide(Simulator.layerHttpClient({ ...instant, ...options }))

const call = (id: string) => ({ id, type: "function", function: { name: "get_weather", arguments: "{}" } })

const calling = (...ids: ReadonlyArray<string>) => ({
  role: "assistant",
  content: null,
  reasoning_content: "",
  tool_calls: ids.map(call)
})

const result = (id: string) => ({ role: "tool", tool_call_id: id, content: "18 °C" })

/** The beginnings of the formats that there are. */
const pictures = {
  jpeg: "/9j/4AAQSkZJRgABAQ==",
  png: "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
  gif: "R0lGODlhAQABAAAAACw=",
  webp: "UklGRiIAAABXRUJQVlA4IBYAAAA="
}

const url = (url: string, more: object = {}) => ({ type: "image_url", image_url: { url, ...more } })

const showing = (...parts: ReadonlyArray<object>) => ({
  role: "user",
  content: [{ type: "text", text: "What is this?" }, ...parts]
})

const image = showing(url(`data:image/png;base64,${pictures.png}`))

/** The text of the 400 to a request. */
const refusal = (body: unknown, options?: Ask) =>
  Effect.map(ask(body, options), ({ status, text }) => {
    assert.strictEqual(status, 400, text)
    assert.include(text, "\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_request_error\"")
    return message(text)
  })

const accepted = (body: unknown, options?: Ask) =>
  Effect.map(ask(body, options), ({ status, text }) => assert.strictEqual(status, 200, text))

const refuses = (name: string, body: unknown, expected: string | RegExp, options?: Ask) =>
  it.effect(name, () =>
    Effect.gen(function*() {
      const text = yield* refusal(body, options)
      if (typeof expected === "string") assert.strictEqual(text, expected)
      else assert.match(text, expected)
    }).pipe(simulated()))

const wrongType = "Failed to deserialize the JSON body into the target type: "

describe("validation", () => {
  describe("of the JSON", () => {
    refuses("no JSON", "{", /^Failed to parse the request body as JSON: expected value at line 1 column 1$/)
    refuses(
      "an empty body",
      "",
      /^Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0$/
    )
    refuses(
      "what nests deeper than 127 levels",
      { ...hello, anything: JSON.parse("[".repeat(127) + "]".repeat(127)) },
      /^Failed to parse the request body as JSON: recursion limit exceeded at line 1 column \d+$/
    )
    refuses("a missing model", { messages: [user("x")] }, /: missing field `model` at line 1 column \d+$/)
    refuses(
      "missing messages",
      { model: "deepseek-flash" },
      /target type: missing field `messages` at line 1 column \d+$/
    )
    refuses(
      "an unknown role",
      { ...hello, messages: [{ role: "developer", content: "x" }] },
      /target type: messages\[0\]\.role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`, `latest_reminder` at line 1/
    )
    refuses(
      "a message without content",
      { ...hello, messages: [user("x"), { role: "user" }] },
      /messages\[1\]: missing field `content`/
    )
    refuses(
      "an assistant turn without the key",
      { ...hello, messages: [user("x"), { role: "assistant", tool_calls: [call("a")] }] },
      /messages\[1\]: missing field `content`/
    )
    refuses(
      "a number for text",
      { ...hello, model: 5 },
      `${wrongType}model: invalid type: integer \`5\`, expected a string at line 1 column 83`
    )
    refuses("an array", [], /invalid type: sequence, expected struct ChatCompletionRequest/)
    refuses(
      "an effort that there is not",
      { ...hello, reasoning_effort: "ultra" },
      /reasoning_effort: unknown variant `ultra`, expected one of `none`, /
    )
    refuses(
      "an effort that is no text",
      { ...hello, reasoning_effort: 3 },
      /^Failed to parse the request body as JSON: reasoning_effort: expected value at line 1 column \d+$/
    )
    refuses(
      "a tool of another type",
      { ...hello, tools: [{ type: "custom" }] },
      /tools\[0\]\.type: unknown variant `custom`, expected `function`/
    )
    refuses(
      "an image in a system message",
      { ...hello, messages: [{ ...image, role: "system" }] },
      /unknown variant `image_url`, expected `text`/
    )
  })

  describe("of images", () => {
    const id = "file-api-1"
    const picture = "https://example.com/a.png"
    const both = { file_id: id, file_data: pictures.png }
    for (const [name, file] of Object.entries({ both, neither: {}, "a name alone": { filename: "a.png" } })) {
      for (const type of [{ type: "file" }, {}]) {
        refuses(
          `a file with ${name} of id and data${"type" in type ? "" : ", without a type"}`,
          { ...hello, messages: [showing({ ...type, file })] },
          /^Failed to deserialize .*: messages\[0\]\.content\[1\]\.file: expected exactly one of `file_id` and `file_data` at line 1 /
        )
      }
    }
    refuses(
      "an id that is no text",
      { ...hello, messages: [showing({ type: "file", file: { file_id: 5 } })] },
      /file\.file_id: invalid type: integer `5`, expected a string/
    )
    refuses(
      "a detail that there is not",
      { ...hello, messages: [showing(url(picture, { detail: "ultra" }))] },
      /image_url\.detail: unknown variant `ultra`, expected one of `low`, `high`, `original`, `auto`/
    )
    refuses(
      "a URL of 8,193 characters",
      { ...hello, messages: [showing(url(`https://a.example/${"x".repeat(8_193 - 18)}`))] },
      /image_url\.url: invalid length 8193, expected a URL of at most 8192 characters/
    )
    for (const wrong of ["", "a.png", "file:///a.png", "data:image/png,abc"]) {
      refuses(
        `a URL like "${wrong}"`,
        { ...hello, messages: [showing(url(wrong))] },
        /image_url\.url: invalid value: expected an http\(s\) URL or a data URL in base64/
      )
    }
    for (
      const [name, part] of Object.entries({
        url: url("data:image/png;base64,PHN2Zz4="),
        file: { file: { file_data: "JVBERi0=" } }
      })
    ) {
      refuses(
        `a ${name} that holds no picture`,
        { ...hello, messages: [showing(part)] },
        /invalid value: expected a JPEG, PNG, GIF or WebP image in base64/
      )
    }
    refuses(
      "more than 32 MiB within the request",
      { ...hello, messages: [showing({ file: { file_data: pictures.png + "A".repeat(32 * 1_048_576 * 4 / 3) } })] },
      /file_data: invalid length 3355\d{4}, expected at most 33554432 bytes/
    )
    refuses(
      "601 of them",
      { ...hello, messages: [showing(...Array(300).fill(url(picture))), showing(...Array(301).fill(url(picture)))] },
      "Too many images: 601, at most 600 are supported"
    )

    it.effect("accepts what is right", () =>
      Effect.gen(function*() {
        const parts = [
          ...Object.values(pictures).map((data) => url(`data:;base64,${data}`)),
          ...["low", "high", "original", "auto", null].map((detail) => url(picture, { detail })),
          url(`https://a.example/${"x".repeat(8_192 - 18)}`),
          { type: "file", file: { file_id: id } },
          { file: { file_data: pictures.webp, filename: "a.webp" } },
          { file: { file_id: id, file_data: null } }
        ]
        yield* accepted({ ...hello, messages: [showing(...parts)] })
        yield* accepted({ ...hello, messages: [showing(...Array(600).fill(url(picture)))] })
        yield* accepted({ ...hello, messages: [user("x"), calling("a"), { ...result("a"), content: parts }] })
      }).pipe(simulated()))
  })

  describe("of the model", () => {
    for (const model of ["gpt-5", "deepseek-chat", "deepseek-reasoner"]) {
      refuses(
        model,
        { ...hello, model },
        `The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed ${model}.`
      )
    }

    it.effect("accepts legacy names and echoes them", () =>
      Effect.gen(function*() {
        for (const model of ["deepseek-v4-flash", "deepseek-v4-flash-vision-exp", "deepseek-v4-pro"]) {
          assert.include((yield* ask({ ...hello, model })).text, `"model":"${model}"`)
        }
      }).pipe(simulated()))
  })

  describe("of ranges", () => {
    for (const temperature of [-0.1, 2.1]) {
      refuses(
        `temperature ${temperature}`,
        { ...hello, temperature },
        "Invalid temperature value, the valid range of temperature is [0, 2]"
      )
    }
    for (const top_p of [0, 1.1]) {
      refuses(`top_p ${top_p}`, { ...hello, top_p }, "Invalid top_p value, the valid range of top_p is (0, 1.0]")
    }
    for (const max_tokens of [0, 393_217]) {
      refuses(
        `max_tokens ${max_tokens}`,
        { ...hello, max_tokens },
        "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]"
      )
    }
    refuses("17 stop strings", { ...hello, stop: Array.from({ length: 17 }, String) }, "Stop string array too long: 17")
    refuses(
      "top_logprobs alone",
      { ...hello, top_logprobs: 1 },
      "Invalid top_logprobs and logprobs value, logprobs must be set to true if top_logprobs is used."
    )
    refuses(
      "21 top_logprobs",
      { ...hello, logprobs: true, top_logprobs: 21 },
      "Invalid top_logprobs value, the valid range of top_logprobs is [0, 20]."
    )
    refuses("stream_options without stream", { ...hello, stream_options: { include_usage: true } }, /stream_options/)
    refuses(
      "a penalty that is no number",
      { ...hello, presence_penalty: "high" },
      /presence_penalty: invalid type: string "high", expected f64/
    )
    refuses("a user_id of 513 bytes", { ...hello, user_id: "x".repeat(513) }, /user_id/)

    it.effect("accepts the bounds", () =>
      Effect.gen(function*() {
        for (
          const extra of [
            { temperature: 0 },
            { temperature: 2 },
            { top_p: 1 },
            { max_tokens: 1 },
            { max_tokens: 393_216 },
            { stop: Array.from({ length: 16 }, (_, index) => `stop${index}`) },
            { logprobs: true, top_logprobs: 20 },
            { user_id: "x".repeat(512) },
            { frequency_penalty: 9, presence_penalty: null },
            { thinking: null, stop: null, tools: null, temperature: null },
            { seed: 1, n: 1, something_new: {} }
          ]
        ) yield* accepted({ ...hello, ...extra })
      }).pipe(simulated()))
  })

  describe("of formats", () => {
    refuses(
      "JSON mode without the word",
      { ...hello, response_format: { type: "json_object" } },
      "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."
    )
    refuses(
      "json_schema",
      { ...hello, response_format: { type: "json_schema" } },
      "This response_format type is unavailable now"
    )
  })

  describe("of tools", () => {
    for (const tool_choice of ["required", { type: "function", function: { name: "get_weather" } }]) {
      refuses(
        `forcing one while thinking (${typeof tool_choice})`,
        { ...hello, tools: [weather], tool_choice },
        "Thinking mode does not support this tool_choice"
      )
    }
    refuses("two of one name", { ...hello, tools: [weather, weather] }, "Tool names must be unique.")
    refuses(
      "a name with a space",
      { ...hello, tools: [{ type: "function", function: { name: "get weather" } }] },
      /^Invalid 'tools\[0\]\.function\.name'/
    )
  })

  describe("of strict tools", () => {
    const beta = { path: "/beta/chat/completions" }
    const strict = (parameters: object) => ({
      ...hello,
      tools: [{ type: "function", function: { name: "probe", strict: true, parameters } }]
    })
    const object = (properties: object, more: object = {}) => ({
      type: "object",
      properties,
      required: Object.keys(properties),
      additionalProperties: false,
      ...more
    })
    const a = (schema: object) => object({ a: schema })

    const wrong: Record<string, readonly [parameters: object, problem: string]> = {
      minLength: [a({ type: "string", minLength: 1 }), "parameters.properties.a: minLength is not supported"],
      maxLength: [a({ type: "string", maxLength: 9 }), "parameters.properties.a: maxLength is not supported"],
      minItems: [
        a({ type: "array", items: { type: "string" }, minItems: 1 }),
        "parameters.properties.a: minItems is not supported"
      ],
      oneOf: [a({ oneOf: [{ type: "string" }] }), "parameters.properties.a: oneOf is not supported"],
      format: [a({ type: "string", format: "date" }), "parameters.properties.a: format \"date\" is not supported"],
      null: [a({ type: ["string", "null"] }), "parameters.properties.a: type [\"string\",\"null\"] is not supported"],
      any: [a({}), "parameters.properties.a: one of type, enum, const, anyOf, $ref, properties must be set"],
      optional: [
        object({ a: { type: "string" } }, { required: [] }),
        "parameters: required must name every property, a is missing"
      ],
      "no required": [
        { type: "object", properties: { a: { type: "string" } }, additionalProperties: false },
        "parameters: required must name every property, a is missing"
      ],
      open: [object({}, { additionalProperties: undefined }), "parameters: additionalProperties must be false"],
      "open items": [
        a({ type: "array", items: { type: "object", properties: {} } }),
        "parameters.properties.a.items: additionalProperties must be false"
      ],
      "open branch": [
        a({ anyOf: [{ type: "string" }, { type: "object" }] }),
        "parameters.properties.a.anyOf[1]: additionalProperties must be false"
      ],
      "open definition": [
        object({}, { $defs: { b: { type: "object" } } }),
        "parameters.$defs.b: additionalProperties must be false"
      ],
      "lost $ref": [a({ $ref: "#/$defs/b" }), "parameters.properties.a: $ref \"#/$defs/b\" leads nowhere"],
      boolean: [object({ a: true }), "parameters.properties.a: a schema must be an object"]
    }
    for (const [name, [parameters, problem]] of Object.entries(wrong)) {
      refuses(name, strict(parameters), `Invalid schema for strict function 'probe': ${problem}`, beta)
    }
    refuses(
      "one beside one that is not",
      { ...hello, tools: [...strict(object({})).tools, weather] },
      "All functions must set strict to true when one of them does",
      beta
    )

    it.effect("accepts what is right, and everything away from beta", () =>
      Effect.gen(function*() {
        const parameters = object({
          text: { type: "string", pattern: "^a", description: "A text" },
          mail: { type: "string", format: "email" },
          count: { type: "integer", minimum: 1, exclusiveMaximum: 9, multipleOf: 2, default: 2 },
          price: { type: "number", const: 1.5 },
          kind: { enum: ["a", "b"] },
          flag: { type: "boolean" },
          nodes: { type: "array", items: { $ref: "#/$def/node" } },
          either: { anyOf: [{ type: "string" }, { $ref: "#" }] }
        }, { $def: { node: object({ nodes: { type: "array", items: { $ref: "#/$def/node" } } }) } })
        yield* accepted(strict(parameters), beta)
        yield* accepted({ ...strict(parameters), thinking: { type: "disabled" } }, beta)
        yield* accepted({ ...hello, tools: [{ type: "function", function: { name: "f", strict: true } }] }, beta)
        yield* accepted({ ...hello, tools: [weather] }, beta)
        yield* accepted(strict(a({ type: "string", minLength: 1 })))
      }).pipe(simulated()))
  })

  describe("of the conversation", () => {
    refuses("no messages", { ...hello, messages: [] }, "Empty input messages")
    for (const content of [null, ""]) {
      refuses(
        `an assistant turn that is ${JSON.stringify(content)}`,
        { ...hello, messages: [user("x"), { role: "assistant", content }, user("y")] },
        "Invalid assistant message: content or tool_calls must be set"
      )
    }
    refuses(
      "a tool message out of nowhere",
      { ...hello, messages: [user("x"), result("a")] },
      "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
    )
    refuses(
      "a tool message for another call",
      { ...hello, messages: [user("x"), calling("a"), result("b")] },
      "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
    )
    refuses(
      "a missing tool result",
      { ...hello, messages: [user("x"), calling("a", "b"), result("a"), user("y")] },
      /^An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id', .*: b$/
    )
    refuses(
      "missing tool results at the end",
      { ...hello, messages: [user("x"), calling("a")] },
      "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id', (insufficient tool " +
        "messages following tool_calls message)"
    )
    refuses(
      "an image for a model of text",
      { ...hello, model: "deepseek-v4-pro", messages: [image] },
      "This model does not support image"
    )
    refuses(
      "more than the context holds",
      { ...hello, messages: [user("字".repeat(1_700_000))], max_tokens: 100_000 },
      /^This model's maximum context length is 1048576 tokens\. However, you requested 11200\d\d tokens \(10200\d\d in the messages, 100000 in the completion\)\. Please reduce/
    )
    refuses(
      "prefix away from beta",
      { ...hello, messages: [user("x"), { role: "assistant", content: "y", prefix: true }] },
      /prefix/
    )

    it.effect("accepts what is right", () =>
      Effect.gen(function*() {
        yield* accepted({ ...hello, messages: [image] })
        yield* accepted({ ...hello, messages: [user("x"), calling("a", "b"), result("b"), result("a")] })
        yield* accepted({
          ...hello,
          messages: [user("x"), calling("a"), result("a"), { role: "assistant", content: "y" }, user("z")]
        })
        const prefixed = [user("x"), { role: "assistant", content: "y", prefix: true }]
        yield* accepted({ ...hello, messages: prefixed }, { path: "/beta/chat/completions" })
      }).pipe(simulated()))
  })

  describe("of replayed thinking", () => {
    const text = "The `reasoning_content` in the thinking mode must be passed back to the API."
    const forgot = { role: "assistant", content: "y" }
    const forgotWithCall = { role: "assistant", content: "", tool_calls: [call("a")] }
    const tools = [weather]

    it.effect("documented: every assistant turn, when there are tools", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* refusal({ ...hello, tools, messages: [user("x"), forgot, user("z")] }), text)
        yield* accepted({ ...hello, messages: [user("x"), forgot, user("z")] })
        yield* accepted({ ...hello, tools, messages: [user("x"), { ...forgot, reasoning_content: "" }, user("z")] })
        yield* accepted({ ...hello, tools, thinking: { type: "disabled" }, messages: [user("x"), forgot, user("z")] })
      }).pipe(simulated()))

    it.effect("observed: the turn whose tool results come last", () =>
      Effect.gen(function*() {
        assert.strictEqual(
          yield* refusal({ ...hello, tools, messages: [user("x"), forgotWithCall, result("a")] }),
          text
        )
        yield* accepted({ ...hello, tools, messages: [user("x"), calling("a"), result("a")] })
        yield* accepted({ ...hello, tools, messages: [user("x"), forgot, user("z")] })
      }).pipe(simulated({ replayCheck: "observed" })))

    it.effect("off: none", () =>
      accepted({ ...hello, tools, messages: [user("x"), forgotWithCall, result("a")] }).pipe(
        simulated({ replayCheck: "off" })
      ))
  })

  it.effect("of size: more than 48 MiB is a 413", () =>
    Effect.gen(function*() {
      const { headers, status } = yield* ask("x".repeat(48 * 1024 * 1024 + 1))
      assert.strictEqual(status, 413)
      assert.strictEqual(headers["content-type"], "text/html")
    }).pipe(simulated()))
})
