/**
 * Where settings come from. A source is opened once for the lifetime of the settings; it can be read, and it can wait until
 * what it read last may have changed. A file, a folder, the environment and a config center are sources of the same shape,
 * so an application adds its own by writing these two effects. Later sources win over earlier ones: maps merge, lists and
 * single values replace.
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Field } from "./internal/field.ts"

/**
 * One YAML or JSON text.
 *
 * @category models
 * @since 0.1.0
 */
export interface Document {
  readonly _tag: "Document"
  /** The name that messages show, such as the path of the file. */
  readonly name: string
  readonly text: string
  /** The folder that relative paths in `${file:PATH}` start from; the working directory when absent. */
  readonly folder?: string | undefined
}

/**
 * Single values by path.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entries {
  readonly _tag: "Entries"
  readonly entries: ReadonlyArray<Entry>
}

/**
 * One value.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  readonly path: ReadonlyArray<string>
  readonly value: unknown
  /** The name that messages show, such as `environment variable PORT`. */
  readonly name: string
  /** Whether the value is text that the schema's type tells how to read: `8080` is a number where the schema wants one. */
  readonly text: boolean
}

/**
 * What a source holds. Several contents of one source merge in their order.
 *
 * @category models
 * @since 0.1.0
 */
export type Content = Document | Entries

/**
 * A source that could not be read.
 *
 * @category errors
 * @since 0.1.0
 */
export class SourceError extends Schema.TaggedError<SourceError>()("SourceError", {
  source: Schema.String,
  /** What is wrong, in one sentence without the name of the source. */
  reason: Schema.String
}) {
  override get message() {
    return `${this.source}: ${this.reason}`
  }
}

/**
 * A source in use.
 *
 * @category models
 * @since 0.1.0
 */
export interface Opened {
  /** Reads everything now. An empty list says that there is nothing, which is no error. */
  readonly read: Effect.Effect<ReadonlyArray<Content>, SourceError>
  /** Ends when the content may differ from what was read last. It may end too often, never too seldom. */
  readonly changed: Effect.Effect<void, SourceError>
}

/**
 * A source of settings.
 *
 * @category models
 * @since 0.1.0
 */
export interface Source<R = never> {
  /** The name that status, log and metrics show. */
  readonly name: string
  /** Whether another machine holds the settings: its failures are retried, and a copy is kept on disk. */
  readonly remote: boolean
  /** Opens the source; `fields` are the single settings of the schema, for sources that look up each by its name. */
  readonly open: (fields: ReadonlyArray<Field>) => Effect.Effect<Opened, never, R | Scope.Scope>
}
