/**
 * The steps of one run, as the body of a durable workflow: what they did is recorded by name, and read again when the body runs again.
 *
 * Nothing here may depend on the clock or on chance but what is recorded: activities, and waits that the engine keeps.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import * as DurableClock from "effect/workflow/DurableClock"
import * as DurableDeferred from "effect/workflow/DurableDeferred"
import type * as Workflow from "effect/workflow/Workflow"
import { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"
import type { Definition, Planned, Step } from "../Definition.ts"
import type * as Expression from "../Expression.ts"
import type { Decision, Event } from "../Run.ts"
import type * as Service from "../Service.ts"
import * as Template from "./template.ts"

/** What a run consists of while it lasts. */
export interface Run {
  readonly id: string
  readonly definition: Definition
  readonly input: Schema.Json
  readonly env: Readonly<Record<string, string>>
  /** When it fails that has not ended, in milliseconds since 1970; `Infinity` for never. */
  readonly until: number
  /** What the steps that have ended gave; null for those that were skipped. */
  readonly outputs: Map<string, unknown>
  readonly service: (name: string) => Service.Service
  readonly onEvent: (event: Event) => Effect.Effect<void>
}

/** Why a step failed for good. */
export class StepFailed extends Schema.TaggedError<StepFailed>()("StepFailed", {
  step: Schema.String,
  reason: Schema.String,
  /** Whether the run's deadline has passed: then nothing else is tried. */
  late: Schema.Boolean
}) {}

type Body<A> = Effect.Effect<A, StepFailed, WorkflowEngine | WorkflowInstance>

const scopeOf = (run: Run, planned: Planned): Expression.Scope => ({
  input: run.input,
  output: planned.before === undefined ? run.input : run.outputs.get(planned.before) ?? null,
  steps: Object.fromEntries(Array.from(run.outputs, ([id, output]) => [id, { output }])),
  env: run.env,
  run: { id: run.id, workflow: run.definition.name }
})

/** Evaluates a value with expressions; a failure is that of the step. */
export const evaluate = (step: string, value: unknown, scope: Expression.Scope) =>
  Effect.mapError(
    Effect.fromResult(Template.evaluate(value, scope)),
    ({ message }) => new StepFailed({ step, reason: message, late: false })
  )

/**
 * Runs steps as soon as those that they need have ended. After a failure no further step begins; those in flight end first. It fails with the
 * first failure in the order of the file.
 */
export const runSteps = Effect.fnUntraced(function*(run: Run, steps: ReadonlyArray<Planned>): Effect.fn.Return<
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
    const { id, step } = planned
    const scope = scopeOf(run, planned)
    if (step.condition !== undefined && (yield* conditionOf(id, step.condition, scope)) === false) {
      yield* run.onEvent({ _tag: "Skipped", run: run.id, step: id })
      return null
    }
    return yield* Effect.catch(work(run, planned, scope), (failure) => recover(run, planned, failure))
  })

const conditionOf = Effect.fnUntraced(function*(step: string, condition: string, scope: Expression.Scope) {
  const value = yield* evaluate(step, condition, scope)
  if (typeof value === "boolean") return value
  return yield* new StepFailed({
    step,
    reason: `its condition gave ${Template.text(value)}, expected true or false`,
    late: false
  })
})

const recover = (run: Run, { onError, step }: Planned, failure: StepFailed): Body<unknown> => {
  const handling = step.onError ?? "fail"
  if (failure.late || handling === "fail") return Effect.fail(failure)
  if (handling === "continue") return Effect.succeed(null)
  if ("default" in handling) return Effect.succeed(handling.default)
  return Effect.map(runSteps(run, onError), () => run.outputs.get(onError.at(-1)?.id ?? "") ?? null)
}

const work = (run: Run, planned: Planned, scope: Expression.Scope): Body<unknown> => {
  const { id, parallel, step } = planned
  if (step.parallel !== undefined) {
    return Effect.map(
      runSteps(run, parallel),
      () => Object.fromEntries(parallel.map(({ id }) => [id, run.outputs.get(id) ?? null]))
    )
  }
  return step.forEach === undefined ? callOne(run, step, id, scope) : callEach(run, planned, step.forEach, scope)
}

