/**
 * The ends of runs: in the record, in their spans and in metrics.
 *
 * An end that the database refuses for good leaves its run without one in the record, while the engine has it. It is written as soon as the database
 * takes it: by a look of this process each 10 seconds, or at its next start.
 */
import type { End } from "@ballast/workflow/Run"
import type { Runner } from "@ballast/workflow/Runner"
import type * as Runs from "@ballast/workflow/Runs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as WorkflowMetrics from "../../WorkflowMetrics.ts"
import type { Spans } from "./spans.ts"

export const make = (runs: Runs.Runs, spans: Spans) => {
  const refused = new Set<string>()
  const write = Effect.fnUntraced(function*(run: string, end: End) {
    const ended = yield* Effect.tapDefect(runs.end(run, end), () => Effect.sync(() => void refused.add(run)))
    refused.delete(run)
    if (ended === undefined) return
    spans.end(run, end, yield* Clock.currentTimeNanos)
    yield* WorkflowMetrics.end(ended.workflow, end.status, ended.millis)
  })
  /** Writes the end that the engine has; false where it has none. */
  const catchUp = Effect.fnUntraced(function*(runner: Runner["Service"], run: string) {
    const end = yield* runner.result(run)
    if (end !== undefined) yield* write(run, end)
    return end !== undefined
  })
  /** Writes those that were refused, once the database takes them. */
  const writeRefused = (runner: Runner["Service"]) =>
    Effect.catchDefect(
      Effect.suspend(() => Effect.forEach([...refused], (run) => catchUp(runner, run), { discard: true })),
      (defect) => Effect.logWarning("ends of runs of workflows can not be recorded", { reason: String(defect) })
    )
  return { write, catchUp, writeRefused }
}

export type Ends = ReturnType<typeof make>
