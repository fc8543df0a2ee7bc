/** A step that waits for the decision of a person. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import * as DurableClock from "effect/workflow/DurableClock"
import * as DurableDeferred from "effect/workflow/DurableDeferred"
import type * as Workflow from "effect/workflow/Workflow"
import { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"
import type { Decision } from "../Run.ts"
import type * as Service from "../Service.ts"
import { type Ended, eventOf } from "./attempt.ts"
import * as Bounds from "./bounds.ts"
import { type Call, evaluate, type Run, scopeOf, type StepFailed } from "./run.ts"
import * as Template from "./template.ts"
import * as Waits from "./waits.ts"

/** What a person decides; null when the time is over. It has the name that the engine completes when the clock `approval/…` is over. */
const decisionOf = (name: string) =>
  DurableDeferred.make(`DurableClock/approval/${name}`, {
    success: Schema.NullOr(Schema.Struct({
      approved: Schema.Boolean,
      by: Schema.String,
      comment: Schema.String
    }))
  })

/** When it was asked, or why it was not. */
const Asked = Schema.Union([
  Schema.Struct({ at: Schema.Finite }),
  Schema.Struct({ reason: Schema.String, over: Schema.optionalKey(Schema.Int), retryable: Schema.Boolean })
])

/** Waits for the decision, however long the process lives. */
export const decide = Effect.fnUntraced(function*(
  run: Run,
  { id, input, name, service }: Call,
  { deadline, question, who }: Extract<Service.Settings, { readonly type: "approval" }>
): Effect.fn.Return<Ended, StepFailed, WorkflowEngine | WorkflowInstance> {
  const scope = { ...scopeOf(run, input), input, steps: {} }
  const text = question === undefined ? "" : Template.text(yield* evaluate(id, question, scope))
  let told = false
  const tell = Effect.andThen(
    Effect.sync(() => void (told = true)),
    run.onEvent({ _tag: "Waiting", run: run.id, step: id, service, question: text, input, who })
  )
  const asked = yield* Activity.make({
    name: `${name}/asked`,
    success: Asked,
    execute: Effect.flatMap(Clock.currentTimeMillis, (at): Effect.Effect<typeof Asked.Type> => {
      const refusal = Bounds.refusal(run.bounds, at)
      return refusal === undefined ? Effect.as(tell, { at }) : Effect.succeed(refusal)
    })
  })
  if ("reason" in asked) return asked
  const decision = decisionOf(name)
  // Who was told before may be gone.
  if (!told && Option.isNone(yield* (yield* WorkflowEngine).deferredResult(decision))) yield* tell
  const bound = Bounds.nearest(run.bounds)
  const own = deadline === undefined ? Infinity : asked.at + Duration.toMillis(deadline)
  const until = Math.min(own, bound?.until ?? Infinity)
  if (until !== Infinity) yield* endAt(name, until)
  // The first decision counts, that of the clock or that of a person.
  const decided = yield* Waits.completed(decision)
  const ended: Ended = decided !== null
    ? { output: decided }
    : bound !== undefined && bound.until <= own
    ? Bounds.lateness(bound)
    : { reason: "nobody decided in time", retryable: false }
  const at = { run: run.id, step: id, service, attempt: 1 }
  yield* Activity.make({
    name: `${name}/decided`,
    execute: Effect.flatMap(Clock.currentTimeMillis, (now) => run.onEvent(eventOf(at, now - asked.at, ended)))
  })
  return ended
})

const endAt = Effect.fnUntraced(function*(name: string, until: number) {
  const { executionId, workflow } = yield* WorkflowInstance
  const millis = Math.max(1, until - (yield* Clock.currentTimeMillis))
  const clock = DurableClock.make({ name: `approval/${name}`, duration: millis })
  yield* (yield* WorkflowEngine).scheduleClock(workflow, { executionId, clock })
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
