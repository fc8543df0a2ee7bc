/**
 * Keeps the tables of runs in order, in one of the processes that share them: resumes runs that nothing would wake any more, and deletes runs that
 * ended long ago.
 *
 * The tables are those of `effect/cluster`. A run, each of its steps, decisions and clocks is a row of `cluster_messages` under the run's
 * `entity_id`; what came of it is a row of `cluster_replies`. Ids of both contain the time at which they were made.
 */
import * as Clock from "effect/Clock"
import * as MachineId from "effect/cluster/MachineId"
import { Sharding } from "effect/cluster/Sharding"
import * as Singleton from "effect/cluster/Singleton"
import * as Snowflake from "effect/cluster/Snowflake"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"

/** How long runs that have ended are kept. */
const defaultKeep = Duration.days(30)

/** How the reply of a run, or of a step, begins that has not ended but waits. */
const suspended = "{\"_tag\":\"Success\",\"value\":{\"_tag\":\"Suspended\""

const isSuspended = (payload: string): string => `substr(${payload}, 1, ${suspended.length}) = '${suspended}'`

/** Messages of runs themselves, not of their steps, decisions and clocks. */
const isRun = (message: string): string =>
  `${message}.tag = 'run' AND ${message}.entity_type LIKE 'Workflow/%' AND ${message}.entity_type <> 'Workflow/-/DurableClock'`

const indexes = Migrator.make({})({
  loader: Migrator.fromRecord({
    "0001_indexes": Effect.gen(function*() {
      const sql = (yield* SqlClient.SqlClient).withoutTransforms()
      yield* sql`CREATE INDEX IF NOT EXISTS ballast_messages_of_entity ON cluster_messages (entity_id)`
      yield* sql`CREATE INDEX IF NOT EXISTS ballast_suspended_replies ON cluster_replies (id) WHERE ${
        sql.literal(isSuspended("payload"))
      }`
    })
  }),
  table: "ballast_workflow_migrations"
})

const before = (time: number): string =>
  String(
    Snowflake.make({ timestamp: Math.max(Snowflake.constEpochMillis, time), machineId: MachineId.make(0), sequence: 0 })
  )

/** Runs that one round looks at. */
const page = 1000

/** A younger run may be about to be woken. */
const settled = 30_000

/**
 * Resumes runs, of a page after `last`, that have waited since before a time though something has come: a step was given up in flight, or a decision
 * or a clock woke a process that was about to end. Gives where the next page begins. A run that was resumed for nothing reads what its steps gave,
 * and waits again.
 */
export const resumeLost = Effect.fnUntraced(function*(last: string, time: number) {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const sharding = yield* Sharding
  const rows = yield* sql<{ readonly run: string | bigint; readonly reply: string | bigint; readonly lost: unknown }>`
    SELECT m.id AS run, page.id AS reply, EXISTS (
      SELECT 1 FROM cluster_messages x JOIN cluster_replies r ON r.request_id = x.id AND r.kind = 0
      WHERE x.entity_id = m.entity_id AND x.entity_type = m.entity_type AND (
        (x.tag = 'activity' AND ${sql.literal(isSuspended("r.payload"))}) OR (x.tag = 'deferred' AND r.id > page.id)
      )
    ) AND ${sql.literal(isRun("m"))} AS lost
    FROM (
      SELECT id, request_id FROM cluster_replies
      WHERE ${sql.literal(isSuspended("payload"))} AND id > ${sql.literal(last)} AND id < ${sql.literal(before(time))}
      ORDER BY id LIMIT ${sql.literal(String(page))}
    ) page JOIN cluster_messages m ON m.id = page.request_id
    ORDER BY page.id`.pipe(Effect.provideService(SqlClient.SafeIntegers, true))
  const lost = rows.filter(({ lost }) => Boolean(lost))
  for (const { reply, run } of lost) {
    yield* sharding.reset(Snowflake.Snowflake(run), { expectedReplyId: Snowflake.Snowflake(reply) })
  }
  if (lost.length > 0) {
    yield* Effect.logInfo(`Resumed ${lost.length} runs of workflows that nothing would have woken`)
    yield* sharding.pollStorage
  }
  return rows.length < page ? "0" : String(rows.at(-1)?.reply)
})

