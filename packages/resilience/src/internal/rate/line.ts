/**
 * The line of calls that one process has before a shared limit of one key.
 *
 * One request is under way at a time. It asks for the calls at the head of the
 * line, as many as have come meanwhile, and the store admits them in their order.
 * So none is overtaken, and under load a request decides for many calls. When
 * the first of them has to wait, the line sleeps until its turn and asks again.
 *
 * A call that leaves while the store decides is taken for by nobody: the answer
 * is waited for all the same, and what was taken for the call is given back.
 *
 * With a lease the line also takes what calls are yet to come, and those take it
 * in one synchronous step.
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Background } from "../background.ts"
import { deadlineOf } from "../currentDeadline.ts"
import type * as Events from "../events.ts"
import * as Fifo from "../fifo.ts"
import type * as guard from "../guard.ts"
import * as rejection from "../rejection.ts"
import * as time from "../time.ts"
import { epsilon, weightEpsilon } from "./algorithm.ts"
import { RateLimitExceeded, type Reason } from "./exceeded.ts"
import * as Lots from "./lots.ts"
import type { SharedEvent } from "./sharedEvent.ts"
import type { CheckedShared } from "./sharedOptions.ts"
import type { Spec } from "./spec.ts"
import type { Decision, Hold, RateLimiterStore, RateLimiterStoreError, Request } from "./store.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

export type Rejection = RateLimitExceeded | RateLimiterStoreError

/** What the lines of a limiter share. */
export interface Host {
  readonly name: string
  readonly store: RateLimiterStore["Service"]
  readonly settings: () => CheckedShared
  readonly background: Background
  readonly events: Events.Events<SharedEvent>
  readonly rejected: (fiber: AnyFiber) => void
  readonly waited: (fiber: AnyFiber, millis: number) => void
  readonly leased: (because: "taken" | "returned", weight: number) => void
  /** Runs a request in the time that the store has for it, and notes its failure. */
  readonly ask: <A>(
    key: string,
    operation: string,
    request: Effect.Effect<A, RateLimiterStoreError>,
    late?: (answer: A) => void
  ) => Effect.Effect<A, RateLimiterStoreError>
  /** Wakes the line that the key has now: one that was empty is no more, and its calls may still give back. */
  readonly wake: (key: string) => void
  /** The line is empty and holds nothing. */
  readonly emptied: (line: Line) => void
}

export interface Waiter extends guard.Entry<Rejection>, Fifo.Place<Waiter> {
  readonly _tag: "Waiter"
  readonly fiber: AnyFiber
  readonly weight: number
  /** Whether its weight may be settled later. */
  readonly reserves: boolean
  readonly since: number
  /** Its turn must come by then. */
  readonly expiresAt: number
  /** It waits no longer than that, not even for the store's answer. */
  readonly deadline: number
  readonly wait: Effect.Effect<void, Rejection>
  state: "queued" | "granted" | "running" | "gone" | "rejected"
  /** Whether the store, or the line, let it wait for its turn. */
  delayed: boolean
  result: Effect.Effect<void, Rejection> | undefined
  resume: ((result: Effect.Effect<void, Rejection>) => void) | undefined
  /** When the store took for it; undefined when nobody did. */
  takenAt: Lots.TakenAt | undefined
  /** What the store said when it took for it. */
  decision: Decision | undefined
}

export type Entry =
  | { readonly _tag: "Admitted"; readonly wait: undefined; readonly takenAt: Lots.TakenAt }
  | { readonly _tag: "Rejected"; readonly wait: Effect.Effect<never, Rejection> }
  | Waiter

export interface Line {
  readonly key: string
  readonly enter: (fiber: AnyFiber, weight: number, reserves: boolean) => Entry
  readonly exit: (entry: Entry) => void
  /** Asks anew at once: something was given, or the settings are others. */
  readonly wake: () => void
  /** Gives back what is leased, and what a request under way leases. */
  readonly surrender: () => void
  /** The store holds the key, as this process told it to. */
  readonly hold: (kind: Hold, millis: number) => void
  readonly release: (kind: Hold) => void
  /** Ends all waits, as the limiter is closed. */
  readonly close: () => void
  readonly idle: () => boolean
  readonly queued: () => number
  readonly leased: () => number
}

/** Calls that one request asks for at most. */
const maxBatch = 256

/** A line sleeps no longer, so that it sees when another process ends a hold or gives something back. */
const maxNap = 1_000

export const durationOf = (millis: number): Duration.Duration =>
  Duration.millis(Math.max(0, Math.ceil(millis - epsilon)))

