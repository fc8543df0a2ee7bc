import { assert, describe, it } from "@effect/vitest"
import * as Rounds from "../../src/internal/concurrency/rounds.ts"

const success = (rounds: Rounds.Rounds, round: number, took: number, options: { at?: number; limit?: number } = {}) => {
  const { at = 1_000, limit = 2 } = options
  return Rounds.succeeded(rounds, round, { startedAt: at - took, at, limit })
}

const drop = (
  rounds: Rounds.Rounds,
  round: number,
  options: { limit?: number; inFlight?: number; stated?: number } = {}
) => Rounds.dropped(rounds, round, { at: 1_000, limit: 10, inFlight: 1, stated: undefined, ...options })

describe("rounds", () => {
  for (
    const [limit, calls] of [[1, 1], [2, 1], [3, 1], [4, 2], [5, 2], [10, 5], [99, 49], [100, 50], [1_000, 50]] as const
  ) {
    it(`with a limit of ${limit}, ${calls} successes make a round`, () => {
      const rounds = Rounds.make()
      for (let turn = 0; turn < 2; turn++) {
        for (let n = 1; n < calls; n++) assert.isUndefined(success(rounds, turn, 5, { limit }))
        assert.isDefined(success(rounds, turn, 5, { limit }))
        assert.strictEqual(rounds.number, turn + 1)
      }
    })
  }

  it("a sample has the average time of its calls, and the most slots that were taken as one started", () => {
    const rounds = Rounds.make()
    for (const inFlight of [1, 4, 3]) assert.strictEqual(Rounds.started(rounds, inFlight), 0)
    success(rounds, 0, 10, { limit: 6 })
    success(rounds, 0, 40, { limit: 6 })
    assert.deepStrictEqual(success(rounds, 0, 100, { limit: 6, at: 2_000 }), {
      at: 2_000,
      rtt: 50,
      inFlight: 4,
      dropped: false,
      stated: undefined
    })
  })

  it("the next round starts from nothing", () => {
    const rounds = Rounds.make()
    Rounds.started(rounds, 4)
    success(rounds, 0, 10)
    assert.strictEqual(Rounds.started(rounds, 2), 1)
    const sample = success(rounds, 1, 30)
    assert.deepStrictEqual([sample?.rtt, sample?.inFlight], [30, 2])
  })

  it("a call that started in an earlier round counts for none", () => {
    const rounds = Rounds.make()
    success(rounds, 0, 10)
    assert.isUndefined(success(rounds, 0, 1_000))
    assert.strictEqual(success(rounds, 1, 30)?.rtt, 30)
  })

  it("a drop ends its round, with what succeeded in it", () => {
    const rounds = Rounds.make()
    Rounds.started(rounds, 3)
    success(rounds, 0, 10, { limit: 100 })
    success(rounds, 0, 20, { limit: 100 })
    assert.deepStrictEqual(drop(rounds, 0), { at: 1_000, rtt: 15, inFlight: 3, dropped: true, stated: undefined })
    assert.strictEqual(rounds.number, 1)
  })

  it("a drop in a round without a success knows no time, and the slots of that moment if they are more", () => {
    const rounds = Rounds.make()
    Rounds.started(rounds, 3)
    assert.deepStrictEqual(drop(rounds, 0, { inFlight: 7 }), {
      at: 1_000,
      rtt: undefined,
      inFlight: 7,
      dropped: true,
      stated: undefined
    })
  })

  it("more drops of calls from before it tell nothing new, those of later calls do", () => {
    const rounds = Rounds.make()
    assert.isDefined(drop(rounds, 0))
    assert.isUndefined(drop(rounds, 0))
    success(rounds, 1, 10)
    // Not in the round that is on, but it started after the drop.
    assert.isDefined(drop(rounds, 1))
    assert.isUndefined(drop(rounds, 1))
    assert.isUndefined(drop(rounds, 2 - 1))
    assert.strictEqual(rounds.number, 3)
    assert.isDefined(drop(rounds, 3))
  })

  it("a drop from before that states a limit counts if that is lower than the one that holds", () => {
    const rounds = Rounds.make()
    drop(rounds, 0)
    assert.isUndefined(drop(rounds, 0, { stated: 11 }))
    assert.isUndefined(drop(rounds, 0, { stated: 10 }))
    assert.strictEqual(drop(rounds, 0, { stated: 9 })?.stated, 9)
    assert.strictEqual(drop(rounds, 2, { stated: 20 })?.stated, 20)
  })
})
