import { Backoff, Retry } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Pull, Random, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { chance } from "./support.ts"

/** The first waits of a schedule in milliseconds; fewer when it is done before. */
const waits = Effect.fnUntraced(function*(schedule: Schedule.Schedule<Duration.Duration>, times: number) {
  const step = yield* Schedule.toStep(schedule)
  const out: Array<number> = []
  const next = Pull.matchEffect(Effect.suspend(() => step(0, undefined)), {
    onSuccess: ([output, delay]) => {
      assert.strictEqual(output, delay)
      out.push(Duration.toMillis(delay))
      return Effect.succeed(true)
    },
    onFailure: Effect.failCause,
    onDone: () => Effect.succeed(false)
  })
  while (out.length < times && (yield* next)) { /* The next one. */ }
  return out
})

const plain = { base: 100, cap: "1 hour", jitter: "none" } as const

describe("Backoff", () => {
  describe("curves", () => {
    it.effect("constant stays", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* waits(Backoff.constant(plain), 4), [100, 100, 100, 100])
      }))

    it.effect("linear grows by its step, which is the base unless told", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* waits(Backoff.linear(plain), 4), [100, 200, 300, 400])
        assert.deepStrictEqual(yield* waits(Backoff.linear({ ...plain, step: 10 }), 4), [100, 110, 120, 130])
        assert.deepStrictEqual(yield* waits(Backoff.linear({ ...plain, step: 0 }), 3), [100, 100, 100])
      }))

    it.effect("exponential grows by its factor, which is two unless told", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* waits(Backoff.exponential(plain), 5), [100, 200, 400, 800, 1_600])
        assert.deepStrictEqual(yield* waits(Backoff.exponential({ ...plain, factor: 3 }), 4), [100, 300, 900, 2_700])
      }))

    it.effect("fibonacci grows by the sum of the two before", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* waits(Backoff.fibonacci(plain), 7), [100, 100, 200, 300, 500, 800, 1_300])
      }))

    it.effect("begins anew with each run", () =>
      Effect.gen(function*() {
        const schedule = Backoff.fibonacci(plain)
        assert.deepStrictEqual(yield* waits(schedule, 5), yield* waits(schedule, 5))
      }))

    it.effect("ends after as many waits as told", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* waits(Backoff.linear({ ...plain, times: 2 }), 9), [100, 200])
        assert.deepStrictEqual(yield* waits(Backoff.decorrelated({ times: 0 }), 9), [])
      }))
  })

  describe("jitter", () => {
    const at = (random: number, jitter: Backoff.Jitter) =>
      chance(random)(waits(Backoff.exponential({ ...plain, jitter }), 3))

    it.effect("full draws from zero to the point, and is the default", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* at(0, "full"), [0, 0, 0])
        assert.deepStrictEqual(yield* at(0.5, "full"), [50, 100, 200])
        const { jitter: _, ...unsaid } = plain
        assert.deepStrictEqual(yield* chance(0.25)(waits(Backoff.constant(unsaid), 1)), [25])
      }))

    it.effect("equal draws from half of the point to the point", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* at(0, "equal"), [50, 100, 200])
        assert.deepStrictEqual(yield* at(0.5, "equal"), [75, 150, 300])
      }))

    it.effect("decorrelated draws from the base to three times the wait before, or to the cap", () =>
      Effect.gen(function*() {
        const schedule = Backoff.decorrelated({ base: 100, cap: 2_000 })
        assert.deepStrictEqual(yield* chance(0)(waits(schedule, 3)), [100, 100, 100])
        assert.deepStrictEqual(yield* chance(0.5)(waits(schedule, 7)), [200, 350, 575, 912.5, 1_050, 1_050, 1_050])
        assert.deepStrictEqual(yield* chance(1)(waits(schedule, 4)), [300, 900, 2_000, 2_000])
      }))

    it.effect("repeats with the same seed and differs with another", () =>
      Effect.gen(function*() {
        for (const make of [Backoff.constant, Backoff.linear, Backoff.fibonacci, Backoff.decorrelated]) {
          const run = (seed: string) => Random.withSeed(waits(make(), 20), seed)
          assert.deepStrictEqual(yield* run("a"), yield* run("a"))
          assert.notDeepEqual(yield* run("a"), yield* run("b"))
        }
      }))
  })

  describe("cap", () => {
    it.effect("bounds the point before jitter draws the wait", () =>
      Effect.gen(function*() {
        const options = { base: 1_000, cap: 10_000 }
        const full = Backoff.exponential(options)
        assert.deepStrictEqual(yield* chance(0.5)(waits(full, 6)), [500, 1_000, 2_000, 4_000, 5_000, 5_000])
        const equal = Backoff.exponential({ ...options, jitter: "equal" })
        assert.deepStrictEqual(yield* chance(0.5)(waits(equal, 6)), [750, 1_500, 3_000, 6_000, 7_500, 7_500])
        const none = Backoff.exponential({ ...options, jitter: "none" })
        assert.deepStrictEqual(yield* chance(0.5)(waits(none, 6)), [1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
      }))

    it.effect("holds from the first wait on", () =>
      Effect.gen(function*() {
        const options = { base: "1 hour", cap: 8 } as const
        assert.deepStrictEqual(yield* chance(0.5)(waits(Backoff.constant(options), 2)), [4, 4])
        assert.deepStrictEqual(yield* chance(0.5)(waits(Backoff.exponential(options), 2)), [4, 4])
        assert.deepStrictEqual(yield* chance(0.5)(waits(Backoff.decorrelated(options), 2)), [8, 8])
      }))

    it.effect("leaves callers that have reached it apart from each other", () =>
      Effect.gen(function*() {
        const schedules = [
          Backoff.exponential({ base: 1, cap: 100 }),
          Backoff.exponential({ base: 1, cap: 100, jitter: "equal" }),
          Backoff.decorrelated({ base: 1, cap: 100 })
        ]
        for (const schedule of schedules) {
          const late: Array<number> = []
          for (let caller = 0; caller < 200; caller++) {
            late.push((yield* Random.withSeed(waits(schedule, 20), String(caller))).at(-1) ?? NaN)
          }
          // Were they drawn first and cut then, most of them would be 100.
          assert.isAbove(new Set(late).size, 190)
          assert.isBelow(late.reduce((sum, wait) => sum + wait, 0) / 200, 80)
        }
      }))
  })

  it.effect("is finite and within its cap for ten thousand attempts", () =>
    Effect.gen(function*() {
      const options = { base: "1 day", cap: "30 days" } as const
      const schedules = [
        Backoff.constant(options),
        Backoff.linear({ ...options, step: Number.MAX_VALUE }),
        Backoff.exponential({ ...options, jitter: "equal", factor: 1e9 }),
        Backoff.exponential(options),
        Backoff.fibonacci({ ...options, jitter: "none" }),
        Backoff.decorrelated({ ...options, factor: Number.MAX_VALUE })
      ]
      for (const [index, schedule] of schedules.entries()) {
        // Zero is the draw that turns infinity into no number at all.
        const all = yield* chance(index % 2 === 0 ? 0 : 0.999)(waits(schedule, 10_000))
        assert.strictEqual(all.length, 10_000)
        assert.isTrue(all.every((wait) => wait >= 0 && wait <= Duration.toMillis("30 days")))
        if (index % 2 === 1) {
          assert.isAbove(all.at(-1) ?? 0, 0.9 * Duration.toMillis(index === 1 ? "30 days" : "29 days"))
        }
      }
    }), 60_000)

  it.effect("decorrelated draws the base again after a wait beyond all numbers", () =>
    Effect.gen(function*() {
      const schedule = Backoff.decorrelated({ base: 5, cap: "30 days", factor: Number.MAX_VALUE })
      assert.deepStrictEqual(yield* chance(0)(waits(schedule, 3)), [5, 5, 5])
    }))

  const Positive = Schema.Number.check(Schema.isFinite(), Schema.isGreaterThan(1e-3))
  const Factor = Schema.Number.check(Schema.isFinite(), Schema.isGreaterThanOrEqualTo(1))

  it.effect.prop(
    "never leaves its bounds, whatever the options and the seed",
    { base: Positive, cap: Positive, factor: Factor, step: Positive, seed: Schema.String },
    ({ base, cap, factor, seed, step }) =>
      Effect.gen(function*() {
        for (const jitter of ["none", "full", "equal"] as const) {
          const options = { base, cap, jitter }
          const schedules = [
            Backoff.constant(options),
            Backoff.linear({ ...options, step }),
            Backoff.exponential({ ...options, factor }),
            Backoff.fibonacci(options),
            Backoff.decorrelated({ base, cap, factor })
          ]
          // A duration keeps nanoseconds, which rounds.
          const bound = Duration.toMillis(Duration.millis(cap))
          for (const schedule of schedules) {
            for (const wait of yield* Random.withSeed(waits(schedule, 12), seed)) {
              assert.isTrue(wait >= 0 && wait <= bound, `${wait} of ${bound}`)
            }
          }
        }
      })
  )

  describe("use", () => {
    const attempts = Effect.fnUntraced(
      function*(retry: (self: Effect.Effect<never, string>) => Effect.Effect<never, string>) {
        const at: Array<number> = []
        const fiber = yield* Effect.forkChild(
          Effect.exit(retry(Effect.flatMap(Clock.currentTimeMillis, (now) => {
            at.push(now)
            return Effect.fail("busy")
          }))),
          { startImmediately: true }
        )
        yield* TestClock.adjust("1 hour")
        yield* Fiber.join(fiber)
        return at
      }
    )

    it.effect("drives Retry and Effect.retry alike", () =>
      Effect.gen(function*() {
        const schedule = Backoff.exponential({ ...plain, times: 3 })
        const began = yield* Clock.currentTimeMillis
        assert.deepStrictEqual(yield* attempts(Retry.make({ schedule })), [0, 100, 300, 700].map((at) => began + at))
        const again = yield* Clock.currentTimeMillis
        assert.deepStrictEqual(yield* attempts(Effect.retry(schedule)), [0, 100, 300, 700].map((at) => again + at))
      }))
  })

  describe("options", () => {
    const refused: ReadonlyArray<readonly [() => unknown, string]> = [
      [() => Backoff.constant({ base: 0 }), "Backoff.constant: base must be a finite duration above zero, got 0"],
      [
        () => Backoff.linear({ cap: Infinity }),
        "Backoff.linear: cap must be a finite duration above zero, got Infinity"
      ],
      [() => Backoff.linear({ step: -1 }), "Backoff.linear: step must be a duration of at least zero"],
      [
        () => Backoff.exponential({ factor: 0.5 }),
        "Backoff.exponential: factor must be a finite number of at least 1, got 0.5"
      ],
      [
        () => Backoff.decorrelated({ factor: NaN }),
        "Backoff.decorrelated: factor must be a finite number of at least 1, got NaN"
      ],
      [
        () => Backoff.fibonacci({ times: -1 }),
        "Backoff.fibonacci: times must be an integer of at least 0, or Infinity, got -1"
      ]
    ]
    for (const [make, message] of refused) {
      it(`refuses: ${message}`, () => {
        assert.throws(make, RangeError, message)
      })
    }
  })
})
