/** What the record says of runs. */
import * as Schema from "effect/Schema"
import type * as Usage from "../../Usage.ts"

/**
 * How a run stands: `waiting` while a person has to decide.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Status = Schema.Literals(["running", "waiting", "succeeded", "failed", "cancelled"])

/**
 * @category models
 * @since 0.1.0
 */
export type Status = typeof Status.Type

/**
 * Whether a run has ended.
 *
 * @category predicates
 * @since 0.1.0
 */
export const hasEnded = (status: Status): boolean => status !== "running" && status !== "waiting"

/**
 * A run, as a list shows it. Times are milliseconds since 1970.
 *
 * @category models
 * @since 0.1.0
 */
export interface Summary {
  readonly id: string
  readonly workflow: string
  /** Who started it. */
  readonly client: string
  readonly status: Status
  readonly createdAt: number
  readonly endedAt: number | undefined
  /** Why it failed, and in which step. */
  readonly error: { readonly step: string | undefined; readonly reason: string } | undefined
  readonly usage: Usage.Usage
  /** The run that it goes on from. */
  readonly retryOf: string | undefined
}

/**
 * A run with what it got and gave.
 *
 * @category models
 * @since 0.1.0
 */
export interface Run extends Summary {
  readonly input: Schema.Json
  /** Of a run that succeeded. */
  readonly output: Schema.Json | undefined
  /** The definition that it began with. */
  readonly definition: string
  /** The `traceparent` of the request that started it; empty for none. */
  readonly trace: string
  /** At most 1,000; an output of more than 16 KiB is left out (`Runs.step` has it). */
  readonly steps: ReadonlyArray<Step>
}

/**
 * What a step did. A step without a state has not begun.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step {
  /** Its id; with `[index]` for an element of a list. */
  readonly step: string
  readonly service: string
  /** `kept`: an earlier run gave its output. `cancelled`: it had not ended when its run ended. */
  readonly status: "running" | "waiting" | "succeeded" | "failed" | "skipped" | "kept" | "cancelled"
  readonly attempts: number
  readonly startedAt: number
  readonly endedAt: number | undefined
  readonly input: Schema.Json | undefined
  readonly output: Schema.Json | undefined
  readonly error: string | undefined
  readonly question: string | undefined
  /** Who may decide; undefined for everyone who may see the run. */
  readonly who: ReadonlyArray<string> | undefined
  readonly usage: Usage.Usage
}

/**
 * An event as it is kept: its number in the run, and its JSON, an object with `type` and `at`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recorded {
  readonly seq: number
  readonly type: string
  readonly data: string
}

/**
 * A run to be.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewRun {
  readonly id: string
  readonly workflow: string
  readonly definition: string
  readonly client: string
  readonly input: Schema.Json
  /** The same key of a client and a workflow is the same run. */
  readonly idempotencyKey?: string | undefined
  readonly trace?: string | undefined
  readonly retryOf?: string | undefined
}

/**
 * The key of a run came again with another input.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyReused extends Schema.TaggedError<KeyReused>()("KeyReused", { run: Schema.String }) {
  override get message() {
    return `The run ${this.run} was started with this idempotency key and another input.`
  }
}

/**
 * As many runs have not ended as may.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyRuns extends Schema.TaggedError<TooManyRuns>()("TooManyRuns", { limit: Schema.Int }) {
  override get message() {
    return `${this.limit} runs have not ended, and there may not be more.`
  }
}

/**
 * Which runs a list shows, newest first.
 *
 * @category options
 * @since 0.1.0
 */
export interface Filter {
  readonly workflow?: string | undefined
  readonly status?: Status | undefined
  /** Those of this client, and those that wait for its decision. Default: all. */
  readonly client?: string | undefined
  /** Started then or later. */
  readonly since?: number | undefined
  readonly limit: number
  /** Those after this one: the `next` of the page before. */
  readonly after?: Position | undefined
}

/**
 * A place in a list.
 *
 * @category models
 * @since 0.1.0
 */
export interface Position {
  readonly createdAt: number
  readonly id: string
}
