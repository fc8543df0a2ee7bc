/**
 * The metrics of model calls. Names follow the GenAI semantic conventions where they have one; attributes are few and of low
 * cardinality, so that the number of series stays bounded. Make a metric once for its attributes and keep it: attributes that are
 * given to the constructor cost nothing on an update.
 *
 * Each has `name` (of the client or target), `provider` and `model`; the README of this package lists them with their further attributes.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"

/**
 * Who calls whom: the attributes of every metric of calls.
 *
 * @category models
 * @since 0.1.0
 */
export type Labels = {
  /** Name of the client or target. */
  readonly name: string
  readonly provider: string
  readonly model: string
  /** What is no chat: `embeddings`, `text_completion`. */
  readonly operation?: string
}

/** From 10 ms to about 20 minutes: a first token comes in tenths of seconds, a long thought takes minutes. */
const secondsBoundaries = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280]

/**
 * How long calls take, from the caller's request to the end of the answer, retries and waits included.
 *
 * @category metrics
 * @since 0.1.0
 */
export const duration = (attributes: Labels & { readonly error_type?: string }) =>
  Metric.histogram("gen_ai_client_operation_duration_seconds", {
    description: "Time from a call to the end of its answer, retries and waits included",
    boundaries: secondsBoundaries,
    attributes
  })

/**
 * How long streams take until the first token, reasoning included.
 *
 * @category metrics
 * @since 0.1.0
 */
export const timeToFirstToken = (attributes: Labels) =>
  Metric.histogram("gen_ai_client_time_to_first_token_seconds", {
    description: "Time from a call to the first token of its stream",
    boundaries: secondsBoundaries,
    attributes
  })

/**
 * The pace of streams: seconds for each token after the first. Boundaries are OpenTelemetry's.
 *
 * @category metrics
 * @since 0.1.0
 */
export const timePerOutputToken = (attributes: Labels) =>
  Metric.histogram("gen_ai_client_time_per_output_token_seconds", {
    description: "Time for each token of a stream after the first",
    boundaries: [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5],
    attributes
  })

/**
 * Tokens of a call as the service counts them. `cached` is part of `input`, `reasoning` part of `output`. Boundaries are OpenTelemetry's.
 *
 * @category metrics
 * @since 0.1.0
 */
export const tokens = (
  attributes: Labels & {
    readonly type: "input" | "cached" | "output" | "reasoning"
  }
) =>
  Metric.histogram("gen_ai_client_token_usage", {
    description: "Tokens of a call, as the service counts them; cached is part of input, reasoning part of output",
    boundaries: [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864],
    attributes
  })

/**
 * Calls that ended. `fault` says whose fault a failure is, and is `none` without one.
 *
 * @category metrics
 * @since 0.1.0
 */
export const calls = (
  attributes: Labels & {
    readonly outcome: "ok" | "error" | "interrupted"
    readonly fault: "none" | "caller" | "policy" | "provider" | "ballast"
  }
) => Metric.counter("ballast_calls_total", { description: "Calls that ended", incremental: true, attributes })

/**
 * Attempts that ended: one call makes one or more. `outcome` is `ok`, `interrupted` or the name of the error.
 *
 * @category metrics
 * @since 0.1.0
 */
export const attempts = (attributes: Labels & { readonly outcome: string }) =>
  Metric.counter("ballast_attempts_total", {
    description: "Attempts that ended; a call makes one or more",
    incremental: true,
    attributes
  })

/**
 * Streams that broke off, and whether they went on: `resumed`; `failed`, where the rest could not be had; `refused`, by the bounds of times,
 * budget or deadline. `because` is the name of the error that a stream broke with.
 *
 * @category metrics
 * @since 0.1.0
 */
export const resumptions = (
  attributes: Labels & { readonly outcome: "resumed" | "failed" | "refused"; readonly because: string }
) =>
  Metric.counter("ballast_resumptions_total", {
    description: "Streams that broke off after their first token, and whether they went on",
    incremental: true,
    attributes
  })
