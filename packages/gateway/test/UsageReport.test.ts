import { Calls, Comparison, Ledger, UsageReport } from "@ballast/gateway"
import { assert, it } from "@effect/vitest"
import { BigDecimal, Effect } from "effect"
import { writeFeedback } from "../src/internal/ledger/write.ts"
import { call } from "./support/calls.ts"
import { type Address, describeDatabases, open, temporaryFolder } from "./support/databases.ts"

const hour = 3_600_000
const day = 24 * hour
const november = Date.UTC(2026, 10, 1)
const december = Date.UTC(2026, 11, 1)

/** A database with some calls. */
const withCalls = (
  address: Address,
  calls: ReadonlyArray<Omit<Ledger.Call, "id">>
) =>
  Effect.gen(function*() {
    const database = yield* open(yield* address)
    const ledger = yield* Ledger.make({ database, folder: yield* temporaryFolder })
    for (const one of calls) ledger.record(one)
    yield* ledger.flush
    return database
  })

const range = { from: november, to: december }

/** A sequence that looks like chance, and is always the same. */
const chance = (seed: number) => () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647

describeDatabases("UsageReport", (address) => {
  it.effect("adds up to the last digit with the rows of a client and a month", () =>
    Effect.gen(function*() {
      const next = chance(7)
      const many = Array.from({ length: 400 }, (_, n) =>
        call({
          at: november - day + Math.floor(next() * 32 * day),
          client: n % 3 === 0 ? "bob" : "alice",
          model: n % 2 === 0 ? "deepseek-flash" : "deepseek-pro",
          cost_hit: Math.floor(next() * 1e9),
          cost_miss: Math.floor(next() * 1e12),
          cost_output: Math.floor(next() * 9e15)
        }))
      const database = yield* withCalls(address, many)
      const report = yield* UsageReport.make(database, { ...range, by: ["model"], client: "alice" })
      const rows = yield* Calls.read(database, { ...range, client: "alice", limit: 10_000 })
      const sum = (texts: ReadonlyArray<string | null>) =>
        BigDecimal.format(texts.reduce((sum, text) =>
          BigDecimal.sum(sum, BigDecimal.fromStringUnsafe(text ?? "0")), BigDecimal.make(0n, 0)))
      const [total] = report.total.cost
      assert.strictEqual(
        total?.total,
        sum(rows.calls.map(({ cost }) =>
          cost
        ))
      )
      assert.strictEqual(
        total?.output,
        sum(rows.calls.map(({ cost_output }) =>
          cost_output
        ))
      )
      assert.strictEqual(total?.total, sum(report.rows.map(({ cost }) => cost[0]?.total ?? null)))
      assert.strictEqual(report.total.calls, rows.calls.length)
      // Beyond what a float tells apart.
      assert.match(total?.total ?? "", /^\d{7}\.\d{11,12}$/)
    }))

  it.effect("counts calls whose tokens may be billed and are not told", () =>
    Effect.gen(function*() {
      const untold = { at: november, input_tokens: null, output_tokens: null }
      const left = { ...untold, error: "client_closed_request" }
      const failed = { ...untold, status: 503, error: "upstream_overloaded", ttft_ms: null }
      const report = (...calls: ReadonlyArray<Partial<Ledger.Call>>) =>
        Effect.gen(function*() {
          const database = yield* withCalls(address, calls.map((one) => call(one)))
          const { total } = yield* UsageReport.make(database, { ...range, by: [] })
          return total.unknown_usage
        })
      const broken = { ...untold, error: "upstream_truncated", ttft_ms: 7 }
      assert.strictEqual(
        yield* report(untold, { ...left, ttft_ms: 7 }, { ...left, status: 499, ttft_ms: null }, broken),
        4
      )
      const waiting = { ...left, status: 499, ttft_ms: null, attempts: 0 }
      assert.strictEqual(yield* report({ at: november }, failed, waiting, { ...untold, cache: "hit" }), 0)
    }))

  it.effect("is kept apart by what is asked for, labels and months too", () =>
    Effect.gen(function*() {
      const database = yield* withCalls(address, [
        call({ at: november, client: "alice", labels: `{"team":"search"}` }),
        call({ at: november + day, client: "bob", labels: `{"team":"search"}`, currency: "USD" }),
        call({
          at: december - 1,
          client: "carol",
          labels: "{}",
          status: 503,
          error: "upstream_error",
          currency: "",
          cost_hit: null,
          cost_miss: null,
          cost_output: null,
          cost_reasoning: null,
          cost_call: null,
          input_tokens: null,
          output_tokens: null,
          cached_tokens: null,
          reasoning_tokens: null
        })
      ])
      const groups = (by: ReadonlyArray<string>) =>
        Effect.map(UsageReport.make(database, { ...range, by }), ({ rows }) =>
          rows.map(({ calls, cost, errors, group }) => [
            group,
            calls,
            errors,
            cost.map(({ currency, total }) =>
              `${total} ${currency}`
            )
          ]))
      const each = "0.00009728"
      assert.deepStrictEqual(yield* groups(["label.team", "month"]), [
        [{ "label.team": "", month: "2026-11" }, 1, 1, []],
        [{ "label.team": "search", month: "2026-11" }, 2, 0, [`${each} CNY`, `${each} USD`]]
      ])
      assert.deepStrictEqual(
        (yield* groups(["day"])).map(([group]) => group),
        [
          { day: "2026-11-01" },
          { day: "2026-11-02" },
          { day: "2026-11-30" }
        ]
      )
      assert.deepStrictEqual((yield* groups([])).map(([, calls]) => calls), [3])
      const alone = yield* UsageReport.make(database, { ...range, by: ["client"], client: "bob" })
      assert.deepStrictEqual(alone.rows.map(({ group }) => group), [{ client: "bob" }])
    }))

  it.effect("counts whole hours, wherever it begins and ends", () =>
    Effect.gen(function*() {
      const database = yield* withCalls(
        address,
        Array.from({ length: 72 }, (_, n) => call({ at: november + n * hour + 1 }))
      )
      const callsOf = (from: number, to: number) =>
        Effect.map(UsageReport.make(database, { from, to, by: [] }), ({ total }) => total.calls)
      assert.strictEqual(yield* callsOf(november, november + 72 * hour), 72)
      assert.strictEqual(yield* callsOf(november + 5 * hour, november + 60 * hour), 55)
      assert.strictEqual(yield* callsOf(november + 5 * hour, november + 7 * hour), 2)
      assert.strictEqual(yield* callsOf(november + hour / 2, november + hour * 1.5), 2)
      assert.strictEqual(yield* callsOf(november + 23 * hour, november + 25 * hour), 2)
    }))

  it.effect("counts what the cache gave apart from what was bought", () =>
    Effect.gen(function*() {
      const database = yield* withCalls(address, [
        call({ at: november }),
        call({
          at: november,
          cache: "hit",
          cost_hit: 0,
          cost_miss: 0,
          cost_output: 0,
          cost_reasoning: 0,
          saved: 97_280_000
        })
      ])
      const { total } = yield* UsageReport.make(database, { ...range, by: [] })
      assert.include(total, { calls: 2, cache_hits: 1, input_tokens: 100, unknown_price: 0 })
      assert.include(total.cost[0], { total: "0.00009728", saved: "0.00009728" })
    }))

  it.effect("reads the rows page by page, each once", () =>
    Effect.gen(function*() {
      const database = yield* withCalls(
        address,
        Array.from({ length: 25 }, (_, n) => call({ at: november + Math.floor(n / 4), request_id: `r${n}` }))
      )
      const found: Array<string> = []
      let after: string | undefined
      do {
        const page: Calls.Page = yield* Calls.read(database, { ...range, limit: 10, after })
        found.push(...page.calls.map(({ request_id }) => request_id))
        after = page.next ?? undefined
      } while (after !== undefined)
      assert.deepStrictEqual(found.toSorted(), Array.from({ length: 25 }, (_, n) => `r${n}`).toSorted())
    }))
})

