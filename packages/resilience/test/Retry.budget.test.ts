import { Outcome, Retry, RetryBudget } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import { chance, Fault, metrics, scripted, withMetrics } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const fail = Effect.fail(new Fault({}))

const run = Effect.fnUntraced(function*<A, E>(self: Effect.Effect<A, E>) {
  const fiber = yield* start(chance(0.5)(self))
  yield* TestClock.adjust("1 day")
  return yield* Fiber.await(fiber)
})

/** A budget that affords so many retries and gets no more. */
const affording = (floor: number, share = 0) => RetryBudget.make({ share, floor, timeToLive: "1 second" })
const quota = (options?: RetryBudget.QuotaOptions) =>
  RetryBudget.quota({ capacity: 20, retryCost: 5, timeoutCost: 10, noRetryIncrement: 1, ...options })

describe("Retry with a budget", () => {
  it.effect("stops when the budget is spent, with the error as it was", () =>
    Effect.gen(function*() {
      const fault = new Fault({})
      const budget = yield* quota({ capacity: 10 })
      const retry = Retry.make({ budget })
      const recorded = yield* Testing.record(retry.events)
      const { call, executions } = scripted(fail, fail, Effect.fail(fault))
      const exit = yield* run(retry(call))
      assert.deepStrictEqual(exit, Exit.fail(fault))
      assert.strictEqual(executions(), 3)
      assert.deepStrictEqual((yield* recorded).at(-1)?.event, { _tag: "GaveUp", attempts: 3, because: "budget" })
    }))

  it.effect("counts its own calls, which fill a budget by share", () =>
    Effect.gen(function*() {
      const budget = yield* affording(0, 0.2)
      const retry = Retry.make({ budget })
      for (let n = 0; n < 4; n++) yield* retry(Effect.void)
      const { call, executions } = scripted(fail, fail)
      yield* Effect.exit(chance(0)(retry(call)))
      assert.strictEqual(executions(), 2)
    }))

  it.effect("a call ends well when its outcome says so, whatever its exit", () =>
    Effect.gen(function*() {
      const classify = Outcome.classifier({
        error: () => Outcome.success,
        result: (result) => result === "bad" ? Outcome.failure() : undefined
      })
      const budget = yield* quota({ classify })
      const retry = Retry.make({ budget, classify, times: 1 })
      const balance = Effect.map(budget.inspect, (state) => state.balance)
      yield* budget.tryReserve(20)
      for (const guard of [budget, retry]) {
        const before = yield* balance
        yield* Effect.exit(guard(fail))
        yield* Effect.exit(Stream.runDrain(guard.stream(Stream.fromEffect(fail))))
        yield* guard(Effect.succeed("good"))
        assert.strictEqual(yield* balance, before + 3)
      }
      yield* budget(Effect.succeed("bad"))
      yield* chance(0)(retry(Effect.succeed("bad")))
      assert.strictEqual(yield* balance, 1)
    }))

  it.effect("policies that are given the same one share it", () =>
    Effect.gen(function*() {
      const budget = yield* affording(3)
      const first = Retry.make({ budget, times: 2 })
      const second = Retry.make({ budget, times: 2 })
      const { call, executions } = scripted(...Array.from({ length: 6 }, () => fail))
      yield* Effect.exit(chance(0)(first(call)))
      assert.strictEqual(executions(), 3)
      yield* Effect.exit(chance(0)(Stream.runDrain(second.stream(Stream.fromEffect(call)))))
      assert.strictEqual(executions(), 5)
      assert.deepStrictEqual(yield* budget.inspect, { _tag: "Share", calls: 2, retries: 3, balance: 0 })
    }))

  it.effect("a stream is a call too", () =>
    Effect.gen(function*() {
      const budget = yield* affording(1)
      const retry = Retry.make({ budget })
      const { call, executions } = scripted(fail, fail)
      yield* Effect.exit(chance(0)(Stream.runDrain(retry.stream(Stream.fromEffect(call)))))
      assert.strictEqual(executions(), 2)
      assert.deepStrictEqual(yield* budget.inspect, { _tag: "Share", calls: 1, retries: 1, balance: 0 })
    }))

  it.effect("settles a call that ends well: with what its last retry cost, or the increment", () =>
    Effect.gen(function*() {
      const balance = (budget: RetryBudget.RetryBudget) => Effect.map(budget.inspect, (state) => state.balance)
      const budget = yield* quota()
      const retry = Retry.make({ budget })
      yield* run(retry(scripted(fail, fail).call))
      // Two retries of five were taken, and the last one came back.
      assert.strictEqual(yield* balance(budget), 15)
      yield* retry(Effect.void)
      assert.strictEqual(yield* balance(budget), 16)
      yield* Effect.exit(retry(Effect.die("boom")))
      assert.strictEqual(yield* balance(budget), 16)
      yield* run(Stream.runDrain(retry.stream(Stream.fromEffect(scripted(fail).call))))
      assert.strictEqual(yield* balance(budget), 16)
      yield* Stream.runDrain(retry.stream(Stream.make(1, 2)))
      assert.strictEqual(yield* balance(budget), 17)
      yield* Stream.runDrain(retry.stream(Stream.empty))
      assert.strictEqual(yield* balance(budget), 18)
      yield* Stream.runDrain(Stream.take(retry.stream(Stream.rechunk(Stream.make(1, 2), 1)), 1))
      assert.strictEqual(yield* balance(budget), 19)
      yield* Effect.exit(Stream.runDrain(retry.stream(Stream.concat(Stream.make(1), Stream.fail("no")))))
      assert.strictEqual(yield* balance(budget), 19)
    }))

  it.effect("settles no result that is judged a failure", () =>
    Effect.gen(function*() {
      const budget = yield* quota({ capacity: 5 })
      const retry = Retry.make({ budget, classify: () => Outcome.failure() })
      assert.deepStrictEqual(yield* run(retry(Effect.succeed("busy"))), Exit.succeed("busy"))
      assert.strictEqual((yield* budget.inspect).balance, 0)
    }))

  it.effect("asks the budget only for a retry that everything else allows", () =>
    Effect.gen(function*() {
      const budget = yield* quota()
      const hint = new Fault({ retryAfter: Duration.hours(1) })
      yield* run(Retry.make({ budget, times: 0 })(fail))
      yield* run(Retry.make({ budget, maxElapsed: 0 })(fail))
      yield* run(Retry.make({ budget })(Effect.fail(hint)))
      assert.strictEqual((yield* budget.inspect).balance, 20)
    }))

  it.effect("an interruption of the wait gives back what it reserved, of the attempt does not", () =>
    Effect.gen(function*() {
      const budget = yield* quota()
      const retry = Retry.make({ budget })
      const waiting = yield* start(chance(0.5)(retry(fail)))
      assert.strictEqual((yield* budget.inspect).balance, 15)
      assert.deepStrictEqual(yield* retry.inspect, { waiting: 1 })
      yield* Fiber.interrupt(waiting)
      assert.strictEqual((yield* budget.inspect).balance, 20)
      const running = yield* start(chance(0)(retry(scripted(fail, Effect.never).call)))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(running)
      assert.strictEqual((yield* budget.inspect).balance, 15)
      assert.deepStrictEqual(yield* retry.inspect, { waiting: 0 })
    }))

  it.effect("a thousand calls that fail together never exceed it", () =>
    Effect.gen(function*() {
      const budget = yield* affording(10)
      const retry = Retry.make({ budget, times: 3 })
      let executions = 0
      const call = Effect.suspend(() => {
        executions++
        return fail
      })
      const fibers = yield* Effect.forEach(Array.from({ length: 1_000 }), () => start(chance(0)(retry(call))))
      yield* TestClock.adjust(1)
      yield* Fiber.awaitAll(fibers)
      assert.strictEqual(executions, 1_010)
      assert.deepStrictEqual(yield* retry.inspect, { waiting: 0 })
    }))

  describe("interrupted", () => {
    const limited = Effect.map(quota({ capacity: 1_000 }), (budget) => ({
      budget,
      retry: Retry.make({ budget, schedule: Schedule.spaced("1 second") }),
      began: 0
    }))
    const patient = Effect.map(affording(5), (budget) => ({ budget, retry: Retry.make({ budget, base: "1 hour" }) }))

    const whole = (kind: "effect" | "stream") =>
      interruptEverywhere({
        setup: limited,
        run: (setup) => {
          const call = Effect.withFiber((fiber): Effect.Effect<string, Fault> => {
            setup.began = fiber.getRef(Retry.CurrentAttempt) - 1
            return setup.began < 3 ? fail : Effect.succeed("ok")
          })
          return kind === "effect" ? setup.retry(call) : Stream.runDrain(setup.retry.stream(Stream.fromEffect(call)))
        },
        check: ({ began, budget, retry }, exit) =>
          Effect.gen(function*() {
            const spent = (1_000 - (yield* budget.inspect).balance) / 5
            // The retry whose wait was over may be interrupted before the first step of its attempt, and the call after
            // its last one came back.
            const retries = Exit.isSuccess(exit) ? [2] : began === 3 ? [2, 3] : [began, began + 1]
            assert.include(retries, spent)
            assert.deepStrictEqual(yield* retry.inspect, { waiting: 0 })
          })
      })

    it.effect(
      "at any step, a call keeps nothing of the budget but the retries that began",
      () =>
        Effect.gen(function*() {
          assert.isAbove((yield* whole("effect")).interrupted, 64)
          assert.isAbove((yield* whole("stream")).interrupted, 64)
        }),
      60_000
    )

    it.effect("at any step of its wait, a call gives back all of it", () =>
      interruptEverywhere({
        setup: patient,
        run: ({ retry }) => chance(0.5)(retry(fail)),
        check: ({ budget, retry }) =>
          Effect.gen(function*() {
            assert.propertyVal(yield* budget.inspect, "retries", 0)
            assert.deepStrictEqual(yield* retry.inspect, { waiting: 0 })
          })
      }), 60_000)
  })

  it.effect("counts what it did not try for want of budget", () =>
    Effect.gen(function*() {
      const budget = yield* affording(0)
      yield* run(Retry.make({ name: "catalogue", budget })(fail))
      assert.deepStrictEqual(yield* metrics, {
        "ballast_retries_denied_total{name=default}": 1,
        "ballast_retries_given_up_total{because=budget,name=catalogue}": 1
      })
    }).pipe(withMetrics))
})

