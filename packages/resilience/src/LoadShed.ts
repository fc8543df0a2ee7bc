/**
 * A load shedder: a concurrency limit whose queue is kept short by shedding
 * those who have waited for too long, rather than by its length.
 *
 * `limit` calls run, the others wait. A queue that empties now and then is a
 * burst and does no harm; one whose oldest call has waited for `target` or
 * longer all through an `interval` is standing: it makes every call late and no
 * call sooner. So once the queue stands, each call that has waited for twice the
 * `target` is shed, until the oldest is younger than `target` again. This is
 * controlled delay (CoDel, RFC 8289) in the form for queues of requests, whose
 * senders, unlike TCP's, do not slow down when one is dropped: see "Fail at
 * Scale", ACM Queue 13(8), 2015, and `folly::Codel`. No call waits longer than
 * `target` and `interval` together.
 *
 * Higher priorities go first, so lower ones are the first to be shed. Within a
 * priority the order is that of arrival, or the newest first while the queue
 * stands (adaptive LIFO). Each decision is one synchronous step on a plain
 * record, in constant time whatever the length of the queue; one timer watches
 * over all who wait, and one over their callers' deadlines, past which none
 * waits (those are kept in order, in logarithmic time). An interrupted waiter leaves at once.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Alarms from "./internal/alarms.ts"
import * as check from "./internal/check.ts"
import { deadlineOf } from "./internal/currentDeadline.ts"
import * as Events from "./internal/events.ts"
import * as Fifo from "./internal/fifo.ts"
import * as guard from "./internal/guard.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"
import * as rejection from "./internal/rejection.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import type * as Keyed from "./Keyed.ts"
import * as Outcome from "./Outcome.ts"
import * as Priority from "./Priority.ts"

/**
 * A load shedder as a policy, whose state can be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface LoadShed extends Policy.Policy<Shed> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run and wait; what is left out stays. Throws a
   * `RangeError` as `make` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * The state of a load shedder.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly limit: number
  readonly running: number
  readonly queued: number
  /** How long the oldest call in the queue has waited; zero when none waits. */
  readonly delay: Duration.Duration
  /** Whether the queue stands, so that calls are shed. */
  readonly overloaded: boolean
}

/**
 * Why a call was shed: it waited for too long in a standing queue, the queue was
 * full, or its caller's deadline came.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = "delay" | "full" | "deadline"

/**
 * What happens to the queue.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** The queue was found to stand. */
  | { readonly _tag: "Overloaded" }
  /** The queue no longer stands. */
  | { readonly _tag: "Recovered" }
  /** A call was shed. */
  | {
    readonly _tag: "Shed"
    readonly reason: Reason
    readonly priority: Priority.Priority
    readonly waited: Duration.Duration
  }

/**
 * Settings of a load shedder that can change while calls run and wait.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** Calls that run at once, at least 1. */
  readonly limit?: number | undefined
  /** The wait that a queue may have for long, above zero; a good start is a tenth of a call's time. Default 5 milliseconds. */
  readonly target?: Duration.Input | undefined
  /** How long the wait must stay at or above `target`, at least as long as that. Default 100 milliseconds. */
  readonly interval?: Duration.Input | undefined
  /** Calls that may wait, zero or more; `Infinity` for no bound. Default 1,000. */
  readonly queue?: number | undefined
  /** Who goes first within a priority: the oldest, or the newest while the queue stands. Default `"fifo"`. */
  readonly order?: "fifo" | "adaptive-lifo" | undefined
}

