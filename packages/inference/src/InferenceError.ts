/**
 * Why a local model did not answer, or a version of it does not serve.
 *
 * | reason | what happened | HTTP |
 * |---|---|---|
 * | `UnknownModel` | there is no such model or version | 404 |
 * | `NotReady` | the model is loading, was unloaded or was refused | 503 |
 * | `InvalidInput` | the inputs do not fit the model; `where` names the one | 400 |
 * | `Overloaded` | the queue of the model is full, or its circuit is open | 503 |
 * | `DeadlineExceeded` | no answer within the model's deadline | 504 |
 * | `ModelFailed` | the run failed | 500 |
 * | `Refused` | a version did not load or verify; it takes no calls | 422 |
 *
 * No message has text of the runtime in it: that would show paths and source lines of C++. It goes to the log at debug level.
 *
 * @since 0.1.0
 */
import * as Outcome from "@ballast/resilience/Outcome"
import * as Schema from "effect/Schema"

/**
 * @category models
 * @since 0.1.0
 */
export const Reason = Schema.Literals([
  "UnknownModel",
  "NotReady",
  "InvalidInput",
  "Overloaded",
  "DeadlineExceeded",
  "ModelFailed",
  "Refused"
])

/**
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * A call or a version that failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class InferenceError extends Schema.TaggedError<InferenceError>()("InferenceError", {
  reason: Reason,
  model: Schema.String,
  /** The version that was asked for, or that answered. */
  version: Schema.optionalKey(Schema.String),
  /** The input, output or setting that is wrong. */
  where: Schema.optionalKey(Schema.String),
  /** What is wrong, and what would be right. */
  detail: Schema.String,
  /** When a new try makes sense, where that is known. */
  retryAfter: Schema.optional(Schema.Duration)
}) {
  override get message() {
    const subject = this.version === undefined ? this.model : `${this.model} ${this.version}`
    return `${subject}: ${this.where === undefined ? "" : `${this.where}: `}${this.detail}`
  }

  /** A rejection says nothing about the model; a run that failed or came too late does. */
  get [Outcome.key](): Outcome.Outcome {
    switch (this.reason) {
      case "ModelFailed":
      case "DeadlineExceeded":
        return Outcome.failure()
      case "NotReady":
      case "Overloaded":
        return Outcome.ignored({ retryable: true, retryAfter: this.retryAfter, executed: false })
      case "UnknownModel":
      case "InvalidInput":
      case "Refused":
        return Outcome.ignored({ executed: false })
    }
  }
}
