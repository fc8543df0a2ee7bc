import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { hello, post } from "./harness.ts"
import { run, serve, start } from "./program.ts"

const key = "admin-of-alice"

/** Calls until the other program has ended. Half of the calls are refused for what the caller asks. */
const underCalls = <A, E, R>(url: string, program: Effect.Effect<A, E, R>, fault: Record<string, string> = {}) => {
  const call = (fault: Record<string, string>) => post(`${url}/v1/chat/completions`, { ...hello, stream: true }, fault)
  return Effect.raceFirst(
    program,
    Effect.forever(Effect.all([call(fault), call({ "x-simulate": "status=400" }), post(`${url}/nowhere`, hello)]))
  )
}

describe("ballast top", () => {
  it.live(
    "shows what a gateway is doing: once, or until it is stopped, whatever becomes of the gateway",
    () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve({ BALLAST_ADMIN_KEYS: key, BALLAST_CLIENT_KEYS: "" })
        const env = { BALLAST_ADMIN_URL: url, BALLAST_ADMIN_KEY: key }
        yield* post(`${url}/v1/chat/completions`, hello)

        const once = yield* underCalls(url, run(["top", "--once", "--interval", "1"], env))
        assert.strictEqual(once.code, 0, once.stderr)
        const [head, requests, calls, circuits, accounts] = once.stdout.split("\n\n")
        assert.match(head!, /^ballast \S+ at http:\/\/127\.0\.0\.1:\d+, \d\d:\d\d:\d\d UTC, running: \d+$/)
        assert.match(
          requests!,
          /^REQUESTS\/S  FAILED  P50 \/ P99 +TOKENS\/S IN .*\n[\d.]+ +0 +[\d.]+ m?s \/ [\d.]+ m?s /
        )
        assert.match(calls!, /\nsimulator\/default +deepseek-flash +[\d.]+ +0\.0 % .* m?s \/ .* m?s +[\d.]+$/)
        assert.match(circuits!, /^All \d+ circuits are closed\.$/)
        assert.match(accounts!, /\nsimulator +default .* CNY .* usable\n$/)
        assert.notInclude(once.stdout, "\x1b")
        assert.notInclude(once.stdout, key)

        const failing = yield* underCalls(url, run(["top", "--once", "--interval", "1"], env), {
          "x-simulate": "status=402"
        })
        assert.match(failing.stdout, /\n[\d.]+ +100\.0 % \(ballast [\d.]+\) /)

        const unread = yield* start(["top", "--interval", "0.2"], env)
        yield* unread.printed(/REQUESTS/)
        unread.child.stdout!.destroy()
        assert.deepInclude(yield* unread.ended, { code: 0, stderr: "" })

        const live = yield* start(["top", "--interval", "0.2"], env)
        yield* live.printed(/REQUESTS\/S[^]*REQUESTS\/S/)
        yield* program.signal("SIGKILL")
        yield* live.printed(/No gateway can be reached at [^]*Trying again\./)
        yield* live.signal("SIGINT")
        assert.strictEqual((yield* live.ended).stderr, "")

        const gone = yield* run(["top", "--once"], env)
        assert.deepStrictEqual([gone.code, gone.stdout], [1, ""])
        assert.match(gone.stderr, /^ballast: No gateway can be reached at \S+ Say where it is with --url/)
        const keyless = yield* run(["top", "--once"], { BALLAST_ADMIN_URL: url })
        assert.strictEqual(
          keyless.stderr,
          "ballast: BALLAST_ADMIN_KEY is not set. It is one of the gateway's admin keys.\n"
        )
      }).pipe(Effect.scoped),
    { timeout: 120_000 }
  )
})
