/**
 * A workflow as a YAML file says it, and the search for its mistakes.
 *
 * ```yaml
 * workflow:
 *   name: invoice_processing
 *   steps:
 *     - service: image_enhancement
 *       timeout: 5s
 *     - service: ocr_extraction
 *       retry: 2
 *     - service: compliance_check
 *       condition: "${output.amount > 1000}"
 * ```
 *
 * Steps run one after the other; as soon as a step has `needs`, each step waits for those that it needs, or for the one before it. A condition
 * that is false skips its step, whose output is null.
 *
 * @since 0.1.0
 */
import * as Document from "@ballast/settings/Document"
import type { SettingsRefused } from "@ballast/settings/SettingsRefused"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { File } from "./internal/definition/language.ts"
import type { Definition, Options } from "./internal/definition/model.ts"
import { readOne } from "./internal/definition/read.ts"

export { Budget, File, identifier, Step } from "./internal/definition/language.ts"
export { type Definition, type Known, type Options, type Planned } from "./internal/definition/model.ts"

/**
 * The JSON Schema (draft 2020-12) of a file, for editors: `ballast workflow schema` prints it, and the package has it as `workflow.schema.json`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const jsonSchema = (): { readonly [key: string]: unknown } => ({
  ...Document.jsonSchema(File),
  title: "A workflow of Ballast"
})

/**
 * Reads a workflow and checks it. Fails with every mistake, with line and column: what the schema does not allow, unknown services and steps,
 * cycles, references to steps that have not ended, and expressions that are wrong or of a wrong type; and those of the workflows that it runs.
 *
 * @category parsing
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Definition, SettingsRefused> {
  const texts = new Map<string, string>()
  const definition = yield* readOne({ ...options, first: options.name, at: "", above: [], files: {}, found: texts })
  if (texts.size === 0) return definition
  const file = { ...definition.file, files: { ...definition.file.files, ...Object.fromEntries(texts) } }
  return { ...definition, file, text: JSON.stringify(Schema.encodeSync(File)(file), null, 2) }
})
