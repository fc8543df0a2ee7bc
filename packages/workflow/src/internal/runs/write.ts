/** Writes what happens in runs: each in a transaction that holds the row of the run. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { End, Event } from "../../Run.ts"
import * as Usage from "../../Usage.ts"
import * as Cancel from "./cancel.ts"
import { changeOf, dataOf, plain, textOf, typeOf } from "./event.ts"
import { readUsage, type Stamp } from "./rows.ts"

/** Events of a run that are kept, before its end. */
const maxEvents = 20_000

const noStep = {
  service: "",
  status: "",
  attempts: 0,
  ended_at: null,
  input: null,
  output: null,
  error: null,
  question: null,
  who: null,
  usage: JSON.stringify(Usage.none)
}

/** The next number of a run's events, with its lock until the transaction ends; undefined where the run has ended or is not there. */
const nextOf = (sql: SqlClient.SqlClient, run: string) =>
  Effect.map(
    sql<
      { events: Stamp; usage: string; workflow: string; created_at: Stamp }
    >`UPDATE ballast_workflow_runs SET events = events + 1
      WHERE id = ${run} AND status = 'running' RETURNING events, usage, workflow, created_at`,
    ([row]) =>
      row && {
        seq: Number(row.events),
        usage: readUsage(row.usage),
        workflow: row.workflow,
        createdAt: Number(row.created_at)
      }
  )

export const append = (sql: SqlClient.SqlClient, run: string, seq: number, data: string) =>
  sql`INSERT INTO ballast_workflow_events ${sql.insert({ run, seq, data })}`

const countWaiting = (sql: SqlClient.SqlClient, run: string) =>
  sql`UPDATE ballast_workflow_runs SET waiting = (SELECT COUNT(*) FROM ballast_workflow_steps
    WHERE run = ${run} AND status = 'waiting') WHERE id = ${run}`

/** The row of the step is locked while the decision is given, so one of several decisions counts. */
export const decision = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  run: string,
  step: string,
  give: Effect.Effect<void>
) {
  const rows = yield* sql`UPDATE ballast_workflow_steps SET status = 'running'
    WHERE run = ${run} AND step = ${step} AND status = 'waiting' RETURNING step`
  if (rows.length === 0) return false
  yield* countWaiting(sql, run)
  yield* give
  return true
})

/** What is told again each time that a run goes on counts once. */
const isKnown = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, { _tag, run, step }: Event) {
  if (_tag !== "Skipped" && _tag !== "Kept" && _tag !== "Waiting") return false
  const [row] = yield* sql<{ status: string }>`SELECT status FROM ballast_workflow_steps
    WHERE run = ${run} AND step = ${step}`
  // An approval that waits again may be decided already.
  return row !== undefined && (_tag === "Waiting" || row.status === (_tag === "Skipped" ? "skipped" : "kept"))
})

export const event = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, given: Event, at: number) {
  const { _tag, run, step, ...fields } = given
  if (yield* isKnown(sql, given)) return undefined
  const next = yield* nextOf(sql, run)
  if (next === undefined) return undefined
  const used = "usage" in given ? given.usage : undefined
  const change = changeOf(given, at)
  yield* sql`INSERT INTO ballast_workflow_steps ${
    sql.insert({ run, step, started_at: at, ...noStep, ...change })
  } ON CONFLICT (run, step) DO UPDATE SET ${sql.update(change)}`
  if (used !== undefined) {
    const [row] = yield* sql<{ usage: string }>`SELECT usage FROM ballast_workflow_steps
      WHERE run = ${run} AND step = ${step}`
    const ofStep = JSON.stringify(Usage.add(row === undefined ? Usage.none : readUsage(row.usage), used))
    yield* sql`UPDATE ballast_workflow_steps SET usage = ${ofStep} WHERE run = ${run} AND step = ${step}`
    const ofRun = JSON.stringify(Usage.add(next.usage, used))
    yield* sql`UPDATE ballast_workflow_runs SET usage = ${ofRun} WHERE id = ${run}`
  }
  yield* countWaiting(sql, run)
  if (next.seq <= maxEvents) yield* append(sql, run, next.seq, dataOf(at, typeOf[_tag], { step, ...fields }))
  return next.workflow
})

export const end = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, run: string, given: End, at: number) {
  const next = yield* nextOf(sql, run)
  if (next === undefined) return undefined
  const { status, ...fields } = given
  yield* sql`UPDATE ballast_workflow_runs SET ${
    sql.update({
      status,
      ended_at: at,
      output: given.status === "succeeded" ? textOf(given.output) : null,
      failed_step: given.status === "failed" ? given.step ?? null : null,
      error: given.status === "failed" ? plain(given.reason) : null
    })
  } WHERE id = ${run}`
  yield* sql`UPDATE ballast_workflow_steps SET status = 'cancelled', ended_at = ${at}
    WHERE run = ${run} AND status IN ('running', 'waiting')`
  yield* append(sql, run, next.seq, dataOf(at, `run.${status}`, fields))
  yield* Cancel.forget(sql, run)
  return { workflow: next.workflow, millis: at - next.createdAt }
})
