/**
 * JSON that is passed on: numbers that a number of the language can not hold stay as they were written.
 *
 * `JSON.parse` rounds what has too many digits, and makes `1e400` infinite, which is written as `null`. Here such a number becomes a raw
 * value instead, an object that `JSON.stringify` writes as it was read. A text without a long number is parsed as ever.
 *
 * @since 0.1.0
 */

/** The standard's own, which TypeScript does not describe yet. */
interface SourceText {
  readonly rawJSON: (text: string) => unknown
  readonly parse: (
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown
  ) => unknown
}

const { parse: parseWithSource, rawJSON } = JSON as unknown as SourceText

/** A number of 15 digits and a point or of more digits, or with an exponent of three: all others are held. */
const long = /[:,[]\s*-?(?:[\d.]{16}|[\d.]*[eE][+-]?\d{3})/

const exact = (_key: string, value: unknown, { source }: { readonly source?: string }): unknown =>
  typeof value === "number" && source !== undefined && !isHeld(source, String(value)) ? rawJSON(source) : value

const isHeld = (source: string, written: string): boolean => source === written || decimal(source) === decimal(written)

/** A number's digits and exponent, the same for all its spellings. */
const decimal = (text: string): string => {
  const [mantissa = "", exponent = "0"] = text.toLowerCase().split("e")
  const [whole = "", fraction = ""] = mantissa.split(".")
  const digits = (whole + fraction).replace(/^(-?)0+/, "$1")
  // A pattern would start over at every zero.
  let end = digits.length
  while (digits[end - 1] === "0") end--
  const significant = digits.slice(0, end)
  return significant === "" || significant === "-"
    ? "0"
    : `${significant}e${Number(exponent) - fraction.length + digits.length - end}`
}

/**
 * Parses JSON to be written again.
 *
 * **Details**
 *
 * Throws a `SyntaxError` as `JSON.parse` does. In a text nested thousands of levels deep, all numbers are as `JSON.parse` has them.
 *
 * **Example** (Passing a large integer on)
 *
 * ```ts
 * import { Json } from "@ballast/deepseek"
 *
 * const seed = Json.parse("{\"seed\":12345678901234567890}")
 * JSON.stringify(seed) // "{\"seed\":12345678901234567890}"
 * ```
 *
 * @see {@link https://tc39.es/proposal-json-parse-with-source/}
 * @category parsing
 * @since 0.1.0
 */
export const parse = (text: string): unknown => long.test(text) ? parseExact(text) : JSON.parse(text)

const parseExact = (text: string): unknown => {
  try {
    return parseWithSource(text, exact)
  } catch {
    // The reviver takes a frame of the stack for each level of nesting, which parsing alone does not.
    return JSON.parse(text)
  }
}
