import { assert, describe, it } from "@effect/vitest"
import * as Algorithm from "../../src/internal/rate/algorithm.ts"

// Ten a second, which a cold limit reaches in three seconds.
const warmUp = 3_000
const interval = 100
const tolerance = 0.998

const use = (algorithm: Algorithm.Algorithm, burst = 10) => {
  const spec = Algorithm.makeSpec({ algorithm, limit: 10, window: 1_000, burst, warmUp })
  const state = Algorithm.initial(spec, 0)
  return {
    spec,
    state,
    take: (now: number, weight: number) => Algorithm.take(spec, state, now, weight),
    giveBack: (now: number, at: number, weight: number) => Algorithm.giveBack(spec, state, now, at, weight),
    reward: (now: number, weight: number) => Algorithm.reward(spec, state, now, weight),
    wait: (now: number, weight: number, ahead = 0) => Algorithm.waitFor(spec, state, now, weight, ahead),
    available: (now: number) => Algorithm.available(spec, state, now),
    resetAfter: (now: number) => Algorithm.resetAfter(spec, state, now)
  }
}

/** Milliseconds of the full rate that flow in so much time of use, from a warmth on: the rate rises from a third. */
const flow = (time: number, warmth = 0) => {
  const rising = Math.min(time, (1 - warmth) * warmUp)
  const rate = (1 + 2 * warmth) / 3
  return rising * rate + rising * rising / (3 * warmUp) + (time - rising)
}

/** The burst after so much time of use. */
const burst = (time: number, whole = 10) => whole * (1 + 2 * Math.min(1, time / warmUp)) / 3

/** A limit that is fully warm from 3 seconds on, with nothing outstanding then. */
const warm = (algorithm: Algorithm.Algorithm) => {
  const limit = use(algorithm)
  limit.take(0, flow(warmUp) / interval)
  assert.closeTo(limit.wait(0, 1), warmUp - (algorithm === "token-bucket" ? interval : 0), 200)
  return limit
}

const close = (actual: number, expected: number, told?: string) => assert.closeTo(actual, expected, 1e-6, told)

