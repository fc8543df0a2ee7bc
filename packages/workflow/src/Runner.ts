/**
 * Runs workflows, durably.
 *
 * A run keeps the text of the definition that it began with, and what its steps gave. Where the engine is durable, a run goes on after a crash:
 * steps that have ended do not run again; one that was in flight is called again with the same idempotency key. So a step is called **at least
 * once**, and its result is recorded exactly once.
 *
 * Everything whose `needs` have ended runs at the same time. After a failure no further step begins; those in flight end first, then the steps
 * of `finally` run, and the run fails. When the deadline has passed, calls in flight are interrupted, and neither `retry`, `fallback` nor `onError`
 * is tried.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import * as Workflow from "effect/workflow/Workflow"
import { WorkflowEngine } from "effect/workflow/WorkflowEngine"
import * as Definition from "./Definition.ts"
import * as Steps from "./internal/steps.ts"
import { type Decision, type Event, RunFailed } from "./Run.ts"
import * as Service from "./Service.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options extends Service.Parts {
  /** Services of the program, by name. Default: none. */
  readonly services?: Readonly<Record<string, Service.Service>> | undefined
  /** Is told what happens; a run waits for it. */
  readonly onEvent?: ((event: Event) => Effect.Effect<void>) | undefined
}

/**
 * Runs workflows.
 *
 * @category services
 * @since 0.1.0
 */
export class Runner extends Context.Service<Runner, {
  /**
   * Runs a definition and gives its result. A run with the same id is the same run: it is waited for, and its result is given again, whatever
   * the definition and the input.
   */
  readonly run: (
    definition: Definition.Definition,
    input: Schema.Json,
    options: { readonly id: string }
  ) => Effect.Effect<unknown, RunFailed>
  /** Ends a run: no further step begins, then the steps of `finally` run. */
  readonly cancel: (id: string) => Effect.Effect<void>
  /** Decides on an approval that a run waits for, or will wait for. The first decision counts. */
  readonly approve: (id: string, step: string, decision: Decision) => Effect.Effect<void>
}>()("@ballast/workflow/Runner") {}

/** The one durable workflow: it runs any definition. */
const Flow = Workflow.make("ballast/Run", {
  payload: { id: Schema.String, text: Schema.String, input: Schema.Json },
  success: Schema.Json,
  error: RunFailed,
  idempotencyKey: ({ id }) => id
})

type Payload = typeof Flow.payloadSchema.Type

/**
 * A runner on an engine (see `Engine`). Runs that an engine has kept go on as soon as it is there.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Runner, never, WorkflowEngine> =>
  Layer.effect(
    Runner,
    Effect.map(Effect.context<WorkflowEngine>(), (context) => {
      const engine = Context.get(context, WorkflowEngine)
      const executionId = (id: string) => Flow.executionId({ id, text: "", input: null })
      return Runner.of({
        run: ({ text }, input, { id }) => Effect.provideContext(Flow.execute({ id, text, input }), context),
        cancel: (id) => Effect.flatMap(executionId(id), (executionId) => engine.interruptUnsafe(Flow, executionId)),
        approve: (id, step, decision) =>
          executionId(id).pipe(
            Effect.flatMap((executionId) => Steps.giveDecision(step, { workflow: Flow, executionId }, decision)),
            Effect.provideContext(context)
          )
      })
    })
  ).pipe(Layer.provideMerge(Flow.toLayer((payload) => body(payload, options))))

const body = (payload: Payload, options: Options) =>
  Effect.gen(function*() {
    const definition = yield* Effect.mapError(
      Definition.read({ name: "workflow", text: payload.text, services: options.services ?? {} }),
      ({ message }) => new RunFailed({ run: payload.id, reason: `this program can not run its definition: ${message}` })
    )
    const run: Steps.Run = {
      id: payload.id,
      definition,
      input: payload.input,
      env: options.env ?? {},
      until: yield* deadlineOf(definition),
      outputs: new Map(),
      service: servicesOf(definition, options),
      onEvent: options.onEvent ?? (() => Effect.void)
    }
    return yield* Effect.mapError(
      wholeRun(run),
      ({ reason, step }) => new RunFailed({ run: run.id, reason, ...step !== "" && { step } })
    )
  })

/** When the run began is recorded: the deadline stays after a crash. */
const deadlineOf = Effect.fnUntraced(function*({ file: { workflow: { deadline } } }: Definition.Definition) {
  if (deadline === undefined) return Infinity
  const began = yield* Activity.make({ name: "/began", success: Schema.Finite, execute: Clock.currentTimeMillis })
  return began + Duration.toMillis(deadline)
})

const servicesOf = (definition: Definition.Definition, options: Options) => {
  const made = new Map<string, Service.Service>()
  return (name: string): Service.Service => {
    const settings = definition.file.services?.[name]
    const found = made.get(name) ??
      (settings === undefined ? options.services?.[name] : Service.make(settings, options))
    if (found === undefined) throw new Error(`There is no service ${name}`)
    made.set(name, found)
    return found
  }
}

const wholeRun = Effect.fnUntraced(function*(run: Steps.Run) {
  const { definition } = run
  const atEnd = Steps.runSteps({ ...run, until: Infinity }, definition.finally)
  yield* Workflow.addFinalizer((exit) => Exit.hasInterrupts(exit) ? Effect.ignore(atEnd) : Effect.void)
  const ended = yield* Effect.result(Effect.andThen(Steps.runSteps(run, definition.steps), resultOf(run)))
  // The first failure is that of the run.
  yield* Result.isFailure(ended) ? Effect.ignore(atEnd) : atEnd
  return yield* Effect.fromResult(ended)
})

const isJson = Schema.is(Schema.Json)

const resultOf = Effect.fnUntraced(function*(run: Steps.Run) {
  const { file: { workflow: { output } }, steps } = run.definition
  const last = run.outputs.get(steps.at(-1)?.id ?? "") ?? null
  const value = output === undefined ? last : yield* Steps.evaluate("", output, {
    input: run.input,
    output: last,
    steps: Object.fromEntries(Array.from(run.outputs, ([id, output]) => [id, { output }])),
    env: run.env,
    run: { id: run.id, workflow: run.definition.name }
  })
  return isJson(value) ? value : yield* new Steps.StepFailed({ step: "", reason: "the result is no JSON", late: false })
})
