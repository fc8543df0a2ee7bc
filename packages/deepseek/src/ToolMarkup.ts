/**
 * Finds tool calls that have leaked into the text of an answer as the model's own markup, where the service should have made `tool_calls` of
 * them. Such an answer is a `ProtocolError` with the reason `LeakedToolCall`, which may be tried again.
 *
 * Only answers to requests with tools are looked at. In a stream, chunks whose text may begin the markup are held back until it is clear, at
 * most 20 characters of it; what the stream gave before stays given.
 *
 * @since 0.1.0
 */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** How a call begins, by the generation of the model. */
const openings = ["<｜｜DSML｜｜", "<｜DSML｜", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"]
const longest = Math.max(...openings.map(({ length }) => length))

/**
 * Whether a text has a tool call as markup.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isIn = (text: string): boolean =>
  text.includes("<｜") && openings.some((opening) => text.includes(opening))

const leaked = new ChatError.ProtocolError({ reason: new ChatError.LeakedToolCall() })

/** The end of a text that may go on to an opening. */
const tailOf = (text: string): string => {
  const from = text.lastIndexOf("<", text.length)
  const tail = from === -1 || text.length - from >= longest ? "" : text.slice(from)
  return openings.some((opening) => opening.startsWith(tail)) ? tail : ""
}

const hasTools = ({ tools }: ChatRequest): boolean => Array.isArray(tools) && tools.length > 0

const isLeaked = ({ choices }: ChatCompletion): boolean => choices.some(({ message }) => isIn(message.content ?? ""))

/** What is held back of a stream, and the text that may begin a call, by choice. */
interface Held {
  readonly tails: Map<number, string>
  chunks: Array<ChatChunk>
}

/** Adds a chunk. Says whether no call has leaked so far. */
const take = (held: Held, chunk: ChatChunk): boolean => {
  held.chunks.push(chunk)
  for (const [position, { delta, index }] of chunk.choices.entries()) {
    const key = index ?? position
    const text = (held.tails.get(key) ?? "") + (delta.content ?? "")
    if (isIn(text)) return false
    const tail = delta.content ? tailOf(text) : ""
    if (tail === "") held.tails.delete(key)
    else held.tails.set(key, tail)
  }
  return true
}

const release = (held: Held): ReadonlyArray<ChatChunk> => {
  const { chunks } = held
  held.chunks = []
  return chunks
}

const scanned = <E>(self: Stream.Stream<ChatChunk, E>): Stream.Stream<ChatChunk, E | ChatError.ProtocolError> =>
  Stream.mapAccumArrayEffect(
    self,
    (): Held => ({ tails: new Map(), chunks: [] }),
    (held, chunks) =>
      chunks.every((chunk) => take(held, chunk))
        ? Effect.succeed([held, held.tails.size === 0 ? release(held) : []] as const)
        : Effect.fail(leaked),
    { onHalt: release }
  )

/**
 * A model whose answers fail with `LeakedToolCall` where a tool call has leaked into their text.
 *
 * @category combinators
 * @since 0.1.0
 */
export const refused = <E>(self: ChatModel<E>): ChatModel<E | ChatError.ProtocolError> => ({
  complete: (request) => {
    const call = self.complete(request)
    return hasTools(request)
      ? Effect.flatMap(
        call,
        (answer): Effect.Effect<ChatCompletion, ChatError.ProtocolError> =>
          isLeaked(answer) ? Effect.fail(leaked) : Effect.succeed(answer)
      )
      : call
  },
  stream: (request) => hasTools(request) ? scanned(self.stream(request)) : self.stream(request)
})
