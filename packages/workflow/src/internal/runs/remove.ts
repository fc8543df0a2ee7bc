/** Deletes runs. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"

/** Runs that are deleted in one transaction. */
export const deletion = 100

export const remove = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, before: number) {
  const rows = yield* sql<{ id: string; definition: string }>`SELECT id, definition FROM ballast_workflow_runs
    WHERE status <> 'running' AND ended_at < ${before} LIMIT ${deletion}`
  for (const { definition, id } of rows) {
    yield* sql`DELETE FROM ballast_workflow_events WHERE run = ${id}`
    yield* sql`DELETE FROM ballast_workflow_steps WHERE run = ${id}`
    yield* sql`DELETE FROM ballast_workflow_runs WHERE id = ${id}`
    yield* sql`DELETE FROM ballast_workflow_definitions WHERE hash = ${definition}
      AND NOT EXISTS (SELECT 1 FROM ballast_workflow_runs WHERE definition = ${definition})`
  }
  return rows.length
})
