import type { ChatRequest } from "@ballast/chat"
import { interruptEverywhere } from "@ballast/resilience/testing"
import { Mirror } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Random, Result, Stream } from "effect"
import { answering, bothWays, failing, overloaded, request } from "./support.ts"

describe("Mirror", () => {
  it.effect("answers from the first model, and sends a share of the calls to the second, too", () =>
    Effect.gen(function*() {
      const [first, second] = [answering("first"), answering("second")]
      const mirror = yield* Mirror.make(first, { to: second, share: 0.2 })
      for (let call = 0; call < 1000; call++) assert.strictEqual((yield* mirror.complete(request)).id, "first")
      yield* Effect.yieldNow
      assert.closeTo(second.calls, 200, 5 * Math.sqrt(1000 * 0.2 * 0.8))
      yield* mirror.update(0)
      const before = second.calls
      for (let call = 0; call < 100; call++) yield* mirror.complete(request)
      assert.deepStrictEqual([first.calls, second.calls], [1100, before])
    }).pipe(Random.withSeed("ballast")))

  it.effect("keeps the second model's failures and defects from the caller", () =>
    Effect.gen(function*() {
      const broken = { complete: () => Effect.die("bug"), stream: () => Stream.die("bug") }
      for (const to of [failing(overloaded), broken]) {
        const mirror = yield* Mirror.make(answering("first"), { to, share: 1 })
        assert.deepStrictEqual(yield* bothWays(mirror), [Result.succeed("first"), Result.succeed("first")])
        yield* Effect.yieldNow
        assert.strictEqual((yield* mirror.inspect).inFlight, 0)
      }
    }))

  it.effect("copies what its condition takes only", () =>
    Effect.gen(function*() {
      const second = answering("second")
      const when = ({ user_id }: ChatRequest.ChatRequest) => Effect.succeed(user_id === "alice")
      const mirror = yield* Mirror.make(answering("first"), { to: second, share: 1, when })
      yield* bothWays(mirror)
      yield* bothWays(mirror, { ...request, user_id: "alice" })
      yield* Effect.yieldNow
      assert.strictEqual(second.calls, 2)
    }))

  it.effect("counts no copy that was not made, wherever its call is interrupted", () =>
    interruptEverywhere({
      setup: Mirror.make(answering("first"), { to: answering("second"), share: 1 }),
      run: (mirror) => mirror.complete(request),
      check: (mirror) => Effect.map(mirror.inspect, ({ inFlight }) => assert.strictEqual(inFlight, 0)),
      budgets: [3, 4, 5, 7]
    }))

  it.effect("leaves copies out beyond its limit, and ends them with its scope", () =>
    Effect.gen(function*() {
      let interrupted = 0
      const hanging = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      const to = { complete: () => hanging, stream: () => Stream.fromEffect(hanging) }
      yield* Effect.scoped(Effect.gen(function*() {
        const mirror = yield* Mirror.make(answering("first"), { to, share: 1, limit: 2 })
        yield* bothWays(mirror)
        yield* bothWays(mirror)
        yield* Effect.yieldNow
        assert.deepStrictEqual(yield* mirror.inspect, { share: 1, inFlight: 2, leftOut: 2 })
      }))
      assert.strictEqual(interrupted, 2)
    }))
})
