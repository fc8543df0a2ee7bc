import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "./program.ts"

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
      assert.match(failed.stderr, /^ballast: Run r failed in step a: it can not be reached \(TransportError\)$/m)
    }).pipe(Effect.scoped))
})
