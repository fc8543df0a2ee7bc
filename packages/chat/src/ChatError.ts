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
 * What may be tried again, and what counts against the service, is a property of the reason: see `judgements` and `isTransient`, the
 * one place that says so. No error carries a key: texts that quote one are masked when they are read.
 *
 * @since 0.1.0
 */
import * as Outcome from "@ballast/resilience/Outcome"
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { ChatCompletion } from "./ChatCompletion.ts"

/** What every answer of the service tells about an error. */
const answered = {
  /** HTTP status, or 200 for an error inside a stream. */
  status: Schema.Finite,
  /** The service's own words, or a proxy's in its place; keys masked. */
  detail: Schema.String,
  /** Whether they are the message of the service's error body. What is not may tell of the inside: addresses, names of hosts. */
  stated: Schema.optionalKey(Schema.Boolean),
  /** `x-ds-trace-id` of the answer: quote it to DeepSeek's support. */
  traceId: Schema.optionalKey(Schema.String),
  /** How long the service asked to wait. */
  retryAfter: Schema.optionalKey(Schema.Duration)
}

/**
 * The request's shape or a value in it was refused (400, 413, 422).
 *
 * @category client errors
 * @since 0.1.0
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", answered) {
  override get message() {
    return `The service refused the request: ${this.detail}`
  }
}

/**
 * No model of that name (400). `supported` holds the names that the service lists.
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
 * The service's moderation refused the content (400).
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
 * The account's balance is used up (402). Retrying helps only after a top-up.
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
 * No such path (404, 405).
 *
 * @category client errors
 * @since 0.1.0
 */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", answered) {
  override get message() {
    return `The service has no such endpoint: ${this.detail}`
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
 * Too many requests at the same time (429). The limit shrinks with the account's balance, and the service tells it here only; a
 * limit that the balance has lowered is not waited for.
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
    return `The service limits concurrent requests: ${this.detail}`
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
 * The service is too busy (503, or a generation that ended with `insufficient_system_resource` or `aborted`).
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
 * A body or an event that is not what the protocol says: not JSON, or JSON of another shape. `excerpt` is its beginning. A broken
 * answer may be whole the next time; one of another shape would be paid for again, and be the same, as would another status.
 *
 * @category protocol errors
 * @since 0.1.0
 */
export class MalformedBody extends Schema.TaggedError<MalformedBody>()("MalformedBody", {
  detail: Schema.String,
  excerpt: Schema.String,
  /** Whether it is whole JSON, of another shape. */
  json: Schema.optionalKey(Schema.Boolean),
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

const ClientReason = Schema.Union([
  InvalidRequest,
  UnknownModel,
  ContextLengthExceeded,
  ContentRejected,
  Unauthorized,
  InsufficientBalance,
  NotFound,
  RateLimited,
  ConcurrencyExceeded
])
const ServerReason = Schema.Union([InternalError, Overloaded, GatewayError])
const TransportReason = Schema.Union([ConnectFailed, ConnectionLost, DeadlineExceeded])
const ProtocolReason = Schema.Union([MalformedBody, StreamTruncated, EmptyCompletion])

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
 * What each reason means for a retry and for a circuit breaker.
 *
 * **Details**
 *
 * `retryable`: the same request may succeed later. `fault`: it counts as a failure of the service. A request that the service
 * refuses with good reason says nothing about the service's health, and neither does a limit that it states.
 *
 * @category models
 * @since 0.1.0
 */
export const judgements: {
  readonly [Tag in Reason["_tag"]]: { readonly retryable: boolean; readonly fault: boolean }
} = {
  InvalidRequest: { retryable: false, fault: false },
  UnknownModel: { retryable: false, fault: false },
  ContextLengthExceeded: { retryable: false, fault: false },
  ContentRejected: { retryable: false, fault: false },
  Unauthorized: { retryable: false, fault: false },
  InsufficientBalance: { retryable: false, fault: false },
  NotFound: { retryable: false, fault: false },
  RateLimited: { retryable: true, fault: false },
  ConcurrencyExceeded: { retryable: true, fault: false },
  InternalError: { retryable: true, fault: true },
  Overloaded: { retryable: true, fault: true },
  GatewayError: { retryable: true, fault: true },
  ConnectFailed: { retryable: true, fault: true },
  ConnectionLost: { retryable: true, fault: true },
  DeadlineExceeded: { retryable: true, fault: true },
  MalformedBody: { retryable: true, fault: true },
  StreamTruncated: { retryable: true, fault: true },
  EmptyCompletion: { retryable: true, fault: true }
}

/**
 * Whether the same request may succeed later.
 *
 * **Details**
 *
 * As `judgements` says of the reason, but for two cases: a `ConcurrencyExceeded` with `lowBalance` waits for a top-up, and a
 * `MalformedBody` with `json` or a `status` would come again.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isTransient = (reason: Reason): boolean => {
  switch (reason._tag) {
    case "ConcurrencyExceeded":
      return !reason.lowBalance
    case "MalformedBody":
      return reason.json !== true && reason.status === undefined
    default:
      return judgements[reason._tag].retryable
  }
}

/**
 * How long the service asked to wait before the next try, where it said so.
 *
 * @category accessors
 * @since 0.1.0
 */
export const retryAfter = (reason: Reason): Duration.Duration | undefined =>
  "retryAfter" in reason ? reason.retryAfter : undefined

const judge = (reason: Reason): Outcome.Outcome => {
  const options = {
    retryable: isTransient(reason) && !(reason._tag === "DeadlineExceeded" && reason.deadline === "total"),
    retryAfter: retryAfter(reason)
  }
  return judgements[reason._tag].fault ? Outcome.failure(options) : Outcome.ignored(options)
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
    return judge(this.reason)
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
    return judge(this.reason)
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
    return judge(this.reason)
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
    return judge(this.reason)
  }
}

/**
 * Why a call to a chat model failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type ChatError = ClientError | ServerError | TransportError | ProtocolError
