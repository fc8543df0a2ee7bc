import type * as CircuitBreaker from "@ballast/resilience/CircuitBreaker"
import * as Registry from "@ballast/resilience/Registry"
import * as Effect from "effect/Effect"

const names: { readonly [Tag in CircuitBreaker.State["_tag"]]: string } = {
  Closed: "closed",
  HalfOpen: "half-open",
  Open: "open",
  Isolated: "isolated",
  Disabled: "disabled"
}

/** The state of every circuit breaker in the registry at hand, by name. A circuit whose open time is over is half-open. */
export const states: Effect.Effect<Record<string, string>> = Effect.gen(function*() {
  const registry = yield* Registry.Current
  const states: Record<string, string> = {}
  for (const { handle, name } of yield* registry.list({ kind: "circuitBreaker" })) {
    const { _tag } = yield* handle.inspect
    states[name] = names[_tag]
  }
  return states
})

/** How many circuit breakers are in each state: what may be told to anyone, since names are those of models. */
export const counts: Effect.Effect<Record<string, number>> = Effect.map(states, (states) => {
  const counts: Record<string, number> = { "closed": 0, "half-open": 0, "open": 0 }
  for (const state of Object.values(states)) counts[state] = (counts[state] ?? 0) + 1
  return counts
})
