/** What tests of shared circuit breakers need: a store in memory that can be watched, slowed down and broken. */
import { CircuitBreakerStore, type SharedCircuitBreaker } from "@ballast/resilience"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./../support.ts"

export const ok = Effect.succeed("ok")
export const fail = Effect.fail(new Fault({}))

/** Opens at the second failure in a row. */
export const options = {
  trip: { _tag: "Consecutive", times: 2, of: "failures" },
  openDuration: "1 second",
  probeTimeout: "5 seconds"
} satisfies SharedCircuitBreaker.Options

type Store = CircuitBreakerStore.CircuitBreakerStore["Service"]

/** How a store behaves; a test may change it at any time. */
export interface Behaviour {
  /** What was asked, in the order in which it was. */
  readonly asked: Array<string>
  /** Put around each request. */
  around: <A>(
    request: Effect.Effect<A, CircuitBreakerStore.CircuitBreakerStoreError>
  ) => Effect.Effect<A, CircuitBreakerStore.CircuitBreakerStoreError>
}

/** A store in memory with a behaviour. */
export const watched = Effect.map(
  Effect.map(Layer.build(CircuitBreakerStore.layerStoreMemory()), (context) => context),
  (context) => {
    const behaviour: Behaviour = { asked: [], around: (request) => request }
    const layer = Layer.effect(
      CircuitBreakerStore.CircuitBreakerStore,
      Effect.map(Effect.provide(CircuitBreakerStore.CircuitBreakerStore, context), (inner): Store => {
        const ask = <A>(
          name: string,
          request: Effect.Effect<A, CircuitBreakerStore.CircuitBreakerStoreError>
        ) =>
          Effect.suspend(() => {
            behaviour.asked.push(name)
            return behaviour.around(request)
          })
        return {
          admit: (key, spec) => ask("admit", inner.admit(key, spec)),
          record: (key, spec, results) => ask(`record ${results.length}`, inner.record(key, spec, results)),
          control: (key, spec, command) => ask("control", inner.control(key, spec, command)),
          inspect: (key, spec) => inner.inspect(key, spec)
        }
      })
    )
    return { behaviour, layer }
  }
)

export const broken = Effect.fail(
  new CircuitBreakerStore.CircuitBreakerStoreError({ operation: "answer", cause: "it is down" })
)

/** Lets the open time of `options` pass. */
export const openTime = TestClock.adjust("1 second")
