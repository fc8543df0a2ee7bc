/** What every dialect checks of a body before it goes on its way. */
import * as GenAi from "@ballast/telemetry/GenAi"
import * as Result from "effect/Result"
import { Rejection } from "../Rejection.ts"

/** What is wrong with a body, and in which field. */
export interface Problem {
  readonly param?: string
  readonly detail: string
}

export type Fields = Record<string, unknown>

export const isObject = (u: unknown): u is Fields => typeof u === "object" && u !== null && !Array.isArray(u)

const problemOfCall = ({ model, stream }: Fields): Problem | undefined => {
  if (typeof model !== "string" || model === "") {
    return { param: "model", detail: "`model` must be the name of a model, for example \"deepseek-flash\"." }
  }
  if (model.length > GenAi.maxModelLength) {
    return { param: "model", detail: `\`model\` must not be longer than ${GenAi.maxModelLength} characters.` }
  }
  return typeof stream === "boolean" || stream == null
    ? undefined
    : { param: "stream", detail: "`stream` must be true, false or null." }
}

/** The problem of a body without messages. */
export const problemOfMessages = ({ messages }: Fields): Problem | undefined =>
  Array.isArray(messages) && messages.length > 0
    ? undefined
    : { param: "messages", detail: "`messages` must be an array with at least one message." }

/** The object that a body is, with a sane model and a sane `stream`, and without the problem that a dialect may find. */
export const check = (
  body: unknown,
  problem: (body: Fields) => Problem | undefined
): Result.Result<Fields, Rejection> => {
  if (!isObject(body)) {
    return Result.fail(new Rejection({ case: "InvalidField", detail: "The body must be a JSON object." }))
  }
  const found = problemOfCall(body) ?? problem(body)
  return found === undefined ? Result.succeed(body) : Result.fail(new Rejection({ case: "InvalidField", ...found }))
}
