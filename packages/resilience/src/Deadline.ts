/**
 * Deadlines: end what takes too long.
 *
 * - `total` bounds a call with everything inside it, waits and retries included.
 * - `attempt` bounds one attempt.
 * - `firstItem` bounds the time that a stream waits for its first item.
 * - `idle` bounds the time that a stream waits between items.
 *
 * A deadline interrupts what it guards, waits for its finalizers, and fails with
 * `DeadlineExceeded`, or with what the `error` option makes of it. A body that
 * is past its deadline but can't be interrupted is waited for; its result is
 * dropped. Interrupting the caller interrupts the body in the same way.
 *
 * On a stream, time is watched while it waits for its upstream. For `firstItem`
 * and `idle` only that waiting counts, so a slow consumer never trips them;
 * `total` and `attempt` count all time since the first pull, and are looked at
 * during each pull.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schema from "effect/Schema"
import { boundedEffect, boundedStream, CurrentStop, type Stop } from "./internal/bounded.ts"
import * as check from "./internal/check.ts"
import * as Policy from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as Outcome from "./Outcome.ts"

export { CurrentStop, type Stop }

/**
 * Which deadline was exceeded.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "total" | "attempt" | "first" | "idle"

/**
 * Options that every deadline takes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in metrics; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /**
   * Whether the guarded stream's only waits after its first item are those of a source that claims `CurrentStop`. It saves a fiber for
   * each pull. Default false.
   */
  readonly cooperative?: boolean | undefined
}

/**
 * Options of the deadlines that follow a stream's items.
 *
 * @category options
 * @since 0.1.0
 */
export interface ItemOptions extends Options {
  /** Which items count as items; keep-alives, for one, should not. Default: all. */
  readonly progress?: ((item: unknown) => boolean) | undefined
}

/**
 * Puts an exceeded deadline into an error channel of one's own.
 *
 * @category options
 * @since 0.1.0
 */
export interface ErrorOption<E> {
  readonly error: (exceeded: DeadlineExceeded) => E
}

/**
 * The limits of one attempt; what is left out is not limited.
 *
 * @category options
 * @since 0.1.0
 */
export interface AttemptLimits {
  /** Time for all of the attempt, above zero. */
  readonly attempt?: Duration.Input | undefined
  /** Time that a stream may wait for its first item, above zero. */
  readonly firstItem?: Duration.Input | undefined
  /** Time that a stream may wait between items, above zero. It starts with the first item. */
  readonly idle?: Duration.Input | undefined
}

/**
 * Bounds a call with everything inside it.
 *
 * **Details**
 *
 * `DeadlineExceeded` of this kind is not retryable. Throws a `RangeError` when
 * the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function total(duration: Duration.Input, options?: Options): Policy.Policy<DeadlineExceeded>
export function total<E>(duration: Duration.Input, options: Options & ErrorOption<E>): Policy.Policy<E>
export function total<E>(
  duration: Duration.Input,
  options?: Options & Partial<ErrorOption<E>>
): Policy.Policy<E | DeadlineExceeded> {
  return fromLimits({ whole: limit("Deadline.total", "duration", "total", duration) }, options)
}

/**
 * Bounds one attempt.
 *
 * **Details**
 *
 * Throws a `RangeError` when the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function attempt(duration: Duration.Input, options?: Options): Policy.Policy<DeadlineExceeded>
export function attempt<E>(duration: Duration.Input, options: Options & ErrorOption<E>): Policy.Policy<E>
export function attempt<E>(
  duration: Duration.Input,
  options?: Options & Partial<ErrorOption<E>>
): Policy.Policy<E | DeadlineExceeded> {
  return fromLimits({ whole: limit("Deadline.attempt", "duration", "attempt", duration) }, options)
}

/**
 * Bounds the time that a stream waits for its first item. On an effect it does
 * nothing.
 *
 * **Details**
 *
 * Throws a `RangeError` when the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function firstItem(duration: Duration.Input, options?: ItemOptions): Policy.Policy<DeadlineExceeded>
export function firstItem<E>(duration: Duration.Input, options: ItemOptions & ErrorOption<E>): Policy.Policy<E>
export function firstItem<E>(
  duration: Duration.Input,
  options?: ItemOptions & Partial<ErrorOption<E>>
): Policy.Policy<E | DeadlineExceeded> {
  return fromLimits({ first: limit("Deadline.firstItem", "duration", "first", duration) }, options)
}

/**
 * Bounds the time that a stream waits between items. On an effect it does
 * nothing.
 *
 * **Details**
 *
 * It starts with the first item and covers the wait for the stream's end too.
 * Throws a `RangeError` when the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function idle(duration: Duration.Input, options?: ItemOptions): Policy.Policy<DeadlineExceeded>
export function idle<E>(duration: Duration.Input, options: ItemOptions & ErrorOption<E>): Policy.Policy<E>
export function idle<E>(
  duration: Duration.Input,
  options?: ItemOptions & Partial<ErrorOption<E>>
): Policy.Policy<E | DeadlineExceeded> {
  return fromLimits({ idle: limit("Deadline.idle", "duration", "idle", duration) }, options)
}

/**
 * Bounds an attempt, its first item and its idle times in one policy, which
 * costs less than three.
 *
 * **Details**
 *
 * Throws a `RangeError` when a duration is not finite and above zero, and when
 * `firstItem` or `idle` is longer than `attempt`.
 *
 * @category constructors
 * @since 0.1.0
 */
