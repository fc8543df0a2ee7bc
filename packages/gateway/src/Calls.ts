/**
 * The rows of the ledger, page by page, in the order of their time.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import type { Database } from "./Database.ts"
import { Call } from "./internal/ledger/call.ts"
import * as money from "./internal/ledger/money.ts"
import { costs } from "./internal/ledger/sums.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Query {
  /** In milliseconds since the epoch. */
  readonly from: number
  readonly to: number
  readonly client?: string | undefined
  readonly model?: string | undefined
  readonly request?: string | undefined
  /** Rows of a page, 1 to 10,000. */
  readonly limit: number
  /** The `next` of the page before. */
  readonly after?: string | undefined
}

const Money = Schema.NullOr(Schema.String)

/**
 * A row as it is shown: money as exact decimals, labels as they were.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Shown = Schema.Struct({
  ...Call.fields,
  labels: Schema.Record(Schema.String, Schema.String),
  cost_hit: Money,
  cost_miss: Money,
  cost_output: Money,
  cost_reasoning: Money,
  cost_call: Money,
  cost: Money,
  saved: Money
})

/**
 * @category schemas
 * @since 0.1.0
 */
export const Page = Schema.Struct({
  calls: Schema.Array(Shown),
  next: Schema.NullOr(Schema.String).annotate({ description: "The `after` of the next page; null on the last one" })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Page = typeof Page.Type

const texts = [
  "id",
  "request_id",
  "trace_id",
  "client",
  "route",
  "model",
  "provider",
  "account",
  "provider_model",
  "arm",
  "error",
  "currency",
  "price_revision",
  "cache",
  "labels"
] as const

type Raw = Readonly<Record<string, string | number | bigint | null>>

const readLabels = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Record(Schema.String, Schema.String)))

const moneyOf = (value: Raw[string] | undefined): string | null => value == null ? null : money.format(BigInt(value))

/** Postgres gives its large integers as big ints. */
const shown = (raw: Raw) => {
  const isText = new Set<string>(texts)
  const plain = Object.fromEntries(
    Object.entries(raw).map(([name, value]) => [name, value === null || isText.has(name) ? value : Number(value)])
  )
  const paid = costs.flatMap((name) => raw[name] == null ? [] : [BigInt(raw[name])])
  return {
    ...plain,
    labels: readLabels(raw["labels"]),
    ...Object.fromEntries(costs.map((name) => [name, moneyOf(raw[name])])),
    cost: paid.length === 0 ? null : money.format(paid.reduce((sum, one) => sum + one, 0n)),
    saved: moneyOf(raw["saved"])
  }
}

const decode = Schema.decodeUnknownSync(Schema.Array(Shown))

const cursor = /^(\d{1,15})\.([\w-]{1,64})$/

/**
 * Whether a text can be an `after`.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isCursor = (text: string): boolean => cursor.test(text)

/**
 * Reads a page.
 *
 * @category constructors
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function*(database: Database, query: Query): Effect.fn.Return<Page, SqlError> {
  const [, at, id = ""] = cursor.exec(query.after ?? "") ?? []
  const rows = yield* database.use((sql) => {
    const where = [
      sql`at >= ${query.from}`,
      sql`at < ${query.to}`,
      ...(query.client === undefined ? [] : [sql`client = ${query.client}`]),
      ...(query.model === undefined ? [] : [sql`model = ${query.model}`]),
      ...(query.request === undefined ? [] : [sql`request_id = ${query.request}`]),
      ...(at === undefined ? [] : [sql`(at > ${Number(at)} OR (at = ${Number(at)} AND id > ${id}))`])
    ]
    return sql<Raw>`SELECT * FROM ballast_calls WHERE ${sql.and(where)} ORDER BY at, id LIMIT ${query.limit}`
  })
  const calls = decode(rows.map(shown))
  const last = calls.at(-1)
  return { calls, next: last === undefined || calls.length < query.limit ? null : `${last.at}.${last.id}` }
})
