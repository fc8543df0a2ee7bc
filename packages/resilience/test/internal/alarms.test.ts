import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Random } from "effect"
import { TestClock } from "effect/testing"
import * as Alarms from "../../src/internal/alarms.ts"
import { countingSleeps } from "../support/streams.ts"

/** Alarms with names, of which those that rang and when are noted. */
const makeAlarms = Effect.gen(function*() {
  const alarms = Alarms.make()
  const clock = yield* Clock.Clock
  const sleeps = yield* countingSleeps
  const rung: Array<readonly [string, number]> = []
  const set = (name: string, at: number, then: Effect.Effect<unknown> = Effect.void) =>
    sleeps.provide(Effect.withFiber((fiber) => {
      const alarm = Alarms.alarm(at, () => {
        rung.push([name, clock.currentTimeMillisUnsafe()])
        Effect.runSync(sleeps.provide(then))
      })
      alarms.set(fiber, fiber.context, alarm)
      return Effect.succeed(alarm)
    }))
  return { alarms, rung, set, sleeps }
})

describe("alarms", () => {
  it.effect("ring at their time, not before, and once", () =>
    Effect.gen(function*() {
      const { rung, set } = yield* makeAlarms
      yield* set("a", 100)
      yield* TestClock.adjust(99)
      assert.deepStrictEqual(rung, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(rung, [["a", 100]])
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(rung.length, 1)
    }))

  it.effect("ring in the order of their times, however they were set", () =>
    Effect.gen(function*() {
      const { rung, set } = yield* makeAlarms
      for (const at of [50, 20, 40, 10, 60, 30]) yield* set(`${at}`, at)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, [10, 20, 30, 40, 50, 60].map((at) => [`${at}`, at]))
    }))

  it.effect("those of one time ring in the order in which they were set", () =>
    Effect.gen(function*() {
      const { rung, set } = yield* makeAlarms
      for (const name of "abc") yield* set(name, 10)
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(rung, [["a", 10], ["b", 10], ["c", 10]])
    }))

  it.effect("one that was cleared does not ring, and the others do", () =>
    Effect.gen(function*() {
      const { alarms, rung, set } = yield* makeAlarms
      const [a, , c, d] = [yield* set("a", 10), yield* set("b", 20), yield* set("c", 30), yield* set("d", 5)]
      yield* Testing.settle
      for (const alarm of [a, c, d, d]) alarms.clear(alarm)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, [["b", 20]])
    }))

  it.effect("clearing one that has rung changes nothing", () =>
    Effect.gen(function*() {
      const { alarms, rung, set } = yield* makeAlarms
      const a = yield* set("a", 10)
      yield* set("b", 20)
      yield* TestClock.adjust(10)
      alarms.clear(a)
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(rung, [["a", 10], ["b", 20]])
    }))

  it.effect("many are set and cleared in few steps, in whatever order", () =>
    Effect.gen(function*() {
      const size = 10_000
      const times = Array.from({ length: size }, (_, n) => 1 + n)
      const orders = { ascending: times, descending: times.toReversed(), shuffled: yield* Random.shuffle(times) }
      for (const [name, order] of Object.entries(orders)) {
        let looks = 0
        const watched = (at: number): Alarms.Alarm => ({
          ...Alarms.alarm(at, () => {}),
          get at() {
            looks++
            return at
          }
        })
        const alarms = Alarms.make()
        yield* Effect.withFiber((fiber) => {
          const all = order.map(watched)
          for (const alarm of all) alarms.set(fiber, fiber.context, alarm)
          for (const alarm of all) alarms.clear(alarm)
          return Effect.void
        })
        assert.isAtMost(looks / size, 8 * Math.log2(size), name)
      }
    }))

  it.effect("many have one timer, and none after the last", () =>
    Effect.gen(function*() {
      const { rung, set, sleeps } = yield* makeAlarms
      for (let n = 0; n < 100; n++) yield* set(`${n}`, 10 + n)
      yield* Testing.settle
      assert.deepStrictEqual([sleeps.running(), sleeps.started()], [1, 1])
      yield* TestClock.adjust(9 + 50)
      assert.deepStrictEqual([rung.length, sleeps.running()], [50, 1])
      yield* TestClock.adjust(50)
      assert.deepStrictEqual([rung.length, sleeps.running(), sleeps.started()], [100, 0, 100])
    }))

  it.effect("a later one leaves the timer as it is, a nearer one sets it anew", () =>
    Effect.gen(function*() {
      const { rung, set, sleeps } = yield* makeAlarms
      yield* set("a", 20)
      yield* Testing.settle
      for (const at of [20, 30]) {
        yield* set(`at ${at}`, at)
        yield* Testing.settle
        assert.strictEqual(sleeps.started(), 1)
      }
      yield* set("b", 10)
      yield* Testing.settle
      assert.deepStrictEqual([sleeps.running(), sleeps.started()], [1, 2])
      yield* TestClock.adjust(30)
      assert.deepStrictEqual(rung, [["b", 10], ["a", 20], ["at 20", 20], ["at 30", 30]])
    }))

  it.effect("one that is cleared at once never has a timer", () =>
    Effect.gen(function*() {
      const { alarms, set, sleeps } = yield* makeAlarms
      alarms.clear(yield* set("a", 20))
      yield* Testing.settle
      assert.strictEqual(sleeps.started(), 0)
    }))

  it.effect("the timer ends when the last one is cleared, and starts again for the next", () =>
    Effect.gen(function*() {
      const { alarms, rung, set, sleeps } = yield* makeAlarms
      const [a, b] = [yield* set("a", 20), yield* set("b", 30)]
      yield* Testing.settle
      alarms.clear(a)
      yield* Testing.settle
      assert.strictEqual(sleeps.running(), 1)
      alarms.clear(b)
      yield* Testing.settle
      assert.strictEqual(sleeps.running(), 0)
      yield* set("c", 40)
      yield* TestClock.adjust(39)
      assert.deepStrictEqual([rung, sleeps.running()], [[], 1])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(rung, [["c", 40]])
    }))

  it.effect("one that is set by another that rings has its own time", () =>
    Effect.gen(function*() {
      const { rung, set, sleeps } = yield* makeAlarms
      yield* set("a", 10, Effect.andThen(set("soon", 15), set("late", 30)))
      yield* set("b", 20)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, [["a", 10], ["soon", 15], ["b", 20], ["late", 30]])
      assert.strictEqual(sleeps.running(), 0)
    }))

  it.effect("one that is set anew whenever it rings, for a time that has come, lets the clock go on", () =>
    Effect.gen(function*() {
      const { rung, set, sleeps } = yield* makeAlarms
      let left = 5
      const again: Effect.Effect<unknown> = Effect.suspend(() => left-- > 0 ? set("again", 10, again) : Effect.void)
      yield* set("a", 10, again)
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(rung.map(([name]) => name), ["a", "again", "again", "again", "again", "again"])
      assert.strictEqual(sleeps.running(), 0)
    }))

  it.effect("all that a ring clears stay silent, and no timer is left", () =>
    Effect.gen(function*() {
      const { alarms, rung, set, sleeps } = yield* makeAlarms
      const others: Array<Alarms.Alarm> = []
      yield* set("a", 10, Effect.sync(() => others.forEach(alarms.clear)))
      others.push(yield* set("b", 10), yield* set("c", 20))
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, [["a", 10]])
      assert.strictEqual(sleeps.running(), 0)
      yield* set("d", 200)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, [["a", 10], ["d", 200]])
    }))

  it.effect("go by the clock of who sets them", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const ahead: Clock.Clock = {
        ...clock,
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + 1_000,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + 1_000_000_000n
      }
      const alarms = Alarms.make()
      const rung: Array<readonly [string, number]> = []
      const set = (name: string, at: number) =>
        Effect.withFiber((fiber) => {
          const ring = () => void rung.push([name, clock.currentTimeMillisUnsafe()])
          alarms.set(fiber, fiber.context, Alarms.alarm(at, ring))
          return Effect.void
        })
      const sleeps = yield* countingSleeps
      for (const n of [1, 2]) {
        yield* sleeps.provide(set(`here ${n}`, 10 * n))
        yield* Effect.provideService(set(`ahead ${n}`, 1_000 + 15 * n), Clock.Clock, ahead)
        yield* Testing.settle
      }
      assert.deepStrictEqual([sleeps.running(), sleeps.started()], [1, 1])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(rung, [["here 1", 10], ["ahead 1", 15], ["here 2", 20], ["ahead 2", 30]])
    }))
})
