/**
 * What was used and what it cost, from the ledger's sums: a year of traffic is some thousand of them, whatever the number of calls.
 *
 * A report counts whole hours, and whole days where sums by hour are no longer kept, in UTC: it says from when to when. Its sums are exact: money is added up as integers, so
 * that a report of a client and a month is the sum of the client's rows to the last digit. Calls of different currencies are never added.
 *
 * Tokens and cost are those that were bought. What the answer cache gave is counted as calls and `cache_hits`, and its worth as `saved`.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Database } from "./Database.ts"
import * as money from "./internal/ledger/money.ts"
import { counts, numbers, spans } from "./internal/ledger/sums.ts"

/**
 * What a report can be kept apart by, beside a label (`label.team`).
 *
 * @category constants
 * @since 0.1.0
 */
export const dimensions = [
  "client",
  "model",
  "provider",
  "account",
  "provider_model",
  "route",
  "arm",
  "hour",
  "day",
  "month"
] as const

type Dimension = (typeof dimensions)[number]

/**
 * Whether a report can be kept apart by it.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isBy = (text: string): boolean =>
  dimensions.includes(text as Dimension) || /^label\.[\w.-]{1,64}$/.test(text)

/**
 * @category models
 * @since 0.1.0
 */
export interface Query {
  /** Dimensions, or labels as `label.team`. */
  readonly by: ReadonlyArray<string>
  /** In milliseconds since the epoch. */
  readonly from: number
  readonly to: number
  readonly client?: string | undefined
  readonly model?: string | undefined
  readonly provider?: string | undefined
  readonly arm?: string | undefined
}

const Money = Schema.String.annotate({ description: "An exact decimal" })

const Cost = Schema.Struct({
  currency: Schema.String,
  hit: Money,
  miss: Money,
  output: Money,
  reasoning: Money,
  call: Money,
  total: Money,
  saved: Money
})

const measures = {
  calls: Schema.Int,
  errors: Schema.Int,
  cancelled: Schema.Int.annotate({ description: "Calls that their clients left" }),
  cache_hits: Schema.Int,
  unknown_usage: Schema.Int.annotate({
    description: "Calls whose tokens the service did not tell: answered, broken off or left by their clients"
  }),
  unknown_price: Schema.Int.annotate({ description: "Calls whose tokens have no price" }),
  input_tokens: Schema.Int,
  cached_tokens: Schema.Int,
  output_tokens: Schema.Int,
  reasoning_tokens: Schema.Int,
  cost: Schema.Array(Cost)
}

/**
 * What was used in one group.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Row = Schema.Struct({ group: Schema.Record(Schema.String, Schema.String), ...measures })

/**
 * @category schemas
 * @since 0.1.0
 */
