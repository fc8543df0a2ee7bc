/**
 * Prices in the settings file: those of hosts that are not built in, and changes of those that are.
 *
 * @since 0.1.0
 */
import * as PeakHours from "@ballast/deepseek/PeakHours"
import * as Pricing from "@ballast/deepseek/Pricing"
import * as Field from "@ballast/settings/Field"
import * as Schema from "effect/Schema"

/**
 * @category schemas
 * @since 0.1.0
 */
export const Prices = Field.section({
  currency: Schema.String.check(Schema.makeFilter((text) => /^[A-Z]{3}$/.test(text), {
    expected: "a currency such as CNY"
  })).pipe(Field.withDefault("CNY")).annotate({
    description: "The currency of prices that are known in several, as DeepSeek's are in CNY and USD."
  }),
  list: Schema.Array(Pricing.Price).pipe(Field.withDefault([])).annotate({
    description: "Prices beside those of DeepSeek, or in their place: the first that fits a call counts."
  }),
  peakHours: Schema.Record(Schema.String, PeakHours.PeakHours).pipe(Field.withDefault({})).annotate({
    description: "Peak hours by name, beside `deepseek`, or in its place."
  }),
  tokenizer: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description: "Whether `/v1/estimate` counts prompts with DeepSeek's tokenizer. Its packages are installed apart."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Prices = typeof Prices.Type

/**
 * The pricing of the settings.
 *
 * @category accessors
 * @since 0.1.0
 */
export const pricing = ({ currency, list, peakHours }: Prices): Pricing.Pricing =>
  Pricing.make({ currency, prices: list, peakHours })

/** The currencies of all prices, where that of the settings is none of them. */
export const otherCurrencies = ({ currency, list }: Prices): ReadonlyArray<string> | undefined => {
  const known = new Set(["CNY", "USD", ...list.map(({ currency }) => currency)])
  return known.has(currency) ? undefined : [...known]
}

/** Prices that name peak hours which are not there, by their place in the list. */
export const unknownHours = (
  { list, peakHours }: Prices
): ReadonlyArray<{ readonly index: number; readonly name: string }> =>
  list.flatMap(({ peakHours: name }, index) =>
    name === undefined || name === "deepseek" || Object.hasOwn(peakHours, name) ? [] : [{ index, name }]
  )
