/**
 * Plausible values for a JSON Schema: types, `enum`, `const`, `$ref`, `anyOf`, `oneOf`, `allOf`, bounds of numbers, strings and
 * arrays, formats. `pattern`, `not` and conditionals are ignored. A schema that asks for endless or huge values gets what some thousand steps
 * make of it.
 */
import type { Draw } from "./draw.ts"
import { uuid } from "./draw.ts"
import * as Serde from "./serde.ts"
import type { Subject } from "./text.ts"
import * as Text from "./text.ts"

export interface Context {
  readonly about: Subject
  readonly draw: Draw
}

type Schema = Serde.Fields

interface Position extends Context {
  readonly root: Schema
  /** The property that the value is for: says what a string may be. */
  readonly name: string
  readonly depth: number
  /** How many schemas this one is in, branches counted. */
  readonly nesting: number
  /** What is left of the steps for the whole value. */
  readonly budget: { left: number }
}

const deepest = 6

const deepestNesting = 100

const steps = 10_000

const charactersPerStep = 10

const list = (input: unknown): ReadonlyArray<unknown> => Array.isArray(input) ? input : []

const fields = (input: unknown): Schema => Serde.isFields(input) ? input : {}

const count = (input: unknown): number | undefined => typeof input === "number" ? input : undefined

const looksLikeSchema = (input: Schema): boolean =>
  typeof input.$schema === "string" || typeof input.$ref === "string" || Array.isArray(input.anyOf) ||
  (Serde.isFields(input.properties) && (input.type === undefined || input.type === "object")) ||
  (input.type === "object" && input.additionalProperties !== undefined)

/** The JSON Schema that an object is, or holds as `schema` with `definitions` beside it; `undefined` for plain data. */
export const schemaOf = (input: Schema): Schema | undefined => {
  if (looksLikeSchema(input)) return input
  const inner = fields(input.schema)
  return looksLikeSchema(inner) ? { $defs: input.definitions, ...inner } : undefined
}

/** A value that satisfies the schema. `name` says what it is for. */
export const sample = (schema: Schema, name: string, context: Context): unknown =>
  value(schema, { ...context, root: schema, name, depth: 0, nesting: 0, budget: { left: steps } })

const value = (input: unknown, outer: Position): unknown => {
  if (outer.nesting > deepestNesting) {
    // A step, too: an object of a hundred properties may stand at this depth ten thousand times.
    outer.budget.left--
    return null
  }
  if (outer.budget.left <= 0) return null
  const at = { ...outer, nesting: outer.nesting + 1 }
  const schema = resolve(fields(input), at)
  if (schema.const !== undefined) return schema.const
  const options = list(schema.enum)
  if (options.length > 0) return at.draw.pick([options[0], ...options.slice(1)])
  const branch = branchOf(schema, at)
  if (branch !== undefined) return value({ ...schema, anyOf: undefined, oneOf: undefined, ...branch }, at)
  switch (typeOf(schema)) {
    case "object":
      return object(schema, at)
    case "array":
      return array(schema, at)
    case "integer":
      return number(schema, at, 1)
    case "number":
      return number(schema, at, 0.1)
    case "boolean":
      return at.draw.chance(0.5)
    case "null":
      return null
    default:
      return string(schema, at)
  }
}

/** Follows `$ref` and merges `allOf`. */
const resolve = (schema: Schema, at: Position, hops = 0): Schema => {
  if (hops > 20 || at.budget.left-- <= 0) return {}
  if (typeof schema.$ref === "string") {
    const { $ref, ...rest } = schema
    return resolve({ ...lookup($ref, at.root), ...rest }, at, hops + 1)
  }
  if (!Array.isArray(schema.allOf)) return schema
  const { allOf, ...rest } = schema
  return list(allOf).map((part) => resolve(fields(part), at, hops + 1)).reduce<Schema>(merge, rest)
}

const merge = (a: Schema, b: Schema): Schema => ({
  ...a,
  ...b,
  ...(a.properties !== undefined && b.properties !== undefined &&
    { properties: { ...fields(a.properties), ...fields(b.properties) } }),
  ...(a.required !== undefined && b.required !== undefined && { required: [...list(a.required), ...list(b.required)] })
})

const decodeURI = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The schema that a `$ref` leads to within its document. */
export const lookup = (pointer: unknown, root: Schema): Schema | undefined =>
  String(pointer).replace(/^#\/?/, "").split("/").filter((key) => key !== "").reduce<Schema | undefined>(
    (schema, key) => {
      const part = schema?.[decodeURI(key).replaceAll("~1", "/").replaceAll("~0", "~")]
      return Serde.isFields(part) ? part : undefined
    },
    root
  )

/** A branch of `anyOf` or `oneOf`: not null, and deep down one that ends. */
const branchOf = (schema: Schema, at: Position): Schema | undefined => {
  const branches = [...list(schema.anyOf), ...list(schema.oneOf)].map((branch) => resolve(fields(branch), at))
  const useful = branches.filter((branch) => typeOf(branch) !== "null")
  const ends = at.depth < deepest ? useful : [
    ...useful.filter((branch) => typeOf(branch) !== "object" && typeOf(branch) !== "array"),
    ...branches.filter((branch) => typeOf(branch) === "null")
  ]
  const [first, ...rest] = ends.length > 0 ? ends : branches
  return first === undefined ? undefined : at.depth < deepest ? at.draw.pick([first, ...rest]) : first
}