/**
 * Options of a load shedder.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Settings {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  readonly limit: number
}

const defaults = {
  name: "default",
  target: "5 millis",
  interval: "100 millis",
  queue: 1_000,
  order: "fifo"
} satisfies Partial<Options>

interface Checked {
  readonly limit: number
  readonly target: number
  readonly interval: number
  readonly queue: number
  readonly order: "fifo" | "adaptive-lifo"
}

const checked = (
  where: string,
  settings: Settings,
  otherwise: Omit<Checked, "target" | "interval"> & {
    readonly target: Duration.Input
    readonly interval: Duration.Input
  }
): Checked => {
  const target = check.positive(where, "target", settings.target ?? otherwise.target)
  const interval = check.positive(where, "interval", settings.interval ?? otherwise.interval)
  check.notLonger(where, "target", target, "interval", interval)
  const order = settings.order ?? otherwise.order
  if (order !== "fifo" && order !== "adaptive-lifo") check.refuse(where, "order", "fifo or adaptive-lifo", order)
  return {
    limit: check.positiveInteger(where, "limit", settings.limit ?? otherwise.limit),
    target,
    interval,
    queue: check.count(where, "queue", settings.queue ?? otherwise.queue),
    order
  }
}

interface Waiter extends guard.Entry<Shed>, Fifo.Place<Waiter> {
  readonly _tag: "Waiter"
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly priority: Priority.Priority
  readonly since: number
  readonly wait: Effect.Effect<void, Shed>
  state: "queued" | "granted" | Shed | "gone"
  resume: (() => void) | undefined
  /** Rings at its caller's deadline, if there is one. */
  alarm: Alarms.Alarm | undefined
}

type Entry =
  | { readonly _tag: "Running"; readonly wait: undefined }
  | { readonly _tag: "Rejected"; readonly wait: Effect.Effect<never, Shed> }
  | Waiter

const running: Entry = { _tag: "Running", wait: undefined }

/** A load shedder that also says, in the same step, whether it may be dropped. */
interface Kept extends LoadShed {
  readonly atRest: () => boolean
}

