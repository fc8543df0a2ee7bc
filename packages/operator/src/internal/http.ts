/** Requests whose answers are bounded in size and time, and make no spans: they come again and again. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import * as Stream from "effect/Stream"

/** The system's name for what went wrong, such as `ECONNREFUSED`, from the depths of an error. */
export const codeOf = (error: unknown): string => {
  let at = error
  for (let i = 0; i < 5 && typeof at === "object" && at !== null; i++) {
    if ("code" in at && typeof at.code === "string") return at.code
    const inner = "cause" in at && at.cause !== undefined ? at.cause : "reason" in at ? at.reason : undefined
    if (inner === undefined) return "message" in at ? /\bE[A-Z]{5,}\b/.exec(String(at.message))?.[0] ?? "" : ""
    at = inner
  }
  return ""
}

export interface Answer {
  readonly status: number
  readonly text: string
  readonly retryAfter: string | undefined
}

export interface Bounds<E> {
  readonly time: Duration.Input
  /** In characters. */
  readonly size: number
  readonly fail: (reason: string) => E
}

/** Sends a request and reads the whole answer. */
export const send = <E>(
  client: HttpClient.HttpClient,
  request: HttpClientRequest,
  { fail, size, time }: Bounds<E>
): Effect.Effect<Answer, E> => {
  const program = Effect.gen(function*() {
    const response = yield* client.execute(request)
    const text = yield* response.stream.pipe(
      Stream.decodeText,
      Stream.runFoldEffect(() => "", (text, part) =>
        text.length + part.length > size
          ? Effect.fail({ reason: `an answer of more than ${size} characters` })
          : Effect.succeed(text + part)),
      // An answer without a body.
      Effect.catchReason("HttpClientError", "EmptyBodyError", () => Effect.succeed(""))
    )
    const answer: Answer = { status: response.status, text, retryAfter: response.headers["retry-after"] }
    return answer
  })
  return program.pipe(
    Effect.mapError((error) =>
      fail("_tag" in error ? `can't be reached${codeOf(error) && ` (${codeOf(error)})`}` : error.reason)
    ),
    Effect.timeoutOrElse({ duration: time, orElse: () => Effect.fail(fail("no answer in time")) }),
    Effect.provideService(HttpClient.TracerDisabledWhen, constTrue)
  )
}
