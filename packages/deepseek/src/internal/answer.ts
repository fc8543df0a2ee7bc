import * as ChatError from "@ballast/chat/ChatError"
import { limits } from "@ballast/chat/Limits"
import * as WireText from "@ballast/chat/WireText"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as body from "./body.ts"
import * as errors from "./errors.ts"

/** An answer of the service, and the key that nothing told of it may show. */
export interface Answer {
  readonly response: HttpClientResponse
  readonly secret: string
  /** Whether it may say nothing and stop, as after a prefix that says all. */
  readonly mayBeEmpty?: boolean
}

export const traceIdOf = ({ response }: Answer): string | undefined => response.headers["x-ds-trace-id"]

const told = ({ response: { headers, status }, secret }: Answer, body: string) => ({ status, headers, body, secret })

/** Fails with the error that an answer with a status other than 2xx means. */
export const refused = (answer: Answer): Effect.Effect<never, ChatError.ChatError> =>
  Effect.flatMap(
    body.errorText(answer.response),
    (body) => Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.fail(errors.fromAnswer(told(answer, body), now)))
  )

/** Whether JSON states an error. */
export const isStated = (answer: Answer, json: unknown): boolean =>
  errors.fromStated(json, told(answer, ""), 0) !== undefined

/** Fails with the error that stands for a body, or an event, that is not what it should be. */
export const unreadable = (
  answer: Answer,
  { detail, json }: WireText.Unreadable,
  body: string
): Effect.Effect<never, ChatError.ChatError> =>
  Effect.flatMap(
    Clock.currentTimeMillis,
    (now) =>
      Effect.fail(
        errors.fromStated(json, told(answer, body), now) ?? malformed(answer, detail, body, json !== undefined)
      )
  )

export const malformed = (answer: Answer, detail: string, body: string, lasting = false): ChatError.ProtocolError =>
  errors.malformed(detail, told(answer, body), lasting)

/** The text of a body that is read whole. */
export const text = (answer: Answer): Effect.Effect<string, ChatError.ChatError> =>
  body.text(answer.response, limits.wholeAnswer, (beginning) => tooLarge(answer, beginning))

/** The error of a whole answer that goes on past its limit, or that of its client. */
const tooLarge = (answer: Answer, text: string): ChatError.ProtocolError =>
  malformed(answer, "a whole answer that is too large", text.slice(0, 1000), true)

/** Reads a body. */
export const read = <A>(
  answer: Answer,
  reader: (text: string) => A | WireText.Unreadable
): Effect.Effect<A, ChatError.ChatError> =>
  Effect.flatMap(text(answer), (body) => {
    const value = reader(body)
    return value instanceof WireText.Unreadable ? unreadable(answer, value, body) : Effect.succeed(value)
  })

/** Finish reasons of an answer that was given up on, in small letters or others. */
const givenUp = /^(?:insufficient_system_resource|abort(?:ed)?|cancell?ed|timeout)$/i
/** Those of one that failed: `error`, `network_error` of Zhipu. */
const failed = /(?:^|_)error$/i

/** The error that a finish reason stands for, if it does. */
export const judgeReason = (
  answer: Answer,
  finishReason: string | null | undefined
): ChatError.ServerError | undefined => {
  if (finishReason == null) return undefined
  const isOverloaded = givenUp.test(finishReason)
  if (!isOverloaded && !failed.test(finishReason)) return undefined
  const fields = {
    status: answer.response.status,
    detail: `the answer ended with ${finishReason}`,
    ...errors.optionalTraceId(traceIdOf(answer))
  }
  return new ChatError.ServerError({
    reason: isOverloaded ? new ChatError.Overloaded(fields) : new ChatError.InternalError(fields)
  })
}

/** The error of an answer that stops without having said anything. */
export const empty = (answer: Answer): ChatError.ProtocolError =>
  new ChatError.ProtocolError({
    reason: new ChatError.EmptyCompletion(errors.optionalTraceId(traceIdOf(answer)) ?? {})
  })
