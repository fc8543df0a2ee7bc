/**
 * One YAML or JSON text, read by a schema, with the place of every mistake: for files that are no settings, such as definitions of workflows.
 *
 * The messages are those of settings: `invoice.yaml:4:10: steps[0].retry: found "three", expected a whole number`. `${…}` is text like any
 * other. A text is at most 1 MiB long.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import { decodeTree, refuse } from "./internal/decode.ts"
import { outline } from "./internal/field.ts"
import { type Layer, parse, type Path, showPath } from "./internal/layer.ts"
import { type Problem, SettingsRefused } from "./SettingsRefused.ts"

export { jsonSchema } from "./internal/json.ts"

/**
 * A document that was read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Document<out A> {
  readonly value: A
  /** A mistake of the value at a path, found by whoever reads on, with its place. */
  readonly problem: (path: ReadonlyArray<string | number>, reason: string) => Problem
}

/**
 * Reads a document. Fails with all its mistakes.
 *
 * **Example** (Reading a list of names)
 *
 * ```ts
 * import { Document } from "@ballast/settings"
 * import { Effect, Schema } from "effect"
 *
 * const Names = Schema.Struct({ names: Schema.Array(Schema.String) })
 * const program = Effect.gen(function*() {
 *   const { value } = yield* Document.decode(Names, { name: "names.yaml", text: "names: [ alice, bob ]" })
 *   return value.names
 * })
 * ```
 *
 * @category parsing
 * @since 0.1.0
 */
export const decode = Effect.fnUntraced(function*<A>(
  schema: Schema.Codec<A, unknown>,
  { name, text }: { readonly name: string; readonly text: string }
): Effect.fn.Return<Document<A>, SettingsRefused> {
  const { layers, problems } = parse(name, [{ _tag: "Document", name, text }])
  yield* refuse(problems)
  const [layer] = layers
  const value = yield* decodeTree(schema, outline(schema.ast), layers, layer?.tree ?? {})
  return { value, problem: (path, reason) => problemOf(layer, name, path, reason) }
})

const problemOf = (layer: Layer | undefined, name: string, path: Path, reason: string): Problem => ({
  ...layer?.locate(path, "value") ?? { source: name, line: undefined, column: undefined },
  path: showPath(path),
  reason
})

/**
 * Fails with mistakes, if there are any.
 *
 * @category errors
 * @since 0.1.0
 */
export const refused = ([first, ...rest]: ReadonlyArray<Problem>): Effect.Effect<void, SettingsRefused> =>
  first === undefined ? Effect.void : Effect.fail(new SettingsRefused({ problems: [first, ...rest] }))
