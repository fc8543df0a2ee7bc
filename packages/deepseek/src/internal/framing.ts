import { limits } from "@ballast/chat/Limits"
import * as Sse from "@ballast/chat/Sse"

/** Takes the data of an event, its name, and whether only the end of the body has ended it. */
export type OnEvent = (data: string, name: string | undefined, isCut: boolean) => void

/** A way to cut a body into events. */
interface Form {
  /** Characters that are held of what is not finished. */
  readonly size: number
  /** Takes the next bytes, and says what is wrong when they are too many. */
  readonly take: (piece: Uint8Array) => string | undefined
  /** Ends the last event. `isBroken` says that more was to come. */
  readonly end: (isBroken: boolean) => void
}

/**
 * A body that is read as it comes, whatever form it has: server-sent events, lines of JSON, or one JSON text. Its beginning says which,
 * whatever its type says: no field of an event begins like JSON or like a page.
 */
export class Body {
  private readonly onEvent: OnEvent
  private form: Form | undefined
  /** Where the body begins, until there is an event. */
  private first: Uint8Array | undefined

  constructor(onEvent: OnEvent) {
    this.onEvent = onEvent
  }

  /** Whether the body is JSON, without the form of events. */
  get isText(): boolean {
    return this.form instanceof Text
  }

  /** Characters that are held of what is not finished. */
  get size(): number {
    return this.form?.size ?? 0
  }

  /** The beginning of a body in which no event was. */
  get unread(): string {
    if (this.first === undefined) return ""
    const beginning = new TextDecoder().decode(this.first).trim()
    return /^(?:data|event|id|retry|error)?:/.test(beginning) ? "" : beginning
  }

  take(piece: Uint8Array): string | undefined {
    if (this.form === undefined) {
      const first = piece.find((byte) => !isBlank(byte))
      if (first === undefined) return undefined
      this.first = piece.subarray(0, 1000)
      this.form = texts.has(first) ? new Text(this.onEvent) : new Events(this.counted)
    }
    return this.form.take(piece)
  }

  /** The body has ended, or broken off. */
  end(isBroken: boolean): void {
    this.form?.end(isBroken)
  }

  private readonly counted: OnEvent = (data, name, isCut) => {
    this.first = undefined
    this.onEvent(data, name, isCut)
  }
}

/** Blank space, and the bytes of a byte order mark. */
const isBlank = (byte: number): boolean => byte <= 0x20 || byte === 0xef || byte === 0xbb || byte === 0xbf

/** How JSON and pages begin. */
const texts = new Set(Array.from("{[\"<", (character) => character.charCodeAt(0)))

class Events implements Form {
  private readonly decoder: Sse.Decoder
  private readonly onEvent: OnEvent

  constructor(onEvent: OnEvent) {
    this.onEvent = onEvent
    this.decoder = Sse.makeDecoder()
  }

  get size(): number {
    return this.decoder.size
  }

  take(piece: Uint8Array): string | undefined {
    return this.decoder.feed(piece, this.whole)?.message
  }

  end(): void {
    this.decoder.end((data, name) => this.onEvent(data, name, true))
  }

  private readonly whole: Sse.OnEvent = (data, name) => this.onEvent(data, name, false)
}

/** JSON: lines of it, if the first line is whole by itself, else one text. */
class Text implements Form {
  private readonly onEvent: OnEvent
  private readonly decoder = new TextDecoder()
  private pieces: Array<string> = []
  size = 0
  private lines: boolean | undefined

  constructor(onEvent: OnEvent) {
    this.onEvent = onEvent
  }

  take(piece: Uint8Array): string | undefined {
    return this.add(this.decoder.decode(piece, { stream: true }))
  }

  end(isBroken: boolean): void {
    this.add(this.decoder.decode())
    const text = this.pieces.join("")
    if (text.trim() !== "") this.onEvent(text, undefined, isBroken || this.lines === true)
  }

  private add(text: string): string | undefined {
    let start = 0
    while (this.lines !== false) {
      const end = text.indexOf("\n", start)
      if (end === -1) break
      this.pieces.push(text.slice(start, end))
      const line = this.pieces.join("")
      this.lines ??= line.trim() === "" ? undefined : isJson(line)
      if (this.lines === false) {
        // The line is the beginning of a longer text.
        this.pieces = [line]
        this.size = line.length
        start = end
        break
      }
      this.pieces = []
      this.size = 0
      if (line.trim() !== "") this.onEvent(line, undefined, false)
      start = end + 1
    }
    const rest = text.slice(start)
    this.pieces.push(rest)
    this.size += rest.length
    return this.size > limits.wholeAnswer ? `a whole answer larger than ${limits.wholeAnswer} characters` : undefined
  }
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
