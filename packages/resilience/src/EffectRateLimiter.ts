/**
 * Our shared limits as Effect's own `RateLimiter` service, for whatever takes
 * one, such as `HttpClient.withRateLimiter`.
 *
 * Where Effect's takes tokens at once and tells the caller how long to sleep,
 * this one waits inside `consume`, in line, and then tells a delay of zero. So a
 * caller that is interrupted while it waits costs nothing and those behind it
 * move up, and a pause holds those who wait already.
 *
 * A 429 with a `Retry-After` pauses its key for that long, in all processes.
 * A limit is not learned from it: the phase is `cooldown` or `inactive`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Effects from "effect/persistence/RateLimiter"
import type * as Scope from "effect/Scope"
import * as Background from "./internal/background.ts"
import { largest } from "./internal/check.ts"
import * as Origin from "./internal/origin.ts"
import { weightEpsilon } from "./internal/rate/algorithm.ts"
import type { Rejection } from "./internal/rate/line.ts"
import { longestWindow } from "./internal/rate/options.ts"
import * as Pauses from "./internal/rate/pauses.ts"
import * as Shared from "./internal/rate/shared.ts"
import * as Checked from "./internal/rate/sharedOptions.ts"
import * as time from "./internal/time.ts"
import { type Decision, RateLimiterStore, type RateLimiterStoreError } from "./RateLimiterStore.ts"

/**
 * Options of Effect's limiter over ours.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in metrics, of low cardinality; limiters of one name share the limit of a key. Default `"effect"`. */
  readonly name?: string | undefined
  /** Calls of a key and limit that may wait with `onExceeded: "delay"`, zero or more. Default `Infinity`. */
  readonly maxQueue?: number | undefined
  /**
   * What becomes of a call on which the store fails to decide, and of one whose 429 it fails to note: it goes on, or it
   * fails. Default `"fail"`, as Effect's does.
   */
  readonly onStoreError?: "allow" | "fail" | undefined
  /** How long the store may take to answer, above zero. Default 1 second. */
  readonly storeTimeout?: Duration.Input | undefined
}

const defaults = { name: "effect", maxQueue: Infinity, onStoreError: "fail" } satisfies Options

type Consume = Parameters<Effects.RateLimiter["consume"]>[0]

/** A call in terms of our limits. */
interface Call {
  readonly key: string
  readonly algorithm: "fixed-window" | "token-bucket"
  readonly waits: boolean
  readonly tokens: number
  /** Whole, and at least 1. */
  readonly limit: number
  readonly window: Duration.Duration
  /** The limit as it was told. */
  readonly told: number
  /** Whether it is rejected whatever is free. */
  readonly never: boolean
}

/** The longest window is as good as an infinite one. */
const windows = { minimum: Duration.millis(1), maximum: longestWindow }

/** Limits may come from a service's headers, so what Effect's takes is taken: where it has no end, nor has ours. */
const callOf = (consume: Consume): Call => {
  const waits = consume.onExceeded === "delay"
  const tokens = consume.tokens ?? 1
  const whole = Math.floor(consume.limit)
  const limit = whole < Number.MAX_SAFE_INTEGER ? Math.max(1, whole) : Number.MAX_SAFE_INTEGER
  return {
    key: consume.key,
    algorithm: consume.algorithm ?? "fixed-window",
    waits,
    tokens,
    limit,
    window: Duration.clamp(Duration.fromInputUnsafe(consume.window), windows),
    told: Number.isFinite(consume.limit) ? consume.limit : limit,
    never: consume.limit <= 0 || tokens > largest || (!waits && tokens > consume.limit)
  }
}

/** All that calls of one key can have a limiter for. */
const kinds = ["fixed-window delay", "fixed-window fail", "token-bucket delay", "token-bucket fail"] as const

type Kind = (typeof kinds)[number]

const idOf = (kind: Kind, key: string): string => `${kind} ${key}`

const storeFailed = (error: RateLimiterStoreError): Effects.RateLimiterError =>
  new Effects.RateLimiterError({
    reason: new Effects.RateLimitStoreError({ message: error.message, cause: error.cause })
  })

const failed = ({ key, told, window }: Call) => (error: Rejection): Effects.RateLimiterError =>
  error._tag === "RateLimiterStoreError" ? storeFailed(error) : new Effects.RateLimiterError({
    reason: new Effects.RateLimitExceeded({
      key,
      // Effect's tells a window for what will never fit.
      retryAfter: Duration.isFinite(error.retryAfter) ? error.retryAfter : window,
      limit: told,
      remaining: 0
    })
  })

