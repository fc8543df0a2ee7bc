/**
 * A process that runs workflows, to be killed: `node process.ts OPTIONS`, where OPTIONS is JSON. It says `ready` when its modules are loaded, and
 * begins with the first byte of its standard input. It imports no more than it needs: it is started again and again.
 */
import * as Definition from "@ballast/workflow/Definition"
import * as Runner from "@ballast/workflow/Runner"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { once } from "node:events"
import { readFileSync } from "node:fs"

export interface Options {
  /** A SQLite file, or the address of a Postgres. */
  readonly database: string
  /** Of a runner beside others. */
  readonly port?: number
  /** A workflow that is run with the numbers from 0 on, all at the same time; the list of results is a line. */
  readonly file?: string
  readonly runs?: number
}

const { database, file, port, runs = 1 }: Options = JSON.parse(process.argv[2] ?? "")

const sqlite = async () => {
  const Engine = await import("@ballast/workflow/Engine")
  const SqliteClient = await import("@ballast/sqlite/SqliteClient")
  const NodeCrypto = await import("@effect/platform-node/NodeCrypto")
  return Engine.layerSql().pipe(
    Layer.provide([SqliteClient.layer({ filename: database }), NodeCrypto.layer]),
    Layer.orDie
  )
}

const postgres = async (port: number) => {
  const Cluster = await import("@ballast/workflow/Cluster")
  const PgClient = await import("@effect/sql-pg/PgClient")
  const { make } = await import("effect/Redacted")
  return Cluster.layer({ host: "127.0.0.1", port }).pipe(
    Layer.provide(PgClient.layer({ url: make(database), maxConnections: 5 })),
    Layer.orDie
  )
}

const engine = await (port === undefined ? sqlite() : postgres(port))

const runner = Layer.unwrap(
  Effect.map(HttpClient.HttpClient, (http) => Runner.layer({ http, env: { PID: `${process.pid}` } }))
).pipe(Layer.provide([engine, FetchHttpClient.layer]))

const results = (file: string) =>
  Effect.gen(function*() {
    const definition = yield* Definition.read({ name: file, text: readFileSync(file, "utf8"), services: {} })
    const runner = yield* Runner.Runner
    const numbers = Array.from({ length: runs }, (_, number) => number)
    const outputs = yield* Effect.forEach(numbers, (number) => runner.run(definition, number, { id: `r${number}` }), {
      concurrency: "unbounded"
    })
    process.stdout.write(`${JSON.stringify(outputs)}\n`)
  })

process.stdout.write("ready\n")
await once(process.stdin, "data")
process.stdin.unref()
await Effect.runPromise(file === undefined ? Layer.launch(runner) : Effect.provide(results(file), runner))
