/** Where a text stops being JSON, counted from 0, and what stands there. */
export interface JsonError {
  readonly position: number
  readonly line: number
  readonly column: number
  readonly found: string
}

const space = /[ \t\n\r]*/y
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

/** Where the string that starts at `from` ends, or `undefined` when it does not. No regular expression: bodies are long. */
const endOfString = (text: string, from: number): number | undefined => {
  if (text[from] !== "\"") return undefined
  let at = from + 1
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === 0x22) return at + 1
    if (code < 0x20) return undefined
    if (code === 0x5c) {
      escape.lastIndex = at
      if (!escape.test(text)) return undefined
      at = escape.lastIndex
    } else at++
  }
  return undefined
}

type Expected = "value" | "value or ]" | "key" | "key or }" | "colon" | "comma or end"

/**
 * Finds the first error of a text that `JSON.parse` refused, whose own message does not always say where. A string that is not closed is
 * reported at its start.
 */
export const find = (text: string): JsonError => {
  const closers: Array<"]" | "}"> = []
  let expected: Expected = "value"
  let at = 0

  const match = (pattern: RegExp): boolean => {
    pattern.lastIndex = at
    if (!pattern.test(text)) return false
    at = pattern.lastIndex
    return true
  }
  const string = (): boolean => {
    const end = endOfString(text, at)
    if (end !== undefined) at = end
    return end !== undefined
  }
  const close = (): void => {
    closers.pop()
    at++
    expected = "comma or end"
  }
  const open = (closer: "]" | "}"): void => {
    closers.push(closer)
    at++
    expected = closer === "]" ? "value or ]" : "key or }"
  }

  const step = (): boolean => {
    match(space)
    const char = text[at]
    const closer = closers.at(-1)
    switch (expected) {
      case "key or }":
      case "key":
        if (expected === "key or }" && char === "}") return close(), true
        if (!string()) return false
        expected = "colon"
        return true
      case "colon":
        if (char !== ":") return false
        at++
        expected = "value"
        return true
      case "comma or end":
        if (char !== undefined && char === closer) return close(), true
        if (char !== "," || closer === undefined) return false
        at++
        expected = closer === "]" ? "value" : "key"
        return true
      case "value or ]":
      case "value":
        if (expected === "value or ]" && char === "]") return close(), true
        if (char === "[") return open("]"), true
        if (char === "{") return open("}"), true
        if (!string() && !match(scalar)) return false
        expected = "comma or end"
        return true
    }
  }

  while (step());
  const found = text.codePointAt(at)
  const before = text.slice(0, at)
  const lineStart = before.lastIndexOf("\n") + 1
  return {
    position: at,
    line: before.split("\n").length,
    column: at - lineStart + 1,
    found: found === undefined ? "the end" : JSON.stringify(String.fromCodePoint(found))
  }
}
