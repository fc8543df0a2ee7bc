import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { hello, post } from "./harness.ts"
import { run, serve } from "./program.ts"

describe("ballast keys, usage, calls and compare", () => {
  it.live("make a client, and tell what it used", () =>
    Effect.gen(function*() {
      const { url } = yield* serve({ BALLAST_ADMIN_KEYS: "root:admin-key" })
      const env = { BALLAST_ADMIN_URL: url, BALLAST_ADMIN_KEY: "admin-key" }
      const ballast = (...args: ReadonlyArray<string>) => run(args, env)

      const made = yield* ballast(
        "keys",
        "create",
        "alice",
        "--label",
        "team=search",
        "--model",
        "deepseek-*",
        "--owner",
        "Alice",
        "--requests-per-minute",
        "600",
        "--budget-day",
        "2.5"
      )
      assert.match(made.stdout, /^sk-ballast-[\w-]{43}\n$/)
      assert.strictEqual(made.stderr, "The key of alice. Nothing shows it again.\n")
      const listed = yield* ballast("keys", "list")
      assert.match(
        listed.stdout,
        /^CLIENT +OWNER +LABELS +MODELS +FROM +LIMITS +STATE\nalice +Alice +team=search +deepseek-\* +anywhere +600 requests\/min, 2\.5 CNY a day +1 key\n$/
      )
      const none = yield* ballast("keys", "create", "bob", "--concurrency", "none")
      assert.include(none.stderr, "a whole number from 1 to 1000000000, for example --concurrency 60")
      const wrong = yield* ballast("keys", "create", "bob", "--label", "search")
      assert.strictEqual(wrong.stderr, "ballast: --label is \"search\". Expected name=value, such as team=search.\n")

      const authorization = `Bearer ${made.stdout.trim()}`
      for (let n = 0; n < 3; n++) {
        yield* post(`${url}/v1/chat/completions`, hello, { authorization, "x-request-id": `call-${n}` })
      }
      const counted = (): ReturnType<typeof ballast> =>
        Effect.flatMap(ballast("usage", "--by", "client,label.team"), (shown) =>
          /^alice +search +3 /m.test(shown.stdout) ? Effect.succeed(shown) : counted())
      const usage = yield* counted()
      assert.match(usage.stdout, /^total +3 /m)
      assert.include(usage.stdout, "█".repeat(24))
      const csv = yield* ballast("usage", "--by", "model", "--csv")
      assert.match(csv.stdout, /^model,calls,errors,.*,cost_total,saved\ndeepseek-flash,3,0,/)
      const calls = yield* ballast("calls", "--client", "alice")
      assert.strictEqual(calls.stdout.trim().split("\n").length, 4)
      const rows = yield* ballast("calls", "--request", "call-1", "--json")
      assert.include(JSON.parse(rows.stdout), { client: "alice", request_id: "call-1", status: 200 })
      const compared = yield* ballast("compare", "control", "candidate")
      assert.include(compared.stdout, "too few to say: 0 of at least 30")
      assert.include(compared.stdout, "There are no calls of candidate. Names that have some: ballast usage --by arm.")
      const nobody = yield* ballast("usage", "--client", "alcie")
      assert.include(nobody.stdout, "There are no calls. Names that have some: ballast usage --by client,model")
      const nothing = yield* ballast("keys", "forget", "alcie")
      assert.include(nothing.stdout, "There was nothing of alcie.")
      const late = yield* ballast("usage", "--since", "2031-01-01")
      assert.match(late.stderr, /since: Expected a time before until, which is now/)

      const more = yield* ballast("keys", "limits", "alice", "--budget-month", "30")
      assert.strictEqual(more.stdout, "The limits of alice: 600 requests/min, 2.5 CNY a day, 30 CNY a month.\n")
      const only = yield* ballast("keys", "limits", "alice", "--only", "--concurrency", "3")
      assert.strictEqual(only.stdout, "The limits of alice: 3 at once.\n")
      const ended = yield* ballast("keys", "limits", "alice", "--only")
      assert.strictEqual(ended.stdout, "alice has the limits of all others.\n")
      const soon = yield* ballast("keys", "rotate", "alice", "--overlap", "1")
      assert.strictEqual(soon.stderr, "ballast: --overlap: Expected a duration such as 30s or 5m, at most 90d\n")
      const network = yield* ballast("keys", "create", "bob", "--address=10.0.0.0/99")
      assert.match(network.stderr, /^ballast: --address: Expected an address or a network/)
      const uncached = yield* ballast("cache", "explain", "Why?", "--model", "pro")
      assert.strictEqual(
        uncached.stderr,
        "ballast: There is no model with a semantic cache pro, nor any other.\n"
      )
      const rotated = yield* ballast("keys", "rotate", "alice", "--overlap", "1h")
      assert.match(rotated.stderr, /The keys before it work until \d{4}-/)
      assert.strictEqual(
        (yield* ballast("keys", "revoke", "alice")).stdout,
        "alice is revoked. Its keys no longer work.\n"
      )
      assert.match(
        (yield* ballast("keys", "forget", "alice")).stdout,
        /^Deleted of alice: 3 calls, [24] sums by hour and day, \d feedback; 0 answers in memory\.\nKept until the month is over, for its budgets: .*\nNot deleted: /
      )
      const unknown = yield* ballast("keys", "revoke", "alice")
      assert.strictEqual(unknown.code, 1)
      assert.match(
        unknown.stderr,
        /^ballast: There is no client alice that was made while the gateway ran\. There is none\.\n$/
      )
    }).pipe(Effect.scoped))
})
