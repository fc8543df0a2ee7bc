import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaJITCompiler from "effect/schema/SchemaJITCompiler"
import * as Json from "../Json.ts"

/** What came of reading a body. */
export type Decoded<A> =
  | { readonly _tag: "Value"; readonly value: A }
  | Unreadable

export interface Unreadable {
  readonly _tag: "Unreadable"
  /** What there is instead, where it is JSON: an error that the service states, or another shape. */
  readonly json: unknown
  readonly detail: string
}

/**
 * Reads JSON of a schema whose values are their own encoding, but for fields that decoding fills in: so checking is all there is to
 * decode in an answer that has them, and fields that the schema does not name stay in place, exact to the last digit. JSON that states an `error` is not a
 * value, whatever else it has. The check is compiled, which takes a sixth of the time, where the platform allows that.
 */
export const json = <A>(schema: Schema.Decoder<A>): (text: string) => Decoded<A> => {
  const whole = Schema.toType(schema)
  SchemaJITCompiler.enable(whole.ast)
  const is = Schema.is(whole)
  const decode = Schema.decodeUnknownResult(schema)
  return (text) => {
    let json: unknown
    try {
      json = Json.parse(text)
    } catch {
      return unreadable(undefined, text.trim() === "" ? "nothing but blank space" : "not JSON")
    }
    if (hasProperty(json, "error") && json.error != null) return unreadable(json, "an error")
    if (is(json)) return { _tag: "Value", value: json }
    // A field that the schema names has to be a number, even when that is not exact.
    const decoded = Result.orElse(decode(json), () => decode(JSON.parse(text)))
    if (Result.isFailure(decoded)) return unreadable(json, decoded.failure.message)
    const filled = fill(json, decoded.success)
    return is(filled) ? { _tag: "Value", value: filled } : unreadable(json, "JSON of another shape")
  }
}

/** Adds what decoding has filled in. */
const fill = (json: unknown, decoded: unknown): unknown => {
  if (!isObject(json) || !isObject(decoded)) return decoded
  for (const [key, value] of Object.entries(decoded)) json[key] = fill(json[key], value)
  return json
}

const isObject = (u: unknown): u is Record<string, unknown> => typeof u === "object" && u !== null

const unreadable = (json: unknown, detail: string): Unreadable => ({ _tag: "Unreadable", json, detail })
