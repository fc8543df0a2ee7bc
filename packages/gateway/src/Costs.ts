/**
 * What calls cost: in the answer's header, the last chunk's usage, log line, span and metrics.
 *
 * A call is priced by the moment at which its request came, by the provider's name, else by its type; answers of the simulator are priced
 * as DeepSeek's. An answer from the cache costs nothing, and saves what its call would have cost now. A model without a price is counted, and costs neither nothing nor anything.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Pricing from "@ballast/deepseek/Pricing"
import * as Settings from "@ballast/settings/Settings"
import * as BigDecimal from "effect/BigDecimal"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Defer from "./Defer.ts"
import type { Exchange } from "./internal/exchange.ts"
import * as PriceSettings from "./PriceSettings.ts"
import { type GatewaySettings, placesOf, routing, targetsOf } from "./Settings.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Costs {
  /** Notes on an exchange what its usage costs. */
  readonly note: (exchange: Exchange) => void
  /** The most that a call can cost, at the dearest of its targets; in the currency of the settings. */
  readonly bound: (request: ChatRequest, at: number) => Result.Result<Pricing.Cost, Pricing.UnknownPrice>
  /** Waits until a call of a model is cheaper at its first target, at most until a moment in milliseconds since 1970. */
  readonly cheaper: (model: string, until: number) => Effect.Effect<void>
  /** The prices in force, by the names of providers. */
  readonly pricing: () => Pricing.Pricing
}

const zero = BigDecimal.make(0n, 0)
const free: Pricing.Parts = { hit: zero, miss: zero, output: zero, reasoning: zero, call: zero }

/** Nothing, for an answer that was there already. */
const nothing = (currency: string, revision: string): Pricing.Cost => ({
  price: { provider: "ballast", model: "cache" },
  revision,
  currency,
  total: zero,
  parts: free,
  isPeak: false,
  isCertain: true
})

/** Prices of a provider's type hold for every provider of it that has none of its own. */
const byName = (settings: GatewaySettings): Pricing.Pricing => {
  const pricing = PriceSettings.pricing(settings.prices)
  const { providers } = routing(settings)
  const typeOf = (provider: string): string => {
    const type = providers[provider]?.type ?? provider
    return type === "simulator" ? "deepseek" : type
  }
  const either = <A>(
    { provider }: { readonly provider: string },
    price: (provider: string) => Result.Result<A, Pricing.UnknownPrice>
  ) => Result.orElse(price(provider), (unknown) => Result.mapError(price(typeOf(provider)), () => unknown))
  return {
    revision: pricing.revision,
    cost: (usage, call) => either(call, (provider) => pricing.cost(usage, { ...call, provider })),
    estimate: (request, call) => either(call, (provider) => pricing.estimate(request, { ...call, provider })),
    nextOffPeak: (call) => either(call, (provider) => pricing.nextOffPeak({ ...call, provider }))
  }
}

/**
 * Creates the costs of the settings' prices, which they follow.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  settings: Settings.Setting<GatewaySettings>
): Effect.fn.Return<Costs, never, Scope.Scope> {
  let current = yield* settings.current
  let pricing = byName(current)
  yield* Settings.follow(settings, (next) =>
    Effect.sync(() => {
      current = next
      pricing = byName(next)
    }))
  return {
    pricing: () => pricing,
    bound: (request, at) => {
      const { model } = request
      const { currency } = current.prices
      let dearest: Result.Result<Pricing.Cost, Pricing.UnknownPrice> = Result.fail(
        new Pricing.UnknownPrice({ provider: "this gateway", model })
      )
      for (const target of placesOf(routing(current), model)) {
        const asked = { ...request, model: target.model ?? model }
        const cost = Result.map(pricing.estimate(asked, { provider: target.provider, at }), ({ bound }) => bound)
        // What can not be compared is as good as unknown.
        if (Result.isFailure(cost) || cost.success.currency !== currency) {
          return Result.fail(new Pricing.UnknownPrice({ provider: target.provider, model: asked.model }))
        }
        if (Result.isFailure(dearest) || BigDecimal.isGreaterThan(cost.success.total, dearest.success.total)) {
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
      const { began: at, place, usage } = exchange
      if (usage == null || place === undefined) return
      const { cache, model, provider } = place
      if (cache?.state === "hit" || cache?.state === "stale") {
        const would = cache.from === undefined ? undefined : pricing.cost(usage, { ...cache.from, at })
        exchange.saved = would && Result.getOrUndefined(would)?.total
        exchange.cost = nothing(current.prices.currency, pricing.revision)
      } else if (provider !== undefined && model !== undefined) {
        const cost = pricing.cost(usage, { provider, model, at })
        exchange.cost = Result.getOrUndefined(cost)
        exchange.unpriced = Result.isFailure(cost)
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
export const format = ({ currency, total }: Pricing.Cost): string => `${BigDecimal.format(total)} ${currency}`

const spent = Metric.counter("ballast_cost_total", { description: "What calls cost, by currency", incremental: true })

const unknown = Metric.counter("ballast_unknown_prices_total", {
  description: "Calls of models whose price is not known",
  incremental: true
})

const uncertain = Metric.counter("ballast_uncertain_prices_total", {
  description: "Calls at the peak price because the holidays of the year are not known",
  incremental: true
})

const labelled = new Map<string, typeof spent>()

/** Names are of settings and price lists, so their combinations are bounded. */
const labelledOf = (metric: typeof spent, name: string, labels: Record<string, string>): typeof spent => {
  const key = JSON.stringify([name, labels])
  let made = labelled.get(key)
  if (made === undefined) labelled.set(key, made = Metric.withAttributes(metric, labels))
  return made
}

/**
 * Counts what a call cost, or that it is not known.
 *
 * @category combinators
 * @since 0.1.0
 */
export const count = ({ client, cost, place, unpriced }: Exchange, context: Context.Context<never>): void => {
  if (cost !== undefined) {
    const { currency, isCertain, price: { model }, total } = cost
    const labels = { client: client.name, provider: place?.provider ?? "ballast", model, currency }
    labelledOf(spent, "cost", labels).updateUnsafe(BigDecimal.toNumberUnsafe(total), context)
    if (!isCertain) labelledOf(uncertain, "uncertain", { provider: labels.provider }).updateUnsafe(1, context)
  } else if (unpriced === true && place?.provider !== undefined) {
    labelledOf(unknown, "unknown", { provider: place.provider }).updateUnsafe(1, context)
  }
}
