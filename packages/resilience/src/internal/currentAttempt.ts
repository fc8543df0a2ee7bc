import * as Context from "effect/Context"

/**
 * The number of the running attempt, 1 for the first, for the program inside a
 * retry.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentAttempt: Context.Reference<number> = Context.Reference("@ballast/resilience/Retry/CurrentAttempt", {
  defaultValue: () => 1
})
