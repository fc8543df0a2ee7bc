/**
 * What calls cost: in the answer's header, the last chunk's usage, log line, span and metrics.
 *
 * A call is priced by the moment at which its request came, or to which it was put off, by the provider's name, else by its type; answers of the simulator are priced
 * as DeepSeek's. An answer from the cache costs nothing, and saves what its call would have cost now; a text that an operator has set costs nothing.
 * A local model costs nothing, unless it has a price. Any other model without a price is counted, and
 * costs neither nothing nor anything. Calls at the peak price because the holidays of their year are not known are counted, and the first of a
 * provider and a year is a warning in the log.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Pricing from "@ballast/deepseek/Pricing"
import * as PromptSize from "@ballast/deepseek/PromptSize"
import * as Settings from "@ballast/settings/Settings"
import * as BigDecimal from "effect/BigDecimal"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Defer from "./Defer.ts"
import { byLabels } from "./internal/byLabels.ts"
import type { Exchange } from "./internal/exchange.ts"
import * as PriceSettings from "./PriceSettings.ts"
import { type GatewaySettings, placesOf, routing, targetsOf } from "./Settings.ts"

/**
 * What a call can cost, in the currency of the settings.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bound {
  /** The most: no cache hit, a token for each byte of the prompt, the longest answer. */
  readonly most: BigDecimal.BigDecimal
  /** Its prompt, as it is estimated, with what each call costs. */
  readonly prompt: BigDecimal.BigDecimal
  /** One token of its answer. */
  readonly token: BigDecimal.BigDecimal
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Costs {
  /** Notes on an exchange what its usage costs. */
  readonly note: (exchange: Exchange) => void
  /** What a call can cost, at the dearest of its targets. */
  readonly bound: (request: ChatRequest, at: number) => Result.Result<Bound, Pricing.UnknownPrice>
  /** What a run of a local model costs, which has no tokens. */
  readonly run: (model: string, at: number) => Result.Result<Bound, Pricing.UnknownPrice>
  /** Waits until a call of a model is cheaper at its first target, at most until a moment in milliseconds since 1970. */
  readonly cheaper: (model: string, until: number) => Effect.Effect<void>
  /** The prices in force, by the names of providers. */
  readonly pricing: () => Pricing.Pricing
}

const zero = BigDecimal.make(0n, 0)
const free: Pricing.Parts = { hit: zero, miss: zero, output: zero, reasoning: zero, call: zero }

/** Nothing, for an answer that no provider was asked for: it was there already, or is a text that an operator has set. */
const nothing = (from: "cache" | "text", currency: string, revision: string): Pricing.Cost => ({
  price: { provider: "ballast", model: from },
  revision,
  currency,
  total: zero,
  parts: free,
  isPeak: false,
  isCertain: true
})

/**
 * The provider of runs of local models, and the type of providers whose models are local.
 *
 * @category models
 * @since 0.1.0
 */
export const local = "local"

/** What local models cost that have no price. */
const ofLocal = ({ currency }: PriceSettings.Prices): Pricing.Pricing =>
  Pricing.make({ prices: [{ provider: local, model: "*", currency, hit: zero, miss: zero, output: zero }], currency })

/** Prices of a provider's type hold for every provider of it that has none of its own. */
const byName = (settings: GatewaySettings): Pricing.Pricing => {
  const pricing = PriceSettings.pricing(settings.prices)
  const own = ofLocal(settings.prices)
  const { providers } = routing(settings)
  const typeOf = (provider: string): string => {
    const type = providers[provider]?.type ?? provider
    return type === "simulator" ? "deepseek" : type
  }
  const ask = <A, C extends { readonly provider: string }>(
    call: C,
    price: (pricing: Pricing.Pricing, call: C & { readonly type: string }) => Result.Result<A, Pricing.UnknownPrice>
  ) => {
    const typed = { ...call, type: typeOf(call.provider) }
    const found = price(pricing, typed)
    return typed.type === local && Result.isFailure(found) ? price(own, typed) : found
  }
  return {
    revision: pricing.revision,
    cost: (usage, call) => ask(call, (from, typed) => from.cost(usage, typed)),
    estimate: (request, call) => ask(call, (from, typed) => from.estimate(request, typed)),
    nextOffPeak: (call) => ask(call, (from, typed) => from.nextOffPeak(typed))
  }
}

/**
 * The usage of a run of a local model.
 *
 * @category models
 * @since 0.1.0
 */
export const noTokens = { prompt_tokens: 0, completion_tokens: 0 }

