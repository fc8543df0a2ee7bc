/**
 * Hours of the week in which calls cost more: windows of local time on some days of the week, public holidays excepted.
 *
 * Public holidays are data by year, since a government sets them a year ahead. In a year without data a day is taken for no holiday, so
 * the dearer price holds, and `isKnown` says that it was not known. Nothing is guessed.
 *
 * The clock of the time zone is read at the asked moment; a window in which the clocks are changed ends by the clock that it began with.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { china } from "./internal/holidays.ts"

const weekdays = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"] as const

/**
 * @category models
 * @since 0.1.0
 */
export type Weekday = typeof weekdays[number]

const matching = (pattern: RegExp, expected: string) =>
  Schema.String.check(Schema.makeFilter((text) => pattern.test(text), { expected }))

const TimeOfDay = matching(/^([01]\d|2[0-3]):[0-5]\d$|^24:00$/, "a time of day such as 09:00")
const Day = matching(/^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/, "a day such as 10-01")

const Year = Schema.Struct({
  holidays: Schema.Array(Day).annotate({ description: "Days off, such as 10-01." }),
  workdays: Schema.optionalKey(Schema.Array(Day)).annotate({
    description: "Days of a weekend that are worked in place of days off."
  })
})

/**
 * @category schemas
 * @since 0.1.0
 */
export const PeakHours = Schema.Struct({
  timeZone: Schema.String.check(Schema.makeFilter((name) => DateTime.zoneMakeNamed(name)._tag === "Some", {
    expected: "a time zone such as Asia/Shanghai"
  })).annotate({ description: "Whose clock the windows are read on." }),
  days: Schema.Array(Schema.Literals(weekdays)).annotate({ description: "The days of the week that have windows." }),
  windows: Schema.Array(Schema.Struct({ from: TimeOfDay, to: TimeOfDay })).check(Schema.makeFilter(
    (windows) => windows.every(({ from, to }) => from < to),
    { expected: "windows that begin before they end, on one day" }
  )).annotate({ description: "The peak hours of such a day." }),
  holidays: Schema.optionalKey(Schema.Record(matching(/^\d{4}$/, "a year such as 2027"), Year)).annotate({
    description: "Public holidays by year, which have no windows. Left out: there are none."
  }),
  countWorkdays: Schema.optionalKey(Schema.Boolean).annotate({
    description: "Whether a worked day of a weekend has the windows. Default false."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type PeakHours = typeof PeakHours.Type

/**
 * DeepSeek's: 09:00 to 12:00 and 14:00 to 18:00 in Beijing, Monday to Friday, public holidays excepted.
 *
 * **Details**
 *
 * The page says Monday to Friday, so a Saturday that is worked in place of a holiday is off-peak. Holidays of 2025 and 2026 are those of
 * the State Council's notices.
 *
 * @see {@link https://api-docs.deepseek.com/quick_start/pricing}
 * @category constants
 * @since 0.1.0
 */
export const deepSeek: PeakHours = {
  timeZone: "Asia/Shanghai",
  days: ["monday", "tuesday", "wednesday", "thursday", "friday"],
  windows: [{ from: "09:00", to: "12:00" }, { from: "14:00", to: "18:00" }],
  holidays: china
}

/**
 * Whether a moment is a peak hour, and whether the holidays of its year are known; without peak hours that does not matter.
 *
 * @category models
 * @since 0.1.0
 */
export interface Moment {
  readonly isPeak: boolean
  readonly isKnown: boolean
}

/** A moment as the clock on the wall shows it. */
interface Local {
  readonly year: number
  /** `10-01` */
  readonly day: string
  /** 0 is Sunday. */
  readonly weekday: number
  readonly minute: number
}

const two = (n: number): string => String(n).padStart(2, "0")

const localOf = (timeZone: string, millis: number): Local => {
  const { day, hour, minute, month, weekDay, year } = DateTime.toParts(
    DateTime.makeZonedUnsafe(millis, { timeZone })
  )
  return { year, day: `${two(month)}-${two(day)}`, weekday: weekDay, minute: hour * 60 + minute }
}

const minutes = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3))

/** The end of the window that a moment lies in, in minutes of its day; undefined outside of all. */
const endOf = ({ windows }: PeakHours, minute: number): number | undefined => {
  const window = windows.find(({ from, to }) => minutes(from) <= minute && minute < minutes(to))
  return window && minutes(window.to)
}

const hasWindows = (hours: PeakHours, { day, weekday, year }: Local): boolean => {
  const known = hours.holidays?.[String(year)]
  if (known?.holidays.includes(day)) return false
  return hours.days.some((name) => weekdays.indexOf(name) === weekday) ||
    (hours.countWorkdays === true && known?.workdays?.includes(day) === true)
}

/**
 * Looks at a moment, in milliseconds since 1970.
 *
 * @category accessors
 * @since 0.1.0
 */
export const at = (hours: PeakHours, millis: number): Moment => {
  const minute = Math.floor(millis / 60_000)
  const known = looked.get(hours)
  if (known?.minute === minute) return known.moment
  const local = localOf(hours.timeZone, millis)
  const isPeak = endOf(hours, local.minute) !== undefined && hasWindows(hours, local)
  const isKnown = !isPeak || hours.holidays === undefined || String(local.year) in hours.holidays
  const moment = { isPeak, isKnown }
  looked.set(hours, { minute, moment })
  return moment
}

/** The minute that was looked at last: reading a clock of another zone takes longer than all else of a price, and windows begin with a minute. */
const looked = new WeakMap<PeakHours, { readonly minute: number; readonly moment: Moment }>()

/**
 * The first moment from the given one on that is no peak hour, in milliseconds since 1970: the moment itself outside of peak hours.
 *
 * @category accessors
 * @since 0.1.0
 */
export const nextOffPeak = (hours: PeakHours, millis: number): number => {
  let next = millis
  // Windows may touch each other, also across midnight; a week of nothing else has no end.
  for (let i = 0; i <= 7 * hours.windows.length; i++) {
    const local = localOf(hours.timeZone, next)
    const end = endOf(hours, local.minute)
    if (end === undefined || !hasWindows(hours, local)) return next
    next = Math.floor(next / 60_000) * 60_000 + (end - local.minute) * 60_000
  }
  return Infinity
}
