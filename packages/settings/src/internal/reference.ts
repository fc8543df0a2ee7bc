/**
 * Docs made from a schema: JSON Schema for editors, a table, and a commented YAML file.
 */
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import * as Yaml from "yaml"
import { formatDuration } from "./duration.ts"
import { type Field, outline } from "./field.ts"

type Json = { readonly [key: string]: unknown }

/** A text that stands for a value of any type until it is read. */
const reference = { type: "string", pattern: "\\$\\{(env|file):" }

const ofValue = (field: Field): Json =>
  field.json.type === "string" && field.json.pattern === undefined && field.json.enum === undefined ||
    Object.keys(field.json).length === 0
    ? field.json
    : { anyOf: [field.json, reference] }

const ofKind = (field: Field): Json => {
  switch (field.kind) {
    case "section":
      return {
        type: "object",
        properties: Object.fromEntries(field.children.map((child) => [child.path.at(-1), ofField(child)])),
        required: field.children.filter(({ required }) => required).map(({ path }) => path.at(-1)),
        additionalProperties: false
      }
    case "map":
      return { type: "object", additionalProperties: field.children.map(ofField)[0] ?? {} }
    case "list":
      return { type: "array", items: field.children.map(ofField)[0] ?? {} }
    case "value":
      return ofValue(field)
  }
}

const ofField = (field: Field): Json => ({
  ...ofKind(field),
  ...(field.description === undefined ? {} : { description: describe(field) }),
  ...(field.default === undefined ? {} : { default: field.default })
})

const describe = ({ description = "", unit }: Field) =>
  unit === undefined ? description : `${description} Unit: ${unit}.`.trim()

/**
 * The JSON Schema (draft 2020-12) of a settings file. Editors complete and explain settings with it.
 *
 * @category docs
 * @since 0.1.0
 */
export const jsonSchema = (schema: Schema.Constraint): Json => ({
  $schema: "https://json-schema.org/draft/2020-12/schema",
  ...ofField(outline(schema.ast))
})

const inline = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value)

const rows = (field: Field): ReadonlyArray<Field> => {
  if (field.kind === "value") return [field]
  const below = field.children.flatMap(rows)
  // The items of a list or map of single values need no row of their own.
  const single = field.kind !== "section" && field.children.every(({ kind }) => kind === "value")
  return field.path.length > 0 && (single || field.children.length === 0) ? [field] : below
}

const typeOf = (field: Field): string =>
  field.kind === "value"
    ? field.expected
    : `${field.expected} of ${field.children.map(({ expected }) => expected).join() || "anything"}`

/**
 * A Markdown table of all settings: name, what it accepts, unit, default, description.
 *
 * @category docs
 * @since 0.1.0
 */
export const markdown = (schema: Schema.Constraint): string => {
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ")
  const lines = rows(outline(schema.ast)).map((field) =>
    [
      `\`${field.path.join(".")}\``,
      cell(typeOf(field)),
      field.unit ?? "",
      field.default === undefined ? field.required ? "required" : "none" : `\`${cell(inline(field.default))}\``,
      cell(field.description ?? "")
    ].join(" | ")
  )
  return ["setting | value | unit | default | meaning", "--- | --- | --- | --- | ---", ...lines].map((line) =>
    `| ${line} |\n`
  ).join("")
}

const comment = (indent: string, text: string) => text.split("\n").map((line) => `${indent}# ${line}`.trimEnd())

/** A value to begin with: the default, or a place where the right value goes. */
const beginning = (field: Field): string => {
  if (field.default !== undefined) {
    return Yaml.stringify(field.default, { collectionStyle: "flow", lineWidth: 0 }).trimEnd()
  }
  if (field.secret) {
    return `\${env:${field.path.map((key) => key.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()).join("_")}}`
  }
  return field.kind === "map" ? "{}" : field.kind === "list" ? "[]" : ""
}

/** Takes lines out of force. The comments among them stay as they are. */
const outOfForce = (lines: ReadonlyArray<string>, indent: string): ReadonlyArray<string> =>
  lines.map((line) => line.trimStart().startsWith("#") ? line : `${indent}# ${line.slice(indent.length)}`)

/** A section whose settings all stand as comments is a comment itself, as is one that may be absent. */
const section = (field: Field, indent: string): ReadonlyArray<string> => {
  const lines = field.children.flatMap((child) => yaml(child, `${indent}  `))
  const name = `${indent}${field.path.at(-1)}:`
  const all = [...field.description === undefined ? [] : comment(indent, field.description), name, ...lines]
  return !field.required || lines.every((line) => line.trimStart().startsWith("#")) ? outOfForce(all, indent) : all
}

const yaml = (field: Field, indent: string): ReadonlyArray<string> => {
  if (field.kind === "section" && field.default === undefined) return section(field, indent)
  const about = [describe(field), `Value: ${typeOf(field)}.${field.required ? " Required." : ""}`].filter((text) =>
    text !== ""
  )
  // What has a default or may be absent is shown, and stays out of force until the mark is taken off.
  const value = beginning(field)
  const mark = field.required ? "" : "# "
  return [
    ...about.flatMap((text) => comment(indent, text)),
    `${indent}${mark}${field.path.at(-1)}:${value === "" ? "" : ` ${value}`}`
  ]
}

/**
 * A commented YAML file with all settings. What has a default stands there as a comment; what is required has to be filled in.
 *
 * @category docs
 * @since 0.1.0
 */
export const template = (schema: Schema.Constraint): string =>
  outline(schema.ast).children.map((child) => `${yaml(child, "").join("\n")}\n`).join("\n")

const sizes: ReadonlyArray<readonly [string, bigint]> = [["GiB", 1024n ** 3n], ["MiB", 1024n ** 2n], ["KiB", 1024n]]

const formatSize = (bytes: bigint): string => {
  const unit = bytes === 0n ? undefined : sizes.find(([, size]) => bytes % size === 0n)
  return unit === undefined ? `${bytes}B` : `${bytes / unit[1]}${unit[0]}`
}

const encoded = (value: unknown): unknown => {
  if (Redacted.isRedacted(value)) return "<redacted>"
  if (Duration.isDuration(value)) return formatDuration(value)
  if (typeof value === "bigint") return formatSize(value)
  if (Array.isArray(value)) return value.map(encoded)
  return typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, encoded(item)]))
    : value
}

/**
 * Settings as YAML, in the form of the settings file. Secrets are hidden.
 *
 * @category docs
 * @since 0.1.0
 */
export const print = (value: unknown): string => Yaml.stringify(encoded(value), { lineWidth: 0 })
