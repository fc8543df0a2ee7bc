import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { hello, layer as gateway, post, Running, send } from "./harness.ts"

const chat = "/v1/chat/completions"
const key = { keys: ["sk-test"] }
const simulator = { type: "simulator", accounts: { main: key } }

const routed = {
  providers: { near: simulator, far: { type: "openai", baseUrl: "http://far.invalid/v1", accounts: { main: key } } },
  models: {
    "deepseek-flash": {
      targets: [
        { provider: "near", when: "!(\"team\" in client.labels) || client.labels.team != \"search\"" },
        { provider: "far", model: "deepseek-v4-pro", arm: "search trial", when: "client.labels.team == \"search\"" }
      ]
    },
    bäßer: { targets: [{ provider: "near", model: "deepseek-flash", arm: "größer" }] }
  },
  clients: { alice: { keys: ["key-of-alice"] }, bob: { keys: ["key-of-bob"], labels: { team: "search" } } }
}

const as = (name: string) => ({ authorization: `Bearer key-of-${name}` })

const placeOf = (headers: Headers) =>
  ["upstream", "provider", "model", "arm", "attempts"].map((name) => headers.get(`x-ballast-${name}`))

describe("routing", () => {
  layer(gateway({ settings: routed }), { excludeTestServices: true })("by the settings", (it) => {
    it.effect("says in headers, log and metrics where a call went", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const near = yield* post(url + chat, hello, as("alice"))
        assert.deepStrictEqual(placeOf(near.headers), ["simulator", "near", "deepseek-flash", null, "1"])
        const far = yield* post(url + chat, { ...hello, stream: true }, as("bob"))
        assert.strictEqual(far.status, 200)
        assert.deepStrictEqual(placeOf(far.headers), ["far", "far", "deepseek-v4-pro", "search%20trial", "1"])
        const line = log.find(({ arm }) => arm === "search trial")
        assert.deepInclude(line, {
          client: "bob",
          model: "deepseek-flash",
          provider: "far",
          account: "main",
          provider_model: "deepseek-v4-pro"
        })
        const metrics = yield* send(`${url}/metrics`, { headers: as("alice") })
        assert.match(
          metrics.text,
          /ballast_routed_requests_total\{(?=[^}]*provider="far")(?=[^}]*account="main")(?=[^}]*arm="search trial")(?=[^}]*status="200")/
        )
      }))

    it.effect("takes names of any language", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, { ...hello, model: "bäßer" }, as("alice"))
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(decodeURIComponent(answer.headers.get("x-ballast-arm")!), "größer")
      }))

    it.effect("lists the models of the settings, and refuses others with what there is", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const list = yield* send(`${url}/v1/models`, { headers: as("alice") })
        assert.deepStrictEqual(list.json, {
          object: "list",
          data: [
            { id: "deepseek-flash", object: "model", owned_by: "near" },
            { id: "bäßer", object: "model", owned_by: "near" }
          ]
        })
        const unknown = yield* post(url + chat, { ...hello, model: "gpt-4" }, as("alice"))
        assert.strictEqual(unknown.status, 404)
        assert.deepInclude(unknown.json.error, {
          code: "model_not_found",
          message: "There is no model \"gpt-4\" here. There are deepseek-flash, bäßer."
        })
      }))

    it.effect("asks the first provider that has a balance", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const balance = yield* send(`${url}/user/balance`, { headers: as("alice") })
        assert.isTrue(balance.json.is_available)
      }))
  })

  layer(
    gateway({
      settings: {
        providers: {
          far: { type: "openai", baseUrl: "http://far.invalid/v1", accounts: { main: key } },
          near: simulator
        },
        models: {
          flash: { targets: [{ provider: "near", model: "deepseek-flash" }] },
          "*": { targets: [{ provider: "near" }] }
        }
      }
    }),
    { excludeTestServices: true }
  )("with *", (it) => {
    it.effect("lists the provider's models behind its own", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const { json } = yield* send(`${url}/v1/models`)
        const ids: ReadonlyArray<string> = json.data.map(({ id }: { readonly id: string }) => id)
        assert.strictEqual(ids[0], "flash")
        assert.include(ids, "deepseek-v4-pro")
        assert.strictEqual((yield* post(url + chat, { ...hello, model: "deepseek-v4-pro" })).status, 200)
        // The first provider has none, the second has.
        assert.strictEqual((yield* send(`${url}/user/balance`)).status, 200)
      }))
  })

  layer(
    gateway({
      settings: {
        admin: { keys: { root: ["admin-key"] } },
        providers: { far: { type: "openai", baseUrl: "http://far.invalid/v1", accounts: { main: key } } },
        models: {
          "deepseek-flash": {
            targets: [
              { provider: "far", weight: 95, arm: "usual" },
              { provider: "far", weight: 5, arm: "trial" }
            ]
          },
          cached: { targets: [{ provider: "far", model: "deepseek-flash" }], cache: { timeToLive: "1m" } },
          vectors: { targets: [{ provider: "far" }] },
          near: {
            targets: [{ provider: "far", model: "deepseek-flash" }],
            cache: { semantic: { model: "vectors", threshold: 0.7 } }
          }
        }
      }
    }),
    { excludeTestServices: true }
  )("by weight", (it) => {
    it.effect("divides calls 95 to 5, within chance", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const calls = 400
        const arms = yield* Effect.replicateEffect(
          Effect.map(post(url + chat, hello), ({ headers }) => headers.get("x-ballast-arm")),
          calls,
          { concurrency: 20 }
        )
        const trials = arms.filter((arm) => arm === "trial").length
        assert.strictEqual(arms.filter((arm) => arm === "usual").length, calls - trials)
        // Five standard deviations around 20: once in a million runs it is beyond.
        assert.isTrue(Math.abs(trials - calls * 0.05) < 5 * Math.sqrt(calls * 0.05 * 0.95), `${trials} trials`)
      }))

    it.effect("gives an answer again, whole or streamed, and says so", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const ask = (more: object, headers: Record<string, string> = {}) =>
          post(url + chat, { ...hello, model: "cached", ...more }, headers)
        for (const more of [{}, { stream: true }]) {
          const first = yield* ask(more)
          const second = yield* ask(more)
          assert.strictEqual(second.text, first.text)
          assert.deepStrictEqual(
            [first, second].map(({ headers }) => headers.get("x-ballast-cache")),
            ["miss", "hit"]
          )
          assert.deepStrictEqual(
            [
              second.headers.get("age"),
              second.headers.get("x-ballast-attempts"),
              second.headers.get("x-ballast-provider")
            ],
            ["0", "0", null]
          )
          const past = yield* ask(more, { "cache-control": "no-store" })
          assert.strictEqual(past.headers.get("x-ballast-cache"), "bypass")
        }
        const uncached = yield* post(url + chat, hello)
        assert.isNull(uncached.headers.get("x-ballast-cache"))
      }))

    it.effect("gives the answer of a question that means the same, and says how near it is", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const ask = (content: string, headers: Record<string, string> = {}, more: object = {}) =>
          post(url + chat, { model: "near", messages: [{ role: "user", content }], ...more }, headers)
        for (const more of [{}, { stream: true }]) {
          const first = yield* ask("What is the capital of France?", {}, more)
          assert.strictEqual(first.headers.get("x-ballast-cache"), "miss")
          const second = yield* ask("what is the capital of france, please?", {}, more)
          assert.strictEqual(second.text, first.text)
          const cached = ["", "-similarity", "-question"].map((name) => second.headers.get(`x-ballast-cache${name}`))
          assert.match(cached.join(" "), /^hit 0\.[789]\d [\w-]{43}$/)
          assert.deepStrictEqual(placeOf(second.headers).slice(1), [null, null, null, "0"])
          const line = log.findLast(({ cache }) => cache === "hit")
          assert.strictEqual(line?.["cache_question"], cached[2])
          assert.notInclude(JSON.stringify(log), "capital")
          const other = yield* ask("what is the capital of spain, please?", {}, more)
          assert.strictEqual(other.headers.get("x-ballast-cache"), "miss")
          assert.strictEqual(other.headers.get("x-ballast-attempts"), "1")
        }
        const admin = (path: string, body: object) =>
          post(`${url}/admin/v1/cache/${path}`, body, { authorization: "Bearer admin-key" })
        const explained = yield* admin("explain", { model: "near", question: "The capital of France?", limit: 1 })
        assert.strictEqual(explained.json.compared, 4)
        assert.deepInclude(explained.json.nearest[0], { question: "What is the capital of France?", differences: [] })
        const pairs = [{ a: "Export 10 rows", b: "Export 20 rows", same: false }]
        const evaluated = yield* admin("evaluate", { model: "near", pairs })
        assert.deepInclude(evaluated.json, { same: 0, different: 1, threshold: 0.7, wrong: [] })
        const unknown = yield* admin("explain", { model: "cached", question: "?" })
        assert.deepStrictEqual(
          [unknown.status, unknown.json.error.message],
          [404, "There is no model with a semantic cache cached, only near."]
        )
      }))

    it.effect("has no balance where no provider has one", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const { json, status } = yield* send(`${url}/user/balance`)
        assert.deepStrictEqual([status, json.error.message], [404, "No provider of this gateway tells its balance."])
      }))
  })
})
