import { Backoff, RetryBudget } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Option, type Pull, Schedule } from "effect"
import { chance } from "./support.ts"

/**
 * The tables of the AWS SDK specification of retry behaviour, standard mode, in revisions 2.0 and 2.1, with what it says
 * in words (timeouts, successes without retry) as rows of the same kind.
 */
describe("RetryBudget", () => {
  /** What the service answers, and what the specification says about it: outcome, tokens left, seconds of delay. */
  type Row = readonly [
    answer: "ok" | "error" | "timeout" | "throttled",
    outcome: "success" | "retry" | "max attempts exceeded" | "quota exceeded",
    tokens: number,
    delay?: number
  ]

  interface Case {
    readonly attempts?: number
    readonly tokens?: number
    readonly cap?: Duration.Input
    readonly rows: ReadonlyArray<Row>
  }

  type Step = (now: number, error: unknown) => Pull.Pull<[unknown, Duration.Duration], never, unknown>

  const run = Effect.fnUntraced(function*(
    { attempts = 3, cap = "20 seconds", rows }: Case,
    budget: RetryBudget.RetryBudget,
    base: (answer: Row[0]) => Duration.Input
  ) {
    let attempt = 1
    let last: RetryBudget.Reservation | undefined
    const seen: Array<Row> = []
    const steps = new Map<Row[0], Step>()
    for (const [answer] of rows) {
      if (answer === "ok") {
        yield* budget.settle(last)
        seen.push([answer, "success", (yield* budget.inspect).balance])
        attempt = 1
        last = undefined
        steps.clear()
      } else if (attempt === attempts) {
        seen.push([answer, "max attempts exceeded", (yield* budget.inspect).balance])
      } else {
        const error = answer === "timeout" ? new Cause.TimeoutError() : answer
        last = Option.getOrUndefined(yield* budget.tryReserve(budget.costOf(Exit.fail(error))))
        if (last === undefined) {
          seen.push([answer, "quota exceeded", (yield* budget.inspect).balance])
        } else {
          attempt++
          const step = steps.get(answer) ??
            (yield* Schedule.toStep(Backoff.exponential({ base: base(answer), cap })))
          steps.set(answer, step)
          const [_, delay] = yield* Effect.orDie(step(0, answer))
          seen.push([answer, "retry", (yield* budget.inspect).balance, Duration.toSeconds(delay)])
        }
      }
    }
    assert.deepStrictEqual(seen, rows)
  }, chance(1))

  const standard: Record<string, Case> = {
    "retry eventually succeeds": {
      rows: [["error", "retry", 495, 1], ["error", "retry", 490, 2], ["ok", "success", 495]]
    },
    "fail due to max attempts reached": {
      rows: [["error", "retry", 495, 1], ["error", "retry", 490, 2], ["error", "max attempts exceeded", 490]]
    },
    "retry quota reached after a single retry": {
      tokens: 5,
      rows: [["error", "retry", 0, 1], ["error", "quota exceeded", 0]]
    },
    "no retries at all if retry quota is 0": { tokens: 0, rows: [["error", "quota exceeded", 0]] },
    "verifying exponential backoff timing": {
      attempts: 5,
      rows: [
        ["error", "retry", 495, 1],
        ["error", "retry", 490, 2],
        ["error", "retry", 485, 4],
        ["error", "retry", 480, 8],
        ["error", "max attempts exceeded", 480]
      ]
    },
    "verify max backoff time": {
      attempts: 5,
      cap: "3 seconds",
      rows: [
        ["error", "retry", 495, 1],
        ["error", "retry", 490, 2],
        ["error", "retry", 485, 3],
        ["error", "retry", 480, 3],
        ["error", "max attempts exceeded", 480]
      ]
    },
    "retry stops after retry quota exhaustion": {
      attempts: 5,
      tokens: 10,
      rows: [["error", "retry", 5, 1], ["error", "retry", 0, 2], ["error", "quota exceeded", 0]]
    },
    "retry quota recovery after successful responses": {
      attempts: 5,
      tokens: 15,
      rows: [
        ["error", "retry", 10, 1],
        ["error", "retry", 5, 2],
        ["ok", "success", 10],
        ["error", "retry", 5, 1],
        ["ok", "success", 10]
      ]
    },
    "a timeout costs ten": {
      rows: [["timeout", "retry", 490, 1], ["timeout", "retry", 480, 2], ["ok", "success", 490]]
    },
    "a timeout that the quota does not cover": {
      tokens: 14,
      rows: [["error", "retry", 9, 1], ["timeout", "quota exceeded", 9]]
    },
    "a success without retry adds one, and never above the capacity": {
      tokens: 15,
      rows: [["error", "retry", 10, 1], ["error", "retry", 5, 2], ["ok", "success", 10], ["ok", "success", 11]]
    }
  }

  for (const [name, given] of Object.entries(standard)) {
    it.effect(`AWS SDK specification 2.0: ${name}`, () =>
      Effect.gen(function*() {
        yield* run(given, yield* RetryBudget.quota({ capacity: given.tokens }), () => "1 second")
      }))
  }

  const revised: Record<string, Case> = {
    "retry eventually succeeds": {
      rows: [["error", "retry", 486, 0.05], ["error", "retry", 472, 0.1], ["ok", "success", 486]]
    },
    "retry quota reached after a single retry": {
      tokens: 14,
      rows: [["error", "retry", 0, 0.05], ["error", "quota exceeded", 0]]
    },
    "verifying exponential backoff timing": {
      attempts: 5,
      rows: [
        ["error", "retry", 486, 0.05],
        ["error", "retry", 472, 0.1],
        ["error", "retry", 458, 0.2],
        ["error", "retry", 444, 0.4],
        ["error", "max attempts exceeded", 444]
      ]
    },
    "retry stops after retry quota exhaustion": {
      attempts: 5,
      tokens: 20,
      rows: [["error", "retry", 6, 0.05], ["error", "quota exceeded", 6]]
    },
    "retry quota recovery after successful responses": {
      attempts: 5,
      tokens: 30,
      rows: [
        ["error", "retry", 16, 0.05],
        ["error", "retry", 2, 0.1],
        ["ok", "success", 16],
        ["error", "retry", 2, 0.05],
        ["ok", "success", 16]
      ]
    },
    "throttling drains five": { rows: [["throttled", "retry", 495, 1], ["ok", "success", 500]] }
  }

  for (const [name, given] of Object.entries(revised)) {
    it.effect(`AWS SDK specification 2.1: ${name}`, () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.quota({
          capacity: given.tokens,
          costOf: (exit) => Exit.isFailure(exit) && Cause.squash(exit.cause) === "throttled" ? 5 : 14
        })
        yield* run(given, budget, (answer) => answer === "throttled" ? "1 second" : "50 millis")
      }))
  }
})
