import { ChatChunk } from "@ballast/chat/ChatChunk"
import { ChatCompletion } from "@ballast/chat/ChatCompletion"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Simulator } from "../src/index.ts"
import { ask, complete, eventsOf, hello, instant, streamed, user, weather } from "./support.ts"

const simulated = (options: Parameters<typeof Simulator.layerHttpClient>[0] = {}) =>
  Effect.provide(Simulator.layerHttpClient({ ...instant, ...options }))

/** Milliseconds that a test with much work may take; no more than a guard against hanging. */
const patience = 60_000

const seeds = Array.from({ length: 30 }, (_, index) => index)

const message = (body: unknown, simulate?: string) =>
  Effect.map(complete(body, simulate === undefined ? {} : { simulate }), ({ choices: [{ message }] }) => message)

interface Category {
  readonly name: string
  readonly children: ReadonlyArray<Category>
}

const Category: Schema.Codec<Category> = Schema.Struct({
  name: Schema.NonEmptyString,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Category> => Category))
}).annotate({ identifier: "Category" })

class Order extends Schema.Class<Order>("Order")({
  id: Schema.String.check(Schema.isMinLength(3), Schema.isMaxLength(12)),
  state: Schema.Literals(["open", "paid", "sent"]),
  lines: Schema.Array(Schema.Struct({
    sku: Schema.String,
    count: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 })),
    price: Schema.Finite.check(Schema.isGreaterThan(0))
  })).check(Schema.isMinLength(2)),
  pair: Schema.Tuple([Schema.String, Schema.Boolean]),
  note: Schema.optionalKey(Schema.NullOr(Schema.String)),
  by: Schema.Union([Schema.Struct({ card: Schema.Int }), Schema.Literal("cash")]),
  category: Category
}) {}

