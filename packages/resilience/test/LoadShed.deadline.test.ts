import { Deadline, LoadShed, Priority } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { interruptEverywhere } from "./support/interruption.ts"
import { glance, isShed, makeFull, rest, start } from "./support/shedding.ts"
import { countingSleeps } from "./support/streams.ts"

describe("LoadShed", () => {
  describe("deadline of the caller", () => {
    const within = (millis: number) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.flatMap(
        Clock.monotonicTimeNanos,
        (now) => Effect.provideService(self, Deadline.CurrentDeadline, Number(now) / 1e6 + millis)
      )

    it.effect("ends the wait, and those behind stay", () =>
      Effect.gen(function*() {
        const { call, end, log, shed } = yield* makeFull({ target: "1 second", interval: "10 seconds" })
        const waiter = yield* start(Effect.exit(within(100)(shed(Effect.void))))
        yield* call("behind")
        yield* TestClock.adjust(99)
        assert.isUndefined(waiter.pollUnsafe())
        yield* TestClock.adjust(1)
        const exit = yield* Fiber.join(waiter)
        assert.isTrue(isShed(exit, "deadline"))
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "its caller's time was over")
        assert.strictEqual((yield* shed.inspect).queued, 1)
        yield* end
        assert.deepStrictEqual(log, ["run first", "run behind"])
      }))

    it.effect("one that has passed sheds nobody else, and a free slot is given all the same", () =>
      Effect.gen(function*() {
        const { call, log, shed } = yield* makeFull({ queue: 1 })
        yield* call("waits", "low")
        const late = within(0)(Effect.provideService(shed(Effect.void), Priority.CurrentPriority, "critical"))
        assert.isTrue(isShed(yield* Effect.exit(late), "deadline"))
        assert.deepStrictEqual(log, ["run first"])
        yield* within(0)((yield* LoadShed.make({ limit: 1 }))(Effect.void))
      }))

    it.effect("leaves no timer behind once its slot has come", () =>
      Effect.gen(function*() {
        const { provide, running } = yield* countingSleeps
        const shed = yield* LoadShed.make({ limit: 1 })
        const two = Effect.all([shed(Effect.yieldNow), within(1_000)(shed(Effect.yieldNow))], { concurrency: 2 })
        yield* provide(two)
        assert.strictEqual(running(), 0)
      }))

    it.live("loses no slot at any step when it ends", () =>
      Effect.gen(function*() {
        const { interrupted } = yield* interruptEverywhere({
          setup: LoadShed.make({ limit: 1, target: "1 second", interval: "2 seconds" }),
          beside: (shed) => shed(Effect.sleep("50 millis")),
          run: (shed) => Effect.exit(within(50)(shed(Effect.sleep(10)))),
          check: (shed) => Effect.map(glance(shed), (state) => assert.deepStrictEqual(state, rest))
        })
        assert.isAbove(interrupted, 100)
      }), 60_000)
  })
})
