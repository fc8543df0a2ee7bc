/** Searches a workflow for its mistakes. */
import type { Problem } from "@ballast/settings/SettingsRefused"
import * as Result from "effect/Result"
import * as Expression from "../../Expression.ts"
import * as Services from "../services/settings.ts"
import type { Budget } from "./language.ts"
import type { Definition, Known, Path, Planned } from "./model.ts"
import { ancestors, cycleOf, everyStep, ordered } from "./order.ts"

interface Checking {
  readonly definition: Definition
  /** The ids of all steps. */
  readonly ids: ReadonlySet<string>
  readonly services: Readonly<Record<string, Known>>
  readonly report: (path: Path, reason: string) => void
  /** The types of outputs that are sure so far, by the ids of steps. */
  readonly outputs: Map<string, Expression.Type>
}

/** What is wrong with an expression. One of a step that has not ended by then has no other word than a key that is not there. */
const detailOf = (
  { ids }: Checking,
  { detail, expression }: Expression.WrongExpression,
  { steps }: Expression.Types
): string => {
  const [, id = ""] = /^No such key: (\w+)$/.exec(detail) ?? []
  if (id === "" || steps === "dyn" || Object.hasOwn(steps, id) || !expression.includes(`steps.${id}`)) return detail
  return ids.has(id)
    ? `the step ${id} has not ended when this is evaluated`
    : `there is no step ${id}; those that have ended: ${Object.keys(steps).join(", ") || "none"}`
}

const checkText = (
  checking: Checking,
  text: string,
  path: Path,
  types: Expression.Types,
  expected?: string
): void => {
  const { report } = checking
  const compiled = Expression.compile(text, types)
  if (Result.isFailure(compiled)) return report(path, detailOf(checking, compiled.failure, types))
  if (expected === undefined) return
  const type = compiled.success?.type ?? "string"
  if (type !== expected && type !== "dyn" && !type.startsWith(`${expected}<`)) {
    const what = compiled.success === undefined ? "it has no ${…} around its expression" : `it gives ${type}`
    report(path, `${what}, expected ${expected}`)
  }
}

const checkValue = (checking: Checking, value: unknown, path: Path, types: Expression.Types): void => {
  if (typeof value === "string") checkText(checking, value, path, types)
  else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Array.isArray(value) ? value.entries() : Object.entries(value)) {
      checkValue(checking, item, [...path, key], types)
    }
  }
}

const checkBudget = ({ report }: Checking, budget: Budget | undefined, path: Path): void => {
  if (budget !== undefined && Object.keys(budget).length === 0) {
    report(path, "it bounds nothing, expected tokens, cost or time")
  }
}

const isKnown = ({ services }: Checking, name: string): boolean => Object.hasOwn(services, name)

const checkService = (checking: Checking, name: string | undefined, path: Path): void => {
  if (name !== undefined && !isKnown(checking, name)) {
    const known = Object.keys(checking.services).join(", ")
    checking.report(path, `there is no service ${name}; known: ${known || "none"}`)
  }
}

const typesOf = (outputs: Checking["outputs"], ids: Iterable<string>) =>
  Object.fromEntries(Array.from(ids, (id) => [id, outputs.get(id) ?? "dyn"] as const))

/** What only a step that calls a service has. */
const ofServices = ["input", "timeout", "retry", "forEach", "fallback", "idempotencyKey", "cache"] as const

/** What a step that waits for a person has not. */
const notOfApprovals = ["timeout", "retry", "idempotencyKey", "cache"] as const

/** Whether what the step has goes together. */
const checkKeys = (checking: Checking, { path, step }: Planned): void => {
  const { report } = checking
  if ((step.service === undefined) === (step.parallel === undefined)) {
    report(path, "a step has a service, or steps in parallel")
  }
  for (const key of ofServices) {
    if (step[key] !== undefined && step.parallel !== undefined) {
      report([...path, key], "it belongs to a step that calls a service; give it to the steps in parallel")
    }
  }
  checkService(checking, step.service, [...path, "service"])
  checkService(checking, step.fallback, [...path, "fallback"])
  const typeOf = (name = "") => checking.definition.file.services?.[name]?.type
  if (step.cache !== undefined && [step.service, step.fallback].some((name) => typeOf(name) === "workflow")) {
    report([...path, "cache"], "the outputs of a workflow are not kept; give cache to its steps")
  }
  if (typeOf(step.fallback) === "approval") {
    report([...path, "fallback"], "an approval is no fallback; ask in the steps of onError")
  }
  if (typeOf(step.service) !== "approval") return
  for (const key of notOfApprovals) {
    if (step[key] !== undefined) {
      report([...path, key], "a step that waits for an approval has none; give the approval a deadline")
    }
  }
}

