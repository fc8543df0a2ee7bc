/**
 * Effect's `SqlClient` over `node:sqlite`: one file, nothing to install.
 *
 * The client has one connection. Statements run one after the other; a transaction has the connection to itself from its `BEGIN IMMEDIATE` on, so that it never fails half way because
 * another process writes. The file is in WAL mode: readers and one writer of several processes do not stop each other. A statement that finds the file locked
 * is tried again until `busyTimeout` has passed, and the event loop runs on meanwhile; then it fails with `LockTimeoutError`.
 *
 * A statement itself runs on the event loop: a query over a million rows stops the program for as long as it takes. Cut such work into pieces.
 *
 * Integers are numbers; under `SqlClient.SafeIntegers` they are big ints. Without it, an integer beyond 2^53 fails rather than round. Booleans are stored as 1 and 0.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Path of the file, made when it is not there (its folder must be); `:memory:` for a database that ends with the scope. */
  readonly filename: string
  /** Opens the file for reading only; it must be there. Default `false`. */
  readonly readonly?: boolean | undefined
  /** How long a statement waits for a file that another process writes to. Default 5 seconds; zero fails at once. */
  readonly busyTimeout?: Duration.Input | undefined
}

const defaults = { busyTimeout: Duration.seconds(5) }

/**
 * Effect's client, and one way more to run a statement.
 *
 * @category models
 * @since 0.1.0
 */
export interface SqliteClient extends SqlClient.SqlClient {
  /**
   * Runs one statement for each of many lists of parameters, and gives how many rows each run changed. When one fails, none of them counts.
   *
   * **When to use**
   *
   * Use it to insert many rows: running a short statement again costs less than one long statement with the parameters of all rows.
   */
  readonly executeEach: (
    sql: string,
    params: ReadonlyArray<ReadonlyArray<unknown>>
  ) => Effect.Effect<ReadonlyArray<number>, SqlError>
}

/** Prepared statements that are kept. */
const maxPrepared = 200

/** Between two looks at a locked file. */
const pause = Duration.millis(10)

/** `node:sqlite` has the number of SQLite's result code in `errcode`. */
const errorOf = (cause: unknown, operation: string): SqlError => {
  const { errcode: errno, message } = cause as { readonly errcode?: number; readonly message?: string }
  return new SqlError({
    reason: classifySqliteError(errno === undefined ? cause : { errno, message }, { message, operation })
  })
}

const attempt = <A>(operation: string, run: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: run, catch: (cause) => errorOf(cause, operation) })

// SQLite's own waiting would stop the event loop.
const open = ({ filename, readonly = false }: Options): DatabaseSync =>
  new DatabaseSync(filename, { readOnly: readonly, timeout: 0 })

const valueOf = (value: unknown): SQLInputValue => {
  if (value === undefined || value === null) return null
  switch (typeof value) {
    case "boolean":
      return value ? 1 : 0
    case "string":
    case "number":
    case "bigint":
      return value
  }
  if (value instanceof Uint8Array) return value
  return value instanceof Date ? value.toISOString() : JSON.stringify(value)
}

/** Statements by their text, the least recently used first. */
const makeStatements = (database: DatabaseSync) => {
  const prepared = new Map<string, StatementSync>()
  return (sql: string, keep: boolean): StatementSync => {
    const found = prepared.get(sql) ?? database.prepare(sql)
    if (!keep) return found
    prepared.delete(sql)
    prepared.set(sql, found)
    if (prepared.size > maxPrepared) {
      const [oldest] = prepared.keys()
      if (oldest !== undefined) prepared.delete(oldest)
    }
    return found
  }
}

interface SqliteConnection extends Connection {
  /** In a transaction, as the runs before one that fails would count else. */
  readonly executeEach: SqliteClient["executeEach"]
}

