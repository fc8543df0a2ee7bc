/**
 * What a call costs, to the last digit.
 *
 * Prices are data with dates: per million tokens of cache hits, cache misses, output and reasoning, and per call. Off-peak hours cost a share of
 * the price, by the moment at which a call begins. A model that no price is known for has an unknown price, never 0.
 *
 * The prices of DeepSeek are built in; others, and changes of these, are given as further prices, which come first.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type { Usage } from "@ballast/chat/Usage"
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as builtIn from "./internal/prices.ts"
import * as PeakHours from "./PeakHours.ts"
import * as PromptSize from "./PromptSize.ts"

const isAmount = (text: string): boolean => /^\d{1,12}(\.\d{1,12})?$/.test(text)

const expectedAmount = "an amount of at least 0 with at most 12 decimals"

/** A number of money: exact where it is written as text, and what a file's number says otherwise. */
const Amount = Schema.Union([Schema.String, Schema.Finite]).check(Schema.makeFilter(
  (amount) => isAmount(String(amount)),
  { expected: expectedAmount }
)).pipe(Schema.decodeTo(
  Schema.BigDecimal,
  SchemaTransformation.transform<BigDecimal.BigDecimal, string | number>({
    decode: (amount) => Option.getOrThrow(BigDecimal.fromString(String(amount))),
    encode: BigDecimal.format
  })
)).annotate({ settingExpected: expectedAmount })

/** `Date` takes 30 February for 2 March, and a time without a zone for one of this machine's. */
const isMoment = (text: string): boolean => {
  const [, day, zone] = /^(\d{4}-\d\d-\d\d)(?:T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.exec(text) ?? []
  if (day === undefined || Number.isNaN(Date.parse(text))) return false
  return (zone !== undefined || text === day) && DateTime.formatIsoDateUtc(DateTime.makeUnsafe(day)) === day
}

const Moment = Schema.String.check(Schema.makeFilter(isMoment, {
  expected: "a day or a moment with its zone, such as 2026-08-16 or 2026-08-16T16:00:00Z"
}))

const perMillion = { unit: "per million tokens" }

/**
 * A price of one model at one provider.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Price = Schema.Struct({
  provider: Schema.NonEmptyString.annotate({ description: "The provider's name, or its type." }),
  model: Schema.NonEmptyString.annotate({ description: "The model, as the provider names it; * for all." }),
  currency: Schema.String.check(Schema.makeFilter((text) => /^[A-Z]{3}$/.test(text), {
    expected: "a currency such as CNY"
  })).annotate({ description: "ISO 4217 code." }),
  from: Schema.optionalKey(Moment).annotate({ description: "When it begins to hold. Default: it always did." }),
  until: Schema.optionalKey(Moment).annotate({ description: "When it ends to hold. Default: never." }),
  hit: Amount.annotate({ description: "Prompt tokens from the cache.", ...perMillion }),
  miss: Amount.annotate({ description: "Prompt tokens not from the cache.", ...perMillion }),
  output: Amount.annotate({ description: "Tokens of the answer.", ...perMillion }),
  reasoning: Schema.optionalKey(Amount).annotate({
    description: "Reasoning tokens. Default: as output.",
    ...perMillion
  }),
  call: Schema.optionalKey(Amount).annotate({ description: "Each call, whatever its size. Default: nothing." }),
  peakHours: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "Which peak hours the price holds in. Default: it holds always."
  }),
  offPeak: Schema.optionalKey(Amount).annotate({ description: "The share that is paid outside of them. Default 1." })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Price = typeof Price.Type

/**
 * What may be given of prices.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Prices that come before the built-in ones; of several that fit a call, the first counts. Default none. */
  readonly prices?: ReadonlyArray<Price> | undefined
  /** Peak hours by name, added to `deepseek`'s or in their place. Their holidays are added to the built-in ones, year by year. */
  readonly peakHours?: Readonly<Record<string, PeakHours.PeakHours>> | undefined
  /** The currency of prices that are known in several. Default CNY. */
  readonly currency?: string | undefined
}

/**
 * Which call is priced: a model at a provider, and when the call began, in milliseconds since 1970.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly provider: string
  /** The type of the provider, whose prices hold where the provider has none of its own. */
  readonly type?: string | undefined
  readonly model: string
  readonly at: number
}

