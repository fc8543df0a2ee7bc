import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Fifo from "../fifo.ts"
import type * as guard from "../guard.ts"
import type { RateLimitExceeded, Reason } from "./exceeded.ts"
import type * as Options from "./options.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/**
 * What happens to a limiter and to the calls that it does not let through at
 * once.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** A call lines up. */
  | { readonly _tag: "Queued"; readonly weight: number; readonly wait: Duration.Duration }
  /** A call that waited may run. */
  | { readonly _tag: "Granted"; readonly weight: number; readonly waited: Duration.Duration }
  | {
    readonly _tag: "Rejected"
    readonly weight: number
    readonly because: Reason
    readonly retryAfter: Duration.Duration
  }
  /** A reservation was corrected. */
  | { readonly _tag: "Settled"; readonly reserved: number; readonly weight: number }
  | { readonly _tag: "Paused"; readonly duration: Duration.Duration }
  | { readonly _tag: "Resumed" }
  | { readonly _tag: "Blocked"; readonly duration: Duration.Duration }
  | { readonly _tag: "Unblocked" }
  | { readonly _tag: "Penalized"; readonly weight: number }
  | { readonly _tag: "Rewarded"; readonly weight: number }

/**
 * The state of a rate limiter.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Whole weight that could be taken now; below zero when some is owed. */
  readonly available: number
  /** Calls that wait. */
  readonly queued: number
  /** How long the pause lasts that is on; absent when none is. */
  readonly paused?: Duration.Duration
  /** How long the block lasts that is on; absent when none is. */
  readonly blocked?: Duration.Duration
}

/** A call in the queue, or one that was. */
export interface Waiter extends guard.Entry<RateLimitExceeded>, Fifo.Place<Waiter> {
  readonly _tag: "Waiter"
  readonly fiber: AnyFiber
  readonly weight: number
  /** Whether its weight may be settled later. */
  readonly reserves: boolean
  readonly since: number
  readonly expiresAt: number
  readonly wait: Effect.Effect<void, RateLimitExceeded>
  state: "queued" | "granted" | "running" | "gone" | RateLimitExceeded
  grantedAt: number
  awake: boolean
  resume: (() => void) | undefined
}

/** One admission. */
export type Entry =
  | { readonly _tag: "Admitted"; readonly wait: undefined }
  | { readonly _tag: "Rejected"; readonly wait: Effect.Effect<never, RateLimitExceeded> }
  | Waiter

/** Whom the engine tells what it does. */
export interface Meters {
  readonly rejected: (fiber: AnyFiber) => void
  readonly waited: (fiber: AnyFiber, millis: number) => void
  readonly paused: (fiber: AnyFiber) => void
  readonly settled: (fiber: AnyFiber, because: "refund" | "charge", weight: number) => void
}

export interface Engine {
  readonly enter: (fiber: AnyFiber, now: number, weight: number, reserves: boolean) => Entry
  readonly exit: (entry: Entry, fiber: AnyFiber) => void
  /** Gives back what was taken at a time and is not needed after all. */
  readonly refund: (fiber: AnyFiber, at: number, weight: number) => void
  /** Corrects what was taken at a time. */
  readonly settle: (fiber: AnyFiber, at: number, reserved: number, weight: number) => void
  readonly penalize: (fiber: AnyFiber, weight: number) => void
  readonly reward: (fiber: AnyFiber, weight: number) => void
  readonly pause: (fiber: AnyFiber, millis: number) => void
  readonly resume: (fiber: AnyFiber) => void
  readonly block: (fiber: AnyFiber, millis: number) => void
  readonly unblock: (fiber: AnyFiber) => void
  readonly update: (fiber: AnyFiber, changes: Options.Settings) => void
  /** Checks changes against the settings that hold now. */
  readonly check: (changes: Options.Settings) => void
  readonly peek: (fiber: AnyFiber, weight: number) => Duration.Duration
  readonly inspect: (fiber: AnyFiber) => State
  readonly atRest: (fiber: AnyFiber) => boolean
}
