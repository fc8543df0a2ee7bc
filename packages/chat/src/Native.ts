/**
 * Calls in another protocol than chat, on the road of chat.
 *
 * A program or a dialect that takes a call of Anthropic's Messages, OpenAI's Responses or text completions translates it to a
 * `ChatRequest`, and attaches the original: the native request. Policies, routing and metrics see the chat. A source whose service
 * speaks the protocol sends the original, with the model that the chat names, and reads the answer: each native event becomes a chunk,
 * which carries the event's text. Whoever serves the protocol writes these texts as they came, and translates where there are none. A
 * source whose service does not speak it sends the chat.
 *
 * The native request outlives copies (`{ ...request, model }`), and `JSON.stringify` does not see it. Of the chat, only `model` and
 * whether it is streamed reach a native request; a policy that changes more must drop it (`without`). Two requests with the same chat
 * may differ in their native bodies: what remembers answers by request has to compare both. The native text of an answer belongs to
 * that one object, as `WireText` does: a copy has none.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "./ChatRequest.ts"
import { Given } from "./internal/given.ts"

/**
 * The protocols beside chat: `messages` is Anthropic's Messages, `countTokens` the count of a message's tokens, `responses` OpenAI's Responses,
 * `completions` the completion of a text with an optional suffix, also called FIM.
 *
 * @category models
 * @since 0.1.0
 */
export type Protocol = "messages" | "countTokens" | "responses" | "completions" | "embeddings"

/**
 * A request as its protocol has it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Native {
  readonly protocol: Protocol
  /** The JSON body. It may carry its text (`WireText`), which is sent where nothing in it has to change. */
  readonly body: { readonly [field: string]: unknown }
  /** Headers that belong to the request, in lower case, for example `anthropic-beta`. Default none. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Whether the chat says nothing of the request, so that only a service of the protocol can answer it. Default `false`. */
  readonly only?: boolean | undefined
}

const key: unique symbol = Symbol.for("@ballast/chat/Native")

interface Holder {
  readonly [key]?: Native
}

/**
 * A copy of a chat request with the native request that it was translated from.
 *
 * @category combinators
 * @since 0.1.0
 */
export const attach = (request: ChatRequest, native: Native): ChatRequest => {
  const attached: ChatRequest & Holder = { ...request, [key]: native }
  return attached
}

/**
 * The native request of a chat request, and of a copy of it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const of = (request: ChatRequest & Holder): Native | undefined => request[key]

/**
 * The chat request alone; the very same where it has no native request.
 *
 * @category combinators
 * @since 0.1.0
 */
export const without = (request: ChatRequest & Holder): ChatRequest => {
  if (request[key] === undefined) return request
  const { [key]: _, ...chat } = request
  return chat
}

class Stamp extends Given {
  #protocol: Protocol
  #text: string

  constructor(value: object, protocol: Protocol, text: string) {
    super(value)
    this.#protocol = protocol
    this.#text = text
  }

  static attach(value: object, protocol: Protocol, text: string): void {
    // A field that is there already can be set, but not added.
    if (#text in value) {
      value.#protocol = protocol
      value.#text = text
    } else new Stamp(value, protocol, text)
  }

  static of(value: object, protocol: Protocol): string | undefined {
    return #protocol in value && value.#protocol === protocol ? value.#text : undefined
  }
}

/**
 * Keeps the native text beside a completion or a chunk that was read from it, and returns the value: of a completion the body, of a chunk
 * the complete event, its blank line included.
 *
 * @category constructors
 * @since 0.1.0
 */
export const attachText = <A extends object>(value: A, protocol: Protocol, text: string): A => {
  Stamp.attach(value, protocol, text)
  return value
}

/**
 * The native text of a completion or a chunk, where it was read from an answer of this protocol.
 *
 * @category accessors
 * @since 0.1.0
 */
export const textOf = (value: object, protocol: Protocol): string | undefined => Stamp.of(value, protocol)
