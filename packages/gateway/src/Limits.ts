/**
 * The limits of a client, as they stand in the settings, the admin API and the database.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const count = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000_000 }))
const money = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1_000_000))
const share = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))

/**
 * @category schemas
 * @since 0.1.0
 */
export const Limits = Schema.Struct({
  requestsPerMinute: Schema.optionalKey(count).annotate({ description: "Requests that may begin in a minute." }),
  tokensPerMinute: Schema.optionalKey(count).annotate({
    description: "Tokens of prompts and answers in a minute: estimated first, then as they were used."
  }),
  concurrency: Schema.optionalKey(count).annotate({ description: "Requests that may run at once." }),
  budget: Schema.optionalKey(Schema.Struct({
    day: Schema.optionalKey(money).annotate({ description: "Money for a day (UTC), in the currency of the prices." }),
    month: Schema.optionalKey(money).annotate({ description: "Money for a month (UTC)." }),
    warnAt: Schema.optionalKey(share).annotate({
      description: "The share from which answers carry x-ballast-budget-warning. Default 0.8."
    })
  })).annotate({ description: "Money that it may spend." })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Limits = typeof Limits.Type

const orNone = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

/**
 * Changes of limits: what is left out stays, null ends a limit.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Changes = Schema.Struct({
  requestsPerMinute: orNone(count),
  tokensPerMinute: orNone(count),
  concurrency: orNone(count),
  budget: orNone(Schema.Struct({ day: orNone(money), month: orNone(money), warnAt: orNone(share) }))
})

/**
 * @category models
 * @since 0.1.0
 */
export type Changes = typeof Changes.Type

/** An object with changes; undefined when nothing is left of it. */
const merged = (before: object | undefined, changes: object): Record<string, unknown> | undefined => {
  const entries = Object.entries({ ...before, ...changes }).filter(([, value]) => value != null)
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}

const decode = Schema.decodeUnknownSync(Limits)

/**
 * Limits after changes; undefined when there are none, so that those of all others hold.
 *
 * @category combinators
 * @since 0.1.0
 */
export const change = (limits: Limits | undefined, { budget, ...changes }: Changes): Limits | undefined => {
  const money = budget === undefined ? limits?.budget : budget === null ? null : merged(limits?.budget, budget) ?? null
  const made = merged(limits, { ...changes, budget: money })
  return made === undefined ? undefined : decode(made)
}