describe("tools", () => {
  const asking = { ...hello, messages: [user("What is the weather in Paris?")], tools: [weather] }

  it.effect("are called with arguments that fit", () =>
    Effect.gen(function*() {
      const { choices: [choice] } = yield* complete(asking)
      assert.strictEqual(choice.finish_reason, "tool_calls")
      assert.strictEqual(choice.message.content, "")
      const [call] = choice.message.tool_calls ?? []
      assert.deepInclude(call, { index: 0, type: "function" })
      const { city, unit } = JSON.parse(call?.function.arguments ?? "")
      assert.strictEqual(city, "Paris")
      assert.include(["celsius", "fahrenheit"], unit)
    }).pipe(simulated()))

  it.effect("give results that the answer reports", () =>
    Effect.gen(function*() {
      const called = yield* message(asking)
      const id = called.tool_calls?.[0]?.id ?? ""
      const answer = yield* message({
        ...asking,
        messages: [...asking.messages, called, { role: "tool", tool_call_id: id, content: "18 degrees, light rain" }]
      })
      assert.isUndefined(answer.tool_calls)
      assert.include(answer.content, "18 degrees, light rain")
    }).pipe(simulated()))

  it.effect("are chosen by the prompt, or by tool_choice", () =>
    Effect.gen(function*() {
      const tool = (name: string, description: string) => ({ type: "function", function: { name, description } })
      const tools = [tool("send_mail", "Send an e-mail"), tool("get_weather", "Weather of a city")]
      const called = (extra: object) =>
        Effect.map(message({ ...asking, tools, ...extra }), ({ tool_calls }) => tool_calls?.[0]?.function.name)
      assert.strictEqual(yield* called({}), "get_weather")
      assert.strictEqual(yield* called({ messages: [user("Send a mail to Li")] }), "send_mail")
      assert.isUndefined(yield* called({ tool_choice: "none" }))
      const thinking = { type: "disabled" }
      const tool_choice = { type: "function", function: { name: "send_mail" } }
      assert.strictEqual(yield* called({ thinking, tool_choice }), "send_mail")
    }).pipe(simulated()))

  it.effect("are all called that the prompt names, in its order", () =>
    Effect.gen(function*() {
      const time = { type: "function", function: { name: "lookUpTime" } }
      const other = { type: "function", function: { name: "time" } }
      const called = (prompt: string, simulate?: string) =>
        Effect.map(
          message({ ...asking, tools: [weather, time, other], messages: [user(prompt)] }, simulate),
          ({ tool_calls }) => tool_calls?.map((call) => `${call.index} ${call.function.name}`)
        )
      assert.deepStrictEqual(yield* called("Use lookUpTime and get_weather."), ["0 lookUpTime", "1 get_weather"])
      assert.deepStrictEqual(yield* called("Get weather, then look up time."), [
        "0 get_weather",
        "1 lookUpTime",
        "2 time"
      ])
      assert.deepStrictEqual(yield* called("Use get_weather_2 for the weather."), ["0 get_weather"])
      assert.deepStrictEqual(yield* called("Use lookUpTime and get_weather.", "calls=1"), ["0 lookUpTime"])
      assert.lengthOf((yield* called("Use lookUpTime and get_weather.", "calls=3")) ?? [], 3)
    }).pipe(simulated()))

  it.effect("are called as often as x-simulate says", () =>
    Effect.gen(function*() {
      const { tool_calls } = yield* message(asking, "calls=3")
      assert.deepStrictEqual(tool_calls?.map(({ id, index }) => [index, id.slice(0, 8)]), [
        [0, "call_00_"],
        [1, "call_01_"],
        [2, "call_02_"]
      ])
      assert.isUndefined((yield* message(asking, "calls=0")).tool_calls)
    }).pipe(simulated()))

  it.effect("leak into the text, or have broken arguments, when x-simulate says so", () =>
    Effect.gen(function*() {
      const leaked = yield* message(asking, "dsml")
      assert.isUndefined(leaked.tool_calls)
      assert.match(leaked.content ?? "", /^<｜｜DSML｜｜ invoke name="get_weather">/)
      const broken = (yield* message(asking, "badargs")).tool_calls?.[0]?.function.arguments
      assert.throws(() => JSON.parse(broken ?? "{}"))
    }).pipe(simulated()))

  it.effect("get arguments that satisfy a rich schema", () =>
    Effect.gen(function*() {
      const { definitions, schema } = Schema.toJsonSchemaDocument(Order)
      const parameters = { ...schema, $defs: definitions }
      const tools = [{ type: "function", function: { name: "order", parameters } }]
      for (const seed of seeds) {
        const { tool_calls } = yield* message({ ...asking, tools }).pipe(simulated({ seed }))
        yield* Schema.decodeUnknownEffect(Schema.fromJsonString(Order))(tool_calls?.[0]?.function.arguments)
      }
    }))

  describe("get arguments of bounded size, whatever the schema asks for:", () => {
    const object = (properties: object) => ({ type: "object", properties, required: Object.keys(properties) })
    const wide = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`p${index}`, { $ref: "#" }]))
    const endless: Record<string, object> = {
      items: object({ a: { type: "array", minItems: 1e9, items: { type: "array", minItems: 1e9, items: {} } } }),
      unique: object({ a: { type: "array", minItems: 1e9, uniqueItems: true, items: { type: "number" } } }),
      text: object({ a: { type: "array", minItems: 1e9, items: { type: "string", minLength: 1e9 } } }),
      recursion: object({ a: { $ref: "#" } }),
      breadth: object(wide),
      branches: { anyOf: [{ $ref: "#" }] },
      tuples: { type: "array", prefixItems: [{ $ref: "#" }, { $ref: "#" }] },
      merges: { allOf: [{ $ref: "#" }, { $ref: "#" }, { $ref: "#" }] },
      "a broken pointer": object({ a: { $ref: "#/%E0%A4%A" } })
    }
    for (const [name, parameters] of Object.entries(endless)) {
      it.effect(name, () =>
        Effect.gen(function*() {
          const tools = [{ type: "function", function: { name: "probe", parameters } }]
          const { choices: [choice] } = yield* complete({ ...asking, tools, max_tokens: 300_000 })
          const text = choice.message.tool_calls?.[0]?.function.arguments ?? ""
          assert.doesNotThrow(() => JSON.parse(text))
          // What some thousand steps can make of it, however long they take.
          assert.isBelow(text.length, 250_000)
        }).pipe(simulated()), patience)
    }
  })

  it.effect("get arguments for combinators and bounds", () =>
    Effect.gen(function*() {
      const parameters = {
        type: "object",
        required: ["a", "b", "c", "d", "e", "f"],
        properties: {
          a: { allOf: [{ type: "integer" }, { minimum: 10, maximum: 12 }] },
          b: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
          c: { type: "integer", multipleOf: 5, minimum: 1, maximum: 9 },
          d: { type: "array", items: { enum: [1, 2, 3] }, uniqueItems: true, minItems: 3 },
          e: { const: "fixed" },
          f: { type: ["string", "null"], format: "date" }
        }
      }
      const tools = [{ type: "function", function: { name: "probe", parameters } }]
      for (const seed of seeds) {
        const { tool_calls } = yield* message({ ...asking, tools }).pipe(simulated({ seed }))
        const { a, b, c, d, e, f } = JSON.parse(tool_calls?.[0]?.function.arguments ?? "")
        assert.include([10, 11, 12], a)
        assert.isTrue(b > 0 && b < 1, `${b}`)
        assert.strictEqual(c, 5)
        assert.deepStrictEqual([...d].sort(), [1, 2, 3])
        assert.strictEqual(e, "fixed")
        assert.match(f, /^\d{4}-\d{2}-\d{2}$/)
      }
    }))
})

