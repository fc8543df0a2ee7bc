/** What a client has spent in a period, by the ledger. */
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import type { Period, Spent } from "../../Budgets.ts"
import type { Database } from "../../Database.ts"

const zero = BigDecimal.make(0n, 0)

const begins = ({ key, name }: Period): number =>
  Date.parse(name === "day" ? `${key}T00:00:00Z` : `${key}-01T00:00:00Z`)

/** Without a ledger nothing was spent before. One that can not be asked says nothing either, with a warning. */
export const spentOf = (database: Database | undefined, currency: string): Spent => (client, period) =>
  database === undefined ?
    Effect.succeed(zero) :
    database.use((sql) =>
      sql<{ readonly units: number | string | bigint | null }>`
      SELECT SUM(cost_hit + cost_miss + cost_output + cost_reasoning + cost_call) AS units FROM ballast_usage
      WHERE span = 'day' AND client = ${client} AND currency = ${currency}
        AND start >= ${begins(period)} AND start < ${period.ends}`
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
