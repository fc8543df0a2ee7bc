import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { hello, layer as gateway, post, Running, send } from "./harness.ts"

const chat = "/v1/chat/completions"

const steered = {
  providers: {
    near: { type: "simulator", accounts: { main: { keys: ["sk-near-main"] }, second: { keys: ["sk-near-second"] } } },
    far: { type: "simulator", accounts: { main: { keys: ["sk-far"] } } }
  },
  models: {
    "deepseek-flash": { targets: [{ provider: "near" }, { provider: "far", weight: 0 }] },
    "deepseek-v4-pro": { targets: [{ provider: "far" }], failover: [{ provider: "near" }] }
  },
  admin: { keys: { alice: ["admin-of-alice"], bob: ["admin-of-bob"] } },
  policies: { retry: { times: 0 }, circuitBreaker: { enabled: true } }
}

const as = (name: string) => ({ authorization: `Bearer admin-of-${name}` })

const get = (url: string, path: string, name = "alice") => send(`${url}/admin/v1/${path}`, { headers: as(name) })

const order = (url: string, body: object, name = "alice") => post(`${url}/admin/v1/acts`, body, as(name))

const undo = (url: string, id: string, name = "alice") =>
  send(`${url}/admin/v1/acts/${id}`, { method: "DELETE", headers: as(name) })

