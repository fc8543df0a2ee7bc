/** Runs of workflows outlive the real program, however it ends. */
import { SqliteClient } from "@ballast/sqlite"
import { Runs } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import * as Fs from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Path from "node:path"
import * as harness from "./harness.ts"
import * as program from "./program.ts"
import { temporaryFolder } from "./support/databases.ts"

/** Answers after a while, and keeps what was asked by its idempotency key. */
const service = Effect.acquireRelease(
  Effect.callback<
    { readonly url: string; readonly calls: Array<string>; readonly answered: Set<string>; readonly close: () => void }
  >(
    (resume) => {
      const calls: Array<string> = []
      const answered = new Set<string>()
      const server = createServer((request, response) => {
        const key = String(request.headers["idempotency-key"])
        calls.push(key)
        request.resume()
        setTimeout(() => {
          if (!response.destroyed) answered.add(key)
          response.writeHead(200, { "content-type": "application/json" })
          response.end(JSON.stringify({ key }))
        }, request.url === "/slow" ? 1_500 : 40)
      })
      server.listen(0, "127.0.0.1", () =>
        resume(Effect.succeed({
          url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
          calls,
          answered,
          close: () => {
            server.close()
            server.closeAllConnections()
          }
        })))
    }
  ),
  ({ close }) => Effect.sync(close)
)

const names = ["a", "b", "c", "d", "e"]

const files = (url: string) => ({
  "many.yaml": `workflow:
  name: many
  steps:
${names.slice(0, 4).map((name) => `    - { id: ${name}, service: call }\n`).join("")}    - { id: ask, service: boss }
    - { id: e, service: call }
services:
  call: { type: http, url: "${url}/call" }
  boss: { type: approval }
`,
  "slow.yaml": `workflow:
  name: slow
  steps:
    - { id: first, service: slow }
    - { id: second, service: slow }
services:
  slow: { type: http, url: "${url}/slow" }
`
})

const start = (folder: string) =>
  Effect.gen(function*() {
    const started = yield* program.start(["serve", "--config", Path.join(folder, "ballast.yaml")], {
      PORT: "0",
      BALLAST_DATABASE: Path.join(folder, "ballast.db")
    })
    const [, url = ""] = yield* started.printed(/listens on (\S+)[^]*curl .*\n/)
    return { started, api: `${url}/v1/workflows` }
  })

const prepared = Effect.gen(function*() {
  const made = yield* service
  const folder = yield* temporaryFolder
  for (const [name, text] of Object.entries(files(made.url))) Fs.writeFileSync(Path.join(folder, name), text)
  const paths = Object.keys(files("")).map((name) => Path.join(folder, name))
  Fs.writeFileSync(Path.join(folder, "ballast.yaml"), JSON.stringify({ workflows: { files: paths } }))
  return { ...made, folder }
})

const post = (url: string, body?: unknown) => harness.post(url, body ?? {}, { prefer: "respond-async" })

const list = (api: string, query: string) =>
  Effect.map(harness.send(`${api}/-/runs?limit=100&${query}`), ({ json }) => json.data)

