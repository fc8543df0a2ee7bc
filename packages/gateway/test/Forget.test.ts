import { Budgets, Forget, Ledger } from "@ballast/gateway"
import { assert, it } from "@effect/vitest"
import { BigDecimal, Effect } from "effect"
import { TestClock } from "effect/testing"
import { spentOf } from "../src/internal/ledger/spent.ts"
import { call } from "./support/calls.ts"
import { describeDatabases, open, temporaryFolder } from "./support/databases.ts"

const day = Date.UTC(2026, 10, 28)
const oneDay = 86_400_000
const [today, month] = Budgets.periods({ day: BigDecimal.make(1n, 0), month: BigDecimal.make(1n, 0) }, day)
const free = { cost_hit: 0, cost_miss: 0, cost_output: 0, cost_reasoning: 0 }

describeDatabases("Forget", (address) => {
  it.effect("deletes a client's calls and sums, but for what it spent this month, which its budgets begin with", () =>
    Effect.gen(function*() {
      assert.isDefined(today)
      assert.isDefined(month)
      yield* TestClock.setTime(day)
      const database = yield* open(yield* address)
      const ledger = yield* Ledger.make({ database, folder: yield* temporaryFolder })
      const records = { database, ledger }
      const spent = (period: Budgets.Period) => Effect.map(spentOf(records, "CNY")("alice", period), BigDecimal.format)
      const left = Effect.map(
        database.use((sql) =>
          sql`SELECT client, span, route FROM ballast_usage WHERE span <> 'hour' ORDER BY client, start`.values
        ),
        (rows) => rows.map((row) => row.join(" "))
      )
      ledger.record(call({ ...free, at: day, cost_call: 2e12 }))
      ledger.record(call({ ...free, at: day + 1, cost_call: 1e11, model: "deepseek-pro" }))
      ledger.record(call({ ...free, at: day - oneDay, cost_call: 3e12 }))
      ledger.record(call({ ...free, at: day - 40 * oneDay, cost_call: 5e12 }))
      ledger.record(call({ client: "bob", at: day }))
      const forgotten = yield* Forget.client(records, "alice")
      assert.deepStrictEqual(forgotten, { calls: 4, sums: 8, feedback: 0, spent: 2 })
      const bob = "bob day /v1/chat/completions"
      assert.deepStrictEqual(yield* left, ["alice spent ", "alice spent ", bob])
      assert.deepStrictEqual([yield* spent(today), yield* spent(month)], ["2.1", "5.1"])
      ledger.record(call({ ...free, at: day, cost_call: 1e12 }))
      assert.deepStrictEqual(yield* Forget.client(records, "alice"), { calls: 1, sums: 2, feedback: 0, spent: 2 })
      assert.deepStrictEqual([yield* spent(today), yield* spent(month)], ["3.1", "6.1"])
      yield* TestClock.setTime(Date.UTC(2026, 11, 1))
      yield* ledger.clean
      assert.deepStrictEqual(yield* left, [bob])
    }))
})
