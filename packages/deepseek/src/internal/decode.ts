import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaJITCompiler from "effect/schema/SchemaJITCompiler"

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
 * Reads JSON of a schema whose values are their own encoding, so that checking is all there is to decode: fields that the schema
 * does not name stay in place. JSON that states an `error` is not a value, whatever else it has. The check is compiled, which takes a sixth of the time, where the platform allows that.
 */
export const json = <A>(schema: Schema.Codec<A>): (text: string) => Decoded<A> => {
  SchemaJITCompiler.enable(schema.ast)
  const is = Schema.is(schema)
  const explain = Schema.decodeUnknownResult(schema)
  return (text) => {
    let json: unknown
    try {
      json = JSON.parse(text)
    } catch {
      return unreadable(undefined, text.trim() === "" ? "nothing but blank space" : "not JSON")
    }
    if (hasProperty(json, "error") && json.error != null) return unreadable(json, "an error")
    if (is(json)) return { _tag: "Value", value: json }
    const result = explain(json)
    return unreadable(json, Result.isFailure(result) ? result.failure.message : "JSON of another shape")
  }
}

const unreadable = (json: unknown, detail: string): Unreadable => ({ _tag: "Unreadable", json, detail })
