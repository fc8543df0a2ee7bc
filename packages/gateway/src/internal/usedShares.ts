/** What of the clients' budgets is used, as a metric. A share is shown until its period ends: what was spent yesterday is no warning today. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Period } from "../Budgets.ts"

const usedShare = Metric.gauge("ballast_budget_used_ratio", {
  description: "What of a client's budget is spent and reserved, 1 for all"
})

/** Shows a share of a client's budget. */
export type Show = (client: string, period: Pick<Period, "name" | "ends">, share: number) => void

/** A way to show shares, as long as the scope lives. */
export const make: Effect.Effect<Show, never, Scope.Scope> = Effect.gen(function*() {
  const context = yield* Effect.context<never>()
  const shown = new Map<string, { readonly gauge: typeof usedShare; ends: number }>()

  const drop = Effect.map(Clock.currentTimeMillis, (now) => {
    for (const [key, { ends, gauge }] of shown) {
      if (ends > now) continue
      Metric.removeUnsafe(gauge, context)
      shown.delete(key)
    }
  })
  yield* Effect.forkScoped(Effect.repeat(drop, Schedule.spaced("1 minute")))

  return (client, { ends, name }, share) => {
    const key = `${name} ${client}`
    let one = shown.get(key)
    if (one === undefined) {
      shown.set(key, one = { gauge: Metric.withAttributes(usedShare, { client, period: name }), ends })
    }
    one.ends = ends
    one.gauge.updateUnsafe(share, context)
  }
})
