/**
 * From layers to a value of the schema's type, or to the list of mistakes.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import { type Problem, SettingsRefused } from "../SettingsRefused.ts"
import { expectedOf, type Field, fieldAt } from "./field.ts"
import { isTree, type Layer, merge, origin, type Path, showPath, Text, valueAt } from "./layer.ts"
import { nearest } from "./nearest.ts"
import { resolve } from "./references.ts"

const scalars: Record<string, unknown> = { true: true, false: false, null: null }

const fromJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Reads text as the schema wants it: a number, true or false, a list or map in JSON, or as it is. */
const read = (text: string, ast: SchemaAST.AST): unknown => {
  const encoded = SchemaAST.toEncoded(ast)
  const types = SchemaAST.isUnion(encoded) ? encoded.types : [encoded]
  if (types.some((type) => SchemaAST.isString(type) || SchemaAST.isTemplateLiteral(type))) return text
  if (types.some((type) => SchemaAST.isLiteral(type) && type.literal === text)) return text
  if (Object.hasOwn(scalars, text)) return scalars[text]
  if (/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text)) return Number(text)
  return /^[[{]/.test(text) ? fromJson(text) : text
}

const propertyOf = (ast: SchemaAST.AST, key: string): SchemaAST.AST | undefined => {
  const encoded = SchemaAST.toEncoded(SchemaAST.isSuspend(ast) ? ast.thunk() : ast)
  if (SchemaAST.isObjects(encoded)) {
    return encoded.propertySignatures.find(({ name }) => name === key)?.type ?? encoded.indexSignatures[0]?.type
  }
  if (!SchemaAST.isUnion(encoded)) return undefined
  const types = encoded.types.flatMap((type) => propertyOf(type, key) ?? [])
  return types.length > 1 ? new SchemaAST.Union(types) : types[0]
}

const itemOf = (ast: SchemaAST.AST): SchemaAST.AST | undefined => {
  const encoded = SchemaAST.toEncoded(ast)
  return SchemaAST.isArrays(encoded)
    ? encoded.rest[0]
    : SchemaAST.isUnion(encoded)
    ? encoded.types.map(itemOf).find((item) => item !== undefined)
    : undefined
}

const isSection = (ast: SchemaAST.AST | undefined): boolean =>
  ast !== undefined && SchemaAST.isObjects(SchemaAST.toEncoded(ast))

/** Replaces every {@link Text} by what the schema wants, and a section without anything in it by an empty one. */
const readTexts = (value: unknown, ast: SchemaAST.AST | undefined): unknown => {
  if (value instanceof Text) return ast === undefined ? value.value : read(value.value, ast)
  if (Array.isArray(value)) return value.map((item) => readTexts(item, ast && itemOf(ast)))
  if (!isTree(value)) return value === null && isSection(ast) ? {} : value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, readTexts(item, ast && propertyOf(ast, key))])
  )
}

