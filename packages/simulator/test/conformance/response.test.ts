import { ChatAccumulator } from "@ballast/chat"
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { ask, complete, eventsOf, get, hello, post, read, streamed, user, weather } from "../support.ts"
import { all, beta, client, failsAs, refuses, request, section, takes } from "./rows.ts"

const off = { thinking: { type: "disabled" } } as const
const plain = { ...hello, ...off }
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const asking = { ...hello, messages: [user("What is the weather in Paris?")], tools: [weather] }

section("§6.1 a whole answer", {
  "id: a UUID": Effect.map(complete(hello), ({ id }) => assert.match(id ?? "", uuid)),
  "model: echoes the name that was asked for": Effect.map(
    complete({ ...hello, model: "deepseek-v4-flash" }),
    ({ model }) => assert.strictEqual(model, "deepseek-v4-flash")
  ),
  "system_fingerprint: 32 hex digits": Effect.map(
    complete(hello),
    ({ system_fingerprint }) => assert.match(system_fingerprint ?? "", /^[0-9a-f]{32}$/)
  ),
  "content: text, empty beside tool calls": Effect.map(
    complete(asking),
    ({ choices: [{ finish_reason, message }] }) => {
      assert.strictEqual(message.content, "")
      assert.strictEqual(finish_reason, "tool_calls")
    }
  ),
  "reasoning_content: in thinking mode only": Effect.gen(function*() {
    assert.isNotEmpty((yield* complete(hello)).choices[0].message.reasoning_content)
    assert.notProperty((yield* complete(plain)).choices[0].message, "reasoning_content")
  }),
  "tool_calls: absent when there are none; with index and an id of call_00_": Effect.gen(function*() {
    assert.notProperty((yield* complete(hello)).choices[0].message, "tool_calls")
    const [call] = (yield* complete(asking)).choices[0].message.tool_calls ?? []
    assert.deepInclude(call, { index: 0, type: "function" })
    assert.match(call?.id ?? "", /^call_00_[0-9A-Za-z]{20}$/)
  }),
  "tool_calls: arguments may be no JSON": Effect.map(
    complete(asking, { simulate: "badargs" }),
    ({ choices: [{ message }] }) =>
      assert.throws(() => JSON.parse(message.tool_calls?.[0]?.function.arguments ?? ""), SyntaxError)
  ),
  "finish_reason: stop, length, content_filter, tool_calls": Effect.gen(function*() {
    const finish = (body: object, simulate?: string) =>
      Effect.map(
        client((deepseek) => deepseek.complete(body as typeof request), simulate),
        ({ choices: [{ finish_reason }] }) => finish_reason
      )
    assert.strictEqual(yield* finish(hello), "stop")
    assert.strictEqual(yield* finish({ ...hello, max_tokens: 3 }), "length")
    assert.strictEqual(yield* finish(hello, "finish=content_filter"), "content_filter")
    assert.strictEqual(yield* finish(asking), "tool_calls")
  }),
  "finish_reason: insufficient_system_resource and aborted are failures of the service": all(
    failsAs("finish=insufficient_system_resource", "ServerError: Overloaded"),
    failsAs("finish=aborted", "ServerError: Overloaded")
  ),
  "a content filter drops text and tool calls": Effect.map(
    complete(asking, { simulate: "finish=content_filter" }),
    ({ choices: [{ message }] }) => {
      assert.strictEqual(message.content, "")
      assert.notProperty(message, "tool_calls")
    }
  ),
  "logprobs: null, or tokens of content and reasoning": Effect.gen(function*() {
    assert.isNull((yield* complete(hello)).choices[0].logprobs)
    const { choices: [{ logprobs, message }] } = yield* complete({ ...hello, logprobs: true, top_logprobs: 2 })
    const joined = (tokens: ReadonlyArray<{ readonly token: string }> | null | undefined) =>
      (tokens ?? []).map(({ token }) => token).join("")
    assert.strictEqual(joined(logprobs?.content), message.content)
    assert.strictEqual(joined(logprobs?.reasoning_content), message.reasoning_content)
    assert.lengthOf(logprobs?.content?.[0]?.top_logprobs ?? [], 2)
  }),
  "usage: prompt is hit and miss, reasoning a part of completion": Effect.map(complete(hello), ({ usage }) => {
    assert.strictEqual(usage?.prompt_tokens, usage!.prompt_cache_hit_tokens! + usage!.prompt_cache_miss_tokens!)
    assert.strictEqual(usage?.prompt_tokens_details?.cached_tokens, usage?.prompt_cache_hit_tokens)
    assert.strictEqual(usage?.total_tokens, usage!.prompt_tokens + usage!.completion_tokens)
    assert.isBelow(usage!.completion_tokens_details!.reasoning_tokens!, usage!.completion_tokens)
  }),
  "completion_tokens_details: missing when thinking is off": Effect.map(
    complete(plain),
    ({ usage }) => assert.notProperty(usage, "completion_tokens_details")
  ),
  "thinking and tools add hidden tokens to the prompt": Effect.gen(function*() {
    const prompt = (body: object) => Effect.map(complete(body), ({ usage }) => usage!.prompt_tokens)
    const bare = yield* prompt(plain)
    assert.isAbove(yield* prompt(hello), bare)
    assert.isAbove(yield* prompt({ ...plain, tools: [weather] }), bare + 100)
  })
})

