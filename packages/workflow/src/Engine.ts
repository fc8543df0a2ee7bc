/**
 * What keeps the runs of workflows: the memory of the process, or a database.
 *
 * @since 0.1.0
 */
import * as ClusterWorkflowEngine from "effect/cluster/ClusterWorkflowEngine"
import * as SingleRunner from "effect/cluster/SingleRunner"
import type { ConfigError } from "effect/Config"
import type { Digest } from "effect/crypto/Digest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type { SqlClient } from "effect/sql/SqlClient"
import * as WorkflowEngine from "effect/workflow/WorkflowEngine"
import * as Upkeep from "./internal/upkeep.ts"

/**
 * Keeps runs in memory: they end with the process, and their results are kept as long as the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<WorkflowEngine.WorkflowEngine> = WorkflowEngine.layerMemory

/**
 * How runs are kept in a database.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long a run that has ended is kept, at least 1 hour; `Infinity` for ever. The same run, executed again after that, runs again. Default 30 days.
   */
  readonly keep?: Duration.Input | undefined
}

/**
 * Keeps runs in a database, for one process: a run goes on when the process starts again. Steps that have ended do not run again; a step that
 * was in flight does, under the same idempotency key.
 *
 * A run takes about 1 kB a step and what it gave, in tables named `cluster_…`. Two processes on one database must not run at the same time; see
 * `Cluster` for several.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql = (
  { keep }: Options = {}
): Layer.Layer<WorkflowEngine.WorkflowEngine, ConfigError, SqlClient | Digest> =>
  Layer.merge(ClusterWorkflowEngine.layer, Upkeep.layer(keep)).pipe(
    Layer.provide(
      SingleRunner.layer({
        runnerStorage: "memory",
        shardingConfig: { entityMessagePollInterval: "1 second", simulateRemoteSerialization: false }
      })
    ),
    Layer.provide(quiet)
  )

/** Of a single runner it says nothing but that it stops. */
const isNoise = (message: unknown): boolean =>
  Array.isArray(message) ? message.length === 1 && isNoise(message[0]) : message === "No healthy runners available"

const quiet = Layer.effect(
  Logger.CurrentLoggers,
  Effect.map(
    Logger.CurrentLoggers,
    (loggers) =>
      new Set(
        Array.from(loggers, (logger) =>
          Logger.make((options) => isNoise(options.message) ? undefined : logger.log(options)))
      )
  )
)
