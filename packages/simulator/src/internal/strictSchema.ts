/** What the JSON Schema of a strict function may be made of, as documented. */
import * as JsonSchema from "./jsonSchema.ts"
import * as Serde from "./serde.ts"

const types = new Set<unknown>(["object", "string", "number", "integer", "boolean", "array"])

const formats = new Set<unknown>(["email", "hostname", "ipv4", "ipv6", "uuid"])

const keywords = new Set(
  ("$schema $id $comment title description examples default type enum const anyOf $ref $def $defs definitions properties required " +
    "additionalProperties items pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf").split(" ")
)

/** One of these says what a value may be. */
const kinds = ["type", "enum", "const", "anyOf", "$ref", "properties"]

const fields = (input: unknown): Serde.Fields => Serde.isFields(input) ? input : {}

const own = (schema: Serde.Fields, root: Serde.Fields): string | undefined => {
  const { $ref, additionalProperties, format, properties, required, type } = schema
  const unknown = Object.keys(schema).find((keyword) => !keywords.has(keyword))
  if (unknown !== undefined) return `${unknown} is not supported`
  if (!kinds.some((kind) => schema[kind] !== undefined)) return `one of ${kinds.join(", ")} must be set`
  if (type !== undefined && !types.has(type)) return `type ${JSON.stringify(type)} is not supported`
  if (format !== undefined && !formats.has(format)) return `format ${JSON.stringify(format)} is not supported`
  if ($ref !== undefined && JsonSchema.lookup($ref, root) === undefined) {
    return `$ref ${JSON.stringify($ref)} leads nowhere`
  }
  if (type !== "object" && properties === undefined) return undefined
  if (additionalProperties !== false) return "additionalProperties must be false"
  const names = new Set(Array.isArray(required) ? required : [])
  const missing = Object.keys(fields(properties)).find((name) => !names.has(name))
  return missing === undefined ? undefined : `required must name every property, ${missing} is missing`
}

type Place = readonly [path: string, schema: unknown]

const within = (path: string, schema: Serde.Fields): ReadonlyArray<Place> => [
  ...["properties", "$def", "$defs", "definitions"].flatMap((group) =>
    Object.entries(fields(schema[group])).map(([name, part]): Place => [`${path}.${group}.${name}`, part])
  ),
  ...(schema.items === undefined ? [] : [[`${path}.items`, schema.items] as const]),
  ...(Array.isArray(schema.anyOf) ? schema.anyOf.map((part, index): Place => [`${path}.anyOf[${index}]`, part]) : [])
]

/** Where and why a function's parameters are not supported in strict mode; `undefined` if they are. */
export const problem = (parameters: Serde.Fields): string | undefined => {
  const places: Array<Place> = [["parameters", parameters]]
  for (const [path, schema] of places) {
    const reason = Serde.isFields(schema) ? own(schema, parameters) : "a schema must be an object"
    if (reason !== undefined) return `${path}: ${reason}`
    places.push(...within(path, fields(schema)))
  }
  return undefined
}
