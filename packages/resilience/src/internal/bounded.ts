/** Runs programs under a time limit; `Deadline` says what the limits are. */
import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Layered from "../Layered.ts"
import * as Alarms from "./alarms.ts"
import { asPull, CurrentDeadline, deadlineOf } from "./currentDeadline.ts"
import * as leastRate from "./leastRate.ts"
import * as time from "./time.ts"

export interface Limit<E> {
  readonly millis: number
  readonly expire: Effect.Effect<never, E>
}

/**
 * How a deadline ends the waits of a stream's source without a fiber for each
 * pull.
 *
 * **Details**
 *
 * A source that reads `CurrentStop` while it is opened may claim it once. From
 * its first item on its pulls then run on the consumer's own fiber, and when
 * time is up the deadline calls `interrupt`, upon which the source must at once
 * fail with `Effect.interrupt` in whatever it waits for, or in its next pull.
 * When it is closed it calls what `claim` gave it, so that a stream that takes
 * its place is bounded even if that one claims nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stop {
  readonly claim: (interrupt: () => void) => () => void
}

/**
 * The `Stop` of the nearest deadline, when that one is `cooperative`.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentStop: Context.Reference<Stop | undefined> = Context.Reference(
  "@ballast/resilience/Deadline/CurrentStop",
  { defaultValue: (): Stop | undefined => undefined }
)

/**
 * Bounds an effect. The body runs on a fiber of its own, which alone can be
 * interrupted without its caller, and sees when it must have ended; its alarm is
 * only set if it suspends.
 */
export const boundedEffect = <A, E1, R, E>(
  self: Effect.Effect<A, E1, R>,
  alarms: Alarms.Alarms,
  limitOf: () => Limit<E> | undefined
): Effect.Effect<A, E1 | E, R> =>
  Effect.withFiber((fiber) => {
    const limit = limitOf()
    return limit === undefined ? self : bound(self, alarms, limit, fiber)
  })

