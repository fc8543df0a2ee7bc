import * as Schema from "effect/Schema"

/** A field of an answer that may be missing or `null`, which mean the same. */
export const nullable = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))
