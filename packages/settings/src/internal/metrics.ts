import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

const revision = Metric.gauge("ballast_settings_revision", {
  description: "Number of the settings in force: 1 at the start, one more with each change."
})
const changes = Metric.counter("ballast_settings_changes_total", {
  description: "Changes of settings that took effect.",
  incremental: true
})
const refusals = Metric.counter("ballast_settings_refusals_total", {
  description: "Changes of settings that were refused.",
  incremental: true
})
const sourceUp = Metric.gauge("ballast_settings_source_up", {
  description: "Whether the last reading of a source of settings succeeded: 1 yes, 0 no."
})

/** The metrics of the settings with a name. */
export const make = (name: string) => ({
  revision: (n: number) => Metric.update(Metric.withAttributes(revision, { name }), n),
  changed: Metric.update(Metric.withAttributes(changes, { name }), 1),
  refused: Metric.update(Metric.withAttributes(refusals, { name }), 1),
  source: (source: string, up: boolean) =>
    Effect.asVoid(Metric.update(Metric.withAttributes(sourceUp, { name, source }), up ? 1 : 0))
})