/**
 * The parts of a cost. `output` is without reasoning.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parts {
  readonly hit: BigDecimal.BigDecimal
  readonly miss: BigDecimal.BigDecimal
  readonly output: BigDecimal.BigDecimal
  readonly reasoning: BigDecimal.BigDecimal
  readonly call: BigDecimal.BigDecimal
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Cost {
  /** The price that counted, as its provider and model are written there. */
  readonly price: Pick<Price, "provider" | "model">
  /** That of the prices. */
  readonly revision: string
  readonly currency: string
  readonly total: BigDecimal.BigDecimal
  readonly parts: Parts
  readonly isPeak: boolean
  /** False when the peak price was taken because the holidays of the year are not known. */
  readonly isCertain: boolean
}

/**
 * There is no price for a model.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownPrice extends Schema.TaggedError<UnknownPrice>()("UnknownPrice", {
  provider: Schema.String,
  model: Schema.String,
  /** The one that a price is needed in, where there is one in another. */
  currency: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const { currency, model, provider } = this
    return `The price of ${model} at ${provider} is not known${currency === undefined ? "" : ` in ${currency}`}.`
  }
}

/**
 * What a call may cost, before it is made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Estimate {
  /** Tokens of the prompt, estimated or counted. */
  readonly promptTokens: number
  /** Tokens of the answer at most. */
  readonly outputTokens: number
  /** The cost of the prompt without a cache hit, and of the longest answer. */
  readonly bound: Cost
}

/**
 * Prices that can be asked. All is synchronous and pure.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pricing {
  /** Another one for other prices. */
  readonly revision: string
  readonly cost: (usage: Usage, call: Call) => Result.Result<Cost, UnknownPrice>
  /** `promptTokens`, where they were counted before; default by `PromptSize.ofPrompt`. */
  readonly estimate: (
    request: ChatRequest,
    call: Omit<Call, "model"> & { readonly promptTokens?: number | undefined }
  ) => Result.Result<Estimate, UnknownPrice>
  /** When a call that could begin at `at` costs least, in milliseconds since 1970: `at` itself where no cheaper hour comes. */
  readonly nextOffPeak: (call: Call) => Result.Result<number, UnknownPrice>
}

/** What a token of each kind costs, and each call, in whole units of 10^-scale: such amounts add up without scaling. */
interface Rates extends Readonly<Record<keyof Parts, bigint>> {
  readonly scale: number
}

interface Rule extends Price {
  /** Built-in prices count after all given ones. */
  readonly isBuiltIn: boolean
  readonly begins: number
  readonly ends: number
  readonly hours: PeakHours.PeakHours | undefined
  readonly rates: { readonly peak: Rates; readonly offPeak: Rates }
}

const decodePrices = Schema.decodeUnknownSync(Schema.Array(Price))

const one = BigDecimal.make(1n, 0)
const zero = BigDecimal.make(0n, 0)
const millionth = BigDecimal.make(1n, 6)

/** The rates at which a share of the price is paid. */
const ratesOf = (
  { call = zero, hit, miss, output, reasoning = output }: Price,
  share: BigDecimal.BigDecimal
): Rates => {
  const ofToken = BigDecimal.multiply(share, millionth)
  const rates = {
    ...Record.map({ hit, miss, output, reasoning }, BigDecimal.multiply(ofToken)),
    call: BigDecimal.multiply(call, share)
  }
  const scale = Math.max(...Object.values(rates).map(({ scale }) => scale))
  return { scale, ...Record.map(rates, (rate) => BigDecimal.scale(rate, scale).value) }
}

const ruleOf = (
  price: Price,
  isBuiltIn: boolean,
  allHours: Readonly<Record<string, PeakHours.PeakHours>>
): Rule => {
  const { from, offPeak = one, peakHours, until } = price
  const hours = peakHours === undefined ? undefined : allHours[peakHours]
  if (peakHours !== undefined && hours === undefined) {
    throw new RangeError(
      `Pricing.make: the price of ${price.model} names peak hours ${peakHours}, which are not there`
    )
  }
  return {
    ...price,
    isBuiltIn,
    begins: from === undefined ? -Infinity : Date.parse(from),
    ends: until === undefined ? Infinity : Date.parse(until),
    hours,
    rates: { peak: ratesOf(price, one), offPeak: ratesOf(price, offPeak) }
  }
}

