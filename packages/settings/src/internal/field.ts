/**
 * Reads a schema as an outline of sections and single settings. Messages, the JSON Schema, the table and the commented YAML are
 * made from the same outline, so they agree.
 */
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

export type Json = { readonly [key: string]: unknown }

/** One place of the schema. */
export interface Field {
  readonly path: ReadonlyArray<string>
  /** A section has named children, a map has one child for all keys, a list one child for all items, a value none. */
  readonly kind: "section" | "map" | "list" | "value"
  readonly children: ReadonlyArray<Field>
  /** Whether the value is hidden from messages. */
  readonly secret: boolean
  readonly required: boolean
  /** The encoded default, or undefined. */
  readonly default: unknown
  readonly description: string | undefined
  readonly unit: string | undefined
  /** What a right value is, such as `a whole number from 0 to 10`. */
  readonly expected: string
  readonly json: Json
}

/** The name of a key or item that stands for all. */
const any = "*"

export const isRecord = (u: unknown): u is Json => typeof u === "object" && u !== null && !Array.isArray(u)
export const text = (u: unknown): string | undefined => typeof u === "string" ? u : undefined

/** Effect describes a number that may be infinite as a number or one of three texts; settings files hold numbers. */
const simplify = (json: Json): Json => {
  const { anyOf, ...rest } = json
  const numbers = Array.isArray(anyOf) && anyOf.some((member) =>
    isRecord(member) && Array.isArray(member.enum) &&
    member.enum.includes("NaN")
  )
  const all = numbers ? { type: "number", ...rest } : json
  const { allOf, ...own } = all as Json
  const merged: Record<string, unknown> = Array.isArray(allOf) ? Object.assign({}, own, ...allOf) : { ...all }
  // Every whole number has these bounds, which explain nothing.
  if (merged.minimum === Number.MIN_SAFE_INTEGER) delete merged.minimum
  if (merged.maximum === Number.MAX_SAFE_INTEGER) delete merged.maximum
  return merged
}

export const jsonOf = (ast: SchemaAST.AST): Json => {
  const document = Schema.toJsonSchemaDocument(Schema.make<Schema.Top>(ast))
  const { schema } = document
  // A recursive schema refers to definitions that only the whole document has.
  return isRecord(schema) && Object.keys(document.definitions).length === 0 ? simplify(schema) : {}
}

