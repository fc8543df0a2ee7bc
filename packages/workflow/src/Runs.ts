/**
 * The record of runs: who started them, what their steps did, and every event, in SQL.
 *
 * The engine keeps what it needs to go on with a run; this keeps what people and programs ask about one. A runner tells it of events (`record`,
 * `end`), which waits until they are written, so what the record says has happened. An event has a number within its run, from 1; readers go on
 * after the last number that they have seen.
 *
 * | bound | value | past it |
 * |---|---|---|
 * | events of a run | 20,000 and its end | later ones are not kept; its steps are |
 * | input and output in an event | 16 KiB of JSON | left out, and named in `omitted` |
 * | output of a step | 1 MiB of JSON | not kept: a retry calls the step again |
 *
 * An event stream reads from the database as its reader takes, so a slow reader costs no memory. It looks again as soon as this process
 * writes an event of the run, and each second for those of other processes.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as Bell from "./internal/runs/bell.ts"
import * as Cancel from "./internal/runs/cancel.ts"
import { ends } from "./internal/runs/event.ts"
import { insert } from "./internal/runs/insert.ts"
import type {
  Filter,
  KeyReused,
  NewRun,
  Position,
  Recorded,
  Run,
  Step,
  Summary,
  TooManyRuns
} from "./internal/runs/model.ts"
import * as Read from "./internal/runs/read.ts"
import { deletion, remove } from "./internal/runs/remove.ts"
import { NotRecorded, surely } from "./internal/runs/surely.ts"
import * as Write from "./internal/runs/write.ts"
import type { End, Event } from "./Run.ts"

export {
  type Filter,
  hasEnded,
  KeyReused,
  type NewRun,
  type Position,
  type Recorded,
  type Run,
  Status,
  type Step,
  type Summary,
  TooManyRuns
} from "./internal/runs/model.ts"
export { migration } from "./internal/runs/tables.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Runs {
  /** Records a run to be, unless its idempotency key says that it is there: `isNew` says which. */
  readonly create: (
    run: NewRun,
    options: { readonly maxLive: number }
  ) => Effect.Effect<{ readonly id: string; readonly isNew: boolean }, SqlError | KeyReused | TooManyRuns>
  readonly find: (id: string) => Effect.Effect<Run | undefined, SqlError>
  readonly list: (
    filter: Filter
  ) => Effect.Effect<{ readonly runs: ReadonlyArray<Summary>; readonly next: Position | undefined }, SqlError>
  /** Who started a run. */
  readonly client: (id: string) => Effect.Effect<string | undefined, SqlError>
  readonly step: (id: string, step: string) => Effect.Effect<Step | undefined, SqlError>
  /** Ids of runs that have not ended. */
  readonly live: Effect.Effect<ReadonlyArray<string>, SqlError>
  /** Ids of runs that were made before a time and of which nothing was told: their process may have ended before it started them. */
  readonly unbegun: (before: number) => Effect.Effect<ReadonlyArray<string>, SqlError>
  /** The outputs of steps that succeeded, by their ids. */
  readonly outputs: (id: string) => Effect.Effect<Readonly<Record<string, Schema.Json>>, SqlError>
  /** The events after a number, to the end of the run. */
  readonly events: (id: string, after: number) => Stream.Stream<Recorded, SqlError>
  /** Waits until a run has ended, or waits for a person. */
  readonly settled: (id: string) => Effect.Effect<void, SqlError>
  /** Runs that wait for a person, by workflow. */
  readonly waiting: Effect.Effect<ReadonlyMap<string, number>, SqlError>
  /** Writes an event, and gives the workflow's name; undefined for what is known, or has ended. Waits for a database that is down; what it refuses for good is a defect. */
  readonly record: (event: Event) => Effect.Effect<string | undefined>
  /** Ends the wait of a step by giving its decision; false, without giving it, where the step does not wait. */
  readonly decide: (id: string, step: string, give: Effect.Effect<void>) => Effect.Effect<boolean, SqlError>
  /** Asks the process that works on a run to cancel it; false where the run has ended or is not there. */
  readonly askToCancel: (id: string) => Effect.Effect<boolean, SqlError>
  /** Ids of runs that are to be cancelled. */
  readonly toCancel: Effect.Effect<ReadonlyArray<string>, SqlError>
  /** Cancels a run as it was asked for: of several processes one does it. */
  readonly cancel: (id: string, cancel: Effect.Effect<void>) => Effect.Effect<void, SqlError>
  /**
   * Writes how a run ended, once, and gives what ended; undefined where it was written before. Waits for a database as `record` does. An end that it
   * refuses is written as a failure, with its words.
   */
  readonly end: (
    id: string,
    end: End
  ) => Effect.Effect<{ readonly workflow: string; readonly millis: number } | undefined>
  /** Deletes runs that ended before a time, with all that is kept of them; says how many. */
  readonly clean: (before: number) => Effect.Effect<number, SqlError>
}