const deltas = (body: object) =>
  Effect.map(streamed(body), (chunks) => chunks.map(({ choices }) => choices[0]?.delta ?? {}))

section("§6.2 a stream", {
  "events of data and a blank line, text/event-stream, [DONE] at the end": Effect.gen(function*() {
    const { headers, text } = yield* ask({ ...hello, stream: true })
    assert.match(headers["content-type"] ?? "", /^text\/event-stream/)
    assert.match(text, /^(?:data: [^\n]+\n\n)+$/)
    assert.strictEqual(eventsOf(text).at(-1), "[DONE]")
  }),
  "1. the first chunk opens": Effect.gen(function*() {
    assert.deepStrictEqual((yield* deltas(plain))[0], { role: "assistant", content: "" })
    assert.deepStrictEqual((yield* deltas(hello))[0], { role: "assistant", content: null, reasoning_content: "" })
  }),
  "2. reasoning, then the answer": Effect.gen(function*() {
    const all = (yield* deltas(hello)).slice(1, -1)
    const begun = all.findIndex(({ content }) => content != null)
    assert.isAbove(begun, 0)
    for (const [index, delta] of all.entries()) {
      const empty = index < begun ? "content" : "reasoning_content"
      assert.isNull(delta[empty])
      assert.isNotEmpty(delta[index < begun ? "reasoning_content" : "content"])
    }
  }),
  "3. a tool call: id and name first, then fragments of its arguments": Effect.gen(function*() {
    const calls = (yield* deltas({ ...asking, ...off })).flatMap(({ tool_calls }) => tool_calls ?? [])
    assert.deepInclude(calls[0], { index: 0, type: "function", function: { name: "get_weather", arguments: "" } })
    for (const call of calls.slice(1)) assert.hasAllKeys(call, ["index", "function"])
    const joined = calls.map((call) => call.function?.arguments ?? "").join("")
    assert.deepInclude(JSON.parse(joined), { city: "Paris" })
  }),
  "4. the last chunk has the finish reason and the usage": Effect.gen(function*() {
    const chunks = yield* streamed(hello)
    assert.deepInclude(chunks.at(-1)?.choices[0], { finish_reason: "stop" })
    assert.isAbove(chunks.at(-1)?.usage?.completion_tokens ?? 0, 0)
  }),
  "5. every chunk repeats id, object, created, model, fingerprint": Effect.gen(function*() {
    const heads = (yield* streamed(hello)).map(({ choices, usage: _, ...head }) => {
      assert.hasAllKeys(choices[0], ["index", "delta", "logprobs", "finish_reason"])
      return head
    })
    for (const head of heads) assert.deepStrictEqual(head, heads[0])
  }),
  "6. include_usage: null before the end; no chunk of usage alone": Effect.gen(function*() {
    const without = yield* streamed(hello)
    assert.isTrue(without.slice(0, -1).every((chunk) => !("usage" in chunk)))
    const chunks = yield* streamed({ ...hello, stream_options: { include_usage: true } })
    assert.isTrue(chunks.slice(0, -1).every(({ usage }) => usage === null))
    assert.isTrue(chunks.every(({ choices }) => choices.length === 1))
  }),
  "7. comments and blank lines while waiting are no answer": Effect.gen(function*() {
    const whole = yield* client((deepseek) => ChatAccumulator.collect(deepseek.stream(request)))
    const kept = yield* client((deepseek) => ChatAccumulator.collect(deepseek.stream(request)), "keepalive=5")
    assert.deepStrictEqual(kept?.choices, whole?.choices)
    const padded = yield* client((deepseek) => deepseek.complete(request), "padding=5")
    assert.deepStrictEqual(padded.choices, whole?.choices)
  }),
  "8. an end without a finish reason, or with nothing, is an error": Effect.gen(function*() {
    const failure = (simulate: string) =>
      client((deepseek) => Effect.flip(Stream.runDrain(deepseek.stream(request))), simulate)
    for (const [simulate, reason] of [["end=5", "StreamTruncated"], ["empty", "EmptyCompletion"]] as const) {
      assert.deepInclude(yield* failure(simulate), { _tag: "ProtocolError" })
      assert.deepInclude(Object(yield* failure(simulate)).reason, { _tag: reason })
    }
  })
})

