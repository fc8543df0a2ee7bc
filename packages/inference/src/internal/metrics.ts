/** The metrics of local models. Their names stand in the table of `@ballast/telemetry`. */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"

const calls = Metric.counter("ballast_inference_calls_total", {
  description: "Calls of local models that ended, by outcome",
  incremental: true
})
const seconds = Metric.histogram("ballast_inference_call_seconds", {
  description: "Time of a call of a local model with its wait",
  boundaries: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
})
const rows = Metric.histogram("ballast_inference_batch_rows", {
  description: "Rows of one run of a local model",
  boundaries: [1, 2, 4, 8, 16, 32, 64, 128, 256]
})
const queued = Metric.gauge("ballast_inference_queued", { description: "Calls that wait for a session" })
const bytes = Metric.gauge("ballast_inference_loaded_bytes", {
  description: "Estimated memory of the local models that are loaded"
})

/** The metrics of one version. */
export const make = (model: string, version: string, context: Context.Context<never>) => {
  const attributes = { model, version }
  const batchRows = Metric.withAttributes(rows, attributes)
  const waiting = Metric.withAttributes(queued, attributes)
  const time = Metric.withAttributes(seconds, attributes)
  const outcomes = new Map<string, Metric.Counter<number>>()
  return {
    batch: (count: number): void => batchRows.updateUnsafe(count, context),
    queued: (count: number): void => waiting.updateUnsafe(count, context),
    /** `outcome` is `success`, `interrupted` or the reason of the error. */
    call: (outcome: string, millis: number): void => {
      let counter = outcomes.get(outcome)
      if (counter === undefined) {
        counter = Metric.withAttributes(calls, { ...attributes, outcome })
        outcomes.set(outcome, counter)
      }
      counter.updateUnsafe(1, context)
      time.updateUnsafe(millis / 1000, context)
    }
  }
}

export type Meter = ReturnType<typeof make>

/** Tells how much memory all models take. */
export const loaded = (count: number, context: Context.Context<never>): void => bytes.updateUnsafe(count, context)
