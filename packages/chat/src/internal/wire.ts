import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** A field of the wire that may be missing. */
export const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(schema)

/** A field of the wire that may be missing or `null`, which mean the same to the service. */
export const nullable = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

/** A field of an answer that may be missing, and is filled in when it is. */
export const filled = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))
