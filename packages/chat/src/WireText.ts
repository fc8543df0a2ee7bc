/**
 * The text that a value was read from, kept beside the value.
 *
 * A request, a completion or a chunk that came over the wire carries its own text, so that it can be passed on byte for byte: numbers
 * of any precision, fields of any name and their order stay as they were. The text belongs to that one object. `JSON.stringify`, a spread
 * copy and deep equality do not see it, so a changed copy has no text and is serialized.
 *
 * **Gotchas**
 *
 * An object that is changed in place keeps its old text. Copy what you change.
 *
 * @since 0.1.0
 */

import { Given } from "./internal/given.ts"

class Stamp extends Given {
  #text: string | undefined

  constructor(value: object, text: string) {
    super(value)
    this.#text = text
  }

  static attach(value: object, text: string): void {
    // A field that is there already can be set, but not added.
    if (#text in value) value.#text = text
    else new Stamp(value, text)
  }

  static forget(value: object): void {
    if (#text in value) value.#text = undefined
  }

  static of(value: object): string | undefined {
    return #text in value ? value.#text : undefined
  }
}

/**
 * Keeps a text beside the value that was read from it, and returns the value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const attach = <A extends object>(value: A, text: string): A => {
  Stamp.attach(value, text)
  return value
}

/**
 * The text that a value was read from; `undefined` for a value made here, and for a copy.
 *
 * **Example** (Passing a request on as it came)
 *
 * ```ts
 * import { WireText } from "@ballast/chat"
 *
 * const text = "{\"model\":\"deepseek-flash\",\"seed\":12345678901234567890}"
 * const request = WireText.attach(JSON.parse(text), text)
 *
 * WireText.of(request) // the text, with all digits
 * WireText.of({ ...request, stream: true }) // undefined
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const of = (value: object): string | undefined => Stamp.of(value)

/**
 * Lets the text of a value go, where nothing needs it any more: it takes as much memory as the value.
 *
 * @category mutations
 * @since 0.1.0
 */
export const forget = (value: object): void => Stamp.forget(value)

/**
 * The JSON of a value: its own text where it has one, else `JSON.stringify`'s.
 *
 * @category conversions
 * @since 0.1.0
 */
export const stringify = (value: object): string => Stamp.of(value) ?? JSON.stringify(value)

interface Source {
  readonly source: string
}

// In V8 since 2023; TypeScript's types do not have it yet.
const { isRawJSON, rawJSON } = JSON as typeof JSON & {
  readonly rawJSON: (text: string) => object
  readonly isRawJSON: (u: unknown) => u is { readonly rawJSON: string }
}

/** An integer beyond 2^53 has at least 16 digits. */
const longest = /\d{16}/

const exact = (_: string, value: unknown, context?: Source): unknown =>
  typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && context !== undefined
    ? rawJSON(context.source)
    : value

/**
 * Parses JSON, and keeps the digits of integers beyond 2^53, such as the ids in the arguments of a tool: `JSON.stringify` writes them as they
 * came.
 *
 * **Details**
 *
 * Each is an object of `JSON.rawJSON`. Throws as `JSON.parse` does.
 *
 * @category parsing
 * @since 0.1.0
 */
export const parse = (text: string): unknown => longest.test(text) ? JSON.parse(text, exact) : JSON.parse(text)

/**
 * Parses JSON as `parse` does, but for the fields of the outermost object, which are numbers: those are read, and not only passed on.
 *
 * @category parsing
 * @since 0.1.0
 */
export const parseFields = (text: string): unknown => {
  if (!longest.test(text)) return JSON.parse(text)
  const json: unknown = JSON.parse(text, exact)
  if (typeof json !== "object" || json === null || Array.isArray(json)) return json
  for (const [name, value] of Object.entries(json)) {
    if (isRawJSON(value)) Object.defineProperty(json, name, { value: Number(value.rawJSON) })
  }
  return json
}

/**
 * What came in place of the value that was expected. `json` is the parsed text, `undefined` where the text is no JSON. It is not an error
 * by itself: who reads decides what it means.
 *
 * @category models
 * @since 0.1.0
 */
export class Unreadable {
  readonly json: unknown
  readonly detail: string

  constructor(json: unknown, detail: string) {
    this.json = json
    this.detail = detail
  }
}
