import { SqliteClient } from "@ballast/sqlite"
import { Definition, Engine, type Run, Runner, Runs } from "@ballast/workflow"
import { NodeCrypto } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Redacted, References, Stream } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import { TestClock } from "effect/testing"
import { describePostgres, schema } from "../../../test/support/postgres.ts"

const sqlite = Effect.map(Layer.build(SqliteClient.layer({ filename: ":memory:" })), Context.get(SqlClient.SqlClient))

const postgres = Effect.flatMap(
  schema,
  (url) => Effect.map(Layer.build(PgClient.layer({ url: Redacted.make(url()) })), Context.get(SqlClient.SqlClient))
)

const suite = (open: typeof sqlite | typeof postgres) => {
  const made = Effect.gen(function*() {
    const sql = yield* Effect.orDie(open)
    yield* Effect.orDie(Effect.provideService(Runs.migration, SqlClient.SqlClient, sql))
    return { sql, runs: Runs.make((run) => run(sql)) }
  })
  const given = (id: string, more: Partial<Runs.NewRun> = {}): Runs.NewRun => ({
    id,
    workflow: "w",
    definition: "text",
    client: "alice",
    input: { n: 1 },
    ...more
  })
  const maxLive = { maxLive: 10 }
  const at = (step: string, attempt = 1) => ({ run: "r", step, service: "s", attempt })
  const usage = { promptTokens: 10, completionTokens: 5, cost: { USD: "0.1" }, unpriced: 0 }

  it.live("keeps texts with a character that Postgres refuses", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      yield* runs.create(given("r", { input: "a\0b" }), maxLive)
      yield* runs.record({ _tag: "Started", ...at("a"), input: "a\0b" })
      yield* runs.record({ _tag: "Failed", ...at("a"), millis: 5, reason: "a\0b", retryable: true })
      yield* runs.record({ _tag: "Waiting", run: "r", step: "c", service: "boss", question: "a\0b", input: null })
      yield* runs.end("r", { status: "failed", reason: "a\0b" })
      const run = yield* runs.find("r")
      assert.deepStrictEqual(
        [run?.input, run?.error?.reason, ...run?.steps.map(({ error, question }) => error ?? question) ?? []],
        ["a\0b", "a\uFFFDb", "a\uFFFDb", "a\uFFFDb"]
      )
    }))

  it.live("knows runs of which nothing was told since they were made", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      for (const id of ["r", "lost", "ended"]) yield* runs.create(given(id), maxLive)
      yield* runs.record({ _tag: "Started", ...at("a"), input: 1 })
      yield* runs.end("ended", { status: "cancelled" })
      assert.deepStrictEqual([yield* runs.unbegun(0), yield* runs.unbegun(Infinity)], [[], ["lost"]])
    }))

  it.live("tells what the steps of a run did, and how it ended", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      yield* runs.create(given("r"), maxLive)
      const reading = yield* Effect.forkChild(Stream.runCollect(runs.events("r", 0)))
      const events: ReadonlyArray<Run.Event> = [
        { _tag: "Started", ...at("a"), input: 1 },
        { _tag: "Failed", ...at("a"), millis: 5, reason: "busy", retryable: true, usage },
        { _tag: "Started", ...at("a", 2), input: 1 },
        { _tag: "Succeeded", ...at("a", 2), millis: 5, output: { x: 1 }, usage },
        { _tag: "Skipped", run: "r", step: "b" },
        // The run goes on after a wait: it is told again.
        { _tag: "Skipped", run: "r", step: "b" },
        { _tag: "Waiting", run: "r", step: "c", service: "boss", question: "ok?", input: null, who: ["bob"] }
      ]
      yield* Effect.forEach(events, runs.record)
      const waiting = yield* runs.find("r")
      assert.strictEqual(waiting?.status, "waiting")
      const doubled = { promptTokens: 20, completionTokens: 10, cost: { USD: "0.2" }, unpriced: 0 }
      assert.deepStrictEqual(waiting?.usage, doubled)
      assert.deepStrictEqual(
        waiting?.steps.map(({ attempts, error, output, status, step }) => ({ step, status, attempts, output, error })),
        [
          { step: "a", status: "succeeded", attempts: 2, output: { x: 1 }, error: undefined },
          { step: "b", status: "skipped", attempts: 0, output: undefined, error: undefined },
          { step: "c", status: "waiting", attempts: 1, output: undefined, error: undefined }
        ]
      )
      assert.deepStrictEqual(waiting?.steps.map(({ usage }) => usage.promptTokens), [20, 0, 0])
      assert.deepStrictEqual(yield* runs.waiting, new Map([["w", 1]]))
      assert.strictEqual((yield* runs.end("r", { status: "failed", step: "c", reason: "no" }))?.workflow, "w")
      assert.isUndefined(yield* runs.end("r", { status: "succeeded", output: 1 }))
      yield* runs.record({ _tag: "Started", ...at("late"), input: 1 })
      const told = Array.from(yield* Fiber.join(reading))
      assert.deepStrictEqual(told.map(({ seq, type }) => `${seq} ${type}`), [
        "1 run.created",
        "2 step.started",
        "3 step.failed",
        "4 step.started",
        "5 step.succeeded",
        "6 step.skipped",
        "7 step.waiting",
        "8 run.failed"
      ])
      assert.deepStrictEqual(told.map(({ data }) => Object.keys(JSON.parse(data))[1]), told.map(() => "at"))
      const rest = yield* Stream.runCollect(runs.events("r", 7))
      assert.deepStrictEqual(Array.from(rest, ({ type }) => type), ["run.failed"])
      assert.lengthOf(yield* Stream.runCollect(runs.events("r", 8)), 0)
      const { error, endedAt, status } = (yield* runs.find("r")) ?? {}
      assert.deepStrictEqual([status, error, typeof endedAt], ["failed", { step: "c", reason: "no" }, "number"])
      assert.deepStrictEqual(yield* runs.outputs("r"), { a: { x: 1 } })
    }))

  it.live("takes the same key for the same run, and refuses it with another input", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      const key = { idempotencyKey: "k" }
      const first = yield* runs.create(given("r1", { ...key, input: { a: 1, b: 2 } }), maxLive)
      const again = yield* runs.create(given("r2", { ...key, input: { b: 2, a: 1 } }), maxLive)
      assert.deepStrictEqual([first, again], [{ id: "r1", isNew: true }, { id: "r1", isNew: false }])
      const other = yield* Effect.flip(runs.create(given("r3", { ...key, input: { a: 1 } }), maxLive))
      assert.include(other.message, "The run r1 was started with this idempotency key and another input")
      assert.isTrue((yield* runs.create(given("r4", { ...key, client: "bob" }), maxLive)).isNew)
      const all = yield* Effect.all(
        ["r5", "r6", "r7", "r8"].map((id) => runs.create(given(id, { idempotencyKey: "at once" }), maxLive)),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(all.map(({ id }) => id)).size, 1)
      assert.strictEqual(all.filter(({ isNew }) => isNew).length, 1)
    }))

  it.live("lists the runs that a client may see, page by page, and counts those that have not ended", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      for (let n = 1; n <= 5; n++) yield* runs.create(given(`r${n}`, { client: n === 5 ? "bob" : "alice" }), maxLive)
      const list = (filter: Partial<Runs.Filter>) => runs.list({ limit: 2, ...filter })
      const seen: Array<string> = []
      for (let after: Runs.Position | undefined, more = true; more;) {
        const page = yield* list({ client: "alice", after })
        seen.push(...page.runs.map(({ id }) => id))
        after = page.next
        more = after !== undefined
      }
      assert.deepStrictEqual(seen.sort(), ["r1", "r2", "r3", "r4"])
      const waiting = { _tag: "Waiting", run: "r1", step: "c", service: "boss", question: "", input: null } as const
      yield* runs.record({ ...waiting, who: ["bob"] })
      yield* runs.record({ ...waiting, run: "r2", who: ["bobby"] })
      assert.deepStrictEqual((yield* list({ client: "bob" })).runs.map(({ id }) => id).sort(), ["r1", "r5"])
      assert.lengthOf((yield* list({ status: "waiting" })).runs, 2)
      assert.lengthOf((yield* list({ status: "running", limit: 9 })).runs, 3)
      yield* runs.end("r5", { status: "cancelled" })
      assert.deepStrictEqual((yield* list({ status: "cancelled" })).runs.map(({ id }) => id), ["r5"])
      assert.lengthOf((yield* list({ workflow: "other" })).runs, 0)
      assert.lengthOf(yield* runs.live, 4)
      const full = yield* Effect.flip(runs.create(given("r6"), { maxLive: 4 }))
      assert.include(full.message, "4 runs have not ended")
    }))

  it.live("gives one of several decisions", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      yield* runs.create(given("r"), maxLive)
      yield* runs.record({ _tag: "Waiting", run: "r", step: "c", service: "boss", question: "", input: null })
      let given_ = 0
      const give = Effect.sync(() => void given_++)
      const decided = yield* Effect.all([runs.decide("r", "c", give), runs.decide("r", "c", give)], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual([decided.sort(), given_], [[false, true], 1])
      assert.isFalse(yield* runs.decide("r", "none", give))
      assert.strictEqual((yield* runs.find("r"))?.status, "running")
      // A run that goes on tells again what it waits for.
      yield* runs.record({ _tag: "Waiting", run: "r", step: "c", service: "boss", question: "", input: null })
      assert.strictEqual((yield* runs.find("r"))?.status, "running")
    }))

  it.live("leaves no step of a run that has ended as if it went on", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      yield* runs.create(given("r"), maxLive)
      yield* runs.record({ _tag: "Started", ...at("a"), input: 1 })
      yield* runs.record({ _tag: "Waiting", run: "r", step: "b", service: "boss", question: "", input: null })
      yield* runs.record({ _tag: "Skipped", run: "r", step: "c" })
      yield* runs.end("r", { status: "cancelled" })
      const run = yield* runs.find("r")
      assert.deepStrictEqual(
        run?.steps.map(({ status, step }) => [step, status]).sort(),
        [["a", "cancelled"], ["b", "cancelled"], ["c", "skipped"]]
      )
      assert.isTrue(run?.steps.every(({ endedAt }) => endedAt !== undefined))
    }))

  it.live("tells one of several processes to cancel a run, as long as it has not ended", () =>
    Effect.gen(function*() {
      const { runs } = yield* made
      for (const id of ["r", "ended", "over"]) yield* runs.create(given(id), maxLive)
      yield* runs.end("over", { status: "succeeded", output: 1 })
      const asked = yield* Effect.forEach(["r", "r", "ended", "over", "none"], runs.askToCancel)
      assert.deepStrictEqual(asked, [true, true, true, false, false])
      yield* runs.end("ended", { status: "succeeded", output: 1 })
      assert.deepStrictEqual(yield* runs.toCancel, ["r"])
      let cancelled = 0
      const cancel = runs.cancel("r", Effect.sync(() => void cancelled++))
      yield* Effect.all([cancel, cancel], { concurrency: 2 })
      assert.deepStrictEqual([cancelled, yield* runs.toCancel], [1, []])
    }))

  it.live("writes an end that is refused as a failure", () =>
    Effect.gen(function*() {
      const { runs, sql } = yield* made
      yield* runs.create(given("r"), maxLive)
      yield* sql.unsafe("CREATE UNIQUE INDEX one_output ON ballast_workflow_runs (output)")
      yield* runs.create(given("s"), maxLive)
      yield* runs.end("s", { status: "succeeded", output: 1 })
      yield* runs.end("r", { status: "succeeded", output: 1 })
      const run = yield* runs.find("r")
      assert.strictEqual(run?.status, "failed")
      assert.match(run?.error?.reason ?? "", /^what happened can not be recorded: .*unique/i)
    }))

  it.live("does not wait for a database that refuses what happened", () =>
    Effect.gen(function*() {
      const { runs, sql } = yield* made
      yield* runs.create(given("r"), maxLive)
      yield* sql.unsafe("DROP TABLE ballast_workflow_steps")
      const refused = yield* Effect.exit(runs.record({ _tag: "Started", ...at("a"), input: 1 }))
      assert.match(
        Exit.isFailure(refused) && Cause.hasDies(refused.cause) ? String(Cause.squash(refused.cause)) : "",
        /^NotRecorded: what happened can not be recorded: .*ballast_workflow_steps/
      )
    }))

  it.live("leaves long values out of events, and deletes what is old", () =>
    Effect.gen(function*() {
      const { runs, sql } = yield* made
      yield* runs.create(given("r"), maxLive)
      yield* runs.create(given("r2"), maxLive)
      yield* runs.record({ _tag: "Succeeded", ...at("a"), millis: 1, output: "x".repeat(20_000) })
      yield* runs.record({ _tag: "Succeeded", ...at("b"), millis: 1, output: "x".repeat(1_100_000) })
      assert.deepStrictEqual(Object.keys(yield* runs.outputs("r")), ["a"])
      yield* runs.end("r", { status: "succeeded", output: 1 })
      const [, event] = Array.from(yield* Stream.runCollect(runs.events("r", 0)))
      assert.deepInclude(JSON.parse(event?.data ?? ""), { step: "a", omitted: ["output"] })
      assert.strictEqual(yield* runs.clean(0), 0)
      assert.strictEqual(yield* runs.clean(Number.MAX_SAFE_INTEGER), 1)
      assert.isUndefined(yield* runs.find("r"))
      for (const [table, left] of [["events", 1], ["steps", 0], ["runs", 1], ["definitions", 1]] as const) {
        const rows = yield* sql.unsafe(`SELECT * FROM ballast_workflow_${table}`)
        assert.lengthOf(rows, left, table)
      }
    }))
}

