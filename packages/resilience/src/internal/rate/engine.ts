/**
 * The limiter in one process: the state of its algorithm, the queue before it
 * and the gates that hand and hint can shut. Every decision is one synchronous
 * step.
 *
 * Weight is taken when it is granted and not when a call lines up. Only the head
 * of the queue has a timer. With the same `maxWait` for all, the head is also
 * the first whose patience ends, and whether it ends is known when it becomes
 * the head; so patience needs no timer, but for a waiter that is less patient
 * than one before it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { deadlineOf } from "../currentDeadline.ts"
import type * as Events from "../events.ts"
import * as Fifo from "../fifo.ts"
import * as rejection from "../rejection.ts"
import * as time from "../time.ts"
import * as Algorithm from "./algorithm.ts"
import type { Engine, Entry, Event, Meters, State, Waiter } from "./engineModel.ts"
import { RateLimitExceeded, type Reason } from "./exceeded.ts"
import * as Options from "./options.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

const admitted: Entry = { _tag: "Admitted", wait: undefined }

const durationOf = (millis: number): Duration.Duration =>
  Duration.millis(Math.max(0, Math.ceil(millis - Algorithm.epsilon)))

/**
 * Through the scheduler: a waiter must not run on the stack of the one that
 * wakes it, and those granted in one step run in their order.
 */
const wake = (waiter: Waiter): void =>
  waiter.fiber.currentDispatcher.scheduleTask(() => {
    waiter.awake = true
    waiter.resume?.()
  }, 0)

