/** Reads the beginning of a JSON text, as far as it has come. */

/** Levels of arrays and objects that are read; what lies deeper is left out. */
const deepest = 128

const none: unique symbol = Symbol("none")

/**
 * The value that a JSON text begins, in one pass; undefined where it has not begun, or is no JSON. A text that breaks off is given as far as it
 * has come; a number, a word or a name that breaks off is left out, since it could still become another one.
 */
export const parse = (text: string): unknown => {
  const value = new Reader(text).value(0)
  return value === none ? undefined : value
}

class Reader {
  private at = 0
  private readonly text: string

  constructor(text: string) {
    this.text = text
  }

  value(depth: number): unknown {
    if (depth > deepest) return none
    switch (this.peek()) {
      case "{":
        return this.object(depth)
      case "[":
        return this.array(depth)
      case "\"":
        return this.string()?.text ?? none
      default:
        return this.scalar()
    }
  }

  /** The next character that is no blank space; the empty text at the end. */
  private peek(): string {
    while (/^[ \n\r\t]$/.test(this.text.charAt(this.at))) this.at++
    return this.text.charAt(this.at)
  }

  private object(depth: number): unknown {
    const object: Record<string, unknown> = {}
    this.at++
    while (this.peek() === "\"") {
      const name = this.string()
      if (name?.isWhole !== true || this.peek() !== ":") return object
      this.at++
      const value = this.value(depth + 1)
      if (value === none) return object
      // An assignment of `__proto__` would set no property.
      Object.defineProperty(object, name.text, { value, enumerable: true, configurable: true, writable: true })
      if (this.peek() !== ",") break
      this.at++
    }
    this.close("}")
    return object
  }

  private array(depth: number): unknown {
    const array: Array<unknown> = []
    this.at++
    while (this.peek() !== "]") {
      const value = this.value(depth + 1)
      if (value === none) return array
      array.push(value)
      if (this.peek() !== ",") break
      this.at++
    }
    this.close("]")
    return array
  }

  /** Nothing that follows a value that did not close can be read. */
  private close(end: string): void {
    if (this.peek() === end) this.at++
    else this.at = this.text.length
  }

  private string(): { readonly text: string; readonly isWhole: boolean } | undefined {
    const from = this.at + 1
    let end = from
    while (end < this.text.length && this.text[end] !== "\"") {
      const length = this.text[end] !== "\\" ? 1 : this.text[end + 1] === "u" ? 6 : 2
      // An escape that breaks off is left out.
      if (end + length > this.text.length) break
      end += length
    }
    const isWhole = this.text[end] === "\""
    this.at = isWhole ? end + 1 : this.text.length
    const text = unescape(this.text.slice(from, end))
    return text === undefined ? undefined : { text, isWhole }
  }

  private scalar(): unknown {
    const word = /^[-+.\w]*/.exec(this.text.slice(this.at, this.at + 64))?.[0] ?? ""
    const end = this.at + word.length
    // Only what follows says that the word is whole.
    if (word === "" || end >= this.text.length) return none
    this.at = end
    try {
      return JSON.parse(word)
    } catch {
      return none
    }
  }
}

const unescape = (raw: string): string | undefined => {
  try {
    return JSON.parse(`"${raw}"`)
  } catch {
    return undefined
  }
}
