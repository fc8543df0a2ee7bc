import { CircuitBreaker, Outcome, Retry, RetryBudget, Throttle } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { chance, Fault } from "./support.ts"

describe("Outcome", () => {
  describe("classify", () => {
    const judged = new Fault({ ignored: true, retryable: true, retryAfter: Duration.seconds(3) })
    const fail = Cause.makeFailReason
    const die = Cause.makeDieReason("boom")
    const interrupt = Cause.makeInterruptReason(1)
    const causes = (...reasons: ReadonlyArray<Cause.Reason<unknown>>) => Exit.failCause(Cause.fromReasons(reasons))

    const cases: ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>, Outcome.Outcome]> = [
      ["a success", Exit.succeed(1), Outcome.success],
      ["an error without a judgement", Exit.fail("no"), Outcome.failure()],
      [
        "an error with a judgement",
        Exit.fail(judged),
        Outcome.ignored({ retryable: true, retryAfter: Duration.seconds(3) })
      ],
      ["a defect", Exit.die("boom"), Outcome.failure({ retryable: false })],
      ["a defect with a judgement", Exit.die(judged), Outcome.failure({ retryable: false })],
      ["an interruption", Exit.interrupt(1), Outcome.ignored()],
      ["an error beside an interruption", causes(interrupt, fail("no")), Outcome.failure()],
      ["a defect beside an error", causes(fail(judged), die), Outcome.failure({ retryable: false })],
      ["the first of several errors", causes(fail(judged), fail("no")), judged[Outcome.key]]
    ]
    for (const [name, exit, outcome] of cases) {
      it(`judges ${name}`, () => {
        assert.deepStrictEqual(Outcome.classify(exit), outcome)
      })
    }
  })

  it("knows what carries a judgement", () => {
    assert.isTrue(Outcome.isJudged(new Fault({})))
    assert.isFalse(Outcome.isJudged("no"))
    assert.isFalse(Outcome.isJudged(undefined))
  })

  describe("classifier", () => {
    const classify = Outcome.classifier({
      error: (error) => error === "gone" ? Outcome.ignored() : undefined,
      result: (result) => result === 503 ? Outcome.failure() : undefined
    })
    const cases: ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>, Outcome.Outcome]> = [
      ["an error that it knows", Exit.fail("gone"), Outcome.ignored()],
      ["an error that it leaves to the other", Exit.fail("no"), Outcome.failure()],
      ["a result that tells of a failure", Exit.succeed(503), Outcome.failure()],
      ["any other result", Exit.succeed(200), Outcome.success],
      ["a defect", Exit.die("gone"), Outcome.failure({ retryable: false })],
      [
        "a defect beside an error that it knows",
        Exit.failCause(Cause.fromReasons([Cause.makeFailReason("gone"), Cause.makeDieReason("boom")])),
        Outcome.failure({ retryable: false })
      ],
      ["an interruption", Exit.interrupt(1), Outcome.ignored()]
    ]
    for (const [name, exit, outcome] of cases) {
      it(`judges ${name}`, () => {
        assert.deepStrictEqual(classify(exit), outcome)
      })
    }

    it("asks another one about the rest", () => {
      const strict = Outcome.classifier({ otherwise: () => Outcome.slowSuccess })
      assert.strictEqual(strict(Exit.fail("no")), Outcome.slowSuccess)
      assert.strictEqual(strict(Exit.succeed(1)), Outcome.slowSuccess)
    })

    it.effect("feeds breaker, retry, budget and statistics alike", () =>
      Effect.gen(function*() {
        const retryAfter = Duration.seconds(3)
        const classify = Outcome.classifier({ result: () => Outcome.failure({ retryAfter }) })
        const breaker = yield* CircuitBreaker.make({ classify, minimumCalls: 2 })
        const throttle = yield* Throttle.make({ classify })
        const budget = yield* RetryBudget.make()
        const retry = Retry.make({ classify, budget, times: 1 })
        let runs = 0
        const call = Effect.sync(() => {
          runs++
          return "busy"
        })
        const guarded = breaker(throttle(call))
        const fiber = yield* Effect.forkChild(chance(0)(retry(guarded)), { startImmediately: true })
        yield* TestClock.adjust(2_999)
        assert.strictEqual(runs, 1)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(fiber), "busy")
        assert.strictEqual(runs, 2)
        // The two attempts are one call to the breaker.
        yield* guarded
        assert.strictEqual((yield* breaker.inspect)._tag, "Open")
        const { accepts, requests } = yield* throttle.inspect
        assert.deepStrictEqual([requests, accepts], [3, 0])
        assert.propertyVal(yield* budget.inspect, "retries", 1)
      }))
  })
})
