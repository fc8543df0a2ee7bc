/**
 * The slots of a concurrency limit and the line before them.
 *
 * Nobody who could be served waits: whatever frees a slot, shortens the line or
 * moves a limit also serves whose turn it is, in the same step. So an arrival may
 * take a free slot whenever it would be the next, and never overtakes.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Priority from "../../Priority.ts"
import * as Alarms from "../alarms.ts"
import * as check from "../check.ts"
import { deadlineOf } from "../currentDeadline.ts"
import type { Events } from "../events.ts"
import type * as guard from "../guard.ts"
import * as rejection from "../rejection.ts"
import * as telemetry from "../telemetry.ts"
import * as time from "../time.ts"
import { QueueFull, QueueTimeout, TooHeavy } from "./errors.ts"
import * as Line from "./line.ts"

/**
 * On whose behalf the calls of this fiber are made, for a fair share of the
 * slots; undefined for nobody in particular. Default undefined.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentTenant: Context.Reference<string | undefined> = Context.Reference(
  "@ballast/resilience/ConcurrencyLimit/CurrentTenant",
  { defaultValue: (): string | undefined => undefined }
)

/**
 * What an event says about its call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly priority: Priority.Priority
  readonly tenant: string | undefined
  /** Slots that it takes. */
  readonly weight: number
}

/**
 * Why a call was rejected: the queue was full, its time was over, or it takes
 * more slots than there are.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = "full" | "timeout" | "weight"

/**
 * What happens to a call that does not run at once.
 *
 * @category models
 * @since 0.1.0
 */
export type CallEvent =
  /** A call waits. */
  | Call & { readonly _tag: "Queued" }
  /** A call that waited got its slots. */
  | Call & { readonly _tag: "Admitted"; readonly waited: Duration.Duration }
  /** A call that waited was interrupted. */
  | Call & { readonly _tag: "Left"; readonly waited: Duration.Duration }
  /** A call was rejected, at once or after it had waited. */
  | Call & { readonly _tag: "Rejected"; readonly reason: Reason; readonly waited: Duration.Duration }

/**
 * A tenant that holds slots or waits for some.
 *
 * @category models
 * @since 0.1.0
 */
export interface TenantState {
  readonly tenant: string
  /** Slots that its calls hold. */
  readonly running: number
  /** Its calls that wait. */
  readonly queued: number
}

/**
 * Settings of the queue before the slots.
 *
 * @category options
 * @since 0.1.0
 */
export interface QueueSettings {
  /** Slots that the calls of one tenant may take at once, at least 1; `Infinity` for no bound. Default `Infinity`. */
  readonly perTenant?: number | undefined
  /** Calls that may wait, zero or more; `Infinity` for no bound. Default 0: reject at once. Those that wait stay. */
  readonly queue?: number | undefined
  /** How long a call may wait, zero or more; infinity for no bound. Default 30 seconds. Those that wait keep theirs. */
  readonly maxWait?: Duration.Input | undefined
}

export const defaults = { perTenant: Infinity, queue: 0, maxWait: "30 seconds" } satisfies QueueSettings

interface Queue {
  readonly perTenant: number
  readonly queue: number
  /** In milliseconds. */
  readonly maxWait: number
}

export interface Settings extends Queue {
  readonly limit: number
}

/** Checks the settings of the queue. */
export const checked = (
  where: string,
  settings: QueueSettings,
  otherwise: { readonly [K in keyof QueueSettings]-?: Exclude<QueueSettings[K], undefined> }
): Queue => {
  const perTenant = settings.perTenant ?? otherwise.perTenant
  return {
    perTenant: perTenant === Infinity ? perTenant : check.positiveInteger(where, "perTenant", perTenant),
    queue: check.count(where, "queue", settings.queue ?? otherwise.queue),
    maxWait: check.notNegative(where, "maxWait", settings.maxWait ?? otherwise.maxWait)
  }
}

interface Running extends guard.Entry<never> {
  readonly _tag: "Running"
  readonly wait: undefined
  readonly weight: number
  readonly tenant: Line.Tenant
}

