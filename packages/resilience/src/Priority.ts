/**
 * How much a call matters, for policies that must choose whom to turn away.
 *
 * A priority travels with the fiber, so it is set once, where the work starts, and
 * every policy below reads it:
 * `Effect.provideService(effect, Priority.CurrentPriority, "low")`. The four
 * levels are those of Google's *criticality*; see "Handling Overload", Site
 * Reliability Engineering, 2016.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * What a call is worth.
 *
 * **Details**
 *
 * | priority | for |
 * |---|---|
 * | `"critical"` | what must be answered, whatever else fails |
 * | `"high"` | users who wait for the answer |
 * | `"normal"` | everything that says nothing else |
 * | `"low"` | batches and prefetches, which come back later |
 *
 * @category models
 * @since 0.1.0
 */
export type Priority = "critical" | "high" | "normal" | "low"

/**
 * All priorities, the highest first.
 *
 * @category models
 * @since 0.1.0
 */
export const all: readonly ["critical", "high", "normal", "low"] = ["critical", "high", "normal", "low"]

/**
 * The priority of the calls of this fiber. Default `"normal"`.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentPriority: Context.Reference<Priority> = Context.Reference(
  "@ballast/resilience/Priority/CurrentPriority",
  { defaultValue: (): Priority => "normal" }
)
