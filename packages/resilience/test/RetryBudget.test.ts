import { Deadline, RetryBudget } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"

const times = <A, E, R>(n: number, self: Effect.Effect<A, E, R>) =>
  Effect.forEach(Array.from({ length: n }), () => self)

/** How many retries are granted now. */
const drain = Effect.fnUntraced(function*(budget: RetryBudget.RetryBudget) {
  let granted = 0
  while (Option.isSome(yield* budget.tryReserve())) granted++
  return granted
})

const balance = Effect.fnUntraced(function*(budget: RetryBudget.RetryBudget) {
  return (yield* budget.inspect).balance
})

/** The wait before a retry that the budget pays for, and its start. */
const waitingForRetry = (budget: RetryBudget.RetryBudget, start: () => unknown) =>
  Effect.acquireUseRelease(
    budget.tryReserve(),
    () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(start)),
    (reservation, exit) =>
      Exit.isFailure(exit) && Option.isSome(reservation) ? budget.giveBack(reservation.value) : Effect.void
  )

describe("RetryBudget", () => {
  describe("share", () => {
    it.effect("grants a floor of ten per second for the time to live", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* drain(yield* RetryBudget.make()), 100)
      }))

    it.effect("grants one retry for five calls and none for four", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ floor: 0 })
        yield* times(4, budget.deposit)
        assert.strictEqual(yield* drain(budget), 0)
        yield* budget.deposit
        assert.strictEqual(yield* drain(budget), 1)
        yield* times(50, budget.deposit)
        assert.strictEqual(yield* drain(budget), 10)
      }))

    it.effect("adds the floor to the share", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ share: 0.5, floor: 1, timeToLive: "5 seconds" })
        yield* times(10, budget.deposit)
        assert.strictEqual(yield* drain(budget), 10)
      }))

    it.effect("weighs retries by their cost", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ share: 1, floor: 0, costOf: (exit) => Exit.isSuccess(exit) ? 1 : 3 })
        yield* times(7, budget.deposit)
        const cost = budget.costOf(Exit.fail("big"))
        assert.isTrue(Option.isSome(yield* budget.tryReserve(cost)))
        assert.isTrue(Option.isSome(yield* budget.tryReserve(cost)))
        assert.isTrue(Option.isNone(yield* budget.tryReserve(cost)))
        assert.deepStrictEqual(yield* budget.inspect, { _tag: "Share", calls: 7, retries: 6, balance: 1 })
      }))

    it.effect("refuses a cost that is no cost", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make()
        for (const cost of [NaN, -1, Infinity]) assert.isTrue(Option.isNone(yield* budget.tryReserve(cost)))
        assert.strictEqual(yield* balance(budget), 100)
      }))

    it.effect("forgets calls and retries after their time to live", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ floor: 0 })
        yield* times(10, budget.deposit)
        assert.strictEqual(yield* drain(budget), 2)
        yield* TestClock.adjust("9 seconds")
        assert.deepStrictEqual(yield* budget.inspect, { _tag: "Share", calls: 10, retries: 2, balance: 0 })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* budget.inspect, { _tag: "Share", calls: 0, retries: 2, balance: 0 })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* budget.inspect, { _tag: "Share", calls: 0, retries: 0, balance: 0 })
      }))

    it.effect("gives a reservation back once, and not into a later time", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ share: 1, floor: 0 })
        yield* times(2, budget.deposit)
        const reservation = Option.getOrThrow(yield* budget.tryReserve(2))
        yield* budget.giveBack(reservation)
        yield* budget.giveBack(reservation)
        assert.strictEqual(yield* balance(budget), 2)
        const late = Option.getOrThrow(yield* budget.tryReserve(2))
        yield* TestClock.adjust("11 seconds")
        yield* budget.giveBack(late)
        assert.deepStrictEqual(yield* budget.inspect, { _tag: "Share", calls: 0, retries: 0, balance: 0 })
      }))

    it.effect("a retry that has started is never given back", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ share: 1, floor: 0 })
        yield* budget.deposit
        const reservation = Option.getOrThrow(yield* budget.tryReserve())
        yield* budget.settle(reservation)
        yield* budget.giveBack(reservation)
        assert.strictEqual(yield* balance(budget), 0)
      }))

    it.effect("changes its settings while in use", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ floor: 0 })
        yield* times(10, budget.deposit)
        yield* budget.update({ share: 0.5 })
        assert.strictEqual(yield* balance(budget), 5)
        yield* budget.update({ floor: 1 })
        assert.strictEqual(yield* balance(budget), 15)
        assert.throws(
          () => budget.update({ share: -1 }),
          RangeError,
          "RetryBudget.update: share must be a number from 0 to 10^12"
        )
      }))

    const Step = Schema.Literals(["call", "call", "retry", "heavy", "interrupt", "short", "long"])

    it.effect.prop(
      "is never exceeded, and refuses nothing that fits",
      { steps: Schema.Array(Step), share: Schema.Literals([0, 0.1, 0.2, 1, 2]), floor: Schema.Literals([0, 0.3, 1]) },
      ({ floor, share, steps }) =>
        Effect.gen(function*() {
          const budget = yield* RetryBudget.make({ share, floor, timeToLive: "1 second" })
          let now = 0
          let calls: Array<number> = []
          let retries: Array<{ readonly at: number; readonly cost: number; readonly held: RetryBudget.Reservation }> =
            []
          const slice = (at: number) => Math.floor(at / 100)
          for (const step of steps) {
            if (step === "short" || step === "long") {
              const pause = step === "short" ? 30 : 470
              now += pause
              yield* TestClock.adjust(pause)
            } else if (step === "call") {
              calls.push(now)
              yield* budget.deposit
            } else if (step === "interrupt") {
              const last = retries.pop()
              if (last !== undefined) yield* budget.giveBack(last.held)
            } else {
              const cost = step === "heavy" ? 2.5 : 1
              calls = calls.filter((at) => slice(at) > slice(now) - 10)
              retries = retries.filter(({ at }) => slice(at) >= slice(now) - 10)
              const spent = retries.reduce((sum, retry) => sum + retry.cost, 0)
              const reservation = yield* budget.tryReserve(cost)
              const left = share * calls.length + floor - spent
              assert.strictEqual(Option.isSome(reservation), cost <= left + 1e-6, `${cost} of ${left}`)
              if (Option.isSome(reservation)) retries.push({ at: now, cost, held: reservation.value })
            }
          }
        })
    )

    it.effect.prop(
      "is never exceeded in any window",
      {
        pauses: Schema.Array(Schema.Literals([0, 1, 99, 100, 400, 899, 900, 901, 999])),
        floor: Schema.Literals([1, 3, 10])
      },
      ({ floor, pauses }) =>
        Effect.gen(function*() {
          const budget = yield* RetryBudget.make({ share: 0, floor, timeToLive: "1 second" })
          const retries: Array<number> = []
          let now = 0
          for (const pause of pauses) {
            now += pause
            yield* TestClock.adjust(pause)
            retries.push(...Array(yield* drain(budget)).fill(now))
          }
          for (const from of retries) {
            assert.isAtMost(retries.filter((at) => at >= from && at < from + 1_000).length, floor)
          }
        })
    )
  })

  describe("quota", () => {
    it.effect("never holds more than its capacity", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.quota()
        yield* times(3, budget.settle())
        assert.deepStrictEqual(yield* budget.inspect, { _tag: "Quota", balance: 500, capacity: 500 })
        const reservation = Option.getOrThrow(yield* budget.tryReserve())
        yield* budget.giveBack(reservation)
        yield* budget.settle(reservation)
        assert.strictEqual(yield* balance(budget), 500)
        yield* budget.update({ capacity: 7, retryCost: 3 })
        assert.strictEqual(yield* drain(budget), 2)
        assert.strictEqual(yield* balance(budget), 1)
      }))

    it.effect("takes a deadline for a timeout, and no other error", () =>
      Effect.gen(function*() {
        const { costOf } = yield* RetryBudget.quota({ retryCost: 1, timeoutCost: 7 })
        const late = yield* Effect.exit(
          Effect.forkChild(Deadline.attempt("1 second")(Effect.never), {
            startImmediately: true
          }).pipe(Effect.tap(TestClock.adjust("1 second")), Effect.flatMap(Fiber.join))
        )
        assert.strictEqual(costOf(late), 7)
        for (const exit of [Exit.fail("busy"), Exit.die("boom"), Exit.void]) assert.strictEqual(costOf(exit), 1)
      }))

    it.effect("counts successes as a policy", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.quota({ capacity: 10 })
        assert.strictEqual(yield* drain(budget), 2)
        yield* budget(Effect.succeed("ok"))
        yield* Effect.exit(budget(Effect.fail("busy")))
        yield* Effect.exit(budget(Effect.interrupt))
        assert.strictEqual(yield* balance(budget), 1)
      }))
  })

  describe("traffic", () => {
    it.effect("each run of an effect or a stream is a call, however it ends", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make()
        const call = budget(Effect.succeed("ok"))
        assert.strictEqual(yield* call, "ok")
        yield* call
        yield* Effect.exit(budget(Effect.die("boom")))
        assert.deepStrictEqual(yield* Stream.runCollect(budget.stream(Stream.make(1, 2, 3))), [1, 2, 3])
        assert.strictEqual(yield* Effect.map(budget.inspect, (state) => state._tag === "Share" && state.calls), 4)
      }))
  })

  describe("interruption", () => {
    it.effect("gives the reservation of an interrupted wait back", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ share: 1, floor: 0 })
        yield* budget.deposit
        const fiber = yield* Effect.forkChild(waitingForRetry(budget, () => {}), { startImmediately: true })
        assert.strictEqual(yield* balance(budget), 0)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* balance(budget), 1)
      }))

    it.live("loses nothing at any step", () =>
      Effect.gen(function*() {
        const setup = Effect.map(RetryBudget.make(), (budget) => ({ budget, retry: { started: false } }))
        const { interrupted } = yield* interruptEverywhere({
          setup,
          run: ({ budget, retry }) => budget(waitingForRetry(budget, () => retry.started = true)),
          check: ({ budget, retry }) =>
            Effect.map(budget.inspect, (state) =>
              assert.strictEqual(state._tag === "Share" && state.retries, retry.started ? 1 : 0))
        })
        assert.isAbove(interrupted, 100)
      }))
  })

  it.effect("a thousand concurrent callers get what there is and no more", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.make({ floor: 0 })
      const gate = yield* Deferred.make<void>()
      const call = Effect.gen(function*() {
        yield* budget.deposit
        yield* Deferred.await(gate)
        yield* Effect.yieldNow
        return yield* budget.tryReserve()
      })
      const fibers = yield* times(1_000, Effect.forkChild(call, { startImmediately: true }))
      yield* Deferred.succeed(gate, undefined)
      const granted = yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(granted.filter(Option.isSome).length, 200)
    }))

  it.effect("tells what happens to retries", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.make({ share: 1, floor: 0 })
      const heard = yield* Effect.forkChild(Stream.runCollect(Stream.take(budget.events, 3)), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      yield* budget.deposit
      const reservation = Option.getOrThrow(yield* budget.tryReserve())
      yield* budget.tryReserve()
      yield* budget.giveBack(reservation)
      assert.deepStrictEqual(yield* Fiber.join(heard), [
        { _tag: "Reserved", cost: 1, balance: 0 },
        { _tag: "Denied", cost: 1, balance: 0 },
        { _tag: "GivenBack", cost: 1, balance: 1 }
      ])
    }))

  it.effect("counts the retries that it denied", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.make({ name: "catalogue", share: 0, floor: 0 })
      yield* times(2, budget.tryReserve())
      assert.deepStrictEqual(yield* metrics, { "ballast_retries_denied_total{name=catalogue}": 2 })
    }).pipe(withMetrics))

  it.effect("keeps a budget for each key, until nothing in it counts", () =>
    Effect.gen(function*() {
      const budgets = yield* RetryBudget.keyed({ share: 1, floor: 0.01, timeToLive: "30 minutes" })
      yield* times(5, budgets("calls")(Effect.void))
      yield* (yield* budgets.get("retries")).tryReserve()
      yield* budgets.get("unused")
      assert.strictEqual(yield* drain(yield* budgets.get("calls")), 5 + 18)
      yield* TestClock.adjust("15 minutes")
      yield* budgets.get("now")
      assert.sameMembers(Array.from(yield* budgets.keys), ["calls", "retries", "now"])
      yield* TestClock.adjust("31 minutes")
      yield* budgets.get("now")
      assert.deepStrictEqual(yield* budgets.keys, ["now"])
    }))

  it.effect("a key that has calls and no retries yet is kept", () =>
    Effect.gen(function*() {
      const budgets = yield* RetryBudget.keyed({ timeToLive: "30 minutes" })
      yield* budgets("calls")(Effect.void)
      yield* TestClock.adjust("15 minutes")
      yield* budgets.get("now")
      assert.deepStrictEqual(yield* budgets.keys, ["calls", "now"])
    }))

  it.effect("noop grants everything and counts nothing", () =>
    Effect.gen(function*() {
      const { noop } = RetryBudget
      assert.strictEqual(yield* noop(Effect.succeed("ok")), "ok")
      yield* noop.deposit
      const granted = yield* times(1_000, noop.tryReserve(1e9))
      assert.isTrue(granted.every(Option.isSome))
      yield* noop.update({ share: 0 })
      assert.deepStrictEqual(yield* noop.inspect, { _tag: "Share", calls: 0, retries: 0, balance: Infinity })
      assert.deepStrictEqual(yield* Stream.runCollect(noop.events), [])
    }))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [() => unknown, string]> = [
      [() => RetryBudget.make({ share: -1 }), "RetryBudget.make: share must be a number from 0 to 10^12, got -1"],
      [
        () => RetryBudget.make({ floor: NaN }),
        "RetryBudget.make: floor must be a number from 0 to 10^12, got NaN"
      ],
      [
        () => RetryBudget.make({ timeToLive: 0 }),
        "RetryBudget.make: timeToLive must be a finite duration above zero, got 0"
      ],
      [
        () => RetryBudget.quota({ capacity: Infinity }),
        "RetryBudget.quota: capacity must be a number from 0 to 10^12, got Infinity"
      ],
      [
        () => RetryBudget.quota({ retryCost: 0 }),
        "RetryBudget.quota: retryCost must be a number above 0, at most 10^12, got 0"
      ],
      [() => RetryBudget.keyed({ share: -1 }), "RetryBudget.keyed: share must be a number from 0 to 10^12, got -1"]
    ]
    for (const [make, message] of refused) {
      it(`refuses: ${message}`, () => {
        assert.throws(make, RangeError, message)
      })
    }
  })
})
