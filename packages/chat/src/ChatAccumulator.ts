/**
 * Joins the chunks of a stream into the completion that they are pieces of.
 *
 * Content, reasoning and log-probabilities are appended, tool calls are joined by their index, and of everything else (id, model,
 * usage, finish reason) the last word counts. An accumulator is mutable and belongs to one stream.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ChatChunk, ToolCallDelta } from "./ChatChunk.ts"
import type { ChatCompletion, Logprobs } from "./ChatCompletion.ts"
import type { ToolCall } from "./ChatRequest.ts"
import * as message from "./internal/message.ts"
import type { Usage } from "./Usage.ts"

/**
 * What has arrived so far. `reasoning` is `undefined` when the model has not been thinking; `said` is whether anything of a message
 * has come, in a field that is new too.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChatAccumulator {
  id: string | undefined
  created: number | undefined
  model: string | undefined
  systemFingerprint: string | undefined
  said: boolean
  content: string
  reasoning: string | undefined
  toolCalls: Array<ToolCall>
  logprobs: { content: Array<TokenLogprobs>; reasoning: Array<TokenLogprobs> } | undefined
  finishReason: string | undefined
  usage: Usage | undefined
}

type TokenLogprobs = NonNullable<Logprobs["content"]>[number]

/**
 * Creates an empty accumulator.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): ChatAccumulator => ({
  id: undefined,
  created: undefined,
  model: undefined,
  systemFingerprint: undefined,
  said: false,
  content: "",
  reasoning: undefined,
  toolCalls: [],
  logprobs: undefined,
  finishReason: undefined,
  usage: undefined
})

/**
 * Adds the next chunk.
 *
 * @category combinators
 * @since 0.1.0
 */
export const add = (self: ChatAccumulator, chunk: ChatChunk): void => {
  self.id = chunk.id ?? self.id ?? ""
  self.created = chunk.created ?? self.created
  self.model = chunk.model ?? self.model
  self.systemFingerprint = chunk.system_fingerprint ?? self.systemFingerprint
  self.usage = chunk.usage ?? self.usage
  const choice = chunk.choices[0]
  if (choice === undefined) return
  const { delta } = choice
  self.said ||= !message.isEmpty(delta)
  if (delta.content != null) self.content += delta.content
  if (delta.reasoning_content != null) self.reasoning = (self.reasoning ?? "") + delta.reasoning_content
  if (delta.tool_calls != null) {
    for (const fragment of delta.tool_calls) addToolCall(self.toolCalls, fragment)
  }
  if (choice.logprobs != null) addLogprobs(self, choice.logprobs)
  self.finishReason = choice.finish_reason ?? self.finishReason
}

const addToolCall = (calls: Array<ToolCall>, fragment: ToolCallDelta): void => {
  const position = calls.findIndex((call) => call.index === fragment.index)
  const call = calls[position]
  const joined: ToolCall = {
    index: fragment.index,
    id: fragment.id ?? call?.id ?? "",
    type: "function",
    function: {
      name: (call?.function.name ?? "") + (fragment.function?.name ?? ""),
      arguments: (call?.function.arguments ?? "") + (fragment.function?.arguments ?? "")
    }
  }
  if (position === -1) calls.push(joined)
  else calls[position] = joined
}

const addLogprobs = (self: ChatAccumulator, logprobs: Logprobs): void => {
  self.logprobs ??= { content: [], reasoning: [] }
  for (const token of logprobs.content ?? []) self.logprobs.content.push(token)
  for (const token of logprobs.reasoning_content ?? []) self.logprobs.reasoning.push(token)
}

/**
 * Whether nothing of an answer has arrived: no text, no reasoning, no tool call, no field that is new.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isEmpty = (self: ChatAccumulator): boolean => !self.said

/**
 * The completion as far as it has come, or `undefined` before the first chunk. Without a finish reason it is not whole.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toCompletion = (self: ChatAccumulator): ChatCompletion | undefined => {
  if (self.id === undefined) return undefined
  return {
    id: self.id,
    object: "chat.completion",
    ...(self.created === undefined ? undefined : { created: self.created }),
    ...(self.model === undefined ? undefined : { model: self.model }),
    choices: [{
      index: 0,
      message: {
        role: "assistant",
        content: self.content,
        ...(self.reasoning === undefined ? undefined : { reasoning_content: self.reasoning }),
        ...(Arr.isArrayNonEmpty(self.toolCalls) ? { tool_calls: self.toolCalls.slice() } : undefined)
      },
      logprobs: self.logprobs === undefined
        ? null
        : { content: self.logprobs.content, reasoning_content: self.logprobs.reasoning },
      finish_reason: self.finishReason ?? null
    }],
    ...(self.usage === undefined ? undefined : { usage: self.usage }),
    ...(self.systemFingerprint === undefined ? undefined : { system_fingerprint: self.systemFingerprint })
  }
}

/**
 * Runs a stream and joins its chunks. `undefined` when it had none.
 *
 * @category destructors
 * @since 0.1.0
 */
export const collect = <E, R>(
  stream: Stream.Stream<ChatChunk, E, R>
): Effect.Effect<ChatCompletion | undefined, E, R> =>
  Effect.suspend(() => {
    const self = make()
    return Effect.map(
      Stream.runForEachArray(stream, (chunks) => Effect.sync(() => chunks.forEach((chunk) => add(self, chunk)))),
      () => toCompletion(self)
    )
  })