/** What a call takes at once, and of which limiter. */
interface Piece {
  readonly limiter: Shared.Shared
  readonly held: Shared.Held
}

/** The limiters in use. One serves one key, for its limit may change with what the service says of it. */
const makeLimiters = (
  shared: Checked.SharedOptions,
  name: string,
  store: RateLimiterStore["Service"],
  origin: Origin.Origin
) => {
  const limiters = new Map<string, Shared.Shared>()
  const background = Background.make()
  let closed = false

  const open = (options: Partial<Checked.SharedOptions>, rested: () => void): Shared.Shared =>
    Shared.open(Checked.checked(where, { ...shared, ...options }), name, store, origin, { background, rested })

  /** Of no key: it rejects what never fits, steers, and turns all away once it is closed. */
  const common = open({}, () => {})

  const openFor = ({ algorithm, limit, waits, window }: Call, rested: () => void): Shared.Shared =>
    open({ algorithm, limit, window, maxWait: waits ? Duration.infinity : Duration.zero }, rested)

  /** Whoever asks for it enters it in the same step: without a line it knows nothing that the store doesn't, and is dropped. */
  const find = (call: Call): Shared.Shared => {
    if (call.never || closed) return common
    const { algorithm, key, limit, waits, window } = call
    const id = idOf(`${algorithm} ${waits ? "delay" : "fail"}`, key)
    const found = limiters.get(id)
    if (found !== undefined) {
      const { spec } = found.settings()
      if (spec.limit !== limit || spec.window !== Duration.toMillis(window)) found.update({ limit, window })
      return found
    }
    const limiter = openFor(call, () => {
      if (limiters.get(id) === limiter) limiters.delete(id)
    })
    limiters.set(id, limiter)
    return limiter
  }

  const peek = (call: Call): Effect.Effect<Decision, RateLimiterStoreError> =>
    Effect.suspend(() => openFor(call, () => {}).peek(call.key, 1))

  const wake = (key: string) =>
    Effect.sync(() => {
      for (const kind of kinds) limiters.get(idOf(kind, key))?.wake(key)
    })

  const pause = (key: string, millis: number): Effect.Effect<void, RateLimiterStoreError> =>
    Effect.tap(common.hold(key, "pause", millis), () =>
      Effect.sync(() => {
        for (const kind of kinds) limiters.get(idOf(kind, key))?.held(key, "pause", millis)
      }))

  /** Gives back whatever a call has, be it a place in the line. */
  const giveBack = ({ key }: Call, pieces: ReadonlyArray<Piece>): Effect.Effect<void> | undefined => {
    const refunds = pieces.flatMap(({ held, limiter }) => {
      limiter.exit(held)
      const { entry } = held
      return entry._tag === "Waiter" && entry.state === "running" && entry.takenAt !== undefined
        ? [limiter.settle(entry.fiber, key, entry.weight, 0, entry.takenAt)]
        : []
    })
    if (refunds.length === 0) return undefined
    // Others may wait in a limiter that was opened since.
    return Effect.andThen(Effect.all(refunds, { concurrency: "unbounded", discard: true }), wake(key))
  }

  const close = Effect.suspend(() => {
    closed = true
    for (const limiter of limiters.values()) {
      for (const line of limiter.lines()) line.close()
    }
    return common.close
  })

  return { find, peek, pause, giveBack, close }
}

const where = "EffectRateLimiter.make"

