import { EffectRateLimiter, RateLimiterStore } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { interruptEverywhere } from "./support/interruption.ts"

/** Budgets that `interruptEverywhere` tries. */
const budgets = 62

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** A store in memory that takes a step of its own to hear and one to answer. */
const distant = Layer.effect(
  RateLimiterStore.RateLimiterStore,
  Effect.map(RateLimiterStore.RateLimiterStore, (store) => {
    const step = <A, E>(request: Effect.Effect<A, E>) =>
      Effect.andThen(Effect.yieldNow, Effect.tap(request, () => Effect.yieldNow))
    return {
      ...store,
      take: (key, spec, request) => step(store.take(key, spec, request)),
      giveBack: (key, spec, weight, at) => step(store.giveBack(key, spec, weight, at))
    } satisfies typeof store
  })
).pipe(Layer.provide(RateLimiterStore.layerStoreMemory))

const waiting = { key: "a", limit: 3, window: "1 hour", onExceeded: "delay" } as const
const setup = Effect.provide(EffectRateLimiter.make(), distant)

for (const algorithm of ["fixed-window", "token-bucket"] as const) {
  const call = { ...waiting, algorithm }
  /** Tokens that are free. */
  const free = Effect.fnUntraced(function*(limiter: Effect.Success<typeof setup>) {
    return (yield* limiter.consume({ ...call, tokens: 0 })).remaining
  })

  describe(`EffectRateLimiter, ${algorithm}`, () => {
    it.effect("a call that is interrupted while it waits for a later piece gives back all", () =>
      Effect.gen(function*() {
        const limiter = yield* setup
        const fiber = yield* start(limiter.consume({ ...call, tokens: 5 }))
        yield* TestClock.adjust(1)
        const next = yield* start(limiter.consume({ ...call, tokens: 3 }))
        yield* TestClock.adjust(1)
        assert.isUndefined(next.pollUnsafe())
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([next.pollUnsafe()?._tag, yield* free(limiter)], ["Success", 0])
      }))

    it.effect("a call of which a later piece is rejected consumes nothing", () =>
      Effect.gen(function*() {
        const limiter = yield* Effect.provide(EffectRateLimiter.make({ maxQueue: 0 }), distant)
        const { reason } = yield* Effect.flip(limiter.consume({ ...call, tokens: 8 }))
        assert.strictEqual(reason._tag, "RateLimitExceeded")
        assert.strictEqual(yield* free(limiter), 3)
      }))

    describe("interrupted at every step", () => {
      // Interrupted when all but its last step was done: what was taken is the caller's by then.
      const checkFree =
        (tokens: number, seen: { late: number }) =>
        (limiter: Effect.Success<typeof setup>, exit: Exit.Exit<unknown, unknown>) =>
          Effect.gen(function*() {
            const left = yield* free(limiter)
            if (Exit.isFailure(exit) && left === 3 - tokens) seen.late++
            else assert.strictEqual(left, Exit.isSuccess(exit) ? 3 - tokens : 3)
          })

      it.effect("a call that takes at once takes nothing unless it succeeds", () =>
        Effect.gen(function*() {
          const seen = { late: 0 }
          const { interrupted } = yield* interruptEverywhere({
            setup,
            run: (limiter) => limiter.consume({ ...call, tokens: 2 }),
            check: checkFree(2, seen)
          })
          assert.isAbove(interrupted, budgets)
          assert.isAtMost(seen.late, budgets / 8)
        }), 60_000)

      it.effect("a call that waits for a later piece leaves all to the next one", () =>
        Effect.gen(function*() {
          const { interrupted } = yield* interruptEverywhere({
            setup,
            run: (limiter) => limiter.consume({ ...call, tokens: 5 }),
            beside: (limiter) => Effect.delay(limiter.consume({ ...call, tokens: 3 }), 1),
            check: (limiter, exit) =>
              Effect.gen(function*() {
                assert.isTrue(Exit.isFailure(exit))
                assert.strictEqual(yield* free(limiter), 0)
              }),
            within: "10 millis"
          })
          assert.isAbove(interrupted, budgets)
        }), 60_000)
    })
  })
}
