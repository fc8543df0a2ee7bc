/**
 * A request that the gateway itself refuses, before anything goes upstream or, when it stops, on the way.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Why a request is refused; `ErrorResponse` gives each its status.
 *
 * @category models
 * @since 0.1.0
 */
export const Case = Schema.Literals([
  "MalformedRequest",
  "UnknownHost",
  "UnknownOrigin",
  "HeadersTooLarge",
  "RequestTimeout",
  "ExpectationFailed",
  "MalformedJson",
  "InvalidField",
  "UnsupportedMediaType",
  "BodyTooLarge",
  "BodyUnreadable",
  "Busy",
  "ModelNotFound",
  "ClientDeadline",
  "WrongClientKey",
  "ClientKeyExpired",
  "ClientKeysUnavailable",
  "RecordsUnavailable",
  "AddressNotAllowed",
  "ModelNotAllowed",
  "ClientLimited",
  "BudgetExceeded",
  "BudgetsUnavailable",
  "PriceUnknown",
  "LocalModelNotReady",
  "LocalModelBusy",
  "LocalModelTooSlow",
  "LocalModelFailed",
  "WorkflowNotFound",
  "RunNotFound",
  "RunConflict",
  "IdempotencyKeyReused",
  "TooManyRuns",
  "DecisionNotAllowed",
  "UnknownRoute",
  "MethodNotAllowed",
  "Stopping"
])

/**
 * @category models
 * @since 0.1.0
 */
export type Case = typeof Case.Type

/**
 * A refusal. `param` names the field at fault, `allow` lists the methods that the route knows, `retryAfter` says when to come back.
 *
 * @category errors
 * @since 0.1.0
 */
export class Rejection extends Schema.TaggedError<Rejection>()("Rejection", {
  case: Case,
  detail: Schema.String,
  param: Schema.optionalKey(Schema.String),
  allow: Schema.optionalKey(Schema.String),
  retryAfter: Schema.optionalKey(Schema.Duration)
}) {
  override get message() {
    return this.detail
  }
}
