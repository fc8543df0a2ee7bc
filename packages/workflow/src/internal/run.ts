/** What a run consists of while it lasts. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Tracer from "effect/Tracer"
import type { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"
import type { Definition } from "../Definition.ts"
import type * as Expression from "../Expression.ts"
import type { OutputCache } from "../OutputCache.ts"
import type { Event } from "../Run.ts"
import type * as Service from "../Service.ts"
import type { Bounds } from "./bounds.ts"
import { masked } from "./masked.ts"
import * as Template from "./template.ts"

export interface Run {
  readonly id: string
  /** How many runs it is within. */
  readonly level: number
  /** What the names of its steps begin with, in records and events: those of the steps that it is within. */
  readonly prefix: string
  /** What the idempotency keys of its steps begin with. */
  readonly key: string
  readonly definition: Definition
  readonly input: Schema.Json
  readonly env: Readonly<Record<string, string>>
  /** Those of the run, then those of the steps around. */
  readonly bounds: Bounds
  /** Why the step failed whose `onError` this is, or the run that ends. */
  readonly error?: Expression.Scope["error"]
  /** What the steps that have ended gave; null for those that were skipped. */
  readonly outputs: Map<string, unknown>
  /** What steps of an earlier run gave, by their ids: they are not called. */
  readonly kept: Readonly<Record<string, Schema.Json>>
  readonly serviceOf: (definition: Definition, name: string) => Service.Service
  /** The span to which attempts belong. Without one, they have none. */
  readonly parent: Tracer.ExternalSpan | undefined
  readonly cache: OutputCache
  readonly onEvent: (event: Event) => Effect.Effect<void>
}

/** Why a step failed for good. */
export class StepFailed extends Schema.TaggedError<StepFailed>()("StepFailed", {
  step: Schema.String,
  reason: Schema.String,
  /** How deep the run is that is over, such as by its deadline: in it nothing else is tried. Default: none is. */
  over: Schema.optionalKey(Schema.Int),
  /** Whether the same may succeed later. Default false. */
  retryable: Schema.optionalKey(Schema.Boolean)
}) {}

/** Whether nothing else is tried in a run. */
export const isOver = ({ level }: Run, { over }: { readonly over?: number }): boolean =>
  over !== undefined && over <= level

export type Body<A> = Effect.Effect<A, StepFailed, WorkflowEngine | WorkflowInstance>

/** What expressions see, but `output` and `error`. */
export const scopeOf = ({ definition, env, error, id, input, outputs }: Run, output: unknown): Expression.Scope => ({
  input,
  output,
  steps: Object.fromEntries(Array.from(outputs, ([id, output]) => [id, { output }])),
  env,
  run: { id, workflow: definition.name },
  ...error !== undefined && { error }
})

/** A value of the file that can not be used; the reason shows no value of `env`. */
export const wrongValue = (step: string, reason: string, { env }: Expression.Scope) =>
  new StepFailed({ step, reason: masked(reason, env) })

/** Evaluates a value with expressions; a failure is that of the step. */
export const evaluate = (step: string, value: unknown, scope: Expression.Scope) =>
  Effect.mapError(
    Effect.fromResult(Template.evaluate(value, scope)),
    ({ message }) => wrongValue(step, message, scope)
  )

/** One call of a step: of its service, or of its fallback. */
export interface Call {
  readonly id: string
  /** What its attempts are recorded by. */
  readonly name: string
  readonly key: string
  readonly service: string
  readonly input: unknown
}
