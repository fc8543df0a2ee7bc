/** Writes that a run waits for, until the database takes them. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"

const retrying = Schedule.exponential("100 millis").pipe(
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(5))))
)

/**
 * Postgres: short of connections, memory or disk; it stops, starts or recovers; it is a replica now. SQLite: short of memory or disk, or the disk fails.
 * The client has no reasons of their own for these.
 */
const passing: ReadonlySet<unknown> = new Set(["25006", "57P01", "57P02", "57P03", "57P05", 7, 10, 13])

/** Whether the same statement may succeed when the database is back. */
const isPassing = ({ isRetryable, reason }: SqlError): boolean => {
  if (isRetryable) return true
  const { code, errno } = (reason._tag === "UnknownError" ? reason.cause ?? {} : {}) as {
    readonly code?: unknown
    readonly errno?: unknown
  }
  return passing.has(code) || (typeof code === "string" && code.startsWith("53")) ||
    (typeof errno === "number" && passing.has(errno & 0xff))
}

/** The database itself says more than its client. */
const detailOf = ({ message, reason: { cause } }: SqlError): string =>
  typeof cause === "object" && cause !== null && "message" in cause ? String(cause.message) : message

/** What happened in a run can not be recorded, however long it waits. */
export class NotRecorded extends Schema.TaggedError<NotRecorded>()("NotRecorded", { reason: Schema.String }) {
  override get message() {
    return `what happened can not be recorded: ${this.reason}`
  }
}

/** Waits for a database that is down; dies with `NotRecorded` of what waiting does not mend. */
export const surely = <A>(effect: Effect.Effect<A, SqlError>, run: string): Effect.Effect<A> =>
  effect.pipe(
    Effect.tapError((error) =>
      isPassing(error)
        ? Effect.logWarning("a workflow waits for the database", { run, reason: detailOf(error) })
        : Effect.void
    ),
    Effect.retry({ schedule: retrying, while: isPassing }),
    Effect.catch((error) => Effect.die(new NotRecorded({ reason: detailOf(error) })))
  )
