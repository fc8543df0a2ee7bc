/**
 * The ledger: one row for each call of a model, with who asked, what answered, tokens, cost and times. Never a prompt or an answer.
 *
 * A call that ends appends its row to a file and to memory, and waits for nothing else. A fiber writes rows in batches, twice a second, in a transaction that also adds them to sums by hour and day
 * (UTC), and removes the file. So a database that is slow or down costs no call; what waits is bounded on disk, and what finds no room is counted as dropped. A row's own id makes a second
 * attempt at it harmless: a batch whose answer was lost, or a file that a killed process left, is written again and counts once.
 *
 * What clients say of answers goes the same way.
 *
 * Rows are kept for `keepCalls`, sums by hour for `keepHours`, sums by day until the client's data is deleted; then what it spent on each day of the
 * month stays until the month is over.
 *
 * | metric | what it counts |
 * |---|---|
 * | `ballast_ledger_calls_total` | rows by `outcome`: `written`, `replayed` (by another process than the call's), `refused` by the database, `dropped` for want of room |
 * | `ballast_ledger_waiting_calls` | rows that are not in the database yet |
 * | `ballast_ledger_spool_bytes` | size of the files |
 * | `ballast_ledger_write_failures_total` | batches that failed, to be tried again |
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import { randomBytes } from "node:crypto"
import type { Database } from "./Database.ts"
import { type Call, type Feedback, isCall, isFeedback } from "./internal/ledger/call.ts"
import { beginOfMonth } from "./internal/ledger/spent.ts"
import * as Spool from "./internal/ledger/spool.ts"
import { write, writeFeedback } from "./internal/ledger/write.ts"

export { Call, Feedback } from "./internal/ledger/call.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Ledger {
  /** Takes the row of a call that has ended; costs microseconds, and never fails. */
  readonly record: (call: Omit<Call, "id">) => void
  /** Takes what a client said of an answer; false when there is no room for it. */
  readonly feedback: (feedback: Feedback) => boolean
  /** Writes all that waits now. Fails when the database does. */
  readonly flush: Effect.Effect<void, SqlError>
  /** Deletes what is older than is kept. Runs by itself, each hour. */
  readonly clean: Effect.Effect<void, SqlError>
  /** What waits for the database. */
  readonly waiting: () => { readonly rows: number; readonly bytes: number }
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly database: Database
  /** Where rows wait for the database. Default: beside the database; none for one in memory. */
  readonly folder?: string | undefined
  /** Bytes of rows that may wait there. Default 256 MiB. */
  readonly maxSpool?: number | undefined
  /** How long rows are kept. Default 90 days. */
  readonly keepCalls?: Duration.Input | undefined
  /** How long sums by hour are kept. Default 400 days. */
  readonly keepHours?: Duration.Input | undefined
}

const defaults = {
  maxSpool: 268_435_456,
  keepCalls: Duration.days(90),
  keepHours: Duration.days(400)
}

/** How long a row waits for others. */
const interval = Duration.millis(500)

/** Rows of one transaction. */
const batch = 500

/** Rows that are deleted in one statement. */
const deletion = 1_000

/** What a stop waits for the database. */
const lastWait = Duration.seconds(5)

const retrying = Schedule.exponential("200 millis").pipe(
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(5))))
)

const counter = Metric.counter("ballast_ledger_calls_total", {
  description: "Calls of the ledger by what became of their rows",
  incremental: true
})
const outcomes = {
  written: Metric.withAttributes(counter, { outcome: "written" }),
  replayed: Metric.withAttributes(counter, { outcome: "replayed" }),
  refused: Metric.withAttributes(counter, { outcome: "refused" }),
  dropped: Metric.withAttributes(counter, { outcome: "dropped" })
}
const waitingCalls = Metric.gauge("ballast_ledger_waiting_calls", {
  description: "Rows that are not in the database yet"
})
const spoolBytes = Metric.gauge("ballast_ledger_spool_bytes", {
  description: "Size of the files of rows that wait for the database"
})
const failures = Metric.counter("ballast_ledger_write_failures_total", {
  description: "Batches of rows that the database did not take, to be tried again",
  incremental: true
})

/**
 * A ledger that keeps nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const none: Ledger = {
  record: () => {},
  feedback: () => true,
  flush: Effect.void,
  clean: Effect.void,
  waiting: () => ({ rows: 0, bytes: 0 })
}

/** Whether the rows are what is wrong, so that another attempt will not help: Postgres' class 22 is what data breaks. */
const isOfRows = ({ reason }: SqlError): boolean => {
  const { cause } = reason
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : ""
  return reason._tag === "ConstraintError" || reason._tag === "UniqueViolation" || code.startsWith("22")
}

