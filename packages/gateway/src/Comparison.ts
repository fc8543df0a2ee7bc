/**
 * Two arms of an A/B split beside each other: errors, latency, time to first token, tokens, cost and feedback, each with its 95 % confidence interval and a plain verdict.
 *
 * Means and their intervals come from the ledger's sums (Welch's interval for means, Wilson's and Newcombe's for shares), so that a comparison costs milliseconds for any number of calls.
 * Latency, tokens and cost are those of answered calls: an arm does not get faster by failing. Calls that their clients left count in neither.
 *
 * A verdict is given from 30 calls of each arm on. An interval of a difference that holds zero shows no difference; it does not show that there is none. One measure in twenty
 * shows a difference by chance: decide before which one counts.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import type { Database } from "./Database.ts"
import * as statistics from "./internal/ledger/statistics.ts"
import { moments, spans } from "./internal/ledger/sums.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Query {
  readonly a: string
  readonly b: string
  /** In milliseconds since the epoch; counted are whole hours. */
  readonly from: number
  readonly to: number
  /** The model that clients asked for. Default: all. */
  readonly model?: string | undefined
}

const Interval = Schema.Struct({ low: Schema.Finite, high: Schema.Finite })

const Side = Schema.Struct({
  n: Schema.Int,
  value: Schema.NullOr(Schema.Finite),
  interval: Schema.NullOr(Interval)
})

/**
 * One measure of both arms. `difference` is B less A.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Measure = Schema.Struct({
  name: Schema.String,
  unit: Schema.String,
  a: Side,
  b: Side,
  difference: Schema.NullOr(Interval),
  verdict: Schema.String
})

/**
 * @category schemas
 * @since 0.1.0
 */
