import { RetryBudget } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Option, Stream } from "effect"
import { TestClock } from "effect/testing"

const balance = Effect.fnUntraced(function*(budget: RetryBudget.RetryBudget) {
  return (yield* budget.inspect).balance
})

describe("RetryBudget at its edges", () => {
  it.effect("a retry costs one, and a free one is always granted", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.make({ share: 0, floor: 0 })
      assert.strictEqual(budget.costOf(Exit.fail("busy")), 1)
      assert.isTrue(Option.isSome(yield* budget.tryReserve(0)))
      assert.isTrue(Option.isNone(yield* budget.tryReserve(1e-6)))
    }))

  it.effect("the names of wrong settings are told, also in an update", () =>
    Effect.gen(function*() {
      const share = yield* RetryBudget.make()
      const quota = yield* RetryBudget.quota()
      const refused: ReadonlyArray<readonly [() => unknown, string]> = [
        [
          () => RetryBudget.quota({ timeoutCost: 0 }),
          "RetryBudget.quota: timeoutCost must be a number above 0, at most 10^12"
        ],
        [
          () => RetryBudget.quota({ retryCost: Infinity }),
          "RetryBudget.quota: retryCost must be a number above 0, at most 10^12, got Infinity"
        ],
        [
          () => RetryBudget.quota({ noRetryIncrement: -1 }),
          "RetryBudget.quota: noRetryIncrement must be a number from 0 to 10^12, got -1"
        ],
        [() => share.update({ floor: Infinity }), "RetryBudget.update: floor must be a number from 0 to 10^12"],
        [() => quota.update({ capacity: -1 }), "RetryBudget.update: capacity must be a number from 0 to 10^12"]
      ]
      for (const [make, message] of refused) assert.throws(make, RangeError, message)
    }))

  it.effect("a retry after a timeout costs more, also when something else failed beside it", () =>
    Effect.gen(function*() {
      const { costOf } = yield* RetryBudget.quota({ retryCost: 1, timeoutCost: 7 })
      const late = Cause.fail(new Cause.TimeoutError())
      assert.strictEqual(costOf(Exit.failCause(late)), 7)
      assert.strictEqual(costOf(Exit.failCause(Cause.combine(Cause.die("boom"), late))), 7)
      assert.strictEqual(costOf(Exit.die(new Cause.TimeoutError())), 1)
    }))

  it.effect("a quota's reservation is settled once", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.quota({ capacity: 20, retryCost: 5 })
      const first = Option.getOrThrow(yield* budget.tryReserve())
      yield* budget.tryReserve()
      yield* budget.settle(first)
      yield* budget.settle(first)
      assert.strictEqual(yield* balance(budget), 15)
    }))

  it.effect("tells of retries and not of calls", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.quota({ capacity: 5, retryCost: 5 })
      yield* budget.tryReserve()
      const recorded = yield* Testing.record(budget.events)
      yield* budget.deposit
      yield* budget.settle()
      assert.deepStrictEqual(yield* recorded, [])
      yield* budget.tryReserve()
      assert.deepStrictEqual(yield* recorded, [{ at: 0, event: { _tag: "Denied", cost: 5, balance: 1 } }])
    }))

  it.effect("keys are dropped after ten minutes by default, without any options", () =>
    Effect.gen(function*() {
      const budgets = yield* RetryBudget.keyed()
      yield* budgets.get("idle")
      yield* TestClock.adjust("9 minutes")
      yield* budgets.get("other")
      assert.deepStrictEqual(yield* budgets.keys, ["idle", "other"])
      yield* TestClock.adjust("6 minutes")
      yield* budgets.get("now")
      assert.deepStrictEqual(yield* budgets.keys, ["other", "now"])
    }))

  it.effect("is called default when it has no name", () =>
    Effect.gen(function*() {
      const { metrics } = yield* Testing.observe(
        Effect.flatMap(RetryBudget.make({ share: 0, floor: 0 }), (budget) => budget.tryReserve())
      )
      assert.deepStrictEqual(metrics, { "ballast_retries_denied_total{name=default}": 1 })
    }))

  it.effect("noop has every method of a budget, and none does anything", () =>
    Effect.gen(function*() {
      const { noop } = RetryBudget
      const reservation = Option.getOrThrow(yield* noop.tryReserve(3))
      assert.deepStrictEqual(reservation, { cost: 3, at: 0, held: false })
      assert.strictEqual(Option.getOrThrow(yield* noop.tryReserve()).cost, 1)
      yield* noop.giveBack(reservation)
      yield* noop.settle(reservation)
      assert.strictEqual(noop.costOf(Exit.fail("busy")), 1)
      assert.deepStrictEqual(yield* Stream.runCollect(noop.stream(Stream.make(1, 2))), [1, 2])
      yield* Effect.withFiber((fiber) => {
        noop.depositUnsafe(fiber)
        assert.deepStrictEqual(noop.tryReserveUnsafe(fiber, 4), { cost: 4, at: 0, held: false })
        noop.giveBackUnsafe(fiber, reservation)
        noop.settleUnsafe(fiber, undefined)
        return Effect.void
      })
    }))
})
