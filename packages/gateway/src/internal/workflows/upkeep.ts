/**
 * What is done for runs besides serving them: those that a process left go on, those that are to be cancelled are, ends that were refused are written, old
 * runs are deleted, and those that wait are counted.
 */
import type { Runner } from "@ballast/workflow/Runner"
import type * as Runs from "@ballast/workflow/Runs"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import type { Database } from "../../Database.ts"
import * as WorkflowMetrics from "../../WorkflowMetrics.ts"
import type { Cancels } from "./cancels.ts"
import type { Ends } from "./ends.ts"
import { resume } from "./resume.ts"
import type { Spans } from "./spans.ts"

export interface Options {
  readonly kind: Database["kind"]
  readonly runner: Runner["Service"]
  readonly runs: Runs.Runs
  readonly spans: Spans
  readonly ends: Ends
  readonly cancels: Cancels
  readonly keep: () => Duration.Duration
  /** The names of the workflows. */
  readonly workflows: () => ReadonlyArray<string>
}

/** How often it is looked for what other processes left, or ended. */
const round = Duration.seconds(10)

const orWarn = (effect: Effect.Effect<void, SqlError>, message: string) =>
  Effect.catch(effect, (error) => Effect.logWarning(message, { reason: error.message }))

const goOn = Effect.fnUntraced(function*({ ends, runner, runs }: Options, left: ReadonlyArray<string>) {
  let count = 0
  for (const id of left) {
    if (yield* ends.catchUp(runner, id)) continue
    yield* resume(runner, runs, id)
    count++
  }
  if (count > 0) yield* Effect.logInfo("runs of workflows go on", { runs: count })
})

/** What other processes left, or ended. */
const lookAround = Effect.fnUntraced(function*(options: Options) {
  const { runs, spans } = options
  const now = yield* Clock.currentTimeMillis
  yield* goOn(options, yield* runs.unbegun(now - Duration.toMillis(round)))
  yield* spans.endElsewhere(runs)
})

const clean = ({ keep, runs }: Options) =>
  orWarn(
    Effect.flatMap(Clock.currentTimeMillis, (now) => runs.clean(now - Duration.toMillis(keep()))),
    "old runs of workflows can not be deleted"
  )

const count = ({ runs, workflows }: Options) =>
  Effect.flatMap(
    Effect.orElseSucceed(runs.waiting, () => new Map<string, number>()),
    (found) => WorkflowMetrics.wait(new Map(workflows().map((name) => [name, found.get(name) ?? 0])))
  )

/** Does all of it as long as the scope lives. */
export const start = Effect.fnUntraced(function*(options: Options) {
  const { cancels, ends, kind, runner, runs } = options
  const each = (interval: Duration.Input, effect: Effect.Effect<unknown, SqlError>) =>
    Effect.forkScoped(Effect.repeat(Effect.delay(Effect.ignore(effect), interval), Schedule.forever))
  yield* Effect.forkScoped(
    orWarn(
      Effect.flatMap(runs.live, (left) => goOn(options, left)),
      "runs of workflows can not be read at the start"
    )
  )
  if (kind !== "memory") yield* each("1 second", cancels.cancelAsked(runner))
  if (kind === "postgres") yield* each(round, lookAround(options))
  yield* each(round, ends.writeRefused(runner))
  yield* Effect.forkScoped(Effect.repeat(clean(options), Schedule.spaced("1 hour")))
  yield* Effect.forkScoped(Effect.repeat(count(options), Schedule.spaced("5 seconds")))
})
