import { CircuitBreaker, ConcurrencyLimit, Policy, RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { chance, Fault, withStepBudget } from "../support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** Yields so often that an interruption can fall between any two steps of what runs beside it. */
const steps = (n: number) => Effect.repeat(Effect.yieldNow, { times: n })

const upTo = (maximum: number, minimum = 0) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("interruption at any step", () => {
  const inputs = { budget: upTo(64, 3), after: upTo(60), stream: Schema.Boolean }

  it.effect.prop(
    "loses no slot and no token, and leaves nothing running",
    inputs,
    ({ after, budget, stream }) =>
      Effect.gen(function*() {
        const slots = yield* ConcurrencyLimit.make({ limit: 1, queue: 10 })
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second", burst: 2, maxWait: "10 seconds" })
        const policy = yield* Policy.common({
          total: "1 minute",
          retry: {},
          circuitBreaker: {},
          rateLimiter: limiter,
          concurrencyLimit: slots,
          attempt: "1 second",
          firstItem: "1 second"
        })
        let running = 0
        const call = Effect.acquireUseRelease(
          Effect.sync(() => running++),
          () => Effect.andThen(steps(3), Effect.fail(new Fault({}))),
          () => Effect.sync(() => running--)
        )
        const guarded = stream ? Stream.runDrain(policy.stream(Stream.fromEffect(call))) : policy(call)
        const fibers = yield* Effect.forEach([1, 2, 3, 4], () => start(withStepBudget(budget)(chance(0.5)(guarded))))
        yield* steps(after)
        for (const fiber of fibers) yield* Fiber.interrupt(fiber)
        assert.strictEqual(running, 0)
        const { queued, running: taken } = yield* slots.inspect
        assert.deepStrictEqual({ queued, taken }, { queued: 0, taken: 0 })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* limiter.inspect, { available: 2, queued: 0 })
      })
  )

  it.effect.prop("gives a probe's slot back", inputs, ({ after, budget, stream }) =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
      yield* Effect.exit(breaker(Effect.fail(new Fault({}))))
      yield* TestClock.adjust("30 seconds")
      const call = Effect.andThen(steps(9), Effect.never)
      const probe = stream ? Stream.runDrain(breaker.stream(Stream.fromEffect(call))) : breaker(call)
      const fiber = yield* Effect.forkChild(withStepBudget(budget)(probe))
      yield* steps(after)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* breaker(Effect.succeed("ok")), "ok")
      assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
    }))

  it.effect.prop("a slot freed and an interruption in the same moment", { budget: upTo(64, 3), waiters: upTo(5, 1) }, ({
    budget,
    waiters
  }) =>
    Effect.gen(function*() {
      const slots = yield* ConcurrencyLimit.make({ limit: 1, queue: 10 })
      const gate = yield* Deferred.make<void>()
      yield* start(slots(Deferred.await(gate)))
      const fibers = yield* Effect.forEach(
        Array.from({ length: waiters }),
        () => start(withStepBudget(budget)(slots(steps(5))))
      )
      yield* Deferred.succeed(gate, undefined)
      for (const fiber of fibers) {
        yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      }
      assert.deepStrictEqual(yield* slots.inspect, { limit: 1, running: 0, queued: 0 })
    }))
})
