/** Writes rows and adds them to the sums by hour and day, in one transaction: a row that is there already adds nothing. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Struct from "effect/Struct"
import { Call, type Feedback } from "./call.ts"
import * as money from "./money.ts"

export const spans = { hour: 3_600_000, day: 86_400_000 } as const

/** What sums are kept apart by, beside the time. */
const dimensions = [
  "client",
  "labels",
  "route",
  "model",
  "provider",
  "account",
  "provider_model",
  "arm",
  "currency"
] as const

/** Calls and tokens. */
export const numbers = [
  "calls",
  "errors",
  "cancelled",
  "cache_hits",
  "unknown_usage",
  "unknown_price",
  "input_tokens",
  "cached_tokens",
  "output_tokens",
  "reasoning_tokens"
] as const

/** Cost by kind. */
export const costs = ["cost_hit", "cost_miss", "cost_output", "cost_reasoning", "cost_call"] as const

/** Whole numbers, which add up exactly. */
export const counts = [...numbers, ...costs, "saved"] as const

/** Sums and sums of squares of the answered calls, from which means and their intervals come. */
export const moments = [
  "answered",
  "duration",
  "duration_squares",
  "timed",
  "ttft",
  "ttft_squares",
  "counted",
  "tokens",
  "tokens_squares",
  "priced",
  "cost",
  "cost_squares"
] as const

type Measure = (typeof counts)[number] | (typeof moments)[number]

const measures: ReadonlyArray<Measure> = [...counts, ...moments]

const left = "client_closed_request"

const flag = (holds: boolean): number => holds ? 1 : 0

const measuresOf = (call: Call): Readonly<Record<Measure, number>> => {
  const isAnswered = call.error === "" && call.status < 400
  const isCancelled = call.error === left
  const isHit = call.cache === "hit" || call.cache === "stale"
  const isCounted = call.input_tokens !== null && call.output_tokens !== null
  const isPriced = costs.some((name) => call[name] !== null)
  const tokens = (call.input_tokens ?? 0) + (call.output_tokens ?? 0)
  const cost = costs.reduce((sum, name) => sum + (call[name] ?? 0), 0) / money.unit
  const ttft = isAnswered ? call.ttft_ms : null
  const duration = isAnswered ? call.duration_ms : 0
  return {
    calls: 1,
    errors: flag(!isAnswered && !isCancelled),
    cancelled: flag(isCancelled),
    cache_hits: flag(isHit),
    unknown_usage: flag(isAnswered && !isCounted),
    unknown_price: flag(isCounted && !isPriced && !isHit),
    // What the answer cache gave was not bought.
    input_tokens: isHit ? 0 : call.input_tokens ?? 0,
    cached_tokens: isHit ? 0 : call.cached_tokens ?? 0,
    output_tokens: isHit ? 0 : call.output_tokens ?? 0,
    reasoning_tokens: isHit ? 0 : call.reasoning_tokens ?? 0,
    cost_hit: call.cost_hit ?? 0,
    cost_miss: call.cost_miss ?? 0,
    cost_output: call.cost_output ?? 0,
    cost_reasoning: call.cost_reasoning ?? 0,
    cost_call: call.cost_call ?? 0,
    saved: call.saved ?? 0,
    answered: flag(isAnswered),
    duration,
    duration_squares: duration ** 2,
    timed: flag(ttft !== null),
    ttft: ttft ?? 0,
    ttft_squares: (ttft ?? 0) ** 2,
    counted: flag(isAnswered && isCounted),
    tokens: isAnswered ? tokens : 0,
    tokens_squares: isAnswered ? tokens ** 2 : 0,
    priced: flag(isAnswered && isPriced),
    cost: isAnswered ? cost : 0,
    cost_squares: isAnswered ? cost ** 2 : 0
  }
}

type Sum = Record<string, string | number | bigint>

/** Exact, though a sum may be beyond what a number holds exactly. */
const plus = (sum: number | bigint, value: number): number | bigint =>
  typeof sum === "number" && Number.isSafeInteger(sum + value) ? sum + value : BigInt(sum) + BigInt(value)

/** Calls of one hour that have all dimensions in common. */
interface Group {
  readonly start: number
  readonly of: Call
  readonly counts: Record<string, number | bigint>
  readonly moments: Record<string, number>
}

const none = (names: ReadonlyArray<string>) => Object.fromEntries(names.map((name) => [name, 0]))

/** Groups by a key that is cheap to make: most texts have no separator in them, and one that has is told by its length. */
const keyOf = (call: Call, start: number): string => {
  let key = String(start)
  for (const name of dimensions) key += `\n${call[name].length} ${call[name]}`
  return key
}

const groupsOf = (calls: ReadonlyArray<Call>): Iterable<Group> => {
  const found = new Map<string, Group>()
  for (const call of calls) {
    const start = Math.floor(call.at / spans.hour) * spans.hour
    const key = keyOf(call, start)
    let group = found.get(key)
    if (group === undefined) {
      group = { start, of: call, counts: none(counts), moments: none(moments) }
      found.set(key, group)
    }
    const one = measuresOf(call)
    for (const name of counts) group.counts[name] = plus(group.counts[name] ?? 0, one[name])
    for (const name of moments) group.moments[name] = (group.moments[name] ?? 0) + one[name]
  }
  return found.values()
}