const build = (where: string, options: Options): Effect.Effect<Kept> => {
  const name = options.name ?? defaults.name
  const initial = checked(where, options, { ...defaults, limit: options.limit })
  const rejected = telemetry.makeRejected("load-shed", name)
  const waited = telemetry.makeWaited("load-shed", name)

  return Effect.sync(() => {
    let settings = initial
    let active = 0
    let queued = 0
    const queues: { readonly [P in Priority.Priority]: Fifo.Fifo<Waiter> } = {
      critical: Fifo.make(),
      high: Fifo.make(),
      normal: Fifo.make(),
      low: Fifo.make()
    }
    /** Since when, or from when, the oldest has waited for `target` or longer; infinite while none waits. */
    let lateSince = Infinity
    let overloaded = false
    let timer: Fiber.Fiber<void> | undefined
    const deadlines = Alarms.make()
    const events = Events.make<Event>()

    const oldest = (): Waiter | undefined => {
      let found: Waiter | undefined
      for (const priority of Priority.all) {
        const { head } = queues[priority]
        if (head !== undefined && (found === undefined || head.since < found.since)) found = head
      }
      return found
    }

    const judge = (now: number) => {
      const standing = now - lateSince >= settings.interval
      if (standing === overloaded) return
      overloaded = standing
      if (events.active) events.publish({ _tag: standing ? "Overloaded" : "Recovered" })
    }

    /** Takes in that another one may be the oldest now. */
    const settle = (now: number) => {
      const first = oldest()
      if (first === undefined) {
        lateSince = Infinity
        stop()
      } else {
        const late = first.since + settings.target
        // One that is late already carries the lateness of those before it on.
        lateSince = late > now ? late : Math.min(lateSince, late)
      }
      judge(now)
    }

    const remove = (waiter: Waiter, state: Waiter["state"], now: number) => {
      waiter.state = state
      if (waiter.alarm !== undefined) deadlines.clear(waiter.alarm)
      Fifo.remove(queues[waiter.priority], waiter)
      queued--
      settle(now)
    }

    /** Through the scheduler: a waiter must not run on the stack of the one that wakes it. */
    const wake = (waiter: Waiter) => waiter.fiber.currentDispatcher.scheduleTask(() => waiter.resume?.(), 0)

    const makeShed = (
      fiber: Fiber.Fiber<unknown, unknown>,
      reason: Reason,
      priority: Priority.Priority,
      millis: number
    ): Shed => {
      rejected(fiber)
      const waited = Duration.millis(millis)
      if (events.active) events.publish({ _tag: "Shed", reason, priority, waited })
      return rejection.make(Shed, { shedder: name, reason, waited, retryAfter: Duration.millis(settings.interval) })
    }

    const shed = (waiter: Waiter, reason: Reason, now: number) => {
      remove(waiter, makeShed(waiter.fiber, reason, waiter.priority, now - waiter.since), now)
      wake(waiter)
    }

    const sweep = (now: number) => {
      judge(now)
      while (overloaded) {
        const waiter = oldest()
        if (waiter === undefined || now - waiter.since < 2 * settings.target) return
        shed(waiter, "delay", now)
      }
    }

    const next = (): Waiter | undefined => {
      for (const priority of Priority.all) {
        const { head, tail } = queues[priority]
        if (head !== undefined) return overloaded && settings.order === "adaptive-lifo" ? tail : head
      }
      return undefined
    }

    const admitWaiters = (fiber: Fiber.Fiber<unknown, unknown>) => {
      if (queued === 0) return
      const now = time.now(fiber)
      sweep(now)
      while (active < settings.limit) {
        const waiter = next()
        if (waiter === undefined) return
        active++
        remove(waiter, "granted", now)
        wake(waiter)
      }
    }

    const release = (fiber: Fiber.Fiber<unknown, unknown>) => {
      active--
      admitWaiters(fiber)
    }

    const watch: Effect.Effect<void> = Effect.withFiber((fiber) => {
      const now = time.now(fiber)
      sweep(now)
      const first = oldest()
      if (first === undefined) return Effect.void
      const at = overloaded ? first.since + 2 * settings.target : lateSince + settings.interval
      // At least one, so that a rounded sum cannot make it spin.
      return Effect.flatMap(Effect.sleep(Math.max(1, Math.ceil(at - now))), () => watch)
    })

    const start = (fiber: Fiber.Fiber<unknown, unknown>) => {
      timer = Effect.runForkWith(fiber.context)(watch)
    }

    const stop = () => {
      timer?.interruptUnsafe()
      timer = undefined
    }

    const settled = (waiter: Waiter): Effect.Effect<void, Shed> =>
      Effect.callback<void, Shed>((resume) => {
        const answer = () => resume(waiter.state instanceof Shed ? Effect.fail(waiter.state) : Effect.void)
        if (waiter.state !== "queued") return answer()
        waiter.resume = answer
      })

    const setAlarm = (waiter: Waiter, until: number) => {
      const { fiber } = waiter
      waiter.alarm = Alarms.alarm(until, () => shed(waiter, "deadline", time.now(fiber)))
      deadlines.set(fiber, fiber.context, waiter.alarm)
    }

    const enqueue = (
      fiber: Fiber.Fiber<unknown, unknown>,
      priority: Priority.Priority,
      now: number,
      until: number
    ): Waiter => {
      const waiter: Waiter = {
        _tag: "Waiter",
        fiber,
        priority,
        since: now,
        wait: Effect.suspend(() =>
          Effect.onExitPrimitive(settled(waiter), () => {
            waited(fiber, time.now(fiber) - waiter.since)
            return undefined
          })
        ),
        state: "queued",
        resume: undefined,
        alarm: undefined,
        previous: undefined,
        next: undefined
      }
      if (until < Infinity) setAlarm(waiter, until)
      Fifo.append(queues[priority], waiter)
      if (++queued === 1) {
        settle(now)
        start(fiber)
      }
      return waiter
    }

    /** Whom to shed for a call of this priority: the newest of the lowest priority below it. */
    const lesser = (priority: Priority.Priority): Waiter | undefined => {
      let found: Waiter | undefined
      for (const lower of Priority.all.slice(Priority.all.indexOf(priority) + 1)) {
        found = queues[lower].tail ?? found
      }
      return found
    }

    const enter = (fiber: Fiber.Fiber<unknown, unknown>): Entry => {
      // A free slot and a waiter never meet, so arrivals cannot overtake.
      if (active < settings.limit) {
        active++
        return running
      }
      const now = time.now(fiber)
      const priority = fiber.getRef(Priority.CurrentPriority)
      const until = deadlineOf(fiber)
      const reject = (reason: Reason): Entry => ({
        _tag: "Rejected",
        wait: Effect.fail(makeShed(fiber, reason, priority, 0))
      })
      sweep(now)
      if (until <= now) return reject("deadline")
      if (queued >= settings.queue) {
        const waiter = lesser(priority)
        if (waiter === undefined) return reject("full")
        shed(waiter, "full", now)
      }
      return enqueue(fiber, priority, now, until)
    }

    const exit = (
      entry: Entry,
      _exit: Exit.Exit<unknown, unknown>,
      fiber: Fiber.Fiber<unknown, unknown>
    ): void => {
      switch (entry._tag) {
        case "Running":
          return release(fiber)
        case "Rejected":
          return
        case "Waiter": {
          if (entry.state === "granted") return release(fiber)
          if (entry.state === "queued") remove(entry, "gone", time.now(fiber))
        }
      }
    }

    const inspect = Effect.withFiber((fiber) => {
      const now = time.now(fiber)
      const first = oldest()
      return Effect.succeed<State>({
        limit: settings.limit,
        running: active,
        queued,
        delay: first === undefined ? Duration.zero : Duration.millis(now - first.since),
        overloaded: now - lateSince >= settings.interval
      })
    })

    const update = (changes: Settings): Effect.Effect<void> => {
      checked("LoadShed.update", changes, settings)
      return Effect.withFiber((fiber) => {
        settings = checked("LoadShed.update", changes, settings)
        settle(time.now(fiber))
        admitWaiters(fiber)
        if (queued > 0) {
          stop()
          start(fiber)
        }
        return Effect.void
      })
    }

    return Object.assign(guard.makePolicy<Entry, Shed>({ enter, exit }), {
      inspect,
      events: events.stream,
      update,
      atRest: () => active === 0 && queued === 0
    })
  })
}

