/**
 * The ledger against the simulator's own count: totals over thousands of calls with faults, failover, resume, cache and clients that leave, and rows after
 * a gateway was killed in the middle.
 */
import { Gateway, Records, Settings, Upstream, UsageReport } from "@ballast/gateway"
import { Simulator } from "@ballast/simulator"
import { Logs } from "@ballast/telemetry"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { HttpClient } from "effect/http"
import * as Path from "node:path"
import { describePostgres, postgresAt, schema } from "../../../test/support/postgres.ts"
import { eventually, hello, layer, post, Running, send } from "./harness.ts"
import { start } from "./program.ts"
import { open, temporaryFolder } from "./support/databases.ts"
import * as FlakyProxy from "./support/flakyProxy.ts"

/** 100,000 take 4 minutes of a quiet core: `BALLAST_PROOF_CALLS=100000 npx vitest run packages/gateway/test/LedgerProof.slow.test.ts`. */
const calls = Number(process.env["BALLAST_PROOF_CALLS"] ?? 4_000)

/** Each is asked again while the cache has its answer. */
const questions = Math.min(calls / 4, 1_000)

interface Tally {
  calls: number
  /** Streams that broke off. */
  broken: number
  readonly tokens: { input: number; cached: number; output: number }
}

/** Tokens of a stream: one in each event that has text. */
const tokensIn = (bytes: string): number => bytes.match(/"(?:content|reasoning_content)":"(?!")/g)?.length ?? 0

/**
 * A simulator that adds up the usage that it told, and the tokens of streams that it broke off before that: their prompts stand in no usage. One that is
 * broken off later, before its `[DONE]`, has told it.
 */
const tallied = (tally: Tally, options: Parameters<typeof Simulator.make>[0]) =>
  Simulator.httpClient.pipe(Layer.provide(Layer.effect(
    Simulator.Simulator,
    Effect.map(Simulator.make(options), (simulator) =>
      Simulator.Simulator.of({
        ...simulator,
        answer: (request) =>
          Effect.map(simulator.answer(request), (answer) => {
            const usage = answer.chat?.usage
            if (usage === undefined) return answer
            let given = 0
            let isTold = answer.chat?.stream !== true
            const told = () => {
              tally.calls++
              tally.tokens.input += usage.prompt_tokens
              tally.tokens.cached += usage.prompt_cache_hit_tokens ?? 0
              tally.tokens.output += usage.completion_tokens
            }
            const broken = Effect.sync(() => {
              if (answer.chat?.stream !== true) return
              tally.broken++
              if (isTold) told()
              else tally.tokens.output += given
            })
            const body = answer.body.pipe(
              Stream.tap((bytes) =>
                Effect.sync(() => {
                  const text = new TextDecoder().decode(bytes)
                  given += tokensIn(text)
                  isTold ||= text.includes("\"usage\":{")
                })
              ),
              Stream.tapError(() => broken)
            )
            return { ...answer, body: Stream.concat(body, Stream.drain(Stream.fromEffect(Effect.sync(told)))) }
          })
      }))
  )))

/** Longer than a unit of the service's cache. */
const system = { role: "system", content: "You are the mate of a ship, and answer what the crew asks. ".repeat(10) }

/** What a client does: asks for a whole answer or a stream, some of a route with a cache, and leaves some streams, which are slow, after the first bytes. */
const one = (url: string, n: number) =>
  Effect.promise(async () => {
    const abort = new AbortController()
    const stream = n % 2 === 1
    const leaves = n % 20 === 19
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-request-id": `call-${n}`,
        ...(leaves && { "x-simulate": "tps=0.1" })
      },
      body: JSON.stringify({
        model: n % 10 < 2 ? "cached" : hello.model,
        stream,
        // Thoughts are long.
        ...(n % 10 > 0 && { thinking: { type: "disabled" } }),
        messages: [system, { role: "user", content: `Question ${n % questions}, please.` }]
      }),
      signal: abort.signal
    })
    if (leaves && response.ok) {
      await response.body?.getReader().read()
      abort.abort()
      return "left"
    }
    const text = await response.text()
    // A stream that has begun fails in its body; then the service has told no usage.
    return response.ok && !text.includes("\"error\":{") ? "answered" : { unknown: stream ? tokensIn(text) : 0 }
  }).pipe(Effect.catchDefect(() => Effect.succeed("left" as const)))

