/**
 * Requests to config centers. Answers are bounded in size and time; waiting requests make no spans.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import * as Stream from "effect/Stream"
import { SourceError } from "../Source.ts"
import { maximumSize } from "./file.ts"

/** The time for an answer that the server does not hold back. */
const answerTime: Duration.Input = "10 seconds"

/** The system's name for what went wrong, such as `ECONNREFUSED`, from the depths of an error. */
const codeOf = (error: unknown): string | undefined => {
  let at = error
  for (let i = 0; i < 5 && typeof at === "object" && at !== null; i++) {
    if ("code" in at && typeof at.code === "string") return at.code
    const inner = "cause" in at && at.cause !== undefined ? at.cause : "reason" in at ? at.reason : undefined
    if (inner === undefined) return "message" in at ? /\bE[A-Z]{5,}\b/.exec(String(at.message))?.[0] : undefined
    at = inner
  }
  return undefined
}

/** A request to a config center that failed. */
export const fail = (source: string, reason: string) => Effect.fail(new SourceError({ source, reason }))

/** Runs a program that talks to a center; its failures say what the operator can check. */
export const attempt = <A, E, R>(source: string, time: Duration.Input, program: Effect.Effect<A, E | SourceError, R>) =>
  program.pipe(
    Effect.timeoutOrElse({ duration: time, orElse: () => fail(source, "did not answer in time") }),
    Effect.mapError((error): SourceError => {
      if (error instanceof SourceError) return error
      const code = codeOf(error)
      return new SourceError({ source, reason: `cannot be reached${code === undefined ? "" : ` (${code})`}` })
    }),
    Effect.provideService(HttpClient.TracerDisabledWhen, constTrue)
  )

/** An answer with its whole text. */
export interface Answer {
  readonly status: number
  readonly text: string
}

/** Sends a request and reads the answer, of at most 1 MiB. */
export const send = (
  source: string,
  request: HttpClientRequest,
  time: Duration.Input = answerTime
): Effect.Effect<Answer, SourceError, HttpClient.HttpClient> =>
  attempt(
    source,
    time,
    Effect.gen(function*() {
      const response = yield* HttpClient.execute(request)
      const text = yield* response.stream.pipe(
        Stream.decodeText,
        Stream.runFoldEffect(() => "", (text, part) =>
          text.length + part.length > maximumSize
            ? fail(source, `answered with more than ${maximumSize} characters`)
            : Effect.succeed(text + part))
      ).pipe(
        // An answer without a body, such as 304.
        Effect.catchReason("HttpClientError", "EmptyBodyError", () => Effect.succeed(""))
      )
      return { status: response.status, text }
    })
  )

/** Reads an answer as JSON. */
export const json = (source: string, { text }: Answer): Effect.Effect<unknown, SourceError> =>
  Effect.try({
    try: (): unknown => JSON.parse(text),
    catch: () => new SourceError({ source, reason: "answered with text that is no JSON" })
  })

/** The words for a status that is no success. */
export const refused = (source: string, { status }: Answer) =>
  fail(
    source,
    status === 401 || status === 403 ? `refused the credentials (${status})` : `answered with status ${status}`
  )
