import { CircuitBreaker, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Deferred, Duration, Effect, type Exit, Fiber, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { type Call, makeModel, type Rules } from "./support/breakerModel.ts"

const { allOf, anyOf, consecutive, consecutiveSlow, countWindow, timeWindow } = CircuitBreaker

/** Each rule as it is at first and as it is after an update. */
const trips: Readonly<Record<string, readonly [CircuitBreaker.Trip, CircuitBreaker.Trip]>> = {
  consecutive: [consecutive(2), consecutive(3)],
  consecutiveSlow: [consecutiveSlow(3), consecutiveSlow(2)],
  countWindow: [countWindow({ size: 4, minimumCalls: 2 }), countWindow({ size: 4, failureRate: 1, slowRate: 0.75 })],
  timeWindow: [
    timeWindow({ window: 1_000, minimumCalls: 3 }),
    timeWindow({ window: 1_000, minimumCalls: 2, failureRate: 0.6, slowRate: 0.5 })
  ],
  anyOf: [
    anyOf(timeWindow({ window: 500, minimumCalls: 3 }), consecutiveSlow(2)),
    anyOf(timeWindow({ window: 500, minimumCalls: 2 }), consecutiveSlow(3))
  ],
  allOf: [
    allOf(consecutive(2), countWindow({ size: 5, minimumCalls: 4 })),
    allOf(consecutive(3), countWindow({ size: 5, minimumCalls: 3 }))
  ]
}

interface Variant {
  readonly rules: Omit<Rules, "trip" | "maxOpenDuration">
  readonly settings: CircuitBreaker.Settings
}

const variant = (
  settings: Pick<Rules, "probes" | "probeThreshold" | "probeTimeout" | "slowAfter">,
  opening: Rules["opening"],
  openDuration: CircuitBreaker.Settings["openDuration"]
): Variant => ({ rules: { ...settings, opening }, settings: { ...settings, openDuration } })

const variants: readonly [Variant, Variant] = [
  variant(
    { probes: 3, probeThreshold: 2, probeTimeout: 700, slowAfter: 400 },
    (n) => Math.min(2 ** (n - 1), 4) * 1_000,
    Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 3 }))
  ),
  variant({ probes: 2, probeThreshold: 2, probeTimeout: 2_000, slowAfter: 300 }, () => 1_500, "1500 millis")
]

const How = Schema.Literals(["quick", "plain", "slow", "failed", "failed slowly", "hinted", "ignored"])

const outcomes: Readonly<Record<typeof How.Type, Outcome.Outcome>> = {
  quick: { _tag: "Success", slow: false },
  plain: Outcome.success,
  slow: Outcome.slowSuccess,
  failed: Outcome.failure(),
  "failed slowly": Outcome.failure({ slow: true }),
  hinted: Outcome.failure({ retryAfter: Duration.seconds(3) }),
  ignored: Outcome.ignored()
}

const isHow = Schema.is(How)

const classify = (exit: Exit.Exit<unknown, unknown>): Outcome.Outcome => {
  if (exit._tag === "Success") return isHow(exit.value) ? outcomes[exit.value] : Outcome.success
  const [reason] = exit.cause.reasons
  return reason?._tag === "Fail" && isHow(reason.error) ? outcomes[reason.error] : Outcome.classify(exit)
}

const Nth = Schema.Literals([0, 0, 1, 2])
const Start = Schema.Literal("start")
const Pass = Schema.Literals(["pass 30", "pass 100", "pass 300", "pass 1000", "pass 4000"])
const End = Schema.Struct({ end: How, nth: Nth })
const Fail = Schema.Struct({ end: Schema.Literals(["failed", "died", "interrupted"]), nth: Nth })
const Hand = Schema.Literals([
  "update",
  "move",
  "open",
  "open for 2000",
  "close",
  "isolate",
  "disable",
  "shadow",
  "automatic"
])

// Some come more often: most of a history is calls.
const Step = Schema.Union([Start, Start, Start, Start, End, End, Fail, Fail, Pass, Pass, Hand])

const steps = Arbitrary.array(Arbitrary.schema(Step), { maxLength: 80 })

