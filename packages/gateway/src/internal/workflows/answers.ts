/** Workflows and runs as JSON, for clients. */
import type * as Definition from "@ballast/workflow/Definition"
import type * as Runs from "@ballast/workflow/Runs"

const usageOf = ({ completionTokens, cost, promptTokens, unpriced }: Runs.Summary["usage"]) => ({
  promptTokens,
  completionTokens,
  cost,
  unpriced
})

export const summaryOf = (run: Runs.Summary) => ({
  id: run.id,
  object: "workflow.run",
  workflow: run.workflow,
  client: run.client,
  status: run.status,
  createdAt: run.createdAt,
  endedAt: run.endedAt ?? null,
  error: run.error === undefined ? null : { step: run.error.step ?? null, reason: run.error.reason },
  usage: usageOf(run.usage),
  retryOf: run.retryOf ?? null
})

export const stepOf = (step: Runs.Step) => ({
  id: step.step,
  service: step.service,
  status: step.status,
  attempts: step.attempts,
  startedAt: step.startedAt,
  endedAt: step.endedAt ?? null,
  input: step.input ?? null,
  output: step.output ?? null,
  error: step.error ?? null,
  ...step.question !== undefined && { question: step.question, who: step.who ?? null },
  usage: usageOf(step.usage)
})

export const runOf = (run: Runs.Run) => ({
  ...summaryOf(run),
  input: run.input,
  output: run.output ?? null,
  steps: run.steps.map(stepOf)
})

const plannedOf = ({ id, needs, onError, parallel, step }: Definition.Planned): object => ({
  id,
  service: step.service ?? null,
  needs,
  ...parallel.length > 0 && { parallel: parallel.map(plannedOf) },
  ...onError.length > 0 && { onError: onError.map(plannedOf) }
})

export const workflowOf = (definition: Definition.Definition) => ({
  object: "workflow",
  name: definition.name,
  steps: definition.steps.map(plannedOf),
  finally: definition.finally.map(plannedOf)
})

/** Where a run is found. */
export const placeOf = ({ id, workflow }: Pick<Runs.Summary, "id" | "workflow">): string =>
  `/v1/workflows/${workflow}/runs/${id}`