describe("a reply of one's own", () => {
  it.effect("is the text of every answer, whole and streamed, within the request's bounds", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* message(hello)).content, "Hello, 世界! Good bye.")
      assert.strictEqual((yield* message({ ...hello, tools: [weather] })).content, "Hello, 世界! Good bye.")
      const chunks = yield* streamed(hello)
      assert.strictEqual(
        chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join(""),
        "Hello, 世界! Good bye."
      )
      assert.strictEqual((yield* message({ ...hello, stop: " Good" })).content, "Hello, 世界!")
    }).pipe(simulated({ reply: "Hello, 世界! Good bye." })))

  it.effect("is made for each request, or left to the simulator", () =>
    Effect.gen(function*() {
      const say = (content: string) => message({ ...hello, messages: [user(content)] })
      assert.strictEqual((yield* say("ping")).content, "pong")
      const made = (yield* say("Why does a ship carry ballast?")).content
      assert.isNotEmpty(made)
      assert.notStrictEqual(made, "pong")
    }).pipe(simulated({ reply: ({ messages }) => messages[0].content === "ping" ? "pong" : undefined })))
})

describe("JSON mode", () => {
  const json = (prompt: string) => ({ ...hello, response_format: { type: "json_object" }, messages: [user(prompt)] })

  const object = (prompt: string) => Effect.map(message(json(prompt)), ({ content }) => JSON.parse(content ?? ""))

  it.effect("follows a JSON Schema in the prompt, also as a document with definitions", () =>
    Effect.gen(function*() {
      const document = Schema.toJsonSchemaDocument(Order)
      for (const shown of [{ ...document.schema, $defs: document.definitions }, document]) {
        for (const seed of seeds) {
          const answer = yield* object(`Answer in JSON by this schema: ${JSON.stringify(shown)}`).pipe(
            simulated({ seed })
          )
          yield* Schema.decodeUnknownEffect(Order)(answer)
        }
      }
    }))

  it.effect("follows an example", () =>
    Effect.gen(function*() {
      const answer = yield* object(
        "Answer in json like {\"question\": \"Which is the longest river?\", \"score\": 3, \"ok\": true, \"level\": \"low|high\", " +
          "\"kind\": \"river\", \"tags\": [\"string\"], \"at\": {\"city\": \"...\"}}"
      )
      assert.hasAllKeys(answer, ["question", "score", "ok", "level", "kind", "tags", "at"])
      assert.isNumber(answer.score)
      assert.isBoolean(answer.ok)
      assert.include(["low", "high"], answer.level)
      assert.strictEqual(answer.kind, "river")
      assert.isTrue(answer.tags.every((tag: unknown) => typeof tag === "string" && tag !== "string"))
      assert.isString(answer.at.city)
    }).pipe(simulated()))

  it.effect("follows a list of keys", () =>
    Effect.gen(function*() {
      const english = yield* object("Give me json with the keys \"name\", \"age\" and \"tags\".")
      assert.hasAllKeys(english, ["name", "age", "tags"])
      assert.isNumber(english.age)
      assert.isArray(english.tags)
      assert.hasAllKeys(yield* object("JSON with keys name, age and tags"), ["name", "age", "tags"])
      assert.hasAllKeys(yield* object("请用 JSON 回答，字段为“标题”、“分数”"), ["标题", "分数"])
    }).pipe(simulated()))

  it.effect("answers with an object when nothing is shown", () =>
    Effect.gen(function*() {
      assert.hasAllKeys(yield* object("Tell me about ships, as json {not an object"), ["answer"])
    }).pipe(simulated()))

  it.effect("follows an example, however it nests", () =>
    Effect.gen(function*() {
      const nested = (open: string, close: string, depth: number) => open.repeat(depth) + "1" + close.repeat(depth)
      assert.hasAllKeys(yield* object(`JSON like {"a": ${nested("[", "]", 100)}}`), ["a"])
      yield* object(`JSON like ${nested("{\"a\":", "}", 8_000)}`)
    }).pipe(simulated()), patience)

  it.effect("is cut by the budget", () =>
    Effect.gen(function*() {
      const { choices: [choice] } = yield* complete({
        ...json("JSON with keys name, age"),
        thinking: { type: "disabled" },
        max_tokens: 3
      })
      assert.strictEqual(choice.finish_reason, "length")
      assert.throws(() => JSON.parse(choice.message.content ?? ""))
    }).pipe(simulated()))
})

