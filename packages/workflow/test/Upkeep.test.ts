import { SqliteClient } from "@ballast/sqlite"
import { Definition, Engine, Runner } from "@ballast/workflow"
import { NodeCrypto } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Redacted, Schema } from "effect"
import { ClusterWorkflowEngine, SingleRunner } from "effect/cluster"
import { SqlClient } from "effect/sql"
import { DurableDeferred, Workflow } from "effect/workflow"
import { describePostgres, schema } from "../../../test/support/postgres.ts"
import { forget, resumeLost } from "../src/internal/upkeep.ts"
import { echo, recorder, steps } from "./fixtures.ts"

const sqlite = SqliteClient.layer({ filename: ":memory:" })
const postgres = Layer.unwrap(
  Effect.map(schema, (url) => PgClient.layer({ url: Redacted.make(url()), maxConnections: 5 }))
)

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.gen(function*() {
    while (!(yield* condition)) yield* Effect.sleep(10)
    // An id that is made in the same millisecond may be above that of a time.
    yield* Effect.sleep(2)
  })

const rows = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [{ messages = 0, replies = 0 } = {}] = yield* sql<{ readonly messages: number; readonly replies: number }>`
    SELECT (SELECT COUNT(*) FROM cluster_messages) AS messages, (SELECT COUNT(*) FROM cluster_replies) AS replies`
  return { messages: Number(messages), replies: Number(replies) }
})

const waiting = `${steps("- service: one\n- service: boss\n- service: echo")}services: { boss: { type: approval } }`

const Child = Workflow.make("Child", { payload: { id: Schema.String }, idempotencyKey: ({ id }) => id })
const Parent = Workflow.make("Parent", { payload: { id: Schema.String }, idempotencyKey: ({ id }) => id })
const signal = DurableDeferred.make("signal")
const family = Layer.merge(
  Child.toLayer(() => Effect.void),
  Parent.toLayer(({ id }) => Effect.andThen(Child.execute({ id }), DurableDeferred.await(signal)))
)

