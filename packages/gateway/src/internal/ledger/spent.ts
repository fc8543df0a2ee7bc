/** What a client has spent in a period, by the ledger; also when its calls were deleted from there. */
import * as BigDecimal from "effect/BigDecimal"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Period, Spent } from "../../Budgets.ts"
import type { Database } from "../../Database.ts"
import { addSpent } from "./write.ts"

const zero = BigDecimal.make(0n, 0)

/** The ledger and its database. */
interface Kept {
  readonly database: Database
  readonly ledger: { readonly flush: Effect.Effect<void, SqlError> }
}

/** When the month of a moment began (UTC). */
export const beginOfMonth = (millis: number): number => {
  const { month, year } = DateTime.toPartsUtc(DateTime.makeUnsafe(millis))
  return Date.UTC(year, month - 1)
}

interface Deleted {
  readonly span: string
  readonly start: number
  readonly currency: string
  readonly units: number | string | bigint
}

/** Deletes the sums of a client, but for what it spent on each day of this month. */
export const deleteSums = (sql: SqlClient, client: string) =>
  sql.withTransaction(Effect.gen(function*() {
    const month = beginOfMonth(yield* Clock.currentTimeMillis)
    const deleted = yield* sql<Deleted>`DELETE FROM ballast_usage WHERE client = ${client} RETURNING
      span, start, currency, cost_hit + cost_miss + cost_output + cost_reasoning + cost_call AS units`
    const spent = new Map<string, { readonly start: number; readonly currency: string; units: bigint }>()
    for (const { currency, span, start, units } of deleted) {
      if (span === "hour" || Number(start) < month || BigInt(units) === 0n) continue
      const key = `${start} ${currency}`
      const sum = spent.get(key) ?? { start: Number(start), currency, units: 0n }
      sum.units += BigInt(units)
      spent.set(key, sum)
    }
    for (const sum of spent.values()) yield* addSpent(sql, { client, ...sum })
    return { sums: deleted.filter(({ span }) => span !== "spent").length, spent: spent.size }
  }))

const begins = ({ key, name }: Period): number =>
  Date.parse(name === "day" ? `${key}T00:00:00Z` : `${key}-01T00:00:00Z`)

/**
 * Without a ledger nothing was spent before. One that can not be asked says nothing either, with a warning. Rows that wait are written first, those
 * that a killed process left among them.
 */
export const spentOf = (records: Kept | undefined, currency: string): Spent => (client, period) =>
  records === undefined ?
    Effect.succeed(zero) :
    Effect.andThen(
      records.ledger.flush,
      records.database.use((sql) =>
        sql<{ readonly units: number | string | bigint | null }>`
      SELECT SUM(cost_hit + cost_miss + cost_output + cost_reasoning + cost_call) AS units FROM ballast_usage
      WHERE span IN ('day', 'spent') AND client = ${client} AND currency = ${currency}
        AND start >= ${begins(period)} AND start < ${period.ends}`
      )
    ).pipe(
      Effect.map(([row]) => BigDecimal.make(BigInt(row?.units ?? 0), 12)),
      Effect.catch((error) =>
        Effect.as(
          Effect.logWarning("what a client has spent can not be read; its budget begins anew", {
            client,
            reason: error.message
          }),
          zero
        )
      )
    )
