/**
 * Deletes what is kept of a client's calls: their rows, the sums that they are part of, and feedback that it gave.
 *
 * Rows are deleted some at a time, so that others are written meanwhile. What waits in the spool is written first. What the client spent on each
 * day of this month stays until the month is over, since its budgets begin with it.
 *
 * A mark in the database tells other processes, which look for it every two seconds, to drop the client's answers from their memory. It is
 * kept for a week.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { deleteSums } from "./internal/ledger/spent.ts"
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

/** How often a process looks for clients that others have forgotten. */
const interval = Duration.seconds(2)

/** In milliseconds. */
const keepMarks = 7 * 24 * 3_600_000

const mark = Effect.fnUntraced(function*(sql: SqlClient, client: string) {
  const now = yield* Clock.currentTimeMillis
  // First, so that marks of several processes come one after the other.
  yield* sql`UPDATE ballast_revisions SET revision = revision + 1 WHERE name = 'forgotten'`
  yield* sql`DELETE FROM ballast_forgotten WHERE at < ${now - keepMarks}`
  yield* sql`INSERT INTO ballast_forgotten (revision, client, at)
    SELECT revision, ${client}, ${now} FROM ballast_revisions WHERE name = 'forgotten'`
})

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
  yield* database.use((sql) => sql.withTransaction(mark(sql, name)))
  return { calls, sums, feedback: feedback.length, spent }
})

/**
 * Runs `forgotten` for each client that is forgotten from now on, here or in another process, as long as the scope lives. While that or the
 * database fails, it is tried again every two seconds.
 *
 * @category combinators
 * @since 0.1.0
 */
export const follow = Effect.fnUntraced(function*<E extends { readonly message: string }>(
  { database }: Pick<Records, "database">,
  forgotten: (client: string) => Effect.Effect<unknown, E>
): Effect.fn.Return<void, never, Scope.Scope> {
  let seen: number | undefined
  const look = Effect.gen(function*() {
    const [row] = yield* database.use((sql) =>
      sql<{ revision: number | bigint | string }>`SELECT revision FROM ballast_revisions WHERE name = 'forgotten'`
    )
    const revision = Number(row?.revision ?? 0)
    const since = seen ?? revision
    if (since < revision) {
      const rows = yield* database.use((sql) =>
        sql<{ client: string }>`SELECT DISTINCT client FROM ballast_forgotten WHERE revision > ${since}`
      )
      for (const { client } of rows) yield* forgotten(client)
    }
    seen = revision
  })
  let isFailing = false
  const tried = Effect.matchEffect(look, {
    onSuccess: () => Effect.sync(() => isFailing = false),
    onFailure: ({ message }) => {
      if (isFailing) return Effect.void
      isFailing = true
      return Effect.logWarning("answers of forgotten clients can not be looked for", { reason: message })
    }
  })
  yield* tried
  yield* Effect.forkScoped(Effect.repeat(Effect.delay(tried, interval), Schedule.forever))
})
