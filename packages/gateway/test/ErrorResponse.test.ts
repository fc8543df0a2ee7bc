import { ChatError } from "@ballast/chat"
import { ErrorResponse, Rejection } from "@ballast/gateway"
import { CircuitBreaker, ConcurrencyLimit, RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration } from "effect"
import * as Fs from "node:fs"

const inside = "10.0.0.1:443 <html>stack at file.ts</html>"
const answered = (status: number) => ({ status, detail: inside, stated: false, traceId: "0123" })
const stated = (status: number) => ({ status, detail: "words", stated: true })

const client = (reason: ChatError.ClientError["reason"]) => new ChatError.ClientError({ reason })
const server = (reason: ChatError.ServerError["reason"]) => new ChatError.ServerError({ reason })
const transport = (reason: ChatError.TransportError["reason"]) => new ChatError.TransportError({ reason })
const protocol = (reason: ChatError.ProtocolError["reason"]) => new ChatError.ProtocolError({ reason })

const expected: ReadonlyArray<readonly [ErrorResponse.Failure, status: number, code: string]> = [
  [client(new ChatError.InvalidRequest(answered(422))), 422, "invalid_request"],
  [client(new ChatError.InvalidRequest(answered(413))), 413, "body_too_large"],
  [client(new ChatError.UnknownModel({ ...answered(400), supported: [] })), 400, "model_not_found"],
  [client(new ChatError.ContextLengthExceeded(answered(400))), 400, "context_length_exceeded"],
  [client(new ChatError.ContentRejected(answered(400))), 400, "content_policy_violation"],
  [client(new ChatError.Unauthorized(answered(401))), 502, "upstream_authentication_error"],
  [client(new ChatError.Unauthorized(answered(403))), 502, "upstream_authentication_error"],
  [client(new ChatError.InsufficientBalance(answered(402))), 402, "insufficient_balance"],
  [client(new ChatError.NotFound(answered(404))), 404, "upstream_not_found"],
  [client(new ChatError.TemporarilyRefused(answered(408))), 408, "upstream_temporarily_refused"],
  [client(new ChatError.RateLimited(answered(429))), 429, "rate_limit_exceeded"],
  [client(new ChatError.ConcurrencyExceeded({ ...answered(429), lowBalance: false })), 429, "concurrency_exceeded"],
  [server(new ChatError.InternalError(answered(500))), 502, "upstream_error"],
  [server(new ChatError.Overloaded(answered(503))), 503, "upstream_overloaded"],
  [server(new ChatError.GatewayError(answered(504))), 502, "upstream_error"],
  [transport(new ChatError.ConnectFailed({ detail: inside })), 502, "upstream_unreachable"],
  [transport(new ChatError.ConnectionLost({ detail: inside })), 502, "upstream_connection_lost"],
  [
    transport(new ChatError.DeadlineExceeded({ deadline: "first", limit: Duration.minutes(1) })),
    504,
    "deadline_exceeded"
  ],
  [protocol(new ChatError.MalformedBody({ detail: inside, excerpt: inside })), 502, "upstream_malformed"],
  [protocol(new ChatError.StreamTruncated({})), 502, "upstream_truncated"],
  [protocol(new ChatError.EmptyCompletion({})), 502, "upstream_empty"],
  [protocol(new ChatError.LeakedToolCall()), 502, "upstream_leaked_tool_call"],
  [new CircuitBreaker.CircuitOpen({ breaker: inside, retryAfter: Duration.seconds(1) }), 503, "circuit_open"],
  [
    new RateLimiter.RateLimitExceeded({ limiter: inside, retryAfter: Duration.seconds(1) }),
    429,
    "gateway_rate_limit_exceeded"
  ],
  [new ConcurrencyLimit.QueueFull({ limiter: inside, limit: 1, queue: 1 }), 429, "gateway_queue_full"],
  [new ConcurrencyLimit.QueueTimeout({ limiter: inside, maxWait: Duration.seconds(1) }), 429, "gateway_queue_timeout"]
]

/** Errors whose text is the service's own, for the client, where the service stated one. */
const inTheServicesWords: ReadonlyArray<ErrorResponse.Failure> = [
  client(new ChatError.InvalidRequest(stated(422))),
  client(new ChatError.InvalidRequest(stated(413))),
  client(new ChatError.UnknownModel({ ...stated(400), supported: [] })),
  client(new ChatError.ContextLengthExceeded(stated(400))),
  client(new ChatError.ContentRejected(stated(400))),
  client(new ChatError.InsufficientBalance(stated(402))),
  client(new ChatError.NotFound(stated(404))),
  client(new ChatError.RateLimited(stated(429))),
  client(new ChatError.ConcurrencyExceeded({ ...stated(429), lowBalance: false })),
  client(new ChatError.TemporarilyRefused(stated(409))),
  server(new ChatError.InternalError(stated(500))),
  server(new ChatError.Overloaded(stated(503))),
  server(new ChatError.GatewayError(stated(502)))
]

