/** The routes of workflows. */
import * as Effect from "effect/Effect"
import type * as ClientLimits from "../../ClientLimits.ts"
import type * as WorkflowModel from "../../WorkflowModel.ts"
import type * as WorkflowRoutes from "../../WorkflowRoutes.ts"
import { type Live, ownerOf } from "./live.ts"
import type { Options } from "./options.ts"

/** The routes of workflows, loaded where there are some. */
export const workflowRoutes = Effect.fnUntraced(function*(
  { localModels, records, settings, upstream, workflows: opened }: Options,
  live: () => Live,
  parts:
    & Pick<WorkflowRoutes.Options, "bodies" | "streams" | "out" | "stopping" | "limits">
    & Pick<WorkflowModel.Options, "costs">
    & { readonly clientLimits: ClientLimits.ClientLimits }
) {
  if (opened === undefined || records === undefined) return []
  const [Workflows, WorkflowRoutes, WorkflowModel, WorkflowPage] = yield* Effect.promise(() =>
    Promise.all([
      import("../../Workflows.ts"),
      import("../../WorkflowRoutes.ts"),
      import("../../WorkflowModel.ts"),
      import("../../WorkflowPage.ts")
    ])
  )
  const { clientLimits, costs } = parts
  const workflows = yield* Workflows.make({
    opened,
    settings,
    database: records.database,
    parts: (clientOf) => ({
      model: WorkflowModel.make({
        model: upstream.router,
        cached: upstream.router.answers,
        costs,
        limits: clientLimits,
        ledger: records.ledger,
        kind: upstream.kind,
        clientOf: (run) => Effect.flatMap(clientOf(run), (name) => ownerOf(name, live(), records))
      }),
      cost: (usage, call) => costs.pricing().cost(usage, call),
      localModels
    })
  })
  return [...WorkflowRoutes.make({ ...parts, workflows }), ...WorkflowPage.routes]
})