describe("warm-up", () => {
  describe("leaky bucket", () => {
    for (const weight of [1, 5, 10, 19]) {
      it(`a call after one of ${weight} waits until that has flowed at the rising rate`, () => {
        const limit = use("leaky-bucket")
        assert.strictEqual(limit.wait(0, 1), 0)
        limit.take(0, weight)
        close(flow(limit.wait(0, 1)), weight * interval - tolerance)
        close(flow(limit.wait(0, 1, 1)), (weight + 1) * interval - tolerance)
      })
    }

    it("the wait gets shorter by the time that passes", () => {
      const limit = use("leaky-bucket")
      limit.take(0, 15)
      const wait = limit.wait(0, 1)
      for (const now of [1, 100, 1_000, 2_000]) close(now + limit.wait(now, 1), wait)
      assert.strictEqual(limit.wait(wait, 1), 0)
      assert.isAbove(limit.wait(wait - 0.01, 1), 0)
    })

    it("is at its full rate after the warm-up", () => {
      const limit = use("leaky-bucket")
      limit.take(0, 30)
      close(limit.wait(0, 1), warmUp + 30 * interval - flow(warmUp) - tolerance)
      close(limit.wait(3_500, 1), 30 * interval - flow(warmUp) - 500 - tolerance)
      close(limit.wait(3_500, 1, 7), 37 * interval - flow(warmUp) - 500 - tolerance)
    })

    it("goes on from where it was when it is used again", () => {
      const limit = use("leaky-bucket")
      limit.take(0, flow(1_500) / interval)
      limit.take(1_500, 1)
      close(flow(limit.wait(1_500, 1), 0.5), interval - tolerance)
    })

    it("cools down as fast while nothing is outstanding, and no further than cold", () => {
      for (const idle of [300, 1_500, 3_000, 100_000]) {
        const limit = warm("leaky-bucket")
        const now = warmUp + idle
        limit.take(now, 1)
        close(flow(limit.wait(now, 1), Math.max(0, 1 - idle / warmUp)), interval - tolerance, `${idle}`)
      }
    })

    it("the same is found whether one looks often or once", () => {
      const [seldom, often] = [use("leaky-bucket"), use("leaky-bucket")]
      for (const each of [seldom, often]) each.take(0, 12)
      for (let now = 0; now < 5_000; now += 37) often.available(now)
      for (const each of [seldom, often]) each.take(5_000, 1)
      close(often.wait(5_000, 1), seldom.wait(5_000, 1))
    })

    it("has one to give when nothing is outstanding, and none before", () => {
      const limit = use("leaky-bucket")
      assert.closeTo(limit.available(0), 1, 0.01)
      limit.take(0, 1)
      assert.strictEqual(limit.available(0), 0)
      const wait = limit.wait(0, 1)
      assert.strictEqual(limit.available(wait - 0.01), 0)
      assert.closeTo(limit.available(wait + 0.01), 1, 0.01)
    })
  })

  describe("token bucket", () => {
    it("has a third of its burst when cold, and all when warm", () => {
      const limit = use("token-bucket")
      close(limit.available(0), burst(0) + 1e-5)
      limit.take(0, 100)
      for (const now of [600, 1_500, 3_000, 4_000]) {
        close(limit.available(now), burst(now) - 100 + flow(now) / interval + 1e-5, `${now}`)
      }
    })

    for (const owed of [4, 10, 20]) {
      it(`waits with ${owed} outstanding until they and the call fit into the burst of that time`, () => {
        const limit = use("token-bucket")
        limit.take(0, owed)
        const wait = limit.wait(0, 1)
        close(owed + 1 - flow(wait) / interval, burst(wait))
        const behind = limit.wait(0, 1, 3)
        close(owed + 4 - flow(behind) / interval, burst(behind))
        close(200 + limit.wait(200, 1), wait)
      })
    }

    it("waits at the full rate for what comes after the warm-up", () => {
      const limit = use("token-bucket")
      limit.take(0, 60)
      close(limit.wait(0, 1), warmUp + 51 * interval - flow(warmUp))
      for (const now of [1_500, 2_999, 3_500]) close(now + limit.wait(now, 1), warmUp + 51 * interval - flow(warmUp))
    })

    it("a call that is larger than a cold burst goes when nothing is outstanding", () => {
      const limit = use("token-bucket", 30)
      assert.strictEqual(limit.wait(0, 10), 0)
      assert.strictEqual(limit.wait(0, 30), 0)
      assert.strictEqual(limit.wait(0, 31), Infinity)
      limit.take(0, 1)
      close(flow(limit.wait(0, 30)), interval)
    })
  })

  it("is as good as new once all has flowed back and it is cold again", () => {
    for (const algorithm of ["token-bucket", "leaky-bucket"] as const) {
      const limit = use(algorithm)
      assert.strictEqual(limit.resetAfter(0), 0)
      limit.take(0, flow(1_200) / interval)
      close(limit.resetAfter(0), 2_400)
      close(limit.resetAfter(600), 1_800)
      close(limit.resetAfter(1_800), 600)
      assert.strictEqual(limit.resetAfter(2_400), 0)
      limit.take(10_000, flow(4_000) / interval)
      close(limit.resetAfter(10_000), 4_000 + warmUp)
    }
  })

  it("what is given back and what is rewarded is outstanding no more", () => {
    const limit = use("token-bucket")
    limit.take(0, 8)
    limit.giveBack(0, 0, 3)
    close(limit.available(0), burst(0) - 5 + 1e-5)
    limit.reward(0, 2)
    close(limit.available(0), burst(0) - 3 + 1e-5)
    limit.reward(0, 50)
    close(limit.available(0), burst(0) + 1e-5)
  })

  it("a settings change keeps the warmth, or drops it with the warm-up", () => {
    const limit = use("token-bucket")
    limit.take(0, 50)
    const slower = Algorithm.makeSpec({ ...limit.spec, limit: 5, burst: 5 })
    Algorithm.convert(limit.spec, slower, limit.state, 1_500)
    close(
      Algorithm.available(slower, limit.state, 1_500),
      burst(1_500, 5) - 50 + flow(1_500) / interval + 0.5e-5
    )
    const plain = Algorithm.makeSpec({ ...slower, warmUp: 0 })
    Algorithm.convert(slower, plain, limit.state, 1_500)
    close(Algorithm.available(plain, limit.state, 1_500), 5 - 50 + flow(1_500) / interval + 0.5e-5)
    Algorithm.convert(plain, slower, limit.state, 1_500)
    close(Algorithm.available(slower, limit.state, 1_500), burst(0, 5) - 50 + flow(1_500) / interval + 0.5e-5)
  })

  it("a clock that goes back changes nothing", () => {
    const limit = use("leaky-bucket")
    limit.take(1_000, 10)
    const wait = limit.wait(1_500, 1)
    limit.available(1_200)
    close(limit.wait(1_500, 1), wait)
  })
})
