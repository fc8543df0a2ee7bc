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
