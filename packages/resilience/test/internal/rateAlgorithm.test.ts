import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Algorithm from "../../src/internal/rate/algorithm.ts"
import { use } from "../support/rateAlgorithm.ts"
import { makeModel } from "../support/rateModels.ts"

const upTo = (maximum: number, minimum = 0) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Something taken, of which all but a part is given back when so many later ones were taken. */
const Taken = Schema.Struct({
  gap: upTo(40, 1),
  weight: upTo(30, 1),
  kept: Schema.Literals([0, 1]),
  marked: Schema.Boolean,
  age: Schema.Union([upTo(3), upTo(900)]),
  // Zero leaves it as it is.
  limit: Schema.Literals([0, 500, 1_000, 2_000]),
  rewarded: Schema.Boolean
})

describe("rate algorithms", () => {
  for (const algorithm of Algorithm.algorithms) {
    describe(algorithm, () => {
      it("never lets more through at once than its burst", () => {
        assert.strictEqual(use(algorithm).wait(0, 10), 0)
        assert.strictEqual(use(algorithm).wait(0, 10.5), Infinity)
      })

      it("is plain data that goes on where it was", () => {
        const [kept, stored] = [use(algorithm), use(algorithm)]
        for (const limit of [kept, stored]) {
          limit.take(10, 4)
          limit.take(400, 5)
        }
        Object.assign(stored.state, JSON.parse(JSON.stringify(stored.state)))
        for (const now of [400, 900, 1_010, 1_300]) {
          assert.strictEqual(stored.wait(now, 7), kept.wait(now, 7))
        }
      })

      it("is as good as new at the time that it says, and not before", () => {
        const limit = use(algorithm)
        assert.strictEqual(limit.resetAfter(0), 0)
        limit.take(0, 3)
        const after = limit.resetAfter(0)
        assert.isAbove(after, 0)
        assert.isAbove(limit.resetAfter(after - 1), 0)
        assert.strictEqual(limit.resetAfter(after), 0)
        assert.strictEqual(limit.wait(after, 10), 0)
      })

      it("taking nothing and giving nothing changes nothing", () => {
        const limit = use(algorithm)
        limit.take(0, 4)
        limit.take(100, 0)
        limit.giveBack(100, 0, 0)
        limit.reward(100, 0)
        const same = use(algorithm)
        same.take(0, 4)
        assert.deepStrictEqual([limit.wait(100, 9), limit.resetAfter(100)], [same.wait(100, 9), same.resetAfter(100)])
      })

      for (const now of [300, 1_000, 1_300, 2_000, 2_500]) {
        it(`each answer at ${now} is for that time, whether something was asked before or not`, () => {
          const asked = <A>(f: (limit: ReturnType<typeof use>) => A) => {
            const [often, once] = [use(algorithm), use(algorithm)]
            for (const limit of [often, once]) limit.take(0, 6)
            for (let at = 0; at <= now; at += 100) often.available(at)
            assert.deepStrictEqual(f(once), f(often))
          }
          const all = (
            limit: ReturnType<typeof use>
          ) => [limit.wait(now, 10), limit.available(now), limit.resetAfter(now)]
          asked((limit) => limit.available(now))
          asked((limit) => limit.resetAfter(now))
          asked((limit) => limit.wait(now, 7))
          asked((limit) => limit.wait(now, 1, 12))
          asked((limit) => [limit.take(now, 1), ...all(limit)])
          asked((limit) => [limit.giveBack(now, 0, 2), ...all(limit)])
          asked((limit) => [limit.reward(now, 2), ...all(limit)])
          asked((limit) => [limit.convert(now, { limit: 5, window: 3_000, burst: 5 }), ...all(limit)])
        })
      }

      it("has no wait as long as there is room", () => {
        const limit = use(algorithm)
        limit.take(0, 4)
        const free = limit.resetAfter(0)
        const weight = algorithm === "leaky-bucket" ? 1 : 6
        assert.strictEqual(limit.wait(algorithm === "leaky-bucket" ? 400 : 300, weight), 0)
        assert.strictEqual(limit.wait(free + 300, 10), 0)
      })

      it("a reward gives what counts, and no more", () => {
        const limit = use(algorithm)
        limit.take(0, 10)
        limit.reward(0, 4)
        limit.take(0, 4)
        limit.reward(0, 50)
        assert.strictEqual(limit.wait(0, 10), 0)
        assert.strictEqual(limit.resetAfter(0), 0)
        limit.take(0, 10)
        assert.isAbove(limit.wait(0, 1), 0)
      })
    })
  }

  describe("token-bucket", () => {
    it("a weight comes back in its share of the window", () => {
      const limit = use("token-bucket")
      limit.take(0, 10)
      assert.deepStrictEqual([limit.wait(0, 1), limit.wait(0, 4), limit.wait(0, 2, 3)], [100, 400, 500])
      assert.deepStrictEqual([limit.wait(60, 1), limit.available(60), limit.resetAfter(60)], [40, 0.6, 940])
      limit.take(60, 2)
      assert.deepStrictEqual([limit.wait(60, 1), limit.available(60)], [240, -1.4])
    })

    it("a thousandth of a millisecond is no wait, more is one", () => {
      const limit = use("token-bucket")
      limit.take(0, 10)
      assert.strictEqual(limit.wait(99.9995), 0)
      assert.closeTo(limit.wait(99.998), 0.002, 1e-9)
    })

    it("admits no more than its burst and what has flowed, at whatever rate", () => {
      for (const start of [0, 1e10]) {
        for (const interval of [100, 0.1, 0.01, 1e-3, 1e-4]) {
          const limit = use("token-bucket", { limit: 1, window: interval, burst: 1 })
          const admit = (now: number) => {
            let admitted = 0
            while (admitted < 100 && limit.wait(now) === 0) {
              limit.take(now)
              admitted++
            }
            return admitted
          }
          assert.deepStrictEqual([admit(start), admit(start + 3.5 * interval)], [1, 1])
          assert.closeTo(limit.available(start + 3.5 * interval), 0, 0.02)
        }
      }
    })

    it("gives back what was taken just now, and later what cannot have come back by itself", () => {
      const limit = use("token-bucket")
      limit.take(0, 5)
      limit.giveBack(0, 0, 2)
      assert.strictEqual(limit.available(0), 7)
      limit.take(100, 5)
      limit.giveBack(300, 100, 5)
      // Five are outstanding by then. Two of the five that are given back may have flowed back.
      assert.strictEqual(limit.available(300), 8)
    })

    it("what came back by a reward is not given back again", () => {
      const limit = use("token-bucket")
      limit.take(100, 5)
      limit.take(100, 5)
      limit.reward(100, 5)
      limit.giveBack(100, 100, 5)
      assert.strictEqual(limit.available(100), 5)
      limit.take(101, 5)
      limit.giveBack(101, 101, 5)
      assert.strictEqual(limit.available(101), 5.01)
    })

    it("with a mark it gives back however much later what was never idle since", () => {
      const limit = use("token-bucket")
      limit.take(0, 5)
      limit.mark(0)
      for (let now = 500; now <= 10_000; now += 100) limit.take(now, 1)
      // One was outstanding at the least, just before a call.
      limit.giveBack(10_000, 0, 5)
      assert.strictEqual(limit.available(10_000), 9)
    })

    it("gives back of two reservations what each was, and not twice", () => {
      const limit = use("token-bucket")
      limit.take(0, 4)
      limit.mark(0)
      limit.take(100, 4)
      limit.mark(100)
      limit.take(300, 3)
      limit.giveBack(300, 0, 4)
      // Three were outstanding just after the first one's least time, which is all that may come back.
      limit.giveBack(300, 100, 4)
      assert.strictEqual(limit.available(300), 7)
    })

    it("a part that is given back leaves the rest to others of that time, and no more", () => {
      const both = () => {
        const limit = use("token-bucket")
        for (let n = 0; n < 2; n++) {
          limit.take(0, 4)
          limit.mark(0)
        }
        // Three are outstanding, which is the most that may come back, and seven more from now on.
        limit.take(500, 7)
        return limit
      }
      const whole = both()
      whole.giveBack(500, 0, 4)
      whole.giveBack(500, 0, 4)
      assert.strictEqual(whole.available(500), 3)
      const part = both()
      part.giveBack(500, 0, 1)
      assert.strictEqual(part.available(500), 1)
      part.giveBack(500, 0, 4)
      assert.strictEqual(part.available(500), 3)
    })

    it("what a later one gives back is still there for an earlier one, as far as it was outstanding", () => {
      const limit = use("token-bucket")
      limit.take(0, 8)
      limit.mark(0)
      limit.take(500, 7)
      limit.mark(500)
      limit.giveBack(500, 500, 7)
      assert.strictEqual(limit.available(500), 7)
      limit.giveBack(500, 0, 8)
      assert.strictEqual(limit.available(500), 10)
    })

    it("an earlier one has nothing to give back once nothing would have been outstanding without both", () => {
      const limit = use("token-bucket")
      limit.take(0, 8)
      limit.mark(0)
      limit.take(500, 7)
      limit.mark(500)
      limit.take(800, 1)
      limit.giveBack(800, 500, 7)
      assert.strictEqual(limit.available(800), 9)
      limit.giveBack(800, 0, 8)
      assert.strictEqual(limit.available(800), 9)
    })

    it("a slower limit still gives back all that was taken under the faster one", () => {
      const limit = use("token-bucket")
      limit.take(0, 6)
      limit.mark(0)
      limit.convert(100, { limit: 5 })
      assert.strictEqual(limit.available(100), 5)
      limit.giveBack(100, 0, 6)
      assert.strictEqual(limit.available(100), 10)
    })

    it("another limit gives back what of a call cannot have come back by itself", () => {
      const limit = use("token-bucket")
      limit.take(0, 6)
      limit.convert(100, { limit: 5 })
      // One flowed back under the old limit, and another one since.
      limit.giveBack(300, 0, 6)
      assert.strictEqual(limit.available(300), 10)
      limit.take(300, 4)
      limit.giveBack(300, 300, 4)
      assert.strictEqual(limit.available(300), 10)
    })

    it("so do several, as though the fastest of them had been all the time", () => {
      const limit = use("token-bucket")
      limit.take(0, 6)
      limit.convert(100, { limit: 5 })
      limit.convert(300, { limit: 10 })
      limit.take(300, 6)
      limit.giveBack(300, 0, 6)
      // Four were outstanding by then, and three in any case.
      assert.strictEqual(limit.available(300), 3)
      limit.reward(300, 10)
      limit.convert(400, { limit: 5 })
      limit.giveBack(400, 0, 6)
      limit.take(400, 5)
      limit.giveBack(400, 300, 6)
      assert.strictEqual(limit.available(400), 5)
    })

    it("a reward leaves less to give back", () => {
      const limit = use("token-bucket")
      limit.take(0, 8)
      limit.mark(0)
      limit.reward(100, 5)
      limit.take(100, 6)
      limit.giveBack(100, 0, 8)
      assert.strictEqual(limit.available(100), 4)
    })

    it("remembers a bounded number of reservations, and of those no one that came back", () => {
      const limit = use("token-bucket", { limit: 10_000, burst: 10_000 })
      const { state } = limit
      assert.strictEqual(state._tag, "bucket")
      if (state._tag !== "bucket") return
      const reserve = (now: number) => {
        limit.take(now, 20)
        limit.mark(now)
      }
      reserve(0)
      reserve(0)
      assert.deepStrictEqual(state.marks, [{ at: 0, low: 4 }])
      for (let now = 1; now < 512; now++) reserve(now)
      assert.strictEqual(state.marks.length, 512)
      reserve(512)
      assert.isAtMost(state.marks.length, 258)
      for (let now = 513; now < 3_000; now++) {
        reserve(now)
        assert.isAtMost(state.marks.length, 512)
      }
      assert.deepStrictEqual(state.marks[0], { at: 0, low: 3 })
      limit.take(10_000, 1)
      assert.deepStrictEqual(state.marks, [])
    })

    it("forgets reservations whose weight is still outstanding, but nothing more of them to give back", () => {
      const limit = use("token-bucket", { limit: 10_000, burst: 10_000 })
      const { state } = limit
      limit.take(0, 5_000)
      for (let now = 0; now < 400; now++) {
        limit.take(now, 20)
        limit.mark(now)
        if (now > 0) limit.giveBack(now, now - 1, 20)
      }
      assert.isAtMost(state._tag === "bucket" ? state.marks.length : Infinity, 2)
    })

    for (const [open, off] of [[500, 0], [1_000, 500], [5_000, 500]] as const) {
      for (const order of ["first", "last"] as const) {
        it(`gives back of ${open} open reservations what their true cost leaves, the ${order} one first`, () => {
          const limits = { limit: 100_000, burst: 1_000_000, window: 600_000 }
          const [limit, twin] = [use("token-bucket", limits), use("token-bucket", limits)]
          const times = Array.from({ length: open }, (_, n) => n * 5)
          for (const at of times) {
            limit.take(at, 100)
            limit.mark(at)
            twin.take(at, 10)
          }
          const now = open * 5 + 5_000
          for (const at of order === "first" ? times : times.reverse()) limit.giveBack(now, at, 90)
          const missing = twin.available(now) - limit.available(now)
          assert.isAtLeast(missing, 0)
          assert.isAtMost(missing, off * open / 1_000)
        })
      }
    }

    it.effect.prop(
      "never gives back more than a history without it would leave, with however many reservations and limits",
      { pattern: Schema.NonEmptyArray(Taken) },
      ({ pattern }) =>
        Effect.sync(() => {
          const limits = { limit: 1_000, window: 10_000, burst: 20_000 }
          const limit = use("token-bucket", limits)
          const model = makeModel("token-bucket", limits)
          const open: Array<{ readonly at: number; readonly taken: ReturnType<typeof model.take> }> = []
          let now = 0
          for (let n = 0; n < 1_200; n++) {
            const step = pattern[n % pattern.length] ?? pattern[0]
            now += step.gap
            if (n % 50 === 0 && step.limit > 0) {
              limit.convert(now, { limit: step.limit })
              model.update(now, { ...limits, limit: step.limit })
            }
            if (n % 50 === 25 && step.rewarded) {
              limit.reward(now, step.weight)
              model.reward(now, step.weight)
            }
            limit.take(now, step.weight)
            if (step.marked) limit.mark(now)
            open.push({ at: now, taken: model.take(now, step.weight) })
            const [settled] = open.length > step.age ? open.splice(-1 - step.age, 1) : []
            if (settled !== undefined) {
              const back = settled.taken.weight - step.kept
              limit.giveBack(now, settled.at, back)
              model.giveBack(now, settled.taken, back)
            }
            if (n % 40 === 0) assert.isTrue(model.canTake(now, limit.available(now) - 0.01), `step ${n}`)
          }
        }),
      { arbitrary: { runs: 100, size: 12 }, timeout: 30_000 }
    )

    it("another limit keeps the weight that is outstanding, and what may be given back of it", () => {
      const limit = use("token-bucket")
      limit.take(0, 6)
      limit.mark(0)
      limit.convert(100, { limit: 20, burst: 20 })
      assert.deepStrictEqual([limit.available(100), limit.wait(100, 20), limit.resetAfter(100)], [15, 250, 250])
      limit.take(200, 3)
      assert.strictEqual(limit.available(200), 14)
      limit.giveBack(200, 0, 6)
      assert.strictEqual(limit.available(200), 17)
    })

    it("another burst, or a longer window of the same rate, leaves all that may be given back", () => {
      const limit = use("token-bucket")
      limit.take(0, 6)
      limit.convert(100, { burst: 8 })
      limit.convert(100, { limit: 20, window: 2_000 })
      limit.giveBack(100, 0, 6)
      assert.strictEqual(limit.available(100), 8)
    })

    it("marks are of a bucket only", () => {
      const limit = use("sliding-log")
      const before = JSON.stringify(limit.state)
      limit.mark(0)
      assert.strictEqual(JSON.stringify(limit.state), before)
    })
  })

  describe("leaky-bucket", () => {
    it("a call goes when what was taken before has flowed, up to a timer's grain early", () => {
      const limit = use("leaky-bucket")
      limit.take(0, 1)
      assert.closeTo(limit.wait(0), 99.002, 1e-9)
      assert.closeTo(limit.wait(0, 5, 3), 399.002, 1e-9)
      assert.strictEqual(limit.wait(99.002), 0)
      assert.isAbove(limit.wait(99), 0)
      assert.strictEqual(limit.available(99), 0)
      assert.strictEqual(limit.available(99.003), 1)
      assert.strictEqual(limit.resetAfter(40), 60)
    })

    it("has as many to give as fit into a timer's grain", () => {
      assert.strictEqual(use("leaky-bucket", { limit: 4_000 }).available(0), 4.992)
    })
  })

  it("a spec says how long one takes, and a whole burst", () => {
    const spec = Algorithm.makeSpec({ algorithm: "token-bucket", limit: 20, window: 1_000, burst: 5, warmUp: 7 })
    assert.deepStrictEqual(spec, {
      algorithm: "token-bucket",
      limit: 20,
      window: 1_000,
      burst: 5,
      warmUp: 7,
      interval: 50,
      capacity: 250
    })
  })
})
