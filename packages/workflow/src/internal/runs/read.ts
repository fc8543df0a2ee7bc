/** Reads runs: lists of them, and one with its steps. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { longest, nameOf } from "./event.ts"
import type { Filter, Recorded, Run, Status } from "./model.ts"
import {
  orNone,
  readJson,
  type Stamp,
  stepOf,
  type StepRow,
  summaryColumns,
  summaryOf,
  type SummaryRow
} from "./rows.ts"

/** Runs of a client, and those with an approval that it may give. */
const ofClient = (sql: SqlClient.SqlClient, client: string) =>
  sql`(client = ${client} OR id IN (SELECT run FROM ballast_workflow_steps WHERE status = 'waiting'
    AND REPLACE(who, ${JSON.stringify(client)}, '') <> who))`

const statusIs = (sql: SqlClient.SqlClient, status: Status) => {
  switch (status) {
    case "running":
      return sql`status = 'running' AND waiting = 0`
    case "waiting":
      return sql`status = 'running' AND waiting > 0`
    default:
      return sql`status = ${status}`
  }
}

/** The newest runs that a filter lets through. */
export const summaries = (
  sql: SqlClient.SqlClient,
  { after, client, since, status, workflow }: Filter,
  limit: number
) =>
  Effect.map(
    sql<SummaryRow>`SELECT ${sql.literal(summaryColumns)} FROM ballast_workflow_runs WHERE ${
      sql.and([
        sql`created_at >= ${since ?? 0}`,
        ...workflow === undefined ? [] : [sql`workflow = ${workflow}`],
        ...client === undefined ? [] : [ofClient(sql, client)],
        ...status === undefined ? [] : [statusIs(sql, status)],
        ...after === undefined ? [] : [sql`(created_at, id) < (${after.createdAt}, ${after.id})`]
      ])
    } ORDER BY created_at DESC, id DESC LIMIT ${limit}`,
    (rows) => rows.map(summaryOf)
  )

/** Events and ids that are read at once. */
const page = 200

/** Steps that one answer shows. */
const maxSteps = 1_000

interface RunRow extends SummaryRow {
  readonly input: string
  readonly output: string | null
  readonly trace: string
  readonly text: string
}

/** A run with its steps. */
export const run = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, id: string) {
  const [row] = yield* sql<RunRow>`SELECT r.*, d.text FROM ballast_workflow_runs r
    JOIN ballast_workflow_definitions d ON d.hash = r.definition WHERE r.id = ${id}`
  if (row === undefined) return undefined
  const steps = yield* sql<StepRow>`SELECT step, service, status, attempts, started_at, ended_at, input,
      CASE WHEN LENGTH(output) <= ${longest.inEvent} THEN output END AS output, error, question, who, usage
    FROM ballast_workflow_steps WHERE run = ${id} ORDER BY started_at, step LIMIT ${maxSteps}`
  const found: Run = {
    ...summaryOf(row),
    input: readJson(row.input),
    output: orNone(row.output, readJson),
    definition: row.text,
    trace: row.trace,
    steps: steps.map(stepOf)
  }
  return found
})

/** Who started a run. */
export const client = (sql: SqlClient.SqlClient, id: string) =>
  Effect.map(
    sql<{ client: string }>`SELECT client FROM ballast_workflow_runs WHERE id = ${id}`,
    ([row]) => row?.client
  )

export const step = (sql: SqlClient.SqlClient, id: string, step: string) =>
  Effect.map(
    sql<StepRow>`SELECT * FROM ballast_workflow_steps WHERE run = ${id} AND step = ${step}`,
    ([row]) => row && stepOf(row)
  )

const idsOf = (rows: ReadonlyArray<{ readonly id: string }>) => rows.map(({ id }) => id)

/** Those that have not ended. */
export const live = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql<{ id: string }>`SELECT id FROM ballast_workflow_runs WHERE status = 'running' ORDER BY created_at`,
    idsOf
  )

/** Those of which nothing was told but that they were made, before a time. */
export const unbegun = (sql: SqlClient.SqlClient, before: number) =>
  Effect.map(
    sql<{ id: string }>`SELECT id FROM ballast_workflow_runs
      WHERE status = 'running' AND events = 1 AND created_at < ${before} ORDER BY created_at LIMIT ${page}`,
    idsOf
  )

/** What steps that succeeded gave, by their ids. */
export const outputs = (sql: SqlClient.SqlClient, id: string) =>
  Effect.map(
    sql<{ step: string; output: string }>`SELECT step, output FROM ballast_workflow_steps
      WHERE run = ${id} AND status IN ('succeeded', 'kept') AND output IS NOT NULL`,
    (rows) => Object.fromEntries(rows.map(({ output, step }) => [step, readJson(output)]))
  )

/** How many wait for a person, by workflow. */
export const waiting = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql<{ workflow: string; count: Stamp }>`SELECT workflow, COUNT(*) AS count FROM ballast_workflow_runs
      WHERE status = 'running' AND waiting > 0 GROUP BY workflow`,
    (rows) => new Map(rows.map(({ count, workflow }) => [workflow, Number(count)]))
  )

export const state = (sql: SqlClient.SqlClient, id: string) =>
  Effect.map(
    sql<{ status: string; waiting: Stamp }>`SELECT status, waiting FROM ballast_workflow_runs WHERE id = ${id}`,
    ([row]) => ({ isOver: row?.status !== "running", isWaiting: Number(row?.waiting ?? 0) > 0 })
  )

/** The next events after a number. */
export const events = (sql: SqlClient.SqlClient, id: string, after: number) =>
  Effect.map(
    sql<{ seq: Stamp; data: string }>`SELECT seq, data FROM ballast_workflow_events
      WHERE run = ${id} AND seq > ${after} ORDER BY seq LIMIT ${page}`,
    (rows) => rows.map(({ data, seq }): Recorded => ({ seq: Number(seq), type: nameOf(data), data }))
  )
