/**
 * Why a call failed: four classes of error, each with a `reason` that names the case.
 *
 * Catch a class with `Effect.catchTag("ClientError", …)`, a case with `Effect.catchReason("ClientError", "RateLimited", …)`, or
 * lift the cases into the error channel with `Effect.unwrapReason("ClientError")`.
 *
 * | class | what happened | whose fault |
 * |---|---|---|
 * | `ClientError` | the service refused the request or the account (4xx) | ours |
 * | `ServerError` | the service failed (5xx, or a `finish_reason` that says so) | the service's |
 * | `TransportError` | no answer, or not in time | the way there |
 * | `ProtocolError` | an answer that breaks the protocol | the service's |
 *
 * Code and words of an answer decide where they say more than its status: an empty wallet under 403 is `InsufficientBalance`. What may
 * be tried again, what another place may answer, and what counts against the service is a property of the reason: `judge` says it. No
 * error carries a key: texts that quote one are masked when they are read.
 *
 * @since 0.1.0
 */
import * as Outcome from "@ballast/resilience/Outcome"
import type * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { ChatCompletion } from "./ChatCompletion.ts"

/** What every answer of the service tells about an error. */
const answered = {
  /** HTTP status, or 200 for an error inside a stream. */
  status: Schema.Finite,
  /** The service's own words, or a proxy's in its place; keys masked. */
  detail: Schema.String,
  /** Whether the service states them in an error body of JSON. What is not may tell of the inside: addresses, names of hosts. */
  stated: Schema.optionalKey(Schema.Boolean),
  /** `x-ds-trace-id` of the answer: quote it to DeepSeek's support. */
  traceId: Schema.optionalKey(Schema.String),
  /** How long the service asked to wait. */
  retryAfter: Schema.optionalKey(Schema.Duration),
  /** Whether it says that another try is of no use, by `x-should-retry: false`: a gateway does so that has spent its own. */
  spent: Schema.optionalKey(Schema.Boolean)
}

/**
 * The request's shape or a value in it was refused (400, 413, 422). With a `path` it was not sent, since the service would refuse it.
 *
 * @category client errors
 * @since 0.1.0
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", {
  ...answered,
  /** The field at fault, such as `messages[2].tool_call_id`, where the request was refused before it was sent. */
  path: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return this.path === undefined
      ? `The service refused the request: ${this.detail}`
      : `The service would refuse the request: ${this.detail}`
  }
}

/**
 * No model of that name (400, 404). `supported` holds the names that the service lists.
 *
 * @category client errors
 * @since 0.1.0
 */
export class UnknownModel extends Schema.TaggedError<UnknownModel>()("UnknownModel", {
  ...answered,
  supported: Schema.Array(Schema.String)
}) {
  override get message() {
    return `The service does not know this model: ${this.detail}`
  }
}

/**
 * Prompt and answer together are longer than the model's context (400), in tokens.
 *
 * @category client errors
 * @since 0.1.0
 */
export class ContextLengthExceeded extends Schema.TaggedError<ContextLengthExceeded>()("ContextLengthExceeded", {
  ...answered,
  limit: Schema.optionalKey(Schema.Finite),
  requested: Schema.optionalKey(Schema.Finite)
}) {
  override get message() {
    return `The conversation is too long: ${this.detail}`
  }
}

/**
 * The service's moderation refused the content (400, 403).
 *
 * @category client errors
 * @since 0.1.0
 */
export class ContentRejected extends Schema.TaggedError<ContentRejected>()("ContentRejected", answered) {
  override get message() {
    return `The service rejected the content: ${this.detail}`
  }
}

/**
 * The key is missing, malformed or wrong (401, 403).
 *
 * @category client errors
 * @since 0.1.0
 */
export class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", answered) {
  override get message() {
    return `The service did not accept the API key: ${this.detail}`
  }
}

/**
 * The account's balance or quota is used up (402, or words that say so). Retrying helps only after a top-up.
 *
 * @category client errors
 * @since 0.1.0
 */
export class InsufficientBalance extends Schema.TaggedError<InsufficientBalance>()("InsufficientBalance", answered) {
  override get message() {
    return `The account's balance is used up: ${this.detail}`
  }
}

/**
 * No such path, or no such file (404, 405).
 *
 * @category client errors
 * @since 0.1.0
 */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", answered) {
  override get message() {
    return `The service has nothing there: ${this.detail}`
  }
}

