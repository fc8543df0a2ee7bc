import { RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { type Limits, makeModel, type Model } from "./support/rateModels.ts"

const upTo = (maximum: number, minimum = 0) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

// Every limit divides every window, and all sums are exact.
const limit = Schema.Literals([1, 2, 4, 8])
const window = Schema.Literals([40, 80])
const Ours = Schema.Struct({ limit, window, burst: upTo(9, 1) })

const Step = Schema.Union([
  Schema.Struct({ _tag: Schema.Literal("advance"), millis: upTo(100) }),
  Schema.Struct({ _tag: Schema.Literals(["call", "call ", "reserve", "penalize", "reward"]), weight: upTo(5, 1) }),
  Schema.Struct({ _tag: Schema.Literals(["settle", "settle "]), nth: upTo(4), weight: upTo(8) }),
  Schema.Struct({ _tag: Schema.Literals(["pause", "block"]), millis: upTo(60) }),
  Schema.Struct({ _tag: Schema.Literals(["resume", "unblock"]) }),
  Schema.Struct({ _tag: Schema.Literal("update"), limits: Ours })
])

/** Little but reservations, many of them open at a time. */
const Reserving = Schema.Union([
  Schema.Struct({ _tag: Schema.Literal("advance"), millis: upTo(40) }),
  Schema.Struct({ _tag: Schema.Literals(["call", "reserve", "reserve"]), weight: upTo(5, 1) }),
  Schema.Struct({ _tag: Schema.Literal("settle"), nth: upTo(4), weight: Schema.Literals([0, 1]) })
])

const algorithms: ReadonlyArray<RateLimiter.Algorithm> = [
  "token-bucket",
  "leaky-bucket",
  "fixed-window",
  "sliding-counter",
  "sliding-log"
]

/** The first millisecond at which a call could go; found by trying. */
const waitOf = (model: Model, now: number, closedUntil: number, weight: number): number => {
  const goes = (wait: number) => now + wait >= closedUntil && model.canTake(now + wait, weight)
  let [low, high] = [0, 1 << 16]
  if (!goes(high)) return Infinity
  while (low < high) {
    const middle = (low + high) >>> 1
    if (goes(middle)) high = middle
    else low = middle + 1
  }
  return low
}

const check = Effect.fnUntraced(function*(
  algorithm: RateLimiter.Algorithm,
  initial: Limits,
  steps: ReadonlyArray<typeof Step.Type>
) {
  const settings = ({ burst, ...limits }: Limits) => algorithm === "token-bucket" ? { ...limits, burst } : limits
  const limiter = yield* RateLimiter.make({ algorithm, ...settings(initial) })
  const model = makeModel(algorithm, initial)
  const reservations: Array<{
    readonly held: RateLimiter.Reservation
    readonly taken: ReturnType<Model["take"]>
    settled: boolean
  }> = []
  let limits = initial
  let [now, pausedUntil, blockedUntil] = [0, 0, 0]

  for (const [place, step] of steps.entries()) {
    if (step._tag === "reserve") {
      // Reservations of one instant are one to a limiter, if a reward came between them.
      now += 1
      yield* TestClock.adjust(1)
    }
    const told = `step ${place}: ${JSON.stringify(step)}`
    switch (step._tag) {
      case "advance":
        now += step.millis
        yield* TestClock.adjust(step.millis)
        break
      case "call":
      case "call ":
      case "reserve": {
        const wait = waitOf(model, now, Math.max(pausedUntil, blockedUntil), step.weight)
        const call = step._tag === "reserve" ? limiter.reserve(step.weight) : limiter.weigh(step.weight)(Effect.void)
        const answer = yield* Effect.result(call)
        if (answer._tag === "Failure") {
          assert.strictEqual(Duration.toMillis(answer.failure.retryAfter), wait, told)
          assert.isAbove(wait, 0, told)
        } else {
          assert.strictEqual(wait, 0, told)
          const taken = model.take(now, step.weight)
          if (answer.success !== undefined) reservations.push({ held: answer.success, taken, settled: false })
        }
        break
      }
      case "settle":
      case "settle ": {
        const reservation = reservations.at(-1 - step.nth)
        if (reservation === undefined) break
        yield* limiter.settle(reservation.held, step.weight)
        if (reservation.settled) break
        reservation.settled = true
        const excess = step.weight - reservation.held.weight
        if (excess < 0) model.giveBack(now, reservation.taken, -excess)
        else if (excess > 0) model.take(now, excess)
        break
      }
      case "penalize":
        yield* limiter.penalize(step.weight)
        model.take(now, step.weight)
        break
      case "reward":
        yield* limiter.reward(step.weight)
        model.reward(now, step.weight)
        break
      case "pause":
        yield* limiter.pause(step.millis)
        pausedUntil = Math.max(pausedUntil, now + step.millis)
        break
      case "block":
        yield* limiter.block(step.millis)
        blockedUntil = Math.max(blockedUntil, now + step.millis)
        break
      case "resume":
        yield* limiter.resume
        pausedUntil = now
        break
      case "unblock":
        yield* limiter.unblock
        blockedUntil = now
        break
      case "update":
        yield* limiter.update(settings(step.limits))
        model.update(now, step.limits)
        limits = step.limits
        break
    }
    // The largest weight that fits tells whatever is taken.
    for (const weight of [1, 3, algorithm === "token-bucket" ? limits.burst : limits.limit]) {
      const wait = waitOf(model, now, Math.max(pausedUntil, blockedUntil), weight)
      assert.strictEqual(Duration.toMillis(yield* limiter.peek(weight)), wait, `${told}, then a weight of ${weight}`)
    }
  }
})

describe("RateLimiter", () => {
  describe("agrees with a model that keeps the whole history", () => {
    for (const algorithm of algorithms) {
      it.effect.prop(
        algorithm,
        { limits: Ours, steps: Schema.Array(Step) },
        ({ limits, steps }) => check(algorithm, limits, steps),
        { arbitrary: { runs: 200, size: 40 } }
      )

      it.effect.prop(
        `${algorithm}, with many reservations`,
        { limit, burst: upTo(16, 5), steps: Schema.Array(Reserving) },
        ({ burst, limit, steps }) => check(algorithm, { limit, burst, window: 80 }, steps),
        { arbitrary: { runs: 600, size: 40 } }
      )
    }
  })
})
