/**
 * The translation between OpenAI's Responses and chat.
 *
 * A request is translated to a `ChatRequest` (`toChat`), a chat answer to a response, whole (`fromCompletion`) or as events (`writer`), and a
 * response to a chat answer (`parse`, `reader`), so that Responses travels the road of chat (`Native`). Where a service speaks Responses,
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
import { isObject, type Json } from "./internal/read.ts"
import * as read from "./internal/responses/read.ts"
import * as sealed from "./internal/responses/sealed.ts"
import * as toChatRequest from "./internal/responses/toChat.ts"
import * as write from "./internal/responses/write.ts"
import * as Native from "./Native.ts"
import type { Answer, Event, Request } from "./Responses.ts"
import type { Unreadable } from "./WireText.ts"

const fieldsOf = (request: object): Json => ({ ...request })

/**
 * The chat that a request asks for.
 *
 * **Details**
 *
 * Any object is taken: what is of another shape than documented is left out, so that the service says what it misses.
 *
 * | of the request | in the chat |
 * |---|---|
 * | `instructions`, items of the roles `system` and `developer` | messages of the role `system` |
 * | `input` as a text | a message of the user |
 * | `input_text`, `input_image`, `input_file` | content; images and files as parts |
 * | `reasoning`, then a message of the assistant, then calls | one message, with `reasoning_content` and `tool_calls` |
 * | `function_call_output`, `custom_tool_call_output` | a message of the role `tool` |
 * | a custom tool, and its calls | a function with one text, `input`; its grammar stands in its description |
 * | `strict` of tools | the same, where all tools are strict |
 * | `tool_choice` | the same; `allowed_tools` as its mode |
 * | `text.format` `json_object` | `response_format` |
 * | `text.format` `json_schema` | `json_object`, and the schema in the system message |
 * | `reasoning.effort` | `reasoning_effort` |
 * | `max_output_tokens`, `temperature`, `top_p`, `top_logprobs`, `user` | `max_tokens`, the same, `logprobs` too, `user_id` |
 *
 * Thinking that comes back as `encrypted_content` alone is read where this translation has written it.
 *
 * Lost: tools that a service runs itself, and items of theirs; that a schema is enforced; `previous_response_id` and `conversation`, since chat
 * keeps no history; `include` but for reasoning, `store`, `metadata`, `truncation`, `service_tier`, `stream_options`,
 * `parallel_tool_calls`, `prompt_cache_key`, `safety_identifier`, `text.verbosity`, `reasoning.summary`; which tools
 * `allowed_tools` names.
 *
 * @category translations
 * @since 0.1.0
 */
export const toChat = (request: object): ChatRequest => toChatRequest.translate(fieldsOf(request))

/**
 * The chat that a request asks for, with the request itself for services that speak Responses.
 *
 * @category translations
 * @since 0.1.0
 */
export const attach = (request: object): ChatRequest =>
  Native.attach(toChat(request), { protocol: "responses", body: opened(request) })

/** Thinking that this translation gave a client to carry is put back in the open; the very same request where there is none. */
const opened = (request: object): Native.Native["body"] => {
  // An object has fields.
  const body = request as Native.Native["body"]
  const { input } = body
  if (!Array.isArray(input) || !input.some(isSealed)) return body
  return { ...body, input: input.map((item: unknown) => isSealed(item) ? open(item) : item) }
}

const isSealed = (item: unknown): item is Json =>
  isObject(item) && item["type"] === "reasoning" && sealed.open(item["encrypted_content"]) !== ""

const open = ({ encrypted_content, ...item }: Json): Json => ({
  ...item,
  content: [{ type: "reasoning_text", text: sealed.open(encrypted_content) }]
})

/**
 * The response of a chat completion to a request.
 *
 * **Details**
 *
 * | of the completion | in the response |
 * |---|---|
 * | `reasoning_content` | an item `reasoning`; with `encrypted_content` where the request includes it |
 * | `content` | an item `message` |
 * | `tool_calls` | items `function_call`, or `custom_tool_call` where the request's tool is one |
 * | `finish_reason` `length`, `content_filter` | `status` `incomplete` |
 * | usage | usage by its other names |
 *
 * Lost: choices after the first, log-probabilities, `system_fingerprint`.
 *
 * @category translations
 * @since 0.1.0
 */
export const fromCompletion = (completion: ChatCompletion, request: object): Answer =>
  write.whole(completion, fieldsOf(request))

/**
 * Writes the chunks of one stream as events of Responses, each text being complete events.
 *
 * @category models
 * @since 0.1.0
 */
export interface Writer {
  readonly chunk: (chunk: ChatChunk) => string
  /** After the last chunk. */
  readonly end: () => string
  /** In place of the end: `response.failed`, and then `error`, which SDKs throw. */
  readonly fail: (error: { readonly code: string; readonly message: string }) => string
}

/**
 * Creates a writer for the stream that answers a request. A chunk that has its native text is written as that.
 *
 * **Details**
 *
 * It translates as `fromCompletion` does. Calls end with the stream, since their pieces may alternate. The events at the end repeat what was
 * said, up to `limits.wholeAnswer` characters of it; so much is kept.
 *
 * @category translations
 * @since 0.1.0
 */
export const writer = (request: object): Writer => {
  const made = new write.Writer(fieldsOf(request))
  return {
    chunk: (chunk) => made.chunk(chunk),
    end: () => made.end(),
    fail: (error) => made.fail(error)
  }
}

/**
 * Reads a whole response as a chat completion that keeps the text (`Native.textOf`). A text that is none, or one that has failed, comes back as
 * `Unreadable`.
 *
 * @category translations
 * @since 0.1.0
 */
export const parse = (text: string): ChatCompletion | Unreadable => read.whole(text)

/**
 * Creates a reader of the data of the events of one stream: each becomes a chunk that keeps the event's text; an error, and what is no event,
 * comes back as `Unreadable`. An event that means nothing to chat is a chunk that adds nothing.
 *
 * @category translations
 * @since 0.1.0
 */
export const reader = (): (data: string) => ChatChunk | Unreadable => read.events()

/**
 * Asks any chat model for a response.
 *
 * **Example** (A response from the model at hand)
 *
 * ```ts
 * import { ResponsesChat } from "@ballast/chat"
 * import { DeepSeek } from "@ballast/deepseek"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const model = yield* DeepSeek.DeepSeek
 *   return yield* ResponsesChat.create(model, { model: "deepseek-flash", input: "Why does a ship carry ballast?" })
 * })
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const create = <E>(model: ChatModel<E>, request: Request): Effect.Effect<Answer, E> =>
  Effect.map(model.complete(attach(request)), (completion) => {
    const text = Native.textOf(completion, "responses")
    // It was read once.
    return text === undefined ? fromCompletion(completion, request) : JSON.parse(text)
  })

/**
 * Asks any chat model for a response in events. An error fails the stream.
 *
 * @category calls
 * @since 0.1.0
 */
export const stream = <E>(model: ChatModel<E>, request: Request): Stream.Stream<Event, E> =>
  Stream.suspend(() => {
    const { chunk, end } = writer(request)
    return Stream.concat(
      Stream.flatMap(model.stream(attach(request)), (one) => Stream.fromIterable(eventsOf(chunk(one)))),
      Stream.suspend(() => Stream.fromIterable(eventsOf(end())))
    )
  })

/** The events in a text of them, each of two lines, as they are written here. */
const eventsOf = (text: string): ReadonlyArray<Event> =>
  text.split("\n").filter((line) => line.startsWith("data: ")).map((line) => JSON.parse(line.slice(6)))
