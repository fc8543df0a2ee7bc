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
import type * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Iterable from "effect/Iterable"
import * as Layer from "effect/Layer"
import * as Effects from "effect/persistence/RateLimiter"
import type * as Scope from "effect/Scope"
import { weightEpsilon } from "./internal/rate/algorithm.ts"
import type { Rejection } from "./internal/rate/line.ts"
import * as Pauses from "./internal/rate/pauses.ts"
import * as Shared from "./internal/rate/shared.ts"
import * as Checked from "./internal/rate/sharedOptions.ts"
import * as time from "./internal/time.ts"
import { RateLimiterStore, type RateLimiterStoreError } from "./RateLimiterStore.ts"

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

const idOf = ({ algorithm, key, onExceeded }: Consume): string =>
  `${algorithm ?? "fixed-window"} ${onExceeded ?? "fail"} ${key}`

const storeFailed = (error: RateLimiterStoreError): Effects.RateLimiterError =>
  new Effects.RateLimiterError({
    reason: new Effects.RateLimitStoreError({ message: error.message, cause: error.cause })
  })

/** The limiters in use. One serves one key, for its limit may change with what the service says of it. */
const makeLimiters = (options: Options | undefined, store: RateLimiterStore["Service"]) => {
  const name = options?.name ?? defaults.name
  const limiters = new Map<string, Shared.Shared>()

  const find = (consume: Consume, fiber: Fiber.Fiber<unknown, unknown>): Shared.Shared => {
    const waits = consume.onExceeded === "delay"
    const algorithm = consume.algorithm ?? "fixed-window"
    const { limit } = consume
    const window = Duration.max(Duration.fromInputUnsafe(consume.window), Duration.millis(1))
    const id = idOf(consume)
    const found = limiters.get(id)
    if (found !== undefined) {
      const { spec } = found.settings()
      if (spec.limit !== limit || spec.window !== Duration.toMillis(window)) found.update({ limit, window })
      return found
    }
    const checked = Checked.checked(where, {
      algorithm,
      limit,
      window,
      maxWait: waits ? Duration.infinity : Duration.zero,
      maxQueue: options?.maxQueue ?? defaults.maxQueue,
      onStoreError: options?.onStoreError ?? defaults.onStoreError,
      storeTimeout: options?.storeTimeout
    })
    const limiter = Shared.open(checked, name, store, fiber)
    limiters.set(id, limiter)
    return limiter
  }

  /** A limiter that nobody waits for knows nothing that the store doesn't. */
  const drop = (consume: Consume): void => {
    const id = idOf(consume)
    const limiter = limiters.get(id)
    if (limiter !== undefined && Iterable.isEmpty(limiter.lines())) limiters.delete(id)
  }

  const close = Effect.suspend(() => Effect.forEach(limiters.values(), (limiter) => limiter.close, { discard: true }))

  return { find, drop, close, all: () => limiters.values() }
}

/**
 * Creates Effect's limiter over our store, for a scope.
 *
 * **Details**
 *
 * More tokens than the limit are taken piece by piece, each in its turn, when
 * the call may wait. `remaining` and `resetAfter` are those at the end of the
 * wait. A key has one limit at a time, that of its last call.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options?: Options
): Effect.Effect<Effects.RateLimiter, never, RateLimiterStore | Scope.Scope> =>
  Effect.gen(function*() {
    const store = yield* RateLimiterStore
    const limiters = makeLimiters(options, store)
    yield* Effect.addFinalizer(() => limiters.close)
    const pauses = Pauses.make()

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

    return identity<Effects.RateLimiter>({
      [Effects.TypeId]: Effects.TypeId,
      consume: (consume) =>
        Effect.ensuring(
          Effect.gen(function*() {
            const tokens = consume.tokens ?? 1
            const limiter = yield* Effect.withFiber((fiber) => Effect.sync(() => limiters.find(consume, fiber)))
            const weights = consume.onExceeded === "delay" ? pieces(tokens, consume.limit) : [tokens]
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
          Effect.sync(() => limiters.drop(consume))
        ),
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
          return Effect.mapError(
            Effect.tap(store.hold(key, "pause", millis), () =>
              Effect.sync(() => {
                for (const limiter of limiters.all()) limiter.wake(key)
              })),
            storeFailed
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