describeDatabases("Comparison", (address) => {
  it.effect("tells what differs between arms, and what does not", () =>
    Effect.gen(function*() {
      const next = chance(11)
      const arms = Array.from({ length: 400 }, (_, n) => {
        const isB = n % 2 === 1
        const failed = isB && n % 10 === 1
        return call({
          request_id: `r${n}`,
          at: november + n,
          arm: isB ? "candidate" : "control",
          status: failed ? 502 : 200,
          error: failed ? "upstream_error" : "",
          duration_ms: (isB ? 800 : 1000) + Math.floor(next() * 200),
          ttft_ms: 200 + Math.floor(next() * 50)
        })
      })
      const database = yield* withCalls(address, [...arms, call({ at: november, arm: "other" })])
      const said = (n: number, value: boolean, at: number): Ledger.Feedback => ({
        request_id: `r${n}`,
        name: "helpful",
        client: "alice",
        at,
        kind: "boolean",
        value: Number(value),
        comment: ""
      })
      // One changed their mind: the newest counts, whichever comes first.
      yield* database.use((sql) =>
        writeFeedback(sql, [
          said(0, false, 2),
          ...Array.from({ length: 200 }, (_, n) => said(n, n % 2 === 1 || n % 4 === 0, 1))
        ])
      )
      const { calls, measures } = yield* Comparison.make(database, { ...range, a: "control", b: "candidate" })
      assert.deepStrictEqual(calls, { a: 200, b: 200 })
      const verdicts = Object.fromEntries(measures.map(({ name, verdict }) => [name, verdict]))
      assert.match(verdicts["errors"] ?? "", /^candidate fails more often by \d+ % to \d+ % of the calls$/)
      assert.match(verdicts["latency"] ?? "", /^candidate is faster by 1\d % to (?:19|2\d) %$/)
      assert.strictEqual(verdicts["time to first token"], "no difference shown")
      assert.strictEqual(verdicts["cost of a call"], "no difference shown")
      assert.match(verdicts["feedback helpful"] ?? "", /^candidate is rated higher/)
      const helpful = measures.find(({ name }) => name === "feedback helpful")
      assert.deepStrictEqual([helpful?.a.n, helpful?.a.value, helpful?.b.value], [100, 0.49, 1])
    }))

  it.effect("says when there are too few calls", () =>
    Effect.gen(function*() {
      const database = yield* withCalls(address, [call({ at: november, arm: "a" })])
      const { measures } = yield* Comparison.make(database, { ...range, a: "a", b: "b" })
      assert.deepStrictEqual(
        measures.map(({ verdict }) => verdict),
        Array.from({ length: 5 }, () => "too few to say: 0 of at least 30")
      )
    }))
})
