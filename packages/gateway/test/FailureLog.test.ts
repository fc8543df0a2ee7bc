import { FailureLog } from "@ballast/gateway"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect } from "effect"
import { eventually, hello, layer as gateway, post, Running, send } from "./harness.ts"

/** Asks with a fault, and gives the lines about its failure, once there are so many. */
const linesOf = (id: string, fault: string, count: number, headers: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const { log, url } = yield* Running
    const answer = yield* post(`${url}/v1/chat/completions`, hello, {
      "x-request-id": id,
      "x-simulate": fault,
      ...headers
    })
    const own = (message: string) => log.filter((line) => line["request_id"] === id && line["message"] === message)
    yield* eventually(Effect.sync(() => own("request").length === 1 && own("call failed").length >= count))
    return { answer, request: own("request")[0], failed: own("call failed") }
  })

const counted = (fault: string) =>
  Effect.gen(function*() {
    const { url } = yield* Running
    const { text } = yield* send(`${url}/metrics`)
    const line = text.split("\n").find((line) =>
      line.startsWith("ballast_requests_total{") && line.includes("chat") && line.includes(`fault="${fault}"`)
    )
    return Number(line?.split(" ")[1] ?? 0)
  })

describe("FailureLog", () => {
  layer(gateway(), { excludeTestServices: true })((it) => {
    it.effect.each<readonly [id: string, simulate: string, fields: Record<string, string>, advice: RegExp]>([
      ["503", "status=503", { level: "warn", error: "upstream_overloaded", fault: "provider" }, /status page/],
      ["401", "status=401", { level: "warn", error: "upstream_authentication_error", fault: "ballast" }, /valid key/],
      ["402", "status=402", { level: "warn", error: "insufficient_balance", fault: "ballast" }, /Top up/],
      ["422", "status=422", { level: "info", error: "invalid_request", fault: "caller" }, /caller must change/]
    ])(
      "tells what failed, whose fault it is and what to do: %s",
      ([id, fault, fields, advice]) =>
        Effect.gen(function*() {
          const { answer, failed, request } = yield* linesOf(id, fault, 1)
          assert.strictEqual(request?.["level"], fields["level"])
          assert.lengthOf(failed, 1)
          const [line = {}] = failed
          assert.deepInclude(line, { ...fields, status: answer.status, model: hello.model, provider: "simulator" })
          assert.match(String(line["do"]), advice)
          assert.strictEqual(line["trace_id"], answer.headers.get("x-trace-id"))
          // The service's words about a request may quote it.
          if (fields["fault"] === "caller") assert.notProperty(line, "reason")
          else assert.strictEqual(line["reason"], answer.json.error.message)
        })
    )

    it.effect("a client's own deadline is its fault, not the provider's", () =>
      Effect.gen(function*() {
        const [provider, caller] = [yield* counted("provider"), yield* counted("caller")]
        const { answer, failed } = yield* linesOf("late", "latency=1h", 1, { "x-request-timeout": "50ms" })
        assert.strictEqual(answer.status, 504)
        assert.deepInclude(failed[0], { error: "deadline_exceeded", fault: "caller" })
        assert.deepStrictEqual([yield* counted("provider"), yield* counted("caller")], [provider, caller + 1])
      }))

    it.effect("counts a flood of the same failure, and lets each request have its line", () =>
      Effect.gen(function*() {
        const { log } = yield* Running
        const before = log.length
        for (let i = 0; i < 6; i++) yield* linesOf(`flood-${i}`, "status=500", i < 3 ? 1 : 0)
        const since = log.slice(before)
        assert.lengthOf(since.filter(({ message }) => message === "call failed"), 3)
        assert.lengthOf(since.filter(({ message }) => message === "request"), 6)
      }))

    it.effect("says nothing of calls that succeed, and of what is no call", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        assert.deepStrictEqual((yield* linesOf("good", "", 0)).failed, [])
        yield* send(`${url}/nowhere`, { headers: { "x-request-id": "nowhere" } })
        assert.isFalse(log.some((line) => line["request_id"] === "nowhere" && line["message"] === "call failed"))
      }))
  })

  layer(gateway({ circuitBreaker: { minimumCalls: 1 } }), { excludeTestServices: true })((it) => {
    it.effect("names the policy that let a call go no further, which the client is not told", () =>
      Effect.gen(function*() {
        yield* linesOf("first", "status=503", 1)
        const { answer, failed } = yield* linesOf("second", "", 1)
        assert.deepInclude(failed[0], { error: "circuit_open", fault: "policy" })
        assert.include(String(failed[0]?.["detail"]), "simulator/default/deepseek-flash")
        assert.notInclude(answer.text, "simulator/default")
      }))
  })

  it("has advice for every error", () => {
    assert.notStrictEqual(FailureLog.adviceOf("something_new", "provider"), "")
  })
})
