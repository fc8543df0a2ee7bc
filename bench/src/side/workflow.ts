/** Steps of a workflow, kept in memory or in a database. An operation is a step; ten of them are a run. */
import { SqliteClient } from "@ballast/sqlite"
import { Definition, Engine, Runner, type Service } from "@ballast/workflow"
import { NodeCrypto } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime, Redacted } from "effect"
import type { SqlClient } from "effect/sql"
import type { WorkflowEngine } from "effect/workflow"
import { randomUUID } from "node:crypto"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inFlight, type Side } from "../measure.ts"

const steps = 10

const text = `workflow:
  name: ten
  steps:
${"    - { service: one }\n".repeat(steps)}`

const call = (input: unknown) => Effect.sync(() => Number(input) + 1)

/** Runs, so many at a time; each gives the number of its steps. */
const runs = (lanes: number, run: () => Promise<number>): Side => {
  const side = inFlight(lanes, run)
  return (operations) => side(operations / steps)
}

/** The service alone, as often as a run calls it. */
export const direct = async (_url: string, lanes: number): Promise<Side> => {
  const run = Effect.gen(function*() {
    let value = 0
    for (let step = 0; step < steps; step++) value = yield* call(value)
    return value
  })
  return runs(lanes, () => Effect.runPromise(run))
}

const kept = async (engine: Layer.Layer<WorkflowEngine.WorkflowEngine, unknown>, lanes: number): Promise<Side> => {
  const services: Record<string, Service.Service> = { one: { call } }
  const runtime = ManagedRuntime.make(Runner.layer({ services }).pipe(Layer.provide(engine)))
  const definition = await runtime.runPromise(Definition.read({ name: "ten.yaml", text, services }))
  const runner = await runtime.runPromise(Runner.Runner)
  return runs(lanes, async () => Number(await runtime.runPromise(runner.run(definition, 0, { id: randomUUID() }))))
}

const inDatabase = (database: Layer.Layer<SqlClient.SqlClient, unknown>, lanes: number) =>
  kept(Engine.layerSql().pipe(Layer.provide([database, NodeCrypto.layer])), lanes)

export const memory = (_url: string, lanes: number) => kept(Engine.layerMemory, lanes)

export const sqlite = (_url: string, lanes: number) =>
  inDatabase(SqliteClient.layer({ filename: join(mkdtempSync(join(tmpdir(), "bench-")), "runs.db") }), lanes)

export const postgres = (url: string, lanes: number) =>
  inDatabase(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 }), lanes)
