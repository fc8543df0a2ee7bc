import { LiteLlm } from "@ballast/gateway"
import { assert, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { run, start } from "./program.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(Path.join(tmpdir(), "ballast-admin-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const settings = `
providers:
  near: { type: simulator, accounts: { main: { keys: [sk-near] } } }
  far: { type: simulator, accounts: { main: { keys: [sk-far] } } }
models:
  deepseek-flash: { targets: [ { provider: near, weight: 3 }, { provider: far } ], failover: [ { provider: far } ] }
admin: { keys: { alice: [admin-of-alice] } }
listen: { port: 0 }
`

describe("ballast admin", () => {
  it.live(
    "shows and steers a gateway in tables and single lines, without a key in any of them",
    () =>
      Effect.gen(function*() {
        const file = Path.join(yield* folder, "ballast.yaml")
        writeFileSync(file, settings)
        const gateway = yield* start(["serve", "--config", file])
        const [, url = ""] = yield* gateway.printed(/listens on (\S+)/)
        const env = { BALLAST_ADMIN_URL: url, BALLAST_ADMIN_KEY: "admin-of-alice" }
        const seen: Array<string> = []
        const admin = (line: string) =>
          Effect.map(run(["admin", ...line.split(" ")], env), ({ code, stderr, stdout }) => {
            seen.push(stdout, stderr)
            // Times are what they are; columns are as wide as they must be.
            const text = stdout.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "TIME").replaceAll(file, "ballast.yaml")
            return code === 0 ? text : stderr
          })

        assert.strictEqual(
          yield* admin("routes"),
          `MODEL           TARGET  WEIGHT  IN FLIGHT  LATENCY  CIRCUIT  LIMIT
deepseek-flash  near         3          0  -        closed   0 of 2500
                far          1          0  -        closed   0 of 2500
deepseek-flash fails over to far.
`
        )
        assert.match(
          yield* admin("accounts"),
          /^PROVIDER  ACCOUNT  WEIGHT  IN FLIGHT  KEYS  BALANCE +LIMIT +CIRCUIT  STATE\nnear +main +1 +0 +1  [\d.]+ CNY +0 of \d+ +closed +usable\nfar /
        )
        assert.match(yield* admin("acts"), /^No acts\.\n$/)
        assert.strictEqual(
          yield* admin("drain deepseek-flash near --for 30m"),
          "1: drain near of deepseek-flash, in force until TIME\n"
        )
        assert.match(yield* admin("routes"), /\ndeepseek-flash  near +0 +0  - +drained  0 of \d+\n/)
        assert.strictEqual(
          yield* admin("degrade deepseek-flash --text Later --until-settings"),
          "2: degrade deepseek-flash to \"Later\", in force until the settings change\n"
        )
        assert.match(yield* admin("routes"), /\ndeepseek-flash is degraded: "Later" answers\.\n/)
        assert.strictEqual(
          yield* admin("acts"),
          `ID  ACT                                 BY     AT (UTC)             STATE
1   drain near of deepseek-flash        alice  TIME  in force until TIME
2   degrade deepseek-flash to "Later"   alice  TIME  in force until the settings change
`.replace("ACT                                 BY", "ACT                                BY")
            .replace("deepseek-flash        alice", "deepseek-flash       alice")
            .replace("\"Later\"   alice", "\"Later\"  alice")
        )
        assert.strictEqual(
          yield* admin("purge --client alice"),
          "3: purge answers to alice, done: 0 answers in memory\n"
        )
        writeFileSync(file, settings.replace("weight: 3", "weight: 4"))
        assert.match(yield* admin("reload"), /^\d: reload the settings, done\n$/)
        assert.match(
          yield* admin("status"),
          /^ballast \S+, settings of revision 2 since TIME UTC, acts in force: 1\n\nSOURCE[^]*ballast\.yaml +read +TIME\n/
        )
        assert.strictEqual(yield* admin("undo 2"), "ballast: There is no act 2 in force. There is 1.\n")
        assert.match(yield* admin("undo 1"), /^1: drain near of deepseek-flash, undone at TIME by alice\n$/)
        assert.match(yield* admin("routes"), /\ndeepseek-flash  near +4 /)

        writeFileSync(file, settings.replace("weight: 3", "weight: many"))
        assert.match(
          yield* admin("reload"),
          /^ballast: \S*ballast\.yaml:6:\d+: models\.deepseek-flash\.targets\[0\]\.weight: found "many"/
        )
        assert.match(yield* admin("status"), /\nRefused at TIME, the settings above stay:\n  ballast\.yaml:6:/)
        assert.match(yield* admin("routes --json"), /^\[\{"model":"deepseek-flash","degraded":null,/)

        assert.strictEqual(
          yield* admin("drain gpt near"),
          "ballast: There is no model gpt, only deepseek-flash.\n"
        )
        assert.strictEqual(
          yield* admin("reset"),
          "ballast: reset takes a circuit or --provider, and one of them only.\n"
        )
        const wrong = yield* run(["admin", "routes"], { ...env, BALLAST_ADMIN_KEY: "admin-of-mallory" })
        assert.deepStrictEqual([wrong.code, wrong.stderr], [
          1,
          "ballast: This key is not one of the gateway's admin keys.\n"
        ])
        const nowhere = yield* run(["admin", "routes", "--url", "http://127.0.0.1:1"], env)
        assert.strictEqual(
          nowhere.stderr,
          "ballast: No gateway can be reached at http://127.0.0.1:1. Say where it is with --url or BALLAST_ADMIN_URL.\n"
        )
        for (const url of ["http://127.0.0.1:1/?token=hidden", "http://me:hidden@127.0.0.1:1"]) {
          assert.strictEqual(
            (yield* run(["admin", "routes", "--url", url], env)).stderr,
            "ballast: --url is not an http or https URL without user, query or fragment, such as http://127.0.0.1:8787.\n"
          )
        }
        assert.notMatch([...seen, gateway.stdout, gateway.stderr].join(""), /sk-near|sk-far|admin-of/)
        assert.match(gateway.stderr, /admin act[^\n]*alice/)
      }),
    120_000
  )
})

const read = (name: string) => readFileSync(fileURLToPath(new URL(`litellm/${name}.yaml`, import.meta.url)), "utf8")

describe("ballast import", () => {
  it("makes settings of a LiteLLM configuration, and says what has no counterpart", async () => {
    const imported = LiteLlm.convert(read("team"))
    if (typeof imported === "string") return assert.fail(imported)
    await expect(imported.yaml).toMatchFileSnapshot("./litellm/team.ballast.yaml")
    assert.deepStrictEqual(imported.notes, [
      "model_list[0] (flash): rpm and tpm are taken as weights only; limits of calls are in policies.rateLimit, for all targets",
      "model_list[1] (flash): no counterpart: model_info.id, model_info.input_cost_per_token",
      "model_list[1] (flash): rpm and tpm are taken as weights only; limits of calls are in policies.rateLimit, for all targets",
      "model_list[2] (flash): its api_key stands in the file as it is; better put it into the environment: ${env:NAME}",
      "model_list[2] (flash): rpm and tpm are taken as weights only; limits of calls are in policies.rateLimit, for all targets",
      "model_list[4] (claude): anthropic is not a service that speaks OpenAI's API; left out",
      "litellm_settings.cache: all clients get each other's answers, as in LiteLLM; take shared out to keep them apart",
      "no counterpart: litellm_settings.cache_params.namespace",
      "router_settings.fallbacks: there is no model gone; left out",
      "no counterpart: litellm_settings.drop_params, router_settings.allowed_fails",
      "general_settings.database_url: tables of its own are made there; LiteLLM's keys and spend are not read",
      "prices: they and the budgets of clients are in USD, as in LiteLLM; without prices.currency, in CNY",
      "no counterpart: environment_variables"
    ])
  })

  it.each([
    ["models: []", "it has no model_list, so it is no configuration of a LiteLLM proxy"],
    ["[1, 2]", "it has no model_list, so it is no configuration of a LiteLLM proxy"],
    ["a: b: c", /^Nested mappings are not allowed/]
  ])("refuses %s", (text, message) => {
    const refused = LiteLlm.convert(text)
    if (typeof message === "string") assert.strictEqual(refused, message)
    else assert.match(String(refused), message)
  })

  it.live("writes what `ballast check` takes", () =>
    Effect.gen(function*() {
      const at = yield* folder
      const given = Path.join(at, "litellm.yaml")
      const made = Path.join(at, "ballast.yaml")
      writeFileSync(given, read("team"))
      const imported = yield* run(["import", given])
      assert.strictEqual(imported.code, 0)
      assert.match(imported.stderr, /litellm\.yaml: model_list\[4\] \(claude\): /)
      writeFileSync(made, imported.stdout)
      const checked = yield* run(["check", "--config", made], {
        DEEPSEEK_API_KEY: "sk-1",
        DEEPSEEK_API_KEY_2: "sk-2",
        OPENROUTER_API_KEY: "sk-3",
        LITELLM_MASTER_KEY: "sk-4",
        DATABASE_URL: "postgres://user@127.0.0.1/litellm",
        REDIS_HOST: "127.0.0.1",
        REDIS_PASSWORD: "secret"
      })
      assert.deepStrictEqual([checked.code, checked.stderr], [0, ""])
      const none = yield* run(["import", Path.join(at, "none.yaml")])
      assert.match(none.stderr, /^ballast: \S+none\.yaml can not be read: there is no such file or folder\.\n$/)
    }), 60_000)
})
