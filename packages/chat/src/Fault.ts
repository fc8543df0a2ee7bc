/**
 * Whose fault a failed call is, for metrics and alerts.
 *
 * | fault | what failed |
 * |---|---|
 * | `caller` | the request: it is refused, too long, for an unknown model, or its caller went away |
 * | `policy` | a policy here turned it away: an open circuit, a full queue, a limit |
 * | `provider` | the service: an error, an overload, a limit of its own, a broken or late answer |
 * | `ballast` | this program or its settings: a defect, a key that is refused, an account that is empty |
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import { hasProperty } from "effect/Predicate"
import * as ChatError from "./ChatError.ts"

/**
 * @category models
 * @since 0.1.0
 */
export type Fault = "caller" | "policy" | "provider" | "ballast"

const settings: ReadonlySet<ChatError.Reason["_tag"]> = new Set(["Unauthorized", "InsufficientBalance", "NotFound"])

const ofReason = (reason: ChatError.Reason): Fault => {
  if (settings.has(reason._tag)) return "ballast"
  const { fault, retry } = ChatError.judge(reason)
  // What may be tried again without being the service's failure is a limit that it states.
  return fault || retry ? "provider" : "caller"
}

/**
 * Whose fault an error is. What is not a `ChatError` but has a tag is a policy's rejection.
 *
 * @category accessors
 * @since 0.1.0
 */
export const of = (error: unknown): Fault => {
  if (ChatError.isChatError(error)) return ofReason(error.reason)
  return hasProperty(error, "_tag") ? "policy" : "ballast"
}

/**
 * Whose fault a cause is: a defect is `ballast`'s, and an interruption the caller's.
 *
 * @category accessors
 * @since 0.1.0
 */
export const ofCause = (cause: Cause.Cause<unknown>): Fault => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Fail") return of(reason.error)
    if (reason._tag === "Die") return "ballast"
  }
  return "caller"
}
