import { ChatError, type ChatModel, type ChatRequest } from "@ballast/chat"
import { DeepSeek, Preflight, Provider, Source } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { HttpClient } from "effect/http"
import { apiKey, client, service } from "./support/simulated.ts"

const base: ChatRequest.ChatRequest = { model: "deepseek-flash", messages: [{ role: "user", content: "Which port?" }] }
const silent = { thinking: { type: "disabled" } } as const

const tool = (name: string, parameters: object = { type: "object", properties: {} }, strict?: boolean) => ({
  type: "function" as const,
  function: { name, parameters: { ...parameters }, ...(strict === undefined ? undefined : { strict }) }
})

const strict = (...properties: ReadonlyArray<object>) =>
  properties.map((property, index) =>
    tool(`t${index}`, {
      type: "object",
      properties: { a: property },
      required: ["a"],
      additionalProperties: false
    }, true)
  )

const calling = (...ids: ReadonlyArray<string>): ChatRequest.Message => ({
  role: "assistant",
  content: "",
  reasoning_content: "",
  tool_calls: ids.map((id) => ({ id, type: "function", function: { name: "t0", arguments: "{}" } }))
})
const result = (id: string): ChatRequest.Message => ({ role: "tool", tool_call_id: id, content: "18" })
const talk = (...messages: ReadonlyArray<ChatRequest.Message>): Partial<ChatRequest.ChatRequest> => ({
  messages: [...base.messages, ...messages]
})

/** What is refused, and at which path. */
const refused: Record<string, readonly [request: object, path: string]> = {
  "no model": [{ model: undefined }, "model"],
  "a temperature above 2": [{ temperature: 2.1 }, "temperature"],
  "a temperature below 0": [{ temperature: -0.1 }, "temperature"],
  "a top_p of 0": [{ top_p: 0 }, "top_p"],
  "a top_p above 1": [{ top_p: 1.01 }, "top_p"],
  "max_tokens of 0": [{ max_tokens: 0 }, "max_tokens"],
  "max_tokens above 393,216": [{ max_tokens: 393_217 }, "max_tokens"],
  "top_logprobs without logprobs": [{ top_logprobs: 2 }, "top_logprobs"],
  "top_logprobs above 20": [{ logprobs: true, top_logprobs: 21 }, "top_logprobs"],
  "17 stops": [{ stop: Array.from({ length: 17 }, String) }, "stop"],
  "a user_id of 513 characters": [{ user_id: "u".repeat(513) }, "user_id"],
  "JSON mode without the word": [{ response_format: { type: "json_object" } }, "messages"],
  "json_schema": [{ response_format: { type: "json_schema" } }, "response_format.type"],
  "a required call while thinking": [{ tools: [tool("t0")], tool_choice: "required" }, "tool_choice"],
  "a named call while thinking": [
    { tools: [tool("t0")], tool_choice: { type: "function", function: { name: "t0" } } },
    "tool_choice"
  ],
  "two tools of a name": [{ tools: [tool("t0"), tool("t0")] }, "tools[1].function.name"],
  "a tool's name with a dot": [{ tools: [tool("t.0")] }, "tools[0].function.name"],
  "a tool's name of 129 letters": [{ tools: [tool("t".repeat(129))] }, "tools[0].function.name"],
  "a tool that is no function": [{ tools: [{ ...tool("t0"), type: "custom" }] }, "tools[0].type"],
  "a result without a call": [talk(result("c1")), "messages[1]"],
  "a call without its result": [talk(calling("c1", "c2"), result("c1"), ...base.messages), "messages[1].tool_calls"],
  "a call at the end": [talk(calling("c1")), "messages[1].tool_calls"],
  "an assistant turn that says nothing": [
    talk({ role: "assistant", content: "" }, ...base.messages),
    "messages[1].content"
  ],
  "strict and lenient tools": [{ tools: [...strict({ type: "string" }), tool("u")] }, "tools[1].function.strict"],
  "minLength in a strict schema": [
    { tools: strict({ type: "string", minLength: 1 }) },
    "tools[0].function.parameters.properties.a.minLength"
  ],
  "maxItems in a strict schema": [
    { tools: strict({ type: "array", items: { type: "string" }, maxItems: 1 }) },
    "tools[0].function.parameters.properties.a.maxItems"
  ],
  "a strict object that lets other properties in": [
    { tools: strict({ type: "object", properties: {} }) },
    "tools[0].function.parameters.properties.a.additionalProperties"
  ],
  "a property that strict mode does not require": [
    {
      tools: strict({ type: "object", properties: { b: { type: "string" } }, additionalProperties: false })
    },
    "tools[0].function.parameters.properties.a.required"
  ],
  "null in a strict schema": [
    { tools: strict({ anyOf: [{ type: "string" }, { type: "null" }] }) },
    "tools[0].function.parameters.properties.a.anyOf[1].type"
  ],
  "an unknown format in a strict schema": [
    { tools: strict({ type: "string", format: "date-time" }) },
    "tools[0].function.parameters.properties.a.format"
  ],
  "a $ref that leads nowhere": [
    { tools: strict({ $ref: "#/$defs/b" }) },
    "tools[0].function.parameters.properties.a.$ref"
  ]
}

