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

    it("keeps to its bounds", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.aimd(), 10, [{}, {}], { min: 10, max: 11 }), [11, 11])
      assert.deepStrictEqual(teach(AdaptiveLimit.aimd(), 10, [drop], { min: 10, max: 11 }), [10])
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

    it("goes back to no more than the bounds that were set while it measured", () => {
      const algorithm = AdaptiveLimit.vegas({ remeasure: "2 seconds" })
      for (const max of [50, 60]) {
        let learner = algorithm.start(100)
        const learn = (at: number, rtt: number, most: number) => {
          learner = learner.learn({ at, rtt, inFlight: 10, dropped: false, stated: undefined }, { min: 1, max: most })
          return learner.limit
        }
        learn(0, 100, 100)
        assert.strictEqual(learn(3_000, 110, 1_000), 50)
        learner = learner.bound?.({ min: 1, max }) ?? assert.fail("knows no bounds")
        assert.strictEqual(learn(4_000, 100, max), max)
        // Half of the calls wait, and it sees that.
        assert.isBelow(learn(5_000, 200, max), max)
      }
    })

    it("a small limit moves by a whole slot", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.vegas(), 5, [{}, {}]), [6, 7])
      assert.deepStrictEqual(teach(AdaptiveLimit.vegas(), 9, [{}, { rtt: 1_000 }]), [10, 9])
    })

    it("the queue that it keeps is from three to six times the logarithm of the limit", () => {
      // 100 calls, of which so many wait.
      const withQueue = (queue: number) =>
        rounded(teach(AdaptiveLimit.vegas(), 98, [{}, { rtt: 100 / (1 - queue / 99.99) }]).slice(1))
      assert.deepStrictEqual([5.99, 6.01, 11.9, 12.01].map((queue) => withQueue(queue)[0]), [
        101.99,
        99.99,
        99.99,
        97.99
      ])
    })

    it("no round trip changes nothing", () => {
      const limits = teach(AdaptiveLimit.vegas(), 100, [{}, { rtt: undefined }, { rtt: undefined, dropped: true }])
      assert.deepStrictEqual(rounded(limits), [102, 102, 91.8])
    })

    it("a round trip that is as short keeps the measurement young", () => {
      const algorithm = AdaptiveLimit.vegas({ remeasure: "2 seconds" })
      const samples = [{ at: 0 }, { at: 1_500 }, { at: 3_500, rtt: 101 }, { at: 3_501, rtt: 101 }]
      assert.deepStrictEqual(rounded(teach(algorithm, 100, samples)), [102, 104.01, 106.03, 53.01])
    })

    it("measures anew after a minute", () => {
      const samples = [{ at: 0 }, { at: 60_000, rtt: 101 }, { at: 60_001, rtt: 101 }]
      assert.deepStrictEqual(rounded(teach(AdaptiveLimit.vegas(), 100, samples)), [102, 104.01, 52])
    })

    it("what was measured anew holds from then on", () => {
      const algorithm = AdaptiveLimit.vegas({ remeasure: "2 seconds" })
      const samples = [
        { at: 0 },
        { at: 2_001, rtt: 500 },
        { at: 2_100, rtt: 300 },
        // As long as without load by now, and measured lately.
        { at: 4_100, rtt: 301 }
      ]
      assert.deepStrictEqual(rounded(teach(algorithm, 100, samples)), [102, 51, 102, 104.01])
    })

    it("a drop while it measures ends that", () => {
      const algorithm = AdaptiveLimit.vegas({ remeasure: "2 seconds" })
      const samples = [{ at: 0 }, { at: 2_001, rtt: 500 }, { at: 2_100, ...drop }, { at: 2_200, rtt: 90 }]
      assert.deepStrictEqual(rounded(teach(algorithm, 100, samples)), [102, 51, 45.9, 47.56])
    })

    it("takes away what it is told", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.vegas({ backoff: 0.5 }), 100, [drop]), [50])
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

    it("takes a plain average at first, so that the first calls don't weigh more", () => {
      const algorithm = AdaptiveLimit.gradient2({ queueSize: 0, smoothing: 1, tolerance: 1 })
      // Usual: 100, 150, 200, 175; the limit shrinks with usual / present.
      const limits = teach(algorithm, 100, [{ rtt: 100 }, { rtt: 200 }, { rtt: 300 }, { rtt: 100 }])
      assert.deepStrictEqual(rounded(limits), [100, 75, 50, 50])
    })

    it("after ten rounds the usual round trip follows slowly, as the window says", () => {
      const usual = Array.from({ length: 10 }, () => ({ rtt: 100 }))
      const last = (window: number, calls: ReadonlyArray<{ readonly rtt: number }>) => {
        const algorithm = AdaptiveLimit.gradient2({ queueSize: 0, smoothing: 1, tolerance: 1, window })
        return rounded(teach(algorithm, 100, [...calls, { rtt: 160 }]).slice(-1))[0]
      }
      // The tenth still counts one tenth, the next one 2 / (window + 1).
      assert.strictEqual(last(19, usual.slice(1)), 66.25)
      assert.strictEqual(last(19, usual), 66.25)
      assert.strictEqual(last(100, usual.slice(1)), 66.25)
      assert.strictEqual(last(100, usual), 63.24)
      assert.strictEqual(last(1, usual), 100)
    })

    it("forgets a usual round trip faster that is more than twice the present one", () => {
      const algorithm = AdaptiveLimit.gradient2({ queueSize: 0, smoothing: 1, tolerance: 1, window: 1_000_000 })
      const usual = Array.from({ length: 10 }, () => ({ rtt: 100 }))
      const after = (rtt: number) =>
        rounded(teach(algorithm, 100, [...usual, ...Array.from({ length: 10 }, () => ({ rtt })), { rtt: 101 }]))
          .slice(-1)[0]
      // Ten times 0.95.
      assert.strictEqual(after(20), 59.28)
      assert.strictEqual(after(50.1), 99.01)
    })

    it("is no steeper than one half, and never grows by more than its queue", () => {
      const algorithm = AdaptiveLimit.gradient2({ queueSize: 10, smoothing: 1, window: 1_000_000 })
      const usual = Array.from({ length: 10 }, () => ({ rtt: 100 }))
      const limits = teach(algorithm, 100, [...usual, { rtt: 1e6 }, { rtt: 1 }])
      assert.deepStrictEqual(rounded(limits.slice(-3)), [200, 110, 120])
    })

    it("no round trip changes nothing", () => {
      const limits = teach(AdaptiveLimit.gradient2(), 100, [{ rtt: undefined }, { rtt: undefined, ...drop }])
      assert.deepStrictEqual(rounded(limits), [100, 90])
    })

    it("takes away what it is told", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.gradient2({ backoff: 0.5 }), 100, [drop]), [50])
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

    it("holds a stated limit for ten seconds, and after tries in vain for at most ten minutes", () => {
      const algorithm = AdaptiveLimit.told()
      let learner = algorithm.start(5)
      const learn = (at: number, sample: Partial<AdaptiveLimit.Sample> = {}) => {
        learner = learner.learn({ at, rtt: 1, inFlight: 5, dropped: false, stated: undefined, ...sample }, bounds)
        return learner.limit
      }
      let at = 0
      learn(at, stated(5))
      for (const hold of [10, 20, 40, 80, 160, 320, 600, 600]) {
        assert.strictEqual(learn(at + hold * 1_000 - 1), 5)
        at += hold * 1_000
        assert.strictEqual(learn(at), 6)
        learn(at, stated(5))
      }
    })

    it("a hold of more than ten minutes is also the longest", () => {
      const algorithm = AdaptiveLimit.told({ hold: "20 minutes" })
      const minute = 60_000
      const at = (minutes: number, sample: Partial<AdaptiveLimit.Sample> = { inFlight: 5 }) => ({
        at: minutes * minute,
        ...sample
      })
      const samples = [at(0, stated(5)), at(19.99), at(20), at(20, stated(5)), at(39.99), at(40)]
      assert.deepStrictEqual(teach(algorithm, 5, samples), [5, 5, 6, 5, 5, 6])
    })

    it("a higher stated limit is no try in vain, and holds as long as the first", () => {
      const samples = [
        { at: 0, ...stated(5) },
        { at: 3_000, inFlight: 5 },
        { at: 4_000, inFlight: 6 },
        { at: 7_000, inFlight: 6 },
        { at: 7_000, ...stated(7) },
        { at: 9_999, inFlight: 7 },
        { at: 10_000, inFlight: 7 }
      ]
      assert.deepStrictEqual(teach(told, 5, samples), [5, 6, 6, 8, 7, 7, 8])
    })

    it("what is lost without a stated limit is taken back a slot at first, up to the stated one", () => {
      const samples = [stated(20, 100), drop, ...Array.from({ length: 12 }, () => used(20))]
      const limits = teach(AdaptiveLimit.told({ hold: "3 seconds", backoff: 0.5 }), 100, samples)
      assert.deepStrictEqual(limits, [20, 10, 10, 10, 11, 11, 11, 13, 13, 13, 17, 17, 17, 20])
    })

    it("what was never used proves no more than what was used", () => {
      const samples = [
        { at: 0, ...stated(10) },
        { at: 3_000, inFlight: 10 },
        { at: 6_000, inFlight: 11 },
        // Of 13 only 12 were taken.
        { at: 9_000, inFlight: 12 },
        { at: 9_000, ...stated(12, 20) }
      ]
      assert.deepStrictEqual(teach(told, 10, samples), [10, 11, 13, 17, 12])
    })

    it("what was used proves itself, not what was allowed", () => {
      const samples = [
        { at: 0, ...stated(10) },
        { at: 3_000, inFlight: 10 },
        { at: 6_000, inFlight: 11 },
        { at: 9_000, inFlight: 12 },
        { at: 12_000, inFlight: 12 },
        { at: 12_001, inFlight: 13 }
      ]
      assert.deepStrictEqual(teach(told, 10, samples), [10, 11, 13, 17, 17, 23])
    })

    it("the limit that holds, stated once more, is no try in vain", () => {
      const samples = [
        { at: 0, ...stated(5) },
        { at: 1_000, ...stated(5) },
        ...[3_999, 4_000].map((at) => ({ at, inFlight: 5 }))
      ]
      assert.deepStrictEqual(teach(told, 5, samples), [5, 5, 5, 6])
    })

    it("a stated limit of just its own calls says so too", () => {
      assert.deepStrictEqual(teach(told, 100, [stated(99, 99)]), [90])
      assert.deepStrictEqual(teach(told, 100, [stated(99, 100)]), [99])
    })

    it("a try raises by no more than half of the limit", () => {
      const samples = [
        { at: 0, ...stated(4) },
        ...[4, 5, 7, 10].map((inFlight, n) => ({ at: 3_000 * (n + 1), inFlight }))
      ]
      assert.deepStrictEqual(teach(told, 4, samples), [4, 5, 7, 9, 12])
    })

    it("tries nothing at its greatest limit", () => {
      const samples = [{ at: 0, ...stated(9) }, { at: 3_000, inFlight: 9 }, { at: 6_000, inFlight: 10 }]
      assert.deepStrictEqual(teach(told, 9, samples, { min: 1, max: 10 }), [9, 10, 10])
    })

    it("takes away what it is told", () => {
      assert.deepStrictEqual(teach(AdaptiveLimit.told({ backoff: 0.5 }), 10, [drop]), [5])
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

  it("each has its name", () => {
    const { aimd, gradient2, told, vegas } = AdaptiveLimit
    assert.deepStrictEqual([aimd(), vegas(), gradient2(), told()].map(({ name }) => name), [
      "aimd",
      "vegas",
      "gradient2",
      "told"
    ])
  })

  describe("options of algorithms", () => {
    it("may be at their bounds", () => {
      AdaptiveLimit.gradient2({ tolerance: 1, queueSize: 0, smoothing: 1, window: 1 })
      AdaptiveLimit.told({ hold: 5, maxHold: 5 })
    })

    const refused: ReadonlyArray<readonly [() => AdaptiveLimit.Algorithm, string]> = [
      [
        () => AdaptiveLimit.aimd({ increase: 0 }),
        "AdaptiveLimit.aimd: increase must be a finite number above zero, got 0"
      ],
      [
        () => AdaptiveLimit.aimd({ increase: Infinity }),
        "AdaptiveLimit.aimd: increase must be a finite number above zero, got Infinity"
      ],
      [() => AdaptiveLimit.aimd({ backoff: 1 }), "AdaptiveLimit.aimd: backoff must be in (0, 1), got 1"],
      [() => AdaptiveLimit.aimd({ backoff: 0 }), "AdaptiveLimit.aimd: backoff must be in (0, 1), got 0"],
      [() => AdaptiveLimit.vegas({ backoff: 1 }), "AdaptiveLimit.vegas: backoff must be in (0, 1), got 1"],
      [() => AdaptiveLimit.gradient2({ backoff: 1 }), "AdaptiveLimit.gradient2: backoff must be in (0, 1), got 1"],
      [() => AdaptiveLimit.told({ backoff: 1 }), "AdaptiveLimit.told: backoff must be in (0, 1), got 1"],
      [
        () => AdaptiveLimit.vegas({ remeasure: 0 }),
        "AdaptiveLimit.vegas: remeasure must be a finite duration above zero, got 0"
      ],
      [
        () => AdaptiveLimit.gradient2({ tolerance: 0.9 }),
        "AdaptiveLimit.gradient2: tolerance must be a finite number of at least 1, got 0.9"
      ],
      [
        () => AdaptiveLimit.gradient2({ tolerance: Infinity }),
        "AdaptiveLimit.gradient2: tolerance must be a finite number of at least 1, got Infinity"
      ],
      [
        () => AdaptiveLimit.gradient2({ queueSize: Infinity }),
        "AdaptiveLimit.gradient2: queueSize must be a finite number of at least 0, got Infinity"
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
      [() => AdaptiveLimit.told({ hold: 0 }), "AdaptiveLimit.told: hold must be a finite duration above zero, got 0"],
      [
        () => AdaptiveLimit.told({ maxHold: Infinity }),
        "AdaptiveLimit.told: maxHold must be a finite duration above zero, got Infinity"
      ],
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
