import { RateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const upTo = (maximum: number, minimum = 0) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const algorithms = ["token-bucket", "leaky-bucket", "fixed-window", "sliding-counter", "sliding-log"] as const

/** Sends so many calls at once and returns how many were admitted. */
const send = Effect.fnUntraced(function*(limiter: RateLimiter.RateLimiter, calls: number) {
  let admitted = 0
  for (let n = 0; n < calls; n++) {
    if ((yield* Effect.exit(limiter(Effect.void)))._tag === "Success") admitted++
  }
  return admitted
})

describe("RateLimiter", () => {
  describe("leaky bucket", () => {
    it.effect("paces evenly, and lets nothing through at once", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({
          algorithm: "leaky-bucket",
          limit: 10,
          window: "1 second",
          maxWait: "1 minute"
        })
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* limiter.inspect, { available: 1, queued: 0 })
        const call = (weight: number) => start(limiter.weigh(weight)(Clock.currentTimeMillis))
        const fibers = yield* Effect.all([call(1), call(3), call(1), call(1)])
        yield* TestClock.adjust("1 second")
        const hour = 3_600_000
        assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [hour, hour + 100, hour + 400, hour + 500])
      }))

    it.effect("fractions of a millisecond cost no rate", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({
          algorithm: "leaky-bucket",
          limit: 300,
          window: "1 second",
          maxWait: "1 minute"
        })
        const fibers = yield* Effect.all(Array.from({ length: 7 }, () => start(limiter(Clock.currentTimeMillis))))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [0, 3, 6, 10, 13, 16, 20])
      }))

    it.effect("an interval below a timer's grain lets as many through as fit into a millisecond", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ algorithm: "leaky-bucket", limit: 4_000, window: "1 second" })
        assert.deepStrictEqual(yield* limiter.inspect, { available: 4, queued: 0 })
        assert.strictEqual(yield* send(limiter, 10), 4)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* send(limiter, 10), 4)
      }))
  })

  describe("fixed window", () => {
    it.effect("begins with its first call, and ends all at once", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ algorithm: "fixed-window", limit: 3, window: "1 second" })
        yield* TestClock.adjust(900)
        assert.strictEqual(yield* send(limiter, 2), 2)
        yield* TestClock.adjust(999)
        assert.strictEqual(yield* send(limiter, 2), 1)
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(1))
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* send(limiter, 4), 3)
      }))

    it.effect("a debt ends with its window", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ algorithm: "fixed-window", limit: 3, window: "1 second" })
        yield* limiter.penalize(30)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* limiter.inspect, { available: 3, queued: 0 })
      }))

    it.effect("knows in which window the turn of a long queue comes", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({
          algorithm: "fixed-window",
          limit: 3,
          window: "1 second",
          maxWait: "1 minute"
        })
        const call = start(limiter(Clock.currentTimeMillis))
        const fibers = yield* Effect.all(Array.from({ length: 7 }, () => call))
        assert.deepStrictEqual(yield* limiter.peek(2), Duration.seconds(2))
        assert.deepStrictEqual(yield* limiter.peek(3), Duration.seconds(3))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [0, 0, 0, 1_000, 1_000, 1_000, 2_000])
      }))
  })

  describe("sliding counter", () => {
    it.effect("counts the part of the window before that is still within the last one", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ algorithm: "sliding-counter", limit: 10, window: "1 second" })
        assert.strictEqual(yield* send(limiter, 11), 10)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* limiter.peek(), Duration.millis(100))
        yield* TestClock.adjust(300)
        assert.strictEqual(yield* send(limiter, 5), 3)
        yield* TestClock.adjust(700)
        assert.strictEqual(yield* send(limiter, 10), 7)
      }))

    it.effect("knows when the turn of a long queue comes", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({
          algorithm: "sliding-counter",
          limit: 10,
          window: "1 second",
          maxWait: "1 minute",
          maxQueue: 100
        })
        const call = start(limiter(Clock.currentTimeMillis))
        const fibers = yield* Effect.all(Array.from({ length: 25 }, () => call))
        const wait = Duration.toMillis(yield* limiter.peek())
        const last = yield* call
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.joinAll(fibers)
        // Told too short rather than too long: how the window before was filled is not known yet.
        const at = yield* Fiber.join(last)
        assert.isAtMost(wait, at)
        assert.isAtLeast(wait, at - 100)
      }))
  })

  describe("sliding log", () => {
    it.effect("frees a call's place a window after it, and not before", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ algorithm: "sliding-log", limit: 2, window: "1 second" })
        yield* limiter(Effect.void)
        yield* TestClock.adjust(400)
        yield* limiter(Effect.void)
        assert.deepStrictEqual([yield* limiter.peek(), yield* limiter.peek(2)], [
          Duration.millis(600),
          Duration.seconds(1)
        ])
        yield* TestClock.adjust(599)
        assert.strictEqual(yield* send(limiter, 1), 0)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* send(limiter, 2), 1)
      }))

    it.effect("knows when the turn of a long queue comes", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({
          algorithm: "sliding-log",
          limit: 2,
          window: "1 second",
          maxWait: "1 minute"
        })
        const call = start(limiter(Clock.currentTimeMillis))
        yield* call
        yield* TestClock.adjust(300)
        const fibers = yield* Effect.all([call, call, call, call])
        assert.deepStrictEqual(yield* limiter.peek(), Duration.seconds(2))
        fibers.push(yield* call)
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [300, 1_000, 1_300, 2_000, 2_300])
      }))

    it.effect("thousands of calls are forgotten again", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ algorithm: "sliding-log", limit: 500, window: "1 second" })
        for (let n = 0; n < 5_000; n++) {
          yield* limiter(Effect.void)
          yield* TestClock.adjust(2)
        }
        assert.deepStrictEqual(yield* limiter.inspect, { available: 1, queued: 0 })
        yield* TestClock.adjust(998)
        assert.deepStrictEqual(yield* limiter.inspect, { available: 500, queued: 0 })
      }))
  })

  const Arrivals = Schema.Array(Schema.Struct({ after: upTo(300), weight: upTo(3, 1), gone: upTo(800) }))
  interface Admission {
    readonly place: number
    readonly weight: number
    readonly at: number
  }

  /** Sends calls of which some give up while they wait, and returns which were admitted and when. */
  const admissions = Effect.fnUntraced(function*(
    limiter: RateLimiter.RateLimiter,
    arrivals: typeof Arrivals.Type
  ) {
    const admitted: Array<Admission> = []
    for (const [place, { after, gone, weight }] of arrivals.entries()) {
      yield* TestClock.adjust(after)
      const note = Effect.map(Clock.currentTimeMillis, (at) => void admitted.push({ place, weight, at }))
      const fiber = yield* start(limiter.weigh(weight)(note))
      yield* start(Effect.andThen(Effect.sleep(gone), Fiber.interrupt(fiber)))
    }
    yield* TestClock.adjust("1 minute")
    assert.strictEqual((yield* limiter.inspect).queued, 0)
    return admitted
  })

  /** For each admission, the weight admitted from it on within less than so long. */
  const within = (admitted: ReadonlyArray<Admission>, millis: number) =>
    admitted.map(({ at }) =>
      admitted.reduce((sum, other) => sum + (other.at >= at && other.at < at + millis ? other.weight : 0), 0)
    )

  describe("whatever arrives, whoever leaves", () => {
    const inputs = { arrivals: Arrivals, limit: upTo(6, 3), burst: upTo(5, 3) }
    const window = 600

    for (const algorithm of algorithms) {
      it.effect.prop(
        `${algorithm} keeps its limit and the order`,
        inputs,
        ({ arrivals, burst, limit }) =>
          Effect.gen(function*() {
            const limiter = yield* RateLimiter.make({
              algorithm,
              limit,
              window,
              burst: algorithm === "token-bucket" ? burst : undefined,
              maxWait: "2 seconds"
            })
            const admitted = yield* admissions(limiter, arrivals)
            for (const [n, { at, place, weight }] of admitted.entries()) {
              const next = admitted[n + 1]
              if (next === undefined) break
              assert.isAbove(next.place, place)
              if (algorithm === "leaky-bucket") assert.isAtLeast(next.at - at, weight * window / limit)
            }
            const most = Math.max(0, ...within(admitted, window))
            switch (algorithm) {
              case "token-bucket":
                for (const [first, { at }] of admitted.entries()) {
                  let sum = 0
                  for (const later of admitted.slice(first)) {
                    sum += later.weight
                    assert.isAtMost(sum, burst + (later.at - at) * limit / window + 1e-3)
                  }
                }
                return
              case "sliding-log":
                return assert.isAtMost(most, limit)
              case "leaky-bucket":
              case "fixed-window":
              case "sliding-counter":
                return assert.isAtMost(most, 2 * limit)
            }
          })
      )

      it.effect.prop(`${algorithm}: rejected calls take nothing`, { arrivals: Arrivals, limit: upTo(6, 3) }, ({
        arrivals,
        limit
      }) =>
        Effect.gen(function*() {
          const options = { algorithm, limit, window }
          const [bothered, spared] = [yield* RateLimiter.make(options), yield* RateLimiter.make(options)]
          for (const { after, weight } of arrivals) {
            yield* TestClock.adjust(after)
            const call = (limiter: RateLimiter.RateLimiter) => Effect.exit(limiter.weigh(weight)(Effect.void))
            if ((yield* call(bothered))._tag === "Success") {
              assert.strictEqual((yield* call(spared))._tag, "Success")
            }
            assert.deepStrictEqual(yield* bothered.inspect, yield* spared.inspect)
            assert.deepStrictEqual(yield* bothered.peek(3), yield* spared.peek(3))
          }
        }))

      it.effect.prop(
        `${algorithm}: a limit of one admits exactly one in a window`,
        { calls: upTo(20, 1) },
        ({ calls }) =>
          Effect.gen(function*() {
            const limiter = yield* RateLimiter.make({ algorithm, limit: 1, window })
            for (let round = 0; round < 3; round++) {
              assert.strictEqual(yield* send(limiter, calls), 1)
              yield* TestClock.adjust(window - 1)
              assert.strictEqual(yield* send(limiter, calls), 0)
              // The counter lets go of the window before only as that leaves the last one.
              yield* TestClock.adjust(algorithm === "sliding-counter" ? window + 1 : 1)
            }
          })
      )
    }
  })

  describe("warm-up", () => {
    const warm = (options?: Partial<RateLimiter.Options>) =>
      RateLimiter.make({
        algorithm: "leaky-bucket",
        limit: 30,
        window: "1 second",
        warmUp: "3 seconds",
        maxWait: Infinity,
        maxQueue: Infinity,
        ...options
      })

    /** The times at which so many calls go that all come now. */
    const times = Effect.fnUntraced(function*(limiter: RateLimiter.RateLimiter, calls: number) {
      const before = yield* Clock.currentTimeMillis
      const fibers = yield* Effect.forEach(
        Array.from({ length: calls }),
        () => start(Effect.map(limiter(Clock.currentTimeMillis), (at) => at - before))
      )
      yield* TestClock.adjust("10 seconds")
      return yield* Fiber.joinAll(fibers)
    })

    const upToTime = (all: ReadonlyArray<number>, millis: number) => all.filter((at) => at <= millis).length

    it.effect("a leaky bucket starts at a third of its rate, and reaches all of it in time", () =>
      Effect.gen(function*() {
        const all = yield* times(yield* warm(), 180)
        // A rate that rises evenly from 10 to 30 per second: 10 t + t² · 20 / 6.
        assert.closeTo(upToTime(all, 300), 4, 1)
        assert.closeTo(upToTime(all, 1_500), 1 + 22, 1)
        assert.closeTo(upToTime(all, 3_000), 1 + 60, 2)
        assert.closeTo(upToTime(all, 5_000) - upToTime(all, 3_000), 60, 2)
      }))

    for (const algorithm of ["leaky-bucket", "token-bucket"] as const) {
      it.effect(`${algorithm}: the first call goes at once, however short the warm-up`, () =>
        Effect.gen(function*() {
          const options = { algorithm, limit: 10, window: "1 second", maxWait: "1 minute" } as const
          for (const warmUp of [1e-6, 0.1, 1, 5, 10, 100]) {
            const [one, other] = yield* Effect.all([
              RateLimiter.make({ ...options, warmUp }),
              RateLimiter.make({ ...options, warmUp })
            ])
            assert.strictEqual(Duration.toMillis(yield* one.peek()), 0)
            const call = yield* start(one(Effect.succeed("ran")))
            const stream = yield* start(Stream.runCollect(other.stream(Stream.make("ran"))))
            yield* TestClock.adjust(0)
            assert.deepStrictEqual(call.pollUnsafe(), Exit.succeed("ran"), `${warmUp}`)
            assert.deepStrictEqual(stream.pollUnsafe(), Exit.succeed(["ran"]), `${warmUp}`)
          }
        }))
    }

    it.effect("an idle one cools down as fast as it warmed up", () =>
      Effect.gen(function*() {
        const limiter = yield* warm()
        yield* times(limiter, 250)
        yield* TestClock.adjust("1 hour")
        const cold = yield* times(limiter, 180)
        assert.closeTo(upToTime(cold, 3_000), 61, 2)
        yield* TestClock.adjust("1 hour")
        // Warm after 3 seconds, busy for nearly all of the ten that `times` lets pass.
        const busy = yield* times(limiter, 235)
        assert.closeTo(busy.at(-1) ?? 0, 8_800, 60)
        yield* TestClock.adjust(300)
        const half = yield* times(limiter, 60)
        // Idle for 1.5 seconds: half warm, so a rate that rises from 20 to 30 per second.
        assert.closeTo(upToTime(half, 1_500), 1 + 37, 2)
      }))

    it.effect("a token bucket has a third of its burst when cold", () =>
      Effect.gen(function*() {
        const limiter = yield* warm({ algorithm: "token-bucket", limit: 30, burst: 30 })
        assert.deepStrictEqual(yield* limiter.inspect, { available: 10, queued: 0 })
        const all = yield* times(limiter, 200)
        assert.strictEqual(upToTime(all, 0), 10)
        // The burst grows by 20 while the flow brings 60.
        assert.closeTo(upToTime(all, 3_000), 10 + 60 + 20, 2)
        assert.closeTo(upToTime(all, 4_000) - upToTime(all, 3_000), 30, 2)
      }))

    it.effect("a call larger than a cold burst goes when nothing else is outstanding", () =>
      Effect.gen(function*() {
        const limiter = yield* warm({ algorithm: "token-bucket", burst: 30 })
        assert.deepStrictEqual(yield* limiter.peek(25), Duration.zero)
        yield* limiter.weigh(25)(Effect.void)
        assert.deepStrictEqual(yield* limiter.inspect, { available: -15, queued: 0 })
      }))

    it.effect("a settings change keeps what is outstanding", () =>
      Effect.gen(function*() {
        const limiter = yield* warm({ algorithm: "token-bucket", burst: 30 })
        yield* limiter.weigh(5)(Effect.void)
        yield* limiter.update({ warmUp: 0 })
        assert.deepStrictEqual(yield* limiter.inspect, { available: 25, queued: 0 })
      }))

    for (const algorithm of ["token-bucket", "leaky-bucket"] as const) {
      it.effect.prop(
        `${algorithm}: never faster than without`,
        { arrivals: Arrivals },
        ({ arrivals }) =>
          Effect.gen(function*() {
            const options = { algorithm, limit: 6, window: 600 }
            const [plain, cold] = [
              yield* RateLimiter.make(options),
              yield* RateLimiter.make({ ...options, warmUp: "2 seconds" })
            ]
            for (const { after, weight } of arrivals) {
              yield* TestClock.adjust(after)
              yield* Effect.exit(cold.weigh(weight)(Effect.andThen(plain.penalize(weight), Effect.void)))
              const [fast, slow] = [yield* plain.peek(weight), yield* cold.peek(weight)]
              // A call larger than a cold burst may be ahead of it, when nothing is outstanding.
              if (Duration.toMillis(slow) > 0) assert.isAtMost(Duration.toMillis(fast), Duration.toMillis(slow))
            }
          })
      )
    }
  })

  describe("options", () => {
    const base = { limit: 1, window: "1 second" } as const
    const refused: ReadonlyArray<readonly [RateLimiter.Options, string]> = [
      [
        { ...base, algorithm: "leaky-bucket", burst: 3 },
        "RateLimiter.make: burst must be left out with leaky-bucket, got 3"
      ],
      [
        { ...base, algorithm: "sliding-log", warmUp: "1 second" },
        "RateLimiter.make: warmUp must be left out with sliding-log, got 1000ms"
      ],
      [{ ...base, warmUp: -1 }, "RateLimiter.make: warmUp must be a duration of at least zero, got -1ms"],
      [
        { ...base, warmUp: Infinity },
        "RateLimiter.make: warmUp must be no longer than 100 years (36500d), got Infinity"
      ]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => RateLimiter.make(options), RangeError, message)
      })
    }

    it("refuses an unknown algorithm", () => {
      const options = JSON.parse("{\"limit\":1,\"window\":1,\"algorithm\":\"dice\"}")
      const message =
        "RateLimiter.make: algorithm must be one of token-bucket, leaky-bucket, fixed-window, sliding-counter, sliding-log, got dice"
      assert.throws(() => RateLimiter.make(options), RangeError, message)
    })
  })
})
