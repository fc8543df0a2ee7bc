/**
 * Joins the chunks of a stream into the completion that they are pieces of.
 *
 * Content, reasoning and log-probabilities are appended, tool calls are joined by their index, and of everything else (id, model,
 * usage, finish reason) the last word counts. Each choice is joined by its own index. An accumulator is mutable and belongs to one
 * stream; adding a chunk takes time in proportion to the chunk.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as ChatChunk from "./ChatChunk.ts"
import type { ChatCompletion, Choice, Logprobs, TokenLogprobs } from "./ChatCompletion.ts"
import { ProtocolError, StreamTruncated } from "./ChatError.ts"
import type { ToolCall } from "./ChatRequest.ts"
import type { Usage } from "./Usage.ts"

/**
 * What has arrived so far. `said` is whether anything of a message has come, in a field that is new too.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChatAccumulator {
  begun: boolean
  said: boolean
  id: string | undefined
  created: number | undefined
  model: string | undefined
  systemFingerprint: string | undefined
  usage: Usage | undefined
  /** By their index. */
  readonly choices: Map<number, ChoiceAccumulator>
}

/**
 * What has arrived of one choice, as pieces. `reasoning` is `undefined` when the model has not been thinking.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChoiceAccumulator {
  readonly content: Array<string>
  reasoning: Array<string> | undefined
  readonly toolCalls: Map<number, ToolCallAccumulator>
  logprobs: { readonly content: Array<TokenLogprobs>; readonly reasoning: Array<TokenLogprobs> } | undefined
  finishReason: string | undefined
}

/**
 * What has arrived of one tool call.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolCallAccumulator {
  id: string
  name: string
  readonly arguments: Array<string>
}

/**
 * Creates an empty accumulator.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): ChatAccumulator => ({
  begun: false,
  said: false,
  id: undefined,
  created: undefined,
  model: undefined,
  systemFingerprint: undefined,
  usage: undefined,
  choices: new Map()
})

const makeChoice = (): ChoiceAccumulator => ({
  content: [],
  reasoning: undefined,
  toolCalls: new Map(),
  logprobs: undefined,
  finishReason: undefined
})

/**
 * Adds the next chunk.
 *
 * @category combinators
 * @since 0.1.0
 */
export const add = (self: ChatAccumulator, chunk: ChatChunk.ChatChunk): void => {
  self.begun = true
  // The first chunk of some services has an empty id and model.
  self.id = chunk.id || self.id
  self.created = chunk.created ?? self.created
  self.model = chunk.model || self.model
  self.systemFingerprint = chunk.system_fingerprint ?? self.systemFingerprint
  self.usage = chunk.usage ?? self.usage
  for (const [position, choice] of chunk.choices.entries()) addChoice(self, choice, position)
}

const addChoice = (self: ChatAccumulator, choice: ChatChunk.Choice, position: number): void => {
  self.said ||= ChatChunk.isSaying(choice)
  const arrived = entry(self.choices, choice.index ?? position, makeChoice)
  const { delta, finish_reason, logprobs } = choice
  if (delta.content) arrived.content.push(delta.content)
  if (delta.reasoning_content != null) (arrived.reasoning ??= []).push(delta.reasoning_content)
  for (const fragment of delta.tool_calls ?? []) addToolCall(arrived.toolCalls, fragment)
  if (logprobs != null) addLogprobs(arrived, logprobs)
  arrived.finishReason = finish_reason ?? arrived.finishReason
}

const addToolCall = (calls: Map<number, ToolCallAccumulator>, fragment: ChatChunk.ToolCallDelta): void => {
  const call = entry(calls, fragment.index, () => ({ id: "", name: "", arguments: [] }))
  call.id ||= fragment.id ?? ""
  call.name += fragment.function?.name ?? ""
  if (fragment.function?.arguments) call.arguments.push(fragment.function.arguments)
}

const entry = <A>(entries: Map<number, A>, key: number, make: () => A): A => {
  let found = entries.get(key)
  if (found === undefined) entries.set(key, found = make())
  return found
}

const addLogprobs = (arrived: ChoiceAccumulator, logprobs: Logprobs): void => {
  arrived.logprobs ??= { content: [], reasoning: [] }
  for (const token of logprobs.content ?? []) arrived.logprobs.content.push(token)
  for (const token of logprobs.reasoning_content ?? []) arrived.logprobs.reasoning.push(token)
}

/**
 * Whether nothing of an answer has arrived: no text, no reasoning, no tool call, no field that is new.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isEmpty = (self: ChatAccumulator): boolean => !self.said

/**
 * The completion as far as it has come, or `undefined` before the first chunk. A choice without a finish reason is not whole.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toCompletion = (self: ChatAccumulator): ChatCompletion | undefined => {
  if (!self.begun) return undefined
  const choices = Array.from(self.choices, ([index, arrived]) => toChoice(index, arrived))
  return {
    ...(self.id === undefined ? undefined : { id: self.id }),
    object: "chat.completion",
    ...(self.created === undefined ? undefined : { created: self.created }),
    ...(self.model === undefined ? undefined : { model: self.model }),
    choices: Arr.isArrayNonEmpty(choices) ? choices : [toChoice(0, makeChoice())],
    ...(self.usage === undefined ? undefined : { usage: self.usage }),
    ...(self.systemFingerprint === undefined ? undefined : { system_fingerprint: self.systemFingerprint })
  }
}

const toChoice = (index: number, arrived: ChoiceAccumulator): Choice => ({
  index,
  message: {
    role: "assistant",
    content: arrived.content.join(""),
    ...(arrived.reasoning === undefined ? undefined : { reasoning_content: arrived.reasoning.join("") }),
    ...(arrived.toolCalls.size === 0 ? undefined : { tool_calls: Array.from(arrived.toolCalls, toToolCall) })
  },
  logprobs: arrived.logprobs === undefined
    ? null
    : { content: arrived.logprobs.content, reasoning_content: arrived.logprobs.reasoning },
  finish_reason: arrived.finishReason ?? null
})

const toToolCall = ([index, { arguments: pieces, id, name }]: [number, ToolCallAccumulator]): ToolCall => ({
  index,
  id,
  type: "function",
  function: { name, arguments: pieces.join("") }
})

/**
 * Runs a stream and joins its chunks. `undefined` when it had none.
 *
 * **Details**
 *
 * A stream that breaks off fails with `StreamTruncated`, whose `partial` is what had come by then. Only this function joins the
 * chunks for it: joining costs memory, and most consumers have passed the chunks on already.
 *
 * @category destructors
 * @since 0.1.0
 */
export const collect = <E, R>(
  stream: Stream.Stream<ChatChunk.ChatChunk, E, R>
): Effect.Effect<ChatCompletion | undefined, E, R> =>
  Effect.suspend(() => {
    const self = make()
    return Stream.runForEachArray(stream, (chunks) => Effect.sync(() => chunks.forEach((chunk) => add(self, chunk))))
      .pipe(
        Effect.mapError((error) => withPartial(error, self)),
        Effect.map(() => toCompletion(self))
      )
  })

const withPartial = <E>(error: E, self: ChatAccumulator): E => {
  if (!(error instanceof ProtocolError) || error.reason._tag !== "StreamTruncated") return error
  const partial = self.said ? toCompletion(self) : undefined
  if (partial === undefined) return error
  const { traceId } = error.reason
  const reason = new StreamTruncated({ partial, ...(traceId === undefined ? undefined : { traceId }) })
  // The error was one of this class, so another one of it is an `E` too.
  return new ProtocolError({ reason }) as E
}
