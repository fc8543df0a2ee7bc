import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
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
interface Pull {
  /** The id of the fiber that it runs on. What the source forks goes on beyond the pull, and has all the time of the whole. */
  readonly fiber: number
  readonly endsAt: number
}

const CurrentPull: Context.Reference<Pull | undefined> = Context.Reference(
  "@ballast/resilience/Deadline/CurrentPull",
  { defaultValue: (): Pull | undefined => undefined }
)

/** Runs what a pull waits for on a fiber that is forked for it. */
export const asPull = <A, E, R>(self: Effect.Effect<A, E, R>, endsAt: number): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => Effect.provideService(self, CurrentPull, { fiber: fiber.id, endsAt }))

/** Lets what the fiber forks for a pull, and waits for in it, see the end of the pull, too. */
export const sharingPull = <A, E, R>(
  fiber: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const endsAt = deadlineOf(fiber)
  return endsAt < fiber.getRef(CurrentDeadline) ? asPull(self, endsAt) : self
}

/** When what runs on the fiber must have ended. */
export const deadlineOf = (fiber: Fiber.Fiber<unknown, unknown>): number => {
  const deadline = fiber.getRef(CurrentDeadline)
  const pull = fiber.getRef(CurrentPull)
  return pull?.fiber === fiber.id ? Math.min(deadline, pull.endsAt) : deadline
}
