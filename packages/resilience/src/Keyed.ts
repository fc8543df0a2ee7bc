/**
 * One policy for each key: a breaker for each host, a limit for each tenant.
 *
 * A key's policy is made when the key is first used and looked up anew whenever
 * a guarded program runs. One that nothing has used for `idleTimeToLive` and
 * that is at rest (it remembers nothing that matters) is dropped, so keys may
 * come from outside. One that guards a running or a waiting program is never
 * dropped, so there are never two policies at work for one key.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as keyed from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"

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
 * Options of a keyed policy.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<P> {
  /** Makes the policy of a key; it must not suspend. */
  readonly make: (key: string) => Effect.Effect<P>
  /** Whether an unused policy may be dropped without anybody noticing; must not throw. Default: always. */
  readonly atRest?: ((policy: NoInfer<P>, fiber: Fiber.Fiber<unknown, unknown>) => boolean) | undefined
  /** How long a key may stay unused before it may be dropped, above zero. Default 10 minutes. */
  readonly idleTimeToLive?: Duration.Input | undefined
}

/**
 * The policies of all keys, whose settings can change.
 *
 * @category models
 * @since 0.1.0
 */
export interface Updatable<out E, out P extends Policy.Policy<E>, in Settings> extends Keyed<E, P> {
  /**
   * Changes settings while calls run, for all keys and for those that are yet to come; what is left out stays. Throws a
   * `RangeError` as the policy's own `update` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * Creates a keyed policy.
 *
 * **Details**
 *
 * Idle keys are looked for at most twice per `idleTimeToLive`, when some key is
 * used; so memory holds the keys of one and a half times that long. Throws a
 * `RangeError` when an option is out of its bounds.
 *
 * **Example** (Limiting the calls of each tenant)
 *
 * ```ts
 * import { ConcurrencyLimit, Keyed } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const limits = yield* Keyed.make({ make: () => ConcurrencyLimit.make({ name: "tenants", limit: 5 }) })
 *   return yield* limits("tenant 1")(Effect.succeed("answer"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, P extends Policy.Policy<E>>(
  options: Options<P> & { readonly make: (key: string) => Effect.Effect<Policy.Policy<E>> }
): Effect.Effect<Keyed<E, P>> => keyed.make<E, P>(options)

/**
 * Gives every key the same policy, which nothing updates.
 *
 * **When to use**
 *
 * Use it where keyed policies are wanted and one is enough; of a policy's `noop`
 * it makes the twin that does nothing of its `keyed`.
 *
 * **Example** (Switching the limits of tenants off)
 *
 * ```ts
 * import { ConcurrencyLimit, Keyed } from "@ballast/resilience"
 *
 * const limits = Keyed.of(ConcurrencyLimit.noop)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const of = <E, P extends Policy.Policy<E>>(
  policy: P & Policy.Policy<E>
): Updatable<E, P, unknown> =>
  Object.assign(() => policy, {
    get: () => Effect.succeed(policy),
    keys: Effect.succeed([]),
    update: () => Effect.void
  })

/**
 * The keyed policy that does nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Updatable<never, Policy.Policy<never>, unknown> = of(Policy.identity)
