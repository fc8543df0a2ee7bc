/** The Postgres that runs on this machine: at `POSTGRES_URL`, else at the default port. Each test has a schema of its own. */
import { describe } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { randomBytes } from "node:crypto"
import { connect } from "node:net"

const postgresUrl = process.env.POSTGRES_URL ?? "postgres://postgres@127.0.0.1:5432/test"

const answers = await new Promise<boolean>((resolve) => {
  const { hostname, port } = new URL(postgresUrl)
  const socket = connect(Number(port) || 5432, hostname, () => {
    socket.destroy()
    resolve(true)
  })
  socket.once("error", () => resolve(false))
})

/** Describes tests that need the server: skipped under a name that says so, or failing in CI, where none answers. */
export const describePostgres = (name: string, tests: () => void): void => {
  if (answers || process.env.CI === "true") describe(name, tests)
  else describe.skip(`${name} (needs a server at ${postgresUrl}: sudo apt-get install postgresql)`, tests)
}

const run = (statement: string) =>
  Effect.gen(function*() {
    const PgClient = yield* Effect.promise(() => import("@effect/sql-pg/PgClient"))
    yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
      Effect.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(postgresUrl) })))
    )
  }).pipe(Effect.orDie)

/** The address of a schema that is made, and dropped with the scope. `at` is another host and port for the same server. */
export const schema = Effect.map(
  Effect.acquireRelease(
    Effect.tap(
      Effect.sync(() => `ballast_test_${randomBytes(6).toString("hex")}`),
      (name) => run(`CREATE SCHEMA ${name}`)
    ),
    (name) => run(`DROP SCHEMA ${name} CASCADE`)
  ),
  (name) => (at?: string): string => {
    const url = new URL(postgresUrl)
    if (at !== undefined) url.host = at
    url.searchParams.set("options", `-csearch_path=${name}`)
    return url.href
  }
)

/** Where the server is. */
export const postgresAt = (): { readonly host: string; readonly port: number } => {
  const { hostname, port } = new URL(postgresUrl)
  return { host: hostname, port: Number(port) || 5432 }
}