interface Rejected<E> {
  readonly _tag: "Rejected"
  readonly wait: Effect.Effect<never, QueueFull | QueueTimeout | E>
}

interface Waiting<E> {
  readonly _tag: "Waiting"
  readonly wait: Effect.Effect<void, QueueFull | QueueTimeout | E>
  readonly waiter: Waiter
}

export type Entry<E> = Running | Rejected<E> | Waiting<E>

interface Waiter extends Line.Item<Waiter> {
  readonly fiber: AnyFiber
  readonly since: number
  readonly until: number
  state: "queued" | "granted" | "gone" | QueueFull | QueueTimeout | TooHeavy
  resume: (() => void) | undefined
  alarm: Alarms.Alarm | undefined
}

/** How much a call takes, and how it fails when that is too much. */
export interface Weight<E> {
  /** The entry of a call that runs at once for no tenant; all such calls share it. */
  readonly plain: Running
  readonly tooHeavy: (error: TooHeavy) => Effect.Effect<never, E>
}

const plain = (weight: number): Running => ({ _tag: "Running", wait: undefined, weight, tenant: undefined })

/** One slot, which no limit is too small for. */
export const light: Weight<never> = { plain: plain(1), tooHeavy: Effect.die }

export const heavy = (weight: number): Weight<TooHeavy> => ({ plain: plain(weight), tooHeavy: Effect.fail })

type AnyFiber = Fiber.Fiber<unknown, unknown>

export interface Engine {
  /** Slots that are taken. */
  readonly active: number
  readonly queued: number
  readonly settings: Settings
  readonly enter: <E>(fiber: AnyFiber, weight: Weight<E>) => Entry<E>
  readonly exit: (entry: Entry<unknown>, fiber: AnyFiber) => void
  readonly change: (settings: Settings) => void
  readonly tenants: () => ReadonlyArray<TenantState>
}

