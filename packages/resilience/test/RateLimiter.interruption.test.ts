import { RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, type Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CurrentDeadline } from "../src/internal/currentDeadline.ts"
import { withStepBudget } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"

/** Budgets that `interruptEverywhere` tries. */
const budgets = 62

/** A limiter of three in an hour that keeps everybody waiting for so long. */
const paused = Effect.fnUntraced(function*(algorithm: RateLimiter.Algorithm, pause: number) {
  const limiter = yield* RateLimiter.make({ algorithm, limit: 3, window: "1 hour", maxWait: "10 seconds" })
  yield* limiter.pause(pause)
  return { limiter, ran: { calls: 0, others: 0 } }
})

type Setup = Effect.Success<ReturnType<typeof paused>>

const call = ({ limiter, ran }: Setup) => limiter.weigh(2)(Effect.sync(() => ran.calls++))
const other = ({ limiter, ran }: Setup) => limiter(Effect.sync(() => ran.others++))

describe("RateLimiter", () => {
  describe("interrupted at every step", () => {
    // An admitted call may be interrupted before its own first step. That is one step in a run, and the call keeps what it took.
    const checkTaken = (admitted: { unused: number }) => ({ limiter, ran }: Setup, exit: Exit.Exit<unknown, unknown>) =>
      Effect.map(limiter.inspect, ({ available, queued }) => {
        assert.deepStrictEqual([queued, ran.others], [0, 1])
        if (Exit.isSuccess(exit)) assert.strictEqual(ran.calls, 1)
        if (ran.calls === 0 && available === 0) admitted.unused++
        else assert.strictEqual(available, 2 - 2 * ran.calls)
      })

    for (const algorithm of ["token-bucket", "fixed-window", "sliding-counter", "sliding-log"] as const) {
      it.effect(
        `${algorithm}: a waiter takes nothing, and the one behind it gets its turn`,
        () =>
          Effect.gen(function*() {
            const admitted = { unused: 0 }
            const { interrupted } = yield* interruptEverywhere({
              setup: paused(algorithm, 1_000),
              run: call,
              beside: other,
              check: checkTaken(admitted)
            })
            assert.isAbove(interrupted, budgets)
            assert.isAtMost(admitted.unused, budgets)
          }),
        30_000
      )
    }

    it.effect("a stream that waits takes nothing", () =>
      Effect.gen(function*() {
        const admitted = { unused: 0 }
        const { interrupted } = yield* interruptEverywhere({
          setup: paused("fixed-window", 1_000),
          run: ({ limiter, ran }) =>
            Stream.runDrain(limiter.weigh(2).stream(Stream.fromEffect(Effect.sync(() => ran.calls++)))),
          beside: other,
          check: checkTaken(admitted)
        })
        assert.isAbove(interrupted, budgets)
        // To open a stream takes some steps more.
        assert.isAtMost(admitted.unused, interrupted / 3)
      }), 30_000)

    for (const pause of [0, 1_000]) {
      it.effect(
        `a reservation after a wait of ${pause} ms takes nothing unless it succeeds`,
        () =>
          Effect.gen(function*() {
            let reserved = 0
            const { interrupted } = yield* interruptEverywhere({
              setup: paused("token-bucket", pause),
              run: ({ limiter }) => limiter.reserve(2),
              check: ({ limiter }, exit) =>
                Effect.map(limiter.inspect, ({ available, queued }) => {
                  assert.strictEqual(queued, 0)
                  if (Exit.isSuccess(exit)) assert.strictEqual(available, 1)
                  // Interrupted when it was the caller's already.
                  else if (available === 1) reserved++
                  else assert.strictEqual(available, 3)
                })
            })
            assert.isAbove(interrupted, 0)
            assert.isAtMost(reserved, budgets)
          }),
        30_000
      )

      it.effect(
        `a scoped reservation after a wait of ${pause} ms is settled, or all of it is given back`,
        () =>
          Effect.gen(function*() {
            const { interrupted } = yield* interruptEverywhere({
              setup: paused("token-bucket", pause),
              run: ({ limiter, ran }) =>
                Effect.scoped(Effect.flatMap(limiter.reserveScoped(2), (reservation) =>
                  Effect.repeat(Effect.yieldNow, { times: 3 }).pipe(
                    Effect.andThen(reservation.settle(1)),
                    Effect.andThen(Effect.sync(() =>
                      ran.calls++
                    ))
                  ))),
              check: ({ limiter, ran }, exit) =>
                Effect.map(limiter.inspect, ({ available, queued }) => {
                  assert.strictEqual(queued, 0)
                  if (Exit.isSuccess(exit) || ran.calls === 1) {
                    assert.strictEqual(available, 2)
                  } else assert.include([2, 3], available)
                })
            })
            assert.isAbove(interrupted, budgets)
          }),
        30_000
      )
    }

    it.effect(
      "a waiter with a deadline of its own leaves neither timer nor place behind",
      () =>
        Effect.gen(function*() {
          const { interrupted } = yield* interruptEverywhere({
            setup: paused("fixed-window", 1_000),
            beside: other,
            // Behind the other one, which has more time.
            run: (setup) => Effect.andThen(Effect.yieldNow, Effect.provideService(call(setup), CurrentDeadline, 2_000)),
            check: checkTaken({ unused: 0 })
          })
          assert.isAbove(interrupted, budgets)
        }),
      60_000
    )
  })

  it.effect("a call that got its turn and does not run gives it back, also after the limit has changed", () =>
    Effect.gen(function*() {
      const { limiter } = yield* paused("token-bucket", 1_000)
      const fibers: Array<Fiber.Fiber<void, unknown>> = []
      // Both get their turn in one step.
      const first = limiter(Effect.andThen(
        limiter.update({ limit: 6 }),
        Effect.sync(() => fibers[0]?.interruptUnsafe())
      ))
      yield* Effect.forkChild(first, { startImmediately: true })
      fibers.push(yield* Effect.forkChild(limiter(Effect.void), { startImmediately: true }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* limiter.inspect, { available: 5, queued: 0 })
    }))

  it.effect("a waiter is woken at whatever step it gets its turn", () =>
    Effect.gen(function*() {
      for (let budget = 3; budget <= 32; budget++) {
        for (let yields = 0; yields < 12; yields++) {
          const setup = yield* paused("token-bucket", 1_000)
          const fiber = yield* Effect.forkChild(withStepBudget(budget)(call(setup)), { startImmediately: true })
          for (let n = 0; n < yields; n++) yield* Effect.yieldNow
          yield* setup.limiter.resume
          for (let n = 0; n < 50; n++) yield* Effect.yieldNow
          assert.isDefined(fiber.pollUnsafe(), `budget ${budget}, resumed after ${yields} yields`)
        }
      }
    }))
})
