/** The graph of a run with the state of each step. */
import * as Definition from "@ballast/workflow/Definition"
import * as Graph from "@ballast/workflow/Graph"
import type * as Runs from "@ballast/workflow/Runs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Of a step for each element, that of the last one that began. */
const statesOf = ({ endedAt, steps }: Runs.Run, now: number): Readonly<Record<string, Graph.State>> =>
  Object.fromEntries(steps.map(({ endedAt: end, startedAt, status, step }) => [
    step.replace(/\[\d+\]$/, ""),
    status === "skipped"
      ? { status }
      : {
        status: status === "succeeded" || status === "kept" ? "done" : status,
        ...status !== "kept" && { millis: (end ?? endedAt ?? now) - startedAt }
      }
  ]))

/** As SVG; undefined for a definition that is not understood any more. */
export const pictureOf = (run: Runs.Run) =>
  Effect.flatMap(
    Clock.currentTimeMillis,
    (now) =>
      Effect.match(Definition.read({ name: run.workflow, text: run.definition, services: {} }), {
        onFailure: () => undefined,
        onSuccess: (definition) => Graph.svg(definition, statesOf(run, now))
      })
  )