/**
 * Makes a ledger. What waits when the scope closes is written within five seconds, or stays in its files.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Ledger, never, Scope.Scope> {
  const { database, maxSpool = defaults.maxSpool } = options
  const context = yield* Effect.context<never>()
  const run = randomBytes(9).toString("base64url").replaceAll("-", "_")
  const folder = options.folder ?? database.folder
  const spool = Spool.make({ folder, run, maxBytes: maxSpool })
  const arrived = Latch.makeUnsafe(spool.oldest() !== undefined)
  const lock = Semaphore.makeUnsafe(1)
  let made = 0

  const measure = () => {
    const { bytes, rows } = spool.size()
    waitingCalls.updateUnsafe(rows, context)
    spoolBytes.updateUnsafe(bytes, context)
  }

  /** Finds the rows that the database refuses for what they are, and goes on with the others. */
  const writeAll: (calls: ReadonlyArray<Call>) => Effect.Effect<ReadonlyArray<Call>, SqlError> = (calls) =>
    Effect.catchIf(database.use((sql) => write(sql, calls)), isOfRows, (error) => {
      if (calls.length > 1) {
        const middle = Math.ceil(calls.length / 2)
        return Effect.zipWith(
          Effect.suspend(() => writeAll(calls.slice(0, middle))),
          Effect.suspend(() => writeAll(calls.slice(middle))),
          (first, second) => [...first, ...second]
        )
      }
      outcomes.refused.updateUnsafe(calls.length, context)
      return Effect.as(
        Effect.logError("the database refuses the row of a call", {
          request_id: calls[0]?.request_id,
          reason: error.message
        }),
        []
      )
    })

  const writeSegment = Effect.fnUntraced(function*(segment: Spool.Segment) {
    const waiting = spool.read(segment)
    const calls = waiting.filter(isCall)
    const feedback = waiting.filter(isFeedback)
    for (let from = 0; from < calls.length; from += batch) {
      const rows = yield* writeAll(calls.slice(from, from + batch))
      const own = rows.filter(({ id }) => id.startsWith(run)).length
      outcomes.written.updateUnsafe(own, context)
      outcomes.replayed.updateUnsafe(rows.length - own, context)
    }
    if (feedback.length > 0) yield* database.use((sql) => writeFeedback(sql, feedback))
    spool.done(segment)
    measure()
  })

  // What comes while this writes is for the next time.
  const flush = Effect.gen(function*() {
    const last = spool.newest()
    for (let segment = spool.oldest(); segment !== undefined; segment = spool.oldest()) {
      yield* writeSegment(segment)
      if (segment === last) break
    }
  }).pipe(lock.withPermit)

  let isDown = false
  const told = (error: SqlError) => {
    failures.updateUnsafe(1, context)
    measure()
    if (isDown) return Effect.void
    isDown = true
    return Effect.logWarning("the ledger waits for its database; calls go on", { reason: error.message })
  }

  const writing = Effect.gen(function*() {
    yield* arrived.await
    yield* Effect.sleep(interval)
    arrived.closeUnsafe()
    yield* flush.pipe(Effect.tapError(told), Effect.retry(retrying), Effect.orDie)
    if (isDown) {
      isDown = false
      yield* Effect.logInfo("the ledger's database is back, and what waited is written")
    }
  }).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterrupts(cause)
        ? Effect.failCause(cause)
        : Effect.andThen(
          Effect.logError("the ledger's writer failed, and goes on", cause),
          Effect.andThen(Effect.sync(() => arrived.openUnsafe()), Effect.sleep(interval))
        )
    ),
    Effect.forever
  )

  const clean = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const before = (keep: Duration.Input) => now - Duration.toMillis(Duration.fromInputUnsafe(keep))
    for (let more = true; more;) {
      more = yield* database.use((sql) =>
        Effect.map(
          sql`DELETE FROM ballast_calls WHERE id IN (SELECT id FROM ballast_calls WHERE at < ${
            before(options.keepCalls ?? defaults.keepCalls)
          } LIMIT ${deletion}) RETURNING id`,
          (rows) => rows.length === deletion
        )
      )
    }
    yield* database.use((sql) =>
      sql`DELETE FROM ballast_feedback WHERE at < ${before(options.keepCalls ?? defaults.keepCalls)}`
    )
    yield* database.use((sql) =>
      sql`DELETE FROM ballast_usage WHERE span = 'hour' AND start < ${before(options.keepHours ?? defaults.keepHours)}`
    )
    yield* database.use((sql) => sql`DELETE FROM ballast_usage WHERE span = 'spent' AND start < ${beginOfMonth(now)}`)
  })
  const cleaning = Effect.catch(
    clean,
    (error) => Effect.logWarning("old rows of the ledger can not be deleted", { reason: error.message })
  )

  yield* Effect.addFinalizer(() =>
    flush.pipe(
      Effect.timeout(lastWait),
      Effect.catch(() => {
        const { rows } = spool.size()
        return Effect.logWarning("rows of the ledger are not in the database", { rows, folder })
      }),
      Effect.andThen(Effect.sync(spool.close))
    )
  )
  if (folder !== undefined && spool.problem() !== undefined) {
    yield* Effect.logWarning("rows of the ledger wait in memory alone, since their folder can not be written", {
      folder,
      reason: String(spool.problem())
    })
  }
  yield* Effect.forkScoped(writing)
  yield* Effect.forkScoped(Effect.repeat(cleaning, Schedule.spaced("1 hour")))

  return {
    record: (call) => {
      // The engine copies an object quickly where it comes first.
      const isKept = spool.append({ ...call, id: `${run}-${(made++).toString(36)}` })
      if (!isKept) outcomes.dropped.updateUnsafe(1, context)
      arrived.openUnsafe()
    },
    feedback: (feedback) => {
      const isKept = spool.append(feedback)
      arrived.openUnsafe()
      return isKept
    },
    flush,
    clean,
    waiting: () => spool.size()
  }
})
