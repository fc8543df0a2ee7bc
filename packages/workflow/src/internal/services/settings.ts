/** Services as files describe them. */
import * as Field from "@ballast/settings/Field"
import * as JsonSchema from "effect/JsonSchema"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaRepresentation from "effect/SchemaRepresentation"
import type * as Expression from "../../Expression.ts"
import * as Policies from "../policies.ts"
import * as Page from "../report.ts"

const templateText = Schema.NonEmptyString

export const Http = Schema.Struct({
  type: Schema.Literal("http"),
  url: templateText.annotate({ description: "Where it is: an http or https URL." }),
  method: Schema.optionalKey(Schema.Literals(["GET", "POST", "PUT", "PATCH", "DELETE"])).annotate({
    description: "Default POST. GET sends no body."
  }),
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)).annotate({
    description: "Headers, such as authorization: \"Bearer ${env.TOKEN}\"."
  }),
  body: Schema.optionalKey(Schema.Unknown).annotate({ description: "The body. Default: the input." }),
  output: Schema.optionalKey(Schema.Unknown).annotate({
    description: "What it gives, with expressions: output is the answer there. Default: the answer."
  }),
  ...Policies.fields
})

export const Model = Schema.Struct({
  type: Schema.Literal("model"),
  model: Schema.NonEmptyString.annotate({ description: "The model's name." }),
  system: Schema.optionalKey(Schema.String).annotate({ description: "Instructions before the prompt." }),
  prompt: Schema.optionalKey(templateText).annotate({ description: "What is asked. Default: the input." }),
  schema: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)).annotate({
    description: "JSON Schema of the output. Default: the output is the text."
  }),
  maxTokens: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))).annotate({
    description: "The longest answer, in tokens."
  }),
  temperature: Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 2 }))),
  ...Policies.fields
})

export const Onnx = Schema.Struct({
  type: Schema.Literal("onnx"),
  model: Schema.NonEmptyString.annotate({ description: "The name of the local model." }),
  version: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "Its version. Default: one by the weights of the versions."
  }),
  inputs: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)).annotate({
    description: "What the model gets, by the names of its inputs, as nested lists. Default: the fields of the input."
  }),
  ...Policies.fields
})

export const Rule = Schema.Struct({
  type: Schema.Literal("rule"),
  rules: Schema.Array(Schema.Struct({
    when: Schema.optionalKey(Schema.String).annotate({ description: "An expression. Default: always true." }),
    then: Schema.Unknown.annotate({ description: "The output." })
  })).check(Schema.isNonEmpty(), Schema.isMaxLength(1000))
})

const Approval = Schema.Struct({
  type: Schema.Literal("approval"),
  question: Schema.optionalKey(templateText).annotate({ description: "What the person is asked." }),
  deadline: Schema.optionalKey(Field.duration({ minimum: "1s", maximum: "365d" })).annotate({
    description: "How long it waits; then the step fails. Default: as long as the run."
  }),
  who: Schema.optionalKey(Schema.Array(Schema.NonEmptyString).check(Schema.isNonEmpty(), Schema.isMaxLength(100)))
    .annotate({
      description: "Names of the clients who may decide, where a gateway runs it. Default: who may see the run."
    })
})

const Nested = Schema.Struct({
  type: Schema.Literal("workflow"),
  workflow: Schema.NonEmptyString.annotate({
    description:
      "A file, by its path from this one, or the name of a workflow that is served beside it, or of the section files."
  })
})

export const Report = Schema.Struct({
  type: Schema.Literal("report"),
  title: Schema.optionalKey(templateText).annotate({ description: "The title of the page. Default: Report." }),
  template: Schema.optionalKey(templateText).annotate({
    description: "The body of the page, in Liquid: it sees `input` and `run`; all values are escaped."
  }),
  file: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "A file with the template, by its path from this one, in place of `template`."
  }),
  save: Schema.optionalKey(templateText).annotate({
    description:
      "The name of a file that the page is written to, such as invoice-${run.id}.html. Default: it is the output."
  })
})

/**
 * The schema of a service in a file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Settings = Schema.Union([Http, Model, Onnx, Rule, Approval, Nested, Report]).annotate({
  settingExpected: "a service of the type http, model, onnx, rule, approval, workflow or report"
})

/**
 * @category models
 * @since 0.1.0
 */
export type Settings = typeof Settings.Type

/** A value in the settings of a service that holds expressions. */
interface Templated {
  readonly path: ReadonlyArray<string | number>
  readonly value: unknown
  /** The type that it must have. */
  readonly expected?: string
}