export function make(options: AttemptLimits & ItemOptions): Policy.Policy<DeadlineExceeded>
export function make<E>(options: AttemptLimits & ItemOptions & ErrorOption<E>): Policy.Policy<E>
export function make<E>(
  options: AttemptLimits & ItemOptions & Partial<ErrorOption<E>>
): Policy.Policy<E | DeadlineExceeded> {
  const where = "Deadline.make"
  const whole = optional(where, "attempt", "attempt", options.attempt)
  const first = optional(where, "firstItem", "first", options.firstItem)
  const idle = optional(where, "idle", "idle", options.idle)
  check.notLonger(where, "firstItem", first?.millis, "attempt", whole?.millis)
  check.notLonger(where, "idle", idle?.millis, "attempt", whole?.millis)
  return fromLimits({ whole, first, idle }, options)
}

interface Limit {
  readonly kind: Kind
  readonly millis: number
}

interface Limits {
  readonly whole?: Limit | undefined
  readonly first?: Limit | undefined
  readonly idle?: Limit | undefined
}

const limit = (where: string, field: string, kind: Kind, duration: Duration.Input): Limit => ({
  kind,
  millis: check.positive(where, field, duration)
})

const optional = (where: string, field: string, kind: Kind, duration: Duration.Input | undefined) =>
  duration === undefined ? undefined : limit(where, field, kind, duration)

const fromLimits = <E>(
  limits: Limits,
  options: (ItemOptions & Partial<ErrorOption<E>>) | undefined
): Policy.Policy<E | DeadlineExceeded> => {
  const name = options?.name ?? "default"
  const error: (exceeded: DeadlineExceeded) => E | DeadlineExceeded = options?.error ?? identity
  const exceeded = ({ kind, millis }: Limit) => {
    const count = telemetry.makeExceeded(name, kind)
    const limit = Duration.millis(millis)
    return Effect.withFiber((fiber) => {
      count(fiber)
      return Effect.fail(error(new DeadlineExceeded({ deadline: kind, limit })))
    })
  }
  const whole = limits.whole && { millis: limits.whole.millis, expire: exceeded(limits.whole) }
  const first = limits.first && { millis: limits.first.millis, expire: exceeded(limits.first) }
  const idle = limits.idle && { millis: limits.idle.millis, expire: exceeded(limits.idle) }
  const progress = options?.progress
  const cooperative = options?.cooperative ?? false

  return Policy.make<E | DeadlineExceeded>({
    effect: (self) => whole === undefined ? self : boundedEffect(self, whole),
    stream: (self) => boundedStream(self, { whole, first, idle, progress, cooperative })
  })
}

/**
 * A call that a deadline ended.
 *
 * **Details**
 *
 * Counts as a failure of the dependency. It may be retried, except when the
 * total time is up.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeadlineExceeded extends Schema.TaggedError<DeadlineExceeded>()("DeadlineExceeded", {
  deadline: Schema.Literals(["total", "attempt", "first", "idle"]),
  limit: Schema.Duration
}) {
  override get message() {
    const limit = Duration.format(this.limit)
    switch (this.deadline) {
      case "total":
        return `The call took longer than ${limit} in total`
      case "attempt":
        return `The attempt took longer than ${limit}`
      case "first":
        return `No first item came within ${limit}`
      case "idle":
        return `No further item came within ${limit}`
    }
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.failure({ retryable: this.deadline !== "total" })
  }
}
