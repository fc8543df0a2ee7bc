/** A shared limiter of many keys: its lines, its requests to the store and what steers them. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Background from "../background.ts"
import * as Events from "../events.ts"
import * as Origin from "../origin.ts"
import * as storeKey from "../storeKey.ts"
import * as telemetry from "../telemetry.ts"
import * as time from "../time.ts"
import * as Line from "./line.ts"
import * as Lots from "./lots.ts"
import type { SharedEvent } from "./sharedEvent.ts"
import * as Options from "./sharedOptions.ts"
import type { Spec } from "./spec.ts"
import * as Store from "./store.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

export interface Shared {
  readonly name: string
  readonly settings: () => Options.CheckedShared
  readonly events: Events.Events<SharedEvent>
  readonly enter: (key: string, fiber: AnyFiber, weight: number, reserves: boolean) => Held
  readonly exit: (held: Held) => void
  /** Checks changes against the settings that hold now. */
  readonly check: (changes: Options.SharedSettings) => void
  readonly update: (changes: Options.SharedSettings) => void
  /** Corrects what was taken; the effect only waits for the store. */
  readonly settle: (
    fiber: AnyFiber,
    key: string,
    reserved: number,
    weight: number,
    takenAt: Lots.TakenAt
  ) => Effect.Effect<void>
  readonly hold: (key: string, kind: Store.Hold, millis: number) => Effect.Effect<void, Store.RateLimiterStoreError>
  readonly release: (key: string, kind: Store.Hold) => Effect.Effect<void, Store.RateLimiterStoreError>
  readonly penalize: (key: string, weight: number) => Effect.Effect<void, Store.RateLimiterStoreError>
  readonly reward: (key: string, weight: number) => Effect.Effect<void, Store.RateLimiterStoreError>
  readonly peek: (key: string, weight: number) => Effect.Effect<Store.Decision, Store.RateLimiterStoreError>
  /** The store holds a key, as another limiter of this process told it to. */
  readonly held: (key: string, kind: Store.Hold, millis: number) => void
  /** Asks anew for those who wait, as something has changed. */
  readonly wake: (key: string) => void
  readonly lines: () => Iterable<Line.Line>
  /** Ends all waits and gives back what is leased. */
  readonly close: Effect.Effect<void>
}

/** An entry and the line that it is of. */
export interface Held {
  readonly line: Line.Line | undefined
  readonly entry: Line.Entry
  readonly wait: Line.Entry["wait"]
}

const interrupted: Line.Entry = { _tag: "Rejected", wait: Effect.interrupt }

/** The store as the limiters of one name know it: theirs are the limits and holds of its keys. */
export const named = (store: Store.RateLimiterStore["Service"], name: string): Store.RateLimiterStore["Service"] => {
  const keyOf = storeKey.within(name)
  return {
    take: (key, spec, request) => store.take(keyOf(key), spec, request),
    peek: (key, spec, weight) => store.peek(keyOf(key), spec, weight),
    charge: (key, spec, weight) => store.charge(keyOf(key), spec, weight),
    giveBack: (key, spec, weight, at) => store.giveBack(keyOf(key), spec, weight, at),
    reward: (key, spec, weight) => store.reward(keyOf(key), spec, weight),
    hold: (key, kind, millis) => store.hold(keyOf(key), kind, millis),
    release: (key, kind) => store.release(keyOf(key), kind)
  }
}

export const make = (
  initial: Options.CheckedShared,
  name: string
): Effect.Effect<Shared, never, Store.RateLimiterStore | Scope.Scope> =>
  Effect.flatMap(Store.RateLimiterStore, (store) =>
    Effect.withFiber((maker) => {
      const shared = open(initial, name, named(store, name), Origin.of(maker))
      return Effect.as(Effect.addFinalizer(() => shared.close), shared)
    }))

/** What the owner of many limiters has for each of them. */
export interface Owner {
  /** Where what limiters do on behalf of their callers runs, so that it outlives the limiter. */
  readonly background: Background.Background
  /** A line of the limiter is at rest. */
  readonly rested: () => void
}

