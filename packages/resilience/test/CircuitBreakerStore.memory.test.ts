import { CircuitBreaker, CircuitBreakerStore } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { spec } from "./support/circuitStores.ts"

const { CircuitBreakerStore: Store } = CircuitBreakerStore

const inMemory = Effect.provide(CircuitBreakerStore.layerStoreMemory({ idleTimeToLive: 1_000 }))

const failed = (era: string) => ({
  era,
  probe: undefined,
  outcome: "failure" as const,
  slow: false,
  retryAfter: undefined
})

describe("CircuitBreakerStore in memory", () => {
  it.effect("forgets a circuit that nobody calls, and uses none of its eras again", () =>
    Effect.gen(function*() {
      const { admit, inspect, record } = yield* Store
      const calls = Effect.map(inspect("key", spec()), (state) => state._tag === "Closed" ? state.failures : NaN)
      const { view } = yield* admit("key", spec())
      yield* record("key", spec(), [failed(view.era)])
      yield* TestClock.adjust(999)
      yield* admit("other", spec())
      assert.strictEqual(yield* calls, 1)
      yield* TestClock.adjust(1)
      yield* admit("other", spec())
      assert.strictEqual(yield* calls, 0)
      const again = yield* admit("key", spec())
      assert.notStrictEqual(again.view.era, view.era)
      yield* record("key", spec(), [failed(view.era), failed(view.era)])
      assert.strictEqual(yield* calls, 0)
    }).pipe(inMemory))

  it.effect("keeps a circuit for as long as its calls count in a window of time", () =>
    Effect.gen(function*() {
      const { admit, inspect, record } = yield* Store
      const held = spec({ trip: CircuitBreaker.timeWindow({ window: "10 seconds" }) })
      const calls = Effect.map(inspect("key", held), (state) => state._tag === "Closed" ? state.failures : NaN)
      const { view } = yield* admit("key", held)
      yield* record("key", held, [failed(view.era)])
      yield* TestClock.adjust(9_999)
      yield* admit("other", held)
      assert.strictEqual(yield* calls, 1)
      const { view: later } = yield* admit("key", held)
      assert.strictEqual(later.era, view.era)
    }).pipe(inMemory))

  it.effect("forgets the longest unused circuit beyond 100,000, none of those set by hand, and uses no era again", () =>
    Effect.gen(function*() {
      const { admit, control, inspect, record } = yield* Store
      yield* control("isolated", spec(), { _tag: "Isolate" })
      const calls = (key: string) =>
        Effect.map(inspect(key, spec()), (state) => state._tag === "Closed" ? state.failures : NaN)
      const { view } = yield* admit("first", spec())
      yield* record("first", spec(), [failed(view.era)])
      yield* record("second", spec(), [failed((yield* admit("second", spec())).view.era)])
      yield* admit("first", spec())
      for (let i = 0; i < 99_998; i++) yield* admit(`${i}`, spec())
      assert.strictEqual(yield* calls("first"), 1)
      assert.strictEqual(yield* calls("second"), 0)
      yield* admit("another", spec())
      assert.strictEqual(yield* calls("first"), 0)
      assert.notStrictEqual((yield* admit("first", spec())).view.era, view.era)
      assert.strictEqual((yield* inspect("isolated", spec()))._tag, "Isolated")
    }).pipe(inMemory))

  it.effect("keeps what was set by hand, and what is open", () =>
    Effect.gen(function*() {
      const { admit, control, inspect } = yield* Store
      yield* control("isolated", spec(), { _tag: "Isolate" })
      yield* control("shadow", spec(), { _tag: "Shadow" })
      yield* control("open", spec(), { _tag: "Open", duration: 60_000 })
      yield* TestClock.adjust(10_000)
      yield* admit("other", spec())
      assert.strictEqual((yield* inspect("isolated", spec()))._tag, "Isolated")
      assert.strictEqual((yield* inspect("open", spec()))._tag, "Open")
      const shadow = yield* inspect("shadow", spec())
      assert.isTrue("shadow" in shadow && shadow.shadow)
    }).pipe(inMemory))
})
