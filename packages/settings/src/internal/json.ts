/** The JSON Schema of documents, whatever their shape: unions and types that hold themselves too. */
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { isRecord, type Json, jsonOf, text } from "./field.ts"

const isUndefined = SchemaAST.isUndefined

/** What a list says but of its items: how many there may be. */
const boundsOf = (ast: SchemaAST.AST): Json => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(Schema.make<Schema.Top>(ast))
  // A list of what holds the list itself is a reference.
  const name = isRecord(schema) && typeof schema.$ref === "string" ? schema.$ref.split("/").at(-1) : undefined
  const own = name === undefined ? schema : definitions[name]
  const { items: _, ...bounds } = isRecord(own) ? own : {}
  return bounds
}

/**
 * The JSON Schema (draft 2020-12) of a document.
 *
 * @category docs
 * @since 0.1.0
 */
export const jsonSchema = (schema: Schema.Constraint): Json => {
  const names = new Map<SchemaAST.AST, string>()
  const definitions: Record<string, Json> = {}

  const refer = (ast: SchemaAST.AST): Json => {
    let name = names.get(ast)
    if (name === undefined) {
      name = `type${names.size + 1}`
      names.set(ast, name)
      definitions[name] = shape(ast)
    }
    return { $ref: `#/$defs/${name}` }
  }

  const shape = (ast: SchemaAST.AST): Json => {
    const { settingJson } = { ...ast.annotations, ...SchemaAST.resolve(ast) }
    if (isRecord(settingJson)) return settingJson
    if (SchemaAST.isSuspend(ast)) return refer(ast.thunk())
    if (SchemaAST.isUnion(ast)) {
      const [only, ...more] = ast.types.filter((type) => !isUndefined(type))
      if (only !== undefined && more.length === 0) return described(only)
      return ast.types.every((type) => SchemaAST.isLiteral(type)) ? jsonOf(ast) : {
        anyOf: ast.types.filter((type) => !isUndefined(type)).map(described)
      }
    }
    if (SchemaAST.isArrays(ast)) return { ...boundsOf(ast), items: ast.rest.map(described)[0] ?? {} }
    if (!SchemaAST.isObjects(ast)) return jsonOf(ast)
    const properties = ast.propertySignatures.map(({ name, type }) => [String(name), described(type)])
    return {
      type: "object",
      ...properties.length > 0 && {
        properties: Object.fromEntries(properties),
        required: ast.propertySignatures.filter(({ type }) => !SchemaAST.isOptional(SchemaAST.toEncoded(type)))
          .map(({ name }) => String(name))
      },
      additionalProperties: ast.indexSignatures.map(({ type }) => described(type))[0] ?? false
    }
  }

  const described = (ast: SchemaAST.AST): Json => {
    const description = text({ ...ast.annotations, ...SchemaAST.resolve(ast) }.description)
    return { ...shape(ast), ...description !== undefined && { description } }
  }

  const whole = described(schema.ast)
  return { $schema: "https://json-schema.org/draft/2020-12/schema", ...whole, $defs: definitions }
}
