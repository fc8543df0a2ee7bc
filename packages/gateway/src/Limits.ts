/**
 * The limits of a client, as they stand in the settings, the admin API and the database.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const count = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000_000 }))
const money = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1_000_000))

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
    warnAt: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))).annotate({
      description: "The share from which answers carry x-ballast-budget-warning. Default 0.8."
    })
  })).annotate({ description: "Money that it may spend." })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Limits = typeof Limits.Type
