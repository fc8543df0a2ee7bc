import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run, start, startOnTerminal } from "./program.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "ballast-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

/** A service that fails once, then says what it was asked. */
const service = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
    let calls = 0
    const server = createServer((request, response) => {
      response.statusCode = calls++ === 0 ? 503 : 200
      response.end(JSON.stringify({ amount: 1200, token: request.headers.authorization }))
    })
    server.listen(0, "127.0.0.1", () => {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      resume(Effect.succeed({ url, close: () => server.close() }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

const text = (url: string) =>
  `workflow:
  name: invoices
  steps:
    - { id: fields, service: extract, retry: { times: 1, base: 1ms } }
    - { service: level, condition: "\${output.amount > 1000.0}" }
    - { service: summary }
    - { id: never, service: level, condition: "\${false}" }
  output: { fields: "\${steps.fields.output}", level: "\${steps.level.output}", summary: "\${steps.summary.output}" }
services:
  extract: { type: http, url: "${url}", headers: { authorization: "Bearer \${env.TOKEN}" } }
  level: { type: rule, rules: [ { when: "\${input.amount > 1000}", then: high } ] }
  summary: { type: model, model: deepseek-flash, prompt: "Summarize \${input}" }
`

/** A service that answers with the step, and holds the first call of one until it is let go. */
const gated = Effect.fnUntraced(function*(step: string) {
  const asked: Array<string> = []
  const held = yield* Deferred.make<() => void>()
  const { url } = yield* Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const server = createServer((request, response) => {
        const key = String(request.headers["idempotency-key"])
        const answer = () => void response.end(JSON.stringify(stepOf(key)))
        const isHeld = stepOf(key) === step && !asked.includes(key)
        asked.push(key)
        if (isHeld) Effect.runFork(Deferred.succeed(held, answer))
        else answer()
      })
      server.listen(0, "127.0.0.1", () => {
        const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
        resume(Effect.succeed({ url, close: () => void server.close().closeAllConnections() }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )
  return { asked, held, url }
})

const stepOf = (key: string): string => key.slice(key.lastIndexOf("/") + 1)

/** The words of a line, as a shell takes it. */
const wordsOf = (line: string): ReadonlyArray<string> =>
  Array.from(line.matchAll(/'([^']*)'|(\S+)/g), ([, quoted, plain]) => quoted ?? plain ?? "")

const kept = (url: string) =>
  `workflow:
  name: w
  steps: [ { id: a, service: call }, { id: b, service: call }, { id: c, service: call } ]
  finally: [ { id: last, service: call } ]
services: { call: { type: http, url: "${url}", headers: { token: "\${env.TOKEN}" } } }
`

/** A program whose run `r`, which a database keeps, is in the step `b`. */
const keptInB = Effect.gen(function*() {
  const path = yield* folder
  const { asked, held, url } = yield* gated("b")
  const file = join(path, "kept.yaml")
  writeFileSync(file, kept(url))
  const database = join(path, "runs.db")
  const args = ["workflow", "run", file, "--database", database, "--id", "r", "--env", "TOKEN"]
  const program = yield* start(args, { TOKEN: "secret" })
  yield* Deferred.await(held)
  return { args, asked, database, program }
})

describe("ballast workflow", { timeout: 60_000 }, () => {
  it.live("checks, draws and runs a file", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const { url } = yield* service
      const file = join(path, "invoices.yaml")
      const input = join(path, "input.json")
      writeFileSync(file, text(url))
      writeFileSync(input, "{\"id\":7}")
      assert.deepStrictEqual(yield* run(["workflow", "check", file]), {
        code: 0,
        stdout: `${file} is right: invoices, 4 steps\n`,
        stderr: ""
      })
      assert.include(
        (yield* run(["workflow", "graph", file])).stdout,
        "step_fields -->|\"${output.amount #62; 1000.0}\"| step_level"
      )
      const picture = join(path, "invoices.svg")
      assert.deepStrictEqual(yield* run(["workflow", "graph", file, "--svg", picture]), {
        code: 0,
        stdout: "",
        stderr: ""
      })
      assert.include(readFileSync(picture, "utf8"), "<g data-step=\"fields\"")
      const ended = yield* run(["workflow", "run", file, "--input", input, "--env", "TOKEN"], { TOKEN: "secret" })
      assert.strictEqual(ended.code, 0, ended.stderr)
      const { fields, level, summary } = JSON.parse(ended.stdout)
      assert.deepStrictEqual([fields, level], [{ amount: 1200, token: "Bearer secret" }, "high"])
      assert.isNotEmpty(summary)
      assert.match(ended.stderr, /^✗ fields, .* s: it answered with status 503$/m)
      assert.match(ended.stderr, /^✓ fields, attempt 2, .* s$/m)
      assert.match(ended.stderr, /^- never, skipped$/m)
      assert.notInclude(ended.stderr, "secret")
    }).pipe(Effect.scoped))

  it.live("says every mistake with its place, and which step failed, and exits with 1", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = join(path, "wrong.yaml")
      writeFileSync(
        file,
        "workflow:\n  name: w\n  steps:\n    - { service: a }\n    - { service: b, condition: \"${1 +}\" }\n"
      )
      const checked = yield* run(["workflow", "check", file])
      assert.strictEqual(checked.code, 1)
      assert.match(checked.stderr, /wrong\.yaml:4:18: .*there is no service a/)
      assert.match(checked.stderr, /wrong\.yaml:5:18: .*there is no service b/)
      assert.match(checked.stderr, /wrong\.yaml:5:32: .*condition/)
      writeFileSync(
        file,
        "workflow: { name: w, steps: [ { service: a } ] }\nservices: { a: { type: http, url: \"http://127.0.0.1:1\" } }\n"
      )
      const failed = yield* run(["workflow", "run", file, "--id", "r"])
      assert.deepStrictEqual([failed.code, failed.stdout], [1, ""])
      const elsewhere = yield* run(["workflow", "run", file, "--database", "postgres://me:secret@host/db"])
      assert.deepStrictEqual([elsewhere.code, elsewhere.stderr], [
        1,
        "ballast: --database is the path of a SQLite file. On a Postgres, ballast serve runs workflows.\n"
      ])
      assert.match(failed.stderr, /^ballast: Run r failed in step a: 127\.0\.0\.1:1 can not be reached \(.*\)$/m)
    }).pipe(Effect.scoped))

  it.live("reads workflows, templates and shared services beside the file, and writes reports", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = join(path, "main.yaml")
      writeFileSync(
        file,
        `workflow: { name: w, steps: [ { service: sub }, { service: tag }, { service: named }, { service: page } ] }
services: { sub: { type: workflow, workflow: sub.yaml }, named: { type: workflow, workflow: served }, page: { type: report, file: page.html, save: a.html } }
`
      )
      writeFileSync(
        join(path, "sub.yaml"),
        "workflow: { name: s, steps: [ { service: r } ] }\nservices: { r: { type: rule, rules: [ { then: b } ] } }\n"
      )
      writeFileSync(join(path, "page.html"), "<p>{{ input }}</p>")
      const config = join(path, "ballast.yaml")
      const shared = join(path, "services.yaml")
      mkdirSync(join(path, "served"))
      writeFileSync(
        join(path, "served", "one.yaml"),
        "workflow: { name: served, steps: [ { service: tag, input: \"${input + '!'}\" } ] }\n"
      )
      writeFileSync(config, `workflows: { services: "${shared}", files: [ "${join(path, "served")}" ] }\n`)
      writeFileSync(shared, "services: { tag: { type: rule, rules: [ { then: \"${'<' + input + '>'}\" } ] } }\n")
      const ended = yield* run(["workflow", "run", file, "--reports", join(path, "reports"), "--config", config])
      assert.deepStrictEqual(JSON.parse(ended.stdout), { file: join(path, "reports", "a.html") }, ended.stderr)
      assert.include(readFileSync(join(path, "reports", "a.html"), "utf8"), "<p>&lt;&lt;b&gt;!&gt;</p>")
    }).pipe(Effect.scoped))

  it.live("cancels the run at Ctrl-C: the call is interrupted, finally runs, and the exit code is 130", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const called = yield* Deferred.make<void>()
      const { close, url } = yield* Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
        const server = createServer(() => Effect.runFork(Deferred.succeed(called, undefined)))
        server.listen(0, "127.0.0.1", () => {
          const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
          resume(Effect.succeed({ url, close: () => void server.close().closeAllConnections() }))
        })
      })
      const file = join(path, "slow.yaml")
      writeFileSync(
        file,
        `workflow: { name: w, steps: [ { service: slow } ], finally: [ { service: last } ] }
services: { slow: { type: http, url: "${url}" }, last: { type: rule, rules: [ { then: 1 } ] } }
`
      )
      const program = yield* start(["workflow", "run", file])
      yield* Deferred.await(called)
      yield* program.signal("SIGINT")
      const { code, stderr, stdout } = yield* program.ended
      close()
      assert.deepStrictEqual([code, stdout], [130, ""], stderr)
      assert.match(stderr, /^✓ last, /m)
    }).pipe(Effect.scoped))

  it.live("a run in a database stops at Ctrl-C, and the command that it says goes on with it", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const { asked, held, url } = yield* gated("b")
      const file = join(path, "kept file.yaml")
      writeFileSync(file, kept(url))
      const args = ["workflow", "run", file, "--database", join(path, "runs.db"), "--env", "TOKEN"]
      const program = yield* start(args, { TOKEN: "secret" })
      const answer = yield* Deferred.await(held)
      yield* program.signal("SIGINT")
      const [, command = ""] = yield* program.printed(/Go on with it: ballast (.*)\n/, "stderr")
      answer()
      const { code, stdout } = yield* program.ended
      assert.deepStrictEqual([code, stdout, asked.map(stepOf)], [130, "", ["a", "b"]])
      // Another run of the database lacks what this one needs, and leaves it alone.
      const other = join(path, "other.yaml")
      writeFileSync(
        other,
        `workflow: { name: w, steps: [ { service: call } ] }\nservices: { call: { type: http, url: "${url}" } }\n`
      )
      const beside = yield* run(["workflow", "run", other, "--id", "other", "--database", join(path, "runs.db")])
      assert.strictEqual(beside.code, 0, beside.stderr)
      const ended = yield* run(wordsOf(command), { TOKEN: "secret" })
      assert.deepStrictEqual([ended.code, ended.stdout], [0, "\"c\"\n"], ended.stderr)
      assert.deepStrictEqual(asked.map(stepOf), ["a", "b", "call", "c", "last"])
    }).pipe(Effect.scoped))

  it.live("a second Ctrl-C ends at once; the call in flight is made again by its key", () =>
    Effect.gen(function*() {
      const { args, asked, program } = yield* keptInB
      const beside = yield* run(args, { TOKEN: "secret" })
      assert.deepStrictEqual([beside.code, asked], [1, ["r/a", "r/b"]])
      assert.include(beside.stderr, "runs.db.workflows is in use: one process at a time runs the workflows in it.")
      yield* program.signal("SIGINT")
      yield* program.printed(/Go on with it: .*--id r[^]*a second Ctrl-C ends at once/i, "stderr")
      yield* program.signal("SIGINT")
      const { code, stderr } = yield* program.ended
      assert.strictEqual(code, 130)
      assert.notMatch(stderr, /WARN|ERROR/)
      const ended = yield* run(args, { TOKEN: "secret" })
      assert.deepStrictEqual([ended.code, ended.stdout], [0, "\"c\"\n"], ended.stderr)
      assert.deepStrictEqual(asked, ["r/a", "r/b", "r/b", "r/c", "r/last"])
    }).pipe(Effect.scoped))

  it.live(
    "a run in a database is cancelled by a command: its step is not called again, and finally runs",
    () =>
      Effect.gen(function*() {
        const { args, asked, database, program } = yield* keptInB
        yield* program.signal("SIGINT")
        const [, command = ""] = yield* program.printed(/Cancel it: ballast (.*)\n/, "stderr")
        yield* program.signal("SIGINT")
        yield* program.ended
        const listed = yield* run(["workflow", "runs", "--database", database, "--status", "running"])
        assert.match(listed.stdout, /^RUN .*\nr +w +running /, listed.stderr)
        const cancelled = yield* run(wordsOf(command), { TOKEN: "secret" })
        assert.strictEqual(cancelled.code, 0, cancelled.stderr)
        assert.match(cancelled.stdout, /^r +w +cancelled /m)
        assert.match(cancelled.stdout, /^b +cancelled [^]*^last +succeeded /m)
        assert.deepStrictEqual(asked, ["r/a", "r/b", "r/last"])
        const again = yield* run(args, { TOKEN: "secret" })
        assert.deepStrictEqual([again.code, again.stderr], [1, "ballast: The run r was cancelled.\n"])
        assert.lengthOf(asked, 3)
      }).pipe(Effect.scoped),
    120_000
  )

  it.live("a run in a database is cancelled while a process works on it, and alone", () =>
    Effect.gen(function*() {
      const { asked, database, program } = yield* keptInB
      const none = yield* run(["workflow", "cancel", "q", "--database", database])
      assert.deepStrictEqual([none.code, none.stderr], [1, `ballast: The database ${database} has no run q.\n`])
      const cancelled = yield* run(["workflow", "cancel", "r", "--database", database])
      assert.deepStrictEqual([cancelled.code, cancelled.stderr], [0, ""])
      assert.match(cancelled.stdout, /^r +w +cancelled /m)
      const { code, stderr } = yield* program.ended
      assert.strictEqual(code, 1)
      assert.match(stderr, /^✓ last, .*\nballast: The run r was cancelled\.\n$/m)
      assert.deepStrictEqual(asked, ["r/a", "r/b", "r/last"])
      const twice = yield* run(["workflow", "cancel", "r", "--database", database])
      assert.deepStrictEqual([twice.code, twice.stderr], [1, "ballast: The run has ended before: cancelled.\n"])
      const shown = yield* run(["workflow", "show", "r", "--database", database, "--json"])
      assert.strictEqual(JSON.parse(shown.stdout).status, "cancelled", shown.stderr)
    }).pipe(Effect.scoped), 120_000)

  it.live("says which database there is none", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = join(path, "none.db")
      const failed = yield* run(["workflow", "runs", "--database", file])
      assert.deepStrictEqual([failed.code, failed.stderr], [1, `ballast: --database: there is no file ${file}.\n`])
      const both = yield* run(["workflow", "cancel", "r", "--database", file, "--url", "http://127.0.0.1:1"])
      assert.deepStrictEqual([both.code, both.stderr], [1, "ballast: --database and --url exclude each other.\n"])
    }).pipe(Effect.scoped))

  it.live.runIf(process.platform === "linux")(
    "an approval that Ctrl-C left is asked for again",
    () =>
      Effect.gen(function*() {
        const path = yield* folder
        const file = join(path, "asks.yaml")
        writeFileSync(
          file,
          `workflow: { name: w, steps: [ { service: boss } ], output: "\${output.approved}" }
services: { boss: { type: approval, question: "Pay\\e[2K?" } }
`
        )
        const args = ["workflow", "run", file, "--database", join(path, "runs.db"), "--id", "r"]
        const left = yield* startOnTerminal(args)
        yield* left.printed(/Pay\?/)
        left.child.stdin!.write("\x03")
        yield* left.printed(/Go on with it: ballast .*--id r/)
        assert.strictEqual((yield* left.ended).code, 130)
        const again = yield* startOnTerminal(args)
        yield* again.printed(/Pay\?/)
        again.child.stdin!.write("y")
        const { stdout } = yield* again.ended
        assert.match(stdout, /^true\r?$/m)
        // What the question holds does nothing on the terminal.
        assert.notInclude(stdout, "Pay\x1b")
      }).pipe(Effect.scoped)
  )
})
