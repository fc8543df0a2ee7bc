/** Gateways that share a Postgres share the runs of workflows. */
import { Runs } from "@ballast/workflow"
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Tracer } from "effect"
import { SqlClient } from "effect/sql"
import * as Fs from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Path from "node:path"
import { freePorts } from "../../../test/support/freePort.ts"
import { describePostgres, schema } from "../../../test/support/postgres.ts"
import * as harness from "./harness.ts"
import * as program from "./program.ts"
import { temporaryFolder } from "./support/databases.ts"

/** Answers with the idempotency key after a while, and keeps the keys. */
const service = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly calls: Array<string>; readonly close: () => void }>((resume) => {
    const calls: Array<string> = []
    const server = createServer((request, response) => {
      const key = String(request.headers["idempotency-key"])
      calls.push(key)
      request.resume()
      setTimeout(() => {
        response.writeHead(200, { "content-type": "application/json" })
        response.end(JSON.stringify({ key }))
      }, request.url === "/long" ? 60_000 : 300)
    })
    server.listen(0, "127.0.0.1", () =>
      resume(Effect.succeed({
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        calls,
        close: () => {
          server.close()
          server.closeAllConnections()
        }
      })))
  }),
  ({ close }) => Effect.sync(close)
)

const files = (url: string) => ({
  "line.yaml": `workflow: { name: line, steps: [ ${
    ["a", "b", "c", "d"].map((id) => `{ id: ${id}, service: call }`).join(", ")
  } ] }
services: { call: { type: http, url: "${url}" } }
`,
  "asks.yaml": `workflow: { name: asks, steps: [ { id: a, service: call }, { id: ask, service: boss } ] }
services: { call: { type: http, url: "${url}" }, boss: { type: approval } }
`,
  "long.yaml": `workflow: { name: long, steps: [ { id: a, service: call } ], finally: [ { id: z, service: last } ] }
services: { call: { type: http, url: "${url}/long" }, last: { type: http, url: "${url}" } }
`
})

/** Starts a gateway; what it gives waits until that listens. */
const serve = Effect.fnUntraced(function*(
  folder: string,
  database: string,
  name: string,
  ...args: ReadonlyArray<string>
) {
  const config = Path.join(folder, `${name}.json`)
  // One for each worker.
  const port = yield* Effect.promise(() => freePorts(2))
  const workflows = { files: [Path.join(folder, "workflows")], runner: { port } }
  Fs.writeFileSync(config, JSON.stringify({ workflows }))
  const started = yield* program.start(["serve", "--config", config, ...args], {
    PORT: "0",
    BALLAST_DATABASE: database
  })
  return Effect.map(started.printed(/listens on (\S+)[^]*curl .*\n/), ([, url = ""]) => ({
    started,
    api: `${url}/v1/workflows`
  }))
})

const begin = (api: string, workflow: string) =>
  Effect.map(
    harness.post(`${api}/${workflow}/runs`, {}, { prefer: "respond-async" }),
    ({ json, status, text }): string => {
      assert.strictEqual(status, 202, text)
      return json.id
    }
  )

const run = (api: string, id: string) => Effect.map(harness.send(`${api}/-/runs/${id}`), ({ json }) => json)

const becomes = (api: string, id: string, status: string) =>
  Effect.repeat(Effect.delay(run(api, id), "100 millis"), { until: (run) => run.status === status })

/** The record of runs, as another process has it. */
const recordOf = (database: string) =>
  Effect.map(
    Effect.orDie(Layer.build(PgClient.layer({ url: Redacted.make(database) }))),
    (context) => Runs.make((use) => use(Context.get(context, SqlClient.SqlClient)))
  )

/** A run that is recorded alone. */
const left = (database: string) =>
  Effect.gen(function*() {
    const runs = yield* recordOf(database)
    const definition = `workflow: { name: line, steps: [ { service: one } ] }
services: { one: { type: rule, rules: [ { then: 1 } ] } }`
    const given = { id: "left", workflow: "line", definition, client: "anonymous", input: {} }
    return (yield* runs.create(given, { maxLive: 100 })).id
  }).pipe(Effect.scoped, Effect.orDie)

/** Types of its events, from its start to its end. */
const events = (api: string, id: string) =>
  Effect.map(
    harness.send(`${api}/-/runs/${id}/events`),
    ({ text }) => Array.from(text.matchAll(/^event: (.*)$/gm), ([, type]) => type)
  )