/**
 * Too many requests or tokens in a span of time (429).
 *
 * @category client errors
 * @since 0.1.0
 */
export class RateLimited extends Schema.TaggedError<RateLimited>()("RateLimited", answered) {
  override get message() {
    return `The service limits the rate of requests: ${this.detail}`
  }
}

/**
 * The service refused the request for now (408, 409, 425): it took too long, or met another one. The same request may succeed.
 *
 * @category client errors
 * @since 0.1.0
 */
export class TemporarilyRefused extends Schema.TaggedError<TemporarilyRefused>()("TemporarilyRefused", answered) {
  override get message() {
    return `The service refused the request for now: ${this.detail}`
  }
}

/**
 * Too many requests at the same time (429). The limit shrinks with the account's balance, and the service tells it here only. Calls in
 * flight end and free places, so the call may succeed later under a lowered limit too; only a top-up raises that limit again.
 *
 * @category client errors
 * @since 0.1.0
 */
export class ConcurrencyExceeded extends Schema.TaggedError<ConcurrencyExceeded>()("ConcurrencyExceeded", {
  ...answered,
  /** How many requests the account may have in flight now. */
  limit: Schema.optionalKey(Schema.Finite),
  /** How many it had. */
  current: Schema.optionalKey(Schema.Finite),
  /** Whether the limit is that low because of the balance. */
  lowBalance: Schema.Boolean
}) {
  override get message() {
    return this.lowBalance
      ? `The service limits concurrent requests because the account's balance is low; a top-up raises the limit: ${this.detail}`
      : `The service limits concurrent requests: ${this.detail}`
  }
}

/**
 * The service failed (500, or any other 5xx).
 *
 * @category server errors
 * @since 0.1.0
 */
export class InternalError extends Schema.TaggedError<InternalError>()("InternalError", answered) {
  override get message() {
    return `The service failed: ${this.detail}`
  }
}

/**
 * The service is too busy (503, 529, or a generation that ended with `insufficient_system_resource` or `aborted`).
 *
 * @category server errors
 * @since 0.1.0
 */
export class Overloaded extends Schema.TaggedError<Overloaded>()("Overloaded", answered) {
  override get message() {
    return `The service is too busy: ${this.detail}`
  }
}

/**
 * A proxy in front of the service failed (502, 504).
 *
 * @category server errors
 * @since 0.1.0
 */
export class GatewayError extends Schema.TaggedError<GatewayError>()("GatewayError", answered) {
  override get message() {
    return `A proxy in front of the service failed: ${this.detail}`
  }
}

/**
 * No connection: DNS, refusal, TLS or a connect timeout. The request was not sent.
 *
 * @category transport errors
 * @since 0.1.0
 */
export class ConnectFailed extends Schema.TaggedError<ConnectFailed>()("ConnectFailed", { detail: Schema.String }) {
  override get message() {
    return `No connection to the service: ${this.detail}`
  }
}

/**
 * The connection broke before the answer was whole.
 *
 * @category transport errors
 * @since 0.1.0
 */
export class ConnectionLost extends Schema.TaggedError<ConnectionLost>()("ConnectionLost", { detail: Schema.String }) {
  override get message() {
    return `The connection to the service was lost: ${this.detail}`
  }
}

/**
 * A deadline passed. `deadline` says which: of the whole call, of one attempt, until the first token, or between two tokens.
 *
 * @category transport errors
 * @since 0.1.0
 */
export class DeadlineExceeded extends Schema.TaggedError<DeadlineExceeded>()("DeadlineExceeded", {
  deadline: Schema.Literals(["total", "attempt", "first", "idle", "rate"]),
  limit: Schema.Duration
}) {
  override get message() {
    return deadlineMessage[this.deadline]
  }
}

const deadlineMessage = {
  total: "The call did not end within its total deadline",
  attempt: "The attempt did not end within its deadline",
  first: "No first token arrived within its deadline",
  idle: "No further token arrived within the idle deadline",
  rate: "The tokens arrived more slowly than the least rate"
} as const

/**
 * A body or an event that is not what the protocol says: not JSON, JSON of another shape, or too large. `excerpt` is its beginning. A broken
 * answer may be whole the next time; one of another shape or size would be paid for again, and be the same, as would another status.
 *
 * @category protocol errors
 * @since 0.1.0
 */
