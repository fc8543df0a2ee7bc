/**
 * The whole operator: replicas elect a leader, which runs the {@link Controller}.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Controller from "./Controller.ts"
import * as GatewayPods from "./GatewayPods.ts"
import * as KubernetesClient from "./KubernetesClient.ts"
import * as LeaderElection from "./LeaderElection.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options extends KubernetesClient.Options, Pick<Controller.Options, "namespace" | "selector"> {
  /** Name of the container's port that the gateway listens on. Default: `http`. */
  readonly portName?: string | undefined
  /** Of this replica: another one after each start. */
  readonly identity: string
  /** A key that opens the gateways' admin API, read before each request. */
  readonly adminKey: Effect.Effect<Redacted.Redacted<string>>
}

/**
 * Runs until it is interrupted.
 *
 * @category functions
 * @since 0.1.0
 */
export const run = Effect.fnUntraced(function*(options: Options) {
  const { identity, namespace, portName = "http", selector } = options
  const client = yield* KubernetesClient.make(options)
  const gateways = yield* GatewayPods.make(options.adminKey)
  const controller = Controller.run({ client, gateways, namespace, portName, selector })
  return yield* LeaderElection.run({ client, namespace, identity, name: "ballast-operator" }, controller)
})