/** Elements of a list that one step goes through. */
const maxElements = 10_000

/** After a failure no further element begins; those in flight end first. */
const callEach = Effect.fnUntraced(function*(
  run: Run,
  { id, step }: Planned,
  { concurrency = 4, in: list }: NonNullable<Step["forEach"]>,
  scope: Expression.Scope
) {
  const items = yield* evaluate(id, list, scope)
  const wrong = (reason: string) => new StepFailed({ step: id, reason, late: false })
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
  // An element takes the place of the output of the step before.
  const given = input === undefined ? "item" in scope ? scope.item : scope.output : yield* evaluate(id, input, scope)
  const key = idempotencyKey === undefined
    ? `${run.id}/${id}`
    : Template.text(yield* evaluate(id, idempotencyKey, scope))
  const call = (service: string, name: string) => attempts(run, step, { id, name, key, service, input: given })
  const first = call(service, id)
  return yield* fallback === undefined
    ? first
    : Effect.catch(first, (failure) => failure.late ? Effect.fail(failure) : call(fallback, `${id}/fallback`))
})

interface Call {
  readonly id: string
  /** What its attempts are recorded by. */
  readonly name: string
  readonly key: string
  readonly service: string
  readonly input: unknown
}

const attempts = Effect.fnUntraced(function*(run: Run, step: Step, call: Call) {
  const retry = typeof step.retry === "number" ? { times: step.retry } : step.retry ?? { times: 0 }
  const approval = run.definition.file.services?.[call.service]
  for (let attempt = 1;; attempt++) {
    const ended = approval?.type === "approval"
      ? yield* decide(run, call, approval)
      : yield* perform(run, step, call, attempt)
    if ("output" in ended) return ended.output
    const { late, reason, retryable } = ended
    if (late || !retryable || attempt > retry.times) return yield* new StepFailed({ step: call.id, reason, late })
    yield* wait(run, `${call.name}/wait-${attempt}`, retry, attempt)
  }
})

/** Waits before the next attempt: up to `base`, twice as long each time, up to `cap`, by chance; and not beyond the deadline. */
const wait = Effect.fnUntraced(function*(
  run: Run,
  name: string,
  { base = Duration.seconds(1), cap = Duration.minutes(1) }: {
    readonly base?: Duration.Duration
    readonly cap?: Duration.Duration
  },
  attempt: number
) {
  const bound = Math.min(Duration.toMillis(base) * 2 ** (attempt - 1), Duration.toMillis(cap))
  const left = Math.max(0, run.until - (yield* Clock.currentTimeMillis))
  const chosen = (yield* Random.next) * bound
  // Up to a minute in memory: after a crash it begins anew.
  yield* DurableClock.sleep({ name, duration: Math.ceil(Math.min(chosen, left)) })
})

/** What an attempt came to. */
const Ended = Schema.Union([
  Schema.Struct({ output: Schema.Json }),
  Schema.Struct({ reason: Schema.String, retryable: Schema.Boolean, late: Schema.Boolean })
])
type Ended = typeof Ended.Type

const isJson = Schema.is(Schema.Json)

const deadlinePassed: Ended = { reason: "the deadline of the run has passed", retryable: false, late: true }

/** One attempt, which is recorded: it is made again only if it had not ended. */
const perform = (run: Run, step: Step, call: Call, attempt: number): Body<Ended> =>
  Activity.make({ name: call.name, success: Ended, execute: recorded(run, step, call, attempt) }).pipe(
    Effect.provideService(Activity.CurrentAttempt, attempt)
  )

const recorded = Effect.fnUntraced(function*(run: Run, { timeout }: Step, call: Call, attempt: number) {
  const at = { run: run.id, step: call.id, service: call.service, attempt }
  yield* run.onEvent({ _tag: "Started", ...at })
  const began = yield* Clock.currentTimeMillis
  const ended = yield* within(
    answerOf(run, call, attempt),
    timeout === undefined ? Infinity : Duration.toMillis(timeout),
    run.until - began
  )
  const millis = (yield* Clock.currentTimeMillis) - began
  yield* run.onEvent(
    "output" in ended
      ? { _tag: "Succeeded", ...at, millis, output: ended.output }
      : { _tag: "Failed", ...at, millis, reason: ended.reason, retryable: ended.retryable }
  )
  return ended
})

