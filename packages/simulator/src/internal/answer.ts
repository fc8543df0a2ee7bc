/** A completion in the shapes of the wire: one body, or the chunks of a stream. */
import type { ChatChunk, Delta } from "@ballast/chat/ChatChunk"
import type { ChatCompletion, Logprobs } from "@ballast/chat/ChatCompletion"
import type { Usage } from "@ballast/chat/Usage"
import type { Completion } from "./completion.ts"
import * as Draw from "./draw.ts"
import * as Timeline from "./timeline.ts"

/** What every chunk of an answer repeats. */
export interface Head {
  readonly id: string
  /** Unix time in seconds. */
  readonly created: number
  readonly model: string
  readonly fingerprint: string
}

/** Present when log-probabilities are asked for. */
export interface LogprobsWish {
  readonly top: number
  readonly seed: string
}

export interface Answer {
  readonly head: Head
  readonly completion: Completion
  readonly usage: Usage
  readonly logprobs: LogprobsWish | undefined
  readonly includeUsage: boolean
}

const encoder = new TextEncoder()

type TokenLogprob = NonNullable<Logprobs["content"]>[number]

export const tokenLogprob = (token: string, wish: LogprobsWish): TokenLogprob => {
  const draw = Draw.make(wish.seed, token)
  const bytes = (text: string) => Array.from(encoder.encode(text))
  const logprob = -Number((draw.next() * 0.5).toFixed(6))
  const alternatives = Array.from({ length: Math.max(0, wish.top - 1) }, (_, index) => {
    const other = draw.text(3, "etaoinshrdlu")
    return { token: other, logprob: -Number((index + 1 + draw.next()).toFixed(6)), bytes: bytes(other) }
  })
  const chosen = { token, logprob, bytes: bytes(token) }
  return { ...chosen, top_logprobs: wish.top > 0 ? [chosen, ...alternatives] : [] }
}

const logprobsOf = (
  wish: LogprobsWish | undefined,
  content: ReadonlyArray<string>,
  reasoning: ReadonlyArray<string> | undefined
): Logprobs | null => {
  if (wish === undefined) return null
  const all = (tokens: ReadonlyArray<string>) => tokens.map((token) => tokenLogprob(token, wish))
  return {
    content: content.length > 0 ? all(content) : null,
    ...(reasoning !== undefined && { reasoning_content: reasoning.length > 0 ? all(reasoning) : null })
  }
}

export const body = ({ completion, head, logprobs, usage }: Answer): ChatCompletion => ({
  id: head.id,
  object: "chat.completion",
  created: head.created,
  model: head.model,
  choices: [{
    index: 0,
    message: {
      role: "assistant",
      content: completion.content.join(""),
      ...(completion.reasoning !== undefined && { reasoning_content: completion.reasoning.join("") }),
      ...(completion.calls.length > 0 && {
        tool_calls: completion.calls.map((call, index) => ({
          index,
          id: call.id,
          type: "function",
          function: { name: call.name, arguments: call.arguments.join("") }
        }))
      })
    },
    logprobs: logprobsOf(logprobs, completion.content, completion.reasoning),
    finish_reason: completion.finish
  }],
  usage,
  system_fingerprint: head.fingerprint
})

interface Step {
  readonly delta: Delta
  readonly logprobs: Logprobs | null
}

const steps = function*({ completion, logprobs }: Answer): Generator<Step> {
  const thinking = completion.reasoning !== undefined
  yield {
    delta: thinking ? { role: "assistant", content: null, reasoning_content: "" } : { role: "assistant", content: "" },
    logprobs: null
  }
  for (const token of completion.reasoning ?? []) {
    yield { delta: { content: null, reasoning_content: token }, logprobs: logprobsOf(logprobs, [], [token]) }
  }
  for (const token of completion.content) {
    yield {
      delta: thinking ? { content: token, reasoning_content: null } : { content: token },
      logprobs: logprobsOf(logprobs, [token], undefined)
    }
  }
  for (const [index, call] of completion.calls.entries()) {
    const opening = { index, id: call.id, type: "function", function: { name: call.name, arguments: "" } }
    yield { delta: { tool_calls: [opening] }, logprobs: null }
    for (const token of call.arguments) {
      yield { delta: { tool_calls: [{ index, function: { arguments: token } }] }, logprobs: null }
    }
  }
}

/** The chunks of a stream, one for each token, the last with the finish reason and the usage. */
const chunks = function*(answer: Answer): Generator<ChatChunk> {
  const { completion, head, includeUsage, usage } = answer
  const chunk = ({ delta, logprobs }: Step, finish: string | null): ChatChunk => ({
    id: head.id,
    object: "chat.completion.chunk",
    created: head.created,
    model: head.model,
    system_fingerprint: head.fingerprint,
    choices: [{ index: 0, delta, logprobs, finish_reason: finish }],
    ...(finish !== null ? { usage } : includeUsage && { usage: null })
  })
  for (const step of steps(answer)) yield chunk(step, null)
  const delta = completion.reasoning === undefined ? { content: "" } : { content: "", reasoning_content: null }
  yield chunk({ delta, logprobs: null }, completion.finish)
}

/** The events of a stream of chunks. */
export const events = function*(answer: Answer): Generator<string> {
  for (const chunk of chunks(answer)) yield Timeline.event(JSON.stringify(chunk))
  yield Timeline.event("[DONE]")
}
