/** Writes rows and adds them to the sums by hour and day, in one transaction: a row that is there already adds nothing. */
import type { SqliteClient } from "@ballast/sqlite/SqliteClient"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Struct from "effect/Struct"
import { Call, type Feedback } from "./call.ts"
import { dimensions, measures, type Sum, sumsOf } from "./sums.ts"

const addition = measures.map((name) => `${name} = ballast_usage.${name} + excluded.${name}`).join(", ")

const columns = Struct.keys(Call.fields)

const valuesOf = (call: Call): ReadonlyArray<unknown> => columns.map((name) => call[name])

/** The text that inserts rows which are not there yet. */
const insertionOf = (tuples: ReadonlyArray<string>): string =>
  `INSERT INTO ballast_calls (${columns.join(",")}) VALUES ${tuples.join(",")} ON CONFLICT (id) DO NOTHING`

const insertionOfOne = insertionOf([`(${columns.map(() => "?").join(",")})`])

const insertEach = (sql: SqliteClient, calls: ReadonlyArray<Call>): Effect.Effect<ReadonlyArray<Call>, SqlError> =>
  Effect.map(
    sql.executeEach(insertionOfOne, calls.map(valuesOf)),
    (changes) => calls.filter((_, index) => changes[index] === 1)
  )

/** Rows of one statement. There are few sizes, since the text of each is prepared once, and costs more than what it then writes. */
const sizes = [100, 20, 4, 1] as const

/** Cuts rows into the parts that statements take. */
const partsOf = <A>(rows: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> => {
  const parts: Array<ReadonlyArray<A>> = []
  let from = 0
  for (const size of sizes) {
    for (; rows.length - from >= size; from += size) parts.push(rows.slice(from, from + size))
  }
  return parts
}

const insertions = new Map<number, string>()

/** The statement that inserts a number of rows. It is made once for each number; Effect's own helper makes it for each batch. */
const insertionOfMany = (rows: number): string => {
  let text = insertions.get(rows)
  if (text === undefined) {
    const tuples = Array.from(
      { length: rows },
      (_, row) => `(${columns.map((_, column) => `$${row * columns.length + column + 1}`).join(",")})`
    )
    insertions.set(rows, text = `${insertionOf(tuples)} RETURNING id`)
  }
  return text
}

const insertMany = Effect.fnUntraced(function*(
  sql: SqlClient,
  calls: ReadonlyArray<Call>
): Effect.fn.Return<ReadonlyArray<Call>, SqlError> {
  const fresh: Array<Call> = []
  for (const rows of partsOf(calls)) {
    const written = yield* sql.unsafe<{ readonly id: string }>(insertionOfMany(rows.length), rows.flatMap(valuesOf))
    // Rows are there already after a crash alone, so ids are hardly ever compared.
    const ids = written.length === rows.length ? undefined : new Set(written.map(({ id }) => id))
    fresh.push(...ids === undefined ? rows : rows.filter(({ id }) => ids.delete(id)))
  }
  return fresh
})

const isSqlite = (sql: SqlClient): sql is SqliteClient => "executeEach" in sql

/** A long statement costs SQLite more than a short one for each row; each statement costs a way to Postgres and back. */
const insert = (sql: SqlClient, calls: ReadonlyArray<Call>): Effect.Effect<ReadonlyArray<Call>, SqlError> =>
  isSqlite(sql) ? insertEach(sql, calls) : insertMany(sql, calls)

/** Sums of one statement. */
const mostSums = 100

const add = (sql: SqlClient, sums: Arr.NonEmptyReadonlyArray<Sum>) =>
  sql`INSERT INTO ballast_usage ${sql.insert(sums)} ON CONFLICT (span, start, ${sql.csv(dimensions)}) DO UPDATE SET ${
    sql.literal(addition)
  }`

/** Keeps what a client has spent on a day, and nothing else of its calls. */
export const addSpent = (
  sql: SqlClient,
  { currency, units, ...of }: {
    readonly start: number
    readonly client: string
    readonly currency: string
    readonly units: bigint
  }
) =>
  add(sql, [{
    span: "spent",
    ...Object.fromEntries(dimensions.map((name) => [name, ""])),
    ...Object.fromEntries(measures.map((name) => [name, 0])),
    ...of,
    currency,
    cost_call: units
  }])

/** Gives the rows that were not there before. */
export const write = (
  sql: SqlClient,
  calls: ReadonlyArray<Call>
): Effect.Effect<ReadonlyArray<Call>, SqlError> =>
  sql.withTransaction(Effect.gen(function*() {
    const fresh = yield* insert(sql, calls)
    for (const sums of Arr.chunksOf(sumsOf(fresh), mostSums)) yield* add(sql, sums)
    return fresh
  }))

/** Keeps feedback: the newest of a client, a request and a name. */
export const writeFeedback = (sql: SqlClient, all: ReadonlyArray<Feedback>): Effect.Effect<void, SqlError> =>
  sql.withTransaction(Effect.forEach(
    all,
    (row) =>
      sql`INSERT INTO ballast_feedback ${sql.insert(row)} ON CONFLICT (request_id, name, client) DO UPDATE SET
        at = excluded.at, kind = excluded.kind, value = excluded.value, comment = excluded.comment
        WHERE excluded.at >= ballast_feedback.at`,
    { discard: true }
  ))
