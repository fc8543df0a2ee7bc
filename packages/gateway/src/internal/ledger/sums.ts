/** What the ledger adds up of calls, by hour and by day: what a call adds to each sum, and which calls a sum is of. */
import * as Arr from "effect/Array"
import type { Call } from "./call.ts"
import * as money from "./money.ts"

export const spans = { hour: 3_600_000, day: 86_400_000 } as const

/** What sums are kept apart by, beside the time. */
export const dimensions = [
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

export const measures: ReadonlyArray<Measure> = [...counts, ...moments]

const left = "client_closed_request"

const isAnswered = ({ error, status }: Call): boolean => error === "" && status < 400
const isHit = ({ cache }: Call): boolean => cache === "hit" || cache === "stale"
const isCounted = (call: Call): boolean => call.input_tokens !== null && call.output_tokens !== null
const isPriced = (call: Call): boolean => costs.some((name) => call[name] !== null)

/** Whether a service has answered a call, or was about to, and did not tell its tokens. They may be billed. */
const isUntold = (call: Call): boolean => {
  const isLeft = call.error === left && call.attempts > 0
  return !isCounted(call) && !isHit(call) && (isAnswered(call) || call.ttft_ms !== null || isLeft)
}

const flag = (holds: boolean): number => holds ? 1 : 0

/** What the answer cache gave was not bought. */
const bought = (call: Call, tokens: number | null): number => isHit(call) ? 0 : tokens ?? 0

const durationOf = (call: Call): number => isAnswered(call) ? call.duration_ms : 0
const ttftOf = (call: Call): number => isAnswered(call) ? call.ttft_ms ?? 0 : 0
const tokensOf = (call: Call): number => isAnswered(call) ? (call.input_tokens ?? 0) + (call.output_tokens ?? 0) : 0
const costOf = (call: Call): number =>
  isAnswered(call) ? costs.reduce((sum, name) => sum + (call[name] ?? 0), 0) / money.unit : 0

/** What a call adds to each sum. */
const measureOf: Readonly<Record<Measure, (call: Call) => number>> = {
  calls: () => 1,
  errors: (call) => flag(!isAnswered(call) && call.error !== left),
  cancelled: (call) => flag(call.error === left),
  cache_hits: (call) => flag(isHit(call)),
  unknown_usage: (call) => flag(isUntold(call)),
  unknown_price: (call) => flag(isCounted(call) && !isPriced(call) && !isHit(call)),
  input_tokens: (call) => bought(call, call.input_tokens),
  cached_tokens: (call) => bought(call, call.cached_tokens),
  output_tokens: (call) => bought(call, call.output_tokens),
  reasoning_tokens: (call) => bought(call, call.reasoning_tokens),
  cost_hit: (call) => call.cost_hit ?? 0,
  cost_miss: (call) => call.cost_miss ?? 0,
  cost_output: (call) => call.cost_output ?? 0,
  cost_reasoning: (call) => call.cost_reasoning ?? 0,
  cost_call: (call) => call.cost_call ?? 0,
  saved: (call) => call.saved ?? 0,
  answered: (call) => flag(isAnswered(call)),
  duration: durationOf,
  duration_squares: (call) => durationOf(call) ** 2,
  timed: (call) => flag(isAnswered(call) && call.ttft_ms !== null),
  ttft: ttftOf,
  ttft_squares: (call) => ttftOf(call) ** 2,
  counted: (call) => flag(isAnswered(call) && isCounted(call)),
  tokens: tokensOf,
  tokens_squares: (call) => tokensOf(call) ** 2,
  priced: (call) => flag(isAnswered(call) && isPriced(call)),
  cost: costOf,
  cost_squares: (call) => costOf(call) ** 2
}

const sum = (calls: ReadonlyArray<Call>, measure: (call: Call) => number): number => {
  let sum = 0
  for (const call of calls) sum += measure(call)
  return sum
}

/** A sum of counts, also beyond what a number holds exactly. No count is below 0, so a sum that a number holds was exact at each step. */
const exactSum = (calls: ReadonlyArray<Call>, count: (call: Call) => number): number | bigint => {
  const rounded = sum(calls, count)
  return Number.isSafeInteger(rounded) ? rounded : calls.reduce((exact, call) => exact + BigInt(count(call)), 0n)
}

type Span = keyof typeof spans

const startOf = (span: Span, { at }: Call): number => Math.floor(at / spans[span]) * spans[span]

/** The same for the calls of one sum alone: there is no NUL in any text. */
const keyOf = (span: Span, call: Call): string => {
  let key = String(startOf(span, call))
  for (const name of dimensions) key += `\0${call[name]}`
  return key
}

export type Sum = Record<string, string | number | bigint>

/** The sums of calls that have a span and all dimensions in common. */
const sumOf = (span: Span, calls: Arr.NonEmptyReadonlyArray<Call>): Sum => {
  const [call] = calls
  const row: Sum = { span, start: startOf(span, call) }
  for (const name of dimensions) row[name] = call[name]
  for (const name of counts) row[name] = exactSum(calls, measureOf[name])
  for (const name of moments) row[name] = sum(calls, measureOf[name])
  return row
}

/** Always in the same order, so that two processes do not wait for each other's rows. */
const inOrder = <A>(groups: Readonly<Record<string, A>>): ReadonlyArray<A> =>
  Object.entries(groups).sort(([a], [b]) => a < b ? -1 : 1).map(([, group]) => group)

/** The sums of calls, by day and by hour. */
export const sumsOf = (calls: ReadonlyArray<Call>): ReadonlyArray<Sum> => {
  const hours = Arr.groupBy(calls, (call) => keyOf("hour", call))
  const days = Arr.groupBy(Object.values(hours), ([call]) => keyOf("day", call))
  return [
    ...inOrder(days).map((hours) => sumOf("day", Arr.flatten(hours))),
    ...inOrder(hours).map((calls) => sumOf("hour", calls))
  ]
}