const suite = (database: typeof postgres | typeof sqlite) => {
  const engine = Engine.layerSql().pipe(Layer.provide(NodeCrypto.layer), Layer.provideMerge(database))

  it.live("deletes runs that ended before a time, and nothing of a run that goes on", () => {
    const one = recorder(() => Effect.succeed(1))
    const services = { one: one.service, echo }
    return Effect.gen(function*() {
      const runner = yield* Runner.Runner
      const ends = yield* Definition.read({ name: "w", text: steps("- service: one\n- service: echo"), services })
      const waits = yield* Definition.read({ name: "w", text: waiting, services })
      // Postgres reads no JSON with such characters.
      yield* runner.run(ends, "a\0b\\u0000c\ud800d", { id: "old" })
      const fiber = yield* Effect.forkChild(runner.run(waits, 0, { id: "waits" }))
      yield* until(Effect.map(rows, ({ replies }) => replies === 6))
      yield* runner.approve("never began", "boss", { approved: true })
      yield* until(Effect.map(rows, ({ replies }) => replies === 7))
      const time = yield* Clock.currentTimeMillis
      yield* runner.run(ends, 0, { id: "young" })

      assert.strictEqual(yield* forget(time - 60_000), 0)
      const before = yield* rows
      assert.strictEqual(yield* forget(time), 2)
      // The run `old` with two steps, and the decision.
      assert.deepStrictEqual(yield* rows, { messages: before.messages - 4, replies: before.replies - 4 })

      assert.lengthOf(one.calls, 3)
      yield* runner.run(ends, 0, { id: "young" })
      assert.lengthOf(one.calls, 3)
      yield* runner.run(ends, 0, { id: "old" })
      assert.lengthOf(one.calls, 4)
      yield* runner.approve("waits", "boss", { approved: true })
      yield* Fiber.join(fiber)
      assert.lengthOf(one.calls, 4)
    }).pipe(Effect.provide(Runner.layer({ services }).pipe(Layer.provideMerge(engine))))
  })

  it.live("keeps what a run that goes on has started", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Parent.execute({ id: "f" }))
      // The child's end, the waking of the parent by it, and the parent that waits.
      yield* until(Effect.map(rows, ({ replies }) => replies === 3))
      assert.strictEqual(yield* forget(yield* Clock.currentTimeMillis), 0)
      const token = DurableDeferred.tokenFromExecutionId(signal, {
        workflow: Parent,
        executionId: yield* Parent.executionId({ id: "f" })
      })
      yield* DurableDeferred.succeed(signal, { token, value: undefined })
      yield* Fiber.join(fiber)
      // With the reply to the signal, which may come after the end of the run.
      yield* until(Effect.map(rows, ({ messages, replies }) => messages === 4 && replies === 4))
      assert.strictEqual(yield* forget(yield* Clock.currentTimeMillis), 2)
      assert.deepStrictEqual(yield* rows, { messages: 0, replies: 0 })
    }).pipe(Effect.provide(family.pipe(Layer.provideMerge(engine)))))

  it.live("resumes runs that nothing would wake, and lets others wait", () => {
    const one = recorder(() => Effect.succeed(1))
    const services = { one: one.service, echo }
    // Without the upkeep of its own.
    const bare = ClusterWorkflowEngine.layer.pipe(
      Layer.provideMerge(
        SingleRunner.layer({ runnerStorage: "memory", shardingConfig: { entityMessagePollInterval: "100 millis" } })
      ),
      Layer.provide(NodeCrypto.layer),
      Layer.provideMerge(database)
    )
    return Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const runner = yield* Runner.Runner
      const definition = yield* Definition.read({ name: "w", text: waiting, services })
      const begin = (id: string) => Effect.forkChild(runner.run(definition, 0, { id }))
      const idOf = (id: string) =>
        Effect.map(
          sql<{ readonly entity_id: string }>`SELECT entity_id FROM cluster_messages
            WHERE tag = 'run' AND payload LIKE ${`{"id":"${id}"%`}`,
          ([row]) => row?.entity_id ?? ""
        )
      yield* begin("waits")
      yield* begin("given up")
      const woken = yield* begin("not woken")
      yield* until(Effect.map(rows, ({ replies }) => replies === 9))

      // A step whose process gave it up, while its run waited for something else.
      yield* sql`UPDATE cluster_replies SET payload = '{"_tag":"Success","value":{"_tag":"Suspended","cause":null}}'
        WHERE request_id = (SELECT id FROM cluster_messages
          WHERE entity_id = ${yield* idOf("given up")} AND tag = 'activity' AND payload LIKE '%"one"%')`
      // A decision that came in the moment in which its run ended to look for one.
      yield* runner.approve("other", "boss", { approved: true })
      yield* until(Effect.map(rows, ({ replies }) => replies === 10))
      const [decision] = yield* sql<{ readonly entity_id: string }>`
        SELECT entity_id FROM cluster_messages WHERE tag = 'deferred'`
      const target = yield* idOf("not woken")
      yield* sql`UPDATE cluster_messages SET entity_id = ${target},
        message_id = REPLACE(message_id, ${decision?.entity_id}, ${target}) WHERE tag = 'deferred'`

      assert.strictEqual(yield* resumeLost("0", 0), "0")
      yield* Effect.sleep(300)
      assert.lengthOf(one.calls, 3)
      yield* resumeLost("0", yield* Clock.currentTimeMillis)
      yield* Fiber.join(woken)
      yield* until(Effect.sync(() => one.calls.length === 4))
      assert.deepStrictEqual(one.calls.map(({ runId }) => runId).sort(), [
        "given up",
        "given up",
        "not woken",
        "waits"
      ])
    }).pipe(Effect.provide(Runner.layer({ services }).pipe(Layer.provideMerge(bare))))
  })
}

describe("upkeep on SQLite", () => suite(sqlite))
describePostgres("upkeep on Postgres", () => suite(postgres))