describe("the ledger", () => {
  it.live(
    `agrees with the simulator to the token over ${calls} calls with faults, failover, resume, cache and clients that leave`,
    () =>
      Effect.gen(function*() {
        const tally: Tally = { calls: 0, broken: 0, tokens: { input: 0, cached: 0, output: 0 } }
        const client = Context.get(
          yield* Layer.build(tallied(tally, {
            latency: 0,
            timeToFirstToken: 0,
            tokensPerSecond: Infinity,
            reply: "Ballast keeps her upright in heavy seas.",
            plan: [
              { fault: { status: 503 }, probability: 0.05 },
              { fault: { cut: 0 }, probability: 0.02 },
              { fault: { cut: 6 }, probability: 0.05 }
            ]
          })),
          HttpClient.HttpClient
        )
        const provider = { type: "deepseek", accounts: { default: { keys: ["sk-test"] } } }
        const settings = yield* Settings.makeValues({
          listen: { port: 0 },
          database: Path.join(yield* temporaryFolder, "ballast.db"),
          providers: { first: provider, second: provider },
          models: {
            "*": { targets: [{ provider: "first" }], failover: [{ provider: "second" }] },
            cached: {
              targets: [{ provider: "first", model: hello.model }],
              failover: [{ provider: "second", model: hello.model }],
              cache: { timeToLive: "1h" }
            }
          },
          simulator: { forward: true },
          policies: { retry: { times: 1, base: "1ms" }, resume: { times: 5 }, circuitBreaker: { enabled: false } }
        })
        const records = yield* Effect.flatMap(settings.current, Records.make)
        const upstream = yield* Upstream.make(settings, { client })
        const address = yield* Gateway.serve({ settings, upstream, records })
        const url = `http://127.0.0.1:${address._tag === "UnixPathAddress" ? 0 : address.port}`
        const outcomes = yield* Effect.forEach(Array.from({ length: calls }, (_, n) => n), (n) => one(url, n), {
          concurrency: 16
        })
        const report = Effect.andThen(
          records.ledger.flush,
          UsageReport.make(records.database, { by: [], from: 0, to: 4e12 })
        )
        yield* eventually(Effect.orDie(Effect.map(report, ({ total }) => total.calls >= calls)))
        const { total } = yield* report
        const failed = outcomes.filter((outcome) => typeof outcome === "object")
        assert.strictEqual(total.calls, calls)
        assert.strictEqual(total.errors, failed.length)
        const left = outcomes.filter((outcome) => outcome === "left").length
        assert.strictEqual(total.cancelled, left)
        assert.isAbove(left, calls / 25)
        const unknown = failed.reduce((sum, one) => sum + one.unknown, 0)
        assert.deepStrictEqual(
          { input: total.input_tokens, cached: total.cached_tokens, output: total.output_tokens + unknown },
          tally.tokens
        )
        const [failovers] = yield* records.database.use((sql) =>
          sql`SELECT SUM(failovers), SUM(attempts) FROM ballast_calls`.values
        )
        assert.isAbove(tally.broken, calls / 200)
        assert.isAbove(total.cached_tokens, 0)
        assert.isAbove(total.cache_hits, calls / 10)
        assert.isAbove(Number(failovers?.[0]), 0)
        assert.isAbove(Number(failovers?.[1]), calls - total.cache_hits)
      }).pipe(Effect.scoped, Effect.provide([NodeFileSystem.layer, Logs.layer({ level: "Error" })])),
    600_000 + 60 * calls
  )

  it.live(
    "has the row of every answered call after the gateway was killed in the middle",
    () =>
      Effect.gen(function*() {
        const database = Path.join(yield* temporaryFolder, "ballast.db")
        const simulator = yield* start(["simulate", "--port", "0", "--latency", "2", "--ttft", "2", "--tps", "100000"])
        const [, upstream = ""] = yield* simulator.printed(/on (http:\S+)\. Its/)
        const env = {
          PORT: "0",
          DEEPSEEK_API_KEY: "sk-test",
          DEEPSEEK_BASE_URL: upstream,
          BALLAST_DATABASE: database,
          BALLAST_LOG_LEVEL: "error"
        }
        const gateway = yield* start(["serve"], env)
        const [, url = ""] = yield* gateway.printed(/listens on (\S+)/)
        const answered = new Set<string>()
        let sent = 0
        const lane: Effect.Effect<void> = Effect.suspend(() => {
          const id = `call-${sent++}`
          return Effect.matchCauseEffect(post(`${url}/v1/chat/completions`, hello, { "x-request-id": id }), {
            onFailure: () => Effect.void,
            onSuccess: ({ status }) => {
              if (status === 200) answered.add(id)
              return lane
            }
          })
        })
        const lanes = 8
        const load = Effect.all(Array.from({ length: lanes }, () => lane), { concurrency: "unbounded" })
        yield* Effect.all([
          load,
          Effect.andThen(eventually(Effect.sync(() => answered.size >= 400)), gateway.signal("SIGKILL"))
        ], { concurrency: "unbounded" })
        yield* gateway.ended
        // The next start takes up what the killed one left.
        const again = yield* start(["serve"], env)
        yield* again.printed(/listens on (\S+)/)
        yield* again.signal("SIGTERM")
        yield* again.ended
        const kept = yield* open(database)
        const rows = yield* Effect.orDie(
          kept.use((sql) => sql<{ request_id: string }>`SELECT request_id FROM ballast_calls`)
        )
        const ids = rows.map(({ request_id }) => request_id)
        assert.strictEqual(new Set(ids).size, ids.length)
        const missing = Array.from(answered).filter((id) => !ids.includes(id))
        const state = yield* post(`${upstream}/__simulator/state`, "").pipe(
          Effect.andThen(
            Effect.promise(() => fetch(`${upstream}/__simulator/state`).then((response) => response.json()))
          )
        )
        const billed = state.statuses[200]
        // A client may have its answer an instant before the row is appended.
        assert.isAtMost(missing.length, lanes)
        assert.isAtMost(Math.abs(billed - ids.length), lanes)
        const sums = yield* Effect.orDie(
          kept.use((sql) => sql`SELECT SUM(calls) FROM ballast_usage WHERE span = 'day'`.values)
        )
        assert.strictEqual(Number(sums[0]?.[0]), ids.length)
      }).pipe(Effect.scoped),
    600_000
  )
})

