import { Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Exit } from "effect"
import { Fault } from "./support.ts"

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
})