describePostgres("gateways on one Postgres", () => {
  it.live(
    "show, decide and cancel each other's runs, with several workers, and one goes on with those of the other that was killed",
    () =>
      Effect.gen(function*() {
        const { calls, url } = yield* service
        const folder = yield* temporaryFolder
        Fs.mkdirSync(Path.join(folder, "workflows"))
        for (const [name, text] of Object.entries(files(url))) {
          Fs.writeFileSync(Path.join(folder, "workflows", name), text)
        }
        const database = (yield* schema)()
        // Both make the tables at the same time.
        const starting = [
          yield* serve(folder, database, "one"),
          yield* serve(folder, database, "two", "--workers", "2")
        ]
        const [one, two] = yield* Effect.all(starting, { concurrency: "unbounded" })
        assert(one !== undefined && two !== undefined)

        const pairs = [[one.api, two.api], [two.api, one.api]] as const
        yield* Effect.forEach(pairs, ([here, there]) =>
          Effect.gen(function*() {
            const line = yield* begin(here, "line")
            const types = yield* events(there, line)
            assert.deepStrictEqual([types[0], types.at(-1)], ["run.created", "run.succeeded"])
            assert.lengthOf(types.filter((type) => type === "step.succeeded"), 4)
            assert.strictEqual((yield* run(here, line)).output.key, `${line}/d`)

            const asks = yield* begin(here, "asks")
            yield* becomes(there, asks, "waiting")
            const decided = yield* harness.post(`${there}/asks/runs/${asks}/approvals/ask`, { approved: true })
            assert.strictEqual(decided.status, 200, decided.text)
            yield* becomes(here, asks, "succeeded")

            const long = yield* begin(here, "long")
            yield* harness.eventually(Effect.sync(() => calls.includes(`${long}/a`)))
            const cancelled = yield* harness.post(`${there}/long/runs/${long}/cancel`, {})
            assert.strictEqual(cancelled.status, 202, cancelled.text)
            yield* becomes(here, long, "cancelled")
            assert.include(calls, `${long}/z`)
          }), { concurrency: "unbounded" })

        const told = yield* begin(one.api, "long")
        yield* harness.eventually(Effect.sync(() => calls.includes(`${told}/a`)))
        const cancelled = yield* program.run(["workflow", "cancel", told, "--database", database])
        assert.match(cancelled.stdout, new RegExp(`^${told} +long +cancelled `, "m"), cancelled.stderr)
        assert.deepStrictEqual(calls.filter((key) => key.startsWith(told)), [`${told}/a`, `${told}/z`])

        // Its process ended before it gave the run to the engine.
        const unbegun = yield* left(database)

        const before = calls.length
        const ids = yield* Effect.forEach(
          Array.from({ length: 24 }, (_, n) => pairs[n % 2]![0]),
          (api) => begin(api, "line"),
          { concurrency: "unbounded" }
        )
        yield* harness.eventually(Effect.sync(() => calls.length >= before + 36))
        yield* one.started.signal("SIGKILL")
        yield* one.started.ended
        yield* Effect.forEach([unbegun, ...ids], (id) => becomes(two.api, id, "succeeded"), {
          concurrency: "unbounded"
        })
        for (const id of ids) {
          const own = calls.filter((key) => key.startsWith(`${id}/`))
          const steps = ["a", "b", "c", "d"].map((step) => `${id}/${step}`)
          assert.deepStrictEqual([...new Set(own)], steps)
          // One that was in flight is called again.
          assert.isTrue(steps.every((step) => own.filter((key) => key === step).length <= 2))
        }
      }),
    120_000
  )

  it.live("end the span of a run that ended elsewhere", () => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        if (span.name === "workflow asks") spans.push(span)
        return span
      }
    })
    return Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const file = Path.join(folder, "asks.yaml")
      Fs.writeFileSync(file, files("http://127.0.0.1:1")["asks.yaml"].replace("{ id: a, service: call }, ", ""))
      const database = (yield* schema)()
      const port = yield* Effect.promise(() => freePorts(1))
      yield* Effect.gen(function*() {
        const { url } = yield* harness.Running
        const api = `${url}/v1/workflows`
        const id = yield* begin(api, "asks")
        yield* becomes(api, id, "waiting")
        yield* Effect.flatMap(recordOf(database), (runs) => runs.end(id, { status: "failed", reason: "elsewhere" }))
        yield* harness.eventually(Effect.sync(() => spans[0]?.status._tag === "Ended"))
        assert.lengthOf(spans, 1)
        assert.strictEqual(spans[0]?.attributes.get("ballast.workflow.status"), "failed")
      }).pipe(
        Effect.scoped,
        Effect.provide(harness.layer({ database, settings: { workflows: { files: [file], runner: { port } } } }))
      )
    }).pipe(Effect.provideService(Tracer.Tracer, tracer))
  }, 60_000)
})
