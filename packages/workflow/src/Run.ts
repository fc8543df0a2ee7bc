/**
 * What a run tells, is told, and fails with.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Usage } from "./Usage.ts"

/**
 * A run that failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class RunFailed extends Schema.TaggedError<RunFailed>()("RunFailed", {
  /** The id of the run. */
  run: Schema.String,
  /** The id of the step that failed; absent where it was none. */
  step: Schema.optionalKey(Schema.String),
  reason: Schema.String
}) {
  override get message() {
    const where = this.step === undefined ? "" : ` in step ${this.step}`
    return `Run ${this.run} failed${where}: ${this.reason}`
  }
}

/** What happens of one attempt of a step. */
interface Attempt {
  readonly run: string
  /** The id of the step; with `[index]` for an element of a list. */
  readonly step: string
  readonly service: string
  /** From 1. */
  readonly attempt: number
}

/** What has ended, whatever came of it. */
interface Ended extends Attempt {
  readonly millis: number
  /** What it used; absent when that is nothing. */
  readonly usage?: Usage
}

/**
 * What happens in a run. After a crash, what was not recorded is told again; what is skipped or kept, an approval that is still waited for, and
 * the end, also when a run goes on after a wait.
 *
 * An approval is told of as the attempt of a step: it is `Waiting`, then it succeeds with the decision, or fails when its time is over. `Kept` is
 * a step whose output an earlier run gave.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | { readonly _tag: "Started"; readonly input: unknown } & Attempt
  | {
    readonly _tag: "Succeeded"
    readonly output: unknown
    /** Whether the output was kept of an earlier call. */
    readonly cached?: boolean
  } & Ended
  | { readonly _tag: "Failed"; readonly reason: string; readonly retryable: boolean } & Ended
  | { readonly _tag: "Skipped"; readonly run: string; readonly step: string }
  | { readonly _tag: "Kept"; readonly run: string; readonly step: string; readonly output: unknown }
  | {
    readonly _tag: "Waiting"
    readonly run: string
    readonly step: string
    readonly service: string
    readonly question: string
    readonly input: unknown
    /** Who may decide; absent for everyone who may see the run. */
    readonly who?: ReadonlyArray<string> | undefined
  }

/**
 * How a run ended.
 *
 * @category models
 * @since 0.1.0
 */
export type End =
  | { readonly status: "succeeded"; readonly output: unknown }
  | { readonly status: "failed"; readonly step?: string | undefined; readonly reason: string }
  | { readonly status: "cancelled" }

/**
 * What a person decides on an approval.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decision {
  readonly approved: boolean
  /** Who decided. */
  readonly by?: string | undefined
  readonly comment?: string | undefined
}
