/**
 * The steps of one run, as the body of a durable workflow: what they did is recorded by name, and read again when the body runs again.
 *
 * Nothing here may depend on the clock or on chance but what is recorded: activities, and waits that the engine keeps.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import * as Workflow from "effect/workflow/Workflow"
import type { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"
import type { Definition, Planned, Step } from "../Definition.ts"
import type * as Expression from "../Expression.ts"
import { decide } from "./approval.ts"
import { cacheKey, type Caching, type Ended, eventOf, perform } from "./attempt.ts"
import * as Bounds from "./bounds.ts"
import { type Body, type Call, evaluate, isOver, type Run, scopeOf, StepFailed, wrongValue } from "./run.ts"
import * as Template from "./template.ts"
import * as Waits from "./waits.ts"

/** A whole run: its steps, then those of `finally`, also when it is cancelled. */
export const runWhole = Effect.fnUntraced(function*(
  run: Run
): Effect.fn.Return<Schema.Json, StepFailed, WorkflowEngine | WorkflowInstance> {
  const { definition } = run
  let hasEnded = false
  const atEnd = (error: Expression.Scope["error"]) => runSteps({ ...run, bounds: [], error }, definition.finally)
  yield* Workflow.addFinalizer((exit) =>
    Exit.hasInterrupts(exit) && !hasEnded
      ? Effect.ignore(atEnd({ step: "", message: "the run was cancelled" }))
      : Effect.void
  )
  const ended = yield* Effect.result(Effect.andThen(runSteps(run, definition.steps), resultOf(run)))
  // The first failure is that of the run.
  yield* Result.isFailure(ended) ? Effect.ignore(atEnd(errorOf(ended.failure))) : atEnd(null)
  hasEnded = true
  return yield* Effect.fromResult(ended)
})

const errorOf = ({ reason, step }: StepFailed) => ({ step, message: reason })

const isJson = Schema.is(Schema.Json)

const resultOf = Effect.fnUntraced(function*(run: Run) {
  const { file: { workflow: { output } }, steps } = run.definition
  const last = run.outputs.get(steps.at(-1)?.id ?? "") ?? null
  const value = output === undefined ? last : yield* evaluate("", output, scopeOf(run, last))
  return isJson(value) ? value : yield* new StepFailed({ step: "", reason: "the result is no JSON" })
})

/**
 * Runs steps as soon as those that they need have ended. After a failure no further step begins; those in flight end first. It fails with the
 * first failure in the order of the file.
 */
const runSteps = Effect.fnUntraced(function*(run: Run, steps: ReadonlyArray<Planned>): Effect.fn.Return<
  void,
  StepFailed,
  WorkflowEngine | WorkflowInstance
> {
  const ended = new Map(steps.map(({ id }) => [id, Deferred.makeUnsafe<void>()]))
  const failures = new Map<Planned, StepFailed>()
  yield* Effect.forEach(steps, (planned) =>
    Effect.gen(function*() {
      for (const id of planned.needs) {
        const needed = ended.get(id)
        if (needed !== undefined) yield* Deferred.await(needed)
      }
      if (failures.size === 0) {
        const result = yield* Effect.result(runStep(run, planned))
        if (Result.isSuccess(result)) run.outputs.set(planned.id, result.success)
        else failures.set(planned, result.failure)
      }
      const own = ended.get(planned.id)
      if (own !== undefined) yield* Deferred.succeed(own, undefined)
    }), { concurrency: "unbounded", discard: true })
  for (const planned of steps) {
    const failure = failures.get(planned)
    if (failure !== undefined) return yield* failure
  }
})

const runStep = (run: Run, planned: Planned): Body<unknown> =>
  Effect.gen(function*() {
    const { before, step } = planned
    const id = run.prefix + planned.id
    const scope = scopeOf(run, before === undefined ? run.input : run.outputs.get(before) ?? null)
    if (step.condition !== undefined && (yield* conditionOf(id, step.condition, scope)) === false) {
      yield* run.onEvent({ _tag: "Skipped", run: run.id, step: id })
      return null
    }
    const bounds = step.budget === undefined ? run.bounds : [...run.bounds, yield* Bounds.ofStep(id, step.budget)]
    return yield* Effect.catch(work({ ...run, bounds }, planned, scope), (failure) => recover(run, planned, failure))
  })