describe("Runs, SQLite", () => suite(sqlite))

describe("writes that a run waits for", () => {
  const durable = Engine.layerSql().pipe(
    Layer.provide([SqliteClient.layer({ filename: ":memory:" }), NodeCrypto.layer])
  )
  const error = (reason: SqlError.SqlErrorReason) => new SqlError.SqlError({ reason })
  const unknown = (cause: object) => error(new SqlError.UnknownError({ cause }))
  const passing: Record<string, SqlError.SqlError> = {
    "a connection that is lost": error(new SqlError.ConnectionError({ cause: undefined })),
    "a lock": error(new SqlError.LockTimeoutError({ cause: undefined })),
    "a deadlock": error(new SqlError.DeadlockError({ cause: undefined })),
    "a serialization failure": error(new SqlError.SerializationError({ cause: undefined })),
    "a Postgres that starts": unknown({ code: "57P03" }),
    "a Postgres without free connections": unknown({ code: "53300" }),
    "a SQLite file whose disk is full": unknown({ errno: 13 })
  }
  const lasting: Record<string, SqlError.SqlError> = {
    "a wrong statement": error(new SqlError.SqlSyntaxError({ cause: undefined, message: "no" })),
    "a constraint": error(new SqlError.ConstraintError({ cause: undefined, message: "no" })),
    "a value that Postgres refuses": unknown({ code: "22021", message: "no" }),
    "a SQLite file that is none": unknown({ errno: 26, message: "no" })
  }
  const recording = (failure: SqlError.SqlError) => {
    let tries = 0
    const runs = Runs.make(() => Effect.suspend(() => (tries++, Effect.fail(failure))))
    const event: Run.Event = { _tag: "Skipped", run: "r", step: "a" }
    return Effect.forkChild(Effect.exit(runs.record(event))).pipe(
      Effect.tap(() => TestClock.adjust("1 minute")),
      Effect.map((fiber) => ({ exit: fiber.pollUnsafe(), tries })),
      Effect.provideService(References.MinimumLogLevel, "None")
    )
  }

  for (const [what, failure] of Object.entries(passing)) {
    it.effect(`are tried again after ${what}`, () =>
      Effect.map(recording(failure), ({ exit, tries }) => {
        assert.isUndefined(exit)
        assert.isAbove(tries, 10)
      }))
  }
  for (const [what, failure] of Object.entries(lasting)) {
    it.effect(`fail at once by ${what}`, () =>
      Effect.map(recording(failure), ({ exit, tries }) => {
        assert.strictEqual(tries, 1)
        assert.include(String(exit), "what happened can not be recorded: no")
      }))
  }

  const refusing = Runs.make(() => Effect.fail(unknown({ code: "22021", message: "no" })))

  it.live("leave the result of a run to the engine, when it is its end that is refused", () =>
    Effect.gen(function*() {
      const results = yield* Effect.forEach([Engine.layerMemory, durable], (engine) =>
        Effect.gen(function*() {
          const runner = yield* Runner.Runner
          const run = (id: string, step: string) =>
            Effect.gen(function*() {
              const text = `workflow: { name: w, steps: [ ${step} ] }
services: { r: { type: rule, rules: [ { then: 1 } ] }, boss: { type: approval } }`
              const definition = yield* Definition.read({ name: "w", text, services: {} })
              return yield* Effect.forkScoped(Effect.exit(runner.run(definition, null, { id })), {
                startImmediately: true
              })
            })
          yield* Fiber.join(yield* run("a", "{ service: r }"))
          yield* Fiber.join(yield* run("b", "{ service: r, input: \"${1 / 0}\" }"))
          const waiting = yield* run("c", "{ service: boss }")
          const before = yield* runner.result("c")
          yield* runner.cancel("c")
          yield* Fiber.join(waiting)
          return [before, ...yield* Effect.forEach(["a", "b", "c", "none"], runner.result)]
        }).pipe(
          Effect.scoped,
          Effect.provide(Runner.layer({ onEnd: refusing.end }).pipe(Layer.provide(engine))),
          Effect.provideService(References.MinimumLogLevel, "None")
        ))
      for (const [before, succeeded, failed, cancelled, none] of results) {
        assert.deepStrictEqual([before, none], [undefined, undefined])
        assert.deepStrictEqual(succeeded, { status: "succeeded", output: 1 })
        assert.deepStrictEqual(cancelled, { status: "cancelled" })
        assert(failed?.status === "failed")
        assert.strictEqual(failed.step, "r")
      }
    }))

  it.live("fail the run with their reason, whatever the engine keeps", () =>
    Effect.gen(function*() {
      const ends: Array<Run.End> = []
      const runner = Runner.layer({
        onEvent: (event) => Effect.asVoid(refusing.record(event)),
        onEnd: (_, end) => Effect.sync(() => void ends.push(end))
      }).pipe(
        Layer.provide(durable)
      )
      const text =
        `workflow: { name: w, steps: [ { service: r } ] }\nservices: { r: { type: rule, rules: [ { then: 1 } ] } }`
      yield* Effect.gen(function*() {
        const definition = yield* Definition.read({ name: "w", text, services: {} })
        yield* Effect.exit((yield* Runner.Runner).run(definition, null, { id: "r" }))
      }).pipe(Effect.provide(runner), Effect.provideService(References.MinimumLogLevel, "None"))
      assert.deepStrictEqual(ends, [{ status: "failed", reason: "what happened can not be recorded: no" }])
    }))
})

describePostgres("Runs, Postgres", () => suite(postgres))