describe("admin API", () => {
  layer(gateway(), { excludeTestServices: true })("without admin keys", (it) => {
    it.effect("is not there", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        for (const path of ["/admin", "/admin/v1/status", "/admin/openapi.json"]) {
          const { json, status } = yield* send(url + path, { headers: as("alice") })
          assert.deepStrictEqual([status, json.error.code], [404, "unknown_url"])
        }
      }))
  })

  layer(gateway({ settings: steered }), { excludeTestServices: true })(
    "with admin keys",
    (it) => {
      it.effect("lets no one in without one of them, and says so", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const none = yield* send(`${url}/admin/v1/status`)
          assert.deepStrictEqual([none.status, none.json], [401, {
            error: { code: "invalid_admin_key", message: "An admin key is needed: Authorization: Bearer <key>." }
          }])
          const wrong = yield* get(url, "routes", "mallory")
          assert.deepStrictEqual([wrong.status, wrong.json], [401, {
            error: { code: "invalid_admin_key", message: "This key is not one of the gateway's admin keys." }
          }])
          assert.strictEqual((yield* get(url, "nothing")).status, 404)
        }))

      it.effect("documents itself, without a key and without loading anything from elsewhere", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const document = yield* send(`${url}/admin/openapi.json`)
          assert.deepStrictEqual(Object.keys(document.json.paths), [
            "/admin/v1/status",
            "/admin/v1/routes",
            "/admin/v1/accounts",
            "/admin/v1/acts",
            "/admin/v1/cache/explain",
            "/admin/v1/cache/evaluate",
            "/admin/v1/acts/{id}",
            "/admin/v1/clients",
            "/admin/v1/clients/{name}/rotate",
            "/admin/v1/clients/{name}",
            "/admin/v1/clients/{name}/records",
            "/admin/v1/usage",
            "/admin/v1/calls",
            "/admin/v1/compare",
            "/admin/v1/inference/models",
            "/admin/v1/inference/models/{name}",
            "/admin/v1/inference/models/{name}/versions/{version}",
            "/admin/v1/inference/models/{name}/traffic"
          ])
          assert.deepStrictEqual(document.json.components.securitySchemes, {
            bearer: { type: "http", scheme: "bearer" }
          })
          const page = yield* send(`${url}/admin`)
          assert.strictEqual(page.status, 200)
          assert.match(page.headers.get("content-type") ?? "", /text\/html/)
          assert.notMatch(page.text, /<script[^>]+src="https?:/)
          assert.match(
            page.headers.get("content-security-policy") ?? "",
            /^default-src 'none';.* connect-src 'self';.* frame-ancestors 'none'$/
          )
        }))

      it.effect("tells the settings' revision and sources", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const { json } = yield* get(url, "status")
          assert.deepInclude(json.settings, { revision: 1, refusal: null })
          assert.deepStrictEqual(
            json.settings.sources.map(({ name, state }: { name: string; state: string }) => [
              name,
              state
            ]),
            [["settings", "read"]]
          )
        }))

      it.effect("tells routes and accounts with their state, and no key", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          yield* post(url + chat, hello)
          const routes = yield* get(url, "routes")
          const [flash, pro] = routes.json
          assert.deepInclude(flash, { model: "deepseek-flash", degraded: null, failover: [], mirror: null })
          assert.deepInclude(flash.targets[0], { name: "near", provider: "near", weight: 1, inFlight: 0 })
          assert.deepStrictEqual(flash.targets[0].circuits, [
            { name: "near/main/deepseek-flash", state: "closed" },
            { name: "near/second/deepseek-flash", state: "closed" }
          ])
          assert.deepInclude(flash.targets[1].limits[0], { name: "far/main/deepseek-flash", running: 0, queued: 0 })
          assert.deepStrictEqual(pro.failover, ["near"])
          const accounts = yield* get(url, "accounts")
          assert.deepStrictEqual(
            accounts.json.map((one: { provider: string; account: string }) => `${one.provider}/${one.account}`),
            ["near/main", "near/second", "far/main"]
          )
          assert.deepStrictEqual(accounts.json[0].keys, [{ position: 1, retired: null }])
          assert.strictEqual(accounts.json[0].balance[0].currency, "CNY")
          for (const { text } of [routes, accounts, yield* get(url, "acts"), yield* get(url, "status")]) {
            assert.notMatch(text, /sk-near|sk-far|admin-of/)
          }
        }))

      it.effect("drains a target until that is undone, and logs who did it", () =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          yield* order(url, { do: "weight", model: "deepseek-flash", target: "far", weight: 1 })
          const act = yield* order(url, { do: "drain", model: "deepseek-flash", target: "near" })
          assert.deepInclude(act.json, {
            order: { do: "drain", model: "deepseek-flash", target: "near" },
            by: "alice",
            until: "undone",
            ended: null
          })
          assert.strictEqual((yield* post(url + chat, hello)).headers.get("x-ballast-provider"), "far")
          assert.deepInclude(log.find((line) => line["act"] === act.json.id && line["message"] === "admin act"), {
            by: "alice",
            do: "drain",
            model: "deepseek-flash",
            target: "near",
            // Whatever is logged within a request has its id.
            request_id: act.headers.get("x-request-id")
          })
          const undone = yield* undo(url, act.json.id, "bob")
          assert.deepInclude(undone.json.ended, { because: "undone", by: "bob" })
          yield* order(url, { do: "weight", model: "deepseek-flash", target: "far", weight: 0 })
          assert.strictEqual((yield* post(url + chat, hello)).headers.get("x-ballast-provider"), "near")
          const acts = (yield* get(url, "acts")).json
          assert.deepStrictEqual(
            acts.map(({ ended, order }: { ended: { because: string } | null; order: object }) => [
              Object.values(order)[0],
              ended?.because ?? "in force"
            ]).slice(0, 3),
            [["weight", "replaced"], ["drain", "undone"], ["weight", "in force"]]
          )
          const again = yield* undo(url, act.json.id)
          assert.strictEqual(again.status, 404)
          assert.match(again.json.error.message, /^There is no act \d+ in force\. There (is|are) \d/)
        }))

      it.effect("isolates a circuit, whose calls go elsewhere, and closes it", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const stateOf = () =>
            Effect.map(
              send(`${url}/readyz`),
              ({ json }) => json.circuits["far/main/deepseek-v4-pro"]
            )
          const pro = { ...hello, model: "deepseek-v4-pro" }
          yield* order(url, { do: "isolate", circuit: "far/main/deepseek-v4-pro" })
          assert.strictEqual(yield* stateOf(), "isolated")
          assert.strictEqual((yield* post(url + chat, pro)).headers.get("x-ballast-provider"), "near")
          yield* order(url, { do: "close", circuit: "far/main/deepseek-v4-pro" })
          assert.strictEqual(yield* stateOf(), "closed")
          assert.strictEqual((yield* post(url + chat, pro)).headers.get("x-ballast-provider"), "far")
        }))

      it.effect("degrades a model to a text or another model", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const pro = { ...hello, model: "deepseek-v4-pro" }
          const text = yield* order(url, { do: "degrade", model: "deepseek-v4-pro", to: { text: "Back at noon." } })
          const whole = yield* post(url + chat, pro)
          assert.strictEqual(whole.json.choices[0].message.content, "Back at noon.")
          assert.strictEqual(whole.headers.get("x-ballast-arm"), "degraded")
          assert.strictEqual(whole.headers.get("x-ballast-cost"), "0 CNY")
          const stream = yield* post(url + chat, { ...pro, stream: true })
          assert.match(stream.text, /"content":"Back at noon\."[^]*"finish_reason":"stop"[^]*data: \[DONE\]/)
          yield* order(url, { do: "degrade", model: "deepseek-v4-pro", to: { model: "deepseek-flash" } })
          assert.strictEqual((yield* post(url + chat, pro)).headers.get("x-ballast-model"), "deepseek-flash")
          assert.deepStrictEqual((yield* get(url, "routes")).json[1].degraded, { model: "deepseek-flash" })
          assert.strictEqual((yield* undo(url, text.json.id)).status, 404)
        }))

      it.effect("says what is wrong with an order, and what there is", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const answers: ReadonlyArray<readonly [object | string, number, string | RegExp]> = [
            [
              { do: "drain", model: "gpt", target: "near" },
              404,
              "There is no model gpt, only deepseek-flash, deepseek-v4-pro."
            ],
            [
              { do: "drain", model: "deepseek-flash", target: "nowhere" },
              404,
              "There is no target nowhere of deepseek-flash, only near, far."
            ],
            [{ do: "recover", provider: "ark" }, 404, "There is no provider ark, only near, far."],
            [{ do: "isolate", circuit: "x" }, 404, /^There is no circuit x\. There are near\/main\/deepseek-flash, /],
            [{ do: "weight", model: "deepseek-flash", target: "near", weight: -1 }, 400, /weight/],
            [
              { do: "drain", model: "deepseek-flash", target: "near", for: "soon" },
              400,
              /for: .*a duration such as 30s/
            ],
            [{ do: "dance" }, 400, /do/],
            ["{", 400, /./]
          ]
          for (const [body, status, message] of answers) {
            const answer = yield* post(`${url}/admin/v1/acts`, body, as("alice"))
            assert.strictEqual(answer.status, status, answer.text)
            if (typeof message === "string") assert.strictEqual(answer.json.error.message, message)
            else assert.match(answer.json.error.message, message)
          }
        }))
    }
  )
})
