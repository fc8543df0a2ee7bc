/**
 * Workflows as a service: what may be done with the runs of a gateway, and by whom.
 *
 * A run belongs to the client who started it. Others see it when the settings share runs, when it has asked for an approval that names them in
 * `who`, or with an admin key; for everyone else it is not there. The record of runs (`Runs` of `@ballast/workflow`) is in the gateway's database, and
 * what the engine needs to go on beside it: a SQLite file of its own (`ballast.db.workflows`), or the same Postgres.
 *
 * Runs that a process left go on when the next one starts.
 *
 * @since 0.1.0
 */
import * as Follow from "@ballast/settings/Settings"
import * as Runs from "@ballast/workflow/Runs"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import type { Database } from "./Database.ts"
import * as Cancels from "./internal/workflows/cancels.ts"
import * as Ends from "./internal/workflows/ends.ts"
import * as Engine from "./internal/workflows/engine.ts"
import type { Opened, Options, Workflows } from "./internal/workflows/model.ts"
import * as Runner from "./internal/workflows/runner.ts"
import * as Spans from "./internal/workflows/spans.ts"
import * as Starts from "./internal/workflows/starts.ts"
import * as Steering from "./internal/workflows/steering.ts"
import * as Upkeep from "./internal/workflows/upkeep.ts"
import { database, type GatewaySettings } from "./Settings.ts"
import { StartError } from "./StartError.ts"
import * as WorkflowFiles from "./WorkflowFiles.ts"

export type { Caller, Opened, Options, Workflows } from "./internal/workflows/model.ts"

/**
 * Reads the files and opens the engine; undefined where the settings name no files. Make it before the server, so that runs end after the last
 * request.
 *
 * @category constructors
 * @since 0.1.0
 */
export const open = Effect.fnUntraced(function*(
  settings: Follow.Setting<GatewaySettings>,
  { kind }: Pick<Database, "kind">,
  worker = 1
): Effect.fn.Return<Opened | undefined, StartError, FileSystem.FileSystem | Scope.Scope> {
  const current = yield* settings.current
  if (current.workflows.files.length === 0) return undefined
  const files = yield* Effect.mapError(
    WorkflowFiles.make(settings),
    ({ message }) => new StartError({ detail: message })
  )
  const engine = yield* Engine.open({ kind, url: database(current), settings: current.workflows, worker })
  return { files, engine }
})

/**
 * Makes the runner, and goes on with the runs that have not ended.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Workflows, never, Scope.Scope> {
  const { database: { kind, use }, opened: { files }, settings } = options
  let { workflows } = yield* settings.current
  yield* Follow.follow(settings, (next) => Effect.sync(() => workflows = next.workflows))
  const runs = Runs.make(use)
  const spans = yield* Spans.make
  const ends = Ends.make(runs, spans)
  const cancels = Cancels.make(runs, new Set(yield* Effect.orElseSucceed(runs.toCancel, () => [])))
  const runner = yield* Runner.make(options, { cancels, ends, runs })
  yield* Upkeep.start({
    kind,
    runner,
    runs,
    spans,
    ends,
    cancels,
    keep: () => workflows.keep,
    workflows: () => [...files.all().keys()]
  })
  return {
    ...Starts.make({ runs, runner, files, spans, current: () => workflows }),
    ...Steering.make({ runs, runner, cancels, shared: () => workflows.shared }),
    runs
  }
})
