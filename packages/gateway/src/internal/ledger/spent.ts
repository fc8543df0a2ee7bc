/** What a client has spent in a period, by the ledger. */
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import type { Period, Spent } from "../../Budgets.ts"
import type { Records } from "../../Records.ts"

const zero = BigDecimal.make(0n, 0)

const begins = ({ key, name }: Period): number =>
  Date.parse(name === "day" ? `${key}T00:00:00Z` : `${key}-01T00:00:00Z`)

/**
 * Without a ledger nothing was spent before. One that can not be asked says nothing either, with a warning. Rows that wait are written first, those
 * that a killed process left among them.
 */
export const spentOf =
  (records: Pick<Records, "database" | "ledger"> | undefined, currency: string): Spent => (client, period) =>
    records === undefined ?
      Effect.succeed(zero) :
      Effect.andThen(
        records.ledger.flush,
        records.database.use((sql) =>
          sql<{ readonly units: number | string | bigint | null }>`
      SELECT SUM(cost_hit + cost_miss + cost_output + cost_reasoning + cost_call) AS units FROM ballast_usage
      WHERE span = 'day' AND client = ${client} AND currency = ${currency}
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
