/** What the main thread and the thread or process of a session say to each other. */

import type { Data } from "../Tensor.ts"
import type { Hashes } from "./files.ts"

/** A tensor as the runtime takes it. */
export interface Wire {
  readonly type: string
  readonly dims: ReadonlyArray<number>
  readonly data: Data
}

/** As in `model.yaml`. */
export interface TaskOptions {
  readonly task: "tensors" | "embedding" | "classify" | "ocr"
  readonly labels?: ReadonlyArray<string>
  readonly softmax: boolean
  readonly pooling: "none" | "mean" | "first"
  readonly normalize: boolean
  readonly maxTokens: number
}

export interface LoadOptions {
  /** The folder of the model's files. */
  readonly folder: string
  readonly task: TaskOptions
  readonly provider: string
  /** Those that its files must have. */
  readonly sha256: Hashes | undefined
  /** Bytes that the outputs of a run may have. */
  readonly maxBytes: number
}

export interface WirePort {
  readonly name: string
  readonly type: string
  /** A text is a dimension that varies. */
  readonly shape: ReadonlyArray<number | string>
}

export type ToSession =
  | { readonly _tag: "Load"; readonly options: LoadOptions }
  | {
    readonly _tag: "Run"
    readonly feeds: Readonly<Record<string, Wire>>
    readonly fetches: ReadonlyArray<string>
  }
  /** Sent to threads only: a process is killed. */
  | { readonly _tag: "Close" }

/** A failure in words of ours, and in those of the runtime, which may show paths. */
export interface Failure {
  readonly detail: string
  readonly text: string
}

export type FromSession =
  | { readonly _tag: "Loaded"; readonly inputs: ReadonlyArray<WirePort>; readonly outputs: ReadonlyArray<WirePort> }
  | { readonly _tag: "Refused"; readonly failure: Failure }
  | { readonly _tag: "Ran"; readonly outputs: Readonly<Record<string, Wire>> }
  | { readonly _tag: "Failed"; readonly failure: Failure }
