/**
 * The translation between Anthropic's Messages and chat.
 *
 * A request is translated to a `ChatRequest` (`toChat`), a chat answer to a message, whole (`fromCompletion`) or as events (`writer`), and
 * a message to a chat answer (`parse`, `reader`), so that Messages travels the road of chat (`Native`). Where a service speaks Messages,
 * nothing is translated on the wire, and nothing is lost. What a translation loses stands at `toChat` and `fromCompletion`. All work is
 * linear in the text.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ChatChunk } from "./ChatChunk.ts"
import type { ChatCompletion } from "./ChatCompletion.ts"
import type { ChatModel } from "./ChatModel.ts"
import type { ChatRequest } from "./ChatRequest.ts"
import * as read from "./internal/messages/read.ts"
import * as toChatRequest from "./internal/messages/toChat.ts"
import * as write from "./internal/messages/write.ts"
import type { Answer, Event, Request, TokenCount } from "./Messages.ts"
import * as Native from "./Native.ts"
import type { Unreadable } from "./WireText.ts"

/**
 * The chat that a request asks for.
 *
 * **Details**
 *
 * Any object is taken: what is of another shape than documented is left out, so that the service says what it misses.
 *
 * | of the request | in the chat |
 * |---|---|
 * | `system`, turns of the role `system` | messages of the role `system`, their texts joined by an empty line |
 * | text, image | content; images as parts |
 * | `thinking` | `reasoning_content` |
 * | `tool_use` | `tool_calls` |
 * | `tool_result` | a message of the role `tool`, before the rest of its turn |
 * | tools with an `input_schema` | functions |
 * | `tool_choice` `auto`, `any`, `tool`, `none` | `auto`, `required`, the function, `none`. A forced call switches thinking off unless the request switches it on |
 * | `thinking` of the types `enabled`, `adaptive` | enabled |
 * | `output_config.effort` | `reasoning_effort` |
 * | `stop_sequences` | `stop` |
 * | `metadata.user_id` | `user_id`, with `_` for characters that it may not have, cut at 512 |
 *
 * Lost: `top_k`, `budget_tokens`, `cache_control`, `citations`, `is_error`, `disable_parallel_tool_use`, `strict`, `output_config.format`, `container`,
 * `mcp_servers`, `service_tier`, `context_management`; signatures; tools without an `input_schema`, which the service runs itself, and their
 * blocks; redacted thinking; documents, search results and other blocks of the user's, in whose place a note stands; that a last turn of the assistant is to be continued; a line of billing
 * (`x-anthropic-billing-header`) that Claude Code puts first in `system`, which changes with each request and would spoil the context
 * cache.
 *
 * @category translations
 * @since 0.1.0
 */
export const toChat = (request: object): ChatRequest => toChatRequest.translate(request)

/**
 * The message of a chat completion.
 *
 * **Details**
 *
 * | of the completion | in the message |
 * |---|---|
 * | `reasoning_content` | a block `thinking`, with an empty signature |
 * | `content` | a block `text` |
 * | `tool_calls` | blocks `tool_use`; arguments that are no JSON object become `{"INVALID_JSON": "<the text>"}` |
 * | `finish_reason` `stop`, `length`, `tool_calls`, `content_filter` | `end_turn`, `max_tokens`, `tool_use`, `refusal` |
 * | usage: prompt, of which cached | `input_tokens` without the cached ones, `cache_read_input_tokens` |
 *
 * Lost: choices after the first, log-probabilities, `system_fingerprint`, and which stop sequence was met.
 *
 * @category translations
 * @since 0.1.0
 */
export const fromCompletion = (completion: ChatCompletion): Answer => write.whole(completion)

/**
 * Writes the chunks of one stream as events of Messages, each text being complete events.
 *
 * @category models
 * @since 0.1.0
 */
export interface Writer {
  readonly chunk: (chunk: ChatChunk) => string
  /** After the last chunk. */
  readonly end: () => string
}

/**
 * Creates a writer for one stream. A chunk that has its native text is written as that.
 *
 * **Details**
 *
 * It translates as `fromCompletion` does. Blocks follow one another; the usage is in `message_delta`, where the input's counts come too, since
 * chat does not say them before. At the begin stands what `inputTokens` estimates, by default 0; it is asked only where events are made.
 *
 * @category translations
 * @since 0.1.0
 */
export const writer = (inputTokens: () => number = () => 0): Writer => write.make(inputTokens)

/**
 * Reads a whole answer as a chat completion that keeps the text (`Native.textOf`). A text that is no answer comes back as `Unreadable`.
 *
 * @category translations
 * @since 0.1.0
 */
export const parse = (text: string): ChatCompletion | Unreadable => read.whole(text)

/**
 * Creates a reader of the data of the events of one stream: each becomes a chunk that keeps the event's text; a ping becomes nothing; an error,
 * and what is no event, comes back as `Unreadable`. An event that means nothing to chat is a chunk that adds nothing.
 *
 * @category translations
 * @since 0.1.0
 */
export const reader = (): (data: string) => ChatChunk | Unreadable | undefined => read.events()

/**
 * Reads a count of tokens as a completion that says nothing and keeps the text. It has no usage: counting uses no tokens.
 *
 * @category translations
 * @since 0.1.0
 */
export const parseCount = (text: string): ChatCompletion | Unreadable => read.count(text)

/**
 * Asks any chat model for a message.
 *
 * @category calls
 * @since 0.1.0
 */
export const create = <E>(model: ChatModel<E>, request: Request): Effect.Effect<Answer, E> =>
  Effect.map(model.complete(asked("messages", request)), answerOf)

/** The answer as it came; what is not there is as the translation has it. */
const answerOf = (completion: ChatCompletion): Answer => {
  const text = Native.textOf(completion, "messages")
  // It was read once.
  return text === undefined ? fromCompletion(completion) : { ...fromCompletion(completion), ...JSON.parse(text) }
}

const asked = (protocol: "messages" | "countTokens", request: object): ChatRequest =>
  Native.attach(toChat(request), { protocol, body: { ...request }, only: protocol === "countTokens" })

/**
 * Asks any chat model for a message in events. Pings are not among them; an error fails the stream.
 *
 * @category calls
 * @since 0.1.0
 */
export const stream = <E>(model: ChatModel<E>, request: Request): Stream.Stream<Event, E> =>
  Stream.suspend(() => {
    const { chunk, end } = writer()
    return Stream.concat(
      Stream.flatMap(model.stream(asked("messages", request)), (one) => Stream.fromIterable(eventsOf(chunk(one)))),
      Stream.suspend(() => Stream.fromIterable(eventsOf(end())))
    )
  })

/** The events in a text of them, each of two lines, as they are written here. */
const eventsOf = (text: string): ReadonlyArray<Event> =>
  text.split("\n").filter((line) => line.startsWith("data: ")).map((line) => JSON.parse(line.slice(6)))

/**
 * Asks how many input tokens a request has. Only a service that has this endpoint can say it; others fail with `NotFound`.
 *
 * @category calls
 * @since 0.1.0
 */
export const countTokens = <E>(
  model: ChatModel<E>,
  request: Omit<Request, "max_tokens">
): Effect.Effect<TokenCount, E> =>
  Effect.map(
    model.complete(asked("countTokens", request)),
    (completion) => JSON.parse(Native.textOf(completion, "countTokens") ?? "{\"input_tokens\":0}")
  )
