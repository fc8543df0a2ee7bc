import { Budgets, Forget, Ledger } from "@ballast/gateway"
import { AnswerStore } from "@ballast/router"
import { assert, it } from "@effect/vitest"
import { BigDecimal, Effect, Queue } from "effect"
import { TestClock } from "effect/testing"
import { spentOf } from "../src/internal/ledger/spent.ts"
import { eventually, hello, layer, post, Running } from "./harness.ts"
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

  it.effect("tells other processes, also after a failure of theirs, and none that starts later", () =>
    Effect.gen(function*() {
      const url = yield* address
      const database = yield* open(url)
      const ledger = yield* Ledger.make({ database, folder: yield* temporaryFolder })
      const told = yield* Queue.unbounded<string>()
      let failing = true
      const process = (name: string) =>
        Effect.flatMap(open(url), (database) =>
          Forget.follow({ database }, (client) =>
            Effect.suspend(() => {
              const result = failing ? Effect.fail(new AnswerStore.NotRemoved({ detail: "down" })) : Effect.void
              failing = false
              return Effect.andThen(Queue.offer(told, `${name} ${client}`), result)
            })))
      yield* process("first")
      yield* Forget.client({ database, ledger }, "alice")
      yield* process("later")
      const next = Effect.andThen(TestClock.adjust("2 seconds"), Queue.take(told))
      assert.deepStrictEqual([yield* next, yield* next], ["first alice", "first alice"])
      yield* Forget.client({ database, ledger }, "bob")
      const both = [yield* next, yield* Queue.take(told)]
      assert.deepStrictEqual(both.toSorted(), ["first bob", "later bob"])
    }))
})

it.live("a gateway drops from its memory what it has of a client that another process forgets", () =>
  Effect.gen(function*() {
    const { records, url } = yield* Running
    const cache = (key: string) =>
      Effect.map(
        post(`${url}/v1/chat/completions`, hello, { authorization: `Bearer ${key}` }),
        ({ headers }) => headers.get("x-ballast-cache")
      )
    yield* Effect.all([cache("key-a"), cache("key-b")])
    assert.strictEqual(yield* cache("key-a"), "hit")
    yield* Forget.client(records!, "alice")
    yield* eventually(Effect.map(cache("key-a"), (state) => state === "miss"))
    assert.strictEqual(yield* cache("key-b"), "hit")
  }).pipe(Effect.provide(layer({
    database: ":memory:",
    clientKeys: ["alice:key-a", "bob:key-b"],
    settings: {
      models: { "deepseek-flash": { targets: [{ provider: "simulator" }], cache: { timeToLive: "1h" } } }
    }
  }))))
