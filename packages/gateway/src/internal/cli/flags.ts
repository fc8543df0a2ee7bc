/** Flags whose wrong values are told in the words of a wrong environment variable: what would be right, with an example. */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"

/** A text that may be left out. */
export const text = (name: string, description: string, metavar?: string) => {
  const flag = Flag.String(name).pipe(Flag.withDescription(description), Flag.optional)
  return metavar === undefined ? flag : Flag.withMetavar(flag, metavar)
}

/** A text that may be left out, and says nothing when it is empty, as that of a variable that is not set. */
export const filled = (name: string, description: string, metavar: string) =>
  make(name, metavar, `a ${metavar}`, (text) => text === "" ? undefined : text).pipe(
    Flag.withDescription(description),
    Flag.optional
  )

/** A switch that is off where it is left out. */
export const on = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

/** What flags have; undefined where they were left out. */
export const valuesOf = <A extends Readonly<Record<string, Option.Option<unknown>>>>(given: A) =>
  Object.fromEntries(Object.entries(given).map(([name, value]) => [name, Option.getOrUndefined(value)])) as {
    readonly [K in keyof A]: Option.Option.Value<A[K]> | undefined
  }

/** A flag that `parse` reads; `undefined` stands for a wrong value. */
const make = <A>(name: string, metavar: string, expected: string, parse: (text: string) => A | undefined) =>
  Flag.String(name).pipe(
    Flag.filterMap((text) => Option.fromUndefinedOr(parse(text.trim())), () => expected),
    Flag.withMetavar(metavar)
  )

const number = (text: string, isRight: (value: number) => boolean): number | undefined =>
  text !== "" && isRight(Number(text)) ? Number(text) : undefined

const whole = (min: number, max: number) => (text: string) =>
  number(text, (value) => Number.isSafeInteger(value) && value >= min && value <= max)

export const host = (fallback: string) => filled("host", `Address to listen on (HOST; default ${fallback})`, "address")

export const port = (fallback: number) =>
  make("port", "number", `a whole number from 0 to 65535, for example --port ${fallback}`, whole(0, 65_535)).pipe(
    Flag.withDescription(`Port to listen on, 0 for a free one (PORT; default ${fallback})`),
    Flag.optional
  )

export const workers = make(
  "workers",
  "number",
  "a whole number from 0 to 256, for example --workers 4",
  whole(0, 256)
).pipe(
  Flag.withDescription("Processes that serve, 0 for one a core (BALLAST_WORKERS; default 1)"),
  Flag.optional
)

export const seed = make(
  "seed",
  "number",
  "a whole number, for example --seed 7",
  whole(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
)

export const millis = (name: string) =>
  make(name, "ms", `milliseconds, 0 or more, for example --${name} 500`, whole(0, Number.MAX_SAFE_INTEGER))

export const count = (name: string) =>
  make(
    name,
    "number",
    `a whole number from 1 to 1000000000, for example --${name} 60`,
    whole(1, 1_000_000_000)
  )

export const money = (name: string) =>
  make(
    name,
    "amount",
    `a number above 0 and up to 1000000, for example --${name} 2.5`,
    (text) => number(text, (value) => value > 0 && value <= 1_000_000)
  )

export const rate = (name: string) =>
  make(
    name,
    "number",
    `a number above 0, for example --${name} 30`,
    (text) => number(text, (value) => Number.isFinite(value) && value > 0)
  )