describe("CircuitBreaker", () => {
  for (const [name, [before, after]] of Object.entries(trips)) {
    it.effect.prop(
      `agrees with a model that keeps every result: ${name}`,
      { steps },
      ({ steps }) =>
        Effect.gen(function*() {
          const rulesOf = (index: 0 | 1): Rules => ({
            ...variants[index].rules,
            trip: index === 0 ? before : after,
            maxOpenDuration: 5_000
          })
          const settingsOf = (index: 0 | 1) => ({ ...variants[index].settings, trip: index === 0 ? before : after })
          const breaker = yield* CircuitBreaker.make({ ...settingsOf(0), maxOpenDuration: 5_000, classify })
          const model = makeModel(rulesOf(0), 0)
          let variant: 0 | 1 = 0
          let running: Array<{
            readonly call: Call
            readonly answer: Deferred.Deferred<string, string>
            readonly fiber: Fiber.Fiber<string, string | CircuitBreaker.CircuitOpen>
          }> = []

          const start = Effect.gen(function*() {
            const permitted = model.permits()
            const call = model.start()
            assert.strictEqual(call !== undefined, permitted)
            const answer = yield* Deferred.make<string, string>()
            let runs = false
            const program = Effect.suspend(() => {
              runs = true
              return Deferred.await(answer)
            })
            const fiber = yield* Effect.forkChild(breaker(program), { startImmediately: true })
            assert.strictEqual(runs, permitted, "runs")
            if (call !== undefined) {
              running.push({ call, answer, fiber })
              const probes = running.filter((one) => one.call.era === call.era && model.counts(one.call))
              if (call.probe && call.judged) assert.isAtMost(probes.length, rulesOf(variant).probes, "probes")
            }
          })

          const end = Effect.fnUntraced(function*(how: typeof How.Type | "died" | "interrupted", nth: number) {
            const one = running[nth]
            if (one === undefined) return
            running = running.filter((other) => other !== one)
            const counted = model.counts(one.call)
            const exported = yield* breaker.export
            switch (how) {
              case "interrupted": {
                model.end(one.call, Outcome.ignored())
                yield* Fiber.interrupt(one.fiber)
                break
              }
              case "died": {
                model.end(one.call, Outcome.failure())
                yield* Deferred.die(one.answer, how)
                break
              }
              default: {
                const outcome = outcomes[how]
                model.end(one.call, outcome)
                yield* outcome._tag === "Success" ? Deferred.succeed(one.answer, how) : Deferred.fail(one.answer, how)
              }
            }
            yield* Fiber.await(one.fiber)
            if (!counted) assert.deepStrictEqual(yield* breaker.export, exported, "of an earlier era")
          })

          const pass = (millis: number) => {
            model.pass(millis)
            return TestClock.adjust(millis)
          }

          const one = (step: typeof Step.Type): Effect.Effect<void, unknown> => {
            if (typeof step !== "string") return end(step.end, step.nth)
            switch (step) {
              case "start":
                return start
              case "pass 30":
              case "pass 100":
              case "pass 300":
              case "pass 1000":
              case "pass 4000":
                return pass(Number(step.slice(5)))
              case "update":
                variant = variant === 0 ? 1 : 0
                model.update(rulesOf(variant))
                return breaker.update(settingsOf(variant))
              case "move":
                model.move()
                return Effect.flatMap(
                  breaker.export,
                  (state) => breaker.import(JSON.parse(JSON.stringify(state)))
                )
              case "open":
                model.open(undefined)
                return breaker.open()
              case "open for 2000":
                model.open(2_000)
                return breaker.open(2_000)
              case "close":
                model.close()
                return breaker.close
              case "isolate":
                model.hold("Isolated")
                return breaker.isolate
              case "disable":
                model.hold("Disabled")
                return breaker.disable
              case "shadow":
                model.enforce(false)
                return breaker.shadow
              case "automatic":
                model.enforce(true)
                return breaker.automatic
            }
          }

          for (const step of steps) {
            yield* one(step)
            assert.deepStrictEqual(yield* breaker.inspect, model.state())
            assert.strictEqual(yield* breaker.peek, model.permits(), "permits")
          }
        }).pipe(Effect.scoped, Effect.provide(TestClock.layer())),
      { timeout: 60_000, arbitrary: { runs: 200, size: 80 } }
    )
  }
})
