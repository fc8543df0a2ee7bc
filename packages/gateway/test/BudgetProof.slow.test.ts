/** A budget after its gateway was killed in the middle of load: it begins with what the ledger says, and the simulator has billed no more. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import * as Path from "node:path"
import { eventually, hello, post, send } from "./harness.ts"
import { start } from "./program.ts"
import { open, temporaryFolder } from "./support/databases.ts"

const lanes = 8
/** Each call costs one, so that the budget is a number of calls. */
const budget = 600

const settings = (upstream: string) => `
listen: { port: 0 }
admin: { keys: { root: [admin-key] } }
deepseek: { apiKey: sk-test, baseUrl: "${upstream}" }
prices: { list: [ { provider: deepseek, model: deepseek-flash, currency: CNY, hit: 0, miss: 0, output: 0, call: 1 } ] }
`

describe("a client's budget", () => {
  it.live(
    "agrees with the simulator's count after the gateway was killed in the middle, but for calls in flight",
    () =>
      Effect.gen(function*() {
        const folder = yield* temporaryFolder
        const simulator = yield* start(["simulate", "--port", "0", "--latency", "2", "--ttft", "2", "--tps", "100000"])
        const [, upstream = ""] = yield* simulator.printed(/on (http:\S+)\. Its/)
        const file = Path.join(folder, "ballast.yaml")
        writeFileSync(file, settings(upstream))
        const database = Path.join(folder, "ballast.db")
        const serve = Effect.gen(function*() {
          const gateway = yield* start(["serve", "--config", file], {
            BALLAST_DATABASE: database,
            BALLAST_LOG_LEVEL: "error"
          })
          const [, url = ""] = yield* gateway.printed(/listens on (\S+)/)
          return { gateway, url }
        })

        const first = yield* serve
        const made = yield* post(
          `${first.url}/admin/v1/clients`,
          { name: "alice", limits: { budget: { month: budget } } },
          { authorization: "Bearer admin-key" }
        )
        assert.strictEqual(made.status, 200, made.text)
        let answered = 0
        /** Asks until the gateway is gone, or refuses. */
        const lane = (url: string): Effect.Effect<string> =>
          Effect.matchCauseEffect(
            post(`${url}/v1/chat/completions`, hello, { authorization: `Bearer ${made.json.key}` }),
            {
              onFailure: () => Effect.succeed("gone"),
              onSuccess: ({ json, status }) => {
                if (status !== 200) return Effect.succeed(json.error.code)
                answered++
                return lane(url)
              }
            }
          )
        const load = (url: string) =>
          Effect.all(Array.from({ length: lanes }, () => lane(url)), { concurrency: "unbounded" })
        yield* Effect.all([
          load(first.url),
          Effect.andThen(eventually(Effect.sync(() => answered >= budget / 2)), first.gateway.signal("SIGKILL"))
        ], { concurrency: "unbounded" })
        yield* first.gateway.ended
        const before = answered
        assert.isBelow(before, budget)

        const again = yield* serve
        assert.deepStrictEqual(yield* load(again.url), Array.from({ length: lanes }, () => "budget_exceeded"))
        assert.isAbove(answered, before)
        yield* again.gateway.signal("SIGTERM")
        yield* again.gateway.ended

        const kept = yield* open(database)
        const [sum] = yield* Effect.orDie(
          kept.use((sql) => sql`SELECT COUNT(cost_call), SUM(cost_call) FROM ballast_calls`.values)
        )
        // The ledger has what the budget let through, to the last call.
        assert.deepStrictEqual(sum?.map(Number), [budget, budget * 1e12])
        const { json: { statuses: { 200: billed } } } = yield* send(`${upstream}/__simulator/state`)
        // Calls in flight when it was killed: billed without a row, or with a row whose answer did not arrive.
        assert.isAtLeast(billed, budget)
        assert.isAtMost(billed - budget, lanes)
        assert.isAtMost(Math.abs(billed - answered), lanes)
      }).pipe(Effect.scoped),
    600_000
  )
})
