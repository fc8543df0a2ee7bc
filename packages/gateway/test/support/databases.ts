/** Both kinds of database, each test with one of its own. */
import { Database } from "@ballast/gateway"
import { describe } from "@effect/vitest"
import { Effect, Redacted, type Scope } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { describePostgres, schema } from "../../../../test/support/postgres.ts"

export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "ballast-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

export const open = (url: string): Effect.Effect<Database.Database, never, Scope.Scope> =>
  Effect.orDie(Database.make(Redacted.make(url)))

/** A new database: the address at which it is opened, any number of times. */
export type Address = Effect.Effect<string, never, Scope.Scope>

const file: Address = Effect.map(temporaryFolder, (folder) => Path.join(folder, "ballast.db"))

/** Runs a suite against both. */
export const describeDatabases = (name: string, suite: (address: Address) => void): void => {
  describe(`${name}, SQLite`, () => suite(file))
  describePostgres(`${name}, Postgres`, () => suite(Effect.map(schema, (url) => url())))
}
