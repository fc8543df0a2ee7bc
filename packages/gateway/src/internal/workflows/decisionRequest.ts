/** What a person decides on an approval: what the body says. */
import * as Result from "effect/Result"
import { Rejection } from "../../Rejection.ts"
import { isObject } from "../envelope.ts"
import { wrong } from "./wrong.ts"

export const decisionOf = (
  body: unknown
): Result.Result<{ readonly approved: boolean; readonly comment: string }, Rejection> => {
  if (!isObject(body)) {
    return Result.fail(new Rejection({ case: "InvalidField", detail: "The body must be a JSON object." }))
  }
  const unknown = Object.keys(body).find((name) => name !== "approved" && name !== "comment")
  if (unknown !== undefined) {
    return Result.fail(
      wrong(unknown.slice(0, 64), "A decision has `approved` and `comment`; who decides is the client.")
    )
  }
  const { approved, comment = "" } = body
  if (typeof approved !== "boolean") return Result.fail(wrong("approved", "`approved` must be true or false."))
  if (typeof comment !== "string" || comment.length > 4_000) {
    return Result.fail(wrong("comment", "`comment` must be a text of at most 4000 characters."))
  }
  return Result.succeed({ approved, comment })
}
