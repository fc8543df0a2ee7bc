/** The SQLite file in which the runs of one process are. */
import * as SqliteClient from "@ballast/sqlite/SqliteClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import { StartError } from "../StartError.ts"

/** Another process runs the workflows of a file. */
export class InUse extends Schema.TaggedError<InUse>()("InUse", { filename: Schema.String }) {
  override get message() {
    return `${this.filename} is in use: one process at a time runs the workflows in it.`
  }
}

/** Locks the file until the process ends, in whatever way. */
const lock = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`PRAGMA locking_mode = EXCLUSIVE`
  // The lock is taken by the first write.
  yield* sql.withTransaction(Effect.void)
})

/** A file for one process alone: two would take each other's runs. */
export const layer = (filename: string): Layer.Layer<SqlClient.SqlClient, StartError | InUse> =>
  Layer.effectDiscard(lock).pipe(
    Layer.provideMerge(SqliteClient.layer({ filename })),
    Layer.catchTag("SqlError", ({ message, reason }) =>
      Layer.effect(
        SqlClient.SqlClient,
        Effect.fail(
          reason._tag === "LockTimeoutError"
            ? new InUse({ filename })
            : new StartError({ detail: `${filename} can not be opened: ${message}` })
        )
      ))
  )
