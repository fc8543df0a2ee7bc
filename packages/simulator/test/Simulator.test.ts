import { Balance } from "@ballast/chat/Balance"
import { ModelList } from "@ballast/chat/ModelList"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Simulator } from "../src/index.ts"
import {
  ask,
  complete,
  eventsOf,
  get,
  hello,
  instant,
  message,
  post,
  read,
  streamed,
  user,
  weather
} from "./support.ts"

const simulated = (options: Parameters<typeof Simulator.layerHttpClient>[0] = {}) =>
  Effect.provide(Simulator.layerHttpClient({ ...instant, ...options }))

const inspect = Effect.flatMap(Simulator.Simulator, ({ inspect }) => inspect)

describe("Simulator", () => {
  describe("make", () => {
    it("refuses options out of bounds", () => {
      for (
        const options of [{ tokensPerSecond: 0 }, { jitter: 2 }, { keepAlive: 0 }, {
          plan: [{ probability: 2, fault: {} }]
        }]
      ) {
        assert.throws(() => Effect.runSync(Simulator.make(options)), RangeError)
      }
    })
  })

  describe("answers", () => {
    it.effect("depend on seed and request only", () =>
      Effect.gen(function*() {
        const content = (seed: string, question = "Why does a ship carry ballast?") =>
          complete({ ...hello, messages: [user(question)] }).pipe(
            Effect.map(({ choices: [{ message }] }) => message),
            simulated({ seed })
          )
        assert.deepStrictEqual(yield* content("a"), yield* content("a"))
        assert.notDeepEqual(yield* content("a"), yield* content("b"))
        assert.notDeepEqual(yield* content("a"), yield* content("a", "What does a lamp's ballast do?"))
      }))

    it.effect("do not depend on what was asked before", () =>
      Effect.gen(function*() {
        const content = Effect.map(complete(hello), ({ choices: [{ message }] }) => message)
        const first = yield* content
        yield* complete({ ...hello, messages: [user("Something else")] })
        assert.deepStrictEqual(yield* content, first)
      }).pipe(simulated()))

    it.effect("have ids of their own", () =>
      Effect.gen(function*() {
        const [a, b] = [yield* complete(hello), yield* complete(hello)]
        assert.match(a.id ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        assert.notStrictEqual(a.id, b.id)
        assert.strictEqual(a.system_fingerprint, b.system_fingerprint)
      }).pipe(simulated()))

    it.effect("speak the prompt's language, about its topic", () =>
      Effect.gen(function*() {
        const [english] = (yield* complete(hello)).choices
        assert.match(english.message.content ?? "", /ballast|ship/)
        const [chinese] = (yield* complete({ ...hello, messages: [user("为什么船需要压舱物？")] })).choices
        assert.match(chinese.message.content ?? "", /压舱物|船/)
        assert.notMatch(chinese.message.content ?? "", /[a-z]/)
      }).pipe(simulated()))

    it.effect("have the recorded shape", () =>
      Effect.gen(function*() {
        const body = JSON.parse((yield* ask(hello)).text)
        assert.deepStrictEqual(Object.keys(body), [
          "id",
          "object",
          "created",
          "model",
          "choices",
          "usage",
          "system_fingerprint"
        ])
        assert.deepStrictEqual(Object.keys(body.choices[0]), ["index", "message", "logprobs", "finish_reason"])
        assert.deepStrictEqual(Object.keys(body.choices[0].message), ["role", "content", "reasoning_content"])
        assert.deepStrictEqual(Object.keys(body.usage), [
          "prompt_tokens",
          "completion_tokens",
          "total_tokens",
          "prompt_tokens_details",
          "completion_tokens_details",
          "prompt_cache_hit_tokens",
          "prompt_cache_miss_tokens"
        ])
        assert.strictEqual(body.choices[0].logprobs, null)
        assert.strictEqual(body.choices[0].finish_reason, "stop")
      }).pipe(simulated()))

    it.effect("have no sign of thinking when it is off", () =>
      Effect.gen(function*() {
        for (const off of [{ thinking: { type: "disabled" } }, { reasoning_effort: "none" }]) {
          const body = JSON.parse((yield* ask({ ...hello, ...off })).text)
          assert.notProperty(body.choices[0].message, "reasoning_content")
          assert.notProperty(body.usage, "completion_tokens_details")
        }
      }).pipe(simulated()))

    it.effect("count hidden tokens of thinking and tools", () =>
      Effect.gen(function*() {
        const prompt = (extra: object) =>
          Effect.map(complete({ ...hello, ...extra }), ({ usage }) => usage?.prompt_tokens ?? 0)
        const plain = yield* prompt({ thinking: { type: "disabled" } })
        const thinking = yield* prompt({})
        assert.strictEqual(thinking - plain, 26)
        assert.isAbove(yield* prompt({ tools: [weather] }), thinking + 200)
      }).pipe(simulated()))

    it.effect("end at a stop string", () =>
      Effect.gen(function*() {
        const [choice] = (yield* complete({ ...hello, stop: ["."] })).choices
        assert.notInclude(choice.message.content ?? ".", ".")
        assert.strictEqual(choice.finish_reason, "stop")
      }).pipe(simulated()))

    it.effect("have an empty text when reasoning ate the budget", () =>
      Effect.gen(function*() {
        const { choices: [choice], usage } = yield* complete({ ...hello, max_tokens: 5 })
        assert.strictEqual(choice.message.content, "")
        assert.strictEqual(choice.finish_reason, "length")
        assert.strictEqual(usage?.completion_tokens, 5)
        assert.strictEqual(usage?.completion_tokens_details?.reasoning_tokens, 5)
      }).pipe(simulated()))

    it.effect("carry log-probabilities when asked for", () =>
      Effect.gen(function*() {
        const [choice] = (yield* complete({ ...hello, logprobs: true, top_logprobs: 3 })).choices
        assert.strictEqual(choice.logprobs?.content?.map(({ token }) => token).join(""), choice.message.content)
        assert.strictEqual(choice.logprobs?.content?.[0]?.top_logprobs?.length, 3)
        assert.isNotEmpty(choice.logprobs?.reasoning_content)
      }).pipe(simulated()))
  })

  describe("streams", () => {
    it.effect("think first, then answer, then finish with usage", () =>
      Effect.gen(function*() {
        const { headers, text } = yield* ask({ ...hello, stream: true })
        assert.match(headers["content-type"] ?? "", /^text\/event-stream/)
        const data = eventsOf(text)
        assert.strictEqual(data.at(-1), "[DONE]")
        const chunks = data.slice(0, -1).map((text) => JSON.parse(text))
        const deltas = chunks.map((chunk) => chunk.choices[0].delta)
        assert.deepStrictEqual(deltas[0], { role: "assistant", content: null, reasoning_content: "" })
        assert.deepStrictEqual(Object.keys(deltas[1]), ["content", "reasoning_content"])
        assert.strictEqual(deltas[1].content, null)
        assert.strictEqual(deltas.at(-2).reasoning_content, null)
        assert.deepStrictEqual(deltas.at(-1), { content: "", reasoning_content: null })
        assert.deepStrictEqual(chunks.map((chunk) => chunk.choices[0].finish_reason), [
          ...chunks.slice(1).map(() => null),
          "stop"
        ])
        assert.isTrue(chunks.slice(0, -1).every((chunk) => !("usage" in chunk)))
        assert.strictEqual(
          chunks.at(-1).usage.completion_tokens,
          chunks.length - 2
        )
        for (const chunk of chunks) {
          assert.strictEqual(chunk.object, "chat.completion.chunk")
          assert.strictEqual(chunk.id, chunks[0].id)
        }
      }).pipe(simulated()))

    it.effect("without thinking have content alone", () =>
      Effect.gen(function*() {
        const chunks = yield* streamed({ ...hello, thinking: { type: "disabled" } })
        const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta))
        assert.deepStrictEqual(deltas[0], { role: "assistant", content: "" })
        assert.deepStrictEqual(Object.keys(deltas[1] ?? {}), ["content"])
        assert.deepStrictEqual(deltas.at(-1), { content: "" })
      }).pipe(simulated()))

    it.effect("say usage: null before the end when include_usage is set", () =>
      Effect.gen(function*() {
        const chunks = yield* streamed({ ...hello, stream_options: { include_usage: true } })
        assert.isTrue(chunks.slice(0, -1).every(({ usage }) => usage === null))
        assert.isAbove(chunks.at(-1)?.usage?.total_tokens ?? 0, 0)
        assert.isTrue(chunks.every(({ choices }) => choices.length === 1))
      }).pipe(simulated()))

    it.effect("send a tool call's name first, then its arguments in fragments", () =>
      Effect.gen(function*() {
        const body = { ...hello, messages: [user("What is the weather in Paris?")], tools: [weather] }
        const chunks = yield* streamed(body)
        const calls = chunks.flatMap(({ choices }) => choices.flatMap(({ delta }) => delta.tool_calls ?? []))
        assert.match(calls[0]?.id ?? "", /^call_00_[0-9A-Za-z]{20}$/)
        assert.strictEqual(calls[0]?.function?.name, "get_weather")
        assert.strictEqual(calls[0]?.function?.arguments, "")
        assert.deepStrictEqual(Object.keys(calls[1] ?? {}), ["index", "function"])
        const whole = yield* complete(body)
        assert.strictEqual(
          calls.map((call) => call.function?.arguments ?? "").join(""),
          whole.choices[0].message.tool_calls?.[0]?.function.arguments
        )
        assert.strictEqual(chunks.at(-1)?.choices[0]?.finish_reason, "tool_calls")
      }).pipe(simulated()))
  })

  describe("routes", () => {
    it.effect("chat has three paths", () =>
      Effect.gen(function*() {
        for (const path of ["/chat/completions", "/v1/chat/completions", "/beta/chat/completions"]) {
          assert.strictEqual((yield* ask(hello, { path })).status, 200)
        }
      }).pipe(simulated()))

    it.effect("models and balance answer, with /v1 too", () =>
      Effect.gen(function*() {
        for (const prefix of ["", "/v1"]) {
          const models = yield* Effect.flatMap(get(`${prefix}/models`), (response) => response.json)
          assert.deepStrictEqual(
            (yield* Schema.decodeUnknownEffect(ModelList)(models)).data.map(({ id }) => id),
            ["deepseek-flash", "deepseek-v4-pro"]
          )
          const balance = yield* Effect.flatMap(get(`${prefix}/user/balance`), (response) => response.json)
          assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Balance)(balance), {
            is_available: true,
            balance_infos: [
              { currency: "CNY", total_balance: "110.00", granted_balance: "10.00", topped_up_balance: "100.00" }
            ]
          })
        }
      }).pipe(simulated()))

    it.effect("everything else is 404", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* get("/nothing")).status, 404)
        assert.strictEqual((yield* get("/chat/completions")).status, 404)
        assert.strictEqual((yield* post(hello, { path: "/v2/chat/completions" })).status, 404)
      }).pipe(simulated()))

    it.effect("state needs no key", () =>
      Effect.gen(function*() {
        yield* ask(hello)
        const state = yield* Effect.flatMap(get("/__simulator/state", {}), (response) => response.json)
        assert.deepInclude(Object(state), { requests: 2, statuses: { 200: 1 }, inFlight: 0, peak: 1 })
      }).pipe(simulated()))
  })

  describe("headers", () => {
    it.effect("carry a trace id on every answer", () =>
      Effect.gen(function*() {
        for (
          const response of [
            yield* get("/models"),
            yield* get("/nothing"),
            yield* get("/models", {}),
            yield* post("no json")
          ]
        ) {
          assert.match(response.headers["x-ds-trace-id"] ?? "", /^[0-9a-f]{32}$/)
          assert.strictEqual(response.headers.server, "openresty")
        }
      }).pipe(simulated()))
  })

  describe("authorization", () => {
    it.effect("is refused in plain text when missing or malformed", () =>
      Effect.gen(function*() {
        const governor = yield* Effect.flatMap(get("/models", { "x-api-key": "sk-test" }), read)
        assert.strictEqual(governor.status, 401)
        assert.strictEqual(governor.text, "Authentication Fails (governor)")
        assert.notProperty(governor.headers, "content-type")
        for (const authorization of ["sk-test", "Bearer test", "Basic abc"]) {
          const malformed = yield* Effect.flatMap(get("/models", { authorization }), read)
          assert.strictEqual(malformed.status, 401)
          assert.strictEqual(malformed.text, "Authentication Fails (auth header format should be Bearer sk-...)")
          assert.notProperty(malformed.headers, "content-type")
        }
      }).pipe(simulated()))

    it.effect("names the end of a wrong key", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* ask(hello, { key: "sk-right" })).status, 200)
        const wrong = yield* ask(hello, { key: "sk-wrong-abcd" })
        assert.strictEqual(wrong.status, 401)
        assert.strictEqual(message(wrong.text), "Authentication Fails, Your api key: ****abcd is invalid")
        assert.match(wrong.text, /\(request_id: [0-9a-f-]{36}\)/)
        assert.include(
          wrong.text,
          "\"type\":\"authentication_error\",\"param\":null,\"code\":\"invalid_request_error\""
        )
      }).pipe(simulated({ keys: ["sk-right"] })))
  })

  describe("context cache", () => {
    const long = "Ballast keeps a ship upright in heavy seas. ".repeat(60)

    const hits = (content: string, options: { key?: string; user?: string } = {}) =>
      Effect.map(
        complete(
          { ...hello, messages: [user(content)], ...(options.user !== undefined && { user_id: options.user }) },
          options.key === undefined ? {} : { key: options.key }
        ),
        ({ usage }) => usage?.prompt_cache_hit_tokens ?? -1
      )

    it.effect("hits repeated beginnings in units of 128 tokens", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* hits(long), 0)
        const again = yield* hits(`${long}And now?`)
        assert.isAbove(again, 512)
        assert.strictEqual(again % 128, 0)
        assert.strictEqual(yield* hits(`Now: ${long}`), 0)
      }).pipe(simulated()))

    it.effect("hits a conversation that goes on, its last answer included", () =>
      Effect.gen(function*() {
        const { choices: [{ message }], usage } = yield* complete({
          ...hello,
          thinking: { type: "disabled" },
          messages: [user(long)]
        })
        const next = yield* complete({
          ...hello,
          thinking: { type: "disabled" },
          messages: [user(long), { role: "assistant", content: message.content }, user("Go on")]
        })
        assert.isAbove(next.usage?.prompt_cache_hit_tokens ?? 0, (usage?.prompt_tokens ?? 0) - 128)
      }).pipe(simulated()))

    it.effect("is apart for keys and users", () =>
      Effect.gen(function*() {
        yield* hits(long)
        assert.strictEqual(yield* hits(long, { key: "sk-other" }), 0)
        assert.strictEqual(yield* hits(long, { user: "someone" }), 0)
        assert.isAbove(yield* hits(long), 0)
      }).pipe(simulated()))

    it.effect("forgets what was used least", () =>
      Effect.gen(function*() {
        yield* hits(long)
        yield* hits(`Other. ${long}`)
        assert.strictEqual(yield* hits(long), 0)
      }).pipe(simulated({ cacheSize: 4 })))
  })

  describe("limits", () => {
    const busy = (count: number) =>
      Effect.forEach(Array.from({ length: count }), () => post({ ...hello, stream: true }))

    it.effect("allow as many chats at a time as the option says", () =>
      Effect.gen(function*() {
        yield* busy(2)
        const third = yield* ask(hello)
        assert.strictEqual(third.status, 429)
        assert.strictEqual(
          message(third.text),
          "Too many requests. Your current concurrency is 3, which exceeds your concurrency limit of 2."
        )
        assert.strictEqual((yield* ask({ ...hello, model: "deepseek-v4-pro" })).status, 200)
        assert.strictEqual((yield* inspect).inFlight, 2)
      }).pipe(simulated({ concurrency: { "deepseek-flash": 2 } })))

    it.effect("shrink with a low balance and say so", () =>
      Effect.gen(function*() {
        yield* busy(25)
        const next = yield* ask(hello)
        assert.strictEqual(next.status, 429)
        assert.strictEqual(
          message(next.text),
          "Too many requests. Your current concurrency is 26, which exceeds your concurrency limit of 25 based on your remaining " +
            "balance. Please top up your balance to restore your concurrency."
        )
      }).pipe(simulated({ balance: { currency: "USD", granted: 0, toppedUp: 1.25 } })))

    it.effect("end with 402 when the balance is used up", () =>
      Effect.gen(function*() {
        yield* ask(hello)
        const second = yield* ask(hello)
        assert.strictEqual(second.status, 402)
        assert.strictEqual(
          second.text,
          "{\"error\":{\"message\":\"Insufficient Balance\",\"type\":\"unknown_error\",\"param\":null,\"code\":\"invalid_request_error\"}}"
        )
      }).pipe(simulated({ billing: true, balance: { currency: "USD", granted: 0.000001, toppedUp: 0 } })))

    it.effect("are kept until the body has been read", () =>
      Effect.gen(function*() {
        const [response] = yield* busy(1)
        assert.strictEqual((yield* inspect).inFlight, 1)
        yield* response?.text ?? Effect.void
        assert.strictEqual((yield* inspect).inFlight, 0)
      }).pipe(simulated()))

    it.effect("are given back at once by an interrupted caller", () =>
      Effect.gen(function*() {
        const waiting = yield* Effect.forkChild(ask(hello, { simulate: "latency=1h" }))
        const reading = yield* Effect.forkChild(ask({ ...hello, stream: true }, { simulate: "ttft=1h" }))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* inspect).inFlight, 2)
        yield* Fiber.interrupt(waiting)
        assert.strictEqual((yield* inspect).inFlight, 1)
        yield* Fiber.interrupt(reading)
        assert.strictEqual((yield* inspect).inFlight, 0)
      }).pipe(simulated()))

    it.effect("are given back by a reader that stops early", () =>
      Effect.gen(function*() {
        const response = yield* post({ ...hello, stream: true })
        yield* Stream.runDrain(Stream.take(response.stream, 1))
        assert.strictEqual((yield* inspect).inFlight, 0)
      }).pipe(simulated()))
  })

  describe("time", () => {
    it.effect("passes as the options say", () =>
      Effect.gen(function*() {
        const arrivals: Array<number> = []
        const fiber = yield* Effect.forkChild(Effect.gen(function*() {
          const response = yield* post({ ...hello, stream: true })
          yield* Stream.runForEach(response.stream, () =>
            Effect.map(TestClock.testClockWith((clock) => clock.currentTimeMillis), (now) => arrivals.push(now)))
        }))
        yield* TestClock.adjust("1499 millis")
        assert.deepStrictEqual(arrivals, [])
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(arrivals.slice(0, 4), [1_500, 1_500, 1_600, 1_700])
      }).pipe(simulated({ latency: "500 millis", timeToFirstToken: "1 second", tokensPerSecond: 10, jitter: 0 })))

    it.effect("brings keep-alives while nothing else comes", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(
          Effect.all([ask({ ...hello, stream: true }), ask(hello)], { concurrency: 2 })
        )
        yield* TestClock.adjust("2 minutes")
        const [stream, body] = yield* Fiber.join(fiber)
        assert.match(stream.text, /^(: keep-alive\n\n){5}data: /)
        assert.match(body.text, /^\n{5}\{/)
      }).pipe(simulated({ timeToFirstToken: "55 seconds", keepAlive: "10 seconds", jitter: 0 })))

    it.effect("costs a virtual day little", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Effect.forEach(Array.from({ length: 24 }), () => ask(hello)))
        yield* TestClock.adjust("1 day")
        assert.strictEqual((yield* Fiber.join(fiber)).length, 24)
      }).pipe(simulated({ latency: "50 minutes", timeToFirstToken: "9 minutes", keepAlive: "1 minute", jitter: 0 })))
  })
})
