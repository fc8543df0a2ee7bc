import { OffPeak, Pricing } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"

const options = { pricing: Pricing.make(), provider: "deepseek", model: "deepseek-flash" }

/** When a program began, as the clock of the test says, from a moment on. */
const begins = (text: string, more: Partial<OffPeak.Options>) =>
  Effect.gen(function*() {
    yield* TestClock.setTime(Date.parse(text))
    const fiber = yield* Effect.forkChild(OffPeak.defer({ ...options, ...more })(Clock.currentTimeMillis))
    yield* TestClock.adjust("3 days")
    return new Date(yield* Fiber.join(fiber)).toISOString()
  })

describe("OffPeak", () => {
  it.effect("waits for the cheaper hours, at most as long as it may", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* begins("2026-11-30T01:10:00Z", {}), "2026-11-30T04:00:00.000Z")
      assert.strictEqual(yield* begins("2026-11-30T01:10:00Z", { maxWait: "1 hour" }), "2026-11-30T02:10:00.000Z")
    }))

  it.effect("waits for nothing off-peak, and where no price is known", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* begins("2026-11-28T02:00:00Z", {}), "2026-11-28T02:00:00.000Z")
      assert.strictEqual(yield* begins("2026-11-30T02:00:00Z", { model: "x" }), "2026-11-30T02:00:00.000Z")
    }))

  it.effect("repeats at the beginning of cheaper hours", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-30T03:00:00Z"))
      const times: Array<string> = []
      const note = Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.sync(() =>
          void times.push(new Date(now).toISOString())
        ).pipe(Effect.andThen(Effect.sleep("150 minutes"))))
      yield* Effect.forkChild(Effect.repeat(note, OffPeak.schedule(options)))
      yield* TestClock.adjust("8 hours")
      assert.deepStrictEqual(times, [
        "2026-11-30T03:00:00.000Z",
        "2026-11-30T05:30:00.000Z",
        // 08:00 is a peak hour.
        "2026-11-30T10:00:00.000Z"
      ])
    }))
})