/**
 * The least time between the turn of the first call and that of the one that ends so much weight, the first included.
 * `room` is what there is at the first turn: after a hold that may be more than the first one takes.
 */
const behind = ({ algorithm, interval, limit, window }: Spec, first: number, room: number, weight: number): number => {
  switch (algorithm) {
    case "token-bucket":
      return Math.max(0, weight - Math.max(first, room)) * interval
    case "leaky-bucket":
      return Math.max(0, weight - first) * interval
    default:
      return Math.max(0, Math.ceil(weight / limit - epsilon) - 1) * window
  }
}

export const make = (host: Host, key: string, origin: Context.Context<never>, now: () => number): Line => {
  const { background, events, store } = host
  const queue = Fifo.make<Waiter>()
  const lots = Lots.make()
  let queuedWeight = 0
  /** When the patience of the most patient one ends that lined up since nobody was in line. */
  let latestExpiry = -Infinity
  /** Whether somebody's patience ended before it was known whether there is room. */
  let overdue = false
  let driving = false
  /** In whose context the line works: that of the last call that set it going. */
  let driver = origin
  /** What the request under way asks for; some of that may have left. */
  let asked = { calls: 0, weight: 0 }
  /** Whether something came up since the store was asked for the last time. */
  let stale = false
  /** Whether what is leased was given back since then. */
  let surrendered = false
  /** Whether this process ended a hold since then; the answer may not know of it. */
  let released = false
  /** Until when a pause lasts that this process made since then; the answer may not know of it. */
  let pausedUntil = -Infinity
  let closed = false
  /** When the head may have its turn; infinite while the store is asked. */
  let readyAt = Infinity
  /** What there is at most when the head has its turn. */
  let room = 0
  let nap: (() => void) | undefined
  /** Gives back what is leased when its time is over. */
  let expirer: Fiber.Fiber<void> | undefined
  /** What a lease asks for, besides what calls want, is asked for again from then on. */
  let refillAt = -Infinity

  const reject = (fiber: AnyFiber, weight: number, because: Reason, wait: number): RateLimitExceeded => {
    host.rejected(fiber)
    const retryAfter = durationOf(wait)
    if (events.active) events.publish({ _tag: "Rejected", key, weight, because, retryAfter })
    return rejection.make(RateLimitExceeded, { limiter: host.name, retryAfter, because, weight })
  }

  const rejected = (fiber: AnyFiber, weight: number, because: Reason, wait: number): Entry => ({
    _tag: "Rejected",
    wait: Effect.fail(reject(fiber, weight, because, wait))
  })

  const enter = (fiber: AnyFiber, weight: number, reserves: boolean): Entry => {
    const at = now()
    const { maxQueue, maxWait, spec } = host.settings()
    if (queue.size === 0 && lots.weight > 0) {
      const takenAt = Lots.use(lots, at, weight)
      if (takenAt !== undefined) {
        refill(fiber, at)
        return { _tag: "Admitted", wait: undefined, takenAt }
      }
    }
    if (weight > spec.burst) return rejected(fiber, weight, "weight", Infinity)
    const deadline = at + deadlineOf(fiber) - time.now(fiber)
    const expiresAt = Math.min(at + maxWait, deadline)
    const delayed = queue.head !== undefined && readyAt < Infinity
    if (delayed) {
      const wait = Math.max(0, readyAt - at) + behind(spec, queue.head?.weight ?? 0, room, queuedWeight + weight)
      if (at + wait > expiresAt + epsilon) return rejected(fiber, weight, "limit", wait)
      if (queue.size >= maxQueue) return rejected(fiber, weight, "queue", wait)
    } else if (isCrowded(weight)) return rejected(fiber, weight, "queue", Infinity)
    const waiter = enqueue(fiber, at, weight, reserves, expiresAt, deadline, delayed)
    if (!driving) {
      driving = true
      driver = fiber.context
      background.work(driver, drive)
    }
    return waiter
  }

  /**
   * Whether a call that comes while the store is asked is one too many. Nobody knows yet how long the wait is, but
   * behind those that are asked for no more start at once than the limit ever lets.
   */
  const isCrowded = (weight: number): boolean => {
    const { maxQueue, spec } = host.settings()
    return queue.size - asked.calls >= maxQueue &&
      queuedWeight - asked.weight + weight > spec.burst + weightEpsilon
  }

  const enqueue = (
    fiber: AnyFiber,
    at: number,
    weight: number,
    reserves: boolean,
    expiresAt: number,
    deadline: number,
    delayed: boolean
  ): Waiter => {
    // All others are let go when they come to the head too late, or before.
    const impatient = queue.size > 0 && expiresAt < latestExpiry
    latestExpiry = impatient ? latestExpiry : expiresAt
    const waiter: Waiter = {
      _tag: "Waiter",
      fiber,
      weight,
      reserves,
      since: at,
      expiresAt,
      deadline,
      wait: Effect.suspend(() =>
        Effect.onExitPrimitive(answeredBy(waiter, impatient ? expiresAt : deadline), (exit) => {
          if (waiter.delayed) host.waited(fiber, now() - waiter.since)
          if (exit._tag === "Success") waiter.state = "running"
          return undefined
        })
      ),
      state: "queued",
      delayed,
      result: undefined,
      resume: undefined,
      takenAt: undefined,
      decision: undefined,
      previous: undefined,
      next: undefined
    }
    Fifo.append(queue, waiter)
    queuedWeight += weight
    return waiter
  }

  const answered = (waiter: Waiter): Effect.Effect<void, Rejection> =>
    Effect.callback<void, Rejection>((resume) => {
      if (waiter.result !== undefined) return resume(waiter.result)
      waiter.resume = resume
    })

  const answeredBy = (waiter: Waiter, until: number): Effect.Effect<void, Rejection> =>
    until === Infinity ? answered(waiter) : Effect.timeoutOrElse(answered(waiter), {
      duration: Math.max(0, Math.ceil(until - now())),
      orElse: () => {
        // While the store is asked it is not known yet whether there is room for one that was never asked for.
        if (waiter.result === undefined && !waiter.delayed && readyAt === Infinity && until < waiter.deadline) {
          overdue = true
          return answeredBy(waiter, waiter.deadline)
        }
        if (waiter.state === "queued") {
          leave(waiter, () => turnAway(waiter, "limit", Math.max(0, readyAt - now())))
        }
        return waiter.result ?? answered(waiter)
      }
    })

  const remove = (waiter: Waiter): void => {
    Fifo.remove(queue, waiter)
    // Set and not subtracted: fractions leave no remainder behind.
    queuedWeight = queue.size === 0 ? 0 : queuedWeight - waiter.weight
  }

  /** Whoever leaves by itself may leave the head to one that has its turn already. */
  const leave = (waiter: Waiter, how: () => void): void => {
    const wasHead = queue.head === waiter
    how()
    if (wasHead) wake()
  }

  const answer = (waiter: Waiter, state: "granted" | "rejected", result: Effect.Effect<void, Rejection>): void => {
    waiter.state = state
    waiter.result = result
    remove(waiter)
    waiter.resume?.(result)
  }

  const grant = (waiter: Waiter, takenAt: Lots.TakenAt | undefined): void => {
    waiter.takenAt = takenAt
    if (events.active && waiter.delayed) {
      const waited = durationOf(now() - waiter.since)
      events.publish({ _tag: "Granted", key, weight: waiter.weight, waited })
    }
    answer(waiter, "granted", Effect.void)
  }

  const turnAway = (waiter: Waiter, because: Reason, wait: number): void =>
    answer(waiter, "rejected", Effect.fail(reject(waiter.fiber, waiter.weight, because, wait)))

  const rejectAll = (because: Reason, millis: number): void => {
    for (let head = queue.head; head !== undefined; head = queue.head) turnAway(head, because, millis)
  }

  /** Gives back what was taken for a call that doesn't run. */
  const giveBack = (weight: number, takenAt: Lots.TakenAt): void => {
    const { spec } = host.settings()
    for (const { at, weight: part } of Lots.refunds(takenAt, weight)) {
      const request = Effect.suspend(() => store.giveBack(key, spec, part, at))
      const given = Effect.andThen(host.ask(key, "giveBack", request), Effect.sync(() => host.wake(key)))
      background.work(driver, Effect.exit(given))
    }
  }

  /** Serves the line until nobody is in it. */
  const drive: Effect.Effect<void> = Effect.suspend(() => {
    readyAt = Infinity
    serveLeased()
    stale = false
    return queue.size === 0 || closed ? rest() : decide(headOfLine())
  })

  const decide = (batch: ReadonlyArray<Waiter>): Effect.Effect<void> =>
    Effect.flatMap(Effect.exit(ask(batch)), (exit) => {
      if (Exit.isFailure(exit)) {
        failAll(Effect.failCause(exit.cause))
        return drive
      }
      const wait = settle(batch, exit.value)
      if (wait === 0 || queue.size === 0) return drive
      readyAt = now() + wait
      return Effect.flatMap(sleep, () => drive)
    })

  const idle = (): boolean => !driving && expirer === undefined && queue.size === 0 && lots.weight === 0

  const endIfIdle = (): void => {
    if (idle()) host.emptied(line)
  }

  const rest = (): Effect.Effect<void> => {
    driving = false
    endIfIdle()
    return Effect.void
  }

  const serveLeased = (): void => {
    if (lots.weight === 0) return
    const at = now()
    expire(at)
    for (let head = queue.head; head !== undefined; head = queue.head) {
      const takenAt = Lots.use(lots, at, head.weight)
      if (takenAt === undefined) return
      grant(head, takenAt)
    }
  }

  const headOfLine = (): ReadonlyArray<Waiter> => {
    const batch: Array<Waiter> = []
    for (let waiter = queue.head; waiter !== undefined && batch.length < maxBatch; waiter = waiter.next) {
      batch.push(waiter)
    }
    return batch
  }

  const ask = (batch: ReadonlyArray<Waiter>): Effect.Effect<Decision, RateLimiterStoreError> => {
    const { lease, spec } = host.settings()
    expire(now())
    surrendered = false
    released = false
    pausedUntil = -Infinity
    asked = { calls: batch.length, weight: batch.reduce((sum, { weight }) => sum + weight, 0) }
    const sentAt = now()
    const request: Request = {
      weights: batch.map((waiter) => waiter.weight),
      extra: lease === undefined ? 0 : Math.max(0, lease.size - Math.ceil(lots.weight)),
      marked: lease !== undefined || batch.some((waiter) => waiter.reserves)
    }
    const taken = Effect.suspend(() => store.take(key, spec, request))
    const answer = host.ask(key, "take", taken, (decision) => returnLate(batch, decision))
    return lease === undefined
      ? answer
      // The lease began at the latest when the store took it, at the earliest when it was asked for.
      : Effect.map(answer, (decision) => keep(request.extra, decision, sentAt + lease.duration))
  }

  /** The store admitted calls that nobody runs any more. Those that were let through without its answer did run. */
  const returnLate = (batch: ReadonlyArray<Waiter>, decision: Decision): void => {
    const weight = batch.slice(0, decision.admitted)
      .reduce((sum, waiter) => waiter.state === "running" || waiter.state === "granted" ? sum : sum + waiter.weight, 0)
    if (weight + decision.extra > 0) giveBack(weight + decision.extra, decision.at)
  }

  const keep = (wanted: number, decision: Decision, expiresAt: number): Decision => {
    const at = now()
    if (decision.extra < wanted) refillAt = at + (host.settings().lease?.duration ?? 0) / 4
    if (decision.extra === 0) return decision
    if (closed || surrendered || at >= expiresAt) {
      giveBack(decision.extra, decision.at)
      return decision
    }
    host.leased("taken", decision.extra)
    if (events.active) events.publish({ _tag: "Leased", key, weight: decision.extra })
    Lots.add(lots, { weight: decision.extra, at: decision.at, expiresAt })
    if (expirer === undefined) {
      const fiber = background.run(driver, expireInTime)
      if (fiber.pollUnsafe() === undefined) expirer = fiber
    }
    return decision
  }

  /** Does what the store said, and returns how long the line has to wait. */
  const settle = (batch: ReadonlyArray<Waiter>, decision: Decision): number => {
    // A pause of its own lets nothing start, whatever was admitted before: those stay in line.
    const paused = now() < pausedUntil
    let unused = 0
    for (const [place, waiter] of batch.entries()) {
      if (place >= decision.admitted) {
        waiter.delayed = true
      } else if (waiter.state === "queued" && !paused) {
        waiter.decision = decision
        grant(waiter, decision.at)
      } else {
        unused += waiter.weight
      }
    }
    if (unused > 0) giveBack(unused, decision.at)
    if (paused || released || decision.admitted === batch.length) return 0
    if (decision.blocked) {
      rejectAll("blocked", decision.wait)
      return 0
    }
    const first = batch[decision.admitted]
    if (first?.state !== "queued") return 0
    if (decision.wait === Infinity) {
      turnAway(first, "weight", Infinity)
      return 0
    }
    const { burst, interval } = host.settings().spec
    room = Math.min(burst, decision.remaining + decision.wait / interval)
    sweep(decision.wait)
    return queue.head === first ? decision.wait : 0
  }

  /** Turns those away of whom it is known now that they would wait for too long, or that are too many. */
  const sweep = (wait: number): void => {
    const { maxQueue, spec } = host.settings()
    const at = now()
    const first = queue.head
    if (first === undefined) return
    let ahead = 0
    let place = 0
    let next: Waiter | undefined
    // With the same patience for all, those behind a batch that stays need no look unless the wait is a long one.
    const looks = wait >= maxNap || queue.size > maxQueue || overdue ? Infinity : maxBatch
    for (let waiter: Waiter | undefined = first; waiter !== undefined && place < looks; waiter = next) {
      next = waiter.next
      // The wait was that of the first. Where it is gone, a lighter one may have its turn sooner.
      if (queue.head !== first && waiter.weight < first.weight) return
      const least = wait + behind(spec, first.weight, room, ahead + waiter.weight)
      if (at + least > waiter.expiresAt + epsilon) turnAway(waiter, "limit", least)
      else if (place >= maxQueue) turnAway(waiter, "queue", least)
      else {
        waiter.delayed = true
        ahead += waiter.weight
        place++
      }
    }
    overdue = false
  }

  /** The store didn't decide: those who are in line now don't wait for its next failure. */
  const failAll = (failure: Effect.Effect<never, RateLimiterStoreError>): void => {
    const { allow } = host.settings()
    for (let head = queue.head; head !== undefined; head = queue.head) {
      if (allow) grant(head, undefined)
      else answer(head, "rejected", failure)
    }
  }

  const sleep: Effect.Effect<void> = Effect.callback<void>((resume) => {
    // The fiber may yield between the answer and this.
    if (stale || closed) return resume(Effect.void)
    const millis = Math.min(readyAt - now(), maxNap)
    const timer = background.run(
      driver,
      Effect.andThen(
        Effect.sleep(Math.max(1, Math.ceil(millis - epsilon))),
        Effect.sync(() => nap?.())
      )
    )
    nap = () => {
      nap = undefined
      timer.interruptUnsafe()
      resume(Effect.void)
    }
  })

  const wake = (): void => {
    stale = true
    nap?.()
  }

  const exit = (entry: Entry): void => {
    if (entry._tag !== "Waiter") return
    if (entry.state === "queued") {
      entry.state = "gone"
      leave(entry, () => remove(entry))
    } else if (entry.state === "granted") {
      entry.state = "gone"
      if (entry.takenAt !== undefined) giveBack(entry.weight, entry.takenAt)
    }
  }

  /** Leases more before all is used, so that no call has to wait for it. */
  const refill = (fiber: AnyFiber, at: number): void => {
    const size = host.settings().lease?.size ?? 0
    if (driving || lots.weight > size / 2 || at < refillAt) return
    driving = true
    driver = fiber.context
    background.work(driver, decide([]))
  }

  const returned = (weight: number): void => {
    host.leased("returned", weight)
    if (events.active) events.publish({ _tag: "Returned", key, weight })
  }

  const expire = (at: number): void => {
    for (const lot of Lots.drop(lots, at)) {
      returned(lot.weight)
      giveBack(lot.weight, lot.at)
    }
  }

  const expireInTime: Effect.Effect<void> = Effect.suspend(() => {
    const at = now()
    expire(at)
    const [first] = lots.lots
    if (first !== undefined) return Effect.flatMap(Effect.sleep(Math.ceil(first.expiresAt - at)), () => expireInTime)
    expirer = undefined
    endIfIdle()
    return Effect.void
  })

  const surrender = (): void => {
    surrendered = true
    expire(Infinity)
    // What is leased from now on may have less time.
    expirer?.interruptUnsafe()
    expirer = undefined
    endIfIdle()
  }

  const hold = (kind: Hold, millis: number): void => {
    surrender()
    if (kind === "pause") pausedUntil = Math.max(pausedUntil, now() + millis)
    else rejectAll("blocked", millis)
    wake()
  }

  const release = (kind: Hold): void => {
    released = true
    if (kind === "pause") pausedUntil = -Infinity
    wake()
  }

  const line: Line = {
    key,
    enter,
    exit,
    wake,
    surrender,
    hold,
    release,
    close: () => {
      closed = true
      for (let head = queue.head; head !== undefined; head = queue.head) {
        answer(head, "rejected", Effect.interrupt)
      }
      expire(Infinity)
      wake()
    },
    idle,
    queued: () => queue.size,
    leased: () => lots.weight
  }
  return line
}
