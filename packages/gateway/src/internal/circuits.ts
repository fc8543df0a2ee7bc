import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

const names: ReadonlyArray<string> = ["closed", "half-open", "open"]

/** The state of every circuit breaker of the process by name, as the breakers' gauge tells it. */
export const states: Effect.Effect<Record<string, string>> = Effect.map(Metric.snapshot, (metrics) => {
  const states: Record<string, string> = {}
  for (const metric of metrics) {
    if (metric.id !== "ballast_circuit_breaker_state" || metric.type !== "Gauge") continue
    states[metric.attributes?.["name"] ?? "default"] = names[Number(metric.state.value)] ?? "unknown"
  }
  return states
})

/** How many circuit breakers are in each state: what may be told to anybody, since names are those of models. */
export const counts: Effect.Effect<Record<string, number>> = Effect.map(states, (states) => {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = 0
  for (const state of Object.values(states)) counts[state] = (counts[state] ?? 0) + 1
  return counts
})