const makeConnection = (database: DatabaseSync, busyTimeout: Duration.Duration): SqliteConnection => {
  const statements = makeStatements(database)

  const isBusy = ({ reason }: SqlError): boolean => reason._tag === "LockTimeoutError"

  /** Tries again while another process holds the lock. In a transaction the lock is ours already. */
  const patient = <A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.catchIf(effect, isBusy, (busy) =>
      Effect.gen(function*() {
        const until = (yield* Clock.currentTimeMillis) + Duration.toMillis(busyTimeout)
        let last = busy
        while ((yield* Clock.currentTimeMillis) < until) {
          yield* Effect.sleep(pause)
          const result = yield* Effect.result(effect)
          if (result._tag === "Success") return result.success
          if (!isBusy(result.failure)) return yield* result.failure
          last = result.failure
        }
        return yield* last
      }))

  const once = <A>(sql: string, keep: boolean, use: (statement: StatementSync) => A): Effect.Effect<A, SqlError> =>
    Effect.withFiber((fiber) => {
      const safe = fiber.getRef(SqlClient.SafeIntegers)
      return attempt("execute", () => {
        const statement = statements(sql, keep)
        const hasRows = statement.columns().length > 0
        // The id of the last row may be beyond 2^53, which only a big int holds.
        statement.setReadBigInts(safe || !hasRows)
        return use(statement)
      })
    })

  const run = <A>(
    sql: string,
    params: ReadonlyArray<unknown>,
    keep: boolean,
    read: (statement: StatementSync, values: Array<SQLInputValue>) => A
  ): Effect.Effect<A, SqlError> => patient(once(sql, keep, (statement) => read(statement, params.map(valueOf))))

  const rows = (sql: string, params: ReadonlyArray<unknown>, keep: boolean) =>
    run<ReadonlyArray<any>>( // oxlint-disable-line typescript/no-explicit-any -- as in the interface
      sql,
      params,
      keep,
      (statement, values) => {
        statement.setReturnArrays(false)
        return statement.all(...values)
      }
    )

  const values = (sql: string, params: ReadonlyArray<unknown>, keep: boolean) =>
    run(sql, params, keep, (statement, given) => {
      statement.setReturnArrays(true)
      return statement.all(...given) as unknown as ReadonlyArray<ReadonlyArray<unknown>> // as asked for above
    })

  type Transform = Parameters<Connection["execute"]>[2]

  const transformed = (effect: ReturnType<typeof rows>, transform: Transform) =>
    transform === undefined ? effect : Effect.map(effect, transform)

  return {
    execute: (sql, params, transform) => transformed(rows(sql, params, true), transform),
    executeUnprepared: (sql, params, transform) => transformed(rows(sql, params, false), transform),
    executeRaw: (sql, params) =>
      run(
        sql,
        params,
        true,
        (statement, given) => statement.columns().length > 0 ? statement.all(...given) : statement.run(...given)
      ),
    executeValues: (sql, params) => values(sql, params, true),
    executeValuesUnprepared: (sql, params) => values(sql, params, false),
    executeStream: (sql, params, transform) =>
      Stream.unwrap(Effect.map(transformed(rows(sql, params, true), transform), Stream.fromIterable)),
    executeEach: (sql, params) =>
      once(sql, true, (statement) => params.map((given) => Number(statement.run(...given.map(valueOf)).changes)))
  }
}

/**
 * Opens the file. It is closed with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<SqliteClient, SqlError, Scope.Scope | Reactivity.Reactivity> {
  const database = yield* Effect.acquireRelease(
    attempt("connect", () => open(options)),
    (database) => Effect.sync(() => database.close())
  )
  const connection = makeConnection(
    database,
    Duration.fromInputUnsafe(options.busyTimeout ?? defaults.busyTimeout)
  )
  if (options.readonly !== true) {
    yield* connection.executeUnprepared("PRAGMA journal_mode = WAL", [], undefined)
    yield* connection.executeUnprepared("PRAGMA synchronous = NORMAL", [], undefined)
  }
  const client = yield* SqlClient.make({
    ...SqlClient.makeSqliteAcquirers({
      connection: Effect.succeed(connection),
      semaphore: Semaphore.makeUnsafe(1),
      isTransaction: () => database.isTransaction
    }),
    compiler: Statement.makeCompilerSqlite(),
    driver: "node-sqlite",
    prepareTransactionControls: true,
    beginTransaction: options.readonly === true ? "BEGIN" : "BEGIN IMMEDIATE",
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    spanAttributes: [["db.system.name", "sqlite"], ["db.namespace", options.filename]]
  })
  return Object.assign(client, {
    executeEach: (...statement: Parameters<SqliteClient["executeEach"]>) =>
      client.withTransaction(connection.executeEach(...statement))
  })
})

/**
 * The client as a layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))
