import { ConcurrencyLimit, Hedge, RateLimiter, Retry } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, PubSub, Random, Stream } from "effect"

const broken = (self: Effect.Effect<unknown>) =>
  Effect.map(Effect.exit(self), (exit) => {
    assert.isTrue(Exit.isFailure(exit))
    const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
    return reason?._tag === "Die" && reason.defect instanceof Error ? reason.defect.message : ""
  })

describe("Testing", () => {
  describe("script", () => {
    it.effect("plays its parts in order, repeats the last and records each attempt", () =>
      Effect.gen(function*() {
        const { call, inspect } = yield* Testing.script([
          Effect.fail("busy"),
          Effect.die("boom"),
          Effect.delay(Effect.succeed("late"), "2 seconds"),
          Effect.succeed("ok")
        ])
        const exits = yield* Testing.passTime(Effect.replicateEffect(Effect.exit(call), 5))
        assert.deepStrictEqual(exits, [
          Exit.fail("busy"),
          Exit.die("boom"),
          Exit.succeed("late"),
          Exit.succeed("ok"),
          Exit.succeed("ok")
        ])
        const { attempts, peak, running } = yield* inspect
        assert.deepStrictEqual(attempts.map((attempt) => attempt.exit), exits)
        assert.deepStrictEqual(attempts.map(({ endedAt, startedAt }) => [startedAt, endedAt]), [
          [0, 0],
          [0, 0],
          [0, 2_000],
          [2_000, 2_000],
          [2_000, 2_000]
        ])
        assert.deepStrictEqual([peak, running], [1, 0])
      }))

    it.effect("shows what runs, and what was interrupted", () =>
      Effect.gen(function*() {
        const { call, inspect } = yield* Testing.script([Effect.never])
        const fibers = yield* Effect.replicateEffect(Effect.forkChild(call), 3)
        yield* Testing.settle
        assert.strictEqual((yield* inspect).running, 3)
        yield* Fiber.interruptAll(fibers)
        const { attempts, peak, running } = yield* inspect
        assert.deepStrictEqual([peak, running], [3, 0])
        assert.deepStrictEqual(attempts.map((attempt) => attempt.interrupted), [true, true, true])
      }))

    it.effect("loses no attempt, whenever it is interrupted", () =>
      Testing.interruptEverywhere({
        setup: Testing.script([Effect.sleep("1 second")]),
        run: ({ call }) => call,
        check: ({ inspect }) =>
          Effect.map(inspect, ({ attempts, running }) => {
            assert.strictEqual(running, 0)
            for (const { exit } of attempts) assert.isDefined(exit)
          })
      }))
  })

  describe("scriptStream", () => {
    it.effect("records the items of each attempt and how it ended", () =>
      Effect.gen(function*() {
        const { inspect, stream } = yield* Testing.scriptStream([
          Stream.concat(Stream.make(1, 2), Stream.fail("cut")),
          Stream.make(3, 4, 5)
        ])
        assert.strictEqual(yield* Effect.flip(Stream.runDrain(stream)), "cut")
        assert.deepStrictEqual(yield* Stream.runCollect(stream), [3, 4, 5])
        assert.deepStrictEqual(yield* Stream.runHead(stream), yield* Effect.option(Effect.succeed(3)))
        const { attempts, running } = yield* inspect
        assert.deepStrictEqual(attempts.map(({ exit, items }) => [items.slice(0, 3), exit]), [
          [[1, 2], Exit.fail("cut")],
          [[3, 4, 5], Exit.void],
          [[3, 4, 5], Exit.void]
        ])
        assert.strictEqual(running, 0)
      }))

    it.effect("loses no attempt, whenever it is interrupted", () =>
      Testing.interruptEverywhere({
        setup: Testing.scriptStream([
          Stream.make(1, 2, 3).pipe(Stream.mapEffect((n) => Effect.as(Effect.sleep(n), n)))
        ]),
        run: ({ stream }) => Stream.runDrain(stream),
        check: ({ inspect }) =>
          Effect.map(inspect, ({ attempts, running }) => {
            assert.strictEqual(running, 0)
            for (const { exit } of attempts) assert.isDefined(exit)
          })
      }))
  })

  describe("records", () => {
    it.effect("takes down events and when they came", () =>
      Effect.gen(function*() {
        const pubsub = yield* PubSub.unbounded<string>()
        const recorded = yield* Testing.record(Stream.fromPubSub(pubsub))
        yield* PubSub.publish(pubsub, "one")
        yield* Testing.advance("3 seconds")
        yield* PubSub.publish(pubsub, "two")
        assert.deepStrictEqual(yield* recorded, [{ at: 0, event: "one" }, { at: 3_000, event: "two" }])
      }))

    it.effect("takes down what a policy tells, in virtual time", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ delay: "1 second", budget: 1 })
        const recorded = yield* Testing.record(hedge.events)
        const { call, inspect } = yield* Testing.script([Effect.never, Effect.succeed("answer")])
        assert.strictEqual(yield* Testing.passTime(hedge(call)), "answer")
        assert.deepStrictEqual((yield* recorded).map(({ at, event }) => [at, event._tag]), [
          [1_000, "Hedged"],
          [1_000, "Won"]
        ])
        assert.deepStrictEqual(
          (yield* inspect).attempts.map(({ interrupted, startedAt }) => [startedAt, interrupted]),
          [
            [0, true],
            [1_000, false]
          ]
        )
      }))

    it.effect("takes down transitions and leaves other events out", () =>
      Effect.gen(function*() {
        type Event =
          | { readonly _tag: "Changed"; readonly from: string; readonly to: string }
          | { readonly _tag: "Rejected"; readonly to: string }
        const pubsub = yield* PubSub.unbounded<Event>()
        const recorded = yield* Testing.transitions(Stream.fromPubSub(pubsub))
        yield* PubSub.publish(pubsub, { _tag: "Changed", from: "closed", to: "open" })
        yield* PubSub.publish(pubsub, { _tag: "Rejected", to: "caller" })
        yield* Testing.advance("30 seconds")
        yield* PubSub.publish(pubsub, { _tag: "Changed", from: "open", to: "half-open" })
        assert.deepStrictEqual((yield* recorded).map(({ at, event }) => [at, event.from, event.to]), [
          [0, "closed", "open"],
          [30_000, "open", "half-open"]
        ])
      }))

    it.effect("hears nothing from before, and nothing after its scope", () =>
      Effect.gen(function*() {
        const pubsub = yield* PubSub.unbounded<number>()
        yield* PubSub.publish(pubsub, 1)
        const recorded = yield* Effect.scoped(Effect.gen(function*() {
          const recorded = yield* Testing.record(Stream.fromPubSub(pubsub))
          yield* PubSub.publish(pubsub, 2)
          yield* recorded
          return recorded
        }))
        yield* PubSub.publish(pubsub, 3)
        assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [2])
      }))

    it.effect("takes down waits, metrics, the exit and the time", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ name: "one", limit: 1, queue: 1 })
        const call = limit(Effect.sleep("2 seconds"))
        const { exit, metrics, millis, waits } = yield* Testing.passTime(
          Testing.observe(Effect.all([call, call], { concurrency: 2, discard: true }))
        )
        assert.deepStrictEqual(exit, Exit.void)
        assert.strictEqual(millis, 4_000)
        assert.deepStrictEqual(waits, [{ policy: "concurrency-limit", name: "one", seconds: 2 }])
        assert.strictEqual(metrics["ballast_policy_wait_seconds{name=one,policy=concurrency-limit}"], 2)
        assert.strictEqual(metrics["ballast_policy_wait_seconds_count{name=one,policy=concurrency-limit}"], 1)
      }))
  })

  it.effect("takes down the waits of every policy that waits, each once and in the order of their ends", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.make({ name: "rate", limit: 1, window: "5 seconds", maxWait: "1 minute" })
      const { call } = yield* Testing.script([Effect.fail("busy"), Effect.succeed("answer")])
      const retry = Retry.make({ name: "again", times: 1, base: "1 second" })
      const { exit, millis, waits } = yield* Testing.passTime(
        Testing.observe(Effect.provideService(retry(limiter(call)), Random.Random, {
          nextDoubleUnsafe: () => 0.5,
          nextIntUnsafe: () => 0
        }))
      )
      assert.deepStrictEqual(exit, Exit.succeed("answer"))
      assert.strictEqual(millis, 5_000)
      assert.deepStrictEqual(waits, [
        { policy: "retry", name: "again", seconds: 0.5 },
        { policy: "rate-limiter", name: "rate", seconds: 4.5 }
      ])
    }))

  describe("passTime", () => {
    it.effect("goes from one sleep to the next and no further", () =>
      Effect.gen(function*() {
        const sleeps = [Effect.sleep("1 hour"), Effect.sleep("1 second"), Effect.sleep("3 seconds")]
        const self = Effect.andThen(Effect.raceAll(sleeps), Effect.sleep("500 millis"))
        assert.strictEqual(Duration.toMillis((yield* Testing.passTime(Effect.timed(self)))[0]), 1_500)
        assert.strictEqual(yield* Clock.currentTimeMillis, 1_500)
      }))

    it.effect("gives back errors as they are", () =>
      Effect.gen(function*() {
        const { call, inspect } = yield* Testing.script([Effect.fail("busy")])
        assert.strictEqual(yield* Effect.flip(Testing.passTime(Retry.make({ times: 3 })(call))), "busy")
        assert.strictEqual((yield* inspect).attempts.length, 4)
      }))

    it.effect("says so when time does not help, and leaves nothing running", () =>
      Effect.gen(function*() {
        const { call, inspect } = yield* Testing.script([Effect.never])
        assert.match(yield* broken(Testing.passTime(call)), /waits for something that time does not bring/)
        assert.strictEqual((yield* inspect).running, 0)
      }))
  })

  describe("interruptEverywhere", () => {
    it.effect("finds nothing in a limit that gives its slot back", () =>
      Effect.gen(function*() {
        const report = yield* Testing.interruptEverywhere({
          setup: ConcurrencyLimit.make({ limit: 1, queue: 1, maxWait: "10 seconds" }),
          run: (limit) => limit(Effect.sleep("1 second")),
          beside: (limit) => limit(Effect.sleep("2 seconds")),
          check: (limit) =>
            Effect.map(limit.inspect, ({ queued, running }) => assert.deepStrictEqual([queued, running], [0, 0]))
        })
        assert.isAbove(report.interrupted, 62)
        assert.strictEqual(report.runs, report.interrupted + 62)
      }))

    it.effect("finds a slot that is taken in one step and guarded in the next", () =>
      Effect.gen(function*() {
        const message = yield* broken(Testing.interruptEverywhere({
          setup: Effect.sync(() => ({ running: 0 })),
          run: (limit) =>
            Effect.gen(function*() {
              yield* Effect.sync(() => limit.running++)
              yield* Effect.ensuring(Effect.sleep("1 second"), Effect.sync(() => limit.running--))
            }),
          check: (limit) => Effect.sync(() => assert.strictEqual(limit.running, 0))
        }))
        assert.match(message, /with a budget of \d+, interrupted after step \d+: expected 1 to equal \+?0/)
      }))

    it.effect("finds a fiber that outlives its program", () =>
      Effect.gen(function*() {
        const message = yield* broken(Testing.interruptEverywhere({
          setup: Effect.void,
          run: () => Effect.andThen(Effect.forkDetach(Effect.never), Effect.sleep("1 second")),
          check: () => Effect.void
        }))
        assert.match(message, /1 of its fibers still live/)
      }))

    it.effect("finds a program that its interruption does not end", () =>
      Effect.gen(function*() {
        const message = yield* broken(Testing.interruptEverywhere({
          setup: Effect.void,
          run: () => Effect.uninterruptible(Effect.never),
          check: () => Effect.void
        }))
        assert.match(message, /does not end when it is interrupted/)
      }))

    it.effect("waits for finalizers that take time", () =>
      Testing.interruptEverywhere({
        setup: Effect.sync(() => ({ held: false })),
        run: (slot) =>
          Effect.acquireUseRelease(
            Effect.sync(() => slot.held = true),
            () => Effect.never,
            () => Effect.delay(Effect.sync(() => slot.held = false), "1 second")
          ),
        check: (slot) => Effect.sync(() => assert.isFalse(slot.held)),
        budgets: [3, 5, 64]
      }))

    it.effect("interrupts a program that waits for ever", () =>
      Effect.gen(function*() {
        const report = yield* Testing.interruptEverywhere({
          setup: Effect.void,
          run: () => Effect.never,
          check: (_, exit) => Effect.sync(() => assert.isTrue(Exit.hasInterrupts(exit))),
          budgets: [3, 64]
        })
        assert.strictEqual(report.runs, report.interrupted)
      }))
  })
})
