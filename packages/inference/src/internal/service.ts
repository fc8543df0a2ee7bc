/** The types of the service of local models, which its parts share. */
import type * as Effect from "effect/Effect"
import type { InferenceError } from "../InferenceError.ts"
import type { ModelSettings } from "../ModelSettings.ts"
import type { Port, Tensor } from "../Tensor.ts"

/**
 * The state of a version.
 *
 * | state | what it means |
 * |---|---|
 * | `loading` | its sessions are loaded, warmed and verified; it takes no calls yet |
 * | `ready` | it takes calls, if its weight is above 0 or a call names it |
 * | `failed` | it didn't load or verify: `reason` says why. It takes no calls |
 * | `draining` | its last calls end; it takes no new ones |
 * | `unloaded` | it takes no memory. Unless an operator unloaded it, the next call that names it loads it |
 *
 * @category models
 * @since 0.1.0
 */
export type State = "loading" | "ready" | "failed" | "draining" | "unloaded"

/**
 * What is known of a version.
 *
 * @category models
 * @since 0.1.0
 */
export interface VersionInfo {
  readonly name: string
  readonly version: string
  readonly state: State
  /** Why it is in this state, where that is not plain. */
  readonly reason: string | undefined
  /** Its share of the calls that name no version, from 0 to 1. */
  readonly weight: number
  /** Calls that ended since the program began, those that failed among them. Inputs that are refused count as neither. */
  readonly calls: number
  readonly errors: number
  /** The time of a call with its wait, in milliseconds, over its last 256 calls; 0 before the first. */
  readonly latency: { readonly p50: number; readonly p95: number }
  readonly inFlight: number
  /** Calls that wait for a session. */
  readonly queued: number
  /** An estimate of the memory that it takes when it is loaded: bytes of its files, times its sessions. */
  readonly bytes: number
}

/**
 * What a model takes and gives.
 *
 * @category models
 * @since 0.1.0
 */
export interface Metadata {
  readonly name: string
  readonly version: string
  /** All versions that could take a call. */
  readonly versions: ReadonlyArray<string>
  readonly platform: "onnx_onnxv1"
  readonly inputs: ReadonlyArray<Port>
  readonly outputs: ReadonlyArray<Port>
}

/**
 * A call.
 *
 * @category models
 * @since 0.1.0
 */
export interface InferRequest {
  /** Names the call in its span. */
  readonly id?: string | undefined
  readonly inputs: Readonly<Record<string, Tensor>>
  /** The outputs that are wanted. Default: all. */
  readonly outputs?: ReadonlyArray<string> | undefined
}

/**
 * An answer. It comes from one version.
 *
 * @category models
 * @since 0.1.0
 */
export interface InferResponse {
  readonly model: string
  readonly version: string
  readonly outputs: Readonly<Record<string, Tensor>>
}

/**
 * Where a version is that the repository's folder does not hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface VersionSource {
  /** The folder with `model.onnx` and, optionally, `model.yaml`. */
  readonly folder: string
  /** The hash that each of its files must have, `model.yaml` among them, in place of those that stand there. */
  readonly sha256?: Readonly<Record<string, string>> | undefined
  /** Inputs with the outputs that must come, beside those of its `model.yaml`. */
  readonly golden?: ModelSettings["golden"] | undefined
}

/**
 * What local models do.
 *
 * @category models
 * @since 0.1.0
 */
export interface Service {
  /** All versions of all models, by name, newest version first. */
  readonly list: Effect.Effect<ReadonlyArray<VersionInfo>>
  /** What a model takes and gives; loads the version if that is due. Default version: the one with the greatest weight. */
  readonly metadata: (name: string, version?: string | undefined) => Effect.Effect<Metadata, InferenceError>
  /** Calls a version, or one chosen by weight. */
  readonly infer: (
    name: string,
    version: string | undefined,
    request: InferRequest
  ) => Effect.Effect<InferResponse, InferenceError>
  /**
   * Loads, warms and verifies a version, and completes when it is ready: beside the versions that serve, and without weight unless it is the
   * model's first. A version that is ready is left alone, unless its files have changed.
   */
  readonly load: (
    name: string,
    version: string,
    source?: VersionSource | undefined
  ) => Effect.Effect<VersionInfo, InferenceError>
  /** Takes a version out of service, and completes when its last call has ended. It stays out until it is loaded again. */
  readonly unload: (name: string, version: string) => Effect.Effect<void, InferenceError>
  /**
   * Sets the weights of versions; those that are left out get 0, and leave after their last call. Versions that are not loaded are loaded first:
   * the weights change when all are ready, and not at all if one is refused. `{ "1": 1 }` is the way back to version 1.
   */
  readonly setTraffic: (
    name: string,
    weights: Readonly<Record<string, number>>
  ) => Effect.Effect<void, InferenceError>
}