export class MalformedBody extends Schema.TaggedError<MalformedBody>()("MalformedBody", {
  detail: Schema.String,
  excerpt: Schema.String,
  /** Whether it would come again: whole JSON of another shape, or more than `Limits` let in. */
  lasting: Schema.optionalKey(Schema.Boolean),
  /** HTTP status, where it is another one than the 200 of an answer: a redirect, or `204`. */
  status: Schema.optionalKey(Schema.Finite),
  traceId: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return `The service's answer could not be read: ${this.detail}`
  }
}

/**
 * The stream ended before it said why: no `finish_reason`. `partial` is the answer as far as it had come, or absent when nothing had.
 *
 * @category protocol errors
 * @since 0.1.0
 */
export class StreamTruncated extends Schema.TaggedError<StreamTruncated>()("StreamTruncated", {
  partial: Schema.optionalKey(ChatCompletion),
  traceId: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return "The stream ended before the answer was complete"
  }
}

/**
 * An answer that says `stop` but has nothing in it: no text, no reasoning, no tool call, no field that is new.
 *
 * @category protocol errors
 * @since 0.1.0
 */
export class EmptyCompletion extends Schema.TaggedError<EmptyCompletion>()("EmptyCompletion", {
  traceId: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return "The service answered with nothing"
  }
}

/**
 * The answer's text has tool calls in it, in the model's own markup, which the service should have made `tool_calls` of. The next answer may
 * be right.
 *
 * @category protocol errors
 * @since 0.1.0
 */
export class LeakedToolCall extends Schema.TaggedError<LeakedToolCall>()("LeakedToolCall", {}) {
  override get message() {
    return "The answer has a tool call as markup in its text"
  }
}

const ClientReason = Schema.Union([
  InvalidRequest,
  UnknownModel,
  ContextLengthExceeded,
  ContentRejected,
  Unauthorized,
  InsufficientBalance,
  NotFound,
  TemporarilyRefused,
  RateLimited,
  ConcurrencyExceeded
])
const ServerReason = Schema.Union([InternalError, Overloaded, GatewayError])
const TransportReason = Schema.Union([ConnectFailed, ConnectionLost, DeadlineExceeded])
const ProtocolReason = Schema.Union([MalformedBody, StreamTruncated, EmptyCompletion, LeakedToolCall])

/**
 * Any of the reasons.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason =
  | typeof ClientReason.Type
  | typeof ServerReason.Type
  | typeof TransportReason.Type
  | typeof ProtocolReason.Type

/**
 * What an error means for those who decide about the next step.
 *
 * @category models
 * @since 0.1.0
 */
export interface Judgement {
  /** Whether the same request may succeed later, in the same place. */
  readonly retry: boolean
  /** Whether another place (provider, account, model) may answer the same request. */
  readonly elsewhere: boolean
  /** Whether it counts as a failure of the service, so that a circuit breaker may open. */
  readonly fault: boolean
}

const refusal: Judgement = { retry: false, elsewhere: false, fault: false }
const account: Judgement = { retry: false, elsewhere: true, fault: false }
const limit: Judgement = { retry: true, elsewhere: true, fault: false }
const fault: Judgement = { retry: true, elsewhere: true, fault: true }

/**
 * What each reason means, as a table. `judge` adds what a reason's fields change.
 *
 * **Details**
 *
 * A request that the service refuses with good reason says nothing about the service's health, and neither does a limit that it states.
 * `ContextLengthExceeded` does not go elsewhere: the conversation is too long for the model that was asked for, which has the same
 * context everywhere; another model is the caller's choice. Neither does `ContentRejected`: a refusal by one moderation is not to be
 * evaded by asking the next.
 *
 * @category models
 * @since 0.1.0
 */
export const judgements: { readonly [Tag in Reason["_tag"]]: Judgement } = {
  InvalidRequest: refusal,
  ContextLengthExceeded: refusal,
  ContentRejected: refusal,
  UnknownModel: account,
  Unauthorized: account,
  InsufficientBalance: account,
  NotFound: account,
  TemporarilyRefused: limit,
  RateLimited: limit,
  ConcurrencyExceeded: limit,
  InternalError: fault,
  Overloaded: fault,
  GatewayError: fault,
  ConnectFailed: fault,
  ConnectionLost: fault,
  DeadlineExceeded: fault,
  MalformedBody: fault,
  StreamTruncated: fault,
  EmptyCompletion: fault,
  LeakedToolCall: fault
}

