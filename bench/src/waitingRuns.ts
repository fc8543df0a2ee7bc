/**
 * Lets runs of a workflow wait for a person, and prints how long starting them takes, the memory that they hold, and the share of a core that they
 * take while nothing happens: `node --expose-gc waitingRuns.ts KIND ADDRESS COUNT`.
 */
import { SqliteClient } from "@ballast/sqlite"
import { Definition, Engine, Runner } from "@ballast/workflow"
import { NodeCrypto } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import type { SqlClient } from "effect/sql"
import type { WorkflowEngine } from "effect/workflow"

const text = `
workflow: { name: waiting, steps: [ { service: person } ] }
services: { person: { type: approval } }
`

/** Seconds during which nothing happens. */
const idle = 20

const megabytes = () => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed / 2 ** 20
}

class Count extends Context.Service<Count, { readonly waiting: () => number }>()("bench/Count") {}

const measure = Effect.fnUntraced(function*(name: string, count: number) {
  const runner = yield* Runner.Runner
  const definition = yield* Definition.read({ name: "waiting.yaml", text, services: {} })
  const heap = megabytes()
  const began = performance.now()
  for (let at = 0; at < count; at++) yield* runner.start(definition, null, { id: `run-${at}` })
  const { waiting } = yield* Count
  while (waiting() < count) yield* Effect.sleep("100 millis")
  const started = (performance.now() - began) / 1000
  // What goes idle is let go after ten seconds.
  yield* Effect.sleep("15 seconds")
  const held = megabytes() - heap
  const cpu = process.cpuUsage()
  yield* Effect.sleep(`${idle} seconds`)
  const { system, user } = process.cpuUsage(cpu)
  const share = (system + user) / 1e6 / idle
  console.log(
    `${count} runs, ${name}`.padEnd(28) +
      `started in ${started.toFixed(1)} s, heap +${held.toFixed(0)} MB, ${(share * 100).toFixed(2)} % of a core`
  )
})

const layer = (engine: Layer.Layer<WorkflowEngine.WorkflowEngine>) => {
  let waiting = 0
  return Runner.layer({
    onEvent: (event) => Effect.sync(() => void (event._tag === "Waiting" && waiting++))
  }).pipe(Layer.provide(engine), Layer.merge(Layer.succeed(Count, { waiting: () => waiting })))
}

const keptIn = (database: Layer.Layer<SqlClient.SqlClient, unknown>) =>
  Engine.layerSql().pipe(Layer.provide([database, NodeCrypto.layer]), Layer.orDie)

const engineOf = (kind: string, address: string) =>
  kind === "memory"
    ? Engine.layerMemory
    : kind === "SQLite"
    ? keptIn(SqliteClient.layer({ filename: address }))
    : keptIn(PgClient.layer({ url: Redacted.make(address), maxConnections: 10 }))

const [kind = "", address = "", count = ""] = process.argv.slice(2)
await Effect.runPromise(Effect.provide(measure(kind, Number(count)), layer(engineOf(kind, address))))