export const make = (
  name: string,
  initial: Options.Checked,
  now: number,
  meters: Meters,
  events: Events.Events<Event>
): Engine => {
  let settings = initial
  let { spec } = initial
  const state = Algorithm.initial(spec, now)
  const queue = Fifo.make<Waiter>()
  let queuedWeight = 0
  /** When the patience of the most patient one ends that lined up since nobody was in the queue. */
  let latestExpiry = -Infinity
  let pausedUntil = -Infinity
  let blockedUntil = -Infinity
  /** The later of the two: nothing is granted before. */
  let closedUntil = -Infinity
  let timer: Fiber.Fiber<void> | undefined
  let timerAt = Infinity

  /** Milliseconds until a call gets its turn, with so much weight before it. */
  const waitFor = (now: number, weight: number, ahead: number): number => {
    const wait = Algorithm.waitFor(spec, state, now, weight, ahead)
    if (now >= closedUntil) return wait
    // Those ahead start when the gate opens, at best with a limit that is as good as new.
    const fresh = { ...spec, warmUp: 0 }
    return Math.max(
      wait,
      closedUntil - now + Algorithm.waitFor(fresh, Algorithm.initial(fresh, 0), 0, weight, ahead)
    )
  }

  const enter = (fiber: AnyFiber, now: number, weight: number, reserves: boolean): Entry => {
    if (queue.size === 0 && now >= closedUntil && Algorithm.waitFor(spec, state, now, weight, 0) === 0) {
      Algorithm.take(spec, state, now, weight)
      if (reserves) Algorithm.mark(state, now)
      return admitted
    }
    return delay(fiber, now, weight, reserves)
  }

  const delay = (fiber: AnyFiber, now: number, weight: number, reserves: boolean): Entry => {
    // The timer may be late. Whoever gets a turn by this goes first, so this call lines up even if it need not wait.
    if (queue.size > 0) advance(now)
    const wait = waitFor(now, weight, queuedWeight)
    const patience = Math.min(settings.maxWait, deadlineOf(fiber) - now)
    const because = refusal(now, weight, wait, patience)
    if (because !== undefined) {
      return { _tag: "Rejected", wait: Effect.fail(reject(fiber, weight, because, wait)) }
    }
    const waiter = enqueue(fiber, now, weight, reserves, now + patience)
    if (events.active) events.publish({ _tag: "Queued", weight, wait: durationOf(wait) })
    if (queue.head === waiter) advance(now)
    return waiter
  }

  const refusal = (now: number, weight: number, wait: number, patience: number): Reason | undefined => {
    if (now < blockedUntil) return "blocked"
    if (weight > spec.burst) return "weight"
    if (wait > patience + Algorithm.slackOf(spec)) return "limit"
    return queue.size >= settings.maxQueue && (queue.size > 0 || wait > 0) ? "queue" : undefined
  }

  const reject = (fiber: AnyFiber, weight: number, because: Reason, wait: number): RateLimitExceeded => {
    meters.rejected(fiber)
    const retryAfter = durationOf(wait)
    if (events.active) events.publish({ _tag: "Rejected", weight, because, retryAfter })
    return rejection.make(RateLimitExceeded, { limiter: name, retryAfter, because, weight })
  }

  const enqueue = (
    fiber: AnyFiber,
    now: number,
    weight: number,
    reserves: boolean,
    expiresAt: number
  ): Waiter => {
    const impatient = queue.size > 0 && expiresAt < latestExpiry
    latestExpiry = impatient ? latestExpiry : expiresAt
    const waiter: Waiter = {
      _tag: "Waiter",
      fiber,
      weight,
      reserves,
      since: now,
      expiresAt,
      wait: Effect.suspend(() =>
        Effect.onExitPrimitive(impatient ? settledInTime(waiter) : settled(waiter), (exit) => {
          meters.waited(fiber, time.now(fiber) - waiter.since)
          if (exit._tag === "Success") waiter.state = "running"
          return undefined
        })
      ),
      state: "queued",
      grantedAt: now,
      awake: false,
      resume: undefined,
      previous: undefined,
      next: undefined
    }
    Fifo.append(queue, waiter)
    queuedWeight += weight
    return waiter
  }

  const settled = (waiter: Waiter): Effect.Effect<void, RateLimitExceeded> =>
    Effect.callback<void, RateLimitExceeded>((resume) => {
      const answer = () => resume(answerOf(waiter))
      if (waiter.awake) return answer()
      waiter.resume = answer
    })

  const answerOf = (waiter: Waiter): Effect.Effect<void, RateLimitExceeded> =>
    waiter.state instanceof RateLimitExceeded ? Effect.fail(waiter.state) : Effect.void

  /** Bounds a wait that may end before that of those ahead. */
  const settledInTime = (waiter: Waiter): Effect.Effect<void, RateLimitExceeded> =>
    Effect.timeoutOrElse(settled(waiter), {
      duration: Math.max(0, Math.ceil(waiter.expiresAt - time.now(waiter.fiber))),
      orElse: () => {
        const now = time.now(waiter.fiber)
        if (waiter.state === "queued") advance(now)
        if (waiter.state === "queued") turnAway(waiter, "limit", waitFor(now, waiter.weight, aheadOf(waiter)))
        return answerOf(waiter)
      }
    })

  const aheadOf = (waiter: Waiter): number => {
    let ahead = 0
    for (let other = waiter.previous; other !== undefined; other = other.previous) ahead += other.weight
    return ahead
  }

  const remove = (waiter: Waiter, state: Waiter["state"]): void => {
    waiter.state = state
    Fifo.remove(queue, waiter)
    // Set and not subtracted: fractions leave no remainder behind.
    queuedWeight = queue.size === 0 ? 0 : queuedWeight - waiter.weight
  }

  const grant = (waiter: Waiter, now: number): void => {
    Algorithm.take(spec, state, now, waiter.weight)
    // It may be interrupted before its next step, and then gives back what it took.
    if (waiter.reserves || Algorithm.needsMark(state, now)) Algorithm.mark(state, now)
    waiter.grantedAt = now
    remove(waiter, "granted")
    if (events.active) {
      events.publish({ _tag: "Granted", weight: waiter.weight, waited: durationOf(now - waiter.since) })
    }
    wake(waiter)
  }

  const turnAway = (waiter: Waiter, because: Reason, wait: number): void => {
    remove(waiter, reject(waiter.fiber, waiter.weight, because, wait))
    wake(waiter)
  }

  const isTooLate = (waiter: Waiter, now: number, wait: number): boolean =>
    now + wait > waiter.expiresAt + Algorithm.epsilon

  /** Gives all their turn whose turn it is, and sets the timer for the next. */
  const advance = (now: number): void => {
    for (let head = queue.head; head !== undefined; head = queue.head) {
      const wait = waitFor(now, head.weight, 0)
      if (wait === 0) grant(head, now)
      else if (isTooLate(head, now, wait)) turnAway(head, "limit", wait)
      else return arm(head, now, now + wait)
    }
    disarm()
  }

  /** Turns those away at once of whom it is known now that they would wait for too long. */
  const sweep = (now: number): void => {
    let ahead = 0
    let next: Waiter | undefined
    for (let waiter = queue.head; waiter !== undefined; waiter = next) {
      next = waiter.next
      const wait = waitFor(now, waiter.weight, ahead)
      if (waiter.weight > spec.burst) turnAway(waiter, "weight", wait)
      else if (isTooLate(waiter, now, wait)) turnAway(waiter, "limit", wait)
      else ahead += waiter.weight
    }
    advance(now)
  }

  const arm = (head: Waiter, now: number, at: number): void => {
    // A timer that fires too soon sets itself anew.
    if (timerAt <= at + Algorithm.epsilon) return
    disarm()
    if (at === Infinity) return
    timerAt = at
    // At least one, so that a rounded sum cannot make it spin.
    const millis = Math.max(1, Math.ceil(at - now - Algorithm.epsilon))
    timer = Effect.runForkWith(head.fiber.context)(Effect.andThen(Effect.sleep(millis), tick))
  }

  const disarm = (): void => {
    timer?.interruptUnsafe()
    timer = undefined
    timerAt = Infinity
  }

  const tick = Effect.withFiber<void>((fiber) => {
    timer = undefined
    timerAt = Infinity
    advance(time.now(fiber))
    return Effect.void
  })

  const exit = (entry: Entry, fiber: AnyFiber): void => {
    if (entry._tag !== "Waiter") return
    if (entry.state === "granted") {
      entry.state = "gone"
      refund(fiber, entry.grantedAt, entry.weight)
    } else if (entry.state === "queued") {
      const wasHead = queue.head === entry
      remove(entry, "gone")
      if (wasHead) advance(time.now(fiber))
    }
  }

  const refund = (fiber: AnyFiber, at: number, weight: number): void => {
    const now = time.now(fiber)
    Algorithm.giveBack(spec, state, now, at, weight)
    if (queue.size > 0) advance(now)
  }

  const settle = (fiber: AnyFiber, at: number, reserved: number, weight: number): void => {
    if (events.active) events.publish({ _tag: "Settled", reserved, weight })
    if (weight < reserved) {
      meters.settled(fiber, "refund", reserved - weight)
      refund(fiber, at, reserved - weight)
    } else if (weight > reserved) {
      const now = time.now(fiber)
      meters.settled(fiber, "charge", weight - reserved)
      Algorithm.take(spec, state, now, weight - reserved)
      sweep(now)
    }
  }

  const penalize = (fiber: AnyFiber, weight: number): void => {
    const now = time.now(fiber)
    Algorithm.take(spec, state, now, weight)
    if (events.active) events.publish({ _tag: "Penalized", weight })
    sweep(now)
  }

  const reward = (fiber: AnyFiber, weight: number): void => {
    const now = time.now(fiber)
    Algorithm.reward(spec, state, now, weight)
    if (events.active) events.publish({ _tag: "Rewarded", weight })
    advance(now)
  }

  const pause = (fiber: AnyFiber, millis: number): void => {
    const now = time.now(fiber)
    if (millis <= 0 || now + millis <= pausedUntil) return
    pausedUntil = now + millis
    closedUntil = Math.max(pausedUntil, blockedUntil)
    meters.paused(fiber)
    if (events.active) events.publish({ _tag: "Paused", duration: Duration.millis(millis) })
    sweep(now)
  }

  const resume = (fiber: AnyFiber): void => {
    const now = time.now(fiber)
    if (now >= pausedUntil) return
    pausedUntil = -Infinity
    closedUntil = blockedUntil
    if (events.active) events.publish({ _tag: "Resumed" })
    advance(now)
  }

  const block = (fiber: AnyFiber, millis: number): void => {
    const now = time.now(fiber)
    if (millis <= 0 || now + millis <= blockedUntil) return
    blockedUntil = now + millis
    closedUntil = Math.max(pausedUntil, blockedUntil)
    if (events.active) events.publish({ _tag: "Blocked", duration: Duration.millis(millis) })
    for (let head = queue.head; head !== undefined; head = queue.head) {
      turnAway(head, "blocked", waitFor(now, head.weight, 0))
    }
    disarm()
  }

  const unblock = (fiber: AnyFiber): void => {
    if (time.now(fiber) >= blockedUntil) return
    blockedUntil = -Infinity
    closedUntil = pausedUntil
    if (events.active) events.publish({ _tag: "Unblocked" })
  }

  const update = (fiber: AnyFiber, changes: Options.Settings): void => {
    const now = time.now(fiber)
    settings = Options.changed("RateLimiter.update", settings.options, changes)
    Algorithm.convert(spec, settings.spec, state, now)
    spec = settings.spec
    sweep(now)
  }

  const peek = (fiber: AnyFiber, weight: number): Duration.Duration =>
    durationOf(waitFor(time.now(fiber), weight, queuedWeight))

  const inspect = (fiber: AnyFiber): State => {
    const now = time.now(fiber)
    const available = Math.floor(Algorithm.available(spec, state, now) + Algorithm.weightEpsilon)
    return {
      // The sum makes a negative zero an ordinary one.
      available: available + 0,
      queued: queue.size,
      ...(now < pausedUntil ? { paused: durationOf(pausedUntil - now) } : undefined),
      ...(now < blockedUntil ? { blocked: durationOf(blockedUntil - now) } : undefined)
    }
  }

  const atRest = (fiber: AnyFiber): boolean => {
    const now = time.now(fiber)
    return queue.size === 0 && now >= closedUntil && Algorithm.resetAfter(spec, state, now) <= Algorithm.epsilon
  }

  return {
    enter,
    exit,
    refund,
    settle,
    penalize,
    reward,
    pause,
    resume,
    block,
    unblock,
    update,
    check: (changes) => {
      Options.changed("RateLimiter.update", settings.options, changes)
    },
    peek,
    inspect,
    atRest
  }
}
