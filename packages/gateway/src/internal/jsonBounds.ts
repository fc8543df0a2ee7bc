/** What parsing a JSON text would build. */
export interface Measure {
  /** Objects, arrays and what they hold. */
  readonly values: number
  /** Whether a string has the escape of a surrogate, which may lack its other half. */
  readonly surrogates: boolean
  /** The first bound that is passed; then the rest has not been looked at. */
  readonly exceeded: "depth" | "values" | undefined
}

export interface Bounds {
  readonly depth: number
  readonly values: number
}

const quote = 0x22
const comma = 0x2c
const backslash = 0x5c
const openBracket = 0x5b
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d
const lowerU = 0x75
const upperD = 0x44
const toLower = 0x20

/**
 * Measures a JSON text before anything is built: one pass over its bytes, which ends where a bound is passed. Of what is not JSON the
 * figures mean nothing, and nothing is built of it.
 */
export const measure = (bytes: Uint8Array, bounds: Bounds): Measure => {
  const end = bytes.length
  let depth = 0
  let values = 1
  let surrogates = false
  for (let at = 0; at < end; at++) {
    switch (bytes[at]) {
      case quote:
        for (at++; at < end; at++) {
          const byte = bytes[at]
          if (byte === quote) break
          if (byte !== backslash) continue
          at++
          if (!surrogates && bytes[at] === lowerU) surrogates = ((bytes[at + 1] ?? 0) | toLower) === (upperD | toLower)
        }
        break
      case openBracket:
      case openBrace:
        if (++depth > bounds.depth) return { values, surrogates, exceeded: "depth" }
        if (++values > bounds.values) return { values, surrogates, exceeded: "values" }
        break
      case closeBracket:
      case closeBrace:
        depth--
        break
      case comma:
        if (++values > bounds.values) return { values, surrogates, exceeded: "values" }
    }
  }
  return { values, surrogates, exceeded: undefined }
}
