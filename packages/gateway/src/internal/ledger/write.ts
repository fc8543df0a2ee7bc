/** Writes rows and adds them to the sums by hour and day, in one transaction: a row that is there already adds nothing. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Call } from "./call.ts"
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

/** Whole numbers, which add up exactly. */
export const counts = [
  "calls",
  "errors",
  "cancelled",
  "cache_hits",
  "unknown_usage",
  "unknown_price",
  "input_tokens",
  "cached_tokens",
  "output_tokens",
  "reasoning_tokens",
  "cost_hit",
  "cost_miss",
  "cost_output",
  "cost_reasoning",
  "cost_call",
  "saved"
] as const

/** Sums and sums of squares of the answered calls, from which means and their intervals come. */
const moments = [
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

const costs = ["cost_hit", "cost_miss", "cost_output", "cost_reasoning", "cost_call"] as const

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

/** Sums of one batch. Counts and money are big integers: a sum may be beyond what a number holds exactly. */
const sumsOf = (calls: ReadonlyArray<Call>): ReadonlyArray<Sum> => {
  const found = new Map<string, Sum>()
  for (const call of calls) {
    const one = measuresOf(call)
    for (const [span, millis] of Object.entries(spans)) {
      const start = Math.floor(call.at / millis) * millis
      const key = JSON.stringify([span, start, ...dimensions.map((name) => call[name])])
      let sum = found.get(key)
      if (sum === undefined) {
        sum = { span, start, ...Object.fromEntries(dimensions.map((name) => [name, call[name]])) }
        found.set(key, sum)
      }
      for (const name of counts) sum[name] = BigInt(sum[name] ?? 0) + BigInt(one[name])
      for (const name of moments) sum[name] = Number(sum[name] ?? 0) + one[name]
    }
  }
  // Always in the same order, so that two processes do not wait for each other's rows.
  return Array.from(found).sort(([a], [b]) => a < b ? -1 : 1).map(([, sum]) => sum)
}

const addition = measures.map((name) => `${name} = ballast_usage.${name} + excluded.${name}`).join(", ")

/** Rows of one statement: it has some 30 parameters for each. */
const rowsOfStatement = 100

/** Gives the rows that were not there before. */
export const write = (
  sql: SqlClient,
  calls: ReadonlyArray<Call>
): Effect.Effect<ReadonlyArray<Call>, SqlError> =>
  sql.withTransaction(Effect.gen(function*() {
    const written = new Set<string>()
    for (const rows of Arr.chunksOf(calls, rowsOfStatement)) {
      const inserted = yield* sql<{ id: string }>`INSERT INTO ballast_calls ${
        sql.insert(rows)
      } ON CONFLICT (id) DO NOTHING RETURNING id`
      for (const { id } of inserted) written.add(id)
    }
    const fresh = calls.filter(({ id }) => written.delete(id))
    for (const rows of Arr.chunksOf(sumsOf(fresh), rowsOfStatement)) {
      yield* sql`INSERT INTO ballast_usage ${sql.insert(rows)} ON CONFLICT (span, start, ${
        sql.csv(dimensions)
      }) DO UPDATE SET ${sql.literal(addition)}`
    }
    return fresh
  }))
