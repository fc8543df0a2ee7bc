import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as time from "../time.ts"
import type { Engine, Entry } from "./engineModel.ts"
import type { RateLimitExceeded } from "./exceeded.ts"
import * as Options from "./options.ts"

/**
 * Weight that was taken on an estimate and may be corrected once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reservation {
  /** The weight that was taken. */
  readonly weight: number
  /** Corrects it to the true weight, zero or more; the first time counts, after that it does nothing. */
  readonly settle: (weight: number) => Effect.Effect<void>
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

const make = (engine: Engine, weight: number) => {
  let entry: Entry | undefined
  let enteredAt = 0
  let settled = false

  const settle = (fiber: AnyFiber, actual: number): void => {
    if (settled || entry === undefined) return
    settled = true
    engine.settle(fiber, entry._tag === "Waiter" ? entry.grantedAt : enteredAt, weight, actual)
  }

  const reservation: Reservation = {
    weight,
    settle: (actual) => {
      Options.amount("RateLimiter.settle", actual)
      return Effect.withFiber((fiber) => {
        settle(fiber, actual)
        return Effect.void
      })
    }
  }

  return {
    take: (fiber: AnyFiber): Effect.Effect<Reservation, RateLimitExceeded> => {
      enteredAt = time.now(fiber)
      entry = engine.enter(fiber, enteredAt, weight, true)
      return entry.wait === undefined ? Effect.succeed(reservation) : Effect.as(entry.wait, reservation)
    },
    /** Gives back whatever it holds, be it a place in the queue, unless it was settled. */
    giveBack: (fiber: AnyFiber): void => {
      if (entry === undefined || entry._tag === "Rejected") return
      if (entry._tag === "Admitted" || entry.state === "running") return settle(fiber, 0)
      settled = true
      engine.exit(entry, fiber)
    }
  }
}

type Held = ReturnType<typeof make>

/** A wait that is interrupted gives back at once. */
const taken = (held: Held): Effect.Effect<Reservation, RateLimitExceeded> =>
  Effect.withFiber((fiber) =>
    Effect.onExitPrimitive(Effect.suspend(() => held.take(fiber)), (exit) => {
      if (Exit.isFailure(exit)) held.giveBack(fiber)
      return undefined
    })
  )

export const reserve = (engine: Engine, weight: number): Effect.Effect<Reservation, RateLimitExceeded> =>
  Effect.suspend(() => taken(make(engine, weight)))

/** The finalizer stands before there is anything to give back: the fiber may be interrupted between any two steps. */
export const reserveScoped = (
  engine: Engine,
  weight: number
): Effect.Effect<Reservation, RateLimitExceeded, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) => {
    const held = make(engine, weight)
    const giveBack = (exit: Exit.Exit<unknown, unknown>) =>
      Effect.withFiber<void>((fiber) => {
        if (Exit.hasInterrupts(exit)) held.giveBack(fiber)
        return Effect.void
      })
    return Effect.andThen(Scope.addFinalizerExit(scope, giveBack), taken(held))
  })