const bound = <A, E1, R, E>(
  self: Effect.Effect<A, E1, R>,
  alarms: Alarms.Alarms,
  limit: Limit<E>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<A, E1 | E, R> =>
  Effect.callback<A, E1 | E>((resume) => {
    // A fiber that runs this effect has the services that it asks for.
    const context = fiber.context as Context.Context<R>
    const at = time.now(fiber) + limit.millis
    const body = Effect.runForkWith(endingAt(context, fiber, at))(self)
    const done = body.pollUnsafe()
    if (done !== undefined) return resume(done)
    let expired = false
    const alarm = Alarms.alarm(at, () => {
      expired = true
      body.interruptUnsafe()
    })
    alarms.set(fiber, context, alarm)
    body.addObserver((exit) => {
      alarms.clear(alarm)
      resume(expired ? expire(exit, limit) : exit)
    })
    return Effect.suspend(() => {
      alarms.clear(alarm)
      return Fiber.interrupt(body)
    })
  })

/** The context in which the nearer of the caller's deadline and one's own is the current one. */
const endingAt = <R>(
  context: Context.Context<R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  at: number
): Context.Context<R> => {
  const nearer = Math.min(deadlineOf(fiber), at)
  return nearer < fiber.getRef(CurrentDeadline) ? Context.add(context, CurrentDeadline, nearer) : context
}

/**
 * Runs a pull of a stream whose whole must have ended by `whole`, and this pull by `at`. The source may have been opened by an
 * earlier pull, and what it forked then must not take that pull's end for its own: so only the fiber of the pull sees it.
 */
const forkPull = <A, E, R>(
  pull: Effect.Effect<A, E, R>,
  context: Context.Context<R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  whole: number,
  at: number
): Fiber.Fiber<A, E> => {
  const outer = fiber.getRef(CurrentDeadline)
  const inner = whole < outer ? Context.add(context, CurrentDeadline, whole) : context
  const endsAt = Math.min(at, deadlineOf(fiber))
  return Effect.runForkWith(inner)(endsAt < Math.min(whole, outer) ? asPull(pull, endsAt) : pull)
}

/** A defect that the interrupted body died of is worse news than the deadline. */
const expire = <A, E1, E>(exit: Exit.Exit<A, E1>, limit: Limit<E>): Effect.Effect<A, E1 | E> =>
  Exit.hasDies(exit) ? exit : limit.expire

/** What bounds a stream; what is undefined does not. */
export interface Limits<E> {
  readonly whole: Limit<E> | undefined
  readonly first: Limit<E> | undefined
  readonly idle: Limit<E> | undefined
  /** The least weight in any so many milliseconds of waiting. */
  readonly rate: Limit<E> & { readonly least: number } | undefined
}

/** What is looked for in the items of a stream. */
export interface Items {
  readonly progress: ((item: unknown) => boolean) | undefined
  readonly weigh: (item: unknown) => number
  readonly cooperative: boolean
}

/**
 * Bounds a stream: all of it, the wait for its first item, the waits between
 * items, and its least rate.
 */
export const boundedStream = <A, E1, R, E>(
  self: Stream.Stream<A, E1, R>,
  items: Items,
  alarms: Alarms.Alarms,
  limitsOf: () => Limits<E>
): Stream.Stream<A, E1 | E, R> =>
  Layered.stream((scope) =>
    Effect.withFiber((opener) => {
      const bounded = new Bounded<A, E1, R, E>(items, alarms, limitsOf(), opener.getRef(CurrentStop))
      bounded.open(self)
      return Effect.as(Scope.addFinalizerExit(scope, bounded.closing()), bounded)
    })
  )

type BoundedPull<A, E, R> = Pull.Pull<readonly [A, ...Array<A>], E, void, R>

/** A stream that is bounded, and the layer around its pulls once the source has claimed the stop. Nothing in it refers to what opens the source. */
class Bounded<A, E1, R, E> extends Layered.Switching<A, E1 | E | Cause.Done<void>, R>
  implements Stop, Layered.Layer<A, E1 | Cause.Done<void>, E | E1 | Cause.Done<void>, R>
{
  private next: BoundedPull<A, E1 | E, R> = Effect.never
  private source: BoundedPull<A, E1, R> = Effect.never
  private readonly scope = Scope.makeUnsafe()
  private readonly watchdog: Watchdog
  private readonly wanted: Items
  private readonly limits: Limits<E>
  private readonly outer: Stop | undefined
  /** Of the sources that are open: attempts of a hedge are so at the same time. */
  private claims: ReadonlyArray<() => void> = []
  private readonly flow: ReturnType<typeof leastRate.make> | undefined
  /** Where only the whole is limited, one watch is enough for all pulls. */
  private isWatchedOnce = false
  private endsAt: number | undefined
  private since = 0
  /** The one that ends first. */
  private limit: Limit<E> | undefined
  private waiting: Limit<E> | undefined
  private left: number

  constructor(wanted: Items, alarms: Alarms.Alarms, limits: Limits<E>, outer: Stop | undefined) {
    super()
    const { first, rate } = limits
    this.watchdog = new Watchdog(alarms)
    this.wanted = wanted
    this.limits = limits
    this.outer = outer
    this.waiting = first
    this.left = first?.millis ?? Infinity
    this.flow = rate && leastRate.make(rate.least, rate.millis)
  }

  override asEffect(): BoundedPull<A, E1 | E, R> {
    return this.next
  }

  claim(claimed: () => void): () => void {
    this.claims = this.claims.concat(claimed)
    const release = this.outer?.claim(claimed)
    return () => {
      this.claims = this.claims.filter((other) => other !== claimed)
      release?.()
    }
  }

  /** Interrupts the sources that have claimed the stop. */
  interruptUnsafe(): void {
    for (const claimed of this.claims) claimed()
  }

  /** The first pull opens the source, so that one that takes its time to open is waited for like its first item. */
  open(self: Stream.Stream<A, E1, R>): void {
    this.source = Effect.flatMap(
      Channel.toPullScoped(Stream.toChannel(self), this.scope),
      (opened) => this.source = opened
    )
    const pull = this.offered(Effect.suspend(() => this.source))
    // A pull on a fiber of its own.
    this.next = Effect.withFiber((fiber) => {
      const at = this.start(fiber)
      if (this.limit !== undefined && at < this.since) return this.limit.expire
      const ended = this.limit === undefined
        ? pull
        : this.watchdog.guard(pull, fiber, this.endsAt ?? Infinity, at, this.limit)
      return Effect.map(ended, (items) => {
        this.items(items, fiber)
        if (this.claims.length > 0) this.next = this.watched(fiber)
        return items
      })
    })
  }

  closing(): (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void> {
    return (exit) => {
      this.watchdog.stop()
      return Scope.close(this.scope, exit)
    }
  }

  /** Lets the source see this deadline's stop, and never that of one further out. */
  private offered<A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>): Effect.Effect<A2, E2, R2> {
    const { outer, wanted: { cooperative } } = this
    return cooperative || outer !== undefined
      ? Effect.provideService(effect, CurrentStop, cooperative ? this : undefined)
      : effect
  }

  /** A pull on the consumer's fiber, of a source that ends its waits itself. */
  private watched(fiber: Fiber.Fiber<unknown, unknown>): BoundedPull<A, E1 | E, R> {
    this.isWatchedOnce = this.waiting === undefined && this.limits.idle === undefined && this.flow === undefined
    if (this.isWatchedOnce) this.watchdog.watch(fiber, this.start(fiber), this)
    return Layered.around(this.source, this)
  }

  before(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<never, E> | undefined {
    if (this.isWatchedOnce) return undefined
    const at = this.start(fiber)
    if (this.limit !== undefined && at < this.since) return this.limit.expire
    this.watchdog.watch(fiber, at, this)
    return undefined
  }

  /** Starts to count a wait and chooses the limit that will end first. Returns when that is. */
  private start(fiber: Fiber.Fiber<unknown, unknown>): number {
    const { limits: { rate, whole }, left } = this
    const since = this.since = time.now(fiber)
    const endsAt = this.endsAt ??= since + (whole?.millis ?? Infinity)
    this.limit = endsAt <= since + left ? whole : this.waiting
    const at = Math.min(endsAt, since + left)
    const slowAt = this.flow === undefined ? Infinity : since + this.flow.left()
    if (at <= slowAt) return at
    this.limit = rate
    return slowAt
  }

  items(items: readonly [A, ...Array<A>], fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.isWatchedOnce) return
    this.watchdog.rest()
    const { flow, limits: { idle }, wanted: { progress, weigh } } = this
    const progressed = progress === undefined || items.some(progress)
    const took = progressed && flow === undefined ? 0 : time.now(fiber) - this.since
    if (progressed) {
      this.waiting = idle
      this.left = idle?.millis ?? Infinity
    } else {
      this.left -= took
    }
    flow?.arrive(took, weightOf(items, weigh), progressed)
  }

  failed(cause: Cause.Cause<E1 | Cause.Done<void>>): BoundedPull<A, E1 | E, never> {
    const exit = Exit.failCause(cause)
    const ended = this.watchdog.stop()
    return this.limit !== undefined && ended ? expire(exit, this.limit) : exit
  }
}

/** What weighs nothing, or is no number, takes nothing from the others. */
const weightOf = (items: ReadonlyArray<unknown>, weigh: Items["weigh"]): number =>
  items.reduce<number>((sum, item) => {
    const weight = weigh(item)
    return weight > 0 ? sum + weight : sum
  }, 0)

/** The fiber of a pull, or the sources that end their waits themselves. */
interface Watched {
  readonly interruptUnsafe: () => void
}

/** Watches the pulls of a stream, one at a time, by one alarm, which each pull puts off. */
class Watchdog implements Alarms.Alarm {
  readonly alarms: Alarms.Alarms
  at = Infinity
  group: Alarms.Alarm["group"]
  place = -1
  setFor = Infinity
  turn = 0
  private watched: Watched | undefined
  private bitten = false

  constructor(alarms: Alarms.Alarms) {
    this.alarms = alarms
  }

  ring(): void {
    this.bitten = true
    this.watched?.interruptUnsafe()
  }

  watch(fiber: Fiber.Fiber<unknown, unknown>, at: number, watched: Watched): void {
    this.at = at
    this.watched = watched
    this.bitten = false
    if (at === Infinity || this.group !== undefined && this.setFor <= at) return
    this.alarms.clear(this)
    this.alarms.set(fiber, fiber.context, this)
  }

  /** Until the next pull. */
  rest(): void {
    this.at = Infinity
  }

  /** Ends the watch. Returns whether it had ended what was watched. */
  stop(): boolean {
    const { bitten } = this
    this.bitten = false
    this.watched = undefined
    this.rest()
    this.alarms.clear(this)
    return bitten
  }

  /** Runs a pull on a fiber of its own, which can be interrupted. */
  guard<A, E1, R, E>(
    pull: Effect.Effect<A, E1, R>,
    fiber: Fiber.Fiber<unknown, unknown>,
    whole: number,
    at: number,
    limit: Limit<E>
  ): Effect.Effect<A, E1 | E, R> {
    return Effect.contextWith((context: Context.Context<R>) =>
      Effect.callback<A, E1 | E>((resume) => {
        const body = forkPull(pull, context, fiber, whole, at)
        const done = body.pollUnsafe()
        if (done !== undefined) return resume(done)
        this.watch(body, at, body)
        body.addObserver((exit) => {
          this.watched = undefined
          const ended = exit._tag === "Failure" ? this.stop() : this.bitten
          resume(ended ? expire(exit, limit) : exit)
        })
        return Effect.suspend(() => {
          this.stop()
          return Fiber.interrupt(body)
        })
      })
    )
  }
}
