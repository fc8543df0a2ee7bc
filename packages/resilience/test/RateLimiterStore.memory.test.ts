import { RateLimiterStore } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as rate from "./support/rate.ts"

const { RateLimiterStore: Store } = RateLimiterStore

const spec = rate.spec({ algorithm: "fixed-window", limit: 1, window: "1 hour" })

describe("RateLimiterStore in memory", () => {
  it.effect("forgets the longest unused key beyond 100,000, and none that is blocked", () =>
    Effect.gen(function*() {
      const store = yield* Store
      const take = (key: string) =>
        Effect.map(store.take(key, spec, { weights: [1], extra: 0, marked: false }), ({ admitted }) => admitted)
      yield* store.hold("blocked", "block", 1e12)
      yield* take("first")
      yield* take("second")
      assert.strictEqual(yield* take("first"), 0)
      for (let i = 0; i < 99_998; i++) yield* take(`${i}`)
      assert.strictEqual(yield* take("first"), 0)
      assert.strictEqual(yield* take("second"), 1)
      assert.strictEqual(yield* take("blocked"), 0)
    }).pipe(Effect.provide(RateLimiterStore.layerStoreMemory)))
})
