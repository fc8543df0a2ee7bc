/**
 * How each error is answered: in OpenAI's shape, with a status that tells the client what to do.
 *
 * `rows` is the one table. It is exhaustive: an error that is added to the client or to a policy does not compile until it has a
 * row. A text comes from the service where it states one in an error body of its own, whatever the status, and is fixed elsewhere, since
 * it could show something of the inside (addresses, a proxy's page). A key that the service refuses is the gateway's own, so it is not
 * answered 401. Every answer to a call that went upstream says `x-should-retry: false`: the gateway has spent its tries.
 *
 * @since 0.1.0
 */
import * as ChatError from "@ballast/chat/ChatError"
import * as ChatFault from "@ballast/chat/Fault"
import type { CallError } from "@ballast/deepseek/DeepSeek"
import type * as Policy from "@ballast/resilience/Policy"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Rejection from "./Rejection.ts"

/**
 * The body of every error answer, and the data of an error event inside a stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string
  }
}

/**
 * An error as it is answered. `code` also stands in logs, `traceId` and `detail`, which the client is not told, in logs only.
 *
 * @category models
 * @since 0.1.0
 */
export interface ErrorResponse {
  readonly status: number
  readonly code: string
  readonly headers: Record<string, string>
  readonly body: ErrorBody
  /** Whose fault it is. */
  readonly fault: ChatFault.Fault
  readonly traceId: string | undefined
  /** What the upstream, or the way there, said; absent where the body says it. */
  readonly detail: string | undefined
  /** The message of the policy that rejected the call, with the policy's name; absent where no policy did, or where the body has the same message. */
  readonly policy: string | undefined
}

/**
 * What a handler of the gateway fails with.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure = CallError | Rejection.Rejection

type Reason = ChatError.Reason | Policy.Rejection | Rejection.Rejection

type Key = Exclude<Reason["_tag"], "Rejection"> | Rejection.Case | "BodyTooLargeUpstream"

interface Row {
  readonly status: number
  /** Whether the service's own status stands in its place; not where that is no error's, since an answer of 200 may state one. */
  readonly keepsStatus?: true
  readonly type: string
  readonly code: string
  /** A fixed text; else the error's own, which is fixed too. */
  readonly message?: string
  /** Whether the message that the service stated, if it did, stands in its place. */
  readonly keepsMessage?: true
  /** Whether that message follows the fixed text. */
  readonly quotes?: true
}

