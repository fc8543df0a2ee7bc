import * as ChatCompletion from "@ballast/chat/ChatCompletion"
import type * as ChatError from "@ballast/chat/ChatError"
import * as WireText from "@ballast/chat/WireText"
import * as Effect from "effect/Effect"
import * as answers from "./answer.ts"
import * as chunks from "./chunks.ts"
import type * as protocols from "./protocol.ts"

/** Reads the completion that an answer holds whole. A service that streams all the same is read, too. */
export const completion = (
  { answer, protocol }: protocols.Answered
): Effect.Effect<ChatCompletion.ChatCompletion, ChatError.ChatError> =>
  Effect.flatMap(answers.text(answer), (body) => {
    const completion = protocol.whole(body)
    if (completion instanceof WireText.Unreadable) {
      return completion.json === undefined && isStream(body)
        ? chunks.collect({ answer, protocol }, body)
        : answers.unreadable(answer, completion, body)
    }
    const error = judge(answer, completion)
    return error === undefined ? Effect.succeed(completion) : Effect.fail(error)
  })

/** Whether a body begins as events do, or lines of JSON. */
const isStream = (body: string): boolean =>
  /^(?:\{|(?:data|event|id|retry|error)?:)/.test(body.trimStart().slice(0, 10))

const judge = (answer: answers.Answer, { choices }: ChatCompletion.ChatCompletion) => {
  for (const { finish_reason } of choices) {
    const error = answers.judgeReason(answer, finish_reason)
    if (error !== undefined) return error
  }
  const isEmpty = choices.every(({ finish_reason, message }) =>
    finish_reason === "stop" && ChatCompletion.isEmpty(message)
  )
  return isEmpty && answer.mayBeEmpty !== true ? answers.empty(answer) : undefined
}
