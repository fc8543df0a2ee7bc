import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as harness from "./harness.ts"

const { hello, post, send } = harness

const admin = { authorization: "Bearer admin-key" }
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

const gateway = (settings: object = {}) =>
  Effect.provide(
    harness.layer({ database: ":memory:", settings: { admin: { keys: { root: ["admin-key"] } }, ...settings } })
  )

describe("clients of a gateway", () => {
  it.live("are made, rotated and revoked by the admin API", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      const clients = `${url}/admin/v1/clients`
      const chat = (key: string, body: object = hello) => post(`${url}/v1/chat/completions`, body, bearer(key))
      // Without clients everyone on this machine may call.
      assert.strictEqual((yield* post(`${url}/v1/chat/completions`, hello)).status, 200)

      const made = yield* post(clients, { name: "alice", models: ["deepseek-*"], labels: { team: "search" } }, admin)
      assert.strictEqual(made.status, 200)
      const { key } = made.json
      assert.strictEqual((yield* post(`${url}/v1/chat/completions`, hello)).status, 401)
      assert.strictEqual((yield* chat(key)).status, 200)

      const refused = yield* chat(key, { ...hello, model: "other" })
      assert.deepStrictEqual([refused.status, refused.json.error.code], [403, "model_not_allowed"])
      assert.strictEqual(
        refused.json.error.message,
        "The client alice may not use the model \"other\". It may use deepseek-*."
      )

      const twice = yield* post(clients, { name: "alice" }, admin)
      assert.deepStrictEqual([twice.status, twice.json.error.code], [409, "conflict"])
      const wrong = yield* post(clients, { name: "bob", addresses: ["10.0.0.0/64"], expires: "soon" }, admin)
      assert.strictEqual(wrong.status, 400)
      assert.include(wrong.json.error.message, "addresses.0: Expected an address or a network")

      const rotated = yield* post(`${clients}/alice/rotate`, {}, admin)
      assert.strictEqual((yield* chat(key)).status, 200)
      assert.strictEqual((yield* chat(rotated.json.key)).status, 200)

      const listed = yield* send(clients, { headers: admin })
      assert.deepStrictEqual(
        listed.json.map((
          { name, origin, keys }: { name: string; origin: string; keys: Array<unknown> }
        ) => [name, origin, keys.length]),
        [["alice", "database", 2]]
      )
      assert.notInclude(listed.text, key)

      assert.strictEqual((yield* send(`${clients}/alice`, { method: "DELETE", headers: admin })).status, 200)
      for (const gone of [key, rotated.json.key]) {
        const answer = yield* chat(gone)
        assert.deepStrictEqual([answer.status, answer.json.error.code], [401, "invalid_api_key"])
      }
      const forgotten = yield* send(`${clients}/alice/records`, { method: "DELETE", headers: admin })
      assert.deepStrictEqual(forgotten.json, {
        client: "alice",
        calls: 4,
        sums: 6,
        feedback: 0,
        answers: { exact: 1, semantic: 0, store: null },
        spent: 1
      })
      const acts = yield* send(`${url}/admin/v1/acts`, { headers: admin })
      assert.deepInclude(acts.json[0], { order: { do: "purge", client: "alice" }, by: "root" })
    }).pipe(gateway({
      providers: { near: { type: "simulator", accounts: { main: { keys: ["sk-near"] } } } },
      models: {
        "deepseek-flash": { targets: [{ provider: "near" }], cache: { timeToLive: "1h" } },
        "*": { targets: [{ provider: "near" }] }
      }
    })))

  it.live("keep to the limits that they are made with", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      const clients = `${url}/admin/v1/clients`
      const limits = { requestsPerMinute: 2, budget: { month: 5 } }
      for (
        const misspelt of [{ modles: ["m"] }, { limits: { requestPerMinute: 2 } }, { limits: { budget: { years: 1 } } }]
      ) {
        const { json, status } = yield* post(clients, { name: "alice", ...misspelt }, admin)
        assert.deepStrictEqual([status, json.error.code], [400, "invalid_request"], json.error.message)
      }
      const made = yield* post(clients, { name: "alice", limits }, admin)
      assert.deepStrictEqual(made.json.client.limits, limits)
      const free = yield* post(clients, { name: "bob" }, admin)
      assert.isNull(free.json.client.limits)
      const statuses = (key: string) =>
        Effect.forEach([1, 2, 3], () =>
          Effect.map(post(`${url}/v1/chat/completions`, hello, bearer(key)), ({ status }) => status))
      assert.deepStrictEqual(yield* statuses(made.json.key), [200, 200, 429])
      assert.deepStrictEqual(yield* statuses(free.json.key), [200, 429, 429])
      const wrong = yield* post(clients, { name: "carol", limits: { concurrency: 0 } }, admin)
      assert.strictEqual(wrong.status, 400)
      assert.include(wrong.json.error.message, "limits.concurrency")
      for (const expires of ["2020-01-01", "2031-02-30"]) {
        const { json, status } = yield* post(clients, { name: "carol", expires }, admin)
        assert.strictEqual(status, 400)
        assert.match(json.error.message, /^expires: Expected a (time to come|day or a moment)/)
      }
    }).pipe(gateway({ clientLimits: { requestsPerMinute: 1 } })))

  it.live("have addresses, an end and models in the settings", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      const chat = (key: string, headers: Record<string, string> = {}) =>
        Effect.map(
          post(`${url}/v1/chat/completions`, hello, { ...bearer(key), ...headers }),
          ({ json, status }) => status === 200 ? "passes" : json.error.code
        )
      assert.strictEqual(yield* chat("key-of-old"), "expired_api_key")
      assert.strictEqual(yield* chat("key-of-office"), "address_not_allowed")
      // The test is on loopback, which is a trusted proxy here.
      assert.strictEqual(yield* chat("key-of-office", { "x-forwarded-for": "2001:db8::7" }), "passes")
      assert.strictEqual(
        yield* chat("key-of-office", { "x-forwarded-for": "2001:db8::7, 203.0.113.9" }),
        "address_not_allowed"
      )
      assert.strictEqual(yield* chat("key-of-pro"), "model_not_allowed")
      const models = yield* send(`${url}/v1/models`, { headers: bearer("key-of-pro") })
      assert.deepStrictEqual(models.json.data.map(({ id }: { id: string }) => id), ["deepseek-v4-pro"])
      const one = yield* send(`${url}/v1/models/deepseek-flash`, { headers: bearer("key-of-pro") })
      assert.strictEqual(one.status, 404)
      const taken = yield* post(`${url}/admin/v1/clients`, { name: "pro" }, admin)
      assert.strictEqual(taken.json.error.message, "The client pro stands in the settings. Choose another name.")
    }).pipe(gateway({
      listen: { port: 0, trustedProxies: ["127.0.0.0/8"] },
      clients: {
        old: { keys: ["key-of-old"], expires: "2020-01-01" },
        office: { keys: ["key-of-office"], addresses: ["2001:db8::/32"], expires: "2999-01-01T00:00:00Z" },
        pro: { keys: ["key-of-pro"], models: ["deepseek-v4-pro"] }
      }
    })))

  it.live("are needed where the settings say so", () =>
    Effect.gen(function*() {
      const { url } = yield* harness.Running
      assert.strictEqual((yield* post(`${url}/v1/chat/completions`, hello)).status, 401)
    }).pipe(gateway({ listen: { port: 0, keysRequired: true } })))
})
