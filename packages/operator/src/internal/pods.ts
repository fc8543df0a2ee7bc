/** The gateways' pods, as the controller sees them. */
import type { Spec, Status } from "../BallastModel.ts"

/**
 * A version of the model in a gateway.
 *
 * @category models
 * @since 0.1.0
 */
export interface Loaded {
  readonly version: string
  readonly state: "loading" | "ready" | "failed" | "draining" | "unloaded"
  readonly reason?: string | undefined
  /** Its part of the calls, in percent. */
  readonly weight: number
  /** Since the version was loaded in this process. */
  readonly calls: number
  readonly errors: number
  /** In seconds. */
  readonly p95?: number | undefined
}

/**
 * A ready pod of the gateway.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pod {
  readonly name: string
  /** Another one after each start of its container, whose counters begin at zero. */
  readonly instance: string
  /** Whether the pod has the label that says that it serves the model. */
  readonly labelled: boolean
  /** The versions that it holds, or why it did not answer. */
  readonly holds: ReadonlyArray<Loaded> | { readonly problem: string }
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Situation {
  readonly spec: Spec
  readonly generation: number
  readonly status: Status
  readonly pods: ReadonlyArray<Pod>
  /** Milliseconds since 1970. */
  readonly now: number
}

export const heldBy = ({ holds }: Pod): ReadonlyArray<Loaded> =>
  "problem" in holds ? [] : holds.filter(({ state }) => state !== "unloaded")

export const find = (pod: Pod, version: string): Loaded | undefined =>
  heldBy(pod).find((held) => held.version === version)

export const isReady = (pod: Pod, { version }: Pick<Loaded, "version">): boolean =>
  find(pod, version)?.state === "ready"

/** The pods that hold the model: those that do already come first, so that few models move. */
export const choose = (pods: ReadonlyArray<Pod>, replicas: number | undefined): ReadonlyArray<Pod> => {
  if (replicas === undefined) return pods
  const rank = (pod: Pod) => pod.labelled ? 0 : heldBy(pod).length > 0 ? 1 : 2
  return pods.toSorted((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1)).slice(0, replicas)
}
