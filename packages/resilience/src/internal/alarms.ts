/**
 * The alarms of calls that must not take too long, with one timer for all of
 * them. Most calls end long before their alarm; setting and clearing one is a
 * place in a heap, and mostly its last, as those of one policy mostly ring in the
 * order in which they were set.
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Heap from "./heap.ts"
import * as time from "./time.ts"

export interface Alarm {
  /**
   * When it rings, in monotonic milliseconds. One that is set may be put off by a later time, which costs nothing until the time has come
   * that it was set for; by infinity it is off.
   */
  at: number
  readonly ring: () => void
  group: Group | undefined
  place: number
  /** The time that it was set for. */
  setFor: number
  /** Of those of one time the one that was set first rings first. */
  turn: number
}

export const alarm = (at: number, ring: () => void): Alarm => ({
  at,
  ring,
  group: undefined,
  place: -1,
  setFor: at,
  turn: 0
})

/** The alarms that are set on one clock. */
interface Group {
  readonly alarms: Heap.Heap<Alarm>
  /** How many were set. */
  turns: number
  timer: Fiber.Fiber<void> | undefined
  /** When the timer looks next. */
  wakesAt: number
  /** Whether the timer is to be started in the scheduler's next turn. */
  starting: boolean
  /** Whether alarms ring now; the timer then goes on by itself. */
  ringing: boolean
}

export interface Alarms {
  readonly set: (fiber: Fiber.Fiber<unknown, unknown>, context: Context.Context<never>, alarm: Alarm) => void
  readonly clear: (alarm: Alarm) => void
}

const order: Heap.Order<Alarm> = {
  before: (a, b) => a.setFor < b.setFor || (a.setFor === b.setFor && a.turn < b.turn),
  placeOf: ({ place }) => place,
  setPlace: (alarm, place) => {
    alarm.place = place
  }
}

/** What a sum of two times may be off by, in milliseconds. */
const precision = 1e-3

export const make = (): Alarms => {
  const groups = new WeakMap<Clock.Clock, Group>()
  let latestClock: Clock.Clock | undefined
  let latestGroup: Group | undefined

  const groupOf = (clock: Clock.Clock): Group => {
    if (latestGroup !== undefined && latestClock === clock) return latestGroup
    let group = groups.get(clock)
    if (group === undefined) {
      group = {
        alarms: Heap.make(order),
        turns: 0,
        timer: undefined,
        wakesAt: Infinity,
        starting: false,
        ringing: false
      }
      groups.set(clock, group)
    }
    latestClock = clock
    latestGroup = group
    return group
  }

  const set = (fiber: Fiber.Fiber<unknown, unknown>, context: Context.Context<never>, alarm: Alarm): void => {
    const group = groupOf(fiber.getRef(Clock.Clock))
    alarm.group = group
    put(group, alarm)
    if (group.ringing || group.starting) return
    if (group.timer !== undefined) {
      if (group.wakesAt <= alarm.at) return
      stop(group)
    }
    // A call that ends within this turn of the event loop, and there are many, needs no timer at all.
    group.starting = true
    fiber.currentDispatcher.scheduleTask(() => start(group, context), 0)
  }

  return { set, clear }
}

const put = (group: Group, alarm: Alarm): void => {
  alarm.setFor = alarm.at
  alarm.turn = group.turns++
  Heap.put(group.alarms, alarm)
}

const clear = (alarm: Alarm): void => {
  const { group } = alarm
  if (group === undefined) return
  alarm.group = undefined
  Heap.remove(group.alarms, alarm)
  // Nothing may keep a process awake that nobody waits for.
  if (group.alarms.items.length === 0 && !group.ringing) stop(group)
}

const stop = (group: Group): void => {
  group.timer?.interruptUnsafe()
  group.timer = undefined
  group.wakesAt = Infinity
}

const start = (group: Group, context: Context.Context<never>): void => {
  group.starting = false
  if (group.alarms.items.length === 0) return
  const timer = Effect.runForkWith(context)(watch(group))
  if (timer.pollUnsafe() === undefined) group.timer = timer
}

const watch = (group: Group): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const now = time.now(fiber)
    ringDue(group, now)
    const next = Heap.first(group.alarms)
    if (next === undefined) {
      group.timer = undefined
      group.wakesAt = Infinity
      return Effect.void
    }
    group.wakesAt = next.setFor
    return Effect.flatMap(Effect.sleep(next.setFor - now), () => watch(group))
  })

const ringDue = (group: Group, now: number): void => {
  group.ringing = true
  // What rings may set another alarm, whose turn comes later.
  for (let left = group.alarms.items.length; left > 0; left--) {
    const next = Heap.first(group.alarms)
    if (next === undefined || next.setFor - now > precision) break
    if (next.at - now > precision && next.at < Infinity) {
      put(group, next)
      continue
    }
    next.group = undefined
    Heap.remove(group.alarms, next)
    if (next.at < Infinity) next.ring()
  }
  group.ringing = false
}
