import * as Result from "effect/Result"
import * as Refusal from "./refusal.ts"

/** The key of a request, or why it has none that is accepted. Only `Authorization` counts, `x-api-key` does not. */
export const authorize = (
  authorization: string | undefined,
  keys: ReadonlySet<string> | undefined
): Result.Result<string, Refusal.Refusal> => {
  if (authorization === undefined) return Result.fail(Refusal.noAuthorization)
  const key = /^Bearer (sk-\S+)$/i.exec(authorization.trim())?.[1]
  if (key === undefined) return Result.fail(Refusal.malformedAuthorization)
  return keys === undefined || keys.has(key) ? Result.succeed(key) : Result.fail(Refusal.wrongKey(key))
}
