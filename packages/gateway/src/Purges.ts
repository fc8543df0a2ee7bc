/**
 * Purges of answers that reach all gateways with the same database: each has answers in its own memory.
 *
 * A purge is a row in the database for a week. Each process looks for new ones every two seconds, and carries them out, its own among them: a
 * call that was under way elsewhere may have left an answer in Redis since. While that or the database fails, it is tried again.
 *
 * @since 0.1.0
 */
import type { Purge } from "@ballast/router/AnswerCache"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { Database } from "./Database.ts"

const Kept = Schema.fromJsonString(Schema.Struct({
  client: Schema.optional(Schema.String),
  model: Schema.optional(Schema.String),
  hash: Schema.optional(Schema.String),
  /** In milliseconds. */
  olderThan: Schema.optional(Schema.Finite)
}))

const encode = Schema.encodeSync(Kept)
const decode = Schema.decodeUnknownSync(Kept)

const interval = Duration.seconds(2)

/** In milliseconds. */
const lifetime = 7 * 24 * 3_600_000

/**
 * Tells all gateways with this database of a purge.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tell = (
  database: Database,
  { olderThan, ...filter }: Purge
): Effect.Effect<void, SqlError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const purge = encode({ ...filter, olderThan: olderThan === undefined ? undefined : Duration.toMillis(olderThan) })
    return database.use((sql) =>
      sql.withTransaction(Effect.gen(function*() {
        // First, so that purges of several processes come one after the other.
        yield* sql`UPDATE ballast_revisions SET revision = revision + 1 WHERE name = 'purges'`
        yield* sql`DELETE FROM ballast_purges WHERE at < ${now - lifetime}`
        yield* sql`INSERT INTO ballast_purges (revision, purge, at)
          SELECT revision, ${purge}, ${now} FROM ballast_revisions WHERE name = 'purges'`
      }))
    )
  })

/**
 * Carries out each purge that is told from now on, here or in another process, as long as the scope lives.
 *
 * @category combinators
 * @since 0.1.0
 */
export const follow = Effect.fnUntraced(function*<E extends { readonly message: string }>(
  database: Database,
  carryOut: (purge: Purge) => Effect.Effect<unknown, E>
): Effect.fn.Return<void, never, Scope.Scope> {
  let seen: number | undefined
  const look = Effect.gen(function*() {
    const [row] = yield* database.use((sql) =>
      sql<{ revision: number | bigint | string }>`SELECT revision FROM ballast_revisions WHERE name = 'purges'`
    )
    const revision = Number(row?.revision ?? 0)
    const since = seen ?? revision
    if (since < revision) {
      const rows = yield* database.use((sql) =>
        sql<{ purge: string }>`SELECT DISTINCT purge FROM ballast_purges WHERE revision > ${since}`
      )
      for (const { purge } of rows) yield* carryOut(decode(purge))
    }
    seen = revision
  })
  let isFailing = false
  const tried = Effect.matchEffect(look, {
    onSuccess: () => Effect.sync(() => isFailing = false),
    onFailure: ({ message }) => {
      if (isFailing) return Effect.void
      isFailing = true
      return Effect.logWarning("purges of other gateways can not be followed now", { reason: message })
    }
  })
  yield* tried
  yield* Effect.forkScoped(Effect.repeat(Effect.delay(tried, interval), Schedule.forever))
})
