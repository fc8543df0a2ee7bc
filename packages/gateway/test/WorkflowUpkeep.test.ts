import { SqliteClient } from "@ballast/sqlite"
import { Runner, Runs } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Layer, References } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import { TestClock } from "effect/testing"
import * as Cancels from "../src/internal/workflows/cancels.ts"
import * as Ends from "../src/internal/workflows/ends.ts"
import * as Spans from "../src/internal/workflows/spans.ts"
import * as Upkeep from "../src/internal/workflows/upkeep.ts"

describe("the upkeep of runs", () => {
  it.effect("writes an end that the database refused, as soon as it takes it", () =>
    Effect.gen(function*() {
      const sql = Context.get(
        yield* Layer.build(SqliteClient.layer({ filename: ":memory:" })),
        SqlClient.SqlClient
      )
      yield* Effect.provideService(Runs.migration, SqlClient.SqlClient, sql)
      let refuses = true
      const no = new SqlError.SqlError({
        reason: new SqlError.ConstraintError({ cause: undefined, message: "no" })
      })
      const runs = Runs.make((run) => run(sql))
      const spans = yield* Spans.make
      const ends = Ends.make(
        { ...runs, end: Runs.make((run) => refuses ? Effect.fail(no) : run(sql)).end },
        spans
      )
      yield* runs.create({ id: "r", workflow: "w", definition: "text", client: "a", input: 1 }, { maxLive: 1 })
      const end = { status: "succeeded", output: 7 } as const
      let asked = 0
      const runner = Runner.Runner.of({
        run: () => Effect.never,
        start: () => Effect.void,
        cancel: () => Effect.void,
        approve: () => Effect.void,
        // The engine has the end after it was told.
        result: () => Effect.sync(() => asked++ === 0 ? undefined : end)
      })
      yield* Upkeep.start({
        kind: "memory",
        runner,
        runs,
        spans,
        ends,
        cancels: Cancels.make(runs),
        keep: () => Duration.days(1),
        workflows: () => []
      })
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(ends.write("r", end))))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* runs.find("r"))?.status, "running")
      refuses = false
      yield* TestClock.adjust("10 seconds")
      const run = yield* runs.find("r")
      assert.deepStrictEqual([run?.status, run?.output], ["succeeded", 7])
      const before = asked
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(asked, before)
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))
})