const accepted: Record<string, object> = {
  "a plain request": {},
  "the ends of all ranges": { temperature: 2, top_p: 1, max_tokens: 393_216, logprobs: true, top_logprobs: 20 },
  "fields that are null": { temperature: null, stop: null, tools: null, tool_choice: null, response_format: null },
  "16 stops": { stop: Array.from({ length: 16 }, String) },
  "JSON mode with the word": {
    ...talk({ role: "system", content: "Answer in Json." }),
    response_format: { type: "json_object" }
  },
  "JSON mode with the word in a part": {
    ...talk({ role: "user", content: [{ type: "text", text: "JSON" }] }),
    response_format: { type: "json_object" }
  },
  "a forced call without thinking": { ...silent, tools: [tool("t0")], tool_choice: "required" },
  "a forced call with effort none": { reasoning_effort: "none", tools: [tool("t0")], tool_choice: "required" },
  "two calls and their results, in any order": talk(calling("c1", "c2"), result("c2"), result("c1")),
  "strict tools as documented": {
    tools: strict(
      { type: "string", pattern: "^a", format: "email" },
      { type: "array", items: { type: "integer", minimum: 1, maximum: 3 } },
      { anyOf: [{ type: "number", multipleOf: 0.5 }, { enum: ["x"] }] }
    )
  }
}

const of = (more: object): ChatRequest.ChatRequest => ({ ...base, ...more })

const simulated = service()

/** A source that checks nothing, on the beta path, where strict tools are in force. */
const unchecked = Source.make({
  provider: Provider.deepSeek,
  apiKey,
  baseUrl: "https://api.deepseek.com/beta",
  preflight: false
})

const failure = <E>(model: ChatModel.ChatModel<E>, request: ChatRequest.ChatRequest) =>
  Effect.all([
    Effect.flip(model.complete(request)),
    Effect.flip(Stream.runDrain(model.stream(request)))
  ])

describe("Preflight", () => {
  for (const [name, [more, path]] of Object.entries(refused)) {
    it.effect(`refuses ${name}, as the service does`, () =>
      Effect.gen(function*() {
        const problem = Preflight.check(of(more), { strict: true })
        assert.strictEqual(problem?.path, path, problem?.detail)
        for (const error of yield* failure(yield* unchecked, of(more))) {
          assert.strictEqual(error._tag === "ClientError" && error.reason._tag, "InvalidRequest")
        }
      }).pipe(Effect.provide(simulated)))
  }

  for (const [name, more] of Object.entries(accepted)) {
    it.effect(`lets ${name} through, as the service does`, () =>
      Effect.gen(function*() {
        assert.isUndefined(Preflight.check(of(more), { strict: true }))
        yield* (yield* unchecked).complete(of(more))
      }).pipe(Effect.provide(simulated)))
  }

  it.effect.prop(
    "refuses only what the service refuses, whatever stands beside it",
    [Schema.Array(Schema.Literals([...Object.keys(refused), ...Object.keys(accepted)]))],
    ([names]) =>
      Effect.gen(function*() {
        const request = of(Object.assign({}, ...names.map((name) => refused[name]?.[0] ?? accepted[name])))
        const answer = yield* Effect.result((yield* unchecked).complete(request))
        const problem = Preflight.check(request, { strict: true })
        assert.strictEqual(answer._tag, problem === undefined ? "Success" : "Failure", JSON.stringify(problem))
      }).pipe(Effect.provide(simulated))
  )

  it("leaves strange values to the service", () => {
    const strange: Array<object> = [
      { messages: "x" },
      { messages: [null, 3, { role: 1 }] },
      { messages: [{ role: "assistant", content: "x", tool_calls: "x" }] },
      { tools: "x", tool_choice: 3, stop: 7, temperature: "warm" },
      { tools: [null, {}, { type: "function", function: 3 }] }
    ]
    for (const more of strange) assert.isUndefined(Preflight.check(of(more)))
  })

  it("takes time in proportion to the request", () => {
    const turns = 20_000
    const messages = Array.from({ length: turns }, (_, index) => [calling(`c${index}`), result(`c${index}`)]).flat()
    assert.isUndefined(
      Preflight.check(of({ ...talk(...messages), tools: strict({ type: "string" }) }), { strict: true })
    )
  })

  it("ignores strict where it is not in force", () => {
    assert.isUndefined(Preflight.check(of({ tools: strict({ type: "string", minLength: 1 }) })))
  })
})