/** Runs that one transaction deletes. */
const batch = 50

/**
 * Deletes runs that ended before a time, with everything of theirs, up to a number; gives how many. Kept is what goes on, and what a run that goes
 * on has started: it would start it again. Decisions on runs that never began are deleted too.
 */
export const forget = Effect.fnUntraced(function*(time: number) {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const until = sql.literal(before(time))
  const goesOn = (run: string, reply: string) =>
    sql.literal(
      `${isRun(run)} AND (${reply}.id IS NULL OR ${reply}.id >= ${before(time)} OR ${isSuspended(`${reply}.payload`)})`
    )
  const parent = "~effect/cluster/ClusterWorkflowEngine/payloadParentKey"
  const parentId = sql.literal(sql.onDialectOrElse({
    // Without characters by their codes: json takes no NUL, and no half of a pair. Escaped backslashes go first.
    pg: () =>
      `regexp_replace(replace(x.payload, '\\\\', ''), '\\\\u.{4}', '', 'g')::json -> '${parent}' ->> 'executionId'`,
    orElse: () => `json_extract(x.payload, '$."${parent}".executionId')`
  }))
  return yield* sql.withTransaction(Effect.gen(function*() {
    const ended = yield* sql<{ readonly entity_id: string }>`
      SELECT DISTINCT m.entity_id FROM cluster_messages m
      WHERE m.id < ${until} AND m.entity_type LIKE 'Workflow/%'
      AND NOT EXISTS (
        SELECT 1 FROM cluster_messages x LEFT JOIN cluster_replies r ON r.request_id = x.id AND r.kind = 0
        WHERE x.entity_id = m.entity_id AND ${goesOn("x", "r")}
      )
      AND NOT EXISTS (
        SELECT 1 FROM cluster_messages x
        JOIN cluster_messages p ON p.entity_id = ${parentId}
        LEFT JOIN cluster_replies r ON r.request_id = p.id AND r.kind = 0
        WHERE x.entity_id = m.entity_id AND ${sql.literal(isRun("x"))} AND ${goesOn("p", "r")}
      )
      LIMIT ${sql.literal(String(batch))}`
    if (ended.length === 0) return 0
    // What is younger is of a run that has just begun under the same id.
    const rows = sql`SELECT id FROM cluster_messages WHERE ${
      sql.in("entity_id", ended.map(({ entity_id }) => entity_id))
    }
      AND entity_type LIKE 'Workflow/%' AND id < ${until}`
    yield* sql`DELETE FROM cluster_replies WHERE request_id IN (${rows})`
    yield* sql`DELETE FROM cluster_messages WHERE id IN (${rows})`
    return ended.length
  }))
})

const repeatedly = <E, R>(what: string, pause: Duration.Input, round: Effect.Effect<void, E, R>) =>
  round.pipe(
    Effect.catch((error) =>
      Effect.logWarning(`The upkeep of workflows could not ${what}, and tries it again later`, error)
    ),
    Effect.andThen(Effect.sleep(pause)),
    Effect.forever
  )

const forgetAll = (keep: Duration.Duration) =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    while ((yield* forget(now - Duration.toMillis(keep))) === batch) yield* Effect.sleep("100 millis")
  })

const resumeAll = () => {
  let last = "0"
  return Effect.gen(function*() {
    last = yield* resumeLost(last, (yield* Clock.currentTimeMillis) - settled)
  })
}

/** The upkeep, for as long as the layer lives; it begins at once. */
export const layer = (keep: Duration.Input = defaultKeep) => {
  const kept = Duration.fromInputUnsafe(keep)
  if (Duration.isLessThan(kept, Duration.hours(1))) {
    throw new RangeError(`Engine: keep must be at least 1 hour, got ${Duration.format(kept)}`)
  }
  return Singleton.make(
    "ballast/workflow/upkeep",
    Effect.all([
      repeatedly("resume runs", "10 seconds", resumeAll()),
      Duration.isFinite(kept) ? repeatedly("delete runs", "1 hour", forgetAll(kept)) : Effect.void
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.withTracerEnabled(false))
  ).pipe(Layer.provideMerge(Layer.effectDiscard(Effect.orDie(indexes))))
}
