import { Limits } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Redacted, Stream } from "effect"
import { TestClock } from "effect/testing"
import { apiKey, bare, consume, key, on, reasonOf, request, scripted } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"
import { completion, failure, good, sse, traceId } from "../support/wire.ts"

const invalid = (message: string) =>
  failure(400, { message, type: "invalid_request_error", code: "invalid_request_error" })

const text = (status: number, body: string, headers: Record<string, string> = {}): Scripted.Reply => ({
  status,
  headers,
  body: body === "" ? [] : [body]
})

const piece = new Uint8Array(Limits.limits.wholeAnswer / 8).fill(0x20)

/** Its body goes on past every limit, and then waits. */
const endless = (status: number): Scripted.Reply => ({
  status,
  body: ["{", ...Array.from({ length: 8 }, () => piece)],
  end: "stall"
})

const html = "<html>\r\n<head><title>500 Internal Server Error</title></head>\r\n<body>openresty</body></html>"

const tooMany =
  "Too many requests. Your current concurrency is 26, which exceeds your concurrency limit of 25 based on your " +
  "remaining balance. Please top up your balance to restore your concurrency."

const cases: ReadonlyArray<readonly [name: string, reply: Scripted.Reply | Scripted.Refusal, expected: object]> = [
  [
    "400 with a range",
    invalid("Invalid temperature value, the valid range of temperature is [0, 2] (request_id: 5f0c)"),
    {
      class: "ClientError",
      _tag: "InvalidRequest",
      status: 400,
      detail: "Invalid temperature value, the valid range of temperature is [0, 2] (request_id: 5f0c)",
      stated: true,
      traceId
    }
  ],
  ["400 as octets", {
    ...invalid("Stop string array too long: 17"),
    headers: { "content-type": "application/octet-stream" }
  }, { _tag: "InvalidRequest", detail: "Stop string array too long: 17" }],
  [
    "400 unknown model",
    invalid("The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed gpt."),
    {
      class: "ClientError",
      _tag: "UnknownModel",
      supported: ["deepseek-flash", "deepseek-v4-pro"]
    }
  ],
  ["400 unknown model, older", invalid("Model Not Exist"), { _tag: "UnknownModel", supported: [] }],
  [
    "400 context",
    invalid(
      "This model's maximum context length is 1048576 tokens. However, you requested 1100000 tokens (1000000 in the messages, " +
        "100000 in the completion). Please reduce the length of the messages or completion."
    ),
    { class: "ClientError", _tag: "ContextLengthExceeded", limit: 1_048_576, requested: 1_100_000 }
  ],
  [
    "400 context with images",
    invalid(
      "This model's maximum context length is 1048576 tokens. However, your request resolved to 1100000 input tokens."
    ),
    { _tag: "ContextLengthExceeded", limit: 1_048_576, requested: 1_100_000 }
  ],
  ["400 moderation", invalid("Content Exists Risk"), { class: "ClientError", _tag: "ContentRejected" }],
  [
    "401 in JSON",
    failure(401, {
      message: "Authentication Fails, Your api key: ****abcd is invalid",
      type: "authentication_error",
      code: "invalid_request_error"
    }),
    { class: "ClientError", _tag: "Unauthorized", detail: "Authentication Fails, Your api key: **** is invalid" }
  ],
  ["401 in text", text(401, "Authentication Fails (governor)"), {
    _tag: "Unauthorized",
    detail: "Authentication Fails (governor)"
  }],
  ["401 in text, malformed header", text(401, "Authentication Fails (auth header format should be Bearer sk-...)"), {
    _tag: "Unauthorized",
    detail: "Authentication Fails (auth header format should be Bearer sk-...)"
  }],
  ["402", failure(402, { message: "Insufficient Balance", type: "unknown_error", code: "invalid_request_error" }), {
    class: "ClientError",
    _tag: "InsufficientBalance",
    detail: "Insufficient Balance"
  }],
  ["403", text(403, "forbidden"), { _tag: "Unauthorized" }],
  ["404", text(404, ""), { class: "ClientError", _tag: "NotFound", detail: "status 404 without a body" }],
  ["405", text(405, ""), { _tag: "NotFound" }],
  ["413", text(413, "<html><head><title>413 Request Entity Too Large</title></head></html>"), {
    _tag: "InvalidRequest",
    status: 413,
    detail: "413 Request Entity Too Large"
  }],
  ["422", failure(422, { message: "bad parameter" }), { _tag: "InvalidRequest", status: 422 }],
  ["418", text(418, "teapot"), { _tag: "InvalidRequest", status: 418 }],
  ["429 low balance", failure(429, { message: tooMany, type: "rate_limit_error", code: "invalid_request_error" }), {
    class: "ClientError",
    _tag: "ConcurrencyExceeded",
    current: 26,
    limit: 25,
    lowBalance: true
  }],
  ["429 concurrency", failure(429, { message: "Concurrency limit reached" }), {
    _tag: "ConcurrencyExceeded",
    lowBalance: false
  }],
  ["429 balance", failure(429, { message: "Insufficient Balance" }), { _tag: "InsufficientBalance", status: 429 }],
  ["429 rate", failure(429, { message: "Rate limit reached for TPM" }), { class: "ClientError", _tag: "RateLimited" }],
  ["429 in seconds", failure(429, { message: "slow down" }, { "retry-after": "7" }), {
    _tag: "RateLimited",
    retryAfter: Duration.seconds(7)
  }],
  ["429 in milliseconds", failure(429, { message: "slow down" }, { "retry-after": "7", "retry-after-ms": "250" }), {
    retryAfter: Duration.millis(250)
  }],
  ["429 until a date", failure(429, { message: "slow down" }, { "retry-after": "Sun, 22 Nov 2026 10:00:09 GMT" }), {
    retryAfter: Duration.seconds(9)
  }],
  ["500 in HTML", text(500, html, { "content-type": "text/html" }), {
    class: "ServerError",
    _tag: "InternalError",
    status: 500,
    detail: "500 Internal Server Error",
    stated: false
  }],
  ["503 of a proxy", text(503, "connect to 10.1.2.3:443 failed; Authorization: Bearer c29tZSB0b2tlbg==, retry"), {
    _tag: "Overloaded",
    detail: "connect to 10.1.2.3:443 failed; Authorization: Bearer ****, retry",
    stated: false
  }],
  ["500 with broken JSON", text(500, "{\"error\":"), { _tag: "InternalError", detail: "{\"error\":" }],
  ["501", text(501, ""), { class: "ServerError", _tag: "InternalError", status: 501 }],
  ["502", text(502, html), { class: "ServerError", _tag: "GatewayError", status: 502 }],
  ["503", failure(503, { message: "Service is too busy.", type: "service_unavailable_error" }), {
    class: "ServerError",
    _tag: "Overloaded",
    detail: "Service is too busy."
  }],
  ["504", text(504, ""), { class: "ServerError", _tag: "GatewayError" }],
  ["redirect", text(307, "", { location: "https://elsewhere" }), {
    class: "ProtocolError",
    _tag: "MalformedBody",
    status: 307,
    detail: "status 307, no answer"
  }],
  ["error as a string", text(400, "{\"error\":\"no\"}"), { _tag: "InvalidRequest", detail: "no", stated: true }],
  ["error without a message", text(400, "{\"error\":{\"code\":7}}"), {
    detail: "{\"error\":{\"code\":7}}",
    stated: false
  }],
  ["error whose message is no text", text(400, "{\"error\":{\"message\":{\"a\":\"b\"},\"type\":{}}}"), {
    _tag: "InvalidRequest",
    detail: "{\"error\":{\"message\":{\"a\":\"b\"},\"type\":{}}}",
    stated: false
  }],
  ["error whose message is empty", text(400, "{\"error\":{\"message\":\" \",\"code\":7}}"), {
    detail: "{\"error\":{\"message\":\" \",\"code\":7}}",
    stated: false
  }],
  ["error that is empty", text(400, "{\"error\":\"\"}"), { detail: "{\"error\":\"\"}", stated: false }],
  ["200, then unauthorized", text(200, "{\"error\":{\"message\":\"no\",\"type\":\"authentication_error\"}}"), {
    class: "ClientError",
    _tag: "Unauthorized",
    status: 200
  }],
  ["200, then busy", text(200, "\n\n{\"error\":{\"message\":\"busy\",\"code\":\"service_unavailable_error\"}}"), {
    class: "ServerError",
    _tag: "Overloaded",
    status: 200,
    stated: true
  }],
  [
    "200, then out of money",
    text(200, "{\"error\":{\"message\":\"Insufficient Balance\",\"type\":\"unknown_error\"}}"),
    {
      _tag: "InsufficientBalance"
    }
  ],
  ["200, then a limit", text(200, JSON.stringify({ error: { message: tooMany, type: "rate_limit_error" } })), {
    _tag: "ConcurrencyExceeded",
    limit: 25
  }],
  ["200, then a refusal", text(200, "{\"error\":{\"message\":\"bad\",\"type\":\"invalid_request_error\"}}"), {
    _tag: "InvalidRequest"
  }],
  ["200, then a code", text(200, "{\"error\":{\"message\":\"upstream\",\"code\":502}}"), { _tag: "GatewayError" }],
  [
    "200, then a code that no number holds",
    text(200, "{\"error\":{\"message\":\"no\",\"code\":12345678901234567890}}"),
    {
      _tag: "InternalError",
      detail: "no"
    }
  ],
  ["200, then who knows", text(200, "{\"error\":{\"message\":\"hm\"}}"), {
    class: "ServerError",
    _tag: "InternalError"
  }],
  ["200 and nothing", text(200, ""), {
    class: "ProtocolError",
    _tag: "MalformedBody",
    detail: "nothing but blank space"
  }],
  ["200 and blank lines", text(200, "\n\n\n"), { _tag: "MalformedBody", detail: "nothing but blank space" }],
  ["200 in HTML", text(200, html, { "x-ds-trace-id": traceId }), {
    class: "ProtocolError",
    _tag: "MalformedBody",
    detail: "not JSON",
    excerpt: html,
    traceId
  }],
  ["200 of another shape", text(200, "{\"id\":\"x\",\"choices\":[]}"), { _tag: "MalformedBody", lasting: true }],
  ["200 without an end", endless(200), {
    class: "ProtocolError",
    _tag: "MalformedBody",
    detail: "a whole answer that is too large",
    lasting: true
  }],
  ["200, larger than the client takes", { ...text(200, "{\"id\":\"x\","), end: "large" }, {
    class: "ProtocolError",
    _tag: "MalformedBody",
    detail: "a whole answer that is too large",
    lasting: true
  }],
  ["500 without an end", endless(500), { class: "ServerError", _tag: "InternalError" }],
  ["200, cut short", { ...text(200, "{\"id\":\"x\","), end: "cut" }, {
    class: "TransportError",
    _tag: "ConnectionLost",
    detail: "UND_ERR_SOCKET at api.deepseek.com"
  }],
  ["500, cut short", { ...text(500, "<html>"), end: "cut" }, { class: "ServerError", _tag: "InternalError" }],
  ["refused", { code: "ECONNREFUSED" }, {
    class: "TransportError",
    _tag: "ConnectFailed",
    detail: "ECONNREFUSED at api.deepseek.com"
  }],
  ["no such host", { code: "ENOTFOUND" }, { _tag: "ConnectFailed" }],
  ["connect timeout", { code: "UND_ERR_CONNECT_TIMEOUT" }, { _tag: "ConnectFailed" }],
  ["certificate", { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }, { _tag: "ConnectFailed" }],
  ["reset", { code: "ECONNRESET" }, {
    class: "TransportError",
    _tag: "ConnectionLost",
    detail: "ECONNRESET at api.deepseek.com"
  }],
  ["empty", text(200, JSON.stringify(completion({ content: "" }))), {
    class: "ProtocolError",
    _tag: "EmptyCompletion"
  }],
  ["out of resources", text(200, JSON.stringify(completion({ content: "Hel" }, "insufficient_system_resource"))), {
    class: "ServerError",
    _tag: "Overloaded",
    status: 200
  }],
  ["aborted", text(200, JSON.stringify(completion({ content: "Hel" }, "aborted"))), { _tag: "Overloaded" }]
]

