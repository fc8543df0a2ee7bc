/** The account: how many chats run, how many may, and the money they cost. */
import type { Balance } from "@ballast/chat/Balance"
import type { Usage } from "@ballast/chat/Usage"
import * as DateTime from "effect/DateTime"
import * as Models from "./models.ts"
import * as Refusal from "./refusal.ts"
import type { Settings } from "./settings.ts"

export interface Account {
  /** Takes a place among the running chats of a model, or says why there is none. */
  readonly admit: (family: Models.Family) => Refusal.Refusal | undefined
  readonly release: (family: Models.Family) => void
  /** Takes the price of an answer from the balance, granted credit first. `now` is in Unix milliseconds. */
  readonly charge: (family: Models.Family, usage: Usage, now: number) => void
  readonly balance: () => Balance
  readonly running: () => Readonly<Record<Models.Family, number>>
  readonly peak: () => number
}

const cnyPerUsd = 7

/** In USD. At this much and more the limits are the full ones, as seen after a top-up of 10. */
const comfortable = 10

/** Seen: limits of 20 to 25 with about a dollar left. The real formula is not known. */
const placesPerUsd = 20

/** Peak hours cost double: 01:00–04:00 and 06:00–10:00 UTC from Monday to Friday. Holidays are not known here. */
const isPeak = (now: number): boolean => {
  const { hour, weekDay } = DateTime.toPartsUtc(DateTime.makeUnsafe(now))
  return weekDay >= 1 && weekDay <= 5 && (hour >= 1 && hour < 4 || hour >= 6 && hour < 10)
}

const costUsd = (family: Models.Family, usage: Usage, now: number): number => {
  const price = Models.prices[family]
  const hit = usage.prompt_cache_hit_tokens ?? 0
  const offPeak = hit * price.hit + (usage.prompt_tokens - hit) * price.miss + usage.completion_tokens * price.output
  return offPeak * (isPeak(now) ? 2 : 1) / 1_000_000
}

export const make = (settings: Settings): Account => {
  const { currency } = settings.balance
  let { granted, toppedUp } = settings.balance
  let peak = 0
  const running: Record<Models.Family, number> = { "deepseek-flash": 0, "deepseek-v4-pro": 0 }
  const perUsd = currency === "CNY" ? cnyPerUsd : 1
  const leftUsd = () => (granted + toppedUp) / perUsd

  const admit = (family: Models.Family): Refusal.Refusal | undefined => {
    const left = leftUsd()
    if (left <= 0) return Refusal.insufficientBalance
    const full = settings.concurrency[family]
    const limit = left >= comfortable ? full : Math.min(full, Math.max(1, Math.floor(left * placesPerUsd)))
    const current = running[family] + 1
    if (current > limit) {
      return limit < full ? Refusal.lowBalance(current, limit) : Refusal.concurrency(current, limit)
    }
    running[family] = current
    peak = Math.max(peak, running["deepseek-flash"] + running["deepseek-v4-pro"])
    return undefined
  }

  return {
    admit,
    release(family) {
      running[family]--
    },
    charge(family, usage, now) {
      if (!settings.billing) return
      const cost = costUsd(family, usage, now) * perUsd
      const fromGranted = Math.min(granted, cost)
      granted -= fromGranted
      toppedUp = Math.max(0, toppedUp - (cost - fromGranted))
    },
    balance: () => ({
      is_available: leftUsd() > 0,
      balance_infos: [{
        currency,
        total_balance: (granted + toppedUp).toFixed(2),
        granted_balance: granted.toFixed(2),
        topped_up_balance: toppedUp.toFixed(2)
      }]
    }),
    running: () => ({ ...running }),
    peak: () => peak
  }
}
