import * as Clock from "effect/Clock"
import type * as Fiber from "effect/Fiber"

/**
 * Monotonic milliseconds of the fiber's clock. A correction of the wall clock
 * must neither freeze a limiter nor close a circuit, so policies never read it.
 */
export const now = (fiber: Pick<Fiber.Fiber<unknown, unknown>, "getRef">): number =>
  Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6
