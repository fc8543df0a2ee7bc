/** Settles which step has which id, and waits for which. */
import type { Step } from "./language.ts"
import type { Path, Planned } from "./model.ts"

const nameOf = ({ id, parallel, service }: Step): string =>
  id ?? service?.replace(/\W/g, "_") ?? (parallel ? "parallel" : "step")

/** Gives each step its id: one that is given, else the name of its service with a number where that is taken. */
export const makeIds = () => {
  const taken = new Set<string>()
  return (step: Step): string => {
    const name = nameOf(step)
    let id = name
    if (step.id === undefined) { for (let n = 2; taken.has(id); n++) id = `${name}_${n}` }
    taken.add(id)
    return id
  }
}

export const plan = (
  steps: ReadonlyArray<Step>,
  path: Path,
  idOf: (step: Step) => string,
  around: string | undefined,
  first = 0
): ReadonlyArray<Planned> => {
  const ids = steps.map(idOf)
  return steps.map((step, index): Planned => {
    const before = index === 0 ? undefined : ids[index - 1]
    const needs = step.needs ?? (before === undefined ? [] : [before])
    const own = [...path, first + index]
    const { onError } = step
    return {
      id: ids[index] ?? "",
      step,
      needs,
      before: step.needs === undefined ? before ?? around : step.needs.length === 1 ? step.needs[0] : around,
      path: own,
      parallel: step.parallel === undefined ? [] : side(step.parallel, [...own, "parallel"], idOf, before ?? around),
      onError: typeof onError === "object" && "steps" in onError
        ? plan(onError.steps, [...own, "onError", "steps"], idOf, before ?? around)
        : []
    }
  })
}

/** Steps side by side: none waits for another. */
const side = (steps: ReadonlyArray<Step>, path: Path, idOf: (step: Step) => string, around: string | undefined) =>
  steps.flatMap((step, index) => plan([step], path, idOf, around, index))
