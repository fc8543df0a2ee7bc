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
import * as Layer from "effect/Layer"
import * as Effects from "effect/persistence/RateLimiter"
import type * as Scope from "effect/Scope"
import { weightEpsilon } from "./internal/rate/algorithm.ts"
import type { Rejection } from "./internal/rate/line.ts"
import * as Shared from "./internal/rate/shared.ts"
import * as Checked from "./internal/rate/sharedOptions.ts"
import * as time from "./internal/time.ts"
import type { RateLimiterStore, RateLimiterStoreError } from "./RateLimiterStore.ts"

/**
 * Options of Effect's limiter over ours.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in metrics; keep it of low cardinality. Default `"effect"`. */
  readonly name?: string | undefined
  /** Calls of a key and limit that may wait with `onExceeded: "delay"`, zero or more. Default `Infinity`. */
  readonly maxQueue?: number | undefined
  /** What becomes of a call on which the store fails to decide. Default `"fail"`, as Effect's does. */
  readonly onStoreError?: "allow" | "fail" | undefined
  /** How long the store may take to answer, above zero. Default 1 second. */
  readonly storeTimeout?: Duration.Input | undefined
}

const defaults = { name: "effect", maxQueue: Infinity, onStoreError: "fail" } satisfies Options

type Consume = Parameters<Effects.RateLimiter["consume"]>[0]

const where = "EffectRateLimiter.make"

const storeFailed = (error: RateLimiterStoreError): Effects.RateLimiterError =>
  new Effects.RateLimiterError({
    reason: new Effects.RateLimitStoreError({ message: error.message, cause: error.cause })
  })

/** What a request is checked against: a limiter for each limit that is asked for. */
const makeLimiters = (options: Options | undefined, name: string) => {
  const limiters = new Map<string, Shared.Shared>()
  return (consume: Consume, waits: boolean): Effect.Effect<Shared.Shared, never, RateLimiterStore | Scope.Scope> =>
    Effect.suspend(() => {
      const algorithm = consume.algorithm ?? "fixed-window"
      const window = Duration.max(Duration.fromInputUnsafe(consume.window), Duration.millis(1))
      const id = `${algorithm} ${consume.limit} ${Duration.toMillis(window)} ${waits}`
      const found = limiters.get(id)
      if (found !== undefined) return Effect.succeed(found)
      const checked = Checked.checked(where, {
        algorithm,
        limit: consume.limit,
        window,
        maxWait: waits ? Duration.infinity : Duration.zero,
        maxQueue: options?.maxQueue ?? defaults.maxQueue,
        onStoreError: options?.onStoreError ?? defaults.onStoreError,
        storeTimeout: options?.storeTimeout
      })
      return Effect.map(Shared.make(checked, name), (limiter) => {
        limiters.set(id, limiter)
        return limiter
      })
    })
}

/**
 * Creates Effect's limiter over our store, for a scope.
 *
 * **Details**
 *
 * More tokens than the limit are taken piece by piece, each in its turn, when
 * the call may wait. `remaining` and `resetAfter` are those at the end of the
 * wait. Give one key one limit at a time: calls of another one do not line up
 * behind the first, though they share what is taken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options?: Options
): Effect.Effect<Effects.RateLimiter, never, RateLimiterStore | Scope.Scope> =>
  Effect.flatMap(Effect.context<RateLimiterStore | Scope.Scope>(), (context) => {
    const name = options?.name ?? defaults.name
    const limiters = makeLimiters(options, name)
    /** Pauses that this process knows of, in monotonic milliseconds. */
    const pausedUntil = new Map<string, number>()

    const failed = (consume: Consume) => (error: Rejection): Effects.RateLimiterError =>
      error._tag === "RateLimiterStoreError" ? storeFailed(error) : new Effects.RateLimiterError({
        reason: new Effects.RateLimitExceeded({
          key: consume.key,
          // Effect's tells a window for what will never fit.
          retryAfter: Duration.isFinite(error.retryAfter)
            ? error.retryAfter
            : Duration.fromInputUnsafe(consume.window),
          limit: consume.limit,
          remaining: 0
        })
      })

    const take = (limiter: Shared.Shared, key: string, weight: number) =>
      Effect.withFiber((fiber) => {
        let held: Shared.Held | undefined
        return Effect.onExitPrimitive(
          Effect.suspend((): Effect.Effect<void, Rejection> => {
            held = limiter.enter(key, fiber, weight, false)
            return held.wait ?? Effect.void
          }),
          () => {
            if (held !== undefined) limiter.exit(held)
            return undefined
          }
        )
      })

    const pieces = (tokens: number, limit: number): ReadonlyArray<number> => {
      const whole = Array.from({ length: Math.floor(tokens / limit) }, () => limit)
      const rest = tokens - whole.length * limit
      return rest > 0 ? [...whole, rest] : whole
    }

    return Effect.succeed<Effects.RateLimiter>({
      [Effects.TypeId]: Effects.TypeId,
      consume: (consume) =>
        Effect.gen(function*() {
          const waits = consume.onExceeded === "delay"
          const tokens = consume.tokens ?? 1
          const limiter = yield* Effect.provideContext(limiters(consume, waits), context)
          const weights = waits ? pieces(tokens, consume.limit) : [tokens]
          for (const weight of weights) {
            if (weight > 0) yield* Effect.mapError(take(limiter, consume.key, weight), failed(consume))
          }
          const standing = yield* Effect.mapError(limiter.peek(consume.key, 1), storeFailed)
          return {
            delay: Duration.zero,
            limit: consume.limit,
            remaining: Math.floor(standing.remaining + weightEpsilon) + 0,
            resetAfter: Duration.millis(standing.reset)
          }
        }),
      adaptiveConsume: ({ key }) =>
        Effect.withFiber((fiber) => {
          const left = (pausedUntil.get(key) ?? 0) - time.now(fiber)
          if (left <= 0) pausedUntil.delete(key)
          return Effect.succeed<Effects.AdaptiveConsumeResult>({
            delay: Duration.millis(Math.max(0, Math.ceil(left))),
            epoch: 0,
            phase: left > 0 ? "cooldown" : "inactive"
          })
        }),
      adaptiveFeedback: ({ key, retryAfter, status }) =>
        Effect.withFiber((fiber) => {
          const millis = retryAfter === undefined ? 0 : Duration.toMillis(retryAfter)
          if (status !== 429 || millis <= 0 || millis === Infinity) return Effect.void
          pausedUntil.set(key, Math.max(pausedUntil.get(key) ?? 0, time.now(fiber) + millis))
          const any = { key, limit: 1, window: Duration.seconds(1) }
          return Effect.provideContext(limiters(any, true), context).pipe(
            Effect.flatMap((limiter) => limiter.hold(key, "pause", millis)),
            Effect.mapError(storeFailed)
          )
        })
    })
  })

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
