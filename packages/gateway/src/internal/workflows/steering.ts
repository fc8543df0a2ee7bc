/** What a client may do with runs: see them, decide on approvals, and cancel. */
import type * as Runner from "@ballast/workflow/Runner"
import * as Runs from "@ballast/workflow/Runs"
import * as Effect from "effect/Effect"
import { Rejection } from "../../Rejection.ts"
import * as Access from "./access.ts"
import type { Cancels } from "./cancels.ts"
import type { Workflows } from "./model.ts"
import { unlessDown } from "./recordDown.ts"
import { conflict, named } from "./refusal.ts"

export interface Options {
  readonly runs: Runs.Runs
  readonly runner: Runner.Runner["Service"]
  readonly cancels: Cancels
  /** Whether every client sees all runs. */
  readonly shared: () => boolean
}

export const make = ({ cancels, runner, runs, shared }: Options): Pick<
  Workflows,
  "run" | "list" | "decide" | "cancel"
> => {
  const decide: Workflows["decide"] = Effect.fnUntraced(function*(caller, { id, status }, step, decision) {
    const found = yield* unlessDown(runs.step(id, step))
    if (found?.who !== undefined && !Access.mayDecide(caller, found.who)) {
      return yield* new Rejection({
        case: "DecisionNotAllowed",
        detail: `The client ${caller.name} may not decide on the step ${step}. These may: ${named(found.who)}.`
      })
    }
    if (Runs.hasEnded(status)) {
      return yield* conflict(`The run has ended: it ${status === "cancelled" ? "was " : ""}${status}.`)
    }
    const isGiven = found?.status === "waiting" &&
      (yield* unlessDown(runs.decide(id, step, runner.approve(id, step, { ...decision, by: caller.name }))))
    if (!isGiven) {
      return yield* conflict(
        found === undefined
          ? `The run has no step ${JSON.stringify(step.slice(0, 64))} that has begun.`
          : `The step ${step} does not wait for a decision: it is ${found.status}.`
      )
    }
  })

  return {
    run: (caller, workflow, id) =>
      Effect.flatMap(
        unlessDown(runs.find(id)),
        (run) =>
          run !== undefined && (workflow === "-" || run.workflow === workflow) &&
            Access.maySee(caller, run, shared())
            ? Effect.succeed(run)
            : Effect.fail(
              new Rejection({
                case: "RunNotFound",
                detail: `There is no run ${JSON.stringify(id.slice(0, 64))}${
                  workflow === "-" ? "" : ` of the workflow ${JSON.stringify(workflow)}`
                } that ${caller.name} may see.`
              })
            )
      ),
    list: (caller, filter) => unlessDown(runs.list({ ...filter, client: Access.listed(caller, shared()) })),
    decide,
    cancel: ({ id, status }) =>
      Runs.hasEnded(status)
        ? conflict(`The run has ended before: ${status}.`)
        : unlessDown(cancels.cancel(runner, id))
  }
}
