/**
 * Counting in tokens. A prompt is measured by the documented estimate, 0.3 token per character and 0.6 per Chinese one; an answer is
 * made of tokens that `split` cuts to about that size, so that its count is exact.
 *
 * @see {@link https://api-docs.deepseek.com/quick_start/token_usage}
 */

/** Size of a cached unit of the prompt, in tokens. */
export const unit = 128

const isHan = (code: number): boolean => code >= 0x2e80 && code <= 0x9fff || code >= 0xf900 && code <= 0xffef

const weight = (code: number): number => isHan(code) ? 6 : 3

const pieces =
  /\s?\p{Script=Han}{1,2}|\s?[^\s\p{Script=Han}\p{N}\p{P}\p{S}]{1,4}|\s?\p{N}{1,3}|\s?[\p{P}\p{S}]{1,2}|\s{1,4}/gu

/** Cuts a text into tokens; joined they are the text again. */
export const split = (text: string): ReadonlyArray<string> => text.match(pieces) ?? []

export interface Measured {
  readonly tokens: number
  /** A hash for every whole unit: the n-th stands for all of the text from its start to the end of unit n. */
  readonly units: ReadonlyArray<string>
}

/** Counts a text and hashes its prefixes in one pass. `hidden` tokens stand before the text. */
export const measure = (text: string, hidden: number): Measured => {
  const units: Array<string> = []
  let tenths = hidden * 10
  let boundary = unit * 10
  let a = 0x811c9dc5
  let b = 0x1000193
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = Math.imul(a ^ code, 0x01000193)
    b = Math.imul(b ^ code, 0x5bd1e995) ^ (b >>> 15)
    tenths += weight(code)
    if (tenths >= boundary) {
      units.push(`${(a >>> 0).toString(36)}.${(b >>> 0).toString(36)}`)
      boundary += unit * 10
    }
  }
  return { tokens: Math.ceil(tenths / 10), units }
}