const spent: Judgement = { retry: false, elsewhere: false, fault: true }

/**
 * What a reason means: whether to retry in the same place, to go elsewhere, and to count it against the service.
 *
 * **Details**
 *
 * As `judgements` says, but for three cases: the total deadline leaves no time for another try, here or elsewhere; a `MalformedBody`
 * that is lasting, or has another status than an answer's, would come again and is no failure of the service; and a service that says
 * `x-should-retry: false` is not asked again.
 *
 * @category predicates
 * @since 0.1.0
 */
export const judge = (reason: Reason): Judgement => {
  switch (reason._tag) {
    case "DeadlineExceeded":
      return reason.deadline === "total" ? spent : fault
    case "MalformedBody":
      return reason.lasting === true || reason.status !== undefined ? account : fault
    default: {
      const judged = judgements[reason._tag]
      return "spent" in reason && reason.spent === true ? { ...judged, retry: false } : judged
    }
  }
}

/**
 * Whether another place may answer what a call failed to.
 *
 * **Details**
 *
 * A `ChatError` goes where `judge` says. A rejection by a policy (`CircuitOpen`, `QueueFull`, `RateLimitExceeded`, …) goes elsewhere,
 * since nothing was sent. Other errors go elsewhere where they may be retried, as `Outcome.classify` says.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isElsewhere = (error: unknown): boolean => {
  if (isChatError(error)) return judge(error.reason).elsewhere
  const outcome = Outcome.classify(Exit.fail(error))
  return outcome._tag === "Failure" ? outcome.retryable : outcome._tag === "Ignored" && outcome.executed === false
}

/**
 * How long the service asked to wait before the next try, where it said so.
 *
 * @category accessors
 * @since 0.1.0
 */
export const retryAfter = (reason: Reason): Duration.Duration | undefined =>
  "retryAfter" in reason ? reason.retryAfter : undefined

/** Reasons after which the service has certainly not begun to answer, so that a call that must not run twice may be repeated. */
const unstarted: ReadonlySet<Reason["_tag"]> = new Set([
  "Unauthorized",
  "InsufficientBalance",
  "UnknownModel",
  "NotFound",
  "RateLimited",
  "ConcurrencyExceeded",
  "ConnectFailed"
])

const outcomeOf = (reason: Reason): Outcome.Outcome => {
  const { fault, retry: retryable } = judge(reason)
  const options = {
    retryable,
    retryAfter: retryAfter(reason),
    executed: unstarted.has(reason._tag) ? false : undefined
  }
  return fault ? Outcome.failure(options) : Outcome.ignored(options)
}

/**
 * The service refused the request or the account.
 *
 * @category errors
 * @since 0.1.0
 */
export class ClientError extends Schema.TaggedError<ClientError>()("ClientError", { reason: ClientReason }) {
  override get message() {
    return this.reason.message
  }
  get [Outcome.key]() {
    return outcomeOf(this.reason)
  }
}

/**
 * The service failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerError extends Schema.TaggedError<ServerError>()("ServerError", { reason: ServerReason }) {
  override get message() {
    return this.reason.message
  }
  get [Outcome.key]() {
    return outcomeOf(this.reason)
  }
}

/**
 * No answer, or not in time.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransportError
  extends Schema.TaggedError<TransportError>()("TransportError", { reason: TransportReason })
{
  override get message() {
    return this.reason.message
  }
  get [Outcome.key]() {
    return outcomeOf(this.reason)
  }
}

/**
 * An answer that breaks the protocol.
 *
 * @category errors
 * @since 0.1.0
 */
export class ProtocolError extends Schema.TaggedError<ProtocolError>()("ProtocolError", { reason: ProtocolReason }) {
  override get message() {
    return this.reason.message
  }
  get [Outcome.key]() {
    return outcomeOf(this.reason)
  }
}

/**
 * Why a call to a chat model failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type ChatError = ClientError | ServerError | TransportError | ProtocolError

/**
 * Returns whether a value is a `ChatError`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isChatError = (u: unknown): u is ChatError =>
  u instanceof ClientError || u instanceof ServerError || u instanceof TransportError || u instanceof ProtocolError
