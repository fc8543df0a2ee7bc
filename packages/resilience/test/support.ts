import { Outcome } from "@ballast/resilience"
import { Data, type Duration, Effect, Metric, Random, Scheduler, Tracer } from "effect"
import { readMetrics } from "../src/internal/readMetrics.ts"

/** An error of the dependency, with a judgement of the test's choice. */
export class Fault extends Data.TaggedError("Fault")<{
  readonly retryable?: boolean
  readonly retryAfter?: Duration.Duration
  readonly ignored?: boolean
}> {
  get [Outcome.key](): Outcome.Outcome {
    return this.ignored === true ? Outcome.ignored(this) : Outcome.failure(this)
  }
}

/** Gives a program metrics of its own. */
export const withMetrics = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Metric.MetricRegistry, new Map())

/** All metrics as text and number; a histogram as its sum, and its count under `_count`. */
export const metrics = Effect.map(Metric.snapshot, readMetrics)

/** Runs a program in a span and returns the events of that span. */
export const eventsOf = Effect.fnUntraced(function*<A, E, R>(self: Effect.Effect<A, E, R>) {
  let span: Tracer.NativeSpan | undefined
  const tracer = Tracer.make({
    span: (options) => span = new Tracer.NativeSpan(options)
  })
  yield* Effect.exit(self).pipe(Effect.withSpan("test"), Effect.provideService(Tracer.Tracer, tracer))
  return (span?._events ?? []).map(([name, , attributes]) => ({ name, attributes }))
})

/** Chance that always draws the same number. */
export const chance = (value: number) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Random.Random, { nextDoubleUnsafe: () => value, nextIntUnsafe: () => value })

/** Makes the program's fibers yield after so many steps. */
export const withStepBudget = (steps: number) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Scheduler.MaxOpsBeforeYield, steps)

/** A dependency that answers as scripted and counts its executions; past the script it succeeds. */
export const scripted = (...answers: ReadonlyArray<Effect.Effect<string, Fault>>) => {
  let executions = 0
  const call = Effect.suspend(() => answers[executions++] ?? Effect.succeed("ok"))
  return { call, executions: () => executions }
}
