/**
 * Deletes what is kept of a client's calls: their rows, the sums that they are part of, and feedback that it gave.
 *
 * Rows are deleted some at a time, so that others are written meanwhile. What waits in the spool is written first. What the client spent on each
 * day of this month stays until the month is over, since its budgets begin with it.
 *
 * Other gateways are told to drop the client's answers from their memory (`Purges`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { deleteSums } from "./internal/ledger/spent.ts"
import * as Purges from "./Purges.ts"
import type { Records } from "./Records.ts"

/**
 * How much was deleted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Forgotten {
  readonly calls: number
  readonly sums: number
  readonly feedback: number
  /** Days of this month whose cost is kept. */
  readonly spent: number
}

const some = 1_000

/**
 * Deletes the calls, sums and feedback of a client.
 *
 * @category constructors
 * @since 0.1.0
 */
export const client = Effect.fnUntraced(function*(
  { database, ledger }: Pick<Records, "database" | "ledger">,
  name: string
): Effect.fn.Return<Forgotten, SqlError> {
  yield* ledger.flush
  let calls = 0
  for (let more = true; more;) {
    const rows = yield* database.use((sql) =>
      sql`DELETE FROM ballast_calls WHERE id IN (SELECT id FROM ballast_calls WHERE client = ${name} LIMIT ${some}) RETURNING id`
    )
    calls += rows.length
    more = rows.length === some
  }
  const { spent, sums } = yield* database.use((sql) => deleteSums(sql, name))
  const feedback = yield* database.use((sql) =>
    sql`DELETE FROM ballast_feedback WHERE client = ${name} RETURNING request_id`
  )
  yield* Purges.tell(database, { client: name })
  return { calls, sums, feedback: feedback.length, spent }
})
