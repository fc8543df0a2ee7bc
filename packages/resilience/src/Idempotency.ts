/**
 * Whether a call may run twice: a property of the call, which every policy that
 * could run it again reads.
 *
 * The mark travels with the fiber, so it is set once, where the work starts:
 * `Effect.provideService(effect, Idempotency.CurrentIdempotent, false)`. It must
 * stand around the policies, not inside them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * Whether the call at hand may run twice. Default `true`.
 *
 * **Details**
 *
 * Of a call that must not, `Retry` makes another attempt only when the outcome
 * says that the last one certainly did not run (`executed: false`), and `Hedge`
 * makes none.
 *
 * **Example** (A call that must not run twice)
 *
 * ```ts
 * import { Idempotency, Retry } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const retry = Retry.make()
 * const order = retry(Effect.succeed("ordered")).pipe(
 *   Effect.provideService(Idempotency.CurrentIdempotent, false)
 * )
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentIdempotent: Context.Reference<boolean> = Context.Reference(
  "@ballast/resilience/Idempotency/CurrentIdempotent",
  { defaultValue: () => true }
)
