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
