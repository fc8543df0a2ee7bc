/** What the engine of workflows is kept in: memory, a SQLite file of its own, or the gateway's Postgres. */
import * as Engine from "@ballast/workflow/Engine"
import type { ConfigError } from "effect/Config"
import type { Context } from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { Scope } from "effect/Scope"
import type { SocketServerError } from "effect/socket/SocketServer"
import type { SqlError } from "effect/sql/SqlError"
import type { WorkflowEngine } from "effect/workflow/WorkflowEngine"
import type { Database } from "../../Database.ts"
import type { GatewaySettings } from "../../Settings.ts"
import { StartError } from "../../StartError.ts"
import type { InUse } from "../workflowDatabase.ts"

export interface Options {
  readonly kind: Database["kind"]
  /** The address of the gateway's database. */
  readonly url: Redacted.Redacted
  readonly settings: Pick<GatewaySettings["workflows"], "keep" | "runner">
  /** From 1: each worker is a runner with a port of its own. */
  readonly worker: number
}

const layer = (
  { kind, settings: { keep, runner: { host, listenHost, port } }, url, worker }: Options
): Effect.Effect<Layer.Layer<WorkflowEngine, ConfigError | SqlError | SocketServerError | StartError | InUse>> => {
  switch (kind) {
    case "memory":
      return Effect.succeed(Engine.layerMemory)
    case "sqlite":
      return Effect.promise(async () => {
        const WorkflowDatabase = await import("../workflowDatabase.ts")
        const NodeCrypto = await import("@effect/platform-node/NodeCrypto")
        const client = WorkflowDatabase.layer(`${Redacted.value(url)}.workflows`)
        return Engine.layerSql({ keep }).pipe(Layer.provide([client, NodeCrypto.layer]))
      })
    case "postgres":
      return Effect.promise(async () => {
        const PgClient = await import("@effect/sql-pg/PgClient")
        const Cluster = await import("@ballast/workflow/Cluster")
        const client = PgClient.layer({ url, applicationName: "ballast-workflows", maxConnections: 5 })
        return Cluster.layer({ host, port: port + worker - 1, listenHost, keep }).pipe(Layer.provide(client))
      })
  }
}

/** A server says why it can not listen in its cause alone. */
const reasonOf = (error: ConfigError | SqlError | SocketServerError): string =>
  error._tag === "SocketServerError" && error.reason.cause instanceof Error
    ? `${error.reason.cause.message} (workflows.runner)`
    : error.message

/** Opens the engine, for as long as the scope lives. `InUse`: another process has its file. */
export const tryOpen = (options: Options): Effect.Effect<Context<WorkflowEngine>, StartError | InUse, Scope> =>
  Effect.flatMap(layer(options), (made) => Layer.build(Layer.fresh(made))).pipe(
    Effect.withTracerEnabled(false),
    Effect.mapError((error) =>
      error._tag === "StartError" || error._tag === "InUse"
        ? error
        : new StartError({ detail: `The engine of workflows can not be opened: ${reasonOf(error)}.` })
    )
  )

/** Opens the engine, as the only process that has its file. */
export const open = (options: Options): Effect.Effect<Context<WorkflowEngine>, StartError, Scope> =>
  Effect.catchTag(tryOpen(options), "InUse", ({ message }) => Effect.fail(new StartError({ detail: message })))
