/** JSON of a request, read within bounds. */
import * as jsonBounds from "./jsonBounds.ts"
import * as jsonError from "./jsonError.ts"
import * as surrogates from "./surrogates.ts"

const decoder = new TextDecoder()

/** Measures a text before anything is built of it; a text says which bound is passed. */
export const measure = (bytes: Uint8Array, bounds: jsonBounds.Bounds): jsonBounds.Measure | string => {
  const measured = jsonBounds.measure(bytes, bounds)
  switch (measured.exceeded) {
    case "depth":
      return `The body is nested deeper than ${bounds.depth} levels.`
    case "values":
      return `The body holds more than ${bounds.values} values.`
    case undefined:
      return measured
  }
}

/** What is built of a text that was measured; a text says why it is no JSON. */
export const build = (
  bytes: Uint8Array,
  { surrogates: escaped }: jsonBounds.Measure,
  parse: (text: string) => unknown
): { readonly json: unknown; readonly text: string } | string => {
  const decoded = decoder.decode(bytes)
  try {
    const json: unknown = parse(decoded)
    const text = escaped ? surrogates.mend(decoded) : decoded
    return { json: text === decoded ? json : parse(text), text }
  } catch {
    return decoded.trim() === "" ? "The body is empty. It must be a JSON object." : malformed(bytes)
  }
}

const malformed = (bytes: Uint8Array): string => {
  const { column, found, line, position } = jsonError.find(bytes)
  return `The body is not valid JSON: unexpected ${found} at position ${position} (line ${line}, column ${column}).`
}
