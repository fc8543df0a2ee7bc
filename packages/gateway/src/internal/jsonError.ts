/** Where a text stops being JSON, counted from 0 in UTF-16 code units, and what stands there. */
export interface JsonError {
  readonly position: number
  readonly line: number
  readonly column: number
  readonly found: string
}

const lineFeed = 0x0a
const quote = 0x22
const backslash = 0x5c
const lowerU = 0x75
const closeOf: Readonly<Record<number, number>> = { 0x5b: 0x5d, 0x7b: 0x7d }
const closeBracket = 0x5d
const closeBrace = 0x7d
const colon = 0x3a
const comma = 0x2c

const isBlank = (byte: number | undefined): boolean =>
  byte === 0x20 || byte === lineFeed || byte === 0x0d || byte === 0x09
const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39
const isHex = (byte: number | undefined): boolean =>
  isDigit(byte) || (byte !== undefined && (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66)

const codes = (text: string): ReadonlyArray<number> => Array.from(text, (char) => char.charCodeAt(0))
const words = [codes("true"), codes("false"), codes("null")]
const escapes: ReadonlySet<number | undefined> = new Set(codes("\"\\/bfnrt"))

const skip = (bytes: Uint8Array, from: number, is: (byte: number | undefined) => boolean): number => {
  let at = from
  while (is(bytes[at])) at++
  return at
}

/** Where the escape that starts at `from` ends, or `undefined` when it is not a valid escape. */
const endOfEscape = (bytes: Uint8Array, from: number): number | undefined => {
  const kind = bytes[from + 1]
  if (kind !== lowerU) return escapes.has(kind) ? from + 2 : undefined
  for (let at = from + 2; at < from + 6; at++) if (!isHex(bytes[at])) return undefined
  return from + 6
}

/** Where the string that starts at `from` ends, or `undefined` when it does not. */
const endOfString = (bytes: Uint8Array, from: number): number | undefined => {
  if (bytes[from] !== quote) return undefined
  for (let at = from + 1; at < bytes.length;) {
    const byte = bytes[at] ?? 0
    if (byte === quote) return at + 1
    if (byte < 0x20) return undefined
    if (byte === backslash) {
      const end = endOfEscape(bytes, at)
      if (end === undefined) return undefined
      at = end
    } else at++
  }
  return undefined
}

const endOfDigits = (bytes: Uint8Array, from: number): number | undefined =>
  isDigit(bytes[from]) ? skip(bytes, from, isDigit) : undefined

/** Where the number that starts at `from` ends: at the last place where it is whole. */
const endOfNumber = (bytes: Uint8Array, from: number): number | undefined => {
  const first = bytes[from] === 0x2d ? from + 1 : from
  let end = bytes[first] === 0x30 ? first + 1 : endOfDigits(bytes, first)
  if (end === undefined) return undefined
  if (bytes[end] === 0x2e) {
    const fraction = endOfDigits(bytes, end + 1)
    if (fraction === undefined) return end
    end = fraction
  }
  if (((bytes[end] ?? 0) | 0x20) !== 0x65) return end
  const sign = bytes[end + 1]
  return endOfDigits(bytes, sign === 0x2b || sign === 0x2d ? end + 2 : end + 1) ?? end
}

const endOfWord = (bytes: Uint8Array, from: number): number | undefined => {
  const word = words.find((word) => word.every((code, index) => bytes[from + index] === code))
  return word === undefined ? undefined : from + word.length
}

type Expected = "value" | "value or ]" | "key" | "key or }" | "colon" | "comma or end"

/** Where the bytes stop being JSON. A string that is not closed stops at its start. */
const endOfJson = (bytes: Uint8Array, start: number): number => {
  // What closes the open arrays and objects: never more than there are bytes. Pages that are not written cost nothing.
  const closers = new Uint8Array(bytes.length)
  let depth = 0
  let expected: Expected = "value"
  let at = start

  const to = (end: number, next: Expected): true => {
    at = end
    expected = next
    return true
  }
  const close = (): true => {
    depth--
    return to(at + 1, "comma or end")
  }
  const value = (byte: number | undefined): boolean => {
    const closer = byte === undefined ? undefined : closeOf[byte]
    if (closer !== undefined) {
      closers[depth++] = closer
      return to(at + 1, closer === closeBracket ? "value or ]" : "key or }")
    }
    const end = endOfString(bytes, at) ?? endOfNumber(bytes, at) ?? endOfWord(bytes, at)
    return end !== undefined && to(end, "comma or end")
  }
  const key = (): boolean => {
    const end = endOfString(bytes, at)
    return end !== undefined && to(end, "colon")
  }

  const step = (): boolean => {
    at = skip(bytes, at, isBlank)
    const byte = bytes[at]
    const closer = depth === 0 ? undefined : closers[depth - 1]
    switch (expected) {
      case "key or }":
        return byte === closeBrace ? close() : key()
      case "key":
        return key()
      case "colon":
        return byte === colon && to(at + 1, "value")
      case "comma or end":
        if (byte !== undefined && byte === closer) return close()
        return byte === comma && closer !== undefined && to(at + 1, closer === closeBracket ? "value" : "key")
      case "value or ]":
        return byte === closeBracket ? close() : value(byte)
      case "value":
        return value(byte)
    }
  }

  while (step());
  return at
}

const hasByteOrderMark = (bytes: Uint8Array): boolean => bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf

/**
 * Finds the first error of a JSON text, given as UTF-8, that `JSON.parse` refused, whose own message does not always say where. Reads each
 * byte a fixed number of times at most.
 */
export const find = (bytes: Uint8Array): JsonError => {
  const start = hasByteOrderMark(bytes) ? 3 : 0
  const end = endOfJson(bytes, start)
  let position = 0
  let line = 1
  let lineStart = 0
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0
    // A byte that goes on with a character counts nothing, the first of four counts for a pair.
    if ((byte & 0xc0) !== 0x80) position += byte >= 0xf0 ? 2 : 1
    if (byte === lineFeed) {
      line++
      lineStart = position
    }
  }
  const found = new TextDecoder().decode(bytes.subarray(end, end + 4)).codePointAt(0)
  return {
    position,
    line,
    column: position - lineStart + 1,
    found: found === undefined ? "end of the body" : JSON.stringify(String.fromCodePoint(found))
  }
}
