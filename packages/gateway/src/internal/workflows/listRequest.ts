/** Which runs a list shows: what the query says. */
import * as Runs from "@ballast/workflow/Runs"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Rejection } from "../../Rejection.ts"
import { expectedWhen, parseWhen } from "../when.ts"
import { wrong } from "./wrong.ts"

const queryOf = ({ url }: Pick<HttpServerRequest, "url">, known: ReadonlyArray<string>) => {
  const from = url.indexOf("?")
  const query = new Map(new URLSearchParams(from === -1 ? "" : url.slice(from)))
  const unknown = [...query.keys()].find((name) => !known.includes(name))
  return unknown === undefined ? Result.succeed(query) : Result.fail(
    wrong(
      unknown.slice(0, 64),
      `There is no query parameter \`${unknown.slice(0, 64)}\` here; known: ${known.join(", ") || "none"}.`
    )
  )
}

/** The `next` of a page. */
export const cursorOf = ({ createdAt, id }: Runs.Position): string =>
  Buffer.from(`${createdAt} ${id}`).toString("base64url")

const positionOf = (cursor: string): Runs.Position | undefined => {
  const [, createdAt, id] = /^(\d{1,16}) ([\w-]{1,64})$/.exec(Buffer.from(cursor, "base64url").toString()) ?? []
  return createdAt === undefined || id === undefined ? undefined : { createdAt: Number(createdAt), id }
}

const pages = { limit: 20, most: 100 }

const isStatus = Schema.is(Runs.Status)

/** Which runs of a workflow are asked for; `-` stands for any. */
export const filterOf = (
  request: Pick<HttpServerRequest, "url">,
  workflow: string,
  now: number
): Result.Result<Omit<Runs.Filter, "client">, Rejection> => {
  const query = queryOf(request, ["status", "since", "limit", "cursor"])
  if (Result.isFailure(query)) return Result.fail(query.failure)
  const { success: given } = query
  const [status, since, limit, cursor] = ["status", "since", "limit", "cursor"].map((name) => given.get(name))
  if (status !== undefined && !isStatus(status)) {
    return Result.fail(wrong("status", `\`status\` must be one of ${Runs.Status.literals.join(", ")}.`))
  }
  const from = since === undefined ? undefined : parseWhen(since, now)
  if (since !== undefined && from === undefined) {
    return Result.fail(wrong("since", `\`since\` must be ${expectedWhen}.`))
  }
  const most = limit === undefined ? pages.limit : Number(limit)
  if (!Number.isInteger(most) || most < 1 || most > pages.most) {
    return Result.fail(wrong("limit", `\`limit\` must be a whole number from 1 to ${pages.most}.`))
  }
  const after = cursor === undefined ? undefined : positionOf(cursor)
  if (cursor !== undefined && after === undefined) {
    return Result.fail(wrong("cursor", "`cursor` must be the `next` of a page before."))
  }
  return Result.succeed({ workflow: workflow === "-" ? undefined : workflow, status, since: from, limit: most, after })
}
