/**
 * Reads Server-Sent Events from bytes, as they come.
 *
 * Follows the WHATWG algorithm as far as `data` and `event` go: lines end in LF, CR or CRLF, a blank line ends an event, the `data` lines
 * of one event are joined by LF, lines that start with a colon are comments, other fields are read over, and a leading byte order mark is
 * dropped. Bytes may be split anywhere, in the middle of a character or of a CRLF too: the events are the same for every split. The work is
 * linear in the bytes, however small the pieces are.
 *
 * Three things that servers of chat completions do are read as they are meant:
 *
 * - A line feed in place of a blank line: two `data` lines of which the first is a whole JSON object are two events, and so is what stands
 *   before a `[DONE]`.
 * - A field `error: …` is an event of the name `error` with that data.
 * - The end of the stream ends an event too: `end` gives it. It may have been cut off there.
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
import { Pieces } from "./internal/pieces.ts"
import { limits } from "./Limits.ts"

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
  /** Characters that an unfinished event may hold, at least 1. Default 16 Mi. */
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
export const defaults = { limit: limits.event } as const satisfies Options

/**
 * Takes the data of an event, and its name: `undefined` where it has none.
 *
 * @category models
 * @since 0.1.0
 */
export type OnEvent = (data: string, name: string | undefined) => void

/**
 * A decoder of one stream. It keeps what has arrived of the event that is not finished yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decoder {
  /** Characters that are held of the event that is not finished yet. */
  readonly size: number
  /** Takes the next bytes and calls `onEvent` for every event that they finish. After an error, use the decoder no more. */
  readonly feed: (bytes: Uint8Array, onEvent: OnEvent) => EventTooLarge | undefined
  /** Calls `onEvent` for the event that only the end of the stream finishes, if there is one. Use the decoder no more. */
  readonly end: (onEvent: OnEvent) => void
}

/**
 * Creates a decoder.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeDecoder = (options?: Options): Decoder => new DecoderImpl(options)

/** For bytes that end with a whole character. */
const whole = new TextDecoder("utf-8", { ignoreBOM: true })

/** Bytes from here on are part of a character of several bytes. */
const firstOfMany = 0x80

const LF = 10
const CR = 13
const SPACE = 32
const COLON = 58

class DecoderImpl implements Decoder {
  private readonly limit: number
  private readonly onComment: (() => void) | undefined
  /** Keeps half a character for the next call. Made when the first piece ends in one: most never do, and a decoder costs much. */
  private utf8: TextDecoder | undefined
  private started = false
  private afterCr = false
  private readonly line = new Pieces()
  /** The first data line of the event, and then all of them. */
  private first: string | undefined
  /** Whether it has been looked at without success. */
  private looked = false
  private readonly data = new Pieces()
  private name: string | undefined
  /** Whether events have ended in a single line feed. */
  private single = false

  constructor(options?: Options) {
    this.limit = options?.limit ?? defaults.limit
    this.onComment = options?.onComment
  }

  feed(bytes: Uint8Array, onEvent: OnEvent): EventTooLarge | undefined {
    this.read(this.decode(bytes), onEvent)
    // Where no blank line comes, the next event may be long in coming.
    if (this.single && this.line.length === 0 && this.isWhole()) this.dispatch(onEvent)
    return this.size > this.limit ? new EventTooLarge({ limit: this.limit }) : undefined
  }

  get size(): number {
    return this.line.length + (this.first?.length ?? 0) + this.data.length
  }

  end(onEvent: OnEvent): void {
    if (this.utf8 !== undefined) this.read(this.utf8.decode(), onEvent)
    const line = this.line.take()
    if (line !== "") this.takeLine(line, 0, line.length, onEvent)
    this.dispatch(onEvent)
  }

