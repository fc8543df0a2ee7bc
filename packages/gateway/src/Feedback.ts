/**
 * `POST /v1/feedback`: how good an answer was, by the id of its request (`x-request-id` of the answer).
 *
 * ```json
 * {"request_id":"4f1c…","name":"helpful","value":true,"comment":"right at once"}
 * ```
 *
 * It may come at any time, also before the call's row is written or while the database is down, and from another service with a key of its own. The newest of a client, a request and a name counts.
 * Comparisons of arms have a measure for each name.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Bodies } from "./Body.ts"
import { isObject } from "./internal/envelope.ts"
import type * as Ledger from "./Ledger.ts"
import { Rejection } from "./Rejection.ts"
import type * as Routes from "./Routes.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Feedback {
  readonly request_id: string
  readonly name: string
  readonly value: number | boolean | undefined
  readonly comment: string | undefined
}

const longest = { id: 128, name: 64, comment: 4_000 }

const wrong = (param: string, detail: string) => new Rejection({ case: "InvalidField", param, detail })

const fields = new Set(["request_id", "name", "value", "comment"])

/** What a body says, or what is wrong with it. */
const decode = (json: unknown): Feedback | Rejection => {
  if (!isObject(json)) return new Rejection({ case: "InvalidField", detail: "The body must be a JSON object." })
  const unknown = Object.keys(json).find((name) => !fields.has(name))
  if (unknown !== undefined) {
    return wrong(
      unknown.slice(0, 64),
      `\`${unknown.slice(0, 64)}\` is not known here. Feedback has request_id, name, value and comment.`
    )
  }
  const { comment, name, request_id, value } = json
  if (typeof request_id !== "string" || !/^[\w.:@/+=-]+$/.test(request_id) || request_id.length > longest.id) {
    return wrong("request_id", "`request_id` must be the x-request-id of an answer.")
  }
  if (typeof name !== "string" || !/^[\w.-]+$/.test(name) || name.length > longest.name) {
    return wrong("name", "`name` must have 1 to 64 letters, digits, _, . and -.")
  }
  if (value !== undefined && typeof value !== "boolean" && !(typeof value === "number" && Number.isFinite(value))) {
    return wrong("value", "`value` must be a number, true or false.")
  }
  if (comment !== undefined && (typeof comment !== "string" || comment.length > longest.comment)) {
    return wrong("comment", `\`comment\` must be a text of at most ${longest.comment} characters.`)
  }
  if (value === undefined && comment === undefined) return wrong("value", "Feedback needs a `value` or a `comment`.")
  return { request_id, name, value, comment }
}

/** A row of what a client said, at a moment in milliseconds since 1970. */
const rowOf = ({ comment = "", name, request_id, value }: Feedback, client: string, at: number): Ledger.Feedback => ({
  request_id,
  name,
  client,
  at,
  kind: typeof value === "boolean" ? "boolean" : value === undefined ? "comment" : "number",
  value: value === undefined ? null : Number(value),
  comment: comment.replaceAll("\u0000", " ").toWellFormed()
})

const full = new Rejection({
  case: "RecordsUnavailable",
  detail:
    "Feedback can not be kept now, since the gateway's database is down and its spool is full. Send it again later."
})

/**
 * @category handlers
 * @since 0.1.0
 */
export const make = (
  options: { readonly bodies: Bodies; readonly ledger: Pick<Ledger.Ledger, "feedback"> }
): Routes.Handler =>
({ client }, request) =>
  Effect.gen(function*() {
    const { json } = yield* options.bodies.read(request)
    const feedback = decode(json)
    if (feedback instanceof Rejection) return yield* feedback
    const now = yield* Clock.currentTimeMillis
    if (!options.ledger.feedback(rowOf(feedback, client.name, now))) return yield* full
    return HttpServerResponse.jsonUnsafe({ object: "feedback", request_id: feedback.request_id, name: feedback.name })
  })
