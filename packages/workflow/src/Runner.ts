/**
 * Runs workflows, durably.
 *
 * A run keeps the text of the definition that it began with, and what its steps gave. Where the engine is durable, a run goes on after a crash:
 * steps that have ended do not run again; one that was in flight is called again with the same idempotency key. So a step is called **at least
 * once**, and its result is recorded exactly once.
 *
 * Everything whose `needs` have ended runs at the same time. After a failure no further step begins; those in flight end first, then the steps
 * of `finally` run, and the run fails. When its deadline has passed or its budget is used up, neither `retry`, `fallback` nor `onError` is tried.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Headers from "effect/http/Headers"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Tracer from "effect/Tracer"
import * as Workflow from "effect/workflow/Workflow"
import { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"
import type * as Definition from "./Definition.ts"
import * as Approval from "./internal/approval.ts"
import * as Bounds from "./internal/bounds.ts"
import * as Definitions from "./internal/definitions.ts"
import * as Handles from "./internal/handles.ts"
import type { Run } from "./internal/run.ts"
import { NotRecorded } from "./internal/runs/surely.ts"
import * as Steps from "./internal/steps.ts"
import * as OutputCache from "./OutputCache.ts"
import { type Decision, type End, type Event, RunFailed } from "./Run.ts"
import type * as Service from "./Service.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options extends Service.Parts {
  /** Services of the program, by name. Default: none. */
  readonly services?: Readonly<Record<string, Service.Service>> | undefined
  /** Is told what happens; a run waits for it. */
  readonly onEvent?: ((event: Event) => Effect.Effect<void>) | undefined
  /** Is told how a run ended, at least once; a run has ended when this has. A defect in it is logged, and `result` has the end. */
  readonly onEnd?: ((run: string, end: End) => Effect.Effect<void>) | undefined
  /** Whether a run that the engine has may go on now; asked each time that it would. One that may not waits until `cancel` or `run`. Default: it may. */
  readonly mayGoOn?: ((run: string) => boolean) | undefined
}

/**
 * How a run is started.
 *
 * @category options
 * @since 0.1.0
 */
export interface Start {
  readonly id: string
  /** What steps of an earlier run gave, by their ids: they are not called. Default: none. */
  readonly kept?: Readonly<Record<string, Schema.Json>> | undefined
  /** The `traceparent` of a span: attempts of steps are its children. Default: they have no spans. */
  readonly trace?: string | undefined
}

/**
 * Runs workflows.
 *
 * @category services
 * @since 0.1.0
 */
export class Runner extends Context.Service<Runner, {
  /**
   * Runs a definition and gives its result. A run with the same id is the same run: it goes on and is waited for, and its result is given again,
   * whatever the definition and the input. What it waits for is told again.
   */
  readonly run: (
    definition: Definition.Definition,
    input: Schema.Json,
    options: Start
  ) => Effect.Effect<unknown, RunFailed>
  /** Starts a run without waiting for it; does nothing where there is one with this id. */
  readonly start: (
    definition: Pick<Definition.Definition, "text">,
    input: Schema.Json,
    options: Start
  ) => Effect.Effect<void>
  /** Ends a run: calls in flight are interrupted, no further step begins, then the steps of `finally` run. */
  readonly cancel: (id: string) => Effect.Effect<void>
  /** How a run ended; undefined while it has not, and where the engine does not have it. Dies where its database is down. */
  readonly result: (id: string) => Effect.Effect<End | undefined>
  /** Decides on an approval that a run waits for, or will wait for. The first decision counts. */
  readonly approve: (id: string, step: string, decision: Decision) => Effect.Effect<void>
}>()("@ballast/workflow/Runner") {}

