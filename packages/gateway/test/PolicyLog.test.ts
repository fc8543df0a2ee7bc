import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { eventually, hello, layer as gateway, post, Running } from "./harness.ts"

const ask = (fault = "") =>
  Effect.gen(function*() {
    const { url } = yield* Running
    return yield* post(`${url}/v1/chat/completions`, hello, fault === "" ? {} : { "x-simulate": fault })
  })

const linesOf = (message: string) => Effect.map(Running, ({ log }) => log.filter((line) => line["message"] === message))

/** The first line of a message, once it is there. */
const lineOf = (message: string) =>
  Effect.gen(function*() {
    const lines = yield* linesOf(message)
    if (lines[0] !== undefined) return lines[0]
    const { log } = yield* Running
    yield* eventually(Effect.sync(() => log.some((line) => line["message"] === message)))
    return log.find((line) => line["message"] === message)!
  })

const options = { excludeTestServices: true }

describe("PolicyLog", () => {
  layer(gateway({ circuitBreaker: { minimumCalls: 2, openDuration: "100ms" } }), options)((it) => {
    it.effect("tells that a circuit opened, and that it closed", () =>
      Effect.gen(function*() {
        for (let i = 0; i < 2; i++) yield* ask("status=503")
        assert.deepInclude(yield* lineOf("circuit opened"), { level: "warn", open_for_ms: 100 })
        while ((yield* ask()).status !== 200) yield* Effect.sleep("5 millis")
        const closed = yield* lineOf("circuit closed")
        assert.strictEqual(closed["level"], "info")
        assert.include(String(closed["circuit"]), hello.model)
        yield* ask()
        assert.strictEqual((yield* linesOf("circuit closed")).length, 1)
      }))
  })

  layer(gateway(), options)((it) => {
    it.effect("tells that a limit was lowered", () =>
      Effect.gen(function*() {
        yield* ask("status=429,limit=concurrency")
        const line = yield* lineOf("limit lowered")
        assert.strictEqual(line["level"], "warn")
        assert.include(String(line["limit"]), hello.model)
        assert.isBelow(Number(line["to"]), Number(line["from"]))
      }))
  })

  const policies = { retry: { times: 2, base: "1ms" }, retryBudget: { share: 0.01, floor: 0 } }
  layer(gateway({ settings: { policies: { ...policies, circuitBreaker: { enabled: false } } } }), options)((it) => {
    it.effect("tells once that a retry budget is spent", () =>
      Effect.gen(function*() {
        for (let i = 0; i < 3; i++) yield* ask("status=503")
        assert.deepInclude(yield* lineOf("retry budget spent"), { level: "warn" })
        assert.strictEqual((yield* linesOf("retry budget spent")).length, 1)
      }))
  })
})
