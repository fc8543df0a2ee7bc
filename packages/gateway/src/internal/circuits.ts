import type * as CircuitBreaker from "@ballast/resilience/CircuitBreaker"
import * as Registry from "@ballast/resilience/Registry"
import * as Effect from "effect/Effect"

const names = {
  Closed: "closed",
  HalfOpen: "half-open",
  Open: "open",
  Isolated: "isolated",
  Disabled: "disabled"
} as const satisfies { readonly [Tag in CircuitBreaker.State["_tag"]]: string }

/** Every circuit breaker in the registry at hand, with its state in a word. A circuit whose open time is over is half-open. */
export const list = Effect.gen(function*() {
  const registry = yield* Registry.Current
  return yield* Effect.forEach(
    yield* registry.list({ kind: "circuitBreaker" }),
    ({ handle, name, owner }) => Effect.map(handle.inspect, ({ _tag }) => ({ owner, name, state: names[_tag] }))
  )
})

/** The state of every circuit breaker in the registry at hand, by name. */
export const states: Effect.Effect<Record<string, string>> = Effect.map(
  list,
  (circuits) => Object.fromEntries(circuits.map(({ name, state }) => [name, state]))
)

/** How many circuit breakers are in each state: what may be told to anyone, since names are those of models. */
export const counts: Effect.Effect<Record<string, number>> = Effect.map(states, (states) => {
  const counts: Record<string, number> = { "closed": 0, "half-open": 0, "open": 0 }
  for (const state of Object.values(states)) counts[state] = (counts[state] ?? 0) + 1
  return counts
})
