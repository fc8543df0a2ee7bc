/** `ballast workflow runs`, `show` and `cancel` with `--database`: the runs that a database keeps, whether a process works on them or not. */
import * as Logs from "@ballast/telemetry/Logs"
import * as Runs from "@ballast/workflow/Runs"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { existsSync } from "node:fs"
import * as Database from "../../Database.ts"
import { StartError } from "../../StartError.ts"
import { runOf, summaryOf } from "../workflows/answers.ts"
import { cursorOf, filterOf } from "../workflows/listRequest.ts"
import * as ServiceClient from "../workflows/serviceClient.ts"
import * as WorkflowRunner from "./workflowRunner.ts"
import { type Filter, pathOf, presentList, presentRun } from "./workflowRuns.ts"

export interface Options {
  readonly database: string
  readonly json: boolean
}

const fail = (detail: string) => Effect.fail(new StartError({ detail }))

/** The record of a database that is there. */
const open = Effect.fnUntraced(function*(path: string) {
  const problem = Database.problemOf(path)
  if (problem !== undefined) return yield* fail(`--database: ${problem}.`)
  if (!Database.isPostgres(path) && !existsSync(path)) return yield* fail(`--database: there is no file ${path}.`)
  return yield* Database.make(Redacted.make(path))
})

const orFail = <A, E, R>(effect: Effect.Effect<A, E | SqlError, R>) =>
  Effect.mapError(
    effect,
    (error) => isSqlError(error) ? new StartError({ detail: `The database can not be used: ${error.message}.` }) : error
  )

export const list = Effect.fnUntraced(function*({ database, json }: Options, filter: Filter) {
  const { use } = yield* open(database)
  const given = yield* Effect.mapError(
    Effect.fromResult(filterOf({ url: pathOf(filter) }, filter.workflow ?? "-", yield* Clock.currentTimeMillis)),
    ({ message }) => new StartError({ detail: message })
  )
  const { next, runs } = yield* orFail(Runs.make(use).list(given))
  const answer = { object: "list", data: runs.map(summaryOf), next: next === undefined ? null : cursorOf(next) }
  yield* presentList({ json }, JSON.stringify(answer))
}, Effect.scoped)

const find = Effect.fnUntraced(function*({ description, use }: Database.Database, id: string) {
  const run = yield* orFail(Runs.make(use).find(id))
  return run ?? (yield* fail(`The database ${description} has no run ${id}.`))
})

export const show = Effect.fnUntraced(function*({ database, json }: Options, id: string) {
  const run = yield* find(yield* open(database), id)
  yield* presentRun({ json }, JSON.stringify(runOf(run)))
}, Effect.scoped)

/** How long another process is waited for. */
const patience = "10 seconds"

/** After every event there may be. */
const last = Number.MAX_SAFE_INTEGER

/** Works on the run itself, to its end, where no other process does; else it is told to the one that does. */
const end = Effect.fnUntraced(function*(
  options: WorkflowRunner.Options & { readonly database: string },
  runs: Runs.Runs,
  id: string
) {
  const ended = Stream.runDrain(runs.events(id, last))
  if (!Database.isPostgres(options.database)) {
    const isOurs = yield* Effect.scoped(
      Effect.flatMap(
        WorkflowRunner.make(options, id, () => Effect.void),
        ({ cancels, runner }) => Effect.as(Effect.andThen(cancels.cancelAsked(runner, id), ended), true)
      )
    ).pipe(
      Effect.catchTag("InUse", () => Effect.succeed(false))
    )
    if (isOurs) return
  }
  yield* Effect.timeoutOption(ended, patience)
})

export interface CancelOptions extends Options, WorkflowRunner.Options {
  readonly database: string
}

export const cancel = Effect.fnUntraced(function*(options: CancelOptions, id: string) {
  const database = yield* open(options.database)
  const runs = Runs.make(database.use)
  const { status } = yield* find(database, id)
  if (Runs.hasEnded(status) || !(yield* orFail(runs.askToCancel(id)))) {
    return yield* fail(`The run has ended before: ${(yield* find(database, id)).status}.`)
  }
  yield* orFail(end(options, runs, id)).pipe(
    Effect.provide([ServiceClient.layer, Logs.layer({ level: (yield* Logs.level) ?? "Warn", format: "pretty" })])
  )
  const run = yield* find(database, id)
  if (!Runs.hasEnded(run.status)) {
    yield* Console.error(
      "ballast: The run has not ended yet. What works on it is told to cancel it; if nothing does, the next one that begins cancels it."
    )
  }
  yield* presentRun(options, JSON.stringify(runOf(run)))
}, Effect.scoped)