const range = (json: Json): string => {
  const { exclusiveMaximum, exclusiveMinimum, maximum, minimum } = json
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`
  const lower = minimum !== undefined
    ? ` of at least ${minimum}`
    : exclusiveMinimum !== undefined
    ? ` above ${exclusiveMinimum}`
    : ""
  const upper = maximum !== undefined
    ? ` of at most ${maximum}`
    : exclusiveMaximum !== undefined
    ? ` below ${exclusiveMaximum}`
    : ""
  return lower !== "" && upper !== "" ? `${lower} and${upper}` : lower + upper
}

const list = (values: ReadonlyArray<unknown>) => values.map((value) => JSON.stringify(value)).join(", ")

/** The words for a JSON Schema. */
const words = (json: Json): string => {
  if (Array.isArray(json.enum)) return json.enum.length === 1 ? list(json.enum) : `one of ${list(json.enum)}`
  if (json.const !== undefined) return list([json.const])
  switch (json.type) {
    case "integer":
      return `a whole number${range(json)}`
    case "number":
      return `a number${range(json)}`
    case "boolean":
      return "true or false"
    case "object":
      return "a map"
    case "array":
      return json.minItems === 1 ? "a non-empty list" : "a list"
    case "null":
      return "null"
    case "string":
      if (typeof json.pattern === "string") return `text that matches ${json.pattern}`
      return json.minLength === 1 ? "text that is not empty" : "text"
  }
  const members = json.anyOf ?? json.oneOf
  if (Array.isArray(members)) return Array.from(new Set(members.filter(isRecord).map(words))).join(" or ")
  return "a value"
}

const unwrap = (ast: SchemaAST.AST): SchemaAST.AST => {
  if (SchemaAST.isSuspend(ast)) return ast.thunk()
  // `optional(X)` is `X | undefined`.
  if (SchemaAST.isUnion(ast)) {
    const types = ast.types.filter((type) => !SchemaAST.isUndefined(type))
    if (types.length === 1 && types[0] !== undefined && types.length < ast.types.length) return unwrap(types[0])
  }
  return ast
}

const isSecret = (ast: SchemaAST.AST): boolean => {
  // A check has annotations of its own, and hides those of what it checks.
  const representation = ast.annotations?.representation
  return isRecord(representation) && typeof representation.id === "string" && /redacted/i.test(representation.id)
}

const childrenOf = (
  ast: SchemaAST.AST,
  path: ReadonlyArray<string>,
  above: ReadonlySet<SchemaAST.AST>
): Pick<Field, "kind" | "children"> => {
  if (above.has(ast)) return { kind: "value", children: [] }
  const below = new Set(above).add(ast)
  const child = (name: string, type: SchemaAST.AST) => outline(type, [...path, name], below)
  if (SchemaAST.isObjects(ast)) {
    if (ast.propertySignatures.length > 0) {
      return { kind: "section", children: ast.propertySignatures.map(({ name, type }) => child(String(name), type)) }
    }
    return { kind: "map", children: ast.indexSignatures.slice(0, 1).map(({ type }) => child(any, type)) }
  }
  if (SchemaAST.isArrays(ast)) return { kind: "list", children: ast.rest.slice(0, 1).map((type) => child(any, type)) }
  return { kind: "value", children: [] }
}

/** What a check in code expects: it says more than the type does. Checks that a JSON Schema has are in the type's words. */
const expectedByCheck = (ast: SchemaAST.AST): string | undefined => {
  const last = ast.checks?.at(-1)
  return last?._tag === "Filter" && last.annotations?.toJsonSchema === undefined
    ? text(last.annotations?.expected)
    : undefined
}

/** The outline of a schema. */
export const outline = (
  schema: SchemaAST.AST,
  path: ReadonlyArray<string> = [],
  above: ReadonlySet<SchemaAST.AST> = new Set()
): Field => {
  const ast = unwrap(schema)
  const annotations = { ...ast.annotations, ...SchemaAST.resolve(ast), ...SchemaAST.resolve(schema) }
  const secret = isSecret(ast)
  const nested = childrenOf(ast, path, above)
  const json = nested.kind === "value" ? isRecord(annotations.settingJson) ? annotations.settingJson : jsonOf(ast) : {}
  const byKind = {
    section: () => "a map",
    map: () => "a map",
    list: () => words({ ...jsonOf(ast), type: "array" }),
    value: () => secret ? "a secret text" : words(json)
  }
  return {
    path,
    ...nested,
    secret,
    required: !SchemaAST.isOptional(SchemaAST.toEncoded(schema)) && !SchemaAST.isOptional(schema),
    default: annotations.settingDefault,
    description: text(annotations.description),
    unit: text(annotations.unit),
    expected: expectedByCheck(ast) ?? text(annotations.settingExpected) ?? byKind[nested.kind](),
    json
  }
}

/** The field at a path of a value, or the nearest one above it that the schema knows. */
export const fieldAt = (root: Field, path: ReadonlyArray<PropertyKey>): Field => {
  let field = root
  for (const key of path) {
    const next = field.children.find(({ path }) => path.at(-1) === String(key) || path.at(-1) === any)
    if (next === undefined) return field
    field = next
  }
  return field
}

/** The fields without children of their own, which single values such as environment variables can set. */
export const values = (field: Field): ReadonlyArray<Field> =>
  field.kind === "section" ? field.children.flatMap(values) : field.path.includes(any) ? [] : [field]

/** The words for what a schema accepts. */
export const expectedOf = (ast: SchemaAST.AST): string => outline(ast).expected
