/** The rejections of a concurrency limit, whether it adapts or not. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as Outcome from "../../Outcome.ts"

/**
 * A call rejected because all slots are taken and the queue is full. The call
 * did not run.
 *
 * **Details**
 *
 * `tenant` is there when slots are free, but the tenant has all that it may have.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueFull extends Schema.TaggedError<QueueFull>()("QueueFull", {
  limiter: Schema.String,
  /** Slots that there are, or that the tenant may have. */
  limit: Schema.Number,
  queue: Schema.Number,
  tenant: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const whose = this.tenant === undefined ? "" : ` for tenant "${this.tenant}"`
    return `Concurrency limit "${this.limiter}" is full${whose}: ${this.limit} calls run and ${this.queue} wait`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ executed: false })
  }
}

/**
 * A call rejected because no slot became free within `maxWait`, or before the
 * caller's deadline if that was sooner. The call did not run.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueTimeout extends Schema.TaggedError<QueueTimeout>()("QueueTimeout", {
  limiter: Schema.String,
  /** How long the call was to wait at most. */
  maxWait: Schema.Duration
}) {
  override get message() {
    return `Concurrency limit "${this.limiter}" had no free slot within ${Duration.format(this.maxWait)}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ executed: false })
  }
}

/**
 * A call rejected because it takes more slots than the limit has, or than its
 * tenant may have. The call did not run; it may only once the limit has grown.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooHeavy extends Schema.TaggedError<TooHeavy>()("TooHeavy", {
  limiter: Schema.String,
  /** Slots that the call takes. */
  weight: Schema.Number,
  /** Slots that there are, or that the tenant may have. */
  limit: Schema.Number
}) {
  override get message() {
    return `Concurrency limit "${this.limiter}" has ${this.limit} slots, and the call takes ${this.weight}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ executed: false })
  }
}