describe("the client", () => {
  const warm = of({ temperature: 3 })

  it.effect("sends nothing that the service would refuse, and says where the mistake is", () =>
    Effect.gen(function*() {
      const model = yield* DeepSeek.DeepSeek
      for (const error of yield* failure(model, warm)) {
        assert.isTrue(ChatError.isChatError(error) && error.reason._tag === "InvalidRequest")
        assert.propertyVal(Object(error).reason, "path", "temperature")
        assert.strictEqual(error.message, "The service would refuse the request: temperature must be from 0 to 2, is 3")
      }
      assert.strictEqual((yield* (yield* Simulator.Simulator).inspect).requests, 0)
    }).pipe(Effect.provide(client())))

  it.effect("sends strict tools that can not be strict as plain ones, where it is told to", () =>
    Effect.gen(function*() {
      const request = of({ tools: strict({ type: "string", minLength: 1 }) })
      const [error] = yield* failure(yield* DeepSeek.DeepSeek, request)
      assert.include(error.message, "tools[0].function.parameters.properties.a.minLength is not supported")
      const lenient = DeepSeek.layer({ apiKey, preflight: { strict: false } })
      yield* Effect.provide(Effect.flatMap(DeepSeek.DeepSeek, (model) => model.complete(request)), lenient)
    }).pipe(Effect.provide(client())))

  it.effect("sends it anyway when it is told to", () =>
    Effect.gen(function*() {
      const [error] = yield* failure(yield* DeepSeek.DeepSeek, warm)
      assert.include(error.message, "Invalid temperature value")
    }).pipe(Effect.provide(client({}, { preflight: false }))))

  it.effect("checks nothing for another provider", () =>
    Effect.gen(function*() {
      const provider = Provider.make({ name: "wharf", baseUrl: "https://wharf.example" })
      const [error] = yield* failure(yield* Source.make({ provider, apiKey }), warm)
      assert.include(error.message, "Invalid temperature value")
    }).pipe(Effect.provide(simulated)))

  it.effect("asks for strict tools and prefixes where they are in force", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const noting = HttpClient.mapRequest(yield* HttpClient.HttpClient, (request) => (seen.push(request.url), request))
      for (const baseUrl of [undefined, "https://api.deepseek.com/v1", "https://api.deepseek.com/beta"]) {
        const source = yield* Source.make({ provider: Provider.deepSeek, apiKey, baseUrl }).pipe(
          Effect.provideService(HttpClient.HttpClient, noting)
        )
        yield* source.complete(of({ tools: strict({ type: "string" }) }))
        yield* source.complete(of(talk({ role: "assistant", content: "The port of ", prefix: true })))
        yield* source.complete(base)
      }
      const host = "https://api.deepseek.com"
      const [plain, beta] = [host, `${host}/beta`]
      const expected = [beta, beta, plain, beta, beta, `${plain}/v1`, beta, beta, beta]
      assert.deepStrictEqual(seen, expected.map((url) => `${url}/chat/completions`))
    }).pipe(Effect.provide(simulated)))
})
