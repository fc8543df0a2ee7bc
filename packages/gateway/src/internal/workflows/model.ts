/** What may be done with the workflows of a gateway, and by whom. */
import type * as Follow from "@ballast/settings/Settings"
import type * as Definition from "@ballast/workflow/Definition"
import type { Decision } from "@ballast/workflow/Run"
import type { Options as RunnerOptions } from "@ballast/workflow/Runner"
import type * as Runs from "@ballast/workflow/Runs"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { WorkflowEngine } from "effect/workflow/WorkflowEngine"
import type * as Client from "../../Client.ts"
import type { Database } from "../../Database.ts"
import type { Rejection } from "../../Rejection.ts"
import type { GatewaySettings } from "../../Settings.ts"
import type * as WorkflowFiles from "../../WorkflowFiles.ts"

/**
 * What is opened before the server starts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Opened {
  readonly files: WorkflowFiles.WorkflowFiles
  readonly engine: Context.Context<WorkflowEngine>
}

/**
 * Who asks: a client, or an admin, who sees all.
 *
 * @category models
 * @since 0.1.0
 */
export type Caller = Pick<Client.Client, "name" | "isAdmin">

/**
 * @category models
 * @since 0.1.0
 */
export interface Workflows {
  readonly definition: (name: string) => Effect.Effect<Definition.Definition, Rejection>
  readonly definitions: () => ReadonlyArray<Definition.Definition>
  readonly start: (
    caller: Caller,
    workflow: string,
    input: Schema.Json,
    options: { readonly idempotencyKey: string | undefined }
  ) => Effect.Effect<string, Rejection>
  /** A run that the caller may see; `workflow` is its name, or `-` for any. */
  readonly run: (caller: Caller, workflow: string, id: string) => Effect.Effect<Runs.Run, Rejection>
  readonly list: (
    caller: Caller,
    filter: Omit<Runs.Filter, "client">
  ) => Effect.Effect<Effect.Success<ReturnType<Runs.Runs["list"]>>, Rejection>
  readonly decide: (caller: Caller, run: Runs.Run, step: string, decision: Decision) => Effect.Effect<void, Rejection>
  readonly cancel: (run: Runs.Run) => Effect.Effect<void, Rejection>
  /** Starts a run that goes on from one that failed or was cancelled; gives its id. */
  readonly retry: (
    caller: Caller,
    run: Runs.Run,
    options: { readonly idempotencyKey: string | undefined }
  ) => Effect.Effect<string, Rejection>
  readonly runs: Runs.Runs
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly opened: Opened
  readonly settings: Follow.Setting<GatewaySettings>
  readonly database: Database
  /** What services stand on, given who started a run. */
  readonly parts: (
    clientOf: (run: string) => Effect.Effect<string, Rejection>
  ) => Pick<RunnerOptions, "model" | "cost" | "localModels">
}
