/**
 * A rate limiter: a token bucket that lets `limit` calls per `window` through on
 * average and up to `burst` of them at once.
 *
 * The bucket is kept as one number, the time at which it would be full again
 * (the generic cell rate algorithm, ITU-T I.371), so a decision is a comparison
 * and an addition. A call without a token is rejected, or waits in a queue in
 * order of arrival; only the first in the queue has a timer. Tokens are taken
 * when they are granted and not when a call lines up, so an interrupted waiter
 * costs nothing and those behind it move up at once.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as check from "./internal/check.ts"
import * as Fifo from "./internal/fifo.ts"
import * as guard from "./internal/guard.ts"
import type { Policy } from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Outcome from "./Outcome.ts"

/**
 * A rate limiter as a policy, whose state can be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface RateLimiter extends Policy<RateLimitExceeded> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
}

/**
 * The state of a rate limiter: whole tokens in the bucket, and calls that wait.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly available: number
  readonly queued: number
}

/**
 * Options of a rate limiter.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** Calls per window, at least 1. */
  readonly limit: number
  /** The stretch of time in which `limit` tokens flow back, above zero. */
  readonly window: Duration.Input
  /** Calls that may start at once after a quiet time, at least 1. Default `limit`. */
  readonly burst?: number | undefined
  /** How long a call may wait for its token, zero or more; infinity for no bound. Default zero: reject at once. */
  readonly maxWait?: Duration.Input | undefined
  /** Calls that may wait, zero or more; `Infinity` for no bound. Default 1,000. */
  readonly maxQueue?: number | undefined
}

const defaults = {
  name: "default",
  maxWait: 0,
  maxQueue: 1_000
} satisfies Partial<Options>

interface Waiter extends guard.Entry<never>, Fifo.Place<Waiter> {
  readonly _tag: "Waiter"
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly since: number
  readonly wait: Effect.Effect<void>
  queued: boolean
  resume: (() => void) | undefined
}

type Entry =
  | { readonly _tag: "Admitted"; readonly wait: undefined }
  | { readonly _tag: "Rejected"; readonly wait: Effect.Effect<never, RateLimitExceeded> }
  | Waiter

const admitted: Entry = { _tag: "Admitted", wait: undefined }

// Sums of fractions of a millisecond are compared with this much slack.
const epsilon = 1e-3

/**
 * Creates a rate limiter.
 *
 * **Details**
 *
 * A stream takes one token, at its first pull. A call whose wait would be
 * longer than `maxWait` is rejected at once and does not wait in vain.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<RateLimiter> => {
  const where = "RateLimiter.make"
  const name = options.name ?? defaults.name
  const limit = check.positiveInteger(where, "limit", options.limit)
  const interval = check.positive(where, "window", options.window) / limit
  const burst = check.positiveInteger(where, "burst", options.burst ?? limit)
  const maxWait = check.notNegative(where, "maxWait", options.maxWait ?? defaults.maxWait)
  const maxQueue = check.count(where, "maxQueue", options.maxQueue ?? defaults.maxQueue)
  const capacity = burst * interval

  const rejected = telemetry.makeRejected("rate-limiter", name)
  const waited = telemetry.makeWaited("rate-limiter", name)

  return Effect.sync(() => {
    let fullAt = -Infinity
    const queue = Fifo.make<Waiter>()

    /** Milliseconds until there is a token for a call with so many calls before it. */
    const waitFor = (now: number, ahead: number) => Math.max(fullAt, now) + (ahead + 1) * interval - capacity - now

    const take = (now: number) => {
      fullAt = Math.max(fullAt, now) + interval
    }

    const leave = (waiter: Waiter) => {
      const wasFirst = queue.head === waiter
      waiter.queued = false
      Fifo.remove(queue, waiter)
      const first = queue.head
      // Through the scheduler: the next one must not run on this one's stack.
      if (wasFirst && first !== undefined) first.fiber.currentDispatcher.scheduleTask(() => first.resume?.(), 0)
    }

    const first = (waiter: Waiter) =>
      Effect.callback<void>((resume) => {
        if (queue.head === waiter) return resume(Effect.void)
        waiter.resume = () => resume(Effect.void)
      })

    const token = (waiter: Waiter): Effect.Effect<void> =>
      Effect.suspend(() => {
        const now = time.now(waiter.fiber)
        const wait = waitFor(now, 0)
        if (wait > epsilon) return Effect.flatMap(Effect.sleep(Math.ceil(wait - epsilon)), () => token(waiter))
        take(now)
        leave(waiter)
        return Effect.void
      })

    const enqueue = (fiber: Fiber.Fiber<unknown, unknown>, now: number): Waiter => {
      const waiter: Waiter = {
        _tag: "Waiter",
        fiber,
        since: now,
        wait: Effect.suspend(() =>
          Effect.onExitPrimitive(Effect.flatMap(first(waiter), () => token(waiter)), () => {
            waited(fiber, time.now(fiber) - waiter.since)
            return undefined
          })
        ),
        queued: true,
        resume: undefined,
        previous: undefined,
        next: undefined
      }
      Fifo.append(queue, waiter)
      return waiter
    }

    const enter = (fiber: Fiber.Fiber<unknown, unknown>): Entry => {
      const now = time.now(fiber)
      const wait = waitFor(now, queue.size)
      if (queue.size === 0 && wait <= epsilon) {
        take(now)
        return admitted
      }
      if (wait <= maxWait + epsilon && queue.size < maxQueue) return enqueue(fiber, now)
      rejected(fiber)
      const retryAfter = Duration.millis(Math.max(0, Math.ceil(wait - epsilon)))
      return { _tag: "Rejected", wait: Effect.fail(new RateLimitExceeded({ limiter: name, retryAfter })) }
    }

    const exit = (entry: Entry): void => {
      if (entry._tag === "Waiter" && entry.queued) leave(entry)
    }

    const inspect = Effect.withFiber((fiber) => {
      const now = time.now(fiber)
      const available = Math.floor((capacity - (Math.max(fullAt, now) - now) + epsilon) / interval)
      return Effect.succeed<State>({ available: Math.max(0, available), queued: queue.size })
    })

    return Object.assign(guard.makePolicy<Entry, RateLimitExceeded>({ enter, exit }), { inspect })
  })
}

/**
 * A call rejected because there is no token for it within `maxWait`, or because
 * the queue is full. The call did not run and took no token.
 *
 * **Details**
 *
 * `retryAfter` is the time until there is a token, given those who wait already.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitExceeded extends Schema.TaggedError<RateLimitExceeded>()("RateLimitExceeded", {
  limiter: Schema.String,
  retryAfter: Schema.Duration
}) {
  override get message() {
    return `Rate limit "${this.limiter}" is exceeded: retry in ${Duration.format(this.retryAfter)}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ retryAfter: this.retryAfter })
  }
}