describe("ballast serve with workflows", () => {
  it.live("goes on with every run after kill -9: no step that had ended is called again", () =>
    Effect.gen(function*() {
      const { calls, folder } = yield* prepared
      const count = 12
      let { api, started } = yield* start(folder)
      const ids: Array<string> = []
      for (let n = 0; n < count; n++) {
        ids.push((yield* post(`${api}/many/runs`, { n })).json.id)
        if (n !== 3 && n !== 9) continue
        // In the midst of steps, and of waits.
        yield* harness.eventually(Effect.sync(() => calls.length >= 4 * n))
        yield* started.signal("SIGKILL")
        yield* started.ended
        ;({ api, started } = yield* start(folder))
      }
      yield* harness.eventually(Effect.map(list(api, "status=waiting"), ({ length }) => length === count))
      for (const id of ids) {
        assert.strictEqual((yield* post(`${api}/many/runs/${id}/approvals/ask`, { approved: true })).status, 200)
      }
      yield* harness.eventually(Effect.map(list(api, "status=succeeded"), ({ length }) => length === count))
      for (const id of ids) {
        const { text } = yield* harness.send(`${api}/many/runs/${id}/events`)
        const events = Array.from(
          text.matchAll(/^event: (.*)\ndata: (.*)$/gm),
          ([, type, data]) => ({ type, ...JSON.parse(data!) })
        )
        const ends = events.filter(({ type }) => type.startsWith("run.")).map(({ type }) => type)
        assert.deepStrictEqual(ends, ["run.created", "run.succeeded"])
        for (const name of names) {
          const own = events.filter(({ step }) => step === name)
          assert.strictEqual(own.at(-1)?.type, "step.succeeded")
          // Called again only where it was in flight: then its first call has no end.
          const keys = calls.filter((key) => key === `${id}/${name}`)
          assert.isAtMost(keys.length, 1 + own.filter(({ type }) => type === "step.started").length)
        }
        const run = (yield* harness.send(`${api}/many/runs/${id}`)).json
        assert.deepStrictEqual(run.output, { key: `${id}/e` })
      }
      // Two kills: at most the steps that were in flight were called twice.
      assert.isBelow(calls.length, 1.5 * count * names.length)
    }), 180_000)

  it.live(
    "lets a step in flight end when it is told to stop, and goes on at the next start",
    () =>
      Effect.gen(function*() {
        const { answered, calls, folder } = yield* prepared
        const first = yield* start(folder)
        const { json: { id } } = yield* post(`${first.api}/slow/runs`)
        yield* harness.eventually(Effect.sync(() => calls.length === 1))
        yield* first.started.signal("SIGTERM")
        yield* first.started.ended
        assert.deepStrictEqual([...answered], [`${id}/first`])
        const next = yield* start(folder)
        yield* harness.eventually(Effect.map(list(next.api, "status=succeeded"), ({ length }) => length === 1))
        assert.deepStrictEqual(calls.filter((key) => key === `${id}/first`).length, 1)
      }),
    60_000
  )

  it.live("is asked and steered from the command line", () =>
    Effect.gen(function*() {
      const { folder } = yield* prepared
      const { api } = yield* start(folder)
      const id = (yield* post(`${api}/many/runs`)).json.id
      yield* harness.eventually(Effect.map(list(api, "status=waiting"), ({ length }) => length === 1))
      const ballast = (...args: ReadonlyArray<string>) =>
        program.run(["workflow", ...args], { BALLAST_ADMIN_URL: new URL(api).origin })
      const listed = yield* ballast("runs", "--status", "waiting")
      assert.match(listed.stdout, new RegExp(`^RUN .*\\n${id} +many +waiting `), listed.stderr)
      const cancelled = yield* ballast("cancel", id)
      assert.strictEqual(cancelled.code, 0, cancelled.stderr)
      yield* harness.eventually(Effect.map(list(api, "status=cancelled"), ({ length }) => length === 1))
      const retried = yield* ballast("retry", id, "--json")
      const second = JSON.parse(retried.stdout)
      assert.deepStrictEqual([second.status, second.retryOf], ["waiting", id])
      const no = yield* ballast("approve", second.id, "ask", "--reject", "--comment", "too much")
      assert.strictEqual(no.code, 0, no.stderr)
      yield* harness.eventually(Effect.map(list(api, "status=succeeded"), ({ length }) => length === 1))
      assert.match((yield* ballast("show", second.id)).stdout, /^a +kept/m)
      const third = (yield* post(`${api}/many/runs`)).json.id
      const told = yield* ballast("cancel", third, "--database", Path.join(folder, "ballast.db"))
      assert.match(told.stdout, new RegExp(`^${third} +many +cancelled `, "m"), told.stderr)
      const again = yield* ballast("approve", second.id, "ask")
      assert.deepStrictEqual([again.code, again.stderr], [1, "ballast: The run has ended: it succeeded.\n"])
    }), 90_000)

  it.live(
    "cancels at its start what it was told while it was down, and does not call the step in flight again",
    () =>
      Effect.gen(function*() {
        const { calls, folder } = yield* prepared
        const first = yield* start(folder)
        const { json: { id } } = yield* post(`${first.api}/slow/runs`)
        yield* harness.eventually(Effect.sync(() => calls.length === 1))
        yield* first.started.signal("SIGKILL")
        yield* first.started.ended
        const tell = Effect.flatMap(SqlClient.SqlClient, (sql) => Runs.make((use) => use(sql)).askToCancel(id))
        const isTold = yield* Effect.provide(tell, SqliteClient.layer({ filename: Path.join(folder, "ballast.db") }))
        assert.isTrue(isTold)
        const next = yield* start(folder)
        yield* harness.eventually(Effect.map(list(next.api, "status=cancelled"), ({ length }) => length === 1))
        assert.deepStrictEqual(calls, [`${id}/first`])
      }),
    60_000
  )

  it.live(
    "refuses to start with a workflow that is wrong, and with several workers on SQLite",
    () =>
      Effect.gen(function*() {
        const { folder } = yield* prepared
        const config = Path.join(folder, "ballast.yaml")
        const several = yield* program.run(["serve", "--config", config, "--workers", "2"], {
          PORT: "0",
          BALLAST_DATABASE: Path.join(folder, "ballast.db")
        })
        assert.strictEqual(several.code, 1)
        assert.match(several.stderr, /workflows\.files: several workers run workflows on a Postgres alone/)
        Fs.writeFileSync(Path.join(folder, "slow.yaml"), "workflow:\n  name: slow\n  steps: [ { service: none } ]\n")
        const wrong = yield* program.run(["serve", "--config", config], { PORT: "0" })
        assert.strictEqual(wrong.code, 1)
        assert.match(wrong.stderr, /slow\.yaml:3:\d+: .*there is no service none/)
      }),
    60_000
  )
})
