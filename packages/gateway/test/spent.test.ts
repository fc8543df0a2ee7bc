import { Budgets, Ledger } from "@ballast/gateway"
import { assert, it } from "@effect/vitest"
import { BigDecimal, Effect } from "effect"
import { spentOf } from "../src/internal/ledger/spent.ts"
import { call } from "./support/calls.ts"
import { open } from "./support/databases.ts"

const [month] = Budgets.periods({ month: BigDecimal.fromNumberUnsafe(1) }, call().at)

// The test's clock stands still, so that the ledger writes nothing by itself.
it.effect("counts rows that wait to be written as spent", () =>
  Effect.gen(function*() {
    assert.isDefined(month)
    const database = yield* open(":memory:")
    const ledger = yield* Ledger.make({ database })
    const none = { cost_hit: 0, cost_miss: 0, cost_output: 0, cost_reasoning: 0, cost_call: 0 }
    ledger.record(call({ ...none, cost_call: 2e12 }))
    const spent = yield* spentOf({ database, ledger }, "CNY")("alice", month)
    assert.strictEqual(BigDecimal.format(spent), "2")
  }))