/** Sums of one batch, by hour and by day. */
const sumsOf = (calls: ReadonlyArray<Call>): ReadonlyArray<Sum> => {
  const found = new Map<string, Sum>()
  for (const group of groupsOf(calls)) {
    for (const [span, millis] of Object.entries(spans)) {
      const start = Math.floor(group.start / millis) * millis
      const key = JSON.stringify([span, start, ...dimensions.map((name) => group.of[name])])
      const sum = found.get(key) ?? {
        span,
        start,
        ...Object.fromEntries(dimensions.map((name) => [name, group.of[name]]))
      }
      found.set(key, sum)
      for (const name of counts) sum[name] = BigInt(sum[name] ?? 0) + BigInt(group.counts[name] ?? 0)
      for (const name of moments) sum[name] = Number(sum[name] ?? 0) + (group.moments[name] ?? 0)
    }
  }
  // Always in the same order, so that two processes do not wait for each other's rows.
  return Array.from(found).sort(([a], [b]) => a < b ? -1 : 1).map(([, sum]) => sum)
}

const addition = measures.map((name) => `${name} = ballast_usage.${name} + excluded.${name}`).join(", ")

/** Rows of one statement. There are few sizes, since the text of each is prepared once, and costs more than what it then writes. */
const sizes = [100, 20, 4, 1] as const

/** Cuts rows into the parts that statements take. */
const partsOf = <A>(rows: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> => {
  const parts: Array<ReadonlyArray<A>> = []
  let from = 0
  for (const size of sizes) {
    for (; rows.length - from >= size; from += size) parts.push(rows.slice(from, from + size))
  }
  return parts
}

const columns = Struct.keys(Call.fields)

/** The text that inserts so many rows. That of Effect's own helper is made anew for each batch. */
const insertionOf = (rows: number, parameter: (index: number) => string): string => {
  const tuples = Array.from(
    { length: rows },
    (_, row) => `(${columns.map((_, column) => parameter(row * columns.length + column + 1)).join(",")})`
  )
  return `INSERT INTO ballast_calls (${columns.join(",")}) VALUES ${
    tuples.join(",")
  } ON CONFLICT (id) DO NOTHING RETURNING id`
}

const insertions = { pg: new Map<number, string>(), other: new Map<number, string>() }

const insertion = (sql: SqlClient, rows: number): string => {
  const isPg = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const known = insertions[isPg ? "pg" : "other"]
  let text = known.get(rows)
  if (text === undefined) known.set(rows, text = insertionOf(rows, isPg ? (index) => `$${index}` : () => "?"))
  return text
}

const insert = (sql: SqlClient, calls: ReadonlyArray<Call>) => {
  const values: Array<unknown> = []
  for (const call of calls) for (const name of columns) values.push(call[name])
  return sql.unsafe<{ readonly id: string }>(insertion(sql, calls.length), values)
}

const add = (sql: SqlClient, sums: Arr.NonEmptyReadonlyArray<Sum>) =>
  sql`INSERT INTO ballast_usage ${sql.insert(sums)} ON CONFLICT (span, start, ${sql.csv(dimensions)}) DO UPDATE SET ${
    sql.literal(addition)
  }`

/** Keeps what a client has spent on a day, and nothing else of its calls. */
export const addSpent = (
  sql: SqlClient,
  { currency, units, ...of }: {
    readonly start: number
    readonly client: string
    readonly currency: string
    readonly units: bigint
  }
) =>
  add(sql, [{
    span: "spent",
    ...Object.fromEntries(dimensions.map((name) => [name, ""])),
    ...Object.fromEntries(measures.map((name) => [name, 0])),
    ...of,
    currency,
    cost_call: units
  }])

/** Gives the rows that were not there before. */
export const write = (
  sql: SqlClient,
  calls: ReadonlyArray<Call>
): Effect.Effect<ReadonlyArray<Call>, SqlError> =>
  sql.withTransaction(Effect.gen(function*() {
    const fresh: Array<Call> = []
    for (const rows of partsOf(calls)) {
      const written = yield* insert(sql, rows)
      // Rows are there already after a crash alone, so ids are hardly ever compared.
      const ids = written.length === rows.length ? undefined : new Set(written.map(({ id }) => id))
      fresh.push(...ids === undefined ? rows : rows.filter(({ id }) => ids.delete(id)))
    }
    for (const sums of Arr.chunksOf(sumsOf(fresh), sizes[0])) yield* add(sql, sums)
    return fresh
  }))

/** Keeps feedback: the newest of a client, a request and a name. */
export const writeFeedback = (sql: SqlClient, all: ReadonlyArray<Feedback>): Effect.Effect<void, SqlError> =>
  sql.withTransaction(Effect.forEach(
    all,
    (row) =>
      sql`INSERT INTO ballast_feedback ${sql.insert(row)} ON CONFLICT (request_id, name, client) DO UPDATE SET
        at = excluded.at, kind = excluded.kind, value = excluded.value, comment = excluded.comment
        WHERE excluded.at >= ballast_feedback.at`,
    { discard: true }
  ))