/** Who a URL names as its user may have a password there, and its query a token. */
const withoutSecrets = (text: string): string => {
  const from = text.indexOf("//") + 2
  const at = text.lastIndexOf("@")
  const named = from > 1 && at > from ? `${text.slice(0, from)}***${text.slice(at)}` : text
  return named.replace(/(:\/\/[^?#]*[?#]).+?("?)$/s, "$1***$2")
}

const show = (value: unknown): string => {
  if (typeof value === "number") return String(value)
  if (value instanceof Text) return withoutSecrets(value.shown)
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list"
  if (isTree(value)) return "a map"
  const text = withoutSecrets(JSON.stringify(value) ?? "nothing")
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

interface Leaf {
  readonly path: Path
  readonly issue: SchemaIssue.Issue
  readonly message: string | undefined
  readonly expected: string | undefined
}

const textOf = (annotations: { readonly [key: string]: unknown } | undefined, key: string): string | undefined => {
  const value = annotations?.[key]
  return typeof value === "string" ? value : undefined
}

const leaves = (issue: SchemaIssue.Issue, path: Path, message?: string, expected?: string): ReadonlyArray<Leaf> => {
  switch (issue._tag) {
    case "Pointer":
      return leaves(issue.issue, [...path, ...issue.path], message)
    case "Encoding":
      return leaves(issue.issue, path, message, expected)
    case "Filter":
      return leaves(
        issue.issue,
        path,
        message ?? textOf(issue.filter.annotations, "message"),
        textOf(issue.filter.annotations, "expected")
      )
    case "Composite":
      return issue.issues.flatMap((inner) => leaves(inner, path, message, expected))
    case "AnyOf":
      if (issue.issues.length === 1) return issue.issues.flatMap((inner) => leaves(inner, path, message, expected))
      return [{ path, issue, message, expected: expectedOf(issue.ast) }]
    default:
      return [{
        path,
        issue,
        message: message ?? ("annotations" in issue ? textOf(issue.annotations, "message") : undefined),
        expected
      }]
  }
}

const keysOf = (ast: SchemaAST.AST): ReadonlyArray<string> => {
  const encoded = SchemaAST.toEncoded(ast)
  return SchemaAST.isObjects(encoded) ? encoded.propertySignatures.map(({ name }) => String(name)) : []
}

/** A secret may stand in the place of the list or map that it belongs into: `keys: sk-…` for `keys: [ sk-… ]`. */
const mayBeSecret = (field: Field): boolean => field.secret || field.children.some(mayBeSecret)

/** Says what is wrong with the value at the path of an issue. */
const explain = (leaf: Leaf, root: Field, found: unknown): string => {
  const { issue, path } = leaf
  const field = fieldAt(root, path)
  const known = field.path.length === path.length
  // The outline ends at a union: below it, what is wrong says itself what it should be.
  const below = known || !("ast" in issue) ? field.expected : expectedOf(issue.ast)
  const expected = known && field.expected !== "a value" ? field.expected : leaf.expected ?? below
  if (issue._tag === "UnexpectedKey") {
    const keys = keysOf(issue.ast)
    const near = nearest(String(path.at(-1)), keys)
    return `unknown key; ${near === undefined ? `known here: ${keys.join(", ")}` : `did you mean ${near}?`}`
  }
  if (issue._tag === "MissingKey") return `is missing, expected ${expected}`
  if (leaf.message !== undefined) return leaf.message
  // A check of a section as a whole.
  if (isTree(found) && field.kind === "section" && leaf.expected !== undefined) return `expected ${leaf.expected}`
  return `found ${
    mayBeSecret(field) && !isTree(found) && !Array.isArray(found) ? "<redacted>" : show(found)
  }, expected ${expected}`
}

const problemsOf = (
  issue: SchemaIssue.Issue,
  root: Field,
  layers: ReadonlyArray<Layer>,
  tree: unknown
): Array<Problem> => {
  const problems = new Map<string, Problem>()
  for (const leaf of leaves(issue, [])) {
    const of = leaf.issue._tag === "UnexpectedKey" ? "key" : "value"
    const place = origin(layers, leaf.path)?.locate(leaf.path, of) ??
      { source: "settings", line: undefined, column: undefined }
    const problem = { ...place, path: showPath(leaf.path), reason: explain(leaf, root, valueAt(tree, leaf.path)) }
    problems.set(JSON.stringify([problem.path, problem.reason]), problem)
  }
  return Array.from(problems.values()).sort((a, b) =>
    a.source === b.source ? (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0) : 0
  )
}

/** Fails with the problems, if there are any. */
export const refuse = ([first, ...rest]: ReadonlyArray<Problem>): Effect.Effect<void, SettingsRefused> =>
  first === undefined ? Effect.void : Effect.fail(new SettingsRefused({ problems: [first, ...rest] }))

/** Decodes a tree that came of layers. */
export const decodeTree = <A>(
  schema: Schema.Decoder<A>,
  root: Field,
  layers: ReadonlyArray<Layer>,
  tree: unknown
): Effect.Effect<A, SettingsRefused> =>
  Schema.decodeUnknownEffect(schema, { errors: "all", onExcessProperty: "error" })(readTexts(tree, schema.ast)).pipe(
    Effect.catchTag(
      "SchemaError",
      ({ issue }) => Effect.andThen(refuse(problemsOf(issue, root, layers, tree)), Effect.die(issue))
    )
  )

/** Merges, puts in what is referred to, and decodes. */
export const decode = Effect.fnUntraced(
  function*<A>(schema: Schema.Decoder<A>, root: Field, layers: ReadonlyArray<Layer>) {
    const resolved = yield* resolve(layers, layers.map(({ tree }) => tree).reduce(merge, {}))
    const value = yield* refuse(resolved.problems).pipe(
      Effect.andThen(decodeTree(schema, root, layers, resolved.tree)),
      Effect.result
    )
    return { value, files: resolved.files }
  }
)