describe("DeepSeek errors", () => {
  describe("complete", () => {
    it.effect.each(cases)("%s", ([, reply, expected]) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2026, 10, 22, 10))
        const deepseek = yield* scripted(reply)
        assert.deepInclude(yield* reasonOf(deepseek.complete(request)), expected)
      }))
  })

  describe("stream, before its first chunk", () => {
    // A stream has its own rules for the body of a 200.
    const refused = cases.filter(([, reply]) => "code" in reply || (reply.status ?? 200) >= 300)

    it.effect.each(refused)("%s", ([, reply, expected]) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2026, 10, 22, 10))
        const deepseek = yield* scripted(reply)
        const { exit, text } = yield* consume(deepseek)
        assert.strictEqual(text, "")
        assert.deepInclude(yield* reasonOf(exit), expected)
      }))
  })

  it.effect("are the same for models and balance", () =>
    Effect.gen(function*() {
      const deepseek = yield* scripted(text(401, "Authentication Fails (governor)"))
      assert.deepInclude(yield* reasonOf(deepseek.models), { _tag: "Unauthorized" })
      assert.deepInclude(yield* reasonOf(deepseek.balance), { _tag: "Unauthorized" })
    }))

  it.effect("never show a key, whole or in part", () =>
    Effect.gen(function*() {
      const other = "another-service's-key"
      for (const [sent, echo] of [[key, key], [key, "sk-hushhush"], [key, "****wxyz"], [other, other]] as const) {
        const hidden = echo.replace(/^(sk-|\*+)/, "")
        const call = (reply: Scripted.Reply) => on(Scripted.make(reply).layer, { ...bare, apiKey: Redacted.make(sent) })
        for (
          const reply of [text(401, `no ${echo} here`), text(200, `no ${echo} here`), failure(400, { message: echo })]
        ) {
          const error = yield* Effect.flip((yield* call(reply)).complete(request))
          assert.notInclude(JSON.stringify(error) + error.message + String(error), hidden)
        }
        const { exit } = yield* consume(yield* call(sse([`data: {"error":{"message":"${echo}"}}\n\n`])))
        assert.include(JSON.stringify(exit), "****")
        assert.notInclude(JSON.stringify(exit), hidden)
      }
    }))

  it.effect("say that a request names no model, unless the service may know better", () =>
    Effect.gen(function*() {
      const unnamed = { ...request, model: undefined as never }
      for (const options of [bare, { apiKey }]) {
        const deepseek = yield* on(Scripted.make(good).layer, options)
        const expected = { _tag: "InvalidRequest", path: "model" }
        assert.deepInclude(yield* reasonOf(deepseek.complete(unnamed)), expected)
        assert.deepInclude(yield* reasonOf(Stream.runDrain(deepseek.stream(unnamed))), expected)
        const trusting = yield* on(Scripted.make(good).layer, { ...options, preflight: false })
        yield* trusting.complete(unnamed)
      }
    }))

  it.effect("die of a request that can't be one", () =>
    Effect.gen(function*() {
      const deepseek = yield* on(Scripted.make({ code: "x" }).layer)
      const exit = yield* Effect.exit(deepseek.complete({ ...request, bad: 1n } as never))
      assert.isTrue(exit._tag === "Failure" && exit.cause.reasons[0]?._tag === "Die")
    }))
})
