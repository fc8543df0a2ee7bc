import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"

/**
 * When the call must have ended, in monotonic milliseconds of the fiber's clock (`time.now`); `Infinity` without a
 * deadline. Deadlines set it for what runs inside them, so that no policy inside waits past it.
 */
export const CurrentDeadline: Context.Reference<number> = Context.Reference(
  "@ballast/resilience/Deadline/CurrentDeadline",
  { defaultValue: () => Infinity }
)

/** A pull of a stream that must have ended earlier than the whole. */
export interface Pull {
  /** The fiber that it runs on. What the source forks goes on beyond the pull, and has all the time of the whole. */
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly endsAt: number
}

export const CurrentPull: Context.Reference<Pull | undefined> = Context.Reference(
  "@ballast/resilience/Deadline/CurrentPull",
  { defaultValue: (): Pull | undefined => undefined }
)

/** When what runs on the fiber must have ended. */
export const deadlineOf = (fiber: Fiber.Fiber<unknown, unknown>): number => {
  const deadline = fiber.getRef(CurrentDeadline)
  const pull = fiber.getRef(CurrentPull)
  return pull?.fiber === fiber ? Math.min(deadline, pull.endsAt) : deadline
}
