/**
 * Cancels runs.
 *
 * A run that was left in a step, or has not begun, calls nothing any more but its steps of `finally`: it is held back until the engine knows that it is
 * cancelled.
 */
import type { Runner } from "@ballast/workflow/Runner"
import type * as Runs from "@ballast/workflow/Runs"
import * as Effect from "effect/Effect"
import { resume } from "./resume.ts"

/** `held`: runs that may not go on when the runner begins. */
export const make = (runs: Runs.Runs, held: Set<string> = new Set()) => {
  const release = (id: string) => Effect.sync(() => void held.delete(id))
  const hold = Effect.fnUntraced(function*(runner: Runner["Service"], id: string) {
    held.add(id)
    yield* resume(runner, runs, id)
  })
  const cancel = (runner: Runner["Service"], id: string) => Effect.andThen(release(id), runner.cancel(id))
  return {
    /** Whether a run may go on. */
    allows: (id: string): boolean => !held.has(id),
    cancel: (runner: Runner["Service"], id: string) =>
      Effect.uninterruptible(
        Effect.ensuring(Effect.andThen(hold(runner, id), Effect.suspend(() => cancel(runner, id))), release(id))
      ),
    /** Cancels those of which another process asked it; of all that it works on, or of one. */
    cancelAsked: Effect.fnUntraced(function*(runner: Runner["Service"], only?: string) {
      for (const id of yield* runs.toCancel) {
        if (only !== undefined && id !== only) continue
        yield* hold(runner, id)
        yield* runs.cancel(id, cancel(runner, id))
        // Another process may have been faster.
        yield* release(id)
      }
    })
  }
}

export type Cancels = ReturnType<typeof make>
