/**
 * `x-ballast-defer-until`: a call that can wait runs when it is cheaper.
 *
 * The value is a date with its time zone (RFC 3339) or a length of time: until then the gateway waits for the end of the peak hours of the
 * model's first target. The call runs at once outside of peak hours, where the price is the same at all hours, and where none is known; an
 * answer that a cache has comes at once, too. The request waits with its connection: a stream gets pings, a whole answer needs a client that waits as long.
 *
 * @since 0.1.0
 */
import type * as Pricing from "@ballast/deepseek/Pricing"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { parseTime } from "./ClientKeys.ts"
import { Rejection } from "./Rejection.ts"

/**
 * The header's name.
 *
 * @category constants
 * @since 0.1.0
 */
export const header = "x-ballast-defer-until"

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 }

/** A wait beyond this is refused: no connection lives as long. */
const longest = 24 * 3_600_000

const unreadable = new Rejection({
  case: "InvalidField",
  param: header,
  detail:
    `\`${header}\` must be a date such as 2026-11-30T18:00:00+08:00, or a length of time such as 8h, within 24 hours.`
})

/**
 * Until when a call may wait, in milliseconds since 1970; undefined without the header.
 *
 * @category parsing
 * @since 0.1.0
 */
export const read = (
  headers: Readonly<Record<string, string | undefined>>,
  now: number
): Result.Result<number | undefined, Rejection> => {
  const text = headers[header]
  if (text === undefined) return Result.succeed(undefined)
  const [, amount, unit = ""] = /^(\d{1,6})([smh])$/.exec(text) ?? []
  const isDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/.test(text)
  const until = amount === undefined
    ? isDate ? parseTime(text) ?? NaN : NaN
    : now + Number(amount) * (units[unit] ?? NaN)
  return until <= now + longest ? Result.succeed(until) : Result.fail(unreadable)
}

/**
 * Waits for the end of the peak hours, at most until the given moment.
 *
 * @category combinators
 * @since 0.1.0
 */
export const wait = (
  pricing: Pick<Pricing.Pricing, "nextOffPeak">,
  place: { readonly provider: string; readonly model: string },
  until: number
): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (at) => {
    const next = Result.getOrElse(pricing.nextOffPeak({ ...place, at }), () => at)
    const millis = Math.min(next, until) - at
    return millis > 0 ? Effect.sleep(millis) : Effect.void
  })
