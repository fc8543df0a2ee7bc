/**
 * How answers are read, by the protocol that a request was sent in.
 *
 * A protocol beside chat is a reader of whole answers and one of events, which both give chat; each value carries the native text
 * (`Native.attachText`), so that it can be passed on as it came. To add one, write its readers beside its types in `@ballast/chat`, and put
 * them into `natives`: retries, breakers, deadlines, failover and metrics know only the chunks.
 */
import * as ChatChunk from "@ballast/chat/ChatChunk"
import * as ChatCompletion from "@ballast/chat/ChatCompletion"
import * as Completions from "@ballast/chat/Completions"
import * as Embeddings from "@ballast/chat/Embeddings"
import * as MessagesChat from "@ballast/chat/MessagesChat"
import type * as Native from "@ballast/chat/Native"
import * as ResponsesChat from "@ballast/chat/ResponsesChat"
import * as WireText from "@ballast/chat/WireText"
import type { Model } from "../Provider.ts"
import type * as answers from "./answer.ts"
import { mend } from "./mendMessages.ts"
import { mend as mendResponses } from "./mendResponses.ts"

/**
 * Reads the data of the events of one stream, in their order: a chunk; nothing, for an event that nobody needs (a ping); or `Unreadable`, for
 * one that states an error (`{ error }`) or is none of the protocol. An event that means nothing to chat is a chunk of one choice whose
 * delta is empty. The chunk that ends the answer has a `finish_reason`; what comes within a moment after it is still read.
 */
export type Reader = (data: string) => ChatChunk.ChatChunk | WireText.Unreadable | undefined

export interface Protocol {
  /** Headers that the protocol asks for. */
  readonly headers: Readonly<Record<string, string>>
  /** The body as a model of DeepSeek takes it; the very same where nothing has to change. Default: as it came. */
  readonly mend?: ((body: Native.Native["body"], model: Model) => Native.Native["body"]) | undefined
  readonly whole: (text: string) => ChatCompletion.ChatCompletion | WireText.Unreadable
  /** Makes a reader for one stream. */
  readonly events: () => Reader
  /** Reads a body that is one text, although events were asked for. */
  readonly text: (text: string, read: Reader) => ReturnType<Reader>
}

/** An answer, and how to read it. */
export interface Answered {
  readonly answer: answers.Answer
  readonly protocol: Protocol
}

/** A whole answer says everything in its messages, whatever stands in deltas beside them. */
const withoutDeltas = (text: string): string => {
  const completion = ChatCompletion.parse(text)
  if (completion instanceof WireText.Unreadable || !completion.choices.some((choice) => "delta" in choice)) return text
  return JSON.stringify({
    ...completion,
    choices: completion.choices.map((choice) => ({ ...choice, delta: undefined }))
  })
}

export const chat: Protocol = {
  headers: {},
  whole: ChatCompletion.parse,
  events: ChatChunk.reader,
  text: (text, read) => read(withoutDeltas(text))
}

/** The chunk of a whole answer of another protocol. It has no native text, which is that of events. */
const chunkOf = ({ choices, ...head }: ChatCompletion.ChatCompletion): ChatChunk.ChatChunk => ({
  ...head,
  object: "chat.completion.chunk",
  choices: choices.map(({ message, ...choice }) => ({
    ...choice,
    delta: {
      ...message,
      tool_calls: message.tool_calls?.map((call, index) => ({ index, ...call })) ?? null
    }
  }))
})

const anthropic = { "anthropic-version": "2023-06-01" }

type Readers = Omit<Protocol, "text">

/** Where a protocol has no readers yet, its requests are sent as chat. */
const natives: { readonly [P in Native.Protocol]: Readers | undefined } = {
  messages: { headers: anthropic, mend, whole: MessagesChat.parse, events: MessagesChat.reader },
  countTokens: { headers: anthropic, mend, whole: MessagesChat.parseCount, events: MessagesChat.reader },
  responses: { headers: {}, mend: mendResponses, whole: ResponsesChat.parse, events: ResponsesChat.reader },
  completions: { headers: {}, whole: Completions.parse, events: Completions.reader },
  embeddings: { headers: {}, whole: Embeddings.parse, events: Embeddings.reader }
}

/** The protocol of a native request. */
export const of = (name: Native.Protocol): Protocol | undefined => {
  const readers = natives[name]
  return readers && {
    ...readers,
    text: (text) => {
      const completion = readers.whole(text)
      return completion instanceof WireText.Unreadable ? completion : chunkOf(completion)
    }
  }
}