/**
 * Creates the costs of the settings' prices, which they follow.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  settings: Settings.Setting<GatewaySettings>
): Effect.fn.Return<Costs, never, Scope.Scope> {
  const log = Effect.runSyncWith(yield* Effect.context<never>())
  let current = yield* settings.current
  let pricing = byName(current)
  const told = new Set<string>()
  const tellUncertain = (provider: string, at: number): void => {
    const { year } = DateTime.toPartsUtc(DateTime.makeUnsafe(at))
    const key = `${provider} ${year}`
    if (told.has(key)) return
    told.add(key)
    const message =
      "public holidays of this year are not known, so calls are at the peak price; add the year to prices.peakHours"
    log(Effect.logWarning(message, { provider, year }))
  }
  yield* Settings.follow(settings, (next) =>
    Effect.sync(() => {
      current = next
      pricing = byName(next)
    }))
  /** What can not be compared is as good as unknown. */
  const comparable = (
    cost: Result.Result<Pricing.Cost, Pricing.UnknownPrice>,
    place: { readonly provider: string; readonly model: string }
  ) => {
    const { currency } = current.prices
    const isComparable = (cost: Pricing.Cost) => cost.currency === currency
    return Result.filterOrFail(cost, isComparable, () => new Pricing.UnknownPrice({ ...place, currency }))
  }
  return {
    pricing: () => pricing,
    run: (model, at) =>
      Result.map(
        comparable(
          pricing.cost(noTokens, { provider: local, model, at }),
          { provider: local, model }
        ),
        ({ total }) => ({ most: total, prompt: zero, token: zero })
      ),
    bound: (request, at) => {
      const { model } = request
      const [most, estimated] = [PromptSize.mostOfPrompt(request), PromptSize.ofPrompt(request)]
      let dearest: Result.Result<Bound, Pricing.UnknownPrice> = Result.fail(
        new Pricing.UnknownPrice({ provider: "this gateway", model })
      )
      for (const target of placesOf(routing(current), model)) {
        const asked = { ...request, model: target.model ?? model }
        const shortest = { ...asked, max_tokens: 1, n: 1 }
        const costOf = (promptTokens: number, asked: ChatRequest) =>
          comparable(
            Result.map(
              pricing.estimate(asked, { provider: target.provider, at, promptTokens }),
              ({ bound }) => bound
            ),
            { provider: target.provider, model: asked.model }
          )
        const cost = Result.map(
          Result.all([costOf(most, asked), costOf(estimated, shortest)]),
          ([{ total }, { parts: { call, miss, output, reasoning } }]): Bound => ({
            most: total,
            prompt: BigDecimal.sum(miss, call),
            token: BigDecimal.sum(output, reasoning)
          })
        )
        if (Result.isFailure(cost)) return cost
        if (Result.isFailure(dearest) || BigDecimal.isGreaterThan(cost.success.most, dearest.success.most)) {
          dearest = cost
        }
      }
      return dearest
    },
    cheaper: (model, until) =>
      Effect.suspend(() => {
        const [target] = targetsOf(routing(current), model)
        return target === undefined
          ? Effect.void
          : Defer.wait(pricing, { provider: target.provider, model: target.model ?? model }, until)
      }),
    note: (exchange) => {
      const { began, madeAt: at = began, place, usage } = exchange
      if (usage == null || place === undefined) return
      const { cache, model, provider } = place
      if (cache?.state === "hit" || cache?.state === "stale") {
        const would = cache.from === undefined ? undefined : pricing.cost(usage, { ...cache.from, at })
        exchange.saved = would && Result.getOrUndefined(would)?.total
        exchange.cost = nothing("cache", current.prices.currency, pricing.revision)
      } else if (provider !== undefined && model === undefined) {
        exchange.cost = nothing("text", current.prices.currency, pricing.revision)
      } else if (provider !== undefined && model !== undefined) {
        const cost = pricing.cost(usage, { provider, model, at })
        exchange.cost = Result.getOrUndefined(cost)
        exchange.unpriced = Result.isFailure(cost)
        if (exchange.cost?.isCertain === false) tellUncertain(provider, at)
      }
    }
  }
})

/**
 * A cost for people: `0.000123 CNY`, with all its digits.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = ({ currency, total }: Pricing.Cost): string => [BigDecimal.format(total), currency].join(" ")

const spent = byLabels((client: string, provider: string, model: string, currency: string) =>
  Metric.counter("ballast_cost_total", {
    description: "What calls cost, by currency",
    incremental: true,
    attributes: { client, provider, model, currency }
  })
)

const unknown = byLabels((provider: string) =>
  Metric.counter("ballast_unknown_prices_total", {
    description: "Calls of models whose price is not known",
    incremental: true,
    attributes: { provider }
  })
)

const uncertain = byLabels((provider: string) =>
  Metric.counter("ballast_uncertain_prices_total", {
    description: "Calls at the peak price because the holidays of the year are not known",
    incremental: true,
    attributes: { provider }
  })
)

/**
 * Counts what a call cost, or that it is not known.
 *
 * @category combinators
 * @since 0.1.0
 */
export const count = ({ client, cost, place, unpriced }: Exchange, context: Context.Context<never>): void => {
  if (cost !== undefined) {
    const { currency, isCertain, price: { model }, total } = cost
    const provider = place?.provider ?? "ballast"
    // Names are of settings and price lists, so their combinations are bounded.
    spent(client.name, provider, model, currency).updateUnsafe(BigDecimal.toNumberUnsafe(total), context)
    if (!isCertain) uncertain(provider).updateUnsafe(1, context)
  } else if (unpriced === true && place?.provider !== undefined) {
    unknown(place.provider).updateUnsafe(1, context)
  }
}
