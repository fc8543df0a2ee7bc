/**
 * Where the gateway keeps what outlives a process: a SQLite file, which needs nothing to be installed, or Postgres, which several gateways share.
 *
 * | setting `database` | what it is |
 * |---|---|
 * | none, while only the simulator answers | in memory: made-up answers cost nothing, so a trial leaves no files |
 * | none, else | the SQLite file `data/ballast.db` below the working directory |
 * | a path | a SQLite file; its folder is made |
 * | `:memory:` | in memory, gone at the end |
 * | `postgres://user:password@host:5432/name` | Postgres; `?options=-csearch_path%3Dname` for a schema of its own |
 *
 * Migrations run before the first use, in a transaction that other processes wait for. A SQLite file that can't be opened stops the start.
 * A Postgres that can't be reached does not: it is asked again at each use, and what needs it fails until then.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { migrations } from "./internal/database/migrations.ts"
import { StartError } from "./StartError.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Database {
  readonly kind: "memory" | "sqlite" | "postgres"
  /** For people: a path, or host and name; never a password. */
  readonly description: string
  /** A folder beside it for what waits for it; undefined in memory. */
  readonly folder: string | undefined
  /** Uses the client once the migrations have run. Fails while the database can't be reached, within ten seconds. */
  readonly use: <A, E, R>(
    run: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError, R>
}

/**
 * The file where no setting names a database.
 *
 * @category defaults
 * @since 0.1.0
 */
export const defaultFile = "data/ballast.db"

const defaults = {
  /** What a statement waits for, and a connection. */
  timeout: Duration.seconds(10),
  /** Each process's part of Postgres' connections. */
  connections: 5
}

/**
 * Whether a text is the address of a Postgres.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isPostgres = (text: string): boolean => /^postgres(?:ql)?:/i.test(text)

/**
 * Says what is wrong with the setting `database`; undefined when nothing is.
 *
 * @category predicates
 * @since 0.1.0
 */
export const problemOf = (text: string): string | undefined => {
  if (isPostgres(text)) {
    const url = URL.parse(text)
    // With a slash too few it would be a path, which is shown with its password.
    return url === null || url.hostname === "" || url.pathname.length < 2
      ? "this is no address of a Postgres, such as postgres://user:password@127.0.0.1:5432/ballast"
      : undefined
  }
  const scheme = /^([a-z][a-z\d+.-]+):\/\//i.exec(text)?.[1]
  return scheme === undefined
    ? undefined
    : `${scheme} is not known here: expected the path of a SQLite file, :memory:, or postgres://user:password@host/name`
}

const nameOf = (url: string): string => {
  const { host = "", pathname = "" } = URL.parse(url) ?? {}
  return `Postgres at ${host}${pathname}`
}

const unreachable = (message: string): SqlError =>
  new SqlError({ reason: new ConnectionError({ cause: undefined, message, operation: "connect" }) })

const migrate = Migrator.make({})({ loader: Migrator.fromRecord(migrations), table: "ballast_migrations" })

/** Runs the migrations once; after a failure, again at the next use. */
const migrated = (sql: SqlClient.SqlClient): Effect.Effect<void, SqlError> => {
  const lock = Semaphore.makeUnsafe(1)
  let isDone = false
  const run = migrate.pipe(
    Effect.provideService(SqlClient.SqlClient, sql),
    Effect.catchTag("MigrationError", (error) =>
      // A migration fails with what its statement failed with.
      error.cause instanceof SqlError ? Effect.fail(error.cause) : Effect.fail(unreachable(error.message))),
    Effect.andThen(Effect.sync(() => isDone = true))
  )
  return Effect.suspend(() =>
    isDone ? Effect.void : lock.withPermit(Effect.suspend(() => isDone ? Effect.void : Effect.asVoid(run)))
  )
}

/** Fails after the timeout, without waiting until what runs has given up: a driver that hangs may hang in its end too. */
const bounded = Effect.fnUntraced(function*<A, E, R>(
  effect: Effect.Effect<A, E, R>,
  onTimeout: Effect.Effect<void>
): Effect.fn.Return<A, E | SqlError, R> {
  const fiber = yield* Effect.forkDetach(effect, { startImmediately: true })
  const leave = Effect.asVoid(Effect.forkDetach(Fiber.interrupt(fiber)))
  return yield* Fiber.join(fiber).pipe(
    // A connection that is cut in a transaction can't roll back, which the client takes for a defect. The server has rolled back.
    Effect.catchDefect((defect) => isSqlError(defect) ? Effect.fail(defect) : Effect.die(defect)),
    Effect.onInterrupt(() => leave),
    Effect.timeoutOrElse({
      duration: defaults.timeout,
      orElse: () => Effect.andThen(onTimeout, Effect.fail(unreachable("The database does not answer.")))
    })
  )
})

