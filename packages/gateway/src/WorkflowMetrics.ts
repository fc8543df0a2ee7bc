/**
 * Metrics of runs and their steps.
 *
 * | metric | what | labels |
 * |---|---|---|
 * | `ballast_workflow_runs_started_total` | runs that were started | `workflow` |
 * | `ballast_workflow_runs_total` | runs that ended | `workflow`, `status` |
 * | `ballast_workflow_run_duration_seconds` | from their start to their end, waits included | `workflow`, `status` |
 * | `ballast_workflow_step_attempts_total` | attempts of steps that ended | `workflow`, `step`, `outcome` |
 * | `ballast_workflow_step_duration_seconds` | how long an attempt took; of an approval, its wait | `workflow`, `step` |
 * | `ballast_workflow_tokens_total` | tokens of models | `workflow`, `type` |
 * | `ballast_workflow_cost_total` | what models cost, in units of `currency` | `workflow`, `currency` |
 * | `ballast_workflow_runs_waiting` | runs that wait for a person | `workflow` |
 *
 * Names of workflows and steps are those of the files. An element of a list counts for its step.
 *
 * @since 0.1.0
 */
import type { Event } from "@ballast/workflow/Run"
import type * as Usage from "@ballast/workflow/Usage"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

const started = Metric.counter("ballast_workflow_runs_started_total", {
  description: "Runs of workflows that were started",
  incremental: true
})
const ended = Metric.counter("ballast_workflow_runs_total", {
  description: "Runs of workflows that ended, by how",
  incremental: true
})
const duration = Metric.histogram("ballast_workflow_run_duration_seconds", {
  description: "Time from the start of a run to its end, waits included",
  boundaries: [0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 86_400, 604_800]
})
const attempts = Metric.counter("ballast_workflow_step_attempts_total", {
  description: "Attempts of steps that ended, by their outcome",
  incremental: true
})
const stepDuration = Metric.histogram("ballast_workflow_step_duration_seconds", {
  description: "Time that an attempt of a step took; of an approval, its wait",
  boundaries: [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400]
})
const tokens = Metric.counter("ballast_workflow_tokens_total", {
  description: "Tokens of models that steps asked",
  incremental: true
})
const cost = Metric.counter("ballast_workflow_cost_total", {
  description: "What models that steps asked cost, in units of the currency",
  incremental: true
})
const waiting = Metric.gauge("ballast_workflow_runs_waiting", { description: "Runs that wait for a person" })

/**
 * Counts a run that was started.
 *
 * @category combinators
 * @since 0.1.0
 */
export const start = (workflow: string): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(started, { workflow }), 1)

/**
 * Counts a run that ended.
 *
 * @category combinators
 * @since 0.1.0
 */
export const end = (workflow: string, status: string, millis: number): Effect.Effect<void> =>
  Effect.andThen(
    Metric.update(Metric.withAttributes(ended, { workflow, status }), 1),
    Metric.update(Metric.withAttributes(duration, { workflow, status }), millis / 1_000)
  )

const use = (workflow: string, { completionTokens, cost: money, promptTokens }: Usage.Usage) =>
  Effect.all([
    Metric.update(Metric.withAttributes(tokens, { workflow, type: "input" }), promptTokens),
    Metric.update(Metric.withAttributes(tokens, { workflow, type: "output" }), completionTokens),
    ...Object.entries(money).map(([currency, amount]) =>
      Metric.update(Metric.withAttributes(cost, { workflow, currency }), Number(amount))
    )
  ], { discard: true })

/**
 * Counts the attempts that events tell of.
 *
 * @category combinators
 * @since 0.1.0
 */
export const observe = (workflow: string, event: Event): Effect.Effect<void> => {
  if (event._tag !== "Succeeded" && event._tag !== "Failed") return Effect.void
  const step = event.step.replace(/\[\d+\]$/, "")
  const outcome = event._tag === "Failed" ? "failed" : event.cached === true ? "cached" : "succeeded"
  return Effect.all([
    Metric.update(Metric.withAttributes(attempts, { workflow, step, outcome }), 1),
    Metric.update(Metric.withAttributes(stepDuration, { workflow, step }), event.millis / 1_000),
    event.usage === undefined ? Effect.void : use(workflow, event.usage)
  ], { discard: true })
}

/**
 * Sets how many runs of each workflow wait for a person; those that are not named have none.
 *
 * @category combinators
 * @since 0.1.0
 */
export const wait = (counts: ReadonlyMap<string, number>): Effect.Effect<void> =>
  Effect.forEach(
    counts,
    ([workflow, count]) => Metric.update(Metric.withAttributes(waiting, { workflow }), count),
    { discard: true }
  )