/** Interrupts the call when its time or that of the run is over. */
const within = (answer: Effect.Effect<Ended>, timeout: number, left: number): Effect.Effect<Ended> => {
  if (left <= 0) return Effect.succeed(deadlinePassed)
  const time = Math.min(timeout, left)
  if (time === Infinity) return answer
  return Effect.timeoutOrElse(answer, {
    duration: time,
    orElse: () =>
      Effect.succeed<Ended>(
        left <= timeout
          ? deadlinePassed
          : { reason: `it took longer than ${Duration.format(Duration.millis(timeout))}`, retryable: true, late: false }
      )
  })
}

const answerOf = (run: Run, { id, input, key, service }: Call, attempt: number): Effect.Effect<Ended> =>
  Effect.suspend(() =>
    run.service(service).call(input, {
      runId: run.id,
      workflow: run.definition.name,
      stepId: id,
      attempt,
      idempotencyKey: key
    })
  ).pipe(
    Effect.map((output = null): Ended =>
      isJson(output) ? { output } : { reason: "what it gave is no JSON", retryable: false, late: false }
    ),
    Effect.catch(({ detail, retryable }) => Effect.succeed<Ended>({ reason: detail, retryable, late: false })),
    Effect.catchDefect((defect) =>
      Effect.as(
        Effect.logError("A service of a workflow broke", Cause.die(defect)),
        { reason: "the service broke; the log says how", retryable: false, late: false }
      )
    )
  )

/** What a person decides; null when the time is over. */
const decisionOf = (name: string) =>
  DurableDeferred.make(`approval/${name}`, {
    success: Schema.NullOr(Schema.Struct({
      approved: Schema.Boolean,
      by: Schema.String,
      comment: Schema.String
    }))
  })

/** Waits for the decision of a person, however long the process lives. */
const decide = Effect.fnUntraced(function*(
  run: Run,
  { id, input, name }: Call,
  { deadline, question }: Extract<Service.Settings, { readonly type: "approval" }>
): Effect.fn.Return<Ended, StepFailed, WorkflowEngine | WorkflowInstance> {
  const scope = { input, output: input, steps: {}, env: run.env, run: { id: run.id, workflow: run.definition.name } }
  const asked = question === undefined ? "" : Template.text(yield* evaluate(id, question, scope))
  const left = run.until - (yield* Clock.currentTimeMillis)
  const time = Math.min(deadline === undefined ? Infinity : Duration.toMillis(deadline), left)
  const decision = decisionOf(name)
  yield* Activity.make({
    name: `${name}/asked`,
    execute: run.onEvent({ _tag: "Waiting", run: run.id, step: id, question: asked })
  })
  if (time !== Infinity) yield* endAfter(name, time)
  const decided = yield* DurableDeferred.await(decision)
  if (decided !== null) return { output: decided }
  return left <= time ? deadlinePassed : { reason: "nobody decided in time", retryable: false, late: false }
})

/** Decides null after the time, unless there is a decision: the first one counts. */
const endAfter = Effect.fnUntraced(function*(name: string, millis: number) {
  const engine = yield* WorkflowEngine
  const { executionId, workflow } = yield* WorkflowInstance
  const clock = DurableClock.make({ name: `approval/${name}`, duration: Math.max(1, Math.ceil(millis)) })
  yield* engine.scheduleClock(workflow, {
    executionId,
    clock: { ...clock, deferred: DurableDeferred.make(`approval/${name}`) }
  })
})

/** Gives the decision that a step waits for. */
export const giveDecision = (
  name: string,
  workflow: { readonly workflow: Workflow.Any; readonly executionId: string },
  { approved, by = "", comment = "" }: Decision
) => {
  const deferred = decisionOf(name)
  const token = DurableDeferred.tokenFromExecutionId(deferred, workflow)
  return DurableDeferred.succeed(deferred, { token, value: { approved, by, comment } })
}
