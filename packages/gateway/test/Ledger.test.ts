import { Ledger } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { call } from "./support/calls.ts"
import { describeDatabases, open, temporaryFolder } from "./support/databases.ts"

const countOf = (database: Effect.Success<ReturnType<typeof open>>) =>
  Effect.map(
    database.use((sql) => sql<{ n: number | bigint }>`SELECT COUNT(*) AS n FROM ballast_calls`),
    ([row]) => Number(row?.n)
  )

const day = Date.UTC(2026, 10, 28)

describe("a database in a file", () => {
  it.effect("is for its owner alone", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const database = yield* open(Path.join(folder, "new", "ballast.db"))
      yield* database.use((sql) => sql`SELECT 1`)
      const files = Fs.readdirSync(Path.join(folder, "new"))
      assert.includeMembers(files, ["ballast.db", "ballast.db-wal"])
      for (const file of files) {
        const { mode } = Fs.statSync(Path.join(folder, "new", file))
        assert.strictEqual(mode & 0o077, 0, file)
      }
    }).pipe(Effect.scoped))
})

describeDatabases("Ledger", (address) => {
  it.effect("keeps a row of each call, and the sums of its hour and day", () =>
    Effect.gen(function*() {
      const database = yield* open(yield* address)
      const ledger = yield* Ledger.make({ database, folder: yield* temporaryFolder })
      ledger.record(call({ request_id: "a", at: day + 1 }))
      ledger.record(call({ request_id: "b", at: day + 2, cost_miss: 1 }))
      ledger.record(
        call({
          request_id: "c",
          at: day + 3_600_000,
          status: 502,
          error: "upstream_error",
          input_tokens: null,
          output_tokens: null
        })
      )
      assert.strictEqual(ledger.waiting().rows, 3)
      yield* ledger.flush
      assert.deepStrictEqual({ ...ledger.waiting(), inMemory: 0 }, { rows: 0, bytes: 0, inMemory: 0 })
      const [row] = yield* database.use((sql) => sql`SELECT * FROM ballast_calls WHERE request_id = 'b'`)
      const { id: _, ...kept } = { ...row }
      assert.deepStrictEqual(
        Object.fromEntries(
          Object.entries(kept).map(([name, value]) => [name, typeof value === "bigint" ? Number(value) : value])
        ),
        { ...call({ request_id: "b", at: day + 2, cost_miss: 1 }) }
      )
      const sums = yield* database.use((sql) =>
        sql`SELECT span, start, calls, errors, input_tokens, cost_miss, answered FROM ballast_usage ORDER BY span, start`
          .values
      )
      assert.deepStrictEqual(sums.map((row) => row.map((value) => typeof value === "bigint" ? Number(value) : value)), [
        ["day", day, 3, 1, 200, 72_000_001, 2],
        ["hour", day, 2, 0, 200, 36_000_001, 2],
        ["hour", day + 3_600_000, 1, 1, 0, 36_000_000, 0]
      ])
    }))

  it.effect("counts a row once that is written twice", () =>
    Effect.gen(function*() {
      const database = yield* open(yield* address)
      const folder = yield* temporaryFolder
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(Ledger.make({ database, folder }), scope)
      for (let n = 0; n < 3; n++) first.record(call())
      yield* Effect.promise(() => new Promise(setImmediate))
      const [file = ""] = Fs.readdirSync(folder)
      const lines = Fs.readFileSync(Path.join(folder, file))
      yield* first.flush
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
      yield* Scope.close(scope, Exit.void)
      // As if the process had been killed between the commit and the removal of the file; the last line was cut off.
      Fs.writeFileSync(Path.join(folder, file), Buffer.concat([lines, lines.subarray(0, 40)]))
      const second = yield* Ledger.make({ database, folder })
      yield* second.flush
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
      assert.strictEqual(yield* countOf(database), 3)
      const [sum] = yield* database.use((sql) => sql`SELECT calls FROM ballast_usage WHERE span = 'day'`.values)
      assert.strictEqual(Number(sum?.[0]), 3)
    }))

  it.effect("writes what waits when it ends", () =>
    Effect.gen(function*() {
      const url = yield* address
      const database = yield* open(url)
      const scope = yield* Scope.make()
      const ledger = yield* Scope.provide(Ledger.make({ database, folder: yield* temporaryFolder }), scope)
      ledger.record(call())
      ledger.record(call())
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* countOf(database), 2)
    }))

  it.effect("finds the row that the database refuses, and keeps the others", () =>
    Effect.gen(function*() {
      const database = yield* open(yield* address)
      const ledger = yield* Ledger.make({ database, folder: yield* temporaryFolder })
      for (let n = 0; n < 7; n++) ledger.record(call(n === 4 ? { at: null as unknown as number } : {}))
      yield* ledger.flush
      assert.strictEqual(yield* countOf(database), 6)
    }))

  it.effect("deletes rows and sums when they are old", () =>
    Effect.gen(function*() {
      const url = yield* address
      yield* TestClock.setTime(day)
      const database = yield* open(url)
      yield* Effect.scoped(Effect.gen(function*() {
        const ledger = yield* Ledger.make({ database, folder: yield* temporaryFolder })
        ledger.record(call({ at: day }))
        ledger.record(call({ at: day - 100 * 86_400_000 }))
        ledger.record(call({ at: day - 500 * 86_400_000 }))
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        const ledger = yield* Ledger.make({ database })
        yield* ledger.clean
      }))
      assert.strictEqual(yield* countOf(database), 1)
      const spans = yield* database.use((sql) => sql`SELECT span FROM ballast_usage ORDER BY span`.values)
      assert.deepStrictEqual(spans.flat(), ["day", "day", "day", "hour", "hour"])
    }))

  it.effect("runs migrations once when several processes start", () =>
    Effect.gen(function*() {
      const url = yield* address
      const opened = yield* Effect.all([open(url), open(url), open(url)], { concurrency: "unbounded" })
      for (const database of opened) assert.strictEqual(yield* countOf(database), 0)
    }))
})
