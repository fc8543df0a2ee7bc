import { hasProperty } from "effect/Predicate"
import * as check from "./check.ts"

/**
 * Names the Redis keys of one limit or circuit. The braces make all of them
 * fall into one hash slot, so that one script may touch them on a cluster.
 */
export const makeKey = (where: string, prefix: string) => {
  if (prefix === "" || /[{}]/.test(prefix)) {
    check.refuse(where, "prefix", "a text without braces", JSON.stringify(prefix))
  }
  return (key: string, part = ""): string => `{${prefix}:${key}}${part}`
}

/**
 * Whether a script failed at what a key holds: a value of another type, or one that it can't read. Redis before 7 puts a text of its own in
 * front. Errors of the server's state (`OOM`, `READONLY`) have codes of their own.
 */
const isUnreadable = (message: string): boolean =>
  /^(?:ERR|WRONGTYPE)\b/.test(message) && /WRONGTYPE|user_script/.test(message.slice(0, 1_000))

/** What to do about an error that would come back for ever, since nothing else writes the keys; absent for any other error. */
export const remedy = (cause: unknown, keys: ReadonlyArray<string>): string | undefined => {
  const error = hasProperty(cause, "cause") ? cause.cause : cause
  return hasProperty(error, "message") && typeof error.message === "string" && isUnreadable(error.message)
    ? `the Redis key ${keys.join(" or ")} holds something else: delete it, or choose another prefix`
    : undefined
}