describePostgres("the ledger while its database says nothing", () => {
  it.live("costs no call, and loses no row", () =>
    Effect.gen(function*() {
      const proxy = yield* FlakyProxy.make(postgresAt())
      const gateway = layer({
        database: (yield* schema)(`127.0.0.1:${proxy.port}`),
        settings: { ledger: { spool: yield* temporaryFolder } }
      })
      yield* Effect.gen(function*() {
        const { records, url } = yield* Running
        assert.isDefined(records)
        const load = (count: number) =>
          Effect.forEach(Array.from({ length: count }), () => post(`${url}/v1/chat/completions`, hello), {
            concurrency: 8
          })
        yield* load(20)
        yield* proxy.hold
        const during = yield* load(100)
        assert.isTrue(during.every(({ status }) => status === 200))
        // The batch under way has been given up.
        yield* eventually(
          Effect.map(send(`${url}/metrics`), ({ text }) => /^ballast_ledger_write_failures_total\S* [1-9]/m.test(text))
        )
        yield* proxy.release
        yield* eventually(Effect.sync(() => records.ledger.waiting().rows === 0))
        const [row] = yield* Effect.orDie(
          records.database.use((sql) => sql`SELECT COUNT(*), COUNT(DISTINCT id) FROM ballast_calls`.values)
        )
        assert.deepStrictEqual(row?.map(Number), [120, 120])
      }).pipe(Effect.provide(gateway))
    }), 600_000)
})
