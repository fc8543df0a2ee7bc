/** What one process asks of another that works on a run: to cancel it. A row stands for it, until it is done or the run has ended. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"

/** False where the run has ended, or is not there. */
export const ask = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, run: string) {
  const rows = yield* sql`SELECT id FROM ballast_workflow_runs WHERE id = ${run} AND status = 'running'`
  if (rows.length === 0) return false
  yield* sql`INSERT INTO ballast_workflow_cancels ${sql.insert({ run })} ON CONFLICT DO NOTHING`
  return true
})

export const asked = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql<{ run: string }>`SELECT run FROM ballast_workflow_cancels ORDER BY run`,
    (rows) => rows.map(({ run }) => run)
  )

/** The row is locked while it is done, so one of several processes does it. */
export const take = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, run: string, cancel: Effect.Effect<void>) {
  const rows = yield* sql`DELETE FROM ballast_workflow_cancels WHERE run = ${run} RETURNING run`
  if (rows.length > 0) yield* cancel
})

export const forget = (sql: SqlClient.SqlClient, run: string) =>
  sql`DELETE FROM ballast_workflow_cancels WHERE run = ${run}`