const rows: { readonly [K in Key]: Row } = {
  InvalidRequest: {
    status: 400,
    keepsStatus: true,
    type: "invalid_request_error",
    code: "invalid_request",
    message: "The upstream service refused the request.",
    keepsMessage: true
  },
  BodyTooLargeUpstream: {
    status: 413,
    type: "invalid_request_error",
    code: "body_too_large",
    message: "The body is larger than the upstream service takes.",
    keepsMessage: true
  },
  UnknownModel: {
    status: 400,
    keepsStatus: true,
    type: "invalid_request_error",
    code: "model_not_found",
    message: "The upstream service does not know this model.",
    keepsMessage: true
  },
  ContextLengthExceeded: {
    status: 400,
    keepsStatus: true,
    type: "invalid_request_error",
    code: "context_length_exceeded",
    message: "The conversation is longer than the model's context.",
    keepsMessage: true
  },
  ContentRejected: {
    status: 400,
    keepsStatus: true,
    type: "invalid_request_error",
    code: "content_policy_violation",
    message: "The upstream service rejected the content.",
    keepsMessage: true
  },
  Unauthorized: {
    status: 502,
    type: "upstream_authentication_error",
    code: "upstream_authentication_error",
    message: "The upstream service did not accept the gateway's key. The gateway's operator must set a valid one.",
    quotes: true
  },
  InsufficientBalance: {
    status: 402,
    type: "insufficient_quota",
    code: "insufficient_balance",
    message: "The upstream account's balance is used up.",
    keepsMessage: true
  },
  NotFound: {
    status: 404,
    keepsStatus: true,
    type: "invalid_request_error",
    code: "upstream_not_found",
    message: "The upstream service has no such endpoint.",
    keepsMessage: true
  },
  TemporarilyRefused: {
    status: 503,
    keepsStatus: true,
    type: "upstream_error",
    code: "upstream_temporarily_refused",
    message: "The upstream service refused the request for now.",
    keepsMessage: true
  },
  RateLimited: {
    status: 429,
    type: "rate_limit_error",
    code: "rate_limit_exceeded",
    message: "The upstream service limits the rate of requests.",
    keepsMessage: true
  },
  ConcurrencyExceeded: {
    status: 429,
    type: "rate_limit_error",
    code: "concurrency_exceeded",
    message: "The upstream service limits concurrent requests.",
    keepsMessage: true
  },
  InternalError: {
    status: 502,
    type: "upstream_error",
    code: "upstream_error",
    message: "The upstream service failed.",
    keepsMessage: true
  },
  Overloaded: {
    status: 503,
    type: "upstream_error",
    code: "upstream_overloaded",
    message: "The upstream service is too busy.",
    keepsMessage: true
  },
  GatewayError: {
    status: 502,
    type: "upstream_error",
    code: "upstream_error",
    message: "A proxy in front of the upstream service failed.",
    keepsMessage: true
  },
  ConnectFailed: {
    status: 502,
    type: "upstream_error",
    code: "upstream_unreachable",
    message: "The upstream service could not be reached."
  },
  ConnectionLost: {
    status: 502,
    type: "upstream_error",
    code: "upstream_connection_lost",
    message: "The connection to the upstream service was lost."
  },
  DeadlineExceeded: { status: 504, type: "timeout_error", code: "deadline_exceeded" },
  MalformedBody: {
    status: 502,
    type: "upstream_error",
    code: "upstream_malformed",
    message: "The upstream service's answer could not be read."
  },
  StreamTruncated: { status: 502, type: "upstream_error", code: "upstream_truncated" },
  EmptyCompletion: { status: 502, type: "upstream_error", code: "upstream_empty" },
  LeakedToolCall: { status: 502, type: "upstream_error", code: "upstream_leaked_tool_call" },
  CircuitOpen: {
    status: 503,
    type: "gateway_error",
    code: "circuit_open",
    message: "The upstream service has been failing; the gateway pauses calls to it for a moment."
  },
  RateLimitExceeded: {
    status: 429,
    type: "rate_limit_error",
    code: "gateway_rate_limit_exceeded",
    message: "The gateway's own rate limit is reached."
  },
  QueueFull: {
    status: 429,
    type: "rate_limit_error",
    code: "gateway_queue_full",
    message: "Too many requests are waiting in the gateway."
  },
  QueueTimeout: {
    status: 429,
    type: "rate_limit_error",
    code: "gateway_queue_timeout",
    message: "The request waited too long in the gateway's queue."
  },
  MalformedRequest: { status: 400, type: "invalid_request_error", code: "malformed_request" },
  UnknownHost: { status: 403, type: "invalid_request_error", code: "unknown_host" },
  UnknownOrigin: { status: 403, type: "invalid_request_error", code: "unknown_origin" },
  HeadersTooLarge: { status: 431, type: "invalid_request_error", code: "headers_too_large" },
  RequestTimeout: { status: 408, type: "timeout_error", code: "request_timeout" },
  ExpectationFailed: { status: 417, type: "invalid_request_error", code: "expectation_failed" },
  MalformedJson: { status: 400, type: "invalid_request_error", code: "malformed_json" },
  InvalidField: { status: 400, type: "invalid_request_error", code: "invalid_request" },
  UnsupportedMediaType: { status: 415, type: "invalid_request_error", code: "unsupported_media_type" },
  BodyTooLarge: { status: 413, type: "invalid_request_error", code: "body_too_large" },
  BodyUnreadable: { status: 400, type: "invalid_request_error", code: "body_unreadable" },
  Busy: { status: 503, type: "gateway_error", code: "gateway_busy" },
  ModelNotFound: { status: 404, type: "invalid_request_error", code: "model_not_found" },
  ClientDeadline: { status: 504, type: "timeout_error", code: "deadline_exceeded" },
  WrongClientKey: { status: 401, type: "authentication_error", code: "invalid_api_key" },
  ClientKeyExpired: { status: 401, type: "authentication_error", code: "expired_api_key" },
  ClientKeysUnavailable: { status: 503, type: "gateway_error", code: "client_keys_unavailable" },
  RecordsUnavailable: { status: 503, type: "gateway_error", code: "records_unavailable" },
  AddressNotAllowed: { status: 403, type: "permission_error", code: "address_not_allowed" },
  ModelNotAllowed: { status: 403, type: "permission_error", code: "model_not_allowed" },
  ClientLimited: { status: 429, type: "rate_limit_error", code: "client_rate_limit_exceeded" },
  BudgetExceeded: { status: 429, type: "rate_limit_error", code: "budget_exceeded" },
  BudgetsUnavailable: { status: 503, type: "gateway_error", code: "budgets_unavailable" },
  PriceUnknown: { status: 403, type: "permission_error", code: "price_unknown" },
  LocalModelNotReady: { status: 503, type: "local_model_error", code: "local_model_not_ready" },
  LocalModelBusy: { status: 503, type: "local_model_error", code: "local_model_busy" },
  LocalModelTooSlow: { status: 504, type: "local_model_error", code: "local_model_too_slow" },
  LocalModelFailed: { status: 500, type: "local_model_error", code: "local_model_failed" },
  WorkflowNotFound: { status: 404, type: "invalid_request_error", code: "workflow_not_found" },
  RunNotFound: { status: 404, type: "invalid_request_error", code: "run_not_found" },
  RunConflict: { status: 409, type: "invalid_request_error", code: "run_conflict" },
  IdempotencyKeyReused: { status: 422, type: "invalid_request_error", code: "idempotency_key_reused" },
  TooManyRuns: { status: 429, type: "rate_limit_error", code: "too_many_runs" },
  DecisionNotAllowed: { status: 403, type: "permission_error", code: "decision_not_allowed" },
  UnknownRoute: { status: 404, type: "invalid_request_error", code: "unknown_url" },
  MethodNotAllowed: { status: 405, type: "invalid_request_error", code: "method_not_allowed" },
  Stopping: { status: 503, type: "gateway_error", code: "stopping" }
}

