/** The order of steps by what they need. */
import type { Planned } from "./model.ts"

/** The steps with all that are within them. */
export const everyStep = (steps: ReadonlyArray<Planned>): ReadonlyArray<Planned> =>
  steps.flatMap((planned) => [planned, ...everyStep(planned.parallel), ...everyStep(planned.onError)])

/** All steps that have ended when a step begins. */
export const ancestors = (
  { needs }: Planned,
  byId: ReadonlyMap<string, Planned>,
  found: Set<string> = new Set()
): ReadonlySet<string> => {
  for (const id of needs) {
    const planned = byId.get(id)
    if (planned === undefined || found.has(id)) continue
    found.add(id)
    ancestors(planned, byId, found)
  }
  return found
}

/** The steps in an order in which each comes after those that it needs. They have no cycle. */
export const ordered = (steps: ReadonlyArray<Planned>): ReadonlyArray<Planned> => {
  const byId = new Map(steps.map((planned) => [planned.id, planned]))
  const done = new Set<Planned>()
  const visit = (planned: Planned): void => {
    if (done.has(planned)) return
    for (const id of planned.needs) {
      const needed = byId.get(id)
      if (needed !== undefined) visit(needed)
    }
    done.add(planned)
  }
  steps.forEach(visit)
  return [...done]
}

/** A cycle among the steps, its first step again at its end; undefined without one. */
export const cycleOf = (steps: ReadonlyArray<Planned>): ReadonlyArray<Planned> | undefined => {
  const byId = new Map(steps.map((planned) => [planned.id, planned]))
  const clean = new Set<Planned>()
  const visit = (planned: Planned, way: ReadonlyArray<Planned>): ReadonlyArray<Planned> | undefined => {
    if (way.includes(planned)) return [...way.slice(way.indexOf(planned)), planned]
    if (clean.has(planned)) return undefined
    for (const id of planned.needs) {
      const needed = byId.get(id)
      const cycle = needed && visit(needed, [...way, planned])
      if (cycle !== undefined) return cycle
    }
    clean.add(planned)
    return undefined
  }
  for (const planned of steps) {
    const cycle = visit(planned, [])
    if (cycle !== undefined) return cycle
  }
  return undefined
}