/** The rows of the README's table of errors: statuses, and codes. */
const documented = (): ReadonlyArray<readonly [statuses: string, codes: string]> => {
  const [, section = ""] = Fs.readFileSync(new URL("../README.md", import.meta.url), "utf8").split("## Errors\n")
  return Array.from(
    section.matchAll(/^\| ([\d, ]+) \| ([^|]+) \|/gm),
    ([, statuses = "", codes = ""]) => [statuses, codes]
  )
}

describe("ErrorResponse", () => {
  it("has every error in the README's table", () => {
    const rows = documented()
    const refusals = Rejection.Case.literals.map((refused) => new Rejection.Rejection({ case: refused, detail: "no" }))
    for (const error of [...expected.map(([error]) => error), ...refusals]) {
      const { code, status } = ErrorResponse.make(error)
      const found = rows.some(([statuses, codes]) => codes.includes(`\`${code}\``) && statuses.includes(`${status}`))
      // The service's own status stands in place of a row's.
      const kept = error._tag === "ClientError" && rows.some(([, codes]) => codes.includes(`\`${code}\``))
      assert.isTrue(found || kept, `${status} ${code}`)
    }
  })

  it.each(expected)("%s", (error, status, code) => {
    const answer = ErrorResponse.make(error)
    assert.deepStrictEqual([answer.status, answer.code, answer.body.error.code], [status, code, code])
    assert.isNotEmpty(answer.body.error.message)
    assert.isNotEmpty(answer.body.error.type)
    assert.isNull(answer.body.error.param)
    assert.notInclude(JSON.stringify(answer.body), "10.0.0.1")
  })

  it.each(inTheServicesWords)("%s, in the service's words", (error) => {
    const answer = ErrorResponse.make(error)
    assert.strictEqual(answer.body.error.message, "words")
    assert.isUndefined(answer.detail)
  })

  it("says who must set the key beside what the service says of it", () => {
    const { body, detail } = ErrorResponse.make(client(new ChatError.Unauthorized(stated(401))))
    assert.match(body.error.message, /operator must set.* It says: words$/)
    assert.isUndefined(detail)
  })

  it("stops SDKs from repeating calls that went upstream, and no others", () => {
    for (const [error] of expected) {
      const said = ErrorResponse.make(error).headers["x-should-retry"]
      assert.strictEqual(said, ChatError.isChatError(error) ? "false" : undefined, error._tag)
    }
  })

  it("keeps what the client is not told for the log", () => {
    assert.strictEqual(ErrorResponse.make(server(new ChatError.Overloaded(answered(503)))).detail, inside)
    assert.isUndefined(ErrorResponse.make(protocol(new ChatError.StreamTruncated({}))).detail)
    assert.isUndefined(ErrorResponse.make(new Rejection.Rejection({ case: "UnknownRoute", detail: "no" })).detail)
  })

  it.each(
    [
      [client(new ChatError.InvalidRequest(answered(200))), 400],
      [client(new ChatError.UnknownModel({ ...answered(200), supported: [] })), 400],
      [client(new ChatError.ContextLengthExceeded(answered(200))), 400],
      [client(new ChatError.ContentRejected(answered(200))), 400],
      [client(new ChatError.NotFound(answered(200))), 404],
      [client(new ChatError.RateLimited(answered(200))), 429],
      [server(new ChatError.InternalError(answered(200))), 502],
      [server(new ChatError.Overloaded(answered(200))), 503]
    ] as const
  )("has a status of its own where the service's is 200: %s", (error, status) => {
    assert.strictEqual(ErrorResponse.make(error).status, status)
  })

  it.each([
    [Duration.millis(1), "1", "1"],
    [Duration.millis(1000), "1", "1000"],
    [Duration.millis(1001), "2", "1001"],
    [Duration.zero, "0", "0"]
  ])("rounds Retry-After up: %s", (retryAfter, seconds, millis) => {
    const { headers } = ErrorResponse.make(server(new ChatError.Overloaded({ ...answered(503), retryAfter })))
    assert.deepStrictEqual([headers["retry-after"], headers["retry-after-ms"]], [seconds, millis])
  })

  it("says nothing of when to come back where that is not known", () => {
    const { headers } = ErrorResponse.make(server(new ChatError.Overloaded(answered(503))))
    assert.notProperty(headers, "retry-after")
  })

  it("names the field and the methods of a refusal", () => {
    const refused = new Rejection.Rejection({ case: "MethodNotAllowed", detail: "no", param: "model", allow: "POST" })
    const answer = ErrorResponse.make(refused)
    assert.deepStrictEqual([answer.status, answer.body.error.param, answer.headers["allow"]], [405, "model", "POST"])
  })

  it("says nothing of a defect", () => {
    const answer = ErrorResponse.fromCause(Cause.die(new Error(inside)))
    assert.deepStrictEqual([answer.status, answer.code], [500, "internal_error"])
    assert.notInclude(JSON.stringify(answer), "10.0.0.1")
  })
})