describe("Retry settings", () => {
  it.effect("change while calls run, with the next decision", () =>
    Effect.gen(function*() {
      const retry = Retry.make({ base: "2 seconds", factor: 1, times: 9 })
      const { call, executions } = scripted(...Array.from({ length: 20 }, () => fail))
      const fiber = yield* start(chance(0.5)(retry(call)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(executions(), 2)
      yield* retry.update({ base: "20 seconds" })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(executions(), 3)
      yield* TestClock.adjust(9_999)
      assert.strictEqual(executions(), 3)
      yield* retry.update({ times: 3 })
      yield* TestClock.adjust(1)
      assert.strictEqual(executions(), 4)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
    }))

  it.effect("an elapsed time set while the first attempt runs counts from the begin of the call", () =>
    Effect.gen(function*() {
      for (const kind of ["effect", "stream"]) {
        const retry = Retry.make({ base: "2 seconds", factor: 1, times: 9 })
        const { call, executions } = scripted(
          Effect.delay(fail, "5 seconds"),
          ...Array.from({ length: 20 }, () => fail)
        )
        yield* start(
          chance(0.5)(kind === "effect" ? retry(call) : Stream.runDrain(retry.stream(Stream.fromEffect(call))))
        )
        yield* TestClock.adjust("1 second")
        yield* retry.update({ maxElapsed: "7 seconds" })
        yield* TestClock.adjust("1 day")
        assert.strictEqual(executions(), 3)
      }
    }))

  it.effect("what is left out stays, and what a schedule replaces is refused beside it", () =>
    Effect.gen(function*() {
      const retry = Retry.make({ times: 1 })
      yield* retry.update({ maxRetryAfter: "1 second" })
      const { call, executions } = scripted(fail, fail, fail)
      yield* run(retry(call))
      assert.strictEqual(executions(), 2)
      assert.throws(() => retry.update({ times: -1 }), RangeError, "Retry.update: times must be")
      assert.throws(
        () => Retry.make({ schedule: Schedule.forever }).update({ cap: 1 }),
        RangeError,
        "Retry.update: cap must be left out when schedule is given, got 1"
      )
    }))

  it.effect("noop never tries again", () =>
    Effect.gen(function*() {
      const { call, executions } = scripted(fail)
      yield* Effect.exit(Retry.noop(call))
      yield* Effect.exit(Stream.runDrain(Retry.noop.stream(Stream.fromEffect(Effect.fail("no")))))
      yield* Retry.noop.update({ times: 3 })
      assert.strictEqual(executions(), 1)
      assert.deepStrictEqual(yield* Retry.noop.inspect, { waiting: 0 })
      assert.deepStrictEqual(yield* Stream.runCollect(Retry.noop.events), [])
    }))
})