/**
 * The values in the settings of a service that may hold expressions.
 *
 * @category accessors
 * @since 0.1.0
 */
export const templates = (settings: Settings): ReadonlyArray<Templated> => {
  switch (settings.type) {
    case "http":
      return [
        { path: ["url"], value: settings.url, expected: "string" },
        { path: ["headers"], value: settings.headers },
        { path: ["body"], value: settings.body },
        { path: ["output"], value: settings.output }
      ]
    case "model":
      return [{ path: ["system"], value: settings.system }, { path: ["prompt"], value: settings.prompt }]
    case "onnx":
      return [{ path: ["inputs"], value: settings.inputs }]
    case "rule":
      return settings.rules.flatMap(({ then, when }, index) => [
        ...when === undefined ? [] : [{ path: ["rules", index, "when"], value: when, expected: "bool" }],
        { path: ["rules", index, "then"], value: then }
      ])
    case "approval":
      return [{ path: ["question"], value: settings.question }]
    case "workflow":
      return []
    case "report":
      return [{ path: ["title"], value: settings.title }, { path: ["save"], value: settings.save }]
  }
}

/**
 * The file that the settings of a service name, or the workflow.
 *
 * @category accessors
 * @since 0.1.0
 */
export const reference = (
  settings: Settings
): { readonly path: ReadonlyArray<string>; readonly name: string } | undefined =>
  settings.type === "workflow"
    ? { path: ["workflow"], name: settings.workflow }
    : settings.type === "report" && settings.file !== undefined
    ? { path: ["file"], name: settings.file }
    : undefined

/** A JSON Schema as a schema; fails with what is wrong. */
export const schemaOf = (schema: JsonSchema.JsonSchema) =>
  Result.try({
    try: () => SchemaRepresentation.fromJsonSchemaDocument(JsonSchema.fromSchemaDraft2020_12(schema)),
    catch: (error) => error instanceof Error ? error.message : String(error)
  })

/**
 * What is wrong with the settings of a service beside its expressions; the place is within them.
 *
 * @category accessors
 * @since 0.1.0
 */
export const mistakes = (
  settings: Settings
): ReadonlyArray<{ readonly path: ReadonlyArray<string | number>; readonly reason: string }> => {
  if (settings.type === "http" && !/^(https?:\/\/|\$\{)/.test(settings.url)) {
    return [{ path: ["url"], reason: `found ${JSON.stringify(settings.url)}, expected an http or https URL` }]
  }
  if (settings.type === "model" && settings.schema !== undefined) {
    const schema = schemaOf(settings.schema)
    if (Result.isFailure(schema)) return [{ path: ["schema"], reason: `it is no JSON Schema: ${schema.failure}` }]
  }
  if (settings.type === "report") {
    if ((settings.template === undefined) === (settings.file === undefined)) {
      return [{ path: [], reason: "a report has a template, or a file with one" }]
    }
    const template = Page.parse(settings.template ?? "")
    if (Result.isFailure(template)) return [{ path: ["template"], reason: template.failure }]
  }
  return []
}

export const isObject = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === "object" && u !== null && !Array.isArray(u)

const scalars: Readonly<Record<string, Expression.Type>> = {
  string: "string",
  number: "double",
  integer: "double",
  boolean: "bool",
  array: "list<dyn>"
}

/** The type of values of a JSON Schema: what it says of the fields of objects, without unions and references. */
const typeOf = (schema: unknown): Expression.Type => {
  if (!isObject(schema)) return "dyn"
  const { properties, type } = schema
  if (type === "object" && isObject(properties)) {
    return Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, typeOf(field)]))
  }
  return typeof type === "string" ? scalars[type] ?? "dyn" : "dyn"
}

/** The fields of a value with expressions. */
const typeOfMapping = (value: unknown): Expression.Type =>
  isObject(value)
    ? Object.fromEntries(Object.entries(value).map(([name, field]) => [name, typeOfMapping(field)]))
    : "dyn"

/**
 * The type of the output of a service, as far as its settings say it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const outputOf = (settings: Settings): Expression.Type | undefined => {
  switch (settings.type) {
    case "http":
      return settings.output === undefined ? undefined : typeOfMapping(settings.output)
    case "model":
      return settings.schema === undefined ? "string" : typeOf(settings.schema)
    case "approval":
      return { approved: "bool", by: "string", comment: "string" }
    case "report":
      return settings.save === undefined ? { html: "string" } : { file: "string" }
    default:
      return undefined
  }
}