const typeOf = (schema: Schema): string => {
  const types = Array.isArray(schema.type) ? schema.type.filter((type) => type !== "null") : [schema.type]
  if (typeof types[0] === "string") return types[0]
  if (schema.properties !== undefined) return "object"
  return schema.items === undefined && schema.prefixItems === undefined ? "string" : "array"
}

const object = (schema: Schema, at: Position): unknown => {
  const required = new Set(list(schema.required))
  const properties = Object.entries(fields(schema.properties)).filter(([name]) =>
    required.has(name) || (at.depth < deepest - 2 && at.draw.chance(0.5))
  )
  return Object.fromEntries(
    properties.map(([name, property]) => [name, value(property, { ...at, name, depth: at.depth + 1 })])
  )
}

const array = (schema: Schema, at: Position): unknown => {
  const inner = { ...at, depth: at.depth + 1 }
  const fixed = list(schema.prefixItems).map((item) => value(item, inner))
  const least = count(schema.minItems) ?? (at.depth < deepest - 2 ? 1 : 0)
  const most = Math.max(least, Math.min(count(schema.maxItems) ?? 3, Math.max(3, least)))
  const length = at.depth < deepest - 2 ? at.draw.int(least, most) : least
  if (schema.items === undefined || schema.items === false) return fixed
  const items = [...fixed]
  const seen = new Set(fixed.map((item) => JSON.stringify(item)))
  // A small enum may not have enough different values, so give up after some tries.
  for (let tries = 0; items.length < length && tries < length * 20 && at.budget.left > 0; tries++) {
    const item = value(schema.items, inner)
    const text = JSON.stringify(item)
    if (schema.uniqueItems !== true || !seen.has(text)) items.push(item)
    seen.add(text)
  }
  return items
}

const number = (schema: Schema, { draw }: Position, grain: number): number => {
  const step = count(schema.multipleOf) ?? grain
  const above = count(schema.exclusiveMinimum)
  const below = count(schema.exclusiveMaximum)
  const min = count(schema.minimum) ?? above ?? Math.min(1, (count(schema.maximum) ?? below ?? 101) - 100 * step)
  const max = count(schema.maximum) ?? below ?? min + 100 * step
  const first = Math.ceil(min / step - 1e-9) + (above !== undefined && Math.ceil(min / step) * step <= above ? 1 : 0)
  const last = Math.floor(max / step + 1e-9) - (below !== undefined && Math.floor(max / step) * step >= below ? 1 : 0)
  // No step fits between narrow bounds of a number: take the middle.
  if (last < first) return (min + max) / 2
  return Number((draw.int(first, last) * step).toPrecision(12))
}

const formats: Record<string, (context: Context) => string> = {
  "date": ({ draw }) => date(draw),
  "date-time": ({ draw }) => `${date(draw)}T${two(draw.int(0, 23))}:${two(draw.int(0, 59))}:00Z`,
  "time": ({ draw }) => `${two(draw.int(0, 23))}:${two(draw.int(0, 59))}:00Z`,
  "duration": ({ draw }) => `PT${draw.int(1, 59)}M`,
  "email": ({ draw }) => `${draw.pick(["li.wei", "sam", "alex.chen"])}@example.com`,
  "hostname": () => "example.com",
  "ipv4": ({ draw }) => `192.0.2.${draw.int(1, 254)}`,
  "ipv6": ({ draw }) => `2001:db8::${draw.int(1, 9)}`,
  "uri": () => "https://example.com/",
  "uuid": ({ draw }) => uuid(draw)
}

const two = (n: number) => String(n).padStart(2, "0")

const date = (draw: Draw) => `2026-${two(draw.int(1, 12))}-${two(draw.int(1, 28))}`

const string = (schema: Schema, at: Position): string => {
  const format = typeof schema.format === "string" ? formats[schema.format] : undefined
  if (format !== undefined) return format(at)
  if (typeof schema.default === "string") return schema.default
  const least = Math.min(count(schema.minLength) ?? 0, Math.max(0, at.budget.left) * charactersPerStep)
  at.budget.left -= least / charactersPerStep
  return named(at.name, at).padEnd(least, "x").slice(0, count(schema.maxLength))
}

const places = ["Beijing", "Hangzhou", "Paris", "Berlin"] as const

/** What a string called `name` may hold. */
export const named = (name: string, { about, draw }: Context): string => {
  const [topic] = about.topics
  const words = name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase()
  if (/\b(city|location|place|town|region)/.test(words)) {
    return about.topics.find((word) => /^\p{Lu}/u.test(word) || /\p{Script=Han}/u.test(word)) ?? draw.pick(places)
  }
  if (/email/.test(words)) return "li.wei@example.com"
  if (/\b(url|uri|link|href)/.test(words)) return "https://example.com/"
  if (/date|_at\b/.test(words)) return date(draw)
  if (/country/.test(words)) return draw.pick(["China", "France", "Germany"])
  if (/currency/.test(words)) return draw.pick(["CNY", "USD", "EUR"])
  if (/lang/.test(words)) return about.language
  if (/\bid\b|_id/.test(words)) return `${draw.int(1_000, 9_999)}`
  if (/summary|description|reason|text|content|answer|explanation|message|detail|comment|body/.test(words)) {
    return Text.sentence(about, draw)
  }
  if (/query|question|search|keyword|\bq\b/.test(words)) return about.topics.join(about.language === "zh" ? "" : " ")
  return draw.pick([topic, ...about.topics.slice(1)])
}
