import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import * as Path from "node:path"
import { post } from "./harness.ts"
import { run, start } from "./program.ts"
import { temporaryFolder } from "./support/databases.ts"

const settings = `
providers: { near: { type: simulator, accounts: { main: { keys: [sk-near] } } } }
models:
  "*": { targets: [ { provider: near } ] }
  vectors: { targets: [ { provider: near } ] }
  deepseek-flash: { targets: [ { provider: near } ], cache: { semantic: { model: vectors, threshold: 0.7 } } }
admin: { keys: { alice: [admin-of-alice] } }
listen: { port: 0, workers: 2 }
`

describe("ballast cache", () => {
  it.live("explains what the workers of a gateway have, and tries thresholds out", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const file = Path.join(folder, "ballast.yaml")
      writeFileSync(file, settings)
      const gateway = yield* start(["serve", "--config", file], { BALLAST_DATABASE: Path.join(folder, "ballast.db") })
      const [, url = ""] = yield* gateway.printed(/listens on (\S+)/)
      const env = { BALLAST_ADMIN_URL: url, BALLAST_ADMIN_KEY: "admin-of-alice" }
      const ask = (content: string) =>
        // Each connection comes to the next worker.
        post(`${url}/v1/chat/completions`, { model: "deepseek-flash", messages: [{ role: "user", content }] }, {
          connection: "close"
        })
      for (const question of ["What is the capital of France?", "Export 10 rows", "Export 20 rows", "Why?"]) {
        assert.strictEqual((yield* ask(question)).status, 200)
      }
      const explained = yield* run(
        ["cache", "explain", "Export 10 rows, please", "--model", "deepseek-flash", "--limit", "2"],
        env
      )
      assert.match(
        explained.stdout,
        /^Compared with 4 answers; the threshold is 0\.7\.\nSIMILARITY +GIVEN +WHY NOT +CLIENT +AGE +QUESTION\n0\.\d+ +yes +anonymous +\d+ s +Export 10 rows\n0\.\d+ +no +below the threshold; other numbers +anonymous +\d+ s +Export 20 rows\n$/
      )
      const all = yield* run(["cache", "evaluate", "--model", "deepseek-flash"], env)
      assert.match(all.stdout, /^16 pairs mean the same, 40 do not\..*\n\nTHRESHOLD .*\n0\.6 .*\n0\.7 \* /)
      const pairs = Path.join(folder, "pairs.jsonl")
      writeFileSync(pairs, `{"a": "Export 10 rows", "b": "Export 20 rows", "same": false}\n`)
      const own = yield* run(["cache", "evaluate", pairs, "--model", "deepseek-flash", "--json"], env)
      assert.deepInclude(JSON.parse(own.stdout), { same: 0, different: 1, wrong: [] })
      writeFileSync(pairs, `{"a": "Export 10 rows"}\n`)
      const wrong = yield* run(["cache", "evaluate", pairs, "--model", "deepseek-flash"], env)
      assert.include(wrong.stderr, "pairs.jsonl:1 is no pair")
      const unknown = yield* run(["cache", "explain", "?", "--model", "pro"], env)
      assert.strictEqual(
        unknown.stderr,
        "ballast: There is no model with a semantic cache pro, only deepseek-flash.\n"
      )
    }), 120_000)
})