interface Client {
  readonly sql: SqlClient.SqlClient
  readonly ready: Effect.Effect<void, SqlError>
}

/** The client at hand; one that hangs is given up where `renews`, and the next use makes another. */
const using = (
  make: Effect.Effect<SqlClient.SqlClient, SqlError, Scope.Scope>,
  scope: Scope.Scope,
  renews: boolean
) => {
  const lock = Semaphore.makeUnsafe(1)
  let current: (Client & { readonly scope: Scope.Closeable }) | undefined
  const client = lock.withPermit(
    Effect.suspend(() =>
      current !== undefined ? Effect.succeed(current) : Effect.gen(function*() {
        const own = yield* Scope.fork(scope)
        const sql = yield* Scope.provide(make, own)
        return current = { sql, ready: migrated(sql), scope: own }
      })
    )
  )
  const use: Database["use"] = (run) =>
    Effect.flatMap(client, (one) =>
      bounded(
        Effect.andThen(one.ready, Effect.suspend(() => run(one.sql))),
        Effect.suspend(() => {
          if (!renews) return Effect.void
          if (current === one) current = undefined
          return Effect.asVoid(Effect.forkDetach(Scope.close(one.scope, Exit.void)))
        })
      )).pipe(
        // Each statement would be a trace of its own.
        Effect.withTracerEnabled(false)
      )
  return use
}

const sqlite = Effect.fnUntraced(function*(filename: string) {
  const { layer } = yield* Effect.promise(() => import("@ballast/sqlite/SqliteClient"))
  const inMemory = filename === ":memory:"
  const wrong = ({ message }: Error) =>
    new StartError({
      detail: `The database ${filename} can not be opened: ${message}. ` +
        "Set database (BALLAST_DATABASE) to a path that can be written, to :memory:, or to postgres://…"
    })
  if (!inMemory) {
    yield* Effect.try({
      try: () => {
        Fs.mkdirSync(Path.dirname(filename), { recursive: true })
        // For its owner alone, as SQLite's files beside it are then: it has what runs were given.
        if (!Fs.existsSync(filename)) Fs.closeSync(Fs.openSync(filename, "a", 0o600))
      },
      catch: (cause) => wrong(cause instanceof Error ? cause : new Error(String(cause)))
    })
  }
  const client = Effect.map(Layer.build(Layer.fresh(layer({ filename }))), Context.get(SqlClient.SqlClient))
  const use = using(client, yield* Effect.scope, false)
  yield* Effect.mapError(use(() => Effect.void), wrong)
  const database: Database = {
    kind: inMemory ? "memory" : "sqlite",
    description: inMemory ? "in memory" : filename,
    folder: inMemory ? undefined : `${filename}.spool`,
    use
  }
  return database
})

const postgres = Effect.fnUntraced(function*(url: Redacted.Redacted) {
  const PgClient = yield* Effect.promise(() => import("@effect/sql-pg/PgClient"))
  const description = nameOf(Redacted.value(url))
  const options = {
    url,
    applicationName: "ballast",
    connectTimeout: defaults.timeout,
    maxConnections: defaults.connections
  }
  const client = Effect.suspend(() => Layer.build(Layer.fresh(PgClient.layer(options)))).pipe(
    Effect.map(Context.get(SqlClient.SqlClient))
  )
  const use = using(client, yield* Effect.scope, true)
  yield* Effect.catch(
    use(() => Effect.void),
    ({ message }) =>
      Effect.logWarning("the database can not be reached; calls go on, and what is to be kept waits", {
        database: description,
        reason: message
      })
  )
  const database: Database = {
    kind: "postgres",
    description,
    folder: Path.join(Path.dirname(defaultFile), "ballast.spool"),
    use
  }
  return database
})

/**
 * Opens a database, for as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (url: Redacted.Redacted): Effect.Effect<Database, StartError, Scope.Scope> =>
  isPostgres(Redacted.value(url)) ? postgres(url) : sqlite(Redacted.value(url))