export const Comparison = Schema.Struct({
  a: Schema.String,
  b: Schema.String,
  from: Schema.Int,
  to: Schema.Int,
  calls: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
  measures: Schema.Array(Measure)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Comparison = typeof Comparison.Type

type Side = typeof Side.Type
type Measure = typeof Measure.Type

/** Fewer calls than these show nothing. */
const least = 30

/** How a measure is told. */
interface About {
  readonly name: string
  readonly unit: string
  /** Of the smaller value, as in "B is faster". */
  readonly less: string
  readonly more: string
}

const abouts = {
  errors: { name: "errors", unit: "share of the calls", less: "fails less often", more: "fails more often" },
  duration: { name: "latency", unit: "ms", less: "is faster", more: "is slower" },
  ttft: { name: "time to first token", unit: "ms", less: "begins sooner", more: "begins later" },
  tokens: { name: "tokens of a call", unit: "tokens", less: "uses fewer tokens", more: "uses more tokens" }
} as const

const finite = ({ high, low }: statistics.Interval): statistics.Interval | null =>
  Number.isFinite(low) && Number.isFinite(high) ? { low, high } : null

const percent = (share: number): string => {
  const value = Math.abs(share * 100)
  return `${value < 10 ? Number(value.toPrecision(2)) : Math.round(value)} %`
}

/** By how much, where that can be said of the first value. */
const byHowMuch = (base: number, { high, low }: statistics.Interval, isShare: boolean): string => {
  if (isShare) {
    return ` by ${percent(Math.min(Math.abs(low), Math.abs(high)))} to ${
      percent(Math.max(Math.abs(low), Math.abs(high)))
    } of the calls`
  }
  if (base <= 0) return ""
  const [near, far] = [Math.abs(low), Math.abs(high)].sort((a, b) => a - b)
  return ` by ${percent((near ?? 0) / base)} to ${percent((far ?? 0) / base)}`
}

const verdictOf = (
  { less, more }: Pick<About, "less" | "more">,
  b: string,
  sides: { readonly a: Side; readonly b: Side },
  difference: statistics.Interval | null,
  isShare: boolean
): string => {
  const fewest = Math.min(sides.a.n, sides.b.n)
  if (fewest < least || difference === null) return `too few to say: ${fewest} of at least ${least}`
  // Sums of floating point are right to some 15 digits.
  const noise = Math.abs(sides.a.value ?? 0) * 1e-9
  if (difference.low <= noise && difference.high >= -noise) return "no difference shown"
  const amount = byHowMuch(sides.a.value ?? 0, difference, isShare)
  return `${b} ${difference.high < 0 ? less : more}${amount}`
}

const compareMeans = (
  about: About,
  b: string,
  first: statistics.Moments,
  second: statistics.Moments
): Measure => {
  const side = (moments: statistics.Moments): Side => ({
    n: moments.n,
    value: moments.n === 0 ? null : statistics.meanOf(moments),
    interval: moments.n < 2 ? null : finite(statistics.intervalOfMean(moments))
  })
  const sides = { a: side(first), b: side(second) }
  const difference = first.n < 2 || second.n < 2 ? null : finite(statistics.intervalOfDifference(first, second))
  return {
    name: about.name,
    unit: about.unit,
    ...sides,
    difference,
    verdict: verdictOf(about, b, sides, difference, false)
  }
}

interface Share {
  readonly hits: number
  readonly n: number
}

const compareShares = (about: About, b: string, first: Share, second: Share): Measure => {
  const side = ({ hits, n }: Share): Side => ({
    n,
    value: n === 0 ? null : hits / n,
    interval: n === 0 ? null : finite(statistics.intervalOfShare(hits, n))
  })
  const sides = { a: side(first), b: side(second) }
  const difference = first.n === 0 || second.n === 0 ? null : finite(statistics.intervalOfShares(first, second))
  return {
    name: about.name,
    unit: about.unit,
    ...sides,
    difference,
    verdict: verdictOf(about, b, sides, difference, true)
  }
}

const columns = ["calls", "errors", "cancelled", ...moments] as const

type Sums = Readonly<Record<(typeof columns)[number], number>>

type Value = number | bigint | string

const nothing = Object.fromEntries(columns.map((name) => [name, 0])) as Sums // each of them

const sumsOf = (rows: ReadonlyArray<Readonly<Record<string, Value>>>): Sums =>
  Object.fromEntries(
    columns.map((name) => [name, rows.reduce((sum, row) => sum + Number(row[name] ?? 0), 0)])
  ) as Sums // each of them

const readSums = (database: Database, { a, b, model }: Query, from: number, to: number) =>
  database.use((sql) =>
    sql<Record<string, Value>>`SELECT arm, currency, ${
      sql.csv(columns.map((name) => sql`SUM(${sql(name)}) AS ${sql(name)}`))
    } FROM ballast_usage WHERE ${
      sql.and([
        sql`span = 'hour'`,
        sql`start >= ${from}`,
        sql`start < ${to}`,
        sql.in("arm", [a, b]),
        ...(model === undefined ? [] : [sql`model = ${model}`])
      ])
    } GROUP BY arm, currency`
  )

const readFeedback = (database: Database, { a, b, model }: Query, from: number, to: number) =>
  database.use((sql) =>
    sql<Record<string, Value>>`SELECT ballast_calls.arm AS arm, ballast_feedback.name AS name, kind, COUNT(*) AS n,
      SUM(value) AS sum, SUM(value * value) AS squares
    FROM ballast_feedback JOIN ballast_calls ON ballast_calls.request_id = ballast_feedback.request_id
    WHERE ${
      sql.and([
        sql`ballast_calls.at >= ${from}`,
        sql`ballast_calls.at < ${to}`,
        sql`ballast_calls.arm IN ${sql.in([a, b])}`,
        sql`value IS NOT NULL`,
        ...(model === undefined ? [] : [sql`ballast_calls.model = ${model}`])
      ])
    } GROUP BY ballast_calls.arm, ballast_feedback.name, kind ORDER BY name, kind`
  )

const momentsOf = (
  sums: Sums,
  n: "answered" | "timed" | "counted" | "priced",
  sum: "duration" | "ttft" | "tokens" | "cost"
) => ({
  n: sums[n],
  sum: sums[sum],
  squares: sums[`${sum}_squares`]
})

const feedbackOf = (
  rows: ReadonlyArray<Readonly<Record<string, Value>>>,
  a: string,
  b: string
): ReadonlyArray<Measure> => {
  const names = Array.from(new Set(rows.map((row) => JSON.stringify([row["name"], row["kind"]]))))
  return names.map((key) => {
    const [name, kind]: [string, string] = JSON.parse(key)
    const of = (arm: string): statistics.Moments => {
      const row = rows.find((row) => row["arm"] === arm && row["name"] === name && row["kind"] === kind)
      return { n: Number(row?.["n"] ?? 0), sum: Number(row?.["sum"] ?? 0), squares: Number(row?.["squares"] ?? 0) }
    }
    const about = { name: `feedback ${name}`, less: "is rated lower", more: "is rated higher" }
    return kind === "boolean"
      ? compareShares({ ...about, unit: "share of true" }, b, { hits: of(a).sum, n: of(a).n }, {
        hits: of(b).sum,
        n: of(b).n
      })
      : compareMeans({ ...about, unit: "mean" }, b, of(a), of(b))
  })
}

/**
 * Compares two arms.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  database: Database,
  query: Query
): Effect.fn.Return<Comparison, SqlError> {
  const { a, b } = query
  const from = Math.floor(query.from / spans.hour) * spans.hour
  const to = Math.ceil(query.to / spans.hour) * spans.hour
  const rows = yield* readSums(database, query, from, to)
  const feedback = yield* readFeedback(database, query, from, to)
  const of = (arm: string): Sums => sumsOf(rows.filter((row) => row["arm"] === arm))
  const [first, second] = [of(a), of(b)]
  const share = ({ calls, cancelled, errors }: Sums): Share => ({ hits: errors, n: calls - cancelled })
  const currencies = Array.from(new Set(rows.map((row) => String(row["currency"])))).filter((name) => name !== "")
    .sort()
  const inCurrency = (arm: string, currency: string): Sums =>
    sumsOf([nothing, ...rows.filter((row) => row["arm"] === arm && row["currency"] === currency)])
  return {
    a,
    b,
    from,
    to,
    calls: { a: first.calls, b: second.calls },
    measures: [
      compareShares(abouts.errors, b, share(first), share(second)),
      compareMeans(
        abouts.duration,
        b,
        momentsOf(first, "answered", "duration"),
        momentsOf(second, "answered", "duration")
      ),
      compareMeans(abouts.ttft, b, momentsOf(first, "timed", "ttft"), momentsOf(second, "timed", "ttft")),
      compareMeans(abouts.tokens, b, momentsOf(first, "counted", "tokens"), momentsOf(second, "counted", "tokens")),
      ...currencies.map((currency) =>
        compareMeans(
          { name: `cost of a call`, unit: currency, less: "costs less", more: "costs more" },
          b,
          momentsOf(inCurrency(a, currency), "priced", "cost"),
          momentsOf(inCurrency(b, currency), "priced", "cost")
        )
      ),
      ...feedbackOf(feedback, a, b)
    ]
  }
})
