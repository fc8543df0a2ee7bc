/**
 * Where circuits that several processes share are kept: in Redis, or in memory
 * for one process and for tests.
 *
 * A store decides, by its own clock, in one step for each request: what two
 * processes ask at the same time is decided one after the other. An admission
 * carries the era (the stretch of one phase) in which it was given and, for a
 * probe, a token that no other one has. That is the fence: a result whose era is
 * over, or whose probe was past its limit, changes nothing, however late it
 * comes.
 *
 * A store is asked by `SharedCircuitBreaker`, which keeps what it was told for a
 * moment and so asks it less often than once a call.
 *
 * @since 0.1.0
 */
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import * as memoryStore from "./internal/circuit/memoryStore.ts"
import * as redisStore from "./internal/circuit/redisStore.ts"
import { CircuitBreakerStore, CircuitBreakerStoreError } from "./internal/circuit/store.ts"

export type { MemoryOptions } from "./internal/circuit/memoryStore.ts"
export type { RedisOptions } from "./internal/circuit/redisStore.ts"
export type { Admission, Answer, Command, Result, Spec, State, Transition, View } from "./internal/circuit/store.ts"
export { CircuitBreakerStore, CircuitBreakerStoreError }

/**
 * Keeps circuits in this process, by the monotonic clock.
 *
 * **Details**
 *
 * What was set by hand is kept until told otherwise. A new key beyond 100,000 takes
 * the place of the longest unused one, whose circuit starts closed. Throws a `RangeError` when
 * an option is out of its bounds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory = (options?: memoryStore.MemoryOptions): Layer.Layer<CircuitBreakerStore> => {
  const make = memoryStore.make("CircuitBreakerStore.layerStoreMemory", options)
  return Layer.sync(CircuitBreakerStore, () => CircuitBreakerStore.of(make()))
}

/**
 * Keeps circuits in Redis, by the server's clock.
 *
 * **Details**
 *
 * A decision is one script call on one key, `{prefix:key}`, which expires. A
 * server that has lost its keys starts with closed circuits and new eras, so
 * results of calls from before change nothing. After a server's clock went back
 * nothing lasts longer than it was to. Needs Redis 5 or later.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreRedis = (
  options?: redisStore.RedisOptions
): Layer.Layer<CircuitBreakerStore, never, Redis.Redis> =>
  Layer.effect(
    CircuitBreakerStore,
    redisStore.make(
      "CircuitBreakerStore.layerStoreRedis",
      options,
      (operation, cause, detail) => new CircuitBreakerStoreError({ operation, cause, detail })
    )
  )
