/** What a run takes over from another one of the same definition: the outputs of its steps, but for those of `finally`. */
import * as Definition from "@ballast/workflow/Definition"
import type * as Runs from "@ballast/workflow/Runs"
import * as Effect from "effect/Effect"

/** All ids of steps, with those that are within others. */
const idsOf = (steps: ReadonlyArray<Definition.Planned>): ReadonlyArray<string> =>
  steps.flatMap(({ id, onError, parallel }) => [id, ...idsOf(parallel), ...idsOf(onError)])

export const keptOf = (
  runs: Runs.Runs,
  from: string,
  { definition: text, workflow }: Pick<Runs.Run, "definition" | "workflow">
) =>
  Effect.zipWith(
    runs.outputs(from),
    Definition.read({ name: workflow, text, services: {} }),
    (outputs, definition) => {
      const again = new Set(idsOf(definition.finally))
      return Object.fromEntries(
        Object.entries(outputs).filter(([step]) => !again.has(step.replace(/\[\d+\]$/, "")))
      )
    }
  )
