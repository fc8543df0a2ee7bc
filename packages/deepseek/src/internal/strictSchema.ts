/** What the JSON Schema of a strict function may be made of, as DeepSeek documents it. */
import { isObject, isString } from "effect/Predicate"

/** Where a schema is not supported, below the schema itself, and why. */
export interface Problem {
  readonly path: string
  readonly detail: string
}

type Fields = { readonly [name: string]: unknown }

const types = ["object", "string", "number", "integer", "boolean", "array"]
const formats = ["email", "hostname", "ipv4", "ipv6", "uuid"]

export const isFormat = (format: unknown): boolean => isString(format) && formats.includes(format)

const annotations = "$schema $id $comment title description examples default readOnly writeOnly deprecated"
const keywords = new Set(
  (annotations +
    " type enum const anyOf $ref $def $defs definitions properties required additionalProperties items pattern format " +
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf").split(" ")
)

/** One of these says what a value may be. */
const kinds = ["type", "enum", "const", "anyOf", "$ref", "properties"]

/** Schemas of one function that are looked at; the service judges those after them. */
const most = 10_000

const fields = (input: unknown): Fields => isFields(input) ? input : {}
const isFields = (input: unknown): input is Fields => isObject(input) && !Array.isArray(input)

const at = (path: string, detail: string): Problem => ({ path, detail })

const own = (path: string, schema: unknown, root: Fields): Problem | undefined => {
  if (!isFields(schema)) return at(path, "must be a schema as an object")
  const { $ref, additionalProperties, format, properties, required, type } = schema
  const unknown = Object.keys(schema).find((keyword) => !keywords.has(keyword))
  if (unknown !== undefined) return at(`${path}.${unknown}`, "is not supported in strict mode")
  if (!kinds.some((kind) => schema[kind] !== undefined)) return at(path, `must have one of ${kinds.join(", ")}`)
  if (type !== undefined && !(isString(type) && types.includes(type))) {
    return at(`${path}.type`, `must be one of ${types.join(", ")} in strict mode`)
  }
  if (format !== undefined && !isFormat(format)) {
    return at(`${path}.format`, `must be one of ${formats.join(", ")} in strict mode`)
  }
  if ($ref !== undefined && !leads($ref, root)) return at(`${path}.$ref`, "leads nowhere")
  if (type !== "object" && properties === undefined) return undefined
  if (additionalProperties !== false) return at(`${path}.additionalProperties`, "must be false in strict mode")
  const names = new Set(Array.isArray(required) ? required : [])
  const missing = Object.keys(fields(properties)).find((name) => !names.has(name))
  return missing === undefined
    ? undefined
    : at(`${path}.required`, `must name every property in strict mode; ${missing} is missing`)
}

/** Whether a reference leads to a schema of the same document. */
const leads = (reference: unknown, root: Fields): boolean => {
  if (!isString(reference) || !reference.startsWith("#") || reference.length > 1000) return false
  let place: unknown = root
  for (const step of reference.slice(1).split("/").slice(1)) {
    const name = decode(step).replaceAll("~1", "/").replaceAll("~0", "~")
    if (!isFields(place) || !Object.hasOwn(place, name)) return false
    place = place[name]
  }
  return isFields(place)
}

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

type Place = readonly [path: string, schema: unknown]

const within = function*(path: string, schema: Fields): Generator<Place> {
  for (const group of ["properties", "$def", "$defs", "definitions"]) {
    for (const [name, part] of Object.entries(fields(schema[group]))) yield [`${path}.${group}.${name}`, part]
  }
  if (schema["items"] !== undefined) yield [`${path}.items`, schema["items"]]
  const { anyOf } = schema
  if (Array.isArray(anyOf)) { for (const [index, part] of anyOf.entries()) yield [`${path}.anyOf[${index}]`, part] }
}

/** Where and why a function's parameters are not supported in strict mode; undefined if they are. */
export const problem = (parameters: unknown): Problem | undefined => {
  const root = fields(parameters)
  const places: Array<Place> = [["", parameters]]
  for (const [path, schema] of places) {
    const found = own(path, schema, root)
    if (found !== undefined) return found
    for (const place of within(path, fields(schema))) if (places.length < most) places.push(place)
  }
  return undefined
}
