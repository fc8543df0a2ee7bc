/** One attempt of a step, which is recorded with what it used. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import { createHash } from "node:crypto"
import type { Step } from "../Definition.ts"
import type { Event } from "../Run.ts"
import type * as Service from "../Service.ts"
import * as Usage from "../Usage.ts"
import * as Bounds from "./bounds.ts"
import type { Body, Call, Run } from "./run.ts"

const usage = Schema.optionalKey(Usage.Usage)

/** What an attempt came to, and what it used. */
export const Ended = Schema.Union([
  Schema.Struct({ output: Schema.Json, cached: Schema.optionalKey(Schema.Literal(true)), usage }),
  Schema.Struct({
    reason: Schema.String,
    retryable: Schema.Boolean,
    /** The least wait before the next attempt, in milliseconds. */
    retryAfter: Schema.optionalKey(Schema.Finite),
    /** How deep the run is that is over. */
    over: Schema.optionalKey(Schema.Int),
    /** The step within this one that failed. */
    step: Schema.optionalKey(Schema.String),
    usage
  })
])
export type Ended = typeof Ended.Type

/** What a step with `cache` gave, for how long, and by which key. */
export interface Caching {
  readonly key: string
  readonly lifetime: Duration.Duration
}

/** Makes an attempt, unless its end is recorded. */
export const perform = (
  run: Run,
  { timeout }: Step,
  call: Call,
  attempt: number,
  caching: Caching | undefined
): Body<Ended> =>
  Activity.make({
    name: call.name,
    success: Ended,
    execute: recorded(run, call, attempt, timeout === undefined ? Infinity : Duration.toMillis(timeout), caching)
  }).pipe(
    Effect.provideService(Activity.CurrentAttempt, attempt),
    Effect.tap(({ usage }) => Effect.sync(() => usage && Bounds.spend(run.bounds, usage)))
  )

const recorded = Effect.fnUntraced(function*(
  run: Run,
  call: Call,
  attempt: number,
  timeout: number,
  caching: Caching | undefined
) {
  const at = { run: run.id, step: call.id, service: call.service, attempt }
  yield* run.onEvent({ _tag: "Started", ...at, input: call.input })
  const began = yield* Clock.currentTimeMillis
  let used = Usage.none
  const report = (more: Partial<Usage.Usage>) => Effect.sync(() => void (used = Usage.add(used, more)))
  const answer = traced(run, call, attempt, answerOf(run, call, attempt, report))
  const refusal = Bounds.refusal(run.bounds, began)
  const ended = refusal === undefined
    ? yield* within(caching === undefined ? answer : cached(run, caching, answer), timeout, run.bounds, began)
    : refusal
  const millis = (yield* Clock.currentTimeMillis) - began
  const whole: Ended = Usage.isNone(used) ? ended : { ...ended, usage: used }
  yield* run.onEvent(eventOf(at, millis, whole))
  return whole
})

/** The call in a span of its own, though the engine around it may have none. */
const traced = (
  { definition, id, parent }: Run,
  { id: step, service }: Call,
  attempt: number,
  answer: Effect.Effect<Ended>
): Effect.Effect<Ended> =>
  parent === undefined ? answer : answer.pipe(
    Effect.tap((ended) =>
      "reason" in ended
        ? Effect.annotateCurrentSpan({ "error.type": "step_failed", "ballast.workflow.reason": ended.reason })
        : Effect.void
    ),
    Effect.withSpan(`step ${step.replace(/\[\d+\]$/, "")}`, {
      parent,
      attributes: {
        "ballast.workflow.name": definition.name,
        "ballast.workflow.run": id,
        "ballast.workflow.step": step,
        "ballast.workflow.service": service,
        "ballast.workflow.attempt": attempt
      }
    }, { captureStackTrace: false }),
    Effect.withTracerEnabled(true)
  )

export const eventOf = (
  at: { readonly run: string; readonly step: string; readonly service: string; readonly attempt: number },
  millis: number,
  ended: Ended
): Event => {
  const usage = ended.usage && { usage: ended.usage }
  return "output" in ended
    ? { _tag: "Succeeded", ...at, millis, output: ended.output, ...ended.cached && { cached: true }, ...usage }
    : { _tag: "Failed", ...at, millis, reason: ended.reason, retryable: ended.retryable, ...usage }
}

/** Interrupts the call when its time, or that of a bound, is over. */
const within = (
  answer: Effect.Effect<Ended>,
  timeout: number,
  bounds: Bounds.Bounds,
  now: number
): Effect.Effect<Ended> => {
  const bound = Bounds.nearest(bounds)
  const left = bound === undefined ? Infinity : bound.until - now
  const duration = Math.min(timeout, left)
  if (duration === Infinity) return answer
  return Effect.timeoutOrElse(answer, {
    duration,
    orElse: () =>
      Effect.succeed<Ended>(
        bound !== undefined && left <= timeout
          ? Bounds.lateness(bound)
          : { reason: `it took longer than ${Duration.format(Duration.millis(timeout))}`, retryable: true }
      )
  })
}

/** Gives what is kept, or keeps what the answer is. */
const cached = Effect.fnUntraced(function*(
  { cache }: Run,
  { key, lifetime }: Caching,
  answer: Effect.Effect<Ended>
): Effect.fn.Return<Ended> {
  const found = yield* Effect.orElseSucceed(cache.get(key), () => undefined)
  if (found !== undefined && "output" in found && isJson(found.output)) return { output: found.output, cached: true }
  const ended = yield* answer
  if ("output" in ended) {
    yield* Effect.catch(
      cache.set(key, { output: ended.output }, lifetime),
      (error) => Effect.logDebug("an output of a workflow's step was not kept", error)
    )
  }
  return ended
})

/** JSON in which the order of fields does not matter. */
const ordered = (_: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1))
    : value

/** The same for the same values. */
export const cacheKey = (...values: ReadonlyArray<unknown>): string =>
  createHash("sha256").update(JSON.stringify(values, ordered)).digest("hex")

const isJson = Schema.is(Schema.Json)

const answerOf = (
  run: Run,
  { id, input, key, service }: Call,
  attempt: number,
  report: Service.CallContext["report"]
): Effect.Effect<Ended> =>
  Effect.suspend(() =>
    run.serviceOf(run.definition, service).call(input, {
      runId: run.id,
      workflow: run.definition.name,
      stepId: id,
      attempt,
      idempotencyKey: key,
      report
    })
  ).pipe(
    Effect.map((output = null): Ended =>
      isJson(output) ? { output } : { reason: "what it gave is no JSON", retryable: false }
    ),
    Effect.catch(({ detail, retryable, retryAfter }) =>
      Effect.succeed<Ended>({
        reason: detail,
        retryable,
        ...retryAfter !== undefined && { retryAfter: Duration.toMillis(retryAfter) }
      })
    ),
    Effect.catchDefect((defect) =>
      Effect.as(
        Effect.logError("A service of a workflow broke", Cause.die(defect)),
        { reason: "the service broke; the log says how", retryable: false }
      )
    )
  )
