import { Flood } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"

const start = Effect.fnUntraced(function*(options: Partial<Flood.Options<string>> = {}) {
  const told: Array<string> = []
  const add = yield* Flood.make<string>({
    tell: (last, times) => Effect.sync(() => told.push(times === 1 ? last : `${last} × ${times}`)),
    ...options
  })
  /** What was told since it was last asked. */
  const since = () => told.splice(0)
  return { add, since }
})

describe("Flood", () => {
  it.effect("tells the first of a key at once, and the number of the others once an interval", () =>
    Effect.gen(function*() {
      const { add, since } = yield* start()
      for (let i = 1; i <= 10; i++) yield* add("k", `k${i}`)
      assert.deepStrictEqual(since(), ["k1", "k2", "k3"])
      yield* TestClock.adjust("29 seconds")
      assert.deepStrictEqual(since(), [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(since(), ["k10 × 7"])
    }))

  it.effect("tells a flood that goes on once an interval, and begins anew after one without it", () =>
    Effect.gen(function*() {
      const { add, since } = yield* start({ first: 1 })
      for (let i = 0; i < 60; i++) yield* Effect.andThen(add("k", "k"), TestClock.adjust("1 second"))
      assert.deepStrictEqual(since(), ["k", "k × 29", "k × 30"])
      yield* add("k", "again")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(since(), ["again"])
      yield* add("k", "anew")
      assert.deepStrictEqual(since(), ["anew"])
    }))

  it.effect("tells keys apart up to a limit", () =>
    Effect.gen(function*() {
      const { add, since } = yield* start({ first: 1, keys: 2 })
      for (const key of ["a", "b", "c", "d", "e", "a"]) yield* add(key, key)
      assert.deepStrictEqual(since(), ["a", "b", "c"])
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(since(), ["a", "e × 2"])
    }))

  it.effect("tells at the end what it has counted", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { add, since } = yield* Scope.provide(start({ first: 1 }), scope)
      for (let i = 0; i < 3; i++) yield* add("k", "k")
      since()
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(since(), ["k × 2"])
    }))

  it("refuses bounds that make no sense", () => {
    for (const options of [{ first: 0 }, { keys: 0 }, { interval: 0 }]) {
      assert.throws(() => Flood.make({ tell: () => Effect.void, ...options }), RangeError)
    }
  })
})
