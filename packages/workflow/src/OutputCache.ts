/**
 * Keeps what steps with `cache` gave, to give it again for the same input of the same service.
 *
 * It is a store of `effect/persistence` by keys of 64 characters: `(yield* Persistence.BackingPersistence).make("outputs")` is one over SQL or Redis.
 * A store that fails is a miss.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { BackingPersistenceStore } from "effect/persistence/Persistence"

/**
 * @category models
 * @since 0.1.0
 */
export type OutputCache = Pick<BackingPersistenceStore, "get" | "set">

/**
 * How much is kept in memory.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Outputs, at least 1. Default 1,000. */
  readonly capacity?: number | undefined
  /** Characters of JSON up to which an output is kept, at least 1. Default 64 Ki. Times the capacity, it bounds the memory. */
  readonly size?: number | undefined
}

/**
 * Keeps outputs in memory: the ones that were used last.
 *
 * @category constructors
 * @since 0.1.0
 */
export const memory = ({ capacity = 1000, size = 64 * 1024 }: Options = {}): OutputCache => {
  const kept = new Map<string, { readonly text: string; readonly until: number }>()
  return {
    get: (key) =>
      Effect.map(Clock.currentTimeMillis, (now): object | undefined => {
        const found = kept.get(key)
        kept.delete(key)
        if (found === undefined || found.until <= now) return undefined
        kept.set(key, found)
        return JSON.parse(found.text)
      }),
    set: (key, value, lifetime) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const text = JSON.stringify(value)
        if (text.length > size) return
        kept.delete(key)
        kept.set(key, { text, until: lifetime === undefined ? Infinity : now + Duration.toMillis(lifetime) })
        const [oldest] = kept.keys()
        if (kept.size > capacity && oldest !== undefined) kept.delete(oldest)
      })
  }
}
