/**
 * A concurrency limit (bulkhead): at most `limit` calls run at once, up to
 * `queue` wait in order of arrival, and the rest are rejected.
 *
 * Every decision is one synchronous step; entering, leaving and giving up the
 * queue take constant time. A freed slot is handed to the longest waiter in the
 * same step in which it is freed, so nobody can slip in between. An interrupted
 * waiter leaves the queue at once, and one that was interrupted after it was
 * given its slot hands it on.
 *
 * The limit can change while calls run: a smaller one lets the running calls
 * finish, a larger one admits waiters at once.
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
 * A concurrency limit as a policy, which can be read and resized.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConcurrencyLimit extends Policy<QueueFull | QueueTimeout> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** Changes the limit while calls run. Throws a `RangeError` when it is not an integer of at least 1. */
  readonly resize: (limit: number) => Effect.Effect<void>
}

/**
 * The state of a concurrency limit: calls that run, calls that wait, and the
 * limit. After a `resize` more may run than the limit says.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly limit: number
  readonly running: number
  readonly queued: number
}

/**
 * Options of a concurrency limit.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** Calls that may run at once, at least 1. */
  readonly limit: number
  /** Calls that may wait, zero or more; `Infinity` for no bound. Default 0: reject at once. */
  readonly queue?: number | undefined
  /** How long a call may wait, zero or more; infinity for no bound. Default 30 seconds. */
  readonly maxWait?: Duration.Input | undefined
}

const defaults = {
  name: "default",
  queue: 0,
  maxWait: "30 seconds"
} satisfies Partial<Options>

interface Waiter extends guard.Entry<QueueTimeout>, Fifo.Place<Waiter> {
  readonly _tag: "Waiter"
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly since: number
  readonly wait: Effect.Effect<void, QueueTimeout>
  state: "queued" | "granted" | "gone"
  resume: (() => void) | undefined
}

type Entry =
  | { readonly _tag: "Running"; readonly wait: undefined }
  | { readonly _tag: "Rejected"; readonly wait: Effect.Effect<never, QueueFull> }
  | Waiter

const running: Entry = { _tag: "Running", wait: undefined }

/**
 * Creates a concurrency limit.
 *
 * **Details**
 *
 * A stream holds its slot from its first pull until it has ended and its
 * resources are released, or until the consumer stops.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<ConcurrencyLimit> => {
  const where = "ConcurrencyLimit.make"
  const name = options.name ?? defaults.name
  const initial = check.positiveInteger(where, "limit", options.limit)
  const places = check.count(where, "queue", options.queue ?? defaults.queue)
  const maxWait = check.notNegative(where, "maxWait", options.maxWait ?? defaults.maxWait)

  const rejected = telemetry.makeRejected("concurrency-limit", name)
  const waited = telemetry.makeWaited("concurrency-limit", name)

  return Effect.sync(() => {
    let limit = initial
    let active = 0
    const queue = Fifo.make<Waiter>()

    const admitWaiters = () => {
      while (active < limit && queue.head !== undefined) {
        const waiter = queue.head
        Fifo.remove(queue, waiter)
        active++
        waiter.state = "granted"
        // Through the scheduler: a chain of short calls must not nest their stacks.
        waiter.fiber.currentDispatcher.scheduleTask(() => waiter.resume?.(), 0)
      }
    }

    const release = () => {
      active--
      admitWaiters()
    }

    const granted = (waiter: Waiter) =>
      Effect.callback<void>((resume) => {
        if (waiter.state === "granted") return resume(Effect.void)
        waiter.resume = () => resume(Effect.void)
      })

    const giveUp = (waiter: Waiter): Effect.Effect<void, QueueTimeout> => {
      // The slot may have come in the very moment in which the time ran out.
      if (waiter.state === "granted") return Effect.void
      leave(waiter)
      rejected(waiter.fiber)
      return Effect.fail(new QueueTimeout({ limiter: name, maxWait: Duration.millis(maxWait) }))
    }

    const leave = (waiter: Waiter) => {
      waiter.state = "gone"
      Fifo.remove(queue, waiter)
    }

    const await_ = (waiter: Waiter): Effect.Effect<void, QueueTimeout> =>
      Effect.onExitPrimitive(
        maxWait === Infinity ? granted(waiter) : Effect.timeoutOrElse(granted(waiter), {
          duration: maxWait,
          orElse: () => giveUp(waiter)
        }),
        () => {
          waited(waiter.fiber, time.now(waiter.fiber) - waiter.since)
          return undefined
        }
      )

    const enqueue = (fiber: Fiber.Fiber<unknown, unknown>): Waiter => {
      const waiter: Waiter = {
        _tag: "Waiter",
        fiber,
        since: time.now(fiber),
        wait: Effect.suspend(() => await_(waiter)),
        state: "queued",
        resume: undefined,
        previous: undefined,
        next: undefined
      }
      Fifo.append(queue, waiter)
      return waiter
    }

    const enter = (fiber: Fiber.Fiber<unknown, unknown>): Entry => {
      // A free slot and a waiter never meet, so arrivals cannot overtake.
      if (active < limit) {
        active++
        return running
      }
      if (queue.size < places) return enqueue(fiber)
      rejected(fiber)
      return { _tag: "Rejected", wait: Effect.fail(new QueueFull({ limiter: name, limit, queue: places })) }
    }

    const exit = (entry: Entry): void => {
      switch (entry._tag) {
        case "Running":
          return release()
        case "Rejected":
          return
        case "Waiter": {
          if (entry.state === "granted") return release()
          if (entry.state === "queued") leave(entry)
        }
      }
    }

    const resize = (size: number): Effect.Effect<void> => {
      check.positiveInteger("ConcurrencyLimit.resize", "limit", size)
      return Effect.sync(() => {
        limit = size
        admitWaiters()
      })
    }

    return Object.assign(guard.makePolicy<Entry, QueueFull | QueueTimeout>({ enter, exit }), {
      inspect: Effect.sync((): State => ({ limit, running: active, queued: queue.size })),
      resize
    })
  })
}

/**
 * A call rejected because all slots are taken and the queue is full. The call
 * did not run.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueFull extends Schema.TaggedError<QueueFull>()("QueueFull", {
  limiter: Schema.String,
  limit: Schema.Number,
  queue: Schema.Number
}) {
  override get message() {
    return `Concurrency limit "${this.limiter}" is full: ${this.limit} calls run and ${this.queue} wait`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored()
  }
}

/**
 * A call rejected because no slot became free within `maxWait`. The call did
 * not run.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueTimeout extends Schema.TaggedError<QueueTimeout>()("QueueTimeout", {
  limiter: Schema.String,
  maxWait: Schema.Duration
}) {
  override get message() {
    return `Concurrency limit "${this.limiter}" had no free slot within ${Duration.format(this.maxWait)}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored()
  }
}