/** The one durable workflow: it runs any definition. */
const Flow = Workflow.make("ballast/Run", {
  payload: {
    id: Schema.String,
    text: Schema.String,
    input: Schema.Json,
    kept: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
    trace: Schema.optionalKey(Schema.String)
  },
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
  Layer.unwrap(Effect.map(Handles.make, (handles) =>
    layerOf({
      ...options,
      cache: options.cache ?? OutputCache.memory(),
      definitions: Definitions.make({ ...options, handles })
    })))

const layerOf = (options: Given) =>
  Layer.effect(
    Runner,
    Effect.map(Effect.context<WorkflowEngine>(), (context) => {
      const engine = Context.get(context, WorkflowEngine)
      const executionId = (id: string) => Flow.executionId({ id, text: "", input: null })
      return Runner.of({
        run: ({ text }, input, start) =>
          executionId(start.id).pipe(
            // One that another process left in its wait tells nobody what it waits for.
            Effect.flatMap((executionId) => engine.resume(Flow, executionId)),
            Effect.andThen(Flow.execute(payloadOf(text, input, start))),
            Effect.provideContext(context)
          ),
        start: ({ text }, input, start) =>
          Effect.provideContext(
            Effect.asVoid(Flow.execute(payloadOf(text, input, start), { discard: true })),
            context
          ),
        cancel: (id) => Effect.flatMap(executionId(id), (executionId) => engine.interruptUnsafe(Flow, executionId)),
        result: (id) =>
          executionId(id).pipe(
            Effect.flatMap((executionId) => engine.poll(Flow, executionId)),
            Effect.map((found) =>
              Option.isSome(found) && found.value._tag === "Complete" ? endOf(found.value.exit) : undefined
            )
          ),
        approve: (id, step, decision) =>
          executionId(id).pipe(
            Effect.flatMap((executionId) => Approval.giveDecision(step, { workflow: Flow, executionId }, decision)),
            Effect.provideContext(context)
          )
      })
    })
  ).pipe(Layer.provideMerge(Flow.toLayer((payload) => body(payload, options))))

interface Given extends Options {
  readonly cache: OutputCache.OutputCache
  readonly definitions: ReturnType<typeof Definitions.make>
}

const payloadOf = (text: string, input: Schema.Json, { id, kept, trace }: Start): Payload => ({
  id,
  text,
  input,
  ...kept && { kept },
  ...trace !== undefined && { trace }
})

const body = (payload: Payload, options: Given) => {
  const log = (message: string, cause: Cause.Cause<unknown>) =>
    Effect.annotateLogs(Effect.logError(message, cause), { run: payload.id })
  const tell = (end: End) =>
    Effect.catchCauseIf(
      Effect.suspend(() => options.onEnd?.(payload.id, end) ?? Effect.void),
      Cause.hasDies,
      (cause) => log("The end of a run of a workflow was not taken", cause)
    )
  return Effect.gen(function*() {
    if (options.mayGoOn?.(payload.id) === false) return yield* Workflow.suspend(yield* WorkflowInstance)
    // Registered first, so it runs after the steps of `finally`.
    yield* Workflow.addFinalizer((exit) => {
      if (exit._tag === "Failure" && Cause.hasDies(exit.cause)) {
        return Effect.andThen(log("A run of a workflow broke", exit.cause), tell(endOf(exit)))
      }
      return Exit.hasInterrupts(exit) ? tell({ status: "cancelled" }) : Effect.void
    })
    return yield* runOf(payload, options)
  }).pipe(
    Effect.tap((output) => tell(endOf(Exit.succeed(output)))),
    Effect.tapError((failure) => tell(endOf(Exit.fail(failure))))
  )
}

const isFailed = Schema.is(RunFailed)

const endOf = (exit: Exit.Exit<unknown, unknown>): End => {
  if (Exit.isSuccess(exit)) return { status: "succeeded", output: exit.value }
  const { cause } = exit
  const reason = Cause.squash(cause)
  if (isFailed(reason)) return { status: "failed", step: reason.step, reason: reason.reason }
  return Cause.hasInterruptsOnly(cause) ? { status: "cancelled" } : { status: "failed", reason: brokenBy(reason) }
}

/** What a step told of may come back from the engine, which keeps names and messages of defects. */
const brokenBy = (defect: unknown): string =>
  defect instanceof Error && defect.name === NotRecorded.name ? defect.message : "the run broke; the log says how"

const runOf = (payload: Payload, options: Given) =>
  Effect.gen(function*() {
    const definition = yield* Effect.mapError(
      options.definitions.read(payload.text),
      ({ message }) => new RunFailed({ run: payload.id, reason: `this program can not run its definition: ${message}` })
    )
    const run: Run = {
      id: payload.id,
      level: 0,
      prefix: "",
      key: `${payload.id}/`,
      definition,
      input: payload.input,
      env: options.env ?? {},
      bounds: [yield* Bounds.ofRun(definition.file.workflow)],
      outputs: new Map(),
      kept: payload.kept ?? {},
      serviceOf: options.definitions.serviceOf,
      parent: spanOf(payload.trace),
      cache: options.cache,
      onEvent: options.onEvent ?? (() => Effect.void)
    }
    return yield* Effect.mapError(
      Steps.runWhole(run),
      ({ reason, step }) => new RunFailed({ run: run.id, reason, ...step !== "" && { step } })
    )
  })

const spanOf = (traceparent: string | undefined): Tracer.ExternalSpan | undefined =>
  traceparent === undefined
    ? undefined
    : Option.getOrUndefined(HttpTraceContext.w3c(Headers.fromInput({ traceparent })))
