/** The Postgres of the tests, in which each bench has a schema of its own. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"

const postgresUrl = process.env["POSTGRES_URL"] ?? "postgres://postgres@127.0.0.1:5432/test"

const execute = (statement: string) =>
  Effect.runPromise(
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
      Effect.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(postgresUrl) })))
    )
  )

/** The address of a new schema; `drop` deletes it. */
export const schema = async (name: string) => {
  const own = `ballast_bench_${process.pid}_${name}`
  await execute(`CREATE SCHEMA ${own}`)
  const url = new URL(postgresUrl)
  url.searchParams.set("options", `-csearch_path=${own}`)
  return { url: url.href, drop: async () => void await execute(`DROP SCHEMA ${own} CASCADE`) }
}
