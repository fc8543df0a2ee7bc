/**
 * The error of settings that are wrong: every mistake with its place, what was found and what would be right. It shows no
 * secret and no text that came from the environment or from a file by reference.
 */
import * as Schema from "effect/Schema"

/**
 * One mistake.
 *
 * @category models
 * @since 0.1.0
 */
export const Problem = Schema.Struct({
  /** The source, such as the path of a file or `environment variable PORT`. */
  source: Schema.String,
  /** Line and column in the source, from 1, where the source is a text. */
  line: Schema.UndefinedOr(Schema.Int),
  column: Schema.UndefinedOr(Schema.Int),
  /** The setting, such as `retry.times`; empty for the whole source. */
  path: Schema.String,
  /** What is wrong and what would be right. */
  reason: Schema.String
})

/**
 * One mistake.
 *
 * @category models
 * @since 0.1.0
 */
export type Problem = typeof Problem.Type

const format = ({ column, line, path, reason, source }: Problem): string =>
  [line === undefined ? source : `${source}:${line}:${column}`, path, reason].filter((part) => part !== "").join(": ")

/**
 * Settings that were refused. Its message has one line per mistake:
 * `ballast.yaml:4:10: retry.times: found "three", expected a whole number from 0 to 10`.
 *
 * @category errors
 * @since 0.1.0
 */
export class SettingsRefused extends Schema.TaggedError<SettingsRefused>()("SettingsRefused", {
  problems: Schema.NonEmptyArray(Problem)
}) {
  override get message() {
    return this.problems.map(format).join("\n")
  }
}