/** The expressions of a step, over those that have ended when it begins. */
const checkExpressions = (
  checking: Checking,
  { before, path, step }: Planned,
  ended: ReadonlySet<string>,
  error: Expression.Type | undefined
): void => {
  const { condition, forEach, idempotencyKey, input } = step
  const around: Expression.Types = {
    input: "dyn",
    output: before === undefined ? "dyn" : checking.outputs.get(before) ?? "dyn",
    steps: typesOf(checking.outputs, ended),
    item: false,
    error
  }
  const each = { ...around, item: forEach !== undefined }
  if (condition !== undefined) checkText(checking, condition, [...path, "condition"], around, "bool")
  if (forEach !== undefined) checkText(checking, forEach.in, [...path, "forEach", "in"], around, "list")
  if (idempotencyKey !== undefined) checkText(checking, idempotencyKey, [...path, "idempotencyKey"], each)
  checkValue(checking, input, [...path, "input"], each)
  if (typeof step.cache === "object") checkValue(checking, step.cache.key, [...path, "cache", "key"], each)
}

/** A fallback, a default or other steps may give anything; a step that was skipped gives null. */
const isSure = ({ condition, fallback, onError }: Planned["step"]): boolean =>
  condition === undefined && fallback === undefined && (onError ?? "fail") === "fail"

const checkStep = (
  checking: Checking,
  planned: Planned,
  ended: ReadonlySet<string>,
  error?: Expression.Type
): void => {
  const { path, step } = planned
  checkKeys(checking, planned)
  checkExpressions(checking, planned, ended, error)
  checkBudget(checking, step.budget, [...path, "budget"])
  for (const other of planned.parallel) {
    if (other.step.needs !== undefined) checking.report([...other.path, "needs"], "steps in parallel wait for none")
    checkStep(checking, other, ended, error)
  }
  checkSteps(checking, planned.onError, ended, { step: "string", message: "string" })
  const { service } = step
  if (service !== undefined && isKnown(checking, service) && isSure(step)) {
    const output = checking.services[service]?.output ?? "dyn"
    checking.outputs.set(planned.id, step.forEach === undefined ? output : "list<dyn>")
  }
}

/** Whether steps need steps that there are, in no circle. */
const checkNeeds = ({ report }: Checking, steps: ReadonlyArray<Planned>, ids: ReadonlySet<string>): boolean => {
  for (const { path, step } of steps) {
    step.needs?.forEach((id, at) => {
      if (!ids.has(id)) report([...path, "needs", at], `there is no step ${id}; known: ${[...ids].join(", ")}`)
    })
  }
  if (ids.size !== steps.length) return false
  const cycle = cycleOf(steps)
  const [first] = cycle ?? []
  if (cycle === undefined || first === undefined) return true
  report([...first.path, "needs"], `steps wait for each other: ${cycle.map(({ id }) => id).join(" → ")}`)
  return false
}

/** Gives the ids of all steps that have ended after these. */
const checkSteps = (
  checking: Checking,
  steps: ReadonlyArray<Planned>,
  around: ReadonlySet<string>,
  error?: Expression.Type
): ReadonlySet<string> => {
  const byId = new Map(steps.map((planned) => [planned.id, planned]))
  const done = new Set(around)
  const isSound = checkNeeds(checking, steps, new Set(byId.keys()))
  for (const planned of isSound ? ordered(steps) : steps) {
    checkStep(checking, planned, isSound ? new Set([...around, ...ancestors(planned, byId)]) : done, error)
    done.add(planned.id)
  }
  return done
}

const checkServices = (checking: Checking): void => {
  const types: Expression.Types = { input: "dyn", output: "dyn", steps: {}, item: false }
  for (const [name, settings] of Object.entries(checking.definition.file.services ?? {})) {
    const at = ["services", name]
    for (const { path, reason } of Services.mistakes(settings)) checking.report([...at, ...path], reason)
    for (const { expected, path, value } of Services.templates(settings)) {
      if (expected !== undefined && typeof value === "string") {
        checkText(checking, value, [...at, ...path], types, expected)
      } else checkValue(checking, value, [...at, ...path], types)
    }
  }
}

const checkIds = ({ report }: Checking, steps: ReadonlyArray<Planned>): void => {
  const taken = new Set<string>()
  for (const { id, path } of steps) {
    if (taken.has(id)) report([...path, "id"], `another step is called ${id}`)
    taken.add(id)
  }
}

/** All mistakes of a workflow, in the order of its text. */
export const mistakes = (
  definition: Definition,
  services: Readonly<Record<string, Known>>,
  problem: (path: Path, reason: string) => Problem
): ReadonlyArray<Problem> => {
  const found: Array<Problem> = []
  const outputs = new Map<string, Expression.Type>()
  const report = (path: Path, reason: string) => void found.push(problem(path, reason))
  const steps = everyStep([...definition.steps, ...definition.finally])
  const checking: Checking = { definition, ids: new Set(steps.map(({ id }) => id)), services, report, outputs }
  const { budget, output } = definition.file.workflow
  checkBudget(checking, budget, ["workflow", "budget"])
  checkIds(checking, steps)
  checkServices(checking)
  const done = checkSteps(checking, definition.steps, new Set())
  checkSteps(checking, definition.finally, done, "dyn")
  const last = definition.steps.at(-1)?.id
  checkValue(checking, output, ["workflow", "output"], {
    input: "dyn",
    output: (last === undefined ? undefined : outputs.get(last)) ?? "dyn",
    steps: typesOf(outputs, done),
    item: false
  })
  return found.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
}
