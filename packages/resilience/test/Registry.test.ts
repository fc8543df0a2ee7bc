import { CircuitBreaker, Registry, Retry } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Scope, Stream } from "effect"

describe("Registry", () => {
  it.effect("finds handles by owner, kind and name", () =>
    Effect.gen(function*() {
      const registry = Registry.make()
      const circuitBreaker = yield* CircuitBreaker.make()
      const retry = Retry.make()
      yield* registry.register("a", "a/x", { circuitBreaker, retry, hedge: undefined })
      yield* registry.register("b", "b/x", { circuitBreaker: CircuitBreaker.noop })
      const found: CircuitBreaker.CircuitBreaker | undefined = yield* registry.find("circuitBreaker", "a/x")
      assert.strictEqual(found, circuitBreaker)
      assert.isUndefined(yield* registry.find("hedge", "a/x"))
      const names = (filter?: Registry.Filter) =>
        Effect.map(registry.list(filter), (entries) => entries.map(({ kind, name }) => `${name} ${kind}`))
      assert.deepStrictEqual(yield* names(), ["a/x circuitBreaker", "a/x retry", "b/x circuitBreaker"])
      assert.deepStrictEqual(yield* names({ owner: "a" }), ["a/x circuitBreaker", "a/x retry"])
      assert.deepStrictEqual(yield* names({ kind: "circuitBreaker" }), ["a/x circuitBreaker", "b/x circuitBreaker"])
      assert.deepStrictEqual(yield* names({ owner: "b", name: "a/x" }), [])
    }))

  it.effect("holds names and handles as long as their scopes", () =>
    Effect.gen(function*() {
      const registry = Registry.make()
      const [first, second] = [yield* Scope.make(), yield* Scope.make()]
      assert.strictEqual(yield* Scope.provide(registry.claim("deepseek"), first), "deepseek")
      assert.strictEqual(yield* Scope.provide(registry.claim("deepseek"), second), "deepseek-2")
      assert.strictEqual(yield* registry.claim("deepseek"), "deepseek-3")
      yield* Scope.provide(registry.register("deepseek", "x", { retry: Retry.noop }), first)
      yield* Scope.provide(registry.register("deepseek-2", "x", { retry: Retry.noop }), second)
      yield* Scope.close(first, Exit.void)
      assert.deepStrictEqual((yield* registry.list()).map(({ owner }) => owner), ["deepseek-2"])
      assert.strictEqual(yield* registry.claim("deepseek"), "deepseek")
    }))

  it.effect("takes a policy's gauges away with the last handle of its name", () =>
    Effect.gen(function*() {
      const registry = Registry.make()
      const [first, second] = [yield* Scope.make(), yield* Scope.make()]
      for (const scope of [first, second]) {
        const circuitBreaker = yield* CircuitBreaker.make({ name: "x" })
        yield* circuitBreaker.shadow
        yield* Scope.provide(registry.register("a", "x", { circuitBreaker }), scope)
      }
      const gauges = Effect.map(
        Metric.snapshot,
        (all) => all.filter(({ type }) => type === "Gauge").map(({ id }) => id)
      )
      const both = ["ballast_circuit_breaker_state", "ballast_circuit_breaker_shadow"]
      assert.deepStrictEqual(yield* gauges, both)
      yield* Scope.close(first, Exit.void)
      assert.deepStrictEqual(yield* gauges, both)
      yield* Scope.close(second, Exit.void)
      assert.deepStrictEqual(yield* gauges, [])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("tells what is there, then what comes and goes", () =>
    Effect.gen(function*() {
      const registry = Registry.make()
      yield* registry.register("a", "x", { retry: Retry.noop })
      const seen: Array<string> = []
      const listening = yield* Effect.forkChild(
        Stream.runForEach(registry.changes, ({ _tag, entry }) => Effect.sync(() => seen.push(`${_tag} ${entry.name}`))),
        { startImmediately: true }
      )
      yield* Effect.scoped(registry.register("a", "y", { retry: Retry.noop }))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(listening)
      yield* registry.register("a", "z", { retry: Retry.noop })
      assert.deepStrictEqual(seen, ["Added x", "Added y", "Removed y"])
    }))

  it.effect("is that of the process, or the one provided", () =>
    Effect.gen(function*() {
      const ofProcess = yield* Registry.Current
      assert.strictEqual(yield* Registry.Current, ofProcess)
      assert.notStrictEqual(yield* Effect.provide(Effect.service(Registry.Current), Registry.layer), ofProcess)
    }))
})
