import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as RollingSum from "../../src/internal/rollingSum.ts"

describe("RollingSum", () => {
  it("holds the running slice and the nine before it", () => {
    const sum = RollingSum.atMost(1_000)
    RollingSum.add(sum, 250, 3)
    assert.strictEqual(RollingSum.total(sum, 250), 3)
    assert.strictEqual(RollingSum.total(sum, 1_199), 3)
    assert.strictEqual(RollingSum.total(sum, 1_200), 0)
  })

  it("holds the running slice and the ten before it, when all must count for as long as it says", () => {
    const sum = RollingSum.atLeast(1_000)
    RollingSum.add(sum, 299, 3)
    assert.strictEqual(RollingSum.total(sum, 1_299), 3)
    assert.strictEqual(RollingSum.total(sum, 1_300), 0)
  })

  it("forgets a slice just once, when time goes on slice by slice", () => {
    const sum = RollingSum.atMost(1_000)
    for (let slice = 0; slice < 35; slice++) {
      RollingSum.add(sum, slice * 100, 1)
      assert.strictEqual(RollingSum.total(sum, slice * 100), Math.min(10, slice + 1))
    }
  })

  it("forgets all of it after a longer pause, with no remainder of fractions", () => {
    const sum = RollingSum.atMost(1_000)
    for (let slice = 0; slice < 10; slice++) RollingSum.add(sum, slice * 100, 0.1)
    assert.strictEqual(RollingSum.total(sum, 1_900), 0)
    RollingSum.add(sum, 1_900, 2)
    assert.strictEqual(RollingSum.total(sum, 2_800), 2)
    assert.strictEqual(RollingSum.total(sum, 2_900), 0)
  })

  it("takes time that goes back as standing still", () => {
    const sum = RollingSum.atMost(1_000)
    RollingSum.add(sum, 1_500, 1)
    RollingSum.add(sum, 200, 1)
    assert.strictEqual(RollingSum.total(sum, 200), 2)
    assert.strictEqual(RollingSum.total(sum, 2_400), 2)
    assert.strictEqual(RollingSum.total(sum, 2_500), 0)
  })

  it("takes back from the slice that was added to, and nothing once that has left", () => {
    const sum = RollingSum.atMost(1_000)
    RollingSum.add(sum, 100, 5)
    RollingSum.add(sum, 300, 7)
    RollingSum.takeBack(sum, 100, 2)
    assert.strictEqual(RollingSum.total(sum, 1_099), 10)
    assert.strictEqual(RollingSum.total(sum, 1_100), 7)
    RollingSum.takeBack(sum, 199, 3)
    assert.strictEqual(RollingSum.total(sum, 1_100), 7)
    RollingSum.takeBack(sum, 300, 7)
    assert.strictEqual(RollingSum.total(sum, 1_299), 0)
  })

  const Step = Schema.Struct({
    kind: Schema.Literals(["add", "add", "takeBack", "look"]),
    pause: Schema.Literals([0, 0, 1, 99, 100, 101, 950, 1_000, 2_500]),
    amount: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))
  })

  it.effect.prop(
    "is the sum of what a list of all additions holds",
    { steps: Schema.Array(Step), slices: Schema.Literals([10, 11]) },
    ({ slices, steps }) =>
      Effect.sync(() => {
        const sum = slices === 10 ? RollingSum.atMost(1_000) : RollingSum.atLeast(1_000)
        const added: Array<{ readonly at: number; readonly amount: number }> = []
        const sliceOf = (at: number) => Math.floor(at / 100)
        let now = 0
        for (const { amount, kind, pause } of steps) {
          now += pause
          if (kind === "add") {
            added.push({ at: now, amount })
            RollingSum.add(sum, now, amount)
          } else if (kind === "takeBack") {
            const last = added.pop()
            if (last !== undefined) RollingSum.takeBack(sum, last.at, last.amount)
          }
          const expected = added.filter(({ at }) => sliceOf(at) > sliceOf(now) - slices).reduce(
            (all, one) => all + one.amount,
            0
          )
          assert.strictEqual(RollingSum.total(sum, now), expected)
        }
      })
  )
})