export const make = (
  policy: telemetry.PolicyKind,
  name: string,
  initial: Settings,
  events: Pick<Events<CallEvent>, "active" | "publish">
): Engine => {
  let settings = initial
  let active = 0
  let arrivals = 0
  /** Slots that each tenant holds. */
  const held = new Map<string, number>()
  const rejected = telemetry.makeRejected(policy, name)
  const waited = telemetry.makeWaited(policy, name)
  /** Ends of `maxWait`, and of deadlines that come before it. */
  const alarms = Alarms.make()

  const hasRoom = (tenant: Line.Tenant, weight: number): boolean =>
    tenant === undefined || settings.perTenant === Infinity || (held.get(tenant) ?? 0) + weight <= settings.perTenant

  // One that never will have room must have its turn too, to be told so.
  const line = Line.make<Waiter>((tenant, weight) => weight > settings.perTenant || hasRoom(tenant, weight))

  /** The slots that one of this tenant can have at most. */
  const most = (tenant: Line.Tenant): number =>
    tenant === undefined ? settings.limit : Math.min(settings.limit, settings.perTenant)

  const take = (tenant: Line.Tenant, weight: number) => {
    active += weight
    if (tenant === undefined) return
    held.set(tenant, (held.get(tenant) ?? 0) + weight)
    // What waits for this tenant may have no room left now.
    if (line.size > 0) Line.reconsider(line, tenant)
  }

  const release = (tenant: Line.Tenant, weight: number) => {
    active -= weight
    if (tenant !== undefined) releaseFor(tenant, weight)
    if (line.size > 0) serve()
  }

  const releaseFor = (tenant: string, weight: number) => {
    const left = (held.get(tenant) ?? 0) - weight
    if (left > 0) held.set(tenant, left)
    else held.delete(tenant)
    Line.reconsider(line, tenant)
  }

  const noteRejected = (fiber: AnyFiber, call: Call, reason: Reason, millis: number) => {
    rejected(fiber)
    if (events.active) events.publish({ _tag: "Rejected", ...call, reason, waited: Duration.millis(millis) })
  }

  const full = (tenant: Line.Tenant, weight: number): QueueFull =>
    tenant === undefined || hasRoom(tenant, weight)
      ? rejection.make(QueueFull, { limiter: name, limit: settings.limit, queue: settings.queue })
      : rejection.make(QueueFull, { limiter: name, limit: settings.perTenant, queue: settings.queue, tenant })

  const tooHeavy = (tenant: Line.Tenant, weight: number): TooHeavy =>
    rejection.make(TooHeavy, { limiter: name, weight, limit: most(tenant) })

  const timedOut = (millis: number): QueueTimeout =>
    rejection.make(QueueTimeout, { limiter: name, maxWait: Duration.millis(Math.max(0, millis)) })

  const callOf = ({ lane, weight }: Waiter): Call => ({ priority: lane.rank.priority, tenant: lane.tenant, weight })

  /** Tells a waiter what became of it. */
  const answer = (waiter: Waiter, state: Exclude<Waiter["state"], "queued" | "gone">) => {
    waiter.state = state
    silence(waiter)
    // Through the scheduler: a chain of short calls must not nest their stacks.
    waiter.fiber.currentDispatcher.scheduleTask(() => waiter.resume?.(), 0)
  }

  const turnAway = (waiter: Waiter, reason: Reason, error: QueueFull | QueueTimeout | TooHeavy) => {
    Line.remove(line, waiter)
    noteRejected(waiter.fiber, callOf(waiter), reason, time.now(waiter.fiber) - waiter.since)
    answer(waiter, error)
  }

  const admit = (waiter: Waiter) => {
    const { lane: { tenant }, weight } = waiter
    Line.serve(line, waiter)
    take(tenant, weight)
    if (events.active) {
      const waited = Duration.millis(time.now(waiter.fiber) - waiter.since)
      events.publish({ _tag: "Admitted", ...callOf(waiter), waited })
    }
    answer(waiter, "granted")
  }

  /** Serves those whose turn it is, and turns those away that no longer can be served when it is. */
  const serve = () => {
    while (line.size > 0) {
      const waiter = Line.next(line)
      if (waiter === undefined) return
      const { lane: { tenant }, weight } = waiter
      if (weight > most(tenant)) turnAway(waiter, "weight", tooHeavy(tenant, weight))
      else if (active + weight <= settings.limit) admit(waiter)
      else return
    }
  }

  const giveUp = (waiter: Waiter) => {
    // The slot may have come in the very moment in which the time ran out.
    if (waiter.state !== "queued") return
    waiter.alarm = undefined
    turnAway(waiter, "timeout", timedOut(waiter.until - waiter.since))
    serve()
  }

  /** Gives up in time, unless an answer comes before. */
  const setAlarm = (waiter: Waiter) => {
    const { fiber, until } = waiter
    if (until === Infinity) return
    waiter.alarm = Alarms.alarm(until, () => giveUp(waiter))
    alarms.set(fiber, fiber.context, waiter.alarm)
  }

  const silence = ({ alarm }: Waiter) => {
    if (alarm !== undefined) alarms.clear(alarm)
  }

  const answered = <E>({ state }: Waiter, { tooHeavy }: Weight<E>) => {
    if (typeof state === "string") return Effect.void
    return state._tag === "TooHeavy" ? tooHeavy(state) : Effect.fail(state)
  }

  const settled = <E>(waiter: Waiter, weight: Weight<E>) =>
    Effect.callback<void, QueueFull | QueueTimeout | E>((resume) => {
      if (waiter.state !== "queued") return resume(answered(waiter, weight))
      waiter.resume = () => resume(answered(waiter, weight))
      setAlarm(waiter)
    })

  const wait = <E>(waiter: Waiter, weight: Weight<E>) =>
    Effect.suspend(() =>
      Effect.onExitPrimitive(settled(waiter, weight), () => {
        waited(waiter.fiber, time.now(waiter.fiber) - waiter.since)
        return undefined
      })
    )

  const enqueue = (fiber: AnyFiber, call: Call, since: number, until: number): Waiter => {
    const waiter: Waiter = {
      fiber,
      lane: Line.laneOf(line, call.priority, call.tenant),
      weight: call.weight,
      number: arrivals++,
      since,
      until,
      state: "queued",
      resume: undefined,
      alarm: undefined,
      previous: undefined,
      next: undefined
    }
    Line.append(line, waiter)
    if (events.active) events.publish({ _tag: "Queued", ...call })
    return waiter
  }

  const enter = <E>(fiber: AnyFiber, weight: Weight<E>): Entry<E> => {
    const { plain } = weight
    const tenant = fiber.getRef(CurrentTenant)
    if (tenant === undefined && line.size === 0 && active + plain.weight <= settings.limit) {
      active += plain.weight
      return plain
    }
    const priority = fiber.getRef(Priority.CurrentPriority)
    return enterLine(fiber, weight, { priority, tenant, weight: plain.weight })
  }

  const enterLine = <E>(fiber: AnyFiber, weight: Weight<E>, call: Call): Entry<E> => {
    const { priority, tenant } = call
    if (call.weight > most(tenant)) {
      noteRejected(fiber, call, "weight", 0)
      return { _tag: "Rejected", wait: weight.tooHeavy(tooHeavy(tenant, call.weight)) }
    }
    if (active + call.weight <= settings.limit && hasRoom(tenant, call.weight) && Line.isNext(line, priority, tenant)) {
      take(tenant, call.weight)
      return tenant === undefined ? weight.plain : { ...weight.plain, tenant }
    }
    const refuse = (reason: Reason, error: QueueFull | QueueTimeout): Rejected<E> => {
      noteRejected(fiber, call, reason, 0)
      return { _tag: "Rejected", wait: Effect.fail(error) }
    }
    const lesser = line.size < settings.queue ? undefined : Line.lesser(line, priority, tenant)
    if (lesser === undefined && line.size >= settings.queue) return refuse("full", full(tenant, call.weight))
    const now = time.now(fiber)
    const until = Math.min(now + settings.maxWait, deadlineOf(fiber))
    if (until <= now) return refuse("timeout", timedOut(until - now))
    if (lesser !== undefined) turnAway(lesser, "full", full(lesser.lane.tenant, lesser.weight))
    const waiter = enqueue(fiber, call, now, until)
    serve()
    return { _tag: "Waiting", wait: wait(waiter, weight), waiter }
  }

  const exit = (entry: Entry<unknown>, fiber: AnyFiber): void => {
    switch (entry._tag) {
      case "Running":
        return release(entry.tenant, entry.weight)
      case "Rejected":
        return
      case "Waiting": {
        const { waiter } = entry
        if (waiter.state === "granted") return release(waiter.lane.tenant, waiter.weight)
        if (waiter.state === "queued") leave(waiter, fiber)
      }
    }
  }

  const leave = (waiter: Waiter, fiber: AnyFiber) => {
    waiter.state = "gone"
    silence(waiter)
    Line.remove(line, waiter)
    if (events.active) {
      const waited = Duration.millis(time.now(fiber) - waiter.since)
      events.publish({ _tag: "Left", ...callOf(waiter), waited })
    }
    // A large one may have kept smaller ones waiting.
    serve()
  }

  const tenants = (): ReadonlyArray<TenantState> => {
    const waiting = Line.waiting(line)
    const all = new Set([...held.keys(), ...waiting.keys()])
    return Array.from(all).flatMap((tenant) =>
      tenant === undefined
        ? []
        : [{ tenant, running: held.get(tenant) ?? 0, queued: waiting.get(tenant) ?? 0 }]
    )
  }

  return {
    get active() {
      return active
    },
    get queued() {
      return line.size
    },
    get settings() {
      return settings
    },
    enter,
    exit,
    tenants,
    change: (changed) => {
      const capped = changed.perTenant !== settings.perTenant
      settings = changed
      if (capped) Line.reconsiderAll(line)
      serve()
    }
  }
}
