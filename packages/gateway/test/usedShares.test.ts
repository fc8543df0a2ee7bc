import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import * as usedShares from "../src/internal/usedShares.ts"

const shown = Effect.map(
  Metric.snapshot,
  (all) => all.flatMap(({ attributes, state }) => "value" in state ? [`${attributes?.["period"]} ${state.value}`] : [])
)

const hour = 3_600_000

describe("used shares of budgets", () => {
  it.effect("are shown until their period ends", () =>
    Effect.gen(function*() {
      const show = yield* usedShares.make
      show("alice", { name: "day", ends: hour }, 0.95)
      show("alice", { name: "month", ends: 20 * hour }, 0.4)
      assert.deepStrictEqual(yield* shown, ["day 0.95", "month 0.4"])
      yield* TestClock.adjust("61 minutes")
      assert.deepStrictEqual(yield* shown, ["month 0.4"])
      show("alice", { name: "day", ends: 25 * hour }, 0.1)
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual((yield* shown).toSorted(), ["day 0.1", "month 0.4"])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
