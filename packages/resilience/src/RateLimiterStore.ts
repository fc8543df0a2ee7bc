/**
 * Where rate limits that several processes share are kept: in Redis, or in
 * memory for one process and for tests.
 *
 * A store decides, by its own clock, in one step for each call: what two
 * processes ask at the same time is decided one after the other. What is not
 * admitted takes nothing. Every key expires once it is as good as new.
 *
 * A store neither waits nor queues; `SharedRateLimiter` does that on top.
 *
 * @since 0.1.0
 */
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import * as memoryStore from "./internal/rate/memoryStore.ts"
import * as redisStore from "./internal/rate/redisStore.ts"
import { RateLimiterStore, RateLimiterStoreError } from "./internal/rate/store.ts"

export type { Decision, Hold, Request, Spec } from "./internal/rate/store.ts"
export { RateLimiterStore, RateLimiterStoreError }

/**
 * Keeps limits in this process, by the monotonic clock.
 *
 * **Details**
 *
 * A new key beyond 100,000 takes the place of the longest unused one, whose limit
 * starts empty; a blocked key stays.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory: Layer.Layer<RateLimiterStore> = Layer.sync(
  RateLimiterStore,
  () => RateLimiterStore.of(memoryStore.make())
)

/**
 * Options of the store in Redis.
 *
 * @category options
 * @since 0.1.0
 */
export interface RedisOptions {
  /** What its keys begin with, without braces. Default `"ballast:rate"`. */
  readonly prefix?: string | undefined
}

const defaults = { prefix: "ballast:rate" } satisfies RedisOptions

/**
 * Keeps limits in Redis, by the server's clock.
 *
 * **Details**
 *
 * A decision is one script call. The keys of one limit are in one hash slot and
 * expire. A server's clock that goes back holds nothing up: time on a key then
 * goes on from where it was, with the next call. Needs Redis 5 or later.
 *
 * Throws a `RangeError` when the prefix has braces.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreRedis = (options?: RedisOptions): Layer.Layer<RateLimiterStore, never, Redis.Redis> =>
  Layer.effect(
    RateLimiterStore,
    redisStore.make(
      "RateLimiterStore.layerStoreRedis",
      options?.prefix ?? defaults.prefix,
      (operation, cause, detail) => new RateLimiterStoreError({ operation, cause, detail })
    )
  )
