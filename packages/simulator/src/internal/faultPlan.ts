/** Decides which fault, if any, a request meets. */
import * as Duration from "effect/Duration"
import type { Directive, Fault, Planned } from "../Fault.ts"
import * as Draw from "./draw.ts"

export interface FaultPlan {
  /** The next chat request's fault, `elapsed` milliseconds after the simulator's start. */
  readonly next: (elapsed: number) => Fault
  /** A request's own fault: a scenario's only for as many requests as it says. */
  readonly own: (directive: Directive) => Fault
}

const scenariosKept = 1_000

const none: Fault = {}

const covers = ({ nth }: Planned, number: number): boolean =>
  nth === undefined || (typeof nth === "number" ? number === nth : number >= nth[0] && number <= nth[1])

const applies = (planned: Planned, number: number, elapsed: number): boolean =>
  covers(planned, number) &&
  (planned.from === undefined || elapsed >= Duration.toMillis(planned.from)) &&
  (planned.to === undefined || elapsed < Duration.toMillis(planned.to))

export const make = (plan: ReadonlyArray<Planned>, seed: string): FaultPlan => {
  let number = 0
  const seen = new Map<string, number>()
  return {
    next(elapsed) {
      number++
      const found = plan.find((planned, index) =>
        applies(planned, number, elapsed) &&
        Draw.make(seed, "plan", index, number).chance(planned.probability ?? 1)
      )
      return found?.fault ?? none
    },
    own({ fault, scenario }) {
      if (scenario === undefined) return fault
      const before = seen.get(scenario.id) ?? 0
      seen.delete(scenario.id)
      seen.set(scenario.id, before + 1)
      for (const id of seen.keys()) {
        if (seen.size <= scenariosKept) break
        seen.delete(id)
      }
      // How long the answer is belongs to the answer: what goes on with its beginning ends as it would have ended.
      return before < scenario.times ? fault : fault.tokens === undefined ? none : { tokens: fault.tokens }
    }
  }
}
