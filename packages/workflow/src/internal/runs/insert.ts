/** Records a run to be. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { createHash } from "node:crypto"
import * as Usage from "../../Usage.ts"
import { dataOf } from "./event.ts"
import { KeyReused, type NewRun, TooManyRuns } from "./model.ts"
import type { Stamp } from "./rows.ts"
import { append } from "./write.ts"

const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex")

/** One text for the same value, whatever the order of its keys. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1))
      : part)

export const insert = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, run: NewRun, maxLive: number, at: number) {
  const { client, definition, id, input, retryOf, workflow } = run
  const idempotency_key = run.idempotencyKey ?? null
  const input_hash = hashOf(canonical(input))
  const hash = hashOf(definition)
  const existing = Effect.map(
    sql<{ id: string; input_hash: string }>`SELECT id, input_hash FROM ballast_workflow_runs
      WHERE client = ${client} AND workflow = ${workflow} AND idempotency_key = ${idempotency_key}`,
    ([row]) => row
  )
  const again = (row: { readonly id: string; readonly input_hash: string }) =>
    row.input_hash === input_hash
      ? Effect.succeed({ id: row.id, isNew: false })
      : Effect.fail(new KeyReused({ run: row.id }))
  const before = idempotency_key === null ? undefined : yield* existing
  if (before !== undefined) return yield* again(before)
  const [live] = yield* sql<
    { count: Stamp }
  >`SELECT COUNT(*) AS count FROM ballast_workflow_runs WHERE status = 'running'`
  if (Number(live?.count ?? 0) >= maxLive) return yield* new TooManyRuns({ limit: maxLive })
  yield* sql`INSERT INTO ballast_workflow_definitions ${
    sql.insert({ hash, text: definition })
  } ON CONFLICT (hash) DO NOTHING`
  const made = yield* sql`INSERT INTO ballast_workflow_runs ${
    sql.insert({
      id,
      workflow,
      definition: hash,
      client,
      idempotency_key,
      input: JSON.stringify(input),
      input_hash,
      trace: run.trace ?? "",
      retry_of: retryOf ?? null,
      status: "running",
      waiting: 0,
      created_at: at,
      usage: JSON.stringify(Usage.none),
      events: 1
    })
  } ON CONFLICT DO NOTHING RETURNING id`
  if (made.length === 0) {
    // Another process was faster.
    const row = yield* existing
    return yield* row === undefined ? Effect.die(new Error(`there is a run ${id} already`)) : again(row)
  }
  yield* append(sql, id, 1, dataOf(at, "run.created", { workflow, client, input, retryOf }))
  return { id, isNew: true }
})
