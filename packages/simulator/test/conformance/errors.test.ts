import { ChatAccumulator, ChatError } from "@ballast/chat"
import { ToolMarkup } from "@ballast/deepseek"
import { assert } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { ask, complete, get, hello, message, read, user, weather } from "../support.ts"
import { all, client, failsAs, refuses, request, type Row, section } from "./rows.ts"

const plain = { ...request, thinking: { type: "disabled" } } as const
const calling = { ...request, messages: [{ role: "user", content: "What is the weather in Paris?" }], tools: [weather] }

/** What the body of an answer with this status says. */
const says = (simulate: string, expected: object): Row =>
  Effect.map(ask(hello, { simulate }), ({ text }) => {
    const { error } = JSON.parse(text)
    assert.deepInclude({ ...error, message: message(text) }, expected)
  })

section("§9.1 status codes", {
  "400: the request is wrong": failsAs(
    "status=400, body=%7B%22error%22%3A%7B%22message%22%3A%22x%22%7D%7D",
    "ClientError: InvalidRequest"
  ),
  "401: authentication fails": failsAs("status=401", "ClientError: Unauthorized"),
  "402: no balance": failsAs("status=402", "ClientError: InsufficientBalance"),
  "404: no such path": failsAs("status=404", "ClientError: NotFound"),
  "413: too large": failsAs("status=413", "ClientError: InvalidRequest"),
  "422: invalid parameters": failsAs("status=422", "ClientError: InvalidRequest"),
  "429: concurrency, or rate": all(
    failsAs("status=429", "ClientError: ConcurrencyExceeded"),
    failsAs("status=429, limit=rate", "ClientError: RateLimited")
  ),
  "500: also as a page of HTML": failsAs("status=500", "ServerError: InternalError"),
  "503: too busy": failsAs("status=503", "ServerError: Overloaded")
})

section("§9.2 bodies of errors", {
  "400: invalid_request_error, with the id of the request at its end": all(
    says("status=400", { type: "invalid_request_error", code: "invalid_request_error", param: null }),
    Effect.map(ask({}), ({ text }) => assert.match(text, / \(request_id: [0-9a-f-]{36}\)/))
  ),
  "401, wrong key: its last four characters, which the client masks": Effect.gen(function*() {
    yield* says("status=401", {
      type: "authentication_error",
      code: "invalid_request_error",
      message: "Authentication Fails, Your api key: ****ated is invalid"
    })
    const error = yield* client((deepseek) => Effect.flip(deepseek.complete(request)), "status=401")
    assert.notInclude(String(error), "ated is")
  }),
  "401 without Authorization, or with a malformed one: plain text without a type": Effect.gen(function*() {
    const answer = (headers: Record<string, string>) => Effect.flatMap(get("/models", headers), read)
    const none = yield* answer({})
    assert.deepStrictEqual([none.status, none.text], [401, "Authentication Fails (governor)"])
    assert.isUndefined(none.headers["content-type"])
    const { text } = yield* answer({ authorization: "Bearer key" })
    assert.strictEqual(text, "Authentication Fails (auth header format should be Bearer sk-...)")
  }),
  "402: unknown_error": says("status=402", {
    type: "unknown_error",
    code: "invalid_request_error",
    message: "Insufficient Balance"
  }),
  "429, low balance: the limit is in the text": Effect.gen(function*() {
    yield* says("status=429, limit=balance", { type: "rate_limit_error", code: "invalid_request_error" })
    const error = yield* client((deepseek) => Effect.flip(deepseek.complete(request)), "status=429, limit=balance")
    assert.deepInclude(ChatError.isChatError(error) ? { ...error.reason } : {}, {
      limit: 25,
      current: 26,
      lowBalance: true
    })
  }),
  "503: service_unavailable_error": says("status=503", {
    type: "service_unavailable_error",
    code: "service_unavailable_error"
  }),
  "whatever the type says, the body is read": failsAs(
    "status=400, body=%7B%22error%22%3A%7B%22message%22%3A%22Content%20Exists%20Risk%22%7D%7D",
    "ClientError: ContentRejected"
  ),
  "an error object within a stream, after a 200": Effect.gen(function*() {
    const error = yield* client((deepseek) => Effect.flip(Stream.runDrain(deepseek.stream(request))), "error=5")
    assert.strictEqual(ChatError.isChatError(error) && error.reason._tag, "Overloaded")
  })
})

