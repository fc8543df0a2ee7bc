import { AdaptiveLimit } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"

const bounds = { min: 1, max: 1_000 }

/** Shows an algorithm one sample after another. Returns the limit after each. */
const teach = (
  algorithm: AdaptiveLimit.Algorithm,
  initial: number,
  samples: ReadonlyArray<Partial<AdaptiveLimit.Sample>>,
  within: AdaptiveLimit.Bounds = bounds
) => {
  let learner = algorithm.start(initial)
  return samples.map((sample, index) => {
    const { max } = within
    learner = learner.learn(
      { at: index * 1_000, rtt: 100, inFlight: 10_000, dropped: false, stated: undefined, ...sample },
      { ...within, max: sample.dropped === true ? Math.min(max, learner.limit) : max }
    )
    return learner.limit
  })
}

const rounded = (limits: ReadonlyArray<number>) => limits.map((limit) => Math.round(limit * 100) / 100)
const drop = { dropped: true }

describe("AdaptiveLimit", () => {
  describe("aimd", () => {
    it("adds a slot each round and takes a tenth away for a drop", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.aimd(), 10, [{}, {}, drop, drop, {}])), [
        11,
        12,
        10.8,
        9.72,
        10.72
      ])
    })

    it("takes no notice of latency", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.aimd(), 10, [{ rtt: 1 }, { rtt: 10_000 }]), [11, 12])
    })

    it("goes as it is told", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.aimd({ increase: 5, backoff: 0.5 }), 10, [{}, drop]), [15, 7.5])
    })
  })

  describe("vegas", () => {
    it("adds slots while the round trip is that without load", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.vegas(), 100, [{}, {}])), [102, 104.01])
    })

    it("takes slots away while too many calls queue at the dependency", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.vegas(), 100, [{}, { rtt: 150 }])), [102, 99.99])
    })

    it("stays while a few queue", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.vegas(), 100, [{}, { rtt: 110 }])), [102, 102])
    })

    it("a drop counts even when the latency is constant", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.vegas(), 100, [{}, drop, {}])), [102, 91.8, 93.76])
    })

    it("halves the limit for a round to measure the round trip anew", () => {
      const limits = teach(AdaptiveLimit.vegas({ remeasure: "2 seconds" }), 100, [
        {},
        { rtt: 150 },
        { rtt: 150 },
        { rtt: 150 },
        { rtt: 140 },
        { rtt: 140 }
      ])
      assert.deepStrictEqual(rounded(limits), [102, 99.99, 97.99, 49, 97.99, 99.98])
    })

    it("goes back only when the halved limit is used", () => {
      const algorithm = AdaptiveLimit.vegas({ remeasure: "2 seconds" })
      let learner = algorithm.start(100)
      const learn = (at: number, rtt: number, max = 1_000) => {
        learner = learner.learn({ at, rtt, inFlight: 10, dropped: false, stated: undefined }, { min: 1, max })
        return learner.limit
      }
      assert.strictEqual(learn(0, 100, 100), 100)
      assert.strictEqual(learn(3_000, 110), 50)
      assert.strictEqual(learn(4_000, 110, 50), 50)
      assert.strictEqual(learn(5_000, 110), 100)
    })

    it("learns nothing from calls that take no time", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.vegas(), 5, [{ rtt: 0 }, { rtt: 0 }]), [6, 7])
    })
  })

  describe("gradient2", () => {
    it("adds a small queue while the round trip is usual", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.gradient2(), 100, [{}, {}])), [100.8, 101.6])
    })

    it("shrinks with the ratio when calls take longer than they may", () => {
      const usual = Array.from({ length: 100 }, () => ({}))
      const limits = teach(AdaptiveLimit.gradient2({ queueSize: 0 }), 100, [...usual, { rtt: 200 }, { rtt: 1_000_000 }])
      assert.deepStrictEqual(rounded(limits.slice(-3)), [100, 95.3, 85.77])
    })

    it("a drop counts even when the latency is constant", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.gradient2(), 100, [drop])), [90])
    })

    it("takes calls that take no time for usual ones", () => {
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.gradient2(), 100, [{ rtt: 0 }])), [100.8])
    })
  })

  describe("told", () => {
    const told = AdaptiveLimit.told({ hold: "3 seconds" })
    const stated = (stated: number, inFlight = stated + 1) => ({ dropped: true, stated, inFlight })
    const used = (inFlight: number) => ({ inFlight })

    it("adds a slot each round until a limit is stated", () => {
      assert.deepStrictEqual(teach(told, 10, [{}, {}]), [11, 12])
    })

    it("takes a stated limit at once, and holds it", () => {
      assert.deepStrictEqual(teach(told, 100, [stated(25, 100), used(25), used(25)]), [25, 25, 25])
    })

    it("then tries one more, and more once that was used and went well", () => {
      const samples = [stated(25, 100), ...[25, 25, 25, 26, 26, 26, 28, 28, 28, 32].map(used)]
      assert.deepStrictEqual(teach(told, 100, samples), [25, 25, 25, 26, 26, 26, 28, 28, 28, 32, 32])
    })

    it("goes no further before a try was used", () => {
      const samples = [stated(25, 100), ...Array.from({ length: 20 }, () => used(25))]
      assert.strictEqual(Math.max(...teach(told, 100, samples).slice(1)), 26)
    })

    it("waits twice as long after each try in vain, up to a bound, and not after one that went well", () => {
      const algorithm = AdaptiveLimit.told({ hold: "1 second", maxHold: "4 seconds" })
      let learner = algorithm.start(5)
      const learn = (at: number, sample: Partial<AdaptiveLimit.Sample> = {}) => {
        learner = learner.learn({ at, rtt: 1, inFlight: 5, dropped: false, stated: undefined, ...sample }, bounds)
        return learner.limit
      }
      let at = 0
      learn(at, stated(5))
      for (const hold of [1_000, 2_000, 4_000, 4_000]) {
        assert.strictEqual(learn(at + hold - 1), 5)
        assert.strictEqual(learn(at + hold), 6)
        at += hold
        assert.strictEqual(learn(at, stated(5)), 5)
      }
      assert.strictEqual(learn(at + 4_000), 6)
      assert.strictEqual(learn(at + 5_000, { inFlight: 6 }), 8)
      learn(at + 5_000, stated(6, 8))
      assert.strictEqual(learn(at + 6_999), 6)
      assert.strictEqual(learn(at + 7_000), 7)
    })

    it("a stated limit above its own calls says that others take it up", () => {
      assert.deepStrictEqual(teach(told, 10, [stated(25, 10), stated(8, 8)]), [9, 8])
    })

    it("a drop that states none takes a share away", () => {
      assert.deepStrictEqual(teach(told, 10, [drop]), [9])
    })

    it("is never below the least or above the greatest limit", () => {
      assert.deepStrictEqual(teach(told, 10, [stated(0), {}, {}, {}], { min: 2, max: 3 }), [2, 2, 2, 3])
      assert.deepStrictEqual(teach(told, 3, [{}, {}], { min: 2, max: 3 }), [3, 3])
    })
  })

  describe("any", () => {
    const algorithms = [AdaptiveLimit.aimd(), AdaptiveLimit.vegas(), AdaptiveLimit.gradient2(), AdaptiveLimit.told()]
    const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
    const Sample = Schema.Struct({
      after: between(0, 100_000),
      rtt: Schema.NullOr(between(0, 10_000)),
      inFlight: between(1, 300),
      dropped: Schema.Boolean,
      stated: Schema.NullOr(between(0, 300))
    })
    for (const algorithm of algorithms) {
      it.effect.prop(`${algorithm.name} keeps to its bounds, and a drop never raises it`, {
        samples: Schema.Array(Sample),
        min: between(1, 50),
        more: between(0, 200)
      }, ({ min, more, samples }) =>
        Effect.sync(() => {
          const max = min + more
          let learner = algorithm.start(min + Math.floor(more / 2))
          let at = 0
          for (const { after, dropped, inFlight, rtt, stated } of samples) {
            at += after
            const before = learner.limit
            const sample = {
              at,
              rtt: rtt ?? undefined,
              inFlight,
              dropped,
              stated: dropped ? stated ?? undefined : undefined
            }
            learner = learner.learn(sample, { min, max: dropped ? before : max })
            assert.isTrue(learner.limit >= min && learner.limit <= max, `${learner.limit}`)
            if (dropped) assert.isAtMost(learner.limit, before)
          }
        }))
    }
  })

  describe("options of algorithms", () => {
    const refused: ReadonlyArray<readonly [() => AdaptiveLimit.Algorithm, string]> = [
      [
        () => AdaptiveLimit.aimd({ increase: 0 }),
        "AdaptiveLimit.aimd: increase must be a finite number above zero, got 0"
      ],
      [() => AdaptiveLimit.aimd({ backoff: 1 }), "AdaptiveLimit.aimd: backoff must be in (0, 1), got 1"],
      [
        () => AdaptiveLimit.vegas({ remeasure: 0 }),
        "AdaptiveLimit.vegas: remeasure must be a finite duration above zero, got 0"
      ],
      [
        () => AdaptiveLimit.gradient2({ tolerance: 0.9 }),
        "AdaptiveLimit.gradient2: tolerance must be a finite number of at least 1, got 0.9"
      ],
      [
        () => AdaptiveLimit.gradient2({ window: 0 }),
        "AdaptiveLimit.gradient2: window must be an integer of at least 1, got 0"
      ],
      [
        () => AdaptiveLimit.gradient2({ queueSize: -1 }),
        "AdaptiveLimit.gradient2: queueSize must be a finite number of at least 0, got -1"
      ],
      [() => AdaptiveLimit.gradient2({ smoothing: 0 }), "AdaptiveLimit.gradient2: smoothing must be in (0, 1], got 0"],
      [
        () => AdaptiveLimit.told({ hold: "1 minute", maxHold: "1 second" }),
        "AdaptiveLimit.told: hold must be no longer than maxHold (1s), got 1m"
      ]
    ]
    for (const [make, message] of refused) {
      it(`refuses: ${message}`, () => {
        assert.throws(make, RangeError, message)
      })
    }
  })
})
