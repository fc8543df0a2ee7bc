/** The shapes of `Keyed`, which the policies and their keyed twins share. */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Policy from "./policy.ts"

/**
 * The policies of all keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface Keyed<out E, out P extends Policy.Policy<E>> {
  /** The policy of a key, looked up at each run of what it guards. */
  (key: string): Policy.Policy<E>
  /**
   * The key's own policy, to read or to steer by hand; it is made when there is
   * none. Ask again for each use: it may be dropped once it is idle.
   */
  readonly get: (key: string) => Effect.Effect<P>
  /** The keys that have a policy now, the longest unused first. */
  readonly keys: Effect.Effect<ReadonlyArray<string>>
}

/**
 * How many keys are remembered, and for how long.
 *
 * @category options
 * @since 0.1.0
 */
export interface Bounds {
  /** How long a key may stay unused before it may be dropped, above zero. Default 10 minutes. */
  readonly idleTimeToLive?: Duration.Input | undefined
  /** Keys that have a policy at the same time, an integer of at least 1; keys in use may be more. Default 10,000. */
  readonly maxKeys?: number | undefined
}

/**
 * Options of a keyed policy.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<P> extends Bounds {
  /** Makes the policy of a key; it must not suspend. */
  readonly make: (key: string) => Effect.Effect<P>
  /** Whether an unused policy may be dropped without anybody noticing; must not throw. Default: always. */
  readonly atRest?: ((policy: NoInfer<P>, fiber: Fiber.Fiber<unknown, unknown>) => boolean) | undefined
}

/**
 * The policies of all keys, whose settings can change.
 *
 * @category models
 * @since 0.1.0
 */
export interface Updatable<out E, out P extends Policy.Policy<E>, in Settings> extends Keyed<E, P> {
  /**
   * Changes settings while calls run, for all keys, future ones included; what is left out stays. Throws a
   * `RangeError` as the policy's own `update` does. To change those of one key, use the `update` of its policy, `get(key)`:
   * the key keeps them when its policy is dropped and made again, for up to `maxKeys` keys.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}
