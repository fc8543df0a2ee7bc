/**
 * One policy for each key: a breaker for each host, a limit for each tenant.
 *
 * A key's policy is made when the key is first used and looked up anew whenever
 * a guarded program runs. One that nothing has used for `idleTimeToLive` and
 * that is at rest (it remembers nothing that matters) is dropped, and with more
 * than `maxKeys` of them the one that was not used for the longest time, so keys
 * may come from outside. One that guards a running or a waiting program is never
 * dropped, so there are never two policies at work for one key.
 *
 * The programs of different keys may fail with different errors, and one set of
 * options serves them all: predicates of the keyed twins see errors as `unknown`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as keyed from "./internal/keyed.ts"
import type { Keyed, Options, Updatable } from "./internal/keyedModel.ts"
import * as Policy from "./internal/policy.ts"

export type { Bounds, Keyed, Options, Updatable } from "./internal/keyedModel.ts"

/**
 * Creates a keyed policy.
 *
 * **Details**
 *
 * Idle keys are looked for at most twice per `idleTimeToLive`, when some key is
 * used; so memory holds the keys of one and a half times that long.
 *
 * A new key beyond `maxKeys` takes the place of one that is not in use: of the
 * longest unused ones the first that is at rest, or else the very first. So a
 * flood of keys costs memory for `maxKeys` of them, and what the others remember.
 * When all keys are in use the new one is let in all the same: then the calls
 * that run and wait bound the number of keys.
 *
 * Throws a `RangeError` when an option is out of its bounds.
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
