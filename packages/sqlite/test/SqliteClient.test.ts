import { SqliteClient } from "@ballast/sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sqlite-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const memory = Effect.provide(SqliteClient.layer({ filename: ":memory:" }))

const items = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER)`
  return sql
})

describe("SqliteClient", () => {
  it.effect("binds and reads values", () =>
    Effect.gen(function*() {
      const sql = yield* items
      yield* sql`INSERT INTO items ${
        sql.insert([{ id: 1, name: "rope", amount: 3 }, { id: 2, name: null, amount: true }])
      }`
      assert.deepStrictEqual(
        (yield* sql`SELECT * FROM items WHERE id IN ${sql.in([1, 2])} ORDER BY id`).map((row) => ({ ...row })),
        [{ id: 1, name: "rope", amount: 3 }, { id: 2, name: null, amount: 1 }]
      )
      assert.deepStrictEqual(yield* sql`SELECT id FROM items ORDER BY id`.values, [[1], [2]])
    }).pipe(memory))

  it.effect("keeps integers beyond 2^53 exact, or fails", () =>
    Effect.gen(function*() {
      const sql = yield* items
      const large = 9_007_199_254_740_993n
      yield* sql`INSERT INTO items ${sql.insert({ id: large, name: "large", amount: large })}`
      const [row] = yield* Effect.provideService(
        sql<{ amount: bigint }>`SELECT amount FROM items`,
        SqlClient.SafeIntegers,
        true
      )
      assert.strictEqual(row?.amount, large)
      assert.isTrue((yield* Effect.exit(sql`SELECT amount FROM items`))._tag === "Failure")
    }).pipe(memory))

  it.effect("says which constraint a row breaks", () =>
    Effect.gen(function*() {
      const sql = yield* items
      const insert = sql`INSERT INTO items ${sql.insert({ name: "rope" })}`
      yield* insert
      const { reason } = yield* Effect.flip(insert)
      assert.strictEqual(reason._tag, "UniqueViolation")
      assert.include(reason.message, "items.name")
    }).pipe(memory))

  it.effect("rolls a transaction back, and a nested one alone", () =>
    Effect.gen(function*() {
      const sql = yield* items
      const add = (name: string) => sql`INSERT INTO items ${sql.insert({ name })}`
      yield* sql.withTransaction(
        Effect.andThen(add("kept"), Effect.ignore(sql.withTransaction(Effect.andThen(add("inner"), Effect.fail("no")))))
      )
      yield* Effect.ignore(sql.withTransaction(Effect.andThen(add("outer"), Effect.fail("no"))))
      assert.deepStrictEqual(yield* sql`SELECT name FROM items`.values, [["kept"]])
    }).pipe(memory))

  it.effect("runs a statement for each of many lists of parameters, and says what each changed", () =>
    Effect.gen(function*() {
      const sql = yield* SqliteClient.make({ filename: ":memory:" })
      yield* sql`CREATE TABLE items (name TEXT PRIMARY KEY, amount INTEGER NOT NULL)`
      const insert = "INSERT INTO items VALUES (?, ?) ON CONFLICT DO NOTHING"
      const given = [["rope", 1], ["rope", 2], ["sail", true]]
      assert.deepStrictEqual(yield* sql.executeEach(insert, given), [1, 0, 1])
      assert.deepStrictEqual(yield* sql.executeEach(insert, []), [])
      assert.deepStrictEqual(yield* sql`SELECT * FROM items`.values, [["rope", 1], ["sail", 1]])
    }).pipe(Effect.provide(Reactivity.layer)))

  it.effect("runs none of them when one fails, and keeps what its transaction did before", () =>
    Effect.gen(function*() {
      const sql = yield* SqliteClient.make({ filename: ":memory:" })
      yield* sql`CREATE TABLE items (name TEXT NOT NULL)`
      const insert = (...names: ReadonlyArray<string | null>) =>
        sql.executeEach("INSERT INTO items VALUES (?)", names.map((name) => [name]))
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* insert("kept")
        const { reason } = yield* Effect.flip(insert("undone", null))
        assert.strictEqual(reason._tag, "ConstraintError")
      }))
      assert.strictEqual((yield* Effect.flip(insert("undone", null))).reason._tag, "ConstraintError")
      assert.deepStrictEqual(yield* sql`SELECT name FROM items`.values, [["kept"]])
    }).pipe(Effect.provide(Reactivity.layer)))

  it.effect("keeps other statements out of a transaction", () =>
    Effect.gen(function*() {
      const sql = yield* items
      const inside = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const transaction = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* sql`INSERT INTO items ${sql.insert({ name: "a" })}`
        yield* Deferred.succeed(inside, undefined)
        yield* Deferred.await(go)
        return yield* Effect.fail("undo")
      })))
      yield* Deferred.await(inside)
      const other = yield* Effect.forkChild(sql`SELECT name FROM items`, { startImmediately: true })
      yield* Deferred.succeed(go, undefined)
      assert.deepStrictEqual(yield* Fiber.join(other), [])
      yield* Fiber.await(transaction)
    }).pipe(memory))

  it.live("waits for another writer without stopping the event loop", () =>
    Effect.gen(function*() {
      const filename = Path.join(yield* folder, "shared.db")
      const { first, second } = yield* Effect.all({
        first: SqliteClient.make({ filename }),
        second: SqliteClient.make({ filename })
      })
      yield* first`CREATE TABLE items (name TEXT)`
      const inside = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const writer = yield* Effect.forkChild(first.withTransaction(
        Effect.andThen(Deferred.succeed(inside, undefined), Deferred.await(go))
      ))
      yield* Deferred.await(inside)
      const waiter = yield* Effect.forkChild(second`INSERT INTO items VALUES ('late')`, { startImmediately: true })
      // The event loop runs on, and a transaction of another process keeps no reader waiting.
      const reader = yield* SqliteClient.make({ filename, readonly: true })
      assert.deepStrictEqual(yield* reader`SELECT name FROM items`, [])
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(waiter)
      yield* Fiber.join(writer)
      assert.deepStrictEqual(yield* first`SELECT name FROM items`.values, [["late"]])
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))

  it.live("fails when the file stays locked", () =>
    Effect.gen(function*() {
      const filename = Path.join(yield* folder, "locked.db")
      const first = yield* SqliteClient.make({ filename })
      const second = yield* SqliteClient.make({ filename, busyTimeout: "30 millis" })
      yield* first`CREATE TABLE items (name TEXT)`
      const { reason } = yield* first.withTransaction(Effect.flip(second`INSERT INTO items VALUES ('late')`))
      assert.strictEqual(reason._tag, "LockTimeoutError")
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))

  it.effect("fails on a file that can not be opened", () =>
    Effect.gen(function*() {
      const { reason } = yield* Effect.flip(
        SqliteClient.make({ filename: Path.join(yield* folder, "missing", "x.db") })
      )
      assert.strictEqual(reason._tag, "ConnectionError")
    }).pipe(Effect.provide(Reactivity.layer)))
})