section("§6.3 time limits", {
  "an answer that has not begun after 10 minutes loses its connection": Effect.gen(function*() {
    for (const stream of [true, false]) {
      const fiber = yield* Effect.forkChild(Effect.exit(ask({ ...hello, stream }, { simulate: "ttft=601s" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("599 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
    }
  }),
  "comments are no progress: the deadline of the first token holds": Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      client((deepseek) => Effect.flip(Stream.runDrain(deepseek.stream(request))), "ttft=1h, keepalive=1000", {
        deadlines: { firstToken: "1 minute" }
      }),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 minute")
    assert.deepInclude(Object(fiber.pollUnsafe()).value.reason, { _tag: "DeadlineExceeded", deadline: "first" })
  })
})

const thinks = (body: object) =>
  Effect.map(complete(body), ({ choices: [{ message }] }) => (message.reasoning_content ?? "").length)
const call = { id: "call_00_a", type: "function", function: { name: "get_weather", arguments: "{}" } }
const forgot = { role: "assistant", content: "", tool_calls: [call] }
const result = { role: "tool", tool_call_id: "call_00_a", content: "18 °C" }
const text = "The `reasoning_content` in the thinking mode must be passed back to the API."

section("§7 thinking", {
  "on by default with effort high; off with disabled, or effort none": Effect.gen(function*() {
    assert.strictEqual(yield* thinks(hello), yield* thinks({ ...hello, reasoning_effort: "high" }))
    assert.isAbove(yield* thinks(hello), 0)
    assert.strictEqual(yield* thinks(plain), 0)
    assert.strictEqual(yield* thinks({ ...hello, reasoning_effort: "none" }), 0)
  }),
  "a higher effort thinks longer": Effect.gen(function*() {
    assert.isAbove(
      yield* thinks({ ...hello, reasoning_effort: "max" }),
      yield* thinks({ ...hello, reasoning_effort: "low" })
    )
  }),
  "temperature and penalties: ignored without an error": takes({ ...hello, temperature: 1.5, presence_penalty: 1 }),
  "tools, JSON mode and prefix completion work with it": all(
    takes(asking),
    takes({ ...hello, messages: [user("json, please")], response_format: { type: "json_object" } }),
    takes({ ...hello, messages: [user("x"), { role: "assistant", content: "y", prefix: true }] }, beta)
  ),
  "with tools, the thoughts of every earlier turn go back": all(
    refuses({ ...asking, messages: [user("x"), { role: "assistant", content: "y" }, user("z")] }, text),
    takes({ ...asking, messages: [user("x"), { ...forgot, reasoning_content: "Hm" }, result] }),
    takes({ ...asking, messages: [user("x"), { ...forgot, reasoning_content: "" }, result] })
  ),
  "without tools, or without thinking, they need not": all(
    takes({ ...hello, messages: [user("x"), { role: "assistant", content: "y" }, user("z")] }),
    takes({ ...asking, ...off, messages: [user("x"), forgot, result] })
  ),
  "the client sends back what a caller has lost": Effect.map(
    client((deepseek) =>
      deepseek.complete({ ...asking, messages: [user("x"), forgot, result] } as unknown as typeof request)
    ),
    ({ choices: [{ finish_reason }] }) => assert.strictEqual(finish_reason, "stop")
  )
})

section("§7 thinking, as last observed", {
  "only the turn whose tool results come last is looked at": all(
    refuses({ ...asking, messages: [user("x"), forgot, result] }, text),
    takes({ ...asking, messages: [user("x"), { ...forgot, reasoning_content: "" }, result] }),
    takes({ ...asking, messages: [user("x"), { role: "assistant", content: "y" }, user("z")] })
  )
}, { replayCheck: "observed" })

section("§8 other features", {
  "JSON mode: the word json in some message, in any case": all(
    refuses(
      { ...hello, response_format: { type: "json_object" } },
      "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."
    ),
    Effect.map(
      complete({ ...plain, messages: [user("As JSON.")], response_format: { type: "json_object" } }),
      ({ choices: [{ message }] }) => assert.isObject(JSON.parse(message.content ?? ""))
    )
  ),
  "prefix completion: on the beta path, the last message, role assistant": all(
    takes({ ...hello, messages: [user("x"), { role: "assistant", content: "y", prefix: true }] }, beta),
    refuses({ ...hello, messages: [user("x"), { role: "assistant", content: "y", prefix: true }] }, /beta/),
    refuses(
      { ...hello, messages: [user("x"), { role: "assistant", content: "y", prefix: true }, user("z")] },
      /prefix/,
      beta
    )
  ),
  "prefix completion: reasoning_content is a seed of the thoughts": Effect.gen(function*() {
    const { choices: [{ message }] } = yield* complete(hello)
    const seed = (message.reasoning_content ?? "").slice(0, 9)
    const asked = {
      ...hello,
      messages: [...hello.messages, { role: "assistant", content: "", reasoning_content: seed, prefix: true }]
    }
    const { choices: [{ message: rest }] } = yield* complete(asked, beta)
    assert.strictEqual(seed + rest.reasoning_content, message.reasoning_content)
    assert.strictEqual(rest.content, message.content)
  }),
  "context cache: whole units from the start, apart for each user_id": Effect.gen(function*() {
    const long = { ...plain, messages: [user("Ballast keeps a ship upright. ".repeat(60))] }
    const hit = (more: object) =>
      Effect.map(complete({ ...long, ...more }), ({ usage }) => usage?.prompt_cache_hit_tokens)
    assert.strictEqual(yield* hit({}), 0)
    const again = yield* hit({})
    assert.isAbove(again ?? 0, 0)
    assert.strictEqual((again ?? 0) % 128, 0)
    assert.strictEqual(yield* hit({ user_id: "other" }), 0)
  }),
  "vision: flash only, at most 600 images": Effect.gen(function*() {
    const image = { type: "image_url", image_url: { url: "https://example.com/a.png" } }
    const asked = (count: number) => ({ ...plain, messages: [{ role: "user", content: Array(count).fill(image) }] })
    yield* takes(asked(1))
    yield* refuses({ ...asked(1), model: "deepseek-v4-pro" }, "This model does not support image")
    yield* refuses(asked(601), /601/)
  })
})

section("§1 base URLs, auth, headers", {
  "the /v1 prefix is an alias": Effect.gen(function*() {
    yield* takes(hello, { path: "/v1/chat/completions" })
    assert.strictEqual((yield* Effect.flatMap(get("/v1/models"), read)).status, 200)
  }),
  "the client calls every base URL": Effect.gen(function*() {
    for (const path of ["", "/", "/v1", "/v1/", "/beta"]) {
      yield* client((deepseek) => deepseek.complete(request), undefined, { baseUrl: `https://api.deepseek.com${path}` })
    }
  }),
  "Authorization: Bearer sk-…": failsAs("status=401", "ClientError: Unauthorized"),
  "x-api-key alone, on other routes than Messages: 401 in plain text": Effect.gen(function*() {
    const { headers, status, text } = yield* Effect.flatMap(get("/user/balance", { "x-api-key": "sk-test" }), read)
    assert.deepStrictEqual([status, text, headers["content-type"]], [401, "Authentication Fails (governor)", undefined])
  }),
  "the body has 48 MiB at most": Effect.map(
    ask("x".repeat(48 * 1024 * 1024 + 1)),
    ({ status }) => assert.strictEqual(status, 413)
  ),
  "x-ds-trace-id: 32 hex digits on every answer, and another id in an error's text": Effect.gen(function*() {
    for (const body of [hello, {}]) {
      const { headers, text } = yield* ask(body)
      assert.match(headers["x-ds-trace-id"] ?? "", /^[0-9a-f]{32}$/)
      assert.isUndefined(headers["x-request-id"])
      assert.notInclude(text, headers["x-ds-trace-id"]!)
    }
  }),
  "further headers": Effect.map(ask(hello), ({ headers }) => {
    assert.deepInclude(headers, { server: "openresty", "x-content-type-options": "nosniff" })
    assert.isEmpty(Object.keys(headers).filter((name) => name.startsWith("x-ratelimit")))
  }),
  "Retry-After: not sent, and kept to where it is": Effect.gen(function*() {
    assert.isUndefined((yield* ask(hello, { simulate: "status=503" })).headers["retry-after"])
    const error = yield* client((deepseek) => Effect.flip(deepseek.complete(request)), "status=503, retry-after=7")
    assert.deepInclude(JSON.parse(JSON.stringify(error)).reason.retryAfter, { millis: 7000 })
  }),
  "unknown headers are tolerated": Effect.gen(function*() {
    const { status } = yield* Effect.flatMap(post(hello), read)
    assert.strictEqual(status, 200)
  })
})
