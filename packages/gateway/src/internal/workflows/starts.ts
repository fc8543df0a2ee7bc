/** The workflows that a gateway has, and how their runs begin. */
import type * as Runner from "@ballast/workflow/Runner"
import type * as Runs from "@ballast/workflow/Runs"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import type * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import { Rejection } from "../../Rejection.ts"
import type { GatewaySettings } from "../../Settings.ts"
import type * as WorkflowFiles from "../../WorkflowFiles.ts"
import * as WorkflowMetrics from "../../WorkflowMetrics.ts"
import { keptOf } from "./kept.ts"
import type { Workflows } from "./model.ts"
import { unlessDown } from "./recordDown.ts"
import { conflict, named } from "./refusal.ts"
import * as Spans from "./spans.ts"

export interface Options {
  readonly runs: Runs.Runs
  readonly runner: Runner.Runner["Service"]
  readonly files: WorkflowFiles.WorkflowFiles
  readonly spans: Spans.Spans
  readonly current: () => GatewaySettings["workflows"]
}

export const make = ({ current, files, runner, runs, spans }: Options): Pick<
  Workflows,
  "definition" | "definitions" | "start" | "retry"
> => {
  const definition: Workflows["definition"] = (name) => {
    const found = files.all().get(name)
    return found !== undefined ? Effect.succeed(found) : Effect.fail(
      new Rejection({
        case: "WorkflowNotFound",
        detail: `There is no workflow ${JSON.stringify(name)} here. There are: ${named([...files.all().keys()])}.`
      })
    )
  }

  const begin = Effect.fnUntraced(function*(given: Runs.NewRun, kept?: Readonly<Record<string, Schema.Json>>) {
    const span = yield* Spans.begin(given)
    const trace = HttpTraceContext.toHeaders(span)["traceparent"]
    const run = { ...given, trace }
    const { id, isNew } = yield* runs.create(run, { maxLive: current().maxRuns }).pipe(
      Effect.catchTags({
        KeyReused: (error) =>
          Effect.fail(
            new Rejection({ case: "IdempotencyKeyReused", param: "idempotency-key", detail: error.message })
          ),
        TooManyRuns: (error) =>
          Effect.fail(
            new Rejection({
              case: "TooManyRuns",
              detail: `${error.message} (workflows.maxRuns)`,
              retryAfter: Duration.seconds(10)
            })
          ),
        SqlError: (error) => unlessDown(Effect.fail(error))
      })
    )
    if (isNew) {
      spans.keep(id, span)
      yield* runner.start({ text: run.definition }, run.input, { id, kept, trace })
      yield* WorkflowMetrics.start(run.workflow)
    }
    return id
  }, Effect.uninterruptible)

  const retry: Workflows["retry"] = Effect.fnUntraced(function*(caller, run, { idempotencyKey }) {
    const { definition, id, input, status, workflow } = run
    if (status !== "failed" && status !== "cancelled") {
      return yield* conflict(`Only a run that failed or was cancelled can be tried again; this one is ${status}.`)
    }
    const outputs = yield* Effect.catchTags(keptOf(runs, id, run), {
      SettingsRefused: ({ message }) => conflict(`The gateway can not run its definition any more: ${message}`),
      SqlError: (error) => unlessDown(Effect.fail(error))
    })
    return yield* begin(
      { id: randomUUID(), workflow, definition, client: caller.name, input, idempotencyKey, retryOf: id },
      outputs
    )
  })

  return {
    definition,
    definitions: () => [...files.all().values()],
    start: (caller, workflow, input, { idempotencyKey }) =>
      Effect.flatMap(
        definition(workflow),
        ({ text }) =>
          begin({ id: randomUUID(), workflow, definition: text, client: caller.name, input, idempotencyKey })
      ),
    retry
  }
}