const internal: ErrorResponse = {
  status: 500,
  code: "internal_error",
  headers: { "x-should-retry": "false" },
  body: {
    error: {
      message: "The gateway failed. Its log says why.",
      type: "gateway_error",
      param: null,
      code: "internal_error"
    }
  },
  fault: "ballast",
  traceId: undefined,
  detail: undefined,
  policy: undefined
}

/** Rejections that are not the caller's fault. */
const faults: { readonly [C in Rejection.Case]?: ChatFault.Fault } = {
  BudgetsUnavailable: "ballast",
  Busy: "policy",
  TooManyRuns: "policy",
  ClientKeysUnavailable: "ballast",
  LocalModelBusy: "policy",
  LocalModelFailed: "provider",
  LocalModelNotReady: "ballast",
  LocalModelTooSlow: "provider",
  RecordsUnavailable: "ballast",
  Stopping: "ballast"
}

const faultOf = (error: Failure): ChatFault.Fault =>
  error._tag === "Rejection" ? faults[error.case] ?? "caller" : ChatFault.of(error)

const reasonOf = (error: Failure): Reason => "reason" in error ? error.reason : error

const keyOf = (reason: Reason): Key => {
  if (reason._tag === "Rejection") return reason.case
  return reason._tag === "InvalidRequest" && reason.status === 413 ? "BodyTooLargeUpstream" : reason._tag
}

const statedBy = (reason: Reason): string | undefined => "stated" in reason && reason.stated ? reason.detail : undefined

const detailOf = (reason: Reason): string | undefined =>
  reason._tag !== "Rejection" && "detail" in reason ? reason.detail : undefined

const retryAfterOf = (reason: Reason): Duration.Duration | undefined =>
  "retryAfter" in reason ? reason.retryAfter : undefined

const paramOf = (reason: Reason): string | undefined =>
  reason._tag === "Rejection" ? reason.param : reason._tag === "InvalidRequest" ? reason.path : undefined

const headersOf = (error: Failure, reason: Reason, status: number): Record<string, string> => {
  const headers: Record<string, string> = {}
  const retryAfter = retryAfterOf(reason)
  if (retryAfter !== undefined) {
    const millis = Math.max(0, Math.ceil(Duration.toMillis(retryAfter)))
    headers["retry-after"] = String(Math.ceil(millis / 1000))
    headers["retry-after-ms"] = String(millis)
  }
  // SDKs repeat 408, 409, 429 and 5xx by themselves. After a call that went upstream the gateway's own tries are spent, and theirs
  // would multiply them. A rejection by the gateway itself cost nothing, so there they may come again.
  if (ChatError.isChatError(error)) headers["x-should-retry"] = "false"
  if (reason._tag === "Rejection" && reason.allow !== undefined) headers["allow"] = reason.allow
  if (status === 401) headers["www-authenticate"] = "Bearer"
  return headers
}

/** A status under which the service refuses; others (200, 5xx) may state a refusal too, which has one of its own here. */
const isRefusal = (status: number | undefined): boolean => status !== undefined && status >= 400 && status < 500

const messageOf = (row: Row, reason: Reason): string => {
  const fixed = row.message ?? reason.message
  const stated = statedBy(reason)
  if (stated === undefined) return fixed
  return row.keepsMessage ? stated : row.quotes ? `${fixed} It says: ${stated}` : fixed
}

/**
 * The answer to an error.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (error: Failure): ErrorResponse => {
  const reason = reasonOf(error)
  const row = rows[keyOf(reason)]
  const status = row.keepsStatus && "status" in reason && isRefusal(reason.status) ? reason.status : row.status
  const message = messageOf(row, reason)
  const detail = detailOf(reason)
  return {
    status,
    code: row.code,
    headers: headersOf(error, reason, status),
    body: {
      error: {
        message,
        type: row.type,
        param: paramOf(reason) ?? null,
        code: row.code
      }
    },
    fault: faultOf(error),
    traceId: "traceId" in reason ? reason.traceId : undefined,
    detail: detail === undefined || message.endsWith(detail) ? undefined : detail,
    policy: ChatError.isChatError(error) || error._tag === "Rejection" || error.message === message
      ? undefined
      : error.message
  }
}

/**
 * The answer to a cause: of its error, or a `500` that says nothing when it is a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromCause = (cause: Cause.Cause<Failure>): ErrorResponse => {
  const failure = cause.reasons.find(Cause.isFailReason)
  return failure === undefined ? internal : make(failure.error)
}

/**
 * The response of `node:http` for an error, whose body is the JSON given, by default OpenAI's.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toResponse = (
  error: ErrorResponse,
  body: string = JSON.stringify(error.body)
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(body, { contentType: "application/json", status: error.status, headers: error.headers })
