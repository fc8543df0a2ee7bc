/**
 * What a run tells, is told, and fails with.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

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

/**
 * What happens in a run. After a crash, what was not recorded is told again.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | { readonly _tag: "Started" } & Attempt
  | { readonly _tag: "Succeeded"; readonly millis: number; readonly output: unknown } & Attempt
  | { readonly _tag: "Failed"; readonly millis: number; readonly reason: string; readonly retryable: boolean } & Attempt
  | { readonly _tag: "Skipped"; readonly run: string; readonly step: string }
  | { readonly _tag: "Waiting"; readonly run: string; readonly step: string; readonly question: string }

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
