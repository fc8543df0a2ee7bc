/** Works on one run of a workflow in this process, and records it. */
import type { Event } from "@ballast/workflow/Run"
import * as Runner from "@ballast/workflow/Runner"
import * as Runs from "@ballast/workflow/Runs"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Costs from "../../Costs.ts"
import * as Database from "../../Database.ts"
import * as Settings from "../../Settings.ts"
import * as Upstream from "../../Upstream.ts"
import * as WorkflowFiles from "../../WorkflowFiles.ts"
import * as Cancels from "../workflows/cancels.ts"
import * as Engine from "../workflows/engine.ts"
import * as Local from "./localModels.ts"
import * as sources from "./sources.ts"

export interface Options extends sources.Options {
  /** A SQLite file that keeps the run; undefined for memory. */
  readonly database: string | undefined
  /** Names of variables that expressions may read. */
  readonly env: ReadonlyArray<string>
  /** The folder of reports. */
  readonly reports: string | undefined
}

/** Opens the record and the engine, and works on a run of them alone: others may need other variables, reports and settings. */
export const make = Effect.fnUntraced(
  function*(options: Options, id: string, onEvent: (event: Event) => Effect.Effect<void>) {
    const settings = yield* Settings.make(yield* sources.of(options))
    const current = yield* settings.current
    const url = Redacted.make(options.database ?? ":memory:")
    const { kind, use } = yield* Database.make(url)
    const engine = yield* Engine.tryOpen({ kind, url, settings: current.workflows, worker: 1 })
    const runs = Runs.make(use)
    const cancels = Cancels.make(runs, new Set(yield* runs.toCancel))
    const { local, localModels } = yield* Local.localModels(current)
    const upstream = yield* Upstream.make(settings, { local })
    const costs = yield* Costs.make(settings)
    const files = yield* FileSystem.FileSystem
    const context = yield* Layer.build(
      Runner.layer({
        model: upstream.router,
        cost: (usage, call) => costs.pricing().cost(usage, call),
        localModels,
        http: yield* HttpClient.HttpClient,
        env: yield* Config.all(Object.fromEntries(options.env.map((name) => [name, Config.String(name)]))),
        saveReport: options.reports === undefined ? undefined : WorkflowFiles.saveIn(files, options.reports),
        onEvent: (event) => Effect.andThen(runs.record(event), onEvent(event)),
        onEnd: runs.end,
        mayGoOn: (run) => run === id && cancels.allows(run)
      }).pipe(Layer.provide(Layer.succeedContext(engine)))
    )
    const runner = Context.get(context, Runner.Runner)
    // The database may have refused it.
    const end = yield* runner.result(id)
    if (end !== undefined) yield* runs.end(id, end)
    return { runs, runner, cancels, keep: current.workflows.keep, upstream: upstream.kind() }
  }
)
