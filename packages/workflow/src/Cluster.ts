/**
 * Several processes that share the runs of one Postgres.
 *
 * Each process is a runner: it takes a part of the runs, listens on a TCP port for the others, and writes a heartbeat every 4 seconds. A runner whose
 * heartbeat is 12 seconds old is lost: within 15 seconds of its end its runs go on elsewhere. What its steps had given is kept; a step that was in
 * flight is called again with the same idempotency key. A process that is told to end (SIGTERM) hands its runs over, once the calls in flight have
 * ended, or after 15 seconds.
 *
 * A runner that is cut off, or frozen for longer than 12 seconds, may not know that it is lost: its calls in flight end, while another runner makes
 * them again. So a service may be called twice at the same time, by the same key; only one result is recorded.
 *
 * **Gotchas**
 *
 * - The ports have no authentication and no TLS: they belong into a private network.
 * - A process keeps one connection of its client for its locks. `maxConnections` of the client, times the processes, has to fit into those of the
 *   server.
 * - A process whose database calls take longer than 4 seconds, because it or the server is out of CPU, loses its locks: calls in flight are made
 *   again.
 * - Behind a pooler of connections locks get lost; give runners the server itself.
 * - The clocks of the runners say when waits end: keep them in time with each other.
 *
 * @since 0.1.0
 */
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import * as ClusterWorkflowEngine from "effect/cluster/ClusterWorkflowEngine"
import { RunnerAddress } from "effect/cluster/RunnerAddress"
import * as RunnerHealth from "effect/cluster/RunnerHealth"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as SocketRunner from "effect/cluster/SocketRunner"
import * as SqlMessageStorage from "effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "effect/cluster/SqlRunnerStorage"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import type { SocketServerError } from "effect/socket/SocketServer"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { WorkflowEngine } from "effect/workflow/WorkflowEngine"
import type * as Engine from "./Engine.ts"
import * as Upkeep from "./internal/upkeep.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options extends Engine.Options {
  /** Name or address by which the other runners reach this one. */
  readonly host: string
  /** TCP port by which the other runners reach this one, and that it listens on. */
  readonly port: number
  /** Address that it listens on, `0.0.0.0` for all. Default: `host`. */
  readonly listenHost?: string | undefined
}

const config: Partial<ShardingConfig.ShardingConfig["Service"]> = {
  // Runs move in that many parts. Each is a lock, and a runner that joins takes over its locks one by one within 4 seconds.
  shardsPerGroup: 60,
  shardLockExpiration: Duration.seconds(12),
  shardLockRefreshInterval: Duration.seconds(4),
  refreshAssignmentsInterval: Duration.seconds(1),
  entityMessagePollInterval: Duration.seconds(1),
  // A run of a process that does not know workflows would get the failure as its result: it may rather wait.
  entityRegistrationTimeout: Duration.days(1),
  simulateRemoteSerialization: false
}

/** Locks belong to a whole database. Their names come from the schema, so that two schemas do not share them. */
const runnerStorage = Layer.unwrap(Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  if (sql.onDialectOrElse({ pg: () => false, orElse: () => true })) {
    return yield* Effect.die(new Error("Several runners of workflows need Postgres; for one there is Engine.layerSql"))
  }
  const [row] = yield* sql<{ readonly schema: string }>`SELECT current_schema() AS schema`
  const schema = row?.schema ?? "public"
  return Layer.orDie(SqlRunnerStorage.layerWith({ prefix: schema === "public" ? "cluster" : `cluster_${schema}` }))
}))

/** Everything but the address of this process. */
const storage = Layer.mergeAll(
  SqlMessageStorage.layer.pipe(Layer.provide(NodeCrypto.layerDigest)),
  runnerStorage,
  NodeClusterSocket.layerClientProtocol
).pipe(Layer.provideMerge(RpcSerialization.layerSchemaBinary()))

/**
 * A runner of runs in Postgres, beside other runners. Build it together with what runs workflows (`Runner.layer`): it takes runs at once.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  { host, keep, listenHost = host, port }: Options
): Layer.Layer<WorkflowEngine, SqlError | SocketServerError, SqlClient.SqlClient> =>
  Layer.merge(ClusterWorkflowEngine.layer, Upkeep.layer(keep)).pipe(
    Layer.provide(SocketRunner.layer),
    Layer.provide([NodeClusterSocket.layerSocketServer, RunnerHealth.layerNoop]),
    Layer.provideMerge(storage),
    Layer.provide(ShardingConfig.layer({
      ...config,
      runnerAddress: Option.some(new RunnerAddress({ host, port })),
      runnerListenAddress: Option.some(new RunnerAddress({ host: listenHost, port }))
    }))
  )

/**
 * Starts, asks and decides on runs that runners of other processes run. It has no port; it needs the same Postgres. A result comes within about 200
 * milliseconds of its end.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient: Layer.Layer<WorkflowEngine, SqlError, SqlClient.SqlClient> = ClusterWorkflowEngine.layer.pipe(
  Layer.provide(SocketRunner.layerClientOnly),
  Layer.provideMerge(storage),
  Layer.provide(ShardingConfig.layer({ ...config, runnerAddress: Option.none() }))
)
