import { Cluster, Definition, Runner } from "@ballast/workflow"
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { freePort } from "../../../test/support/freePort.ts"
import { numbers } from "../../../test/support/numbers.ts"
import { describePostgres, schema } from "../../../test/support/postgres.ts"
import { steps } from "./fixtures.ts"
import type { Options } from "./support/process.ts"
import * as Recorder from "./support/recorder.ts"

const program = fileURLToPath(new URL("./support/process.ts", import.meta.url))

/** More of them take minutes: `BALLAST_RUNS=500`. */
const count = Number(process.env.BALLAST_RUNS ?? 40)

/** A runner in a process of its own, which is killed at the end. */
const start = (database: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const options: Options = { database, port: await freePort() }
      const child = spawn(process.execPath, [program, JSON.stringify(options)], {
        stdio: ["pipe", "ignore", "inherit"]
      })
      child.stdin.write("\n")
      return { child, ended: once(child, "exit") }
    }),
    ({ child, ended }) =>
      Effect.promise(async () => {
        child.kill("SIGKILL")
        await ended
      })
  )

const keysOf = (id: string) => ["first", "flaky", "p0", "p1", "last"].map((step) => `${id}/${step}`)

/** Its steps, and the second attempt of `flaky`. */
const perRun = 6

describePostgres("two runners on Postgres", () => {
  it.live(
    `one killed at a random moment: all of ${count} runs end, each effect is there once`,
    () =>
      Effect.gen(function*() {
        const next = numbers(2)
        const recorder = yield* Recorder.make(() => 20 + next(80))
        const url = (yield* schema)()
        const runners = [yield* start(url), yield* start(url)]
        const service = (name: string) =>
          `  ${name}: { type: http, url: "${recorder.url}/${name}", headers: { pid: "\${env.PID}" } }\n`
        const text = `${
          steps(`- { id: first, service: sum }
- { id: flaky, service: flaky, retry: { times: 2, base: 50ms } }
- parallel: [ { id: p0, service: sum }, { id: p1, service: sum } ]
- { id: last, service: sum, input: "\${output.p0 + output.p1}" }`)
        }services:\n${["sum", "flaky"].map(service).join("")}`
        const definition = yield* Definition.read({ name: "w", text, services: {} })
        const client = Runner.layer().pipe(
          Layer.provide(Cluster.layerClient),
          Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 5 }))
        )
        const inputs = Array.from({ length: count }, (_, index) => index)
        let begun = 0
        let killed = 0
        let victim = ""
        const lastOf = new Map<string, string>()
        const moves: Array<number> = []
        const outputs = yield* Effect.gen(function*() {
          const runner = yield* Runner.Runner
          const run = (id: string, input: number) => runner.run(definition, input, { id })
          // Until both have a part of the runs.
          for (let n = 0; recorder.processes.size < 2; n++) yield* run(`probe${n}`, n)
          begun = recorder.requests.length
          const fatal = begun + Math.ceil(count * perRun * (0.2 + next(60) / 100))
          recorder.onRequest = (key, process) => {
            const [id = ""] = key.split("/")
            if (killed > 0 && process !== victim && lastOf.get(id) === victim) moves.push(performance.now() - killed)
            lastOf.set(id, process)
            if (recorder.requests.length !== fatal) return
            killed = performance.now()
            const { child } = runners[next(2)] ?? assert.fail()
            victim = String(child.pid)
            child.kill("SIGKILL")
          }
          return yield* Effect.forEach(inputs, (input) => run(`r${input}`, input), { concurrency: 50 })
        }).pipe(Effect.provide(client))
        const time = Math.round(performance.now() - killed)
        assert.deepStrictEqual(outputs, inputs.map((input) => 2 * (input + 2) + 1))
        const keys = [...recorder.effects.keys()].filter((key) => key.startsWith("r"))
        assert.deepStrictEqual(keys.sort(), inputs.flatMap((input) => keysOf(`r${input}`)).sort())
        assert.isAbove(killed, 0)
        const again = recorder.requests.length - begun - count * perRun
        const moved = `${moves.length} of them moved, the last one ${Math.round(Math.max(...moves))} ms after the kill`
        console.log(`${count} runs, ${again} calls made again; ${moved}; all ended ${time} ms after it`)
      }),
    600_000
  )
})