const conditionOf = Effect.fnUntraced(function*(step: string, condition: string, scope: Expression.Scope) {
  const value = yield* evaluate(step, condition, scope)
  if (typeof value === "boolean") return value
  return yield* wrongValue(step, `its condition gave ${Template.text(value)}, expected true or false`, scope)
})

const recover = (run: Run, { onError, step }: Planned, failure: StepFailed): Body<unknown> => {
  const handling = step.onError ?? "fail"
  if (isOver(run, failure) || handling === "fail") return Effect.fail(failure)
  if (handling === "continue") return Effect.succeed(null)
  if ("default" in handling) return Effect.succeed(handling.default)
  return Effect.map(
    runSteps({ ...run, error: errorOf(failure) }, onError),
    () => run.outputs.get(onError.at(-1)?.id ?? "") ?? null
  )
}

const work = (run: Run, planned: Planned, scope: Expression.Scope): Body<unknown> => {
  const { parallel, step } = planned
  const id = run.prefix + planned.id
  if (step.parallel !== undefined) {
    return Effect.map(
      runSteps(run, parallel),
      () => Object.fromEntries(parallel.map(({ id }) => [id, run.outputs.get(id) ?? null]))
    )
  }
  return step.forEach === undefined ? callOne(run, step, id, scope) : callEach(run, step, id, step.forEach, scope)
}

/** Elements of a list that one step goes through. */
const maxElements = 10_000

/** After a failure no further element begins; those in flight end first. */
const callEach = Effect.fnUntraced(function*(
  run: Run,
  step: Step,
  id: string,
  { concurrency = 4, in: list }: NonNullable<Step["forEach"]>,
  scope: Expression.Scope
) {
  const items = yield* evaluate(id, list, scope)
  const wrong = (reason: string) => wrongValue(id, reason, scope)
  if (!Array.isArray(items)) return yield* wrong(`forEach.in gave ${Template.text(items)}, expected a list`)
  if (items.length > maxElements) {
    return yield* wrong(`forEach.in gave ${items.length} elements, at most ${maxElements}`)
  }
  const results: Array<Result.Result<unknown, StepFailed>> = []
  let failed = false
  yield* Effect.forEach(items, (item: unknown, index) =>
    Effect.suspend(() => {
      if (failed) return Effect.void
      return Effect.map(Effect.result(callOne(run, step, `${id}[${index}]`, { ...scope, item, index })), (result) => {
        results[index] = result
        failed ||= Result.isFailure(result)
      })
    }), { concurrency, discard: true })
  const outputs: Array<unknown> = []
  for (const result of results) if (result !== undefined) outputs.push(yield* Effect.fromResult(result))
  return outputs
})

/** One call: its service with its attempts, then its fallback with as many. */
const callOne = Effect.fnUntraced(function*(run: Run, step: Step, id: string, scope: Expression.Scope) {
  const { fallback, idempotencyKey, input, service = "" } = step
  const kept = Object.hasOwn(run.kept, id) ? run.kept[id] : undefined
  if (kept !== undefined) {
    yield* run.onEvent({ _tag: "Kept", run: run.id, step: id, output: kept })
    return kept
  }
  // An element takes the place of the output of the step before.
  const given = input === undefined ? "item" in scope ? scope.item : scope.output : yield* evaluate(id, input, scope)
  const key = idempotencyKey === undefined
    ? run.key + id.slice(run.prefix.length)
    : Template.text(yield* evaluate(id, idempotencyKey, scope))
  const call = Effect.fnUntraced(function*(service: string, name: string) {
    const call: Call = { id, name, key, service, input: given }
    return yield* attempts(run, step, call, yield* cachingOf(run, step, call, scope))
  })
  const first = call(service, id)
  return yield* fallback === undefined
    ? first
    : Effect.catch(first, (failure) => isOver(run, failure) ? Effect.fail(failure) : call(fallback, `${id}/fallback`))
})

/** The same service with the same input has the same key, in whatever step and run. */
const cachingOf = Effect.fnUntraced(function*(
  { definition }: Run,
  { cache }: Step,
  { id, input, service }: Call,
  scope: Expression.Scope
): Effect.fn.Return<Caching | undefined, StepFailed> {
  if (cache === undefined) return undefined
  const { key, ttl = Duration.hours(1) } = cache === true ? {} : cache
  const by = key === undefined ? input : yield* evaluate(id, key, scope)
  return {
    key: cacheKey(definition.file.services?.[service] ?? service, definition.templates[service], by),
    lifetime: ttl
  }
})

