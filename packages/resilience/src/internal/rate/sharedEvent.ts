import type * as Duration from "effect/Duration"
import type { Reason } from "./exceeded.ts"
import type { RateLimiterStoreError } from "./store.ts"

/**
 * What this process does with a shared limit; what others do is not seen.
 *
 * @category models
 * @since 0.1.0
 */
export type SharedEvent =
  /** A call that waited for its turn may run. */
  | { readonly _tag: "Granted"; readonly key: string; readonly weight: number; readonly waited: Duration.Duration }
  | {
    readonly _tag: "Rejected"
    readonly key: string
    readonly weight: number
    readonly because: Reason
    readonly retryAfter: Duration.Duration
  }
  /** A reservation was corrected. */
  | { readonly _tag: "Settled"; readonly key: string; readonly reserved: number; readonly weight: number }
  | { readonly _tag: "Paused"; readonly key: string; readonly duration: Duration.Duration }
  | { readonly _tag: "Resumed"; readonly key: string }
  | { readonly _tag: "Blocked"; readonly key: string; readonly duration: Duration.Duration }
  | { readonly _tag: "Unblocked"; readonly key: string }
  | { readonly _tag: "Penalized"; readonly key: string; readonly weight: number }
  | { readonly _tag: "Rewarded"; readonly key: string; readonly weight: number }
  /** Weight was leased. */
  | { readonly _tag: "Leased"; readonly key: string; readonly weight: number }
  /** Leased weight was given back unused. */
  | { readonly _tag: "Returned"; readonly key: string; readonly weight: number }
  /** The store failed, or gave no answer in time. */
  | { readonly _tag: "StoreFailed"; readonly key: string; readonly error: RateLimiterStoreError }
