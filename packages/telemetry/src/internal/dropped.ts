import * as Metric from "effect/Metric"

/** What telemetry lost, by `signal`: `traces`, `metrics` or `logs`. */
export const droppedItems = Metric.counter("ballast_telemetry_dropped_total", {
  description:
    "Spans, log records and batches of metrics that were not exported, or lines of the log that were not written",
  incremental: true
})
