import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Outcome from "../../Outcome.ts"

/**
 * Why a limiter rejects a call.
 *
 * **Details**
 *
 * | because | says |
 * |---|---|
 * | `limit` | its turn would not come within `maxWait`, or not before the caller's deadline |
 * | `queue` | it would have to wait and the queue is full |
 * | `blocked` | the limiter is blocked by hand |
 * | `weight` | it weighs more than the limiter ever lets through at once |
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

const Reason = Schema.Literals(["limit", "queue", "blocked", "weight"])

/**
 * A call that a rate limiter rejected. The call did not run and took nothing of
 * the limit.
 *
 * **Details**
 *
 * `retryAfter` is the time until its turn would come, given those who wait
 * already; infinite when it never comes, or when nobody knows.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitExceeded extends Schema.TaggedError<RateLimitExceeded>()("RateLimitExceeded", {
  limiter: Schema.String,
  retryAfter: Schema.Duration,
  /** Default `"limit"`. */
  because: Reason.pipe(Schema.withConstructorDefault(Effect.succeed("limit" as const))),
  /** Weight of the call. Default 1. */
  weight: Schema.Number.pipe(Schema.withConstructorDefault(Effect.succeed(1)))
}) {
  override get message() {
    const retry = Duration.isFinite(this.retryAfter) ? `retry in ${Duration.format(this.retryAfter)}` : undefined
    switch (this.because) {
      case "limit":
        return `Rate limit "${this.limiter}" is exceeded: ${retry ?? "no time to retry is known"}`
      case "queue":
        return `Rate limit "${this.limiter}" is exceeded and its queue is full: ${retry ?? "no time to retry is known"}`
      case "blocked":
        return `Rate limit "${this.limiter}" is blocked: ${retry ?? "until it is unblocked"}`
      case "weight":
        return `Rate limit "${this.limiter}" never admits a weight of ${this.weight}`
    }
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({
      retryAfter: Duration.isFinite(this.retryAfter) ? this.retryAfter : undefined,
      executed: false
    })
  }
}
