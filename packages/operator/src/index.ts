/**
 * A Kubernetes controller that makes gateways load, shift and unload models.
 *
 * @since 0.1.0
 */
export * as BallastModel from "./BallastModel.ts"
export * as Controller from "./Controller.ts"
export * as Crd from "./Crd.ts"
export * as GatewayPods from "./GatewayPods.ts"
export * as InCluster from "./InCluster.ts"
export * as Informer from "./Informer.ts"
export * as KubernetesClient from "./KubernetesClient.ts"
export * as LeaderElection from "./LeaderElection.ts"
export * as Operator from "./Operator.ts"
export * as Rollout from "./Rollout.ts"
export * as WorkQueue from "./WorkQueue.ts"