  private decode(bytes: Uint8Array): string {
    const last = bytes.at(-1)
    if (this.utf8 === undefined && (last === undefined || last < firstOfMany)) return whole.decode(bytes)
    this.utf8 ??= new TextDecoder("utf-8", { ignoreBOM: true })
    return this.utf8.decode(bytes, { stream: true })
  }

  private read(text: string, onEvent: OnEvent): void {
    if (text === "") return
    const read = this.normalize(text)
    let end = read.indexOf("\n")
    if (end === -1) {
      if (read !== "") this.line.push(read)
      return
    }
    let start = 0
    if (this.line.length > 0) {
      this.line.push(read.slice(0, end))
      const line = this.line.take()
      this.takeLine(line, 0, line.length, onEvent)
      start = end + 1
      end = read.indexOf("\n", start)
    }
    for (; end !== -1; end = read.indexOf("\n", start)) {
      this.takeLine(read, start, end, onEvent)
      start = end + 1
    }
    if (start < read.length) this.line.push(read.slice(start))
  }

  /** The lines of a text end in LF only afterwards. A CR at its end is a line's end already, and a LF after it belongs to it. */
  private normalize(text: string): string {
    if (!this.started) {
      this.started = true
      if (text.startsWith("\uFEFF")) text = text.slice(1)
    }
    if (this.afterCr && text !== "") {
      this.afterCr = false
      if (text.charCodeAt(0) === LF) text = text.slice(1)
    }
    if (!text.includes("\r")) return text
    this.afterCr = text.charCodeAt(text.length - 1) === CR
    return text.replace(/\r\n?/g, "\n")
  }

  private takeLine(text: string, start: number, end: number, onEvent: OnEvent): void {
    if (start === end) return this.dispatch(onEvent)
    switch (text.charCodeAt(start)) {
      case COLON:
        return this.onComment?.()
      case LETTER_D: {
        const value = fieldValue("data", text, start, end)
        if (value !== undefined) this.takeData(value, onEvent)
        return
      }
      case LETTER_E: {
        const error = fieldValue("error", text, start, end)
        if (error !== undefined) return this.takeError(error, onEvent)
        const name = fieldValue("event", text, start, end)
        if (name !== undefined) this.name = name === "" ? undefined : name
      }
    }
  }

  private takeData(value: string, onEvent: OnEvent): void {
    if (this.first === undefined) {
      this.first = value
      return
    }
    if (this.data.length === 0 && (value === done || this.isWhole())) {
      this.single = true
      this.dispatch(onEvent)
      this.first = value
      return
    }
    this.data.push("\n")
    this.data.push(value)
  }

  private takeError(value: string, onEvent: OnEvent): void {
    if (this.first !== undefined) this.dispatch(onEvent)
    this.first = value
    this.name = "error"
  }

  /** Whether the event is one line so far, and that a whole JSON object, to which no line can be added. */
  private isWhole(): boolean {
    const { first } = this
    if (first === undefined || this.looked || this.data.length > 0 || !first.startsWith("{")) return false
    this.looked = true
    try {
      JSON.parse(first)
      return true
    } catch {
      return false
    }
  }

  private dispatch(onEvent: OnEvent): void {
    const { first, name } = this
    this.name = undefined
    if (first === undefined) return
    this.first = undefined
    this.looked = false
    onEvent(this.data.length === 0 ? first : first + this.data.take(), name)
  }
}

const LETTER_D = 100
const LETTER_E = 101

const done = "[DONE]"

/** The value of a line of the given field; nothing when the line is of another field. */
const fieldValue = (field: string, text: string, start: number, end: number): string | undefined => {
  const from = start + field.length
  if (from > end || !text.startsWith(field, start)) return undefined
  if (from === end) return ""
  if (text.charCodeAt(from) !== COLON) return undefined
  return text.slice(text.charCodeAt(from + 1) === SPACE ? from + 2 : from + 1, end)
}

/**
 * Decodes a stream of bytes into the data of its events. What one read finishes comes as one array. As the standard has it, an event that
 * the end of the stream cuts off does not count.
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