export const Report = Schema.Struct({
  from: Schema.Int,
  to: Schema.Int,
  by: Schema.Array(Schema.String),
  rows: Schema.Array(Row),
  total: Schema.Struct(measures)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Report = typeof Report.Type

type Count = (typeof counts)[number]
type Sums = Record<Count, bigint>

const none = (): Sums => Object.fromEntries(counts.map((name) => [name, 0n])) as Sums // each of them

interface Group {
  readonly group: Readonly<Record<string, string>>
  readonly all: Sums
  readonly byCurrency: Map<string, Sums>
}

const groupOf = (group: Group["group"]): Group => ({ group, all: none(), byCurrency: new Map() })

const add = ({ all, byCurrency }: Group, currency: string, sums: Sums): void => {
  const own = byCurrency.get(currency) ?? none()
  byCurrency.set(currency, own)
  for (const name of counts) {
    all[name] += sums[name]
    own[name] += sums[name]
  }
}

const kinds = ["hit", "miss", "output", "reasoning", "call"] as const

const costOf = ([currency, sums]: [string, Sums]): typeof Cost.Type => ({
  currency,
  ...Object.fromEntries(kinds.map((kind) => [kind, money.format(sums[`cost_${kind}`])])) as Record<
    (typeof kinds)[number],
    string
  >,
  total: money.format(kinds.reduce((sum, kind) => sum + sums[`cost_${kind}`], 0n)),
  saved: money.format(sums.saved)
})

const measured = ({ all, byCurrency }: Group) => ({
  ...Object.fromEntries(numbers.map((name) => [name, Number(all[name])])) as Record<(typeof numbers)[number], number>,
  // Without a price there is no currency.
  cost: Array.from(byCurrency).filter(([currency]) => currency !== "").sort(([a], [b]) => a < b ? -1 : 1).map(costOf)
})

const iso = (millis: number, length: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis)).slice(0, length)

/** The text of a dimension in a row of sums. */
const valueOf = (by: string, row: Readonly<Record<string, string>>): string => {
  switch (by) {
    case "hour":
      return `${iso(Number(row["start"]), 13)}:00Z`
    case "day":
      return iso(Number(row["start"]), 10)
    case "month":
      return iso(Number(row["start"]), 7)
  }
  if (!by.startsWith("label.")) return row[by] ?? ""
  const labels: unknown = JSON.parse(row["labels"] ?? "{}")
  const name = by.slice("label.".length)
  return typeof labels === "object" && labels !== null && Object.hasOwn(labels, name)
    ? String(labels[name as keyof typeof labels])
    : ""
}

const columnOf = (by: string): string =>
  by.startsWith("label.") ? "labels" : by === "hour" || by === "day" || by === "month" ? "start" : by

const down = (at: number, span: number): number => Math.floor(at / span) * span
const up = (at: number, span: number): number => Math.ceil(at / span) * span

/** Whole days from the sums by day, the hours at both ends from those by hour. */
const within = (sql: SqlClient, { by }: Query, from: number, to: number) => {
  const firstDay = up(from, spans.day)
  const lastDay = down(to, spans.day)
  if (by.includes("hour") || firstDay >= lastDay) {
    return sql`span = 'hour' AND start >= ${from} AND start < ${to}`
  }
  return sql`((span = 'day' AND start >= ${firstDay} AND start < ${lastDay})
    OR (span = 'hour' AND start >= ${from} AND start < ${firstDay})
    OR (span = 'hour' AND start >= ${lastDay} AND start < ${to}))`
}

const filters = ["client", "model", "provider", "arm"] as const

/**
 * Makes a report. Sums by hour from before `hoursSince` are not kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  database: Database,
  query: Query,
  hoursSince = 0
): Effect.fn.Return<Report, SqlError> {
  const from = down(query.from, query.from < hoursSince ? spans.day : spans.hour)
  const to = up(query.to, query.to < hoursSince ? spans.day : spans.hour)
  const columns = Array.from(new Set([...query.by.map(columnOf), "currency"]))
  const rows = yield* database.use((sql) => {
    const sums = counts.map((name) => sql`CAST(SUM(${sql(name)}) AS TEXT) AS ${sql(name)}`)
    const where = [
      within(sql, query, from, to),
      ...filters.flatMap((name) => query[name] === undefined ? [] : [sql`${sql(name)} = ${query[name]}`])
    ]
    return sql<Record<string, string>>`SELECT ${
      sql.csv(columns.map((name) => sql`CAST(${sql(name)} AS TEXT) AS ${sql(name)}`))
    }, ${sql.csv(sums)} FROM ballast_usage WHERE ${sql.and(where)} GROUP BY ${
      sql.csv(columns.map((name) => sql`${sql(name)}`))
    }`
  })
  const total = groupOf({})
  const groups = new Map<string, Group>()
  for (const row of rows) {
    const values = query.by.map((by) => valueOf(by, row))
    const key = JSON.stringify(values)
    const group = groups.get(key) ?? groupOf(Object.fromEntries(query.by.map((by, index) => [by, values[index] ?? ""])))
    groups.set(key, group)
    const sums = Object.fromEntries(counts.map((name) => [name, BigInt(row[name] ?? 0)])) as Sums // each of them
    add(group, row["currency"] ?? "", sums)
    add(total, row["currency"] ?? "", sums)
  }
  const sorted = Array.from(groups).sort(([a], [b]) => a < b ? -1 : 1)
  return {
    from,
    to,
    by: query.by,
    rows: sorted.map(([, group]) => ({ group: group.group, ...measured(group) })),
    total: measured(total)
  }
})