/**
 * Creates Effect's limiter over our store, for a scope.
 *
 * **Details**
 *
 * More tokens than the limit are taken piece by piece, each in its turn, when
 * the call may wait; one that is rejected or interrupted on the way gives all
 * of them back. `remaining` and `resetAfter` are what the store said when it
 * took the last of them, and those of a limit that is all free when a call goes
 * on without the store's word. A key has one limit at a time, that of its last
 * call: whole, and at least 1. What never fits, as all under a limit of zero, is
 * rejected.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options?: Options
): Effect.Effect<Effects.RateLimiter, never, RateLimiterStore | Scope.Scope> => {
  const shared: Checked.SharedOptions = {
    limit: 1,
    window: "1 second",
    maxQueue: options?.maxQueue ?? defaults.maxQueue,
    onStoreError: options?.onStoreError ?? defaults.onStoreError,
    storeTimeout: options?.storeTimeout
  }
  const { allow } = Checked.checked(where, shared)

  return Effect.gen(function*() {
    const store = Shared.named(yield* RateLimiterStore, options?.name ?? defaults.name)
    const limiters = yield* Effect.withFiber((maker) =>
      Effect.sync(() => makeLimiters(shared, options?.name ?? defaults.name, store, Origin.of(maker)))
    )
    yield* Effect.addFinalizer(() => limiters.close)
    const pauses = Pauses.make()

    /** What the store fails to say is undefined where calls go on without it. */
    const orAllowed = <A>(request: Effect.Effect<A, RateLimiterStoreError>) =>
      Effect.catch(request, (error) => allow ? Effect.undefined : Effect.fail(storeFailed(error)))

    const take = (call: Call, weight: number, pieces: Array<Piece>) =>
      Effect.withFiber((fiber): Effect.Effect<Decision | undefined, Rejection> => {
        const limiter = limiters.find(call)
        // A single piece is given back at once, if ever.
        const held = limiter.enter(call.key, fiber, weight, call.tokens > weight)
        pieces.push({ limiter, held })
        const { entry, wait = Effect.void } = held
        return Effect.map(wait, () => entry._tag === "Waiter" ? entry.decision : undefined)
      })

    const takeAll = Effect.fnUntraced(function*(call: Call, pieces: Array<Piece>) {
      const { limit, never, tokens, waits } = call
      let decision: Decision | undefined
      const most = never ? Infinity : waits ? limit : tokens
      for (let left = never ? Infinity : tokens; left > 0; left -= most) {
        decision = yield* Effect.mapError(take(call, Math.min(left, most), pieces), failed(call))
      }
      if (!(tokens > 0)) decision = yield* orAllowed(limiters.peek(call))
      return {
        delay: Duration.zero,
        limit: call.told,
        remaining: Math.floor((decision?.remaining ?? limit) + weightEpsilon) + 0,
        resetAfter: Duration.millis(decision?.reset ?? 0)
      }
    })

    return identity<Effects.RateLimiter>({
      [Effects.TypeId]: Effects.TypeId,
      consume: (consume) =>
        Effect.suspend(() => {
          const call = callOf(consume)
          const pieces: Array<Piece> = []
          return Effect.onExitPrimitive(
            takeAll(call, pieces),
            (exit) => Exit.isFailure(exit) ? limiters.giveBack(call, pieces) : undefined
          )
        }),
      adaptiveConsume: ({ key }) =>
        Effect.withFiber((fiber) => {
          const left = pauses.left(key, time.now(fiber))
          return Effect.succeed<Effects.AdaptiveConsumeResult>({
            delay: Duration.millis(Math.ceil(left)),
            epoch: 0,
            phase: left > 0 ? "cooldown" : "inactive"
          })
        }),
      adaptiveFeedback: ({ key, retryAfter, status }) =>
        Effect.withFiber((fiber) => {
          const millis = retryAfter === undefined ? 0 : Duration.toMillis(retryAfter)
          if (status !== 429 || millis <= 0 || millis === Infinity) return Effect.void
          pauses.add(key, time.now(fiber), millis)
          return Effect.asVoid(orAllowed(limiters.pause(key, millis)))
        })
    })
  })
}

/**
 * Provides Effect's `RateLimiter` service from our store.
 *
 * **Example** (Limiting an HTTP client)
 *
 * ```ts
 * import { EffectRateLimiter, RateLimiterStore } from "@ballast/resilience"
 * import { Effect, Layer } from "effect"
 * import { HttpClient } from "effect/http"
 * import { RateLimiter } from "effect/persistence"
 *
 * const program = Effect.gen(function*() {
 *   const limiter = yield* RateLimiter.RateLimiter
 *   const client = HttpClient.withRateLimiter(yield* HttpClient.HttpClient, {
 *     limiter,
 *     key: "inventory",
 *     limit: 100,
 *     window: "1 second",
 *     times: 3
 *   })
 *   return client
 * }).pipe(Effect.provide(EffectRateLimiter.layer().pipe(Layer.provide(RateLimiterStore.layerStoreMemory))))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Effects.RateLimiter, never, RateLimiterStore> =>
  Layer.effect(Effects.RateLimiter, make(options))
