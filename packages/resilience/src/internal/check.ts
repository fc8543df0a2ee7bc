import * as Duration from "effect/Duration"

/** Refuses a wrong option in the words that every constructor of this package uses. */
export const refuse = (where: string, field: string, rule: string, got: unknown): never => {
  throw new RangeError(`${where}: ${field} must be ${rule}, got ${String(got)}`)
}

export const positiveInteger = (where: string, field: string, value: number): number =>
  Number.isSafeInteger(value) && value >= 1 ? value : refuse(where, field, "an integer of at least 1", value)

export const count = (where: string, field: string, value: number): number =>
  value === Infinity || (Number.isSafeInteger(value) && value >= 0)
    ? value
    : refuse(where, field, "an integer of at least 0, or Infinity", value)

export const rate = (where: string, field: string, value: number): number =>
  value > 0 && value <= 1 ? value : refuse(where, field, "in (0, 1]", value)

/**
 * The largest weight, cost or share. Even the sum of a billion of them is far from infinity, of which nothing could be
 * taken away; and one of them leaves a ten-thousandth of a unit exact.
 */
export const largest = 1e12

/** A weight or the like that may be nothing. */
export const amount = (where: string, field: string, value: number): number =>
  value >= 0 && value <= largest ? value : refuse(where, field, "a number from 0 to 10^12", value)

/** A weight or the like that is something. */
export const positiveAmount = (where: string, field: string, value: number): number =>
  value > 0 && value <= largest ? value : refuse(where, field, "a number above 0, at most 10^12", value)

/** Whether a duration was given by what is no number, which Effect takes for zero. */
const hasNaN = (input: Duration.Input): boolean =>
  typeof input === "object" && input !== null && !Duration.isDuration(input)
    ? Object.values(input).some(Number.isNaN)
    : Number.isNaN(input)

const millis = (where: string, field: string, input: Duration.Input): number => {
  if (hasNaN(input)) return refuse(where, field, "a duration", "NaN")
  const duration = Duration.fromInput(input)
  return duration._tag === "Some"
    ? Duration.toMillis(duration.value)
    : refuse(where, field, "a duration", JSON.stringify(input))
}

/** A duration in milliseconds, above zero and finite. */
export const positive = (where: string, field: string, input: Duration.Input): number => {
  const value = millis(where, field, input)
  return value > 0 && Number.isFinite(value)
    ? value
    : refuse(where, field, "a finite duration above zero", Duration.format(Duration.millis(value)))
}

/** A duration in milliseconds, zero or more; infinity means no bound. */
export const notNegative = (where: string, field: string, input: Duration.Input): number => {
  const value = millis(where, field, input)
  return value >= 0
    ? value
    : refuse(where, field, "a duration of at least zero", Duration.format(Duration.millis(value)))
}

/** Compares two times as far as both are given, in milliseconds. */
type Comparison = (
  where: string,
  part: string,
  partMillis: number | undefined,
  whole: string,
  wholeMillis: number | undefined
) => void

const comparison =
  (rule: string, holds: (part: number, whole: number) => boolean): Comparison =>
  (where, part, partMillis, whole, wholeMillis) => {
    if (partMillis === undefined || wholeMillis === undefined || holds(partMillis, wholeMillis)) return
    const format = (millis: number) => Duration.format(Duration.millis(millis))
    refuse(where, part, `${rule} ${whole} (${format(wholeMillis)})`, format(partMillis))
  }

/** Refuses a part that is longer than the whole that it is in. */
export const notLonger = comparison("no longer than", (part, whole) => part <= whole)

/** Refuses a part that is not over before the whole that it is in. */
export const shorter = comparison("shorter than", (part, whole) => part < whole)

/** Refuses a time that is over before what it is for, or together with it. */
export const longer = comparison("longer than", (time, content) => time > content)
