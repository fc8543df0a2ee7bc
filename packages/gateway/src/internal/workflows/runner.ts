/** The runner of a gateway: what services stand on, and where it is written what happens. */
import * as Runner from "@ballast/workflow/Runner"
import type * as Runs from "@ballast/workflow/Runs"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as WorkflowMetrics from "../../WorkflowMetrics.ts"
import type { Cancels } from "./cancels.ts"
import type { Ends } from "./ends.ts"
import type { Options } from "./model.ts"
import { unlessDown } from "./recordDown.ts"
import * as ServiceClient from "./serviceClient.ts"

export const make = Effect.fnUntraced(function*(
  { opened: { engine, files }, parts, settings }: Options,
  { cancels, ends, runs }: { readonly cancels: Cancels; readonly ends: Ends; readonly runs: Runs.Runs }
) {
  const http = Context.get(yield* Layer.build(ServiceClient.layer), HttpClient)
  const { env } = (yield* settings.current).workflows
  const context = yield* Layer.build(
    Runner.layer({
      ...parts((run) => Effect.map(unlessDown(runs.client(run)), (name = "") => name)),
      http,
      saveReport: files.saveReport,
      env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, Redacted.value(value)])),
      onEvent: (event) =>
        Effect.flatMap(
          runs.record(event),
          (workflow) => workflow === undefined ? Effect.void : WorkflowMetrics.observe(workflow, event)
        ),
      onEnd: ends.write,
      mayGoOn: cancels.allows
    }).pipe(Layer.provide(Layer.succeedContext(engine)))
    // The engine's own spans say nothing of a run.
  ).pipe(Effect.withTracerEnabled(false))
  return Context.get(context, Runner.Runner)
})
