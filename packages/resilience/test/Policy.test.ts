import { ConcurrencyLimit, Policy } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"

/** A policy that writes down when it is passed. */
const tracing = (name: string, trace: Array<string>) =>
  Policy.make<never>({
    effect: (self) => Effect.andThen(Effect.sync(() => trace.push(name)), self),
    stream: (self) => Stream.concat(Stream.fromEffectDrain(Effect.sync(() => trace.push(name))), self)
  })

describe("Policy", () => {
  it.effect("compose puts the first outermost", () =>
    Effect.gen(function*() {
      const trace: Array<string> = []
      const policy = Policy.compose(tracing("a", trace), Policy.identity, tracing("b", trace), tracing("c", trace))
      assert.strictEqual(yield* policy(Effect.succeed("ok")), "ok")
      assert.deepStrictEqual(yield* Stream.runCollect(policy.stream(Stream.make(1))), [1])
      assert.deepStrictEqual(trace, ["a", "b", "c", "a", "b", "c"])
    }))

  it.effect("identity and an empty composition do nothing", () =>
    Effect.gen(function*() {
      const program = Effect.succeed("ok")
      assert.strictEqual(Policy.identity(program), program)
      assert.strictEqual(Policy.compose()(program), program)
      assert.strictEqual((yield* Policy.common({}))(program), program)
      const stream = Stream.make(1)
      assert.strictEqual(Policy.identity.stream(stream), stream)
      assert.strictEqual(Policy.compose().stream(stream), stream)
    }))

  it.effect("isPolicy tells policies from options", () =>
    Effect.gen(function*() {
      assert.isTrue(Policy.isPolicy(Policy.identity))
      assert.isTrue(Policy.isPolicy(yield* ConcurrencyLimit.make({ limit: 1 })))
      assert.isFalse(Policy.isPolicy({ limit: 1 }))
    }))

  describe("common refuses", () => {
    const refused: ReadonlyArray<readonly [Policy.CommonOptions, string]> = [
      [{ total: "1 second", attempt: "2 seconds" }, "Policy.common: attempt must be no longer than total (1s), got 2s"],
      [
        { total: "1 second", firstItem: 1_001 },
        "Policy.common: firstItem must be no longer than total (1s), got 1s 1ms"
      ],
      [{ total: "1 second", idle: "2 seconds" }, "Policy.common: idle must be no longer than total (1s), got 2s"],
      [{ attempt: 1, idle: 2 }, "Deadline.make: idle must be no longer than attempt (1ms), got 2ms"],
      [{ total: 0 }, "Deadline.total: duration must be a finite duration above zero, got 0"],
      [{ retry: { times: -1 } }, "Retry.make: times must be an integer of at least 0, or Infinity, got -1"],
      [{ circuitBreaker: { failureRate: 3 } }, "CircuitBreaker.make: failureRate must be in (0, 1], got 3"],
      [{ rateLimiter: { limit: 0, window: 1 } }, "RateLimiter.make: limit must be an integer of at least 1, got 0"],
      [{ concurrencyLimit: { limit: 0 } }, "ConcurrencyLimit.make: limit must be an integer of at least 1, got 0"]
    ]
    for (const [options, message] of refused) {
      it(JSON.stringify(options), () => {
        assert.throws(() => Policy.common(options), RangeError, message)
      })
    }
  })
})