/** The client reads a refusal as this reason. */
const readAs = (body: object, reason: ChatError.Reason["_tag"]): Row =>
  Effect.map(
    client((deepseek) => Effect.flip(deepseek.complete({ ...request, ...body } as typeof request))),
    (error) => assert.strictEqual(ChatError.isChatError(error) && error.reason._tag, reason)
  )

section("§9.3 texts of a 400", {
  "unknown model, with those that there are": all(
    refuses(
      { ...hello, model: "deepseek-chat" },
      "The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed deepseek-chat."
    ),
    readAs({ model: "deepseek-chat" }, "UnknownModel")
  ),
  "a wrong value or a missing field: its path": refuses(
    { ...hello, messages: [{ role: "user" }] },
    /^Failed to deserialize the JSON body into the target type: messages\[0\]: missing field `content` at line 1 column \d+$/
  ),
  "an effort of another type": refuses(
    { ...hello, reasoning_effort: 1 },
    /^Failed to parse the request body as JSON: reasoning_effort: expected value at line 1 column \d+$/
  ),
  "longer than the context": all(
    refuses(
      { ...hello, messages: [user("字".repeat(1_700_000))], max_tokens: 100_000 },
      /^This model's maximum context length is 1048576 tokens\. However, you requested \d+ tokens/
    ),
    readAs({ messages: [user("字".repeat(1_700_000))], max_tokens: 100_000 }, "ContextLengthExceeded")
  ),
  "moderation": failsAs("status=400", "ClientError: ContentRejected"),
  "an orphan tool message, and missing tool results": all(
    refuses(
      { ...hello, messages: [user("x"), { role: "tool", tool_call_id: "a", content: "y" }] },
      "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
    ),
    refuses(
      {
        ...hello,
        messages: [user("x"), {
          role: "assistant",
          content: "",
          tool_calls: [{ id: "a", type: "function", function: { name: "f", arguments: "{}" } }]
        }, user("y")]
      },
      /^An assistant message with 'tool_calls' must be followed by tool messages .*: a$/
    )
  )
})

const streamed = (simulate: string, options: object = {}) =>
  client((deepseek) => ChatAccumulator.collect(deepseek.stream(request)), simulate, options)

section("§12 quirks", {
  "a stream goes silent and stays open: the idle deadline ends it": Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      Effect.flip(streamed("stall=9", { deadlines: { idle: "30 seconds" } })),
      { startImmediately: true }
    )
    yield* TestClock.adjust("30 seconds")
    assert.deepInclude(Object(yield* Fiber.join(fiber)).reason, { _tag: "DeadlineExceeded", deadline: "idle" })
  }),
  "200, blank lines, and no JSON": failsAs("padding=3, body=%0A%0A", "ProtocolError: MalformedBody"),
  "the socket is closed in mid-chunk": all(
    failsAs("cut=1", "TransportError: ConnectionLost"),
    Effect.map(
      Effect.flip(streamed("cut=9")),
      (error) => assert.deepInclude(Object(error).reason, { _tag: "StreamTruncated" })
    )
  ),
  "small max_tokens with thinking: empty content, length": Effect.map(
    client((deepseek) => deepseek.complete({ ...request, max_tokens: 3 })),
    ({ choices: [{ finish_reason, message }], usage }) => {
      assert.deepStrictEqual([message.content, finish_reason], ["", "length"])
      assert.strictEqual(usage?.completion_tokens_details?.reasoning_tokens, 3)
    }
  ),
  "stop with nothing": failsAs("empty", "ProtocolError: EmptyCompletion", plain),
  "tool calls leak as markup, and are found": Effect.map(
    complete(calling, { simulate: "dsml" }),
    ({ choices: [{ message }] }) => {
      assert.notProperty(message, "tool_calls")
      assert.isTrue(ToolMarkup.isIn(message.content ?? ""))
    }
  ),
  "a forced tool is refused while thinking, which is on by default": refuses(
    { ...calling, tool_choice: "required" },
    "Thinking mode does not support this tool_choice"
  ),
  "a burst of 503 clears on the second or third try": Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      client((deepseek) => deepseek.complete(request), "status=503, times=2, id=burst", { retry: { times: 3 } }),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 minute")
    assert.strictEqual((yield* Fiber.join(fiber)).choices[0].finish_reason, "stop")
  })
})
