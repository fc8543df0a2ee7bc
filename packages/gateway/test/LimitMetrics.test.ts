import { LimitMetrics } from "@ballast/gateway"
import { ConcurrencyLimit, Registry } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"

const gauges = Effect.map(Metric.snapshot, (all) =>
  Object.fromEntries(
    all.flatMap(({ attributes, id, state }) =>
      id.startsWith("ballast_limit_") && "value" in state
        ? [[`${id.slice("ballast_limit_".length)} ${attributes?.["name"]}`, state.value]]
        : []
    )
  ))

describe("LimitMetrics", () => {
  it.effect("tell how many calls run and wait, as long as the limit is there", () =>
    Effect.gen(function*() {
      const registry = Registry.make()
      const scope = yield* Scope.make()
      const limit = yield* ConcurrencyLimit.make({ name: "shop/main/flash", limit: 2, queue: 10, maxWait: "1 minute" })
      yield* Scope.provide(registry.register("shop/main", "shop/main/flash", { concurrencyLimit: limit }), scope)
      yield* Effect.provideService(LimitMetrics.make, Registry.Current, registry)
      for (let i = 0; i < 3; i++) yield* Effect.forkChild(limit(Effect.never))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* gauges, {
        "running shop/main/flash": 2,
        "queued shop/main/flash": 1,
        "places shop/main/flash": 2
      })
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* gauges, {})
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
