/**
 * What calls of services used: tokens and money.
 *
 * A service reports it with `CallContext.report`, as often as it likes; it is recorded with the attempt, also of one that failed, and is in the
 * events `Succeeded` and `Failed`. Money is exact: a decimal number as text, for each currency.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** An amount of money as text: exact, however small. */
const Amount = Schema.String.check(Schema.makeFilter((text) => Option.isSome(BigDecimal.fromString(text)), {
  expected: "a decimal number"
}))

/**
 * The schema of usage, which is JSON.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Usage = Schema.Struct({
  /** Tokens of prompts. */
  promptTokens: count,
  /** Tokens of answers, reasoning included. */
  completionTokens: count,
  /** Decimal numbers as text, by currency (ISO 4217). */
  cost: Schema.Record(Schema.String, Amount),
  /** Calls that used something whose price is not known. */
  unpriced: count
})

/**
 * @category models
 * @since 0.1.0
 */
export type Usage = typeof Usage.Type

/**
 * Nothing.
 *
 * @category constants
 * @since 0.1.0
 */
export const none: Usage = { promptTokens: 0, completionTokens: 0, cost: {}, unpriced: 0 }

/**
 * What two calls used together; what is missing is nothing. Throws a `RangeError` where money is no decimal number.
 *
 * @category combinators
 * @since 0.1.0
 */
export const add = (self: Usage, that: Partial<Usage>): Usage => {
  const cost = { ...self.cost }
  for (const [currency, amount] of Object.entries(that.cost ?? {})) {
    cost[currency] = BigDecimal.format(BigDecimal.sum(amountOf(amount), amountOf(cost[currency] ?? "0")))
  }
  return {
    promptTokens: self.promptTokens + (that.promptTokens ?? 0),
    completionTokens: self.completionTokens + (that.completionTokens ?? 0),
    cost,
    unpriced: self.unpriced + (that.unpriced ?? 0)
  }
}

/** Money as a number to reckon with. */
const amountOf = (text: string): BigDecimal.BigDecimal =>
  Option.getOrThrowWith(
    BigDecimal.fromString(text),
    () => new RangeError(`Usage.add: cost must be a decimal number, got ${JSON.stringify(text)}`)
  )

/**
 * Tokens of prompts and answers.
 *
 * @category accessors
 * @since 0.1.0
 */
export const tokens = ({ completionTokens, promptTokens }: Usage): number => promptTokens + completionTokens

/**
 * Whether nothing was used.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isNone = (self: Usage): boolean =>
  tokens(self) === 0 && self.unpriced === 0 && Object.keys(self.cost).length === 0
