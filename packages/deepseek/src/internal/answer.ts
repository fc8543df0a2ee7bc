import { ChatCompletion, isEmpty } from "@ballast/chat/ChatCompletion"
import * as ChatError from "@ballast/chat/ChatError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as decode from "./decode.ts"
import * as errors from "./errors.ts"

/** An answer of the service, and the key that nothing told of it may show. */
export interface Answer {
  readonly response: HttpClientResponse
  readonly secret: string
}

export const traceIdOf = ({ response }: Answer): string | undefined => response.headers["x-ds-trace-id"]

const told = ({ response: { headers, status }, secret }: Answer, body: string) => ({ status, headers, body, secret })

const text = ({ response }: Answer): Effect.Effect<string, ChatError.TransportError> =>
  Effect.catch(
    response.text,
    (error) => error.reason._tag === "EmptyBodyError" ? Effect.succeed("") : Effect.fail(errors.fromTransport(error))
  )

/** Fails with the error that an answer with a status other than 2xx means. */
export const refused = (answer: Answer): Effect.Effect<never, ChatError.ChatError> =>
  Effect.flatMap(
    text(answer),
    (body) => Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.fail(errors.fromAnswer(told(answer, body), now)))
  )

/** Fails with the error that stands for a body, or an event, that is not what it should be. */
export const unreadable = (
  answer: Answer,
  { detail, json }: decode.Unreadable,
  body: string
): Effect.Effect<never, ChatError.ChatError> =>
  Effect.flatMap(
    Clock.currentTimeMillis,
    (now) =>
      Effect.fail(
        errors.fromStated(json, told(answer, body), now) ?? malformed(answer, detail, body, json !== undefined)
      )
  )

export const malformed = (answer: Answer, detail: string, body: string, json = false): ChatError.ProtocolError =>
  errors.malformed(detail, told(answer, body), json)

/** Reads a body. */
export const read = <A>(
  answer: Answer,
  reader: (text: string) => decode.Decoded<A>
): Effect.Effect<A, ChatError.ChatError> => Effect.flatMap(text(answer), (body) => readIn(answer, body, reader))

const readIn = <A>(
  answer: Answer,
  body: string,
  reader: (text: string) => decode.Decoded<A>
): Effect.Effect<A, ChatError.ChatError> => {
  const decoded = reader(body)
  return decoded._tag === "Value" ? Effect.succeed(decoded.value) : unreadable(answer, decoded, body)
}

const readCompletion = decode.json(ChatCompletion)

/** Reads the completion that an answer holds whole. */
export const completion = (answer: Answer): Effect.Effect<ChatCompletion, ChatError.ChatError> =>
  Effect.flatMap(text(answer), (body) => completionIn(answer, body))

/** Reads the completion in the body of an answer. */
export const completionIn = (answer: Answer, body: string): Effect.Effect<ChatCompletion, ChatError.ChatError> =>
  Effect.flatMap(readIn(answer, body, readCompletion), (completion) => {
    const { finish_reason, message } = completion.choices[0]
    const error = judge(answer, finish_reason, isEmpty(message))
    return error === undefined ? Effect.succeed(completion) : Effect.fail(error)
  })

/** The error that a finish reason stands for, if it does. */
export const judge = (answer: Answer, finishReason: string | null | undefined, isEmpty: boolean) => {
  const traceId = errors.optionalTraceId(traceIdOf(answer))
  switch (finishReason) {
    case "insufficient_system_resource":
    case "aborted": {
      const { status } = answer.response
      const detail = `the answer ended with ${finishReason}`
      return new ChatError.ServerError({ reason: new ChatError.Overloaded({ status, detail, ...traceId }) })
    }
    case "stop":
      return isEmpty
        ? new ChatError.ProtocolError({ reason: new ChatError.EmptyCompletion({ ...traceId }) })
        : undefined
    default:
      return undefined
  }
}
