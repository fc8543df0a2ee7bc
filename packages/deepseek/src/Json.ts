/**
 * JSON that is passed on: integers that a number can not hold stay as they were written.
 *
 * `JSON.parse` rounds what is beyond 2^53. Here such an integer becomes a raw value instead, an object that `JSON.stringify` writes as it
 * was read. A text without a long number is parsed as ever.
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

const long = /[:,[]\s*-?\d{16}/

const integer = /^-?\d+$/

const exact = (_key: string, value: unknown, { source }: { readonly source?: string }): unknown =>
  typeof value === "number" && !Number.isSafeInteger(value) && source !== undefined && integer.test(source)
    ? rawJSON(source)
    : value

/**
 * Parses JSON to be written again.
 *
 * **Details**
 *
 * Throws a `SyntaxError` as `JSON.parse` does. Fractions and exponents are numbers, as precise as those are. Nested thousands of
 * levels deep, integers are too.
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
