/** Which modules a source imports, read by a parser, in whatever form the language has for it. */
import { type Argument, type Expression, parseSync, type StringLiteral, Visitor } from "oxc-parser"

/** What is known of a module's name when the source is read; nothing of one that is computed. */
const nameOf = (node: StringLiteral | Argument | undefined): string | undefined => {
  if (node?.type === "Literal" && typeof node.value === "string") return node.value
  if (node?.type !== "TemplateLiteral" || node.expressions.length > 0) return undefined
  return node.quasis[0]?.value.cooked ?? undefined
}

/** Whether a call loads or finds a module: `require`, `require.resolve`, `import.meta.resolve`. */
const loads = (callee: Expression): boolean => {
  if (callee.type === "Identifier") return callee.name === "require"
  if (callee.type !== "MemberExpression" || callee.property.type !== "Identifier") return false
  return callee.property.name === "resolve" && (callee.object.type === "MetaProperty" || loads(callee.object))
}

/**
 * The names of the modules that a source imports, for values or for types, or augments; `undefined` stands for a name that it computes. A
 * source that cannot be parsed is a `SyntaxError`.
 */
export const importsOf = (file: string, source: string): Array<string | undefined> => {
  const { errors, program } = parseSync(file, source, { preserveParens: false })
  if (errors[0] !== undefined) throw new SyntaxError(errors[0].message)
  const found: Array<string | undefined> = []
  const add = (node: StringLiteral | Argument | undefined) => void found.push(nameOf(node))
  new Visitor({
    ImportDeclaration: ({ source }) => add(source),
    ExportAllDeclaration: ({ source }) => add(source),
    ExportNamedDeclaration: ({ source }) => source && add(source),
    ImportExpression: ({ source }) => add(source),
    CallExpression: ({ arguments: [name], callee }) => loads(callee) && add(name),
    TSImportType: ({ source }) => add(source),
    TSExternalModuleReference: ({ expression }) => add(expression),
    TSModuleDeclaration: ({ id }) => id.type === "Literal" && add(id)
  }).visit(program)
  return found
}
