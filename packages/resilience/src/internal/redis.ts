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
