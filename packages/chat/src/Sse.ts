/**
 * Reads Server-Sent Events from bytes, as they come.
 *
 * Follows the WHATWG algorithm as far as `data` goes: lines end in LF, CR or CRLF, a blank line ends an event, the `data` lines of
 * one event are joined by LF, lines that start with a colon are comments, other fields are read over, a leading byte order mark is
 * dropped, and an event that the end of the stream cuts off does not count. Bytes may be split anywhere, in the middle of a
 * character or of a CRLF too: the events are the same for every split.
 *
 * A comment is activity on the connection, but no event: `onComment` tells of it.
 *
 * @see {@link https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation}
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/**
 * An event grew beyond its bound. `limit` is in UTF-16 code units.
 *
 * @category errors
 * @since 0.1.0
 */
export class EventTooLarge extends Schema.TaggedError<EventTooLarge>()("EventTooLarge", { limit: Schema.Finite }) {
  override get message() {
    return `An event is larger than ${this.limit} characters`
  }
}

/**
 * Options of the decoder.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Characters that an unfinished event may hold, at least 1. Default 4 Mi. */
  readonly limit?: number | undefined
  /** Called for every comment. Default: comments are read over. */
  readonly onComment?: (() => void) | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { limit: 4 * 1024 * 1024 } as const satisfies Options

/**
 * A decoder of one stream. It keeps what has arrived of the event that is not finished yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decoder {
  /** Takes the next bytes and calls `onEvent` with the data of every event that they finish. After an error, use the decoder no more. */
  readonly feed: (bytes: Uint8Array, onEvent: (data: string) => void) => EventTooLarge | undefined
}

const CR = 13
const SPACE = 32
const COLON = 58

/**
 * Creates a decoder.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeDecoder = (options?: Options): Decoder => {
  const limit = options?.limit ?? defaults.limit
  const onComment = options?.onComment
  // Keeps half a character for the next call, and drops the byte order mark.
  const utf8 = new TextDecoder()
  let line = ""
  let data: string | undefined
  let afterCr = false

  /** The lines of `text` end in LF only afterwards. A CR at its end is a line's end already, and a LF after it belongs to it. */
  const normalize = (text: string): string => {
    if (afterCr && text !== "") {
      afterCr = false
      if (text.startsWith("\n")) text = text.slice(1)
    }
    if (!text.includes("\r")) return text
    afterCr = text.charCodeAt(text.length - 1) === CR
    return text.replace(/\r\n?/g, "\n")
  }

  const feed: Decoder["feed"] = (bytes, onEvent) => {
    const read = normalize(utf8.decode(bytes, { stream: true }))
    let end = read.indexOf("\n")
    if (end === -1) {
      line += read
    } else {
      const text = line + read
      let start = 0
      for (end += line.length; end !== -1; end = text.indexOf("\n", start)) {
        takeLine(text, start, end, onEvent)
        start = end + 1
      }
      line = text.slice(start)
    }
    return line.length + (data?.length ?? 0) > limit ? new EventTooLarge({ limit }) : undefined
  }

  const takeLine = (text: string, start: number, end: number, onEvent: (data: string) => void): void => {
    if (start === end) {
      if (data === undefined) return
      const event = data
      data = undefined
      onEvent(event)
    } else if (text.startsWith("data", start)) {
      const value = fieldValue(text, start + 4, end)
      if (value !== undefined) data = data === undefined ? value : `${data}\n${value}`
    } else if (onComment !== undefined && text.charCodeAt(start) === COLON) {
      onComment()
    }
  }
  return { feed }
}

/** The value of a field whose name ends at `from`, or nothing when the name goes on. */
const fieldValue = (text: string, from: number, end: number): string | undefined => {
  if (from === end) return ""
  if (text.charCodeAt(from) !== COLON) return undefined
  return text.slice(text.charCodeAt(from + 1) === SPACE ? from + 2 : from + 1, end)
}

/**
 * Decodes a stream of bytes into the data of its events. What one read finishes comes as one array.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode =
  (options?: Options) => <E, R>(self: Stream.Stream<Uint8Array, E, R>): Stream.Stream<string, E | EventTooLarge, R> =>
    Stream.transformPull(self, (pull) =>
      Effect.sync(() => {
        const decoder = makeDecoder(options)
        let error: EventTooLarge | undefined
        const next: Pull.Pull<Arr.NonEmptyReadonlyArray<string>, E | EventTooLarge> = Effect.suspend(() =>
          error === undefined ? Effect.flatMap(pull, take) : Effect.fail(error)
        )
        const take = (pieces: Arr.NonEmptyReadonlyArray<Uint8Array>) => {
          const events: Array<string> = []
          for (const bytes of pieces) {
            error ??= decoder.feed(bytes, (data) => events.push(data))
          }
          return Arr.isArrayNonEmpty(events) ? Effect.succeed(events) : next
        }
        return next
      }))
