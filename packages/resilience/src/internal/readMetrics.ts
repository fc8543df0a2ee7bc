import type * as Metric from "effect/Metric"

/** All metrics by `name{label=value,…}`; a histogram as its sum, and its count under `name_count{…}`. */
export const readMetrics = (snapshots: ReadonlyArray<Metric.Metric.Snapshot>) => {
  const out: Record<string, number> = {}
  for (const { attributes, id, state, type } of snapshots) {
    const labels = Object.entries(attributes ?? {}).sort().map(([key, value]) => `${key}=${value}`).join(",")
    switch (type) {
      case "Counter":
        out[`${id}{${labels}}`] = Number(state.count)
        break
      case "Gauge":
        out[`${id}{${labels}}`] = Number(state.value)
        break
      case "Histogram":
        out[`${id}{${labels}}`] = state.sum
        out[`${id}_count{${labels}}`] = state.count
        break
      default:
        break
    }
  }
  return out
}