describe("every valid request", () => {
  const Question = Schema.Union([
    Schema.Literals(["Why does a ship carry ballast?", "为什么船需要压舱物？", "", "🚢".repeat(20)]),
    Schema.String
  ])

  const Request = Schema.Struct({
    model: Schema.Literals(["deepseek-flash", "deepseek-v4-pro", "deepseek-v4-flash"]),
    question: Question,
    thinking: Schema.Literals(["enabled", "disabled"]),
    effort: Schema.Literals(["low", "high", "max"]),
    budget: Schema.UndefinedOr(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 300 }))),
    tools: Schema.Boolean,
    json: Schema.Boolean,
    stop: Schema.UndefinedOr(Schema.Literals([".", "e"])),
    logprobs: Schema.Boolean
  })

  const bodyOf = (request: typeof Request.Type) => ({
    model: request.model,
    messages: [{ role: "system", content: "You may answer in JSON." }, user(request.question)],
    thinking: { type: request.thinking },
    reasoning_effort: request.effort,
    ...(request.budget !== undefined && { max_tokens: request.budget }),
    ...(request.tools && { tools: [weather] }),
    ...(request.json && { response_format: { type: "json_object" } }),
    ...(request.stop !== undefined && { stop: [request.stop] }),
    logprobs: request.logprobs
  })

  const adds = ({ choices: [{ message }], usage }: ChatCompletion, body: ReturnType<typeof bodyOf>) => {
    assert.isDefined(usage)
    if (usage == null) return
    assert.strictEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
    assert.strictEqual(
      usage.prompt_tokens,
      (usage.prompt_cache_hit_tokens ?? 0) + (usage.prompt_cache_miss_tokens ?? 0)
    )
    assert.strictEqual(usage.prompt_tokens_details?.cached_tokens, usage.prompt_cache_hit_tokens)
    assert.isAtMost(usage.completion_tokens_details?.reasoning_tokens ?? 0, usage.completion_tokens)
    assert.strictEqual(usage.completion_tokens_details === undefined, body.thinking.type === "disabled")
    assert.strictEqual(message.reasoning_content === undefined, body.thinking.type === "disabled")
    assert.isAtMost(usage.completion_tokens, body.max_tokens ?? Infinity)
  }

  /** What a client makes of the chunks. */
  const joined = (chunks: ReadonlyArray<ChatChunk>) => {
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta))
    return {
      content: deltas.map(({ content }) => content ?? "").join(""),
      reasoning: deltas.map(({ reasoning_content }) => reasoning_content ?? "").join(""),
      arguments: deltas.flatMap(({ tool_calls }) => tool_calls ?? []).map((call) => call.function?.arguments ?? "")
        .join(""),
      finish: chunks.at(-1)?.choices[0]?.finish_reason
    }
  }

  it.effect.prop(
    "gets an answer whose usage adds up, and whose stream says the same",
    [Request],
    ([request]) =>
      Effect.gen(function*() {
        const body = bodyOf(request)
        const whole = yield* complete(body)
        adds(whole, body)
        const { finish_reason, message } = whole.choices[0]
        const chunks = yield* streamed(body)
        assert.deepStrictEqual(joined(chunks), {
          content: message.content ?? "",
          reasoning: message.reasoning_content ?? "",
          arguments: (message.tool_calls ?? []).map((call) => call.function.arguments).join(""),
          finish: finish_reason
        })
        assert.strictEqual(chunks.at(-1)?.usage?.completion_tokens, whole.usage?.completion_tokens)
        // By now the cache knows the prompt.
        adds(yield* complete(body), body)
      }).pipe(simulated()),
    patience
  )

  it.effect.prop(
    "or a 400, whatever the body is",
    [Schema.Union([Schema.Json, Schema.String])],
    ([body]) =>
      Effect.gen(function*() {
        const { status, text } = yield* ask(typeof body === "string" ? body : JSON.stringify(body))
        assert.strictEqual(status, 400)
        assert.property(JSON.parse(text), "error")
      }).pipe(simulated()),
    patience
  )

  it.effect("keeps every field that the client's schemas know", () =>
    Effect.gen(function*() {
      const { text } = yield* ask({ ...hello, logprobs: true, top_logprobs: 2 })
      const raw = JSON.parse(text)
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(ChatCompletion)(raw), raw)
      const stream = yield* ask({ ...hello, stream: true, stream_options: { include_usage: true } })
      for (const data of eventsOf(stream.text).slice(0, -1)) {
        assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(ChatChunk)(JSON.parse(data)), JSON.parse(data))
      }
    }).pipe(simulated()))
})
