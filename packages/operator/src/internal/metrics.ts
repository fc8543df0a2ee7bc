import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

const watches = Metric.counter("ballast_operator_watch_failures_total", {
  description: "Lists and watches of the API server that failed, by resource and status; 0 for no answer.",
  incremental: true
})
const reconciles = Metric.counter("ballast_operator_reconciles_total", {
  description:
    "Times that a model was looked at, by what came out: done, again (something has to be done yet), conflict, error.",
  incremental: true
})
const duration = Metric.histogram("ballast_operator_reconcile_duration_seconds", {
  description: "How long it took to look at a model and do what was due.",
  boundaries: [0.005, 0.02, 0.1, 0.5, 2, 10, 30]
})
const actions = Metric.counter("ballast_operator_actions_total", {
  description: "What was done to pods: load, weigh, unload, label; by outcome.",
  incremental: true
})
const leader = Metric.gauge("ballast_operator_leader", {
  description: "Whether this replica is the leader: 1 yes, 0 no."
})
const waiting = Metric.gauge("ballast_operator_queue_depth", { description: "Models that wait to be looked at." })

const count = (counter: Metric.Counter<number>, attributes: Record<string, string>) =>
  Metric.update(Metric.withAttributes(counter, attributes), 1)

const lastOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1)

export const lost = (path: string, status: number) => count(watches, { resource: lastOf(path), status: String(status) })

export const reconciled = (outcome: "done" | "again" | "conflict" | "error", seconds: number) =>
  Effect.andThen(count(reconciles, { outcome }), Metric.update(duration, seconds))

export const acted = (action: string, outcome: "success" | "error") => count(actions, { action, outcome })

export const leads = (yes: boolean) => Metric.update(leader, yes ? 1 : 0)

export const depth = (size: number) => Metric.update(waiting, size)
