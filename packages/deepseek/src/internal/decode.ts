import { Unreadable } from "@ballast/chat/WireText"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/** Reads JSON of a schema, for answers that are not about chat. JSON that states an `error` is not a value, whatever else it has. */
export const json = <A>(schema: Schema.Codec<A>): (text: string) => A | Unreadable => {
  const decode = Schema.decodeUnknownResult(schema)
  return (text) => {
    let json: unknown
    try {
      json = JSON.parse(text)
    } catch {
      return new Unreadable(undefined, text.trim() === "" ? "nothing but blank space" : "not JSON")
    }
    if (hasProperty(json, "error") && json.error != null) return new Unreadable(json, "an error")
    const decoded = decode(json)
    return Result.isFailure(decoded) ? new Unreadable(json, decoded.failure.message) : decoded.success
  }
}
