import { RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { withStepBudget } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"

/** Budgets that `interruptEverywhere` tries. */
const budgets = 62

const options: SharedRateLimiter.Options = { limit: 3, window: "1 hour", maxWait: "10 seconds" }

/** A store, and nothing that lives on it yet. */
const stored = Effect.map(
  Layer.build(RateLimiterStore.layerStoreMemory),
  (context) => ({ context, ran: { calls: 0 } })
)

/** A limiter of three in an hour that keeps everybody waiting for so long. */
const paused = Effect.fnUntraced(function*(pause: number) {
  const limiters = yield* SharedRateLimiter.make(options)
  const limiter = limiters("a")
  if (pause > 0) yield* limiter.pause(pause)
  return { limiters, limiter, ran: { calls: 0, others: 0 } }
}, Effect.provide(RateLimiterStore.layerStoreMemory))

type Setup = Effect.Success<ReturnType<typeof paused>>

const call = ({ limiter, ran }: Setup) => limiter.weigh(2)(Effect.sync(() => ran.calls++))
const other = ({ limiter, ran }: Setup) => limiter(Effect.sync(() => ran.others++))

describe("SharedRateLimiter", () => {
  it.effect("a call that was admitted and is interrupted before it runs gives back what was taken for it", () =>
    Effect.gen(function*() {
      const { limiter } = yield* paused(1_000)
      let ran = false
      const fibers: Array<Fiber.Fiber<void, unknown>> = []
      // Both are admitted in one step, and the first runs before the second knows.
      yield* Effect.forkChild(
        limiter(Effect.sync(() => {
          fibers[0]?.interruptUnsafe()
        })),
        { startImmediately: true }
      )
      const second = yield* Effect.forkChild(
        limiter(Effect.sync(() => {
          ran = true
        })),
        { startImmediately: true }
      )
      fibers.push(second)
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(second)))
      assert.isFalse(ran)
      assert.strictEqual((yield* limiter.peek()).available, 2)
    }))

  it.effect("such a call gives back as much after the limit has changed", () =>
    Effect.gen(function*() {
      const { limiter, limiters } = yield* paused(1_000)
      const fibers: Array<Fiber.Fiber<void, unknown>> = []
      const first = limiter(Effect.andThen(
        limiters.update({ limit: 6 }),
        Effect.sync(() => fibers[0]?.interruptUnsafe())
      ))
      yield* Effect.forkChild(first, { startImmediately: true })
      const second = yield* Effect.forkChild(limiter(Effect.void), { startImmediately: true })
      fibers.push(second)
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(second)))
      assert.strictEqual((yield* limiter.peek()).available, 5)
    }))

  it.effect("what such a call gives back goes at once to one that came after it", () =>
    Effect.gen(function*() {
      for (let steps = 0; steps < 100; steps++) {
        const { limiter, limiters, ran } = yield* paused(0)
        yield* limiters.update({ maxWait: "1 day" })
        // Where it yields after it was admitted, its line is at rest already.
        const first = yield* Effect.forkChild(
          Effect.repeat(Effect.void, { times: steps }).pipe(
            Effect.andThen(call({ limiter, limiters, ran })),
            withStepBudget(200)
          ),
          { startImmediately: true }
        )
        yield* Effect.forkChild(limiter.weigh(2)(Effect.void), { startImmediately: true })
        yield* Fiber.interrupt(first)
        for (let n = 0; n < 50; n++) yield* Effect.yieldNow
        assert.strictEqual((yield* limiter.peek()).available, 1, `after ${steps} steps`)
      }
    }))

  it.effect("a call that comes while the line goes to sleep is rejected at once, at whatever step", () =>
    Effect.gen(function*() {
      for (let budget = 3; budget <= 32; budget++) {
        for (let yields = 0; yields < 12; yields++) {
          const { limiter, limiters } = yield* paused(5_000)
          const waiting = yield* Effect.forkChild(withStepBudget(budget)(limiter(Effect.void)), {
            startImmediately: true
          })
          yield* limiters.update({ maxWait: 0 })
          for (let n = 0; n < yields; n++) yield* Effect.yieldNow
          const late = yield* Effect.forkChild(Effect.exit(limiter(Effect.void)), { startImmediately: true })
          for (let n = 0; n < 50; n++) yield* Effect.yieldNow
          assert.isDefined(late.pollUnsafe(), `budget ${budget}, after ${yields} yields`)
          yield* Fiber.interrupt(waiting)
        }
      }
    }))

  describe("interrupted at every step", () => {
    // An admitted call may be interrupted before its own first step; it then keeps what it took. Not every budget ends just there:
    // were nothing given back to calls that were granted but had not learned of it, it would be more than these.
    const seldom = budgets / 2
    const checkTaken =
      (admitted: { unused: number }) => ({ limiter, limiters, ran }: Setup, exit: Exit.Exit<unknown, unknown>) =>
        Effect.gen(function*() {
          const { leased, queued } = yield* limiters.inspect
          const left = (yield* limiter.peek()).available + leased
          assert.deepStrictEqual([queued, ran.others], [0, 1])
          if (Exit.isSuccess(exit)) assert.strictEqual(ran.calls, 1)
          if (ran.calls === 0 && left === 0) admitted.unused++
          else assert.strictEqual(left, 2 - 2 * ran.calls)
        })

    for (const pause of [0, 1_000]) {
      it.effect(
        `a call takes nothing unless it runs, after a pause of ${pause} ms`,
        () =>
          Effect.gen(function*() {
            const admitted = { unused: 0 }
            const { interrupted } = yield* interruptEverywhere({
              setup: paused(pause),
              run: call,
              beside: other,
              check: checkTaken(admitted)
            })
            assert.isAbove(interrupted, budgets / 2)
            assert.isAtMost(admitted.unused, seldom)
          }),
        60_000
      )
    }

    it.effect("what is leased is given back when the limiter is closed", () =>
      Effect.gen(function*() {
        const admitted = { unused: 0 }
        const { interrupted } = yield* interruptEverywhere({
          setup: stored,
          run: ({ context, ran }) =>
            SharedRateLimiter.make({ ...options, lease: { size: 2 } }).pipe(
              Effect.flatMap((limiter) =>
                Effect.andThen(limiter("a")(Effect.sync(() => ran.calls++)), Effect.yieldNow)
              ),
              Effect.scoped,
              Effect.provide(context)
            ),
          check: ({ context, ran }) =>
            SharedRateLimiter.make(options).pipe(
              Effect.flatMap((limiter) => limiter("a").peek()),
              Effect.map(({ available }) => {
                if (ran.calls === 0 && available === 2) admitted.unused++
                else assert.strictEqual(available, 3 - ran.calls)
              }),
              Effect.scoped,
              Effect.provide(context)
            )
        })
        assert.isAbove(interrupted, budgets)
        assert.isAtMost(admitted.unused, seldom)
      }), 60_000)

    it.effect("a stream that waits takes nothing", () =>
      Effect.gen(function*() {
        const admitted = { unused: 0 }
        const { interrupted } = yield* interruptEverywhere({
          setup: paused(1_000),
          run: ({ limiter, ran }) =>
            Stream.runDrain(limiter.weigh(2).stream(Stream.fromEffect(Effect.sync(() => ran.calls++)))),
          beside: other,
          check: checkTaken(admitted)
        })
        assert.isAbove(interrupted, budgets)
        assert.isAtMost(admitted.unused, seldom)
      }), 60_000)

    it.effect("a scoped reservation is settled, or all of it is given back", () =>
      Effect.gen(function*() {
        const settled = { never: 0 }
        const { interrupted } = yield* interruptEverywhere({
          setup: paused(0),
          run: ({ limiter }) =>
            Effect.scoped(Effect.flatMap(limiter.reserveScoped(3), (reservation) => reservation.settle(1))),
          check: ({ limiter }, exit) =>
            Effect.map(limiter.peek(), ({ available }) => {
              if (Exit.isSuccess(exit)) assert.strictEqual(available, 2)
              else assert.include([2, 3], available)
              if (available === 3) settled.never++
            })
        })
        assert.isAbove(interrupted, budgets)
        assert.isAbove(settled.never, 0)
      }), 60_000)

    it.effect("a scoped reservation takes nothing when its scope is interrupted", () =>
      Effect.gen(function*() {
        let late = 0
        const { interrupted } = yield* interruptEverywhere({
          setup: paused(1_000),
          run: ({ limiter }) => Effect.scoped(Effect.andThen(limiter.reserveScoped(2), Effect.sleep("1 second"))),
          check: ({ limiter, limiters }, exit) =>
            Effect.gen(function*() {
              assert.strictEqual((yield* limiters.inspect).queued, 0)
              const { available } = yield* limiter.peek()
              // Interrupted when the scope had closed well already, which keeps what was taken.
              if (Exit.isFailure(exit) && available === 1) late++
              else assert.strictEqual(available, Exit.isSuccess(exit) ? 1 : 3)
            })
        })
        assert.isAbove(interrupted, budgets)
        assert.isAtMost(late, budgets / 8)
      }), 60_000)
  })
})