/** Opens a limiter on its name's part of the store; its owner closes it. It may outlive the fiber that made it. */
export const open = (
  initial: Options.CheckedShared,
  name: string,
  store: Store.RateLimiterStore["Service"],
  origin: Origin.Origin,
  owner?: Owner
): Shared => {
  const background = owner?.background ?? Background.make()
  const events = Events.make<SharedEvent>()
  const rejected = telemetry.makeRejected("shared-rate-limiter", name)
  const waited = telemetry.makeWaited("shared-rate-limiter", name)
  const paused = telemetry.makePaused(name)
  const leased = telemetry.makeLeased(name)
  const settled = telemetry.makeSettled(name)
  const failed = telemetry.makeStoreFailed("shared-rate-limiter", name)
  const lines = new Map<string, Line.Line>()
  let settings = initial
  let closed = false

  const now = () => time.now(origin)

  const ask = <A>(
    key: string,
    operation: string,
    request: Effect.Effect<A, Store.RateLimiterStoreError>,
    late?: (answer: A) => void
  ): Effect.Effect<A, Store.RateLimiterStoreError> =>
    Effect.suspend(() => {
      const { storeTimeout } = settings
      const expire = Effect.suspend(() => {
        const cause = `No answer within ${Duration.format(Duration.millis(storeTimeout))}`
        return Effect.fail(new Store.RateLimiterStoreError({ operation, cause }))
      })
      const answer = background.within(request, storeTimeout, expire, (exit) => {
        if (exit._tag === "Success") late?.(exit.value)
      })
      return Effect.tapError(answer, (error) =>
        Effect.sync(() => {
          failed(origin, operation)
          if (events.active) events.publish({ _tag: "StoreFailed", key, error })
        }))
    })

  const wake = (line: Line.Line | undefined): void => line?.wake()

  const host: Line.Host = {
    name,
    store,
    settings: () => settings,
    background,
    events,
    rejected,
    waited,
    leased: (because, weight) => leased(origin, because, weight),
    ask,
    wake: (key) => wake(lines.get(key)),
    emptied: (line) => {
      if (lines.get(line.key) === line) lines.delete(line.key)
      owner?.rested()
    }
  }

  const lineOf = (key: string): Line.Line => {
    const found = lines.get(key)
    if (found !== undefined) return found
    const line = Line.make(host, key, origin.context, now)
    lines.set(key, line)
    return line
  }

  const enter = (key: string, fiber: AnyFiber, weight: number, reserves: boolean): Held => {
    if (closed) return { line: undefined, entry: interrupted, wait: interrupted.wait }
    const line = lineOf(key)
    const entry = line.enter(fiber, weight, reserves)
    if (entry._tag === "Rejected" && line.idle()) host.emptied(line)
    return { line, entry, wait: entry.wait }
  }

  const steer = <A>(
    key: string,
    operation: string,
    request: (spec: Spec) => Effect.Effect<A, Store.RateLimiterStoreError>,
    done: (line: Line.Line | undefined) => void
  ): Effect.Effect<A, Store.RateLimiterStoreError> =>
    // What is done is done, also when it took too long or the caller has left.
    Effect.suspend(() =>
      ask(key, operation, Effect.tap(request(settings.spec), () => Effect.sync(() => done(lines.get(key)))))
    )

  const settle = (
    fiber: AnyFiber,
    key: string,
    reserved: number,
    weight: number,
    takenAt: Lots.TakenAt
  ): Effect.Effect<void> => {
    if (events.active) events.publish({ _tag: "Settled", key, reserved, weight })
    if (weight === reserved) return Effect.void
    const refund = weight < reserved
    settled(origin, refund ? "refund" : "charge", Math.abs(reserved - weight))
    const requests = refund
      ? Lots.refunds(takenAt, reserved - weight).map(({ at, weight }) =>
        steer(key, "giveBack", (spec) => store.giveBack(key, spec, weight, at), wake)
      )
      : [steer(key, "charge", (spec) => store.charge(key, spec, weight - reserved), wake)]
    // A failure was counted. Nothing is left to do about it, and the caller has its answer already.
    return Fiber.awaitAll(requests.map((request) => background.work(fiber.context, Effect.exit(request)))).pipe(
      Effect.asVoid
    )
  }

  const hold = (key: string, kind: Store.Hold, millis: number) =>
    steer(key, "hold", () => store.hold(key, kind, millis), (line) => {
      if (kind === "pause") paused(origin)
      if (events.active) {
        events.publish({ _tag: kind === "pause" ? "Paused" : "Blocked", key, duration: Duration.millis(millis) })
      }
      line?.hold(kind, millis)
    })

  const release = (key: string, kind: Store.Hold) =>
    steer(key, "release", () => store.release(key, kind), (line) => {
      if (events.active) events.publish({ _tag: kind === "pause" ? "Resumed" : "Unblocked", key })
      line?.release(kind)
    })

  const penalize = (key: string, weight: number) =>
    steer(key, "charge", (spec) => store.charge(key, spec, weight), (line) => {
      if (events.active) events.publish({ _tag: "Penalized", key, weight })
      wake(line)
    })

  const reward = (key: string, weight: number) =>
    steer(key, "reward", (spec) => store.reward(key, spec, weight), (line) => {
      if (events.active) events.publish({ _tag: "Rewarded", key, weight })
      wake(line)
    })

  const close = Effect.suspend(() => {
    closed = true
    for (const line of lines.values()) line.close()
    lines.clear()
    // What the store took, or takes just now, is given back.
    return Effect.andThen(Effect.timeoutOption(background.worked, settings.storeTimeout), background.stop)
  })

  return {
    name,
    settings: () => settings,
    events,
    enter,
    exit: ({ entry, line }) => line?.exit(entry),
    check: (changes) => {
      Options.changed("SharedRateLimiter.update", settings.options, changes)
    },
    update: (changes) => {
      settings = Options.changed("SharedRateLimiter.update", settings.options, changes)
      for (const line of lines.values()) {
        line.surrender()
        line.wake()
      }
    },
    settle,
    hold,
    release,
    penalize,
    reward,
    peek: (key, weight) => steer(key, "peek", (spec) => store.peek(key, spec, weight), () => {}),
    wake: host.wake,
    lines: () => lines.values(),
    held: (key, kind, millis) => lines.get(key)?.hold(kind, millis),
    close
  }
}