const attempts = Effect.fnUntraced(function*(run: Run, step: Step, call: Call, caching: Caching | undefined) {
  const retry = typeof step.retry === "number" ? { times: step.retry } : step.retry ?? { times: 0 }
  const approval = run.definition.file.services?.[call.service]
  const nested = run.definition.workflows[call.service]
  for (let attempt = 1;; attempt++) {
    const ended: Ended = approval?.type === "approval"
      ? yield* decide(run, call, approval)
      : nested === undefined
      ? yield* perform(run, step, call, attempt, caching)
      : yield* runNested(run, nested, step, call, attempt)
    if ("output" in ended) return ended.output
    const { retryAfter, step: inner, usage: _, ...failure } = ended
    if (!ended.retryable || isOver(run, ended) || attempt > retry.times) {
      return yield* new StepFailed({ ...failure, step: inner ?? call.id })
    }
    yield* wait(run, `${call.name}/wait-${attempt}`, { ...retry, least: retryAfter }, attempt)
  }
})

/** Runs another workflow in place of a call: its steps are steps of this run, with names of their own, and within its bounds. */
const runNested = Effect.fnUntraced(function*(
  run: Run,
  definition: Definition,
  { timeout }: Step,
  { id, input, key, name, service }: Call,
  attempt: number
): Effect.fn.Return<Ended, never, WorkflowEngine | WorkflowInstance> {
  const at = { run: run.id, step: id, service, attempt }
  const own = attempt === 1 ? name : `${name}#${attempt}`
  const began = yield* Activity.make({
    name: `${own}/started`,
    success: Schema.Finite,
    execute: Effect.andThen(run.onEvent({ _tag: "Started", ...at, input }), Clock.currentTimeMillis)
  })
  const level = run.level + 1
  const ended = yield* Effect.result(runWhole({
    ...run,
    definition,
    level,
    prefix: `${own}.`,
    key: `${key}.`,
    input: isJson(input) ? input : null,
    outputs: new Map(),
    error: undefined,
    bounds: [
      ...run.bounds,
      ...timeout === undefined ? [] : [Bounds.ofTimeout(timeout, began, level)],
      yield* Bounds.ofRun(definition.file.workflow, own, level)
    ]
  }))
  const whole = Result.isSuccess(ended) ? { output: ended.success } : endedOf(run, ended.failure)
  yield* Activity.make({
    name: `${own}/ended`,
    execute: Effect.flatMap(Clock.currentTimeMillis, (now) => run.onEvent(eventOf(at, now - began, whole)))
  })
  return whole
})

/** What the failure of a run within is outside of it. */
const endedOf = (run: Run, { over, reason, retryable = false, step }: StepFailed): Ended => ({
  reason,
  retryable,
  ...step !== "" && { step },
  ...over !== undefined && isOver(run, { over }) && { over }
})

/** The longest wait that a service can ask for, in milliseconds. */
const maxRetryAfter = Duration.toMillis("1 hour")

/**
 * Waits before the next attempt: up to `base`, twice as long each time, up to `cap`, by chance; as long as the service asked for; and not beyond
 * the time of a bound.
 */
const wait = Effect.fnUntraced(function*(
  { bounds }: Run,
  name: string,
  { base = Duration.seconds(1), cap = Duration.minutes(1), least = 0 }: {
    readonly base?: Duration.Duration
    readonly cap?: Duration.Duration
    readonly least?: number | undefined
  },
  attempt: number
) {
  const bound = Math.min(Duration.toMillis(base) * 2 ** (attempt - 1), Duration.toMillis(cap))
  const until = Bounds.nearest(bounds)?.until ?? Infinity
  const left = Math.max(0, until - (yield* Clock.currentTimeMillis))
  const asked = Math.min(least, maxRetryAfter)
  const chosen = Math.max((yield* Random.next) * bound, asked)
  yield* Waits.sleep(name, Math.ceil(Math.min(chosen, left)), Math.max(bound, asked))
})
