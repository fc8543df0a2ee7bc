import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"

/**
 * What time and telemetry read of a fiber. A fiber loses its context when it
 * ends, so what outlives its maker keeps this and not the fiber.
 */
export type Origin = Pick<Fiber.Fiber<unknown, unknown>, "context" | "getRef">

/** What the fiber has now. */
export const of = ({ context }: Fiber.Fiber<unknown, unknown>): Origin => ({
  context,
  getRef: (reference) => Context.get(context, reference)
})
