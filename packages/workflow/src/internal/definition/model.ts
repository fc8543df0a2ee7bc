/** What a workflow is when it was read. */
import type * as Effect from "effect/Effect"
import type * as Expression from "../../Expression.ts"
import type { File, Step } from "./language.ts"

/**
 * What is known of a service when a workflow is checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Known {
  /** The type of its output, as expressions see it. Default: anything. */
  readonly output?: Expression.Type | undefined
}

/**
 * A step with everything that is settled when the file is read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Planned {
  readonly id: string
  readonly step: Step
  /** Ids of the steps that it waits for. */
  readonly needs: ReadonlyArray<string>
  /** The id of the step whose output is `output`; undefined where it is the input of the run. */
  readonly before: string | undefined
  readonly path: ReadonlyArray<string | number>
  readonly parallel: ReadonlyArray<Planned>
  readonly onError: ReadonlyArray<Planned>
}

/**
 * A workflow without mistakes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition {
  readonly name: string
  /** A text that says all of it, also of the files that it names: a run keeps it. */
  readonly text: string
  readonly file: File
  readonly steps: ReadonlyArray<Planned>
  readonly finally: ReadonlyArray<Planned>
  /** The workflows that its services are, by their names. */
  readonly workflows: Readonly<Record<string, Definition>>
  /** The texts of the files that its services name, by the names of the services. */
  readonly templates: Readonly<Record<string, string>>
}

/** A place in a file. */
export type Path = ReadonlyArray<string | number>

/**
 * What a definition is read with.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The name of the file, for messages. */
  readonly name: string
  readonly text: string
  /** The services beside those of the file, by name. */
  readonly services: Readonly<Record<string, Known>>
  /**
   * Gives the text of a file that a service names, by its path from the folder of this one; fails with what is wrong. A workflow that is called
   * by its name is asked for as `name:`, and a file that it names as `name:` and the path from its folder. Default: there is none but what the
   * file has in `files`.
   */
  readonly texts?: ((name: string) => Effect.Effect<string, string>) | undefined
}
