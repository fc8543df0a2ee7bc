import * as Context from "effect/Context"

/**
 * When the call must have ended, in monotonic milliseconds of the fiber's clock (`time.now`); `Infinity` without a
 * deadline. Deadlines set it for what runs inside them, so that no policy inside waits past it.
 */
export const CurrentDeadline: Context.Reference<number> = Context.Reference(
  "@ballast/resilience/Deadline/CurrentDeadline",
  { defaultValue: () => Infinity }
)
