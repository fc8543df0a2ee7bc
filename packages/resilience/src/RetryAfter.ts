/**
 * Reads a server's hint of when to come back.
 *
 * Understands `retry-after-ms` and both forms of `Retry-After` (RFC 9110,
 * section 10.2.3): seconds, and an HTTP date in each of its three spellings. A
 * form that is not understood reads as absent and never as zero: "come back at
 * once" is the worst guess. Takes plain strings and knows no HTTP client.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * The raw values of the two headers, where present.
 *
 * @category models
 * @since 0.1.0
 */
export interface Values {
  readonly "retry-after-ms"?: string | undefined
  readonly "retry-after"?: string | undefined
}

/**
 * Reads the hint of an answer's headers (lower-case names) against the clock.
 *
 * **Details**
 *
 * `undefined` when there is no hint, or none that can be understood; a date in
 * the past is none. `retry-after-ms` wins when both can be read.
 *
 * @category parsing
 * @since 0.1.0
 */
export const fromHeaders = (headers: Values): Effect.Effect<Duration.Duration | undefined> =>
  Effect.map(Clock.currentTimeMillis, (now) => parse(headers, now))

/**
 * Reads the hint as `fromHeaders` does, against a given Unix time in
 * milliseconds.
 *
 * @category parsing
 * @since 0.1.0
 */
export const parse = (headers: Values, now: number): Duration.Duration | undefined => {
  const millis = decimal(headers["retry-after-ms"]) ?? seconds(headers["retry-after"]) ??
    untilDate(headers["retry-after"], now)
  return millis === undefined ? undefined : Duration.millis(millis)
}

const decimal = (text: string | undefined): number | undefined => {
  const trimmed = text?.trim() ?? ""
  if (!/^\d+(\.\d+)?$/.test(trimmed)) return undefined
  const value = Number(trimmed)
  // Beyond this a number of milliseconds is no time that anybody meant.
  return value <= Number.MAX_SAFE_INTEGER / 1000 ? value : undefined
}

const seconds = (text: string | undefined): number | undefined => {
  const value = decimal(text)
  return value === undefined ? undefined : value * 1000
}

const untilDate = (text: string | undefined, now: number): number | undefined => {
  const date = httpDate(text?.trim() ?? "", now)
  return date !== undefined && date > now ? date - now : undefined
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

// IMF-fixdate, RFC 850 and asctime, in this order.
const spellings = [
  /^[A-Z][a-z]{2}, (?<day>\d{2}) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/,
  /^[A-Z][a-z]+day, (?<day>\d{2})-(?<month>[A-Z][a-z]{2})-(?<year>\d{2}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/,
  /^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) (?<time>\d{2}:\d{2}:\d{2}) (?<year>\d{4})$/
]

const fiftyYears = 50 * 365.25 * 24 * 60 * 60 * 1_000

const httpDate = (text: string, now: number): number | undefined => {
  for (const spelling of spellings) {
    const { day = "", month = "", time = "", year = "" } = spelling.exec(text)?.groups ?? {}
    const number = months.indexOf(month)
    if (number === -1) continue
    const read = (fullYear: string) => {
      const iso = `${fullYear}-${String(number + 1).padStart(2, "0")}-${day.trim().padStart(2, "0")}T${time}.000Z`
      // An impossible day, such as the 30th of February, is garbage too.
      const date = Option.filter(DateTime.make(iso), (made) => DateTime.formatIso(made) === iso)
      return Option.getOrUndefined(Option.map(date, DateTime.toEpochMillis))
    }
    if (year.length === 4) return read(year)
    // RFC 9110: two digits that seem more than fifty years ahead mean the past century.
    const date = read(`20${year}`)
    return date !== undefined && date - now > fiftyYears ? read(`19${year}`) : date
  }
  return undefined
}
