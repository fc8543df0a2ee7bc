import { ChatError } from "@ballast/chat"
import { CircuitBreaker, ConcurrencyLimit, Deadline, Outcome, RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Exit } from "effect"

const answered = { status: 400, detail: "words", stated: true }

const client = (reason: ChatError.ClientError["reason"]) => new ChatError.ClientError({ reason })
const server = (reason: ChatError.ServerError["reason"]) => new ChatError.ServerError({ reason })
const transport = (reason: ChatError.TransportError["reason"]) => new ChatError.TransportError({ reason })
const protocol = (reason: ChatError.ProtocolError["reason"]) => new ChatError.ProtocolError({ reason })
const deadline = (deadline: ChatError.DeadlineExceeded["deadline"]) =>
  transport(new ChatError.DeadlineExceeded({ deadline, limit: Duration.seconds(1) }))
const malformed = { detail: "no", excerpt: "" }

/** Each error with whether it is retried, goes elsewhere, and counts as a fault. */
const judged: ReadonlyArray<readonly [ChatError.ChatError, retry: boolean, elsewhere: boolean, fault: boolean]> = [
  [client(new ChatError.InvalidRequest(answered)), false, false, false],
  [client(new ChatError.ContextLengthExceeded(answered)), false, false, false],
  [client(new ChatError.ContentRejected(answered)), false, false, false],
  [client(new ChatError.UnknownModel({ ...answered, supported: [] })), false, true, false],
  [client(new ChatError.Unauthorized(answered)), false, true, false],
  [client(new ChatError.InsufficientBalance(answered)), false, true, false],
  [client(new ChatError.NotFound(answered)), false, true, false],
  [client(new ChatError.TemporarilyRefused(answered)), true, true, false],
  [client(new ChatError.RateLimited(answered)), true, true, false],
  [client(new ChatError.ConcurrencyExceeded({ ...answered, lowBalance: false })), true, true, false],
  [client(new ChatError.ConcurrencyExceeded({ ...answered, lowBalance: true })), true, true, false],
  [server(new ChatError.InternalError(answered)), true, true, true],
  [server(new ChatError.Overloaded(answered)), true, true, true],
  [server(new ChatError.GatewayError(answered)), true, true, true],
  [transport(new ChatError.ConnectFailed({ detail: "no" })), true, true, true],
  [transport(new ChatError.ConnectionLost({ detail: "no" })), true, true, true],
  [deadline("total"), false, false, true],
  [deadline("attempt"), true, true, true],
  [deadline("first"), true, true, true],
  [deadline("idle"), true, true, true],
  [protocol(new ChatError.MalformedBody(malformed)), true, true, true],
  [protocol(new ChatError.MalformedBody({ ...malformed, lasting: true })), false, true, false],
  [protocol(new ChatError.MalformedBody({ ...malformed, status: 307 })), false, true, false],
  [protocol(new ChatError.StreamTruncated({})), true, true, true],
  [protocol(new ChatError.EmptyCompletion({})), true, true, true],
  [protocol(new ChatError.LeakedToolCall()), true, true, true]
]

describe("ChatError", () => {
  it.each(judged)("judges %s", (error, retry, elsewhere, fault) => {
    assert.deepStrictEqual({ ...ChatError.judge(error.reason) }, { retry, elsewhere, fault })
    assert.strictEqual(ChatError.isElsewhere(error), elsewhere)
    const outcome = Outcome.classify(Exit.fail(error))
    assert.strictEqual(outcome._tag, fault ? "Failure" : "Ignored")
    assert.isTrue(outcome._tag !== "Success" && outcome.retryable === retry)
  })

  it("judges every reason", () => {
    const tags = new Set(judged.map(([error]) => error.reason._tag))
    assert.sameMembers([...tags], Object.keys(ChatError.judgements))
  })

  it.each([
    [new CircuitBreaker.CircuitOpen({ breaker: "b", retryAfter: Duration.seconds(1) }), true],
    [new RateLimiter.RateLimitExceeded({ limiter: "l", retryAfter: Duration.seconds(1) }), true],
    [new ConcurrencyLimit.QueueFull({ limiter: "l", limit: 1, queue: 1 }), true],
    [new ConcurrencyLimit.QueueTimeout({ limiter: "l", maxWait: Duration.seconds(1) }), true],
    [new Deadline.DeadlineExceeded({ deadline: "attempt", limit: Duration.seconds(1) }), true],
    [new Deadline.DeadlineExceeded({ deadline: "total", limit: Duration.seconds(1) }), false],
    [new Error("of a provider's own"), true]
  ])("sends other errors elsewhere where nothing was sent or they may be retried: %s", (error, elsewhere) => {
    assert.strictEqual(ChatError.isElsewhere(error), elsewhere)
  })

  it("says that a top-up raises a limit that the balance lowered", () => {
    assert.include(new ChatError.ConcurrencyExceeded({ ...answered, lowBalance: true }).message, "top-up")
  })
})