/**
 * Creates a load shedder.
 *
 * **Details**
 *
 * When the queue is full, an arrival takes the place of the newest waiter of the
 * lowest priority below its own; if there is none, it is rejected itself.
 *
 * A stream holds its slot from its first pull until it has ended and its
 * resources are released, or until the consumer stops.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Guarding a database)
 *
 * ```ts
 * import { LoadShed } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const shed = yield* LoadShed.make({ name: "database", limit: 20, target: "10 millis" })
 *   return yield* shed(Effect.succeed("rows"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<LoadShed> => build("LoadShed.make", options)

/**
 * Creates a load shedder for each key; all have the same name.
 *
 * **Details**
 *
 * A key's shedder is dropped once it was idle for `idleTimeToLive`, 10 minutes by
 * default, and nothing runs or waits in it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options: Options & Keyed.Bounds
): Effect.Effect<Keyed.Updatable<Shed, LoadShed, Settings>> => {
  const one = build("LoadShed.keyed", options)
  return keyedPolicies.updatable<Shed, Settings, Kept>({
    make: () => one,
    atRest: (shedder) => shedder.atRest(),
    idleTimeToLive: options.idleTimeToLive,
    maxKeys: options.maxKeys
  })
}

/**
 * The load shedder that does nothing: it has no limit.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: LoadShed = Object.assign(
  Policy.make<Shed>({ effect: (self) => self, stream: (self) => self }),
  {
    inspect: Effect.succeed<State>({
      limit: Infinity,
      running: 0,
      queued: 0,
      delay: Duration.zero,
      overloaded: false
    }),
    events: Stream.empty,
    update: () => Effect.void
  }
)

/**
 * A call rejected because it waited for too long in a standing queue, or because
 * the queue was full. The call did not run.
 *
 * **Details**
 *
 * `retryAfter` is the shedder's interval: the queue is not judged otherwise much
 * before it is over.
 *
 * @category errors
 * @since 0.1.0
 */
export class Shed extends Schema.TaggedError<Shed>()("Shed", {
  shedder: Schema.String,
  reason: Schema.Literals(["delay", "full", "deadline"]),
  waited: Schema.Duration,
  retryAfter: Schema.Duration
}) {
  override get message() {
    return `Load shedder "${this.shedder}" turned a call away: ${why(this)}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ retryAfter: this.retryAfter, executed: false })
  }
}

const why = ({ reason, waited }: Shed): string => {
  switch (reason) {
    case "delay":
      return `it had waited for ${Duration.format(waited)}`
    case "full":
      return "the queue is full"
    case "deadline":
      return "its caller's time was over"
  }
}
