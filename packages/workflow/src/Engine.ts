/**
 * What keeps the runs of workflows: the memory of the process, or a database.
 *
 * @since 0.1.0
 */
import * as ClusterWorkflowEngine from "effect/cluster/ClusterWorkflowEngine"
import * as SingleRunner from "effect/cluster/SingleRunner"
import type { ConfigError } from "effect/Config"
import type { Digest } from "effect/crypto/Digest"
import * as Layer from "effect/Layer"
import type { SqlClient } from "effect/sql/SqlClient"
import * as WorkflowEngine from "effect/workflow/WorkflowEngine"

/**
 * Keeps runs in memory: they end with the process, and their results are kept as long as the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<WorkflowEngine.WorkflowEngine> = WorkflowEngine.layerMemory

/**
 * Keeps runs in a database, for one process: a run goes on when the process starts again. Steps that have ended do not run again; a step that
 * was in flight does, under the same idempotency key.
 *
 * Ended runs stay in the tables (`cluster_…`), about 1 kB a step and what it gave. Two processes on one database must not run at the same time.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql: Layer.Layer<WorkflowEngine.WorkflowEngine, ConfigError, SqlClient | Digest> =
  ClusterWorkflowEngine.layer.pipe(
    Layer.provide(
      SingleRunner.layer({ runnerStorage: "memory", shardingConfig: { entityMessagePollInterval: "1 second" } })
    )
  )