/**
 * Runs statements on a database that has the tables.
 *
 * @category options
 * @since 0.1.0
 */
export type Use = <A, E>(run: (sql: SqlClient.SqlClient) => Effect.Effect<A, E>) => Effect.Effect<A, E | SqlError>

/**
 * The record in a database.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (use: Use): Runs => {
  const bell = Bell.make()
  return { ...reading(use), ...following(use, bell), ...writing(use, bell) }
}

const reading = (
  use: Use
): Pick<Runs, "find" | "list" | "client" | "step" | "live" | "unbegun" | "toCancel" | "outputs" | "waiting"> => ({
  find: (id) => use((sql) => Read.run(sql, id)),
  list: (filter) =>
    Effect.map(use((sql) => Read.summaries(sql, filter, filter.limit + 1)), (found) => {
      const runs = found.slice(0, filter.limit)
      const last = found.length > filter.limit ? runs.at(-1) : undefined
      return { runs, next: last && { createdAt: last.createdAt, id: last.id } }
    }),
  client: (id) => use((sql) => Read.client(sql, id)),
  step: (id, step) => use((sql) => Read.step(sql, id, step)),
  live: use(Read.live),
  unbegun: (before) => use((sql) => Read.unbegun(sql, before)),
  toCancel: use(Cancel.asked),
  outputs: (id) => use((sql) => Read.outputs(sql, id)),
  waiting: use(Read.waiting)
})

const following = (use: Use, bell: Bell.Bell): Pick<Runs, "events" | "settled"> => ({
  events: (id, after) =>
    Stream.unwrap(
      Effect.map(bell.listen(id), ({ look, wait }) =>
        Stream.paginate(after, (seq) =>
          Effect.gen(function*() {
            yield* look
            const found = yield* use((sql) => Read.events(sql, id, seq))
            const last = found.at(-1)
            if (last === undefined) {
              if ((yield* use((sql) => Read.state(sql, id))).isOver) return [found, Option.none()] as const
              yield* wait
            }
            return [found, last !== undefined && ends.has(last.type) ? Option.none() : Option.some(last?.seq ?? seq)]
          })))
    ),
  settled: (id) =>
    Effect.scoped(Effect.flatMap(bell.listen(id), ({ look, wait }) =>
      Effect.gen(function*() {
        while (true) {
          yield* look
          const { isOver, isWaiting } = yield* use((sql) => Read.state(sql, id))
          if (isOver || isWaiting) return
          yield* wait
        }
      })))
})

const writing = (
  use: Use,
  bell: Bell.Bell
): Pick<Runs, "create" | "record" | "decide" | "askToCancel" | "cancel" | "end" | "clean"> => {
  const transaction = <A, E>(run: (sql: SqlClient.SqlClient, at: number) => Effect.Effect<A, E>) =>
    Effect.flatMap(
      Clock.currentTimeMillis,
      (at) => use((sql) => sql.withTransaction(Effect.suspend(() => run(sql, at))))
    )
  const told = <A>(run: string, write: Effect.Effect<A, SqlError>): Effect.Effect<A> =>
    Effect.tap(surely(write, run), () => Effect.sync(() => bell.ring(run)))
  const end = (id: string, given: End) => told(id, transaction((sql, at) => Write.end(sql, id, given, at)))
  return {
    create: (run, { maxLive }) => transaction((sql, at) => insert(sql, run, maxLive, at)),
    record: (event) => told(event.run, transaction((sql, at) => Write.event(sql, event, at))),
    decide: (id, step, give) => transaction((sql) => Write.decision(sql, id, step, give)),
    askToCancel: (id) => transaction((sql) => Cancel.ask(sql, id)),
    cancel: (id, cancel) => transaction((sql) => Cancel.take(sql, id, cancel)),
    end: (id, given) =>
      Effect.catchDefect(
        end(id, given),
        (defect) =>
          defect instanceof NotRecorded ? end(id, { status: "failed", reason: defect.message }) : Effect.die(defect)
      ),
    clean: (before) =>
      Effect.gen(function*() {
        let all = 0
        for (let found = deletion; found === deletion; all += found) {
          found = yield* transaction((sql) => remove(sql, before))
        }
        return all
      })
  }
}
