/** Wakes readers of this process. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

/** How often readers look for what other processes wrote. */
const interval = Duration.seconds(1)

/** Wakes those who wait for what is written of a run. */
export const make = () => {
  const latches = new Map<string, Set<Latch.Latch>>()
  return {
    ring: (run: string) => latches.get(run)?.forEach((latch) => latch.openUnsafe()),
    /** Waits for the next ring since the last look, or a moment. */
    listen: (run: string) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const latch = Latch.makeUnsafe()
            const all = latches.get(run) ?? new Set()
            latches.set(run, all.add(latch))
            return latch
          }),
          (latch) =>
            Effect.sync(() => {
              const all = latches.get(run)
              all?.delete(latch)
              if (all?.size === 0) latches.delete(run)
            })
        ),
        (latch) => ({
          look: Effect.sync(() => void latch.closeUnsafe()),
          wait: Effect.asVoid(Effect.timeoutOption(latch.await, interval))
        })
      )
  }
}

export type Bell = ReturnType<typeof make>