/**
 * Creates the pricing of the built-in prices and further ones.
 *
 * **Details**
 *
 * Throws a `RangeError` when a price names peak hours that are not there.
 *
 * **Example** (What a call cost)
 *
 * ```ts
 * import { Pricing } from "@ballast/deepseek"
 * import { BigDecimal, Result } from "effect"
 *
 * const pricing = Pricing.make({ currency: "USD" })
 * const cost = pricing.cost(
 *   { prompt_tokens: 1_000, completion_tokens: 500, prompt_cache_hit_tokens: 896 },
 *   { provider: "deepseek", model: "deepseek-flash", at: Date.parse("2026-11-28T12:00:00Z") }
 * )
 *
 * Result.map(cost, ({ currency, total }) => `${BigDecimal.format(total)} ${currency}`) // 0.000318288 USD
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Pricing => {
  const { currency = "CNY", peakHours, prices = [] } = options
  const hours: Readonly<Record<string, PeakHours.PeakHours>> = { ...peakHours, deepseek: deepSeekHours(peakHours) }
  const all = [...prices, ...decodePrices(builtIn.deepSeek)]
  const revision = revisionOf(all, hours)

  /** Those in the currency come before all others, given ones before built-in ones, those of a model before those of all. */
  const rankOf = (rule: Rule): number =>
    (rule.currency === currency ? 0 : 4) + (rule.isBuiltIn ? 2 : 0) + (rule.model === "*" ? 1 : 0)

  const rules = Map.groupBy(
    all.map((price, place) => ruleOf(price, place >= prices.length, hours)).sort((a, b) => rankOf(a) - rankOf(b)),
    ({ provider }) => provider
  )

  const find = (provider: string, { at, model }: Call): Rule | undefined =>
    rules.get(provider)?.find((rule) =>
      (rule.model === model || rule.model === "*") && rule.begins <= at && at < rule.ends
    )
  const priced = <A>(call: Call, use: (rule: Rule) => A): Result.Result<A, UnknownPrice> => {
    const { model, provider, type = provider } = call
    const rule = find(provider, call) ?? find(type, call)
    return rule === undefined
      ? Result.fail(new UnknownPrice({ provider, model }))
      : Result.succeed(use(rule))
  }

  return {
    revision,
    cost: (usage, call) => priced(call, (rule) => costOf(rule, revision, usage, call.at)),
    estimate: (request, { promptTokens = PromptSize.ofPrompt(request), ...call }) =>
      priced({ ...call, model: request.model }, (rule) => {
        const outputTokens = PromptSize.ofAnswer(request)
        const isThoughtDearer = rule.reasoning !== undefined && BigDecimal.isGreaterThan(rule.reasoning, rule.output)
        const usage = {
          prompt_tokens: promptTokens,
          completion_tokens: outputTokens,
          completion_tokens_details: { reasoning_tokens: isThoughtDearer ? outputTokens : 0 }
        }
        return { promptTokens, outputTokens, bound: costOf(rule, revision, usage, call.at) }
      }),
    nextOffPeak: (call) =>
      priced(call, ({ hours }) => hours === undefined ? call.at : PeakHours.nextOffPeak(hours, call.at))
  }
}

/** Adds the given years of holidays to the built-in ones. */
const deepSeekHours = (given: Options["peakHours"] = {}): PeakHours.PeakHours => {
  const { deepseek = PeakHours.deepSeek } = given
  return deepseek.holidays === undefined
    ? deepseek
    : { ...deepseek, holidays: { ...PeakHours.deepSeek.holidays, ...deepseek.holidays } }
}

const revisionOf = (prices: ReadonlyArray<Price>, hours: object): string =>
  (Hash.string(JSON.stringify([Schema.encodeSync(Schema.Array(Price))(prices), hours])) >>> 0).toString(16).padStart(
    8,
    "0"
  )

/** Tokens that are paid; zero for what is not a number of tokens. */
const countOf = (tokens: number): bigint =>
  tokens > 0 && tokens <= Number.MAX_SAFE_INTEGER ? BigInt(Math.ceil(tokens)) : 0n

const costOf = (rule: Rule, revision: string, usage: Usage, at: number): Cost => {
  const { isKnown, isPeak } = rule.hours === undefined
    ? { isPeak: true, isKnown: true }
    : PeakHours.at(rule.hours, at)
  const rates = isPeak ? rule.rates.peak : rule.rates.offPeak
  const hits = usage.prompt_cache_hit_tokens ?? usage.prompt_tokens_details?.cached_tokens ?? 0
  const thought = usage.completion_tokens_details?.reasoning_tokens ?? 0
  const hit = countOf(hits) * rates.hit
  const miss = countOf(usage.prompt_tokens - hits) * rates.miss
  const output = countOf(usage.completion_tokens - thought) * rates.output
  const reasoning = countOf(thought) * rates.reasoning
  const { call } = rates
  const money = (units: bigint) => BigDecimal.make(units, rates.scale)
  return {
    price: { provider: rule.provider, model: rule.model },
    revision,
    currency: rule.currency,
    total: BigDecimal.normalize(money(hit + miss + output + reasoning + call)),
    parts: {
      hit: money(hit),
      miss: money(miss),
      output: money(output),
      reasoning: money(reasoning),
      call: money(call)
    },
    isPeak,
    isCertain: isKnown
  }
}
