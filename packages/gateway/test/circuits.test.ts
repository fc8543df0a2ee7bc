import { CircuitBreaker, Registry } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as circuits from "../src/internal/circuits.ts"

describe("circuits", () => {
  it.effect("are told by name as they are now, without a call", () =>
    Effect.gen(function*() {
      const registry = yield* Registry.Current
      const breakers = yield* Effect.forEach(["a/x", "b/x", "b/y"], (name) =>
        Effect.tap(
          CircuitBreaker.make({ name: "same" }),
          (circuitBreaker) => registry.register(name.slice(0, 1), name, { circuitBreaker })
        ))
      yield* breakers[0]!.open("1 minute")
      yield* breakers[2]!.isolate
      assert.deepStrictEqual(yield* circuits.states, { "a/x": "open", "b/x": "closed", "b/y": "isolated" })
      assert.deepStrictEqual(yield* circuits.counts, { "closed": 1, "half-open": 0, "open": 1, "isolated": 1 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* circuits.states, { "a/x": "half-open", "b/x": "closed", "b/y": "isolated" })
    }).pipe(Effect.provide(Registry.layer)))
})
