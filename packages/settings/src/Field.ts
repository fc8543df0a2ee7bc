/**
 * Schemas for kinds of settings that files write as text: durations, sizes, secrets; and defaults that the program and its docs
 * share. Everything else is a schema of Effect: `Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10 }))`,
 * `Schema.Literals(["json", "pretty"])`. The annotations `description` and `unit` explain a setting in the generated docs.
 */
import * as ByteSize_ from "effect/ByteSize"
import * as Duration_ from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { formatDuration, parseDuration } from "./internal/duration.ts"

/** A scalar of text that is read by `parse`, within bounds. */
const scalar = <A, T extends Schema.Codec<A, A>>(options: {
  readonly type: T
  readonly expected: string
  readonly json: object
  readonly parse: (text: string) => A | undefined
  readonly format: (value: A) => string
}) =>
  Schema.Union([Schema.String, Schema.Number]).pipe(
    Schema.decodeTo(
      options.type,
      SchemaTransformation.transformEffect<A, string | number>({
        decode: (input) => {
          const value = options.parse(String(input))
          return value === undefined
            ? Effect.fail(new SchemaIssue.InvalidValue({ expected: options.expected }))
            : Effect.succeed(value)
        },
        encode: (value) => Effect.succeed(options.format(value))
      })
    )
  ).annotate({ settingExpected: options.expected, settingJson: options.json })

const between = (minimum: string | undefined, maximum: string | undefined): string =>
  minimum !== undefined && maximum !== undefined
    ? `, from ${minimum} to ${maximum}`
    : minimum !== undefined
    ? `, at least ${minimum}`
    : maximum !== undefined
    ? `, at most ${maximum}`
    : ""

/**
 * Bounds of a duration or a size, in the form that the settings file uses.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bounds {
  /** The least value that is right. Default: none. */
  readonly minimum?: string | undefined
  /** The greatest value that is right. Default: none. */
  readonly maximum?: string | undefined
}

/**
 * A length of time, written `250ms`, `30s`, `5m`, `1h30m`, `7d`.
 *
 * Throws a `RangeError` if a bound is no such text.
 *
 * @category schemas
 * @since 0.1.0
 */
export const duration = ({ maximum, minimum }: Bounds = {}) => {
  const bound = (name: string, text: string | undefined) => {
    const value = text === undefined ? undefined : parseDuration(text)
    if (text !== undefined && value === undefined) {
      throw new RangeError(`Field.duration: ${name} must be a duration such as 30s, got ${JSON.stringify(text)}`)
    }
    return value
  }
  const least = bound("minimum", minimum)
  const most = bound("maximum", maximum)
  return scalar({
    type: Schema.Duration,
    expected: `a duration such as 30s or 5m${between(minimum, maximum)}`,
    json: { type: "string", pattern: "^(\\d+(\\.\\d+)?(ms|s|m|h|d) ?)+$", examples: ["30s"] },
    parse: (text) => {
      const value = parseDuration(text)
      if (value === undefined) return undefined
      if (least !== undefined && Duration_.isLessThan(value, least)) return undefined
      return most !== undefined && Duration_.isGreaterThan(value, most) ? undefined : value
    },
    format: formatDuration
  })
}

/**
 * A number of bytes, written `512kB`, `16MiB`, or as a plain number.
 *
 * Throws a `RangeError` if a bound is no such text.
 *
 * @category schemas
 * @since 0.1.0
 */
export const byteSize = ({ maximum, minimum }: Bounds = {}) => {
  const parse = (text: string) => {
    const size = ByteSize_.fromString(/^\d+$/.test(text) ? `${text} B` : text)
    return Option.getOrUndefined(size)
  }
  const bound = (name: string, text: string | undefined) => {
    const value = text === undefined ? undefined : parse(text)
    if (text !== undefined && value === undefined) {
      throw new RangeError(`Field.byteSize: ${name} must be a size such as 16MiB, got ${JSON.stringify(text)}`)
    }
    return value
  }
  const least = bound("minimum", minimum)
  const most = bound("maximum", maximum)
  return scalar({
    type: Schema.ByteSize,
    expected: `a size such as 512kB or 16MiB${between(minimum, maximum)}`,
    json: { type: ["string", "integer"], pattern: "^\\d+ ?([kMGTP]i?)?B?$", minimum: 0, examples: ["16MiB"] },
    parse: (text) => {
      const value = parse(text)
      if (value === undefined || (least !== undefined && value < least)) return undefined
      return most !== undefined && value > most ? undefined : value
    },
    format: (size) => `${size}B`
  })
}

/**
 * A secret: text that becomes `Redacted`, so that no message, log line or inspection shows it. Write it as
 * `${env:NAME}` or `${file:PATH}` rather than into the settings themselves. Empty text is refused.
 *
 * @category schemas
 * @since 0.1.0
 */
export const secret: Schema.Codec<Redacted.Redacted<string>, string> = Schema.RedactedFromValue(Schema.NonEmptyString)
  .annotate({
    settingExpected: "a secret that is not empty, best as ${env:NAME} or ${file:PATH}",
    settingJson: { type: "string", minLength: 1 }
  })

/**
 * Gives a setting a default, in the form that the settings file uses. The docs show the same default.
 *
 * **Example** (A setting with bounds, default and unit)
 *
 * ```ts
 * import { Field } from "@ballast/settings"
 * import { Schema } from "effect"
 *
 * const Limits = Schema.Struct({
 *   timeout: Field.duration({ minimum: "1s", maximum: "10m" }).pipe(Field.withDefault("30s")),
 *   rate: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 })).pipe(
 *     Field.withDefault(50)
 *   ).annotate({ description: "How many calls may start.", unit: "calls per second" })
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withDefault =
  <S extends Schema.Constraint>(value: NoInfer<S["Encoded"]>) => (self: S): Schema.withDecodingDefaultKey<S> =>
    Schema.withDecodingDefaultKey<S>(Effect.succeed(value))(self).annotate({ settingDefault: value })

/**
 * A section of settings that may be absent as a whole, because each of its settings has a default or is optional.
 *
 * @category combinators
 * @since 0.1.0
 */
export const section = <const Fields extends Schema.Struct.Fields>(
  fields:
    & Fields
    & ({} extends Schema.Struct.Encoded<Fields> ? unknown : "Every setting of a section needs a default or is optional")
) =>
  Schema.Struct<Fields>(fields).pipe(Schema.withDecodingDefaultKey(Effect.succeed({} as Schema.Struct.Encoded<Fields>)))
