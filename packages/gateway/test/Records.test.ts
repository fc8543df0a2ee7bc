import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as harness from "./harness.ts"

const { hello, post } = harness

/** The rows, once there are so many: a client has its answer a little before the call has ended. */
const rows = Effect.fnUntraced(function*(count: number) {
  const { records } = yield* harness.Running
  assert.isDefined(records)
  const { database, ledger } = records
  const read = Effect.andThen(
    ledger.flush,
    database.use((sql) => sql`SELECT * FROM ballast_calls ORDER BY at, id`)
  ).pipe(Effect.orDie)
  yield* harness.eventually(Effect.map(read, ({ length }) => length >= count))
  return yield* read
})

const gateway = (options: harness.Options = {}) => Effect.provide(harness.layer({ database: ":memory:", ...options }))

describe("the ledger of a gateway", () => {
  it.live("has a row of each call, whole, streamed or failed, and none of other requests", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      const chat = `${url}/v1/chat/completions`
      const as = (headers: Record<string, string>) => ({ authorization: "Bearer key-of-alice", ...headers })
      const whole = yield* post(chat, hello, as({ "x-request-id": "whole" }))
      const streamed = yield* post(chat, { ...hello, stream: true }, as({ "x-request-id": "streamed" }))
      assert.include(streamed.text, "[DONE]")
      yield* post(chat, hello, as({ "x-request-id": "failed", "x-simulate": "status=503" }))
      // None of a model: a wrong key, a body that is no request, another route.
      yield* post(chat, hello, { authorization: "Bearer wrong" })
      yield* post(chat, "{", as({}))
      yield* harness.send(`${url}/v1/models`, { headers: as({}) })
      const [first, second, third, ...more] = yield* rows(3)
      assert.deepStrictEqual(more, [])
      const { usage } = whole.json
      assert.include(first, {
        request_id: "whole",
        trace_id: whole.headers.get("x-trace-id"),
        client: "alice",
        labels: `{"cost":"7","team":"search"}`,
        route: "/v1/chat/completions",
        model: "deepseek-flash",
        provider: "simulator",
        account: "default",
        stream: 0,
        status: 200,
        error: "",
        attempts: 1,
        failovers: 0,
        ttft_ms: null,
        input_tokens: usage.prompt_tokens,
        cached_tokens: usage.prompt_cache_hit_tokens,
        output_tokens: usage.completion_tokens
      })
      assert.include(second, { request_id: "streamed", stream: 1, status: 200, error: "" })
      assert.isNumber(second?.ttft_ms)
      assert.isAbove(Number(second?.output_tokens), 0)
      assert.include(third, { request_id: "failed", status: 503, error: "upstream_overloaded", input_tokens: null })
      // Neither the question nor an answer.
      assert.notInclude(JSON.stringify([first, second, third]), "Hello")
    }).pipe(gateway({
      settings: { clients: { alice: { keys: ["key-of-alice"], labels: { team: "search", cost: "7" } } } }
    })))

  it.live("keeps rows apart that come with the same request id", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      const send = post(`${url}/v1/chat/completions`, hello, { "x-request-id": "same" })
      yield* Effect.all([send, send])
      assert.strictEqual((yield* rows(2)).length, 2)
    }).pipe(gateway()))

  it.live("takes a name of a model that no database takes", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      yield* post(`${url}/v1/chat/completions`, { ...hello, model: `a\u0000b` })
      const [row] = yield* rows(1)
      assert.match(String(row?.model), /^a b$/)
    }).pipe(gateway()))
})

describe("the admin API of the ledger", () => {
  const admin = { headers: { authorization: "Bearer admin-key" } }

  it.live("reports usage, rows and comparisons, and takes feedback", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      const get = (path: string) => harness.send(`${url}/admin/v1${path}`, admin)
      for (const arm of ["a", "b"]) {
        yield* post(`${url}/v1/chat/completions`, { ...hello, model: arm }, { "x-request-id": `of-${arm}` })
      }
      const feedback = { request_id: "of-a", name: "helpful", value: true, comment: "right at once" }
      assert.strictEqual((yield* post(`${url}/v1/feedback`, feedback)).status, 200)
      const wrong = yield* Effect.forEach(
        [{ ...feedback, value: "yes" }, { ...feedback, name: "" }, { request_id: "of-a", name: "helpful" }, {
          ...feedback,
          rating: 1
        }, []],
        (body) => post(`${url}/v1/feedback`, body)
      )
      assert.deepStrictEqual(wrong.map(({ json, status }) => [status, json.error.param]), [
        [400, "value"],
        [400, "name"],
        [400, "value"],
        [400, "rating"],
        [400, null]
      ])
      yield* rows(2)
      const usage = yield* get("/usage?by=model,label.team&since=1h")
      assert.deepStrictEqual(
        usage.json.rows.map(({ calls, group }: { calls: number; group: object }) => [group, calls]),
        [
          [{ model: "a", "label.team": "" }, 1],
          [{ model: "b", "label.team": "" }, 1]
        ]
      )
      assert.strictEqual(usage.json.total.calls, 2)
      const calls = yield* get("/calls?request=of-b&limit=1")
      assert.deepStrictEqual(
        calls.json.calls.map(({ arm, cost }: { arm: string; cost: string }) => [arm, typeof cost]),
        [["candidate", "string"]]
      )
      const { records } = yield* harness.Running
      yield* Effect.orDie(records?.ledger.flush ?? Effect.void)
      const compared = yield* get("/compare?a=control&b=candidate")
      assert.deepStrictEqual(compared.json.calls, { a: 1, b: 1 })
      const helpful = compared.json.measures.find(({ name }: { name: string }) => name === "feedback helpful")
      assert.deepStrictEqual([helpful.a.n, helpful.a.value, helpful.b.n], [1, 1, 0])
      const refused = yield* get("/usage?by=colour")
      assert.strictEqual(refused.status, 400)
      assert.include(refused.json.error.message, "by: Expected a list of client, model")
      const never = yield* get("/usage?since=yesterday")
      assert.include(never.json.error.message, "since: Expected a time such as 7d")
      const misspelt = yield* get("/usage?sinc=1d")
      assert.deepStrictEqual([misspelt.status, misspelt.json.error.code], [400, "invalid_request"])
      assert.include(misspelt.json.error.message, "sinc: ")
      for (const path of ["/usage?", "/calls?", "/compare?a=control&b=candidate&"]) {
        const turned = yield* get(`${path}since=1d&until=2d`)
        assert.strictEqual(turned.status, 400)
        assert.include(turned.json.error.message, "until: Expected a time after since")
      }
    }).pipe(gateway({
      settings: {
        admin: { keys: { root: ["admin-key"] } },
        models: {
          a: { targets: [{ provider: "simulator", model: "deepseek-flash", arm: "control" }] },
          b: { targets: [{ provider: "simulator", model: "deepseek-flash", arm: "candidate" }] }
        }
      }
    })))
})
