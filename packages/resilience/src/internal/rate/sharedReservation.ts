import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Rejection } from "./line.ts"
import * as Options from "./options.ts"
import type { Reservation } from "./reservation.ts"
import type { Held, Shared } from "./shared.ts"

const make = (shared: Shared, key: string, weight: number) => {
  let held: Held | undefined
  let settled = false

  /** Begins in the step in which it is marked as settled: the fiber may be interrupted before the next. */
  const settle = (actual: number): Effect.Effect<void> =>
    Effect.withFiber((fiber) => {
      if (settled || held === undefined || held.entry._tag === "Rejected") return Effect.void
      settled = true
      const { takenAt } = held.entry
      // Undefined when the store failed: nothing is taken that could be corrected.
      return takenAt === undefined ? Effect.void : shared.settle(fiber, key, weight, actual, takenAt)
    })

  const reservation: Reservation = {
    weight,
    settle: (actual) => {
      Options.amount("SharedRateLimiter.settle", actual)
      return settle(actual)
    }
  }

  return {
    take: Effect.withFiber((fiber): Effect.Effect<Reservation, Rejection> => {
      held = shared.enter(key, fiber, weight, true)
      return held.wait === undefined ? Effect.succeed(reservation) : Effect.as(held.wait, reservation)
    }),
    /** Gives back whatever it holds, be it a place in the line, unless it was settled. */
    giveBack: Effect.suspend(() => {
      if (held?.entry._tag === "Waiter" && held.entry.state !== "running") {
        settled = true
        shared.exit(held)
        return Effect.void
      }
      return settle(0)
    })
  }
}

type Taking = ReturnType<typeof make>

/** A wait that is interrupted gives back at once. */
const taken = ({ giveBack, take }: Taking): Effect.Effect<Reservation, Rejection> =>
  Effect.onExitPrimitive(take, (exit) => Exit.isFailure(exit) ? giveBack : undefined)

export const reserve = (shared: Shared, key: string, weight: number): Effect.Effect<Reservation, Rejection> =>
  Effect.suspend(() => taken(make(shared, key, weight)))

/** The finalizer stands before there is anything to give back: the fiber may be interrupted between any two steps. */
export const reserveScoped = (
  shared: Shared,
  key: string,
  weight: number
): Effect.Effect<Reservation, Rejection, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) => {
    const taking = make(shared, key, weight)
    const giveBack = (exit: Exit.Exit<unknown, unknown>) => Exit.hasInterrupts(exit) ? taking.giveBack : Effect.void
    return Effect.andThen(Scope.addFinalizerExit(scope, giveBack), taken(taking))
  })
