/** Starts a run again that its process left. The engine knows those that it has. */
import type { Runner } from "@ballast/workflow/Runner"
import type * as Runs from "@ballast/workflow/Runs"
import * as Effect from "effect/Effect"
import { keptOf } from "./kept.ts"

export const resume = Effect.fnUntraced(function*(runner: Runner["Service"], runs: Runs.Runs, id: string) {
  const run = yield* runs.find(id)
  if (run === undefined) return
  // A definition that is refused here is refused by the runner too, which ends the run.
  const kept = run.retryOf === undefined
    ? undefined
    : yield* Effect.catchTag(keptOf(runs, run.retryOf, run), "SettingsRefused", () => Effect.succeed(undefined))
  yield* runner.start({ text: run.definition }, run.input, { id, kept, trace: run.trace })
})
