/** What accounts have left, as a metric: told whenever a balance is read, whoever asked for it. */
import type { Balance } from "@ballast/chat/Balance"
import type * as Source from "@ballast/deepseek/Source"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

const left = Metric.gauge("ballast_account_balance", {
  description: "What is left of an account's money when its balance was read last, in units of the currency"
})

/** Codes of ISO 4217 are few; anything else makes no series. */
const isCurrency = (text: string): boolean => /^[A-Z]{3}$/.test(text)

interface Told {
  readonly provider: string
  readonly account: string
  readonly metric: typeof left
}

export interface Balances {
  /** The same source, whose balance is told when it is read. */
  readonly telling: (provider: string, account: string, source: Source.Source) => Source.Source
  /** Forgets the accounts that are not there any more. */
  readonly keep: (isThere: (provider: string, account: string) => boolean) => void
}

export const make = (context: Context.Context<never>): Balances => {
  const told = new Map<string, Told>()
  const tell = (provider: string, account: string, { balance_infos }: Balance): void => {
    for (const { currency, total_balance } of balance_infos) {
      const amount = Number(total_balance)
      if (!isCurrency(currency) || !Number.isFinite(amount)) continue
      const key = JSON.stringify([provider, account, currency])
      let one = told.get(key)
      if (one === undefined) {
        one = { provider, account, metric: Metric.withAttributes(left, { provider, account, currency }) }
        told.set(key, one)
      }
      one.metric.updateUnsafe(amount, context)
    }
  }
  return {
    telling: (provider, account, source) => ({
      ...source,
      balance: Effect.tap(source.balance, (balance) => Effect.sync(() => tell(provider, account, balance)))
    }),
    keep: (isThere) => {
      for (const [key, { account, metric, provider }] of told) {
        if (isThere(provider, account)) continue
        Metric.removeUnsafe(metric, context)
        told.delete(key)
      }
    }
  }
}
