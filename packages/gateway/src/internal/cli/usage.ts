/** Says in one line what is wrong with the arguments of a command. */
import type * as CliError from "effect/cli/CliError"

const wordsOf = (expected: string): string =>
  expected.replace(/^Expected:? /, "").replace("a string representing a finite number", "a number")

const ofValue = ({ expected, kind, option, value }: CliError.InvalidValue): string => {
  const name = kind === "flag" ? `--${option}` : `<${option}>`
  const times = /^(\d+) occurrences$/.exec(value)?.[1]
  if (times !== undefined) return `${name} is given ${times} times.`
  if (value === "") return `${name} has no value.`
  return `${name} is ${JSON.stringify(value)}. Expected ${wordsOf(expected)}.`
}

const suggesting = (suggestions: ReadonlyArray<string>): string =>
  suggestions.length === 0 ? "" : ` Did you mean ${suggestions.join(" or ")}?`

const of = (error: CliError.NonShowHelpErrors, command: string): string => {
  switch (error._tag) {
    case "InvalidValue":
      return ofValue(error)
    case "UnrecognizedOption":
      return `${command} has no flag ${error.option}.${suggesting(error.suggestions)}`
    case "UnknownSubcommand":
      return `${command} has no command ${JSON.stringify(error.subcommand)}.${suggesting(error.suggestions)}`
    case "UnexpectedArgument":
      return `${command} takes no ${error.arguments.map((argument) => JSON.stringify(argument)).join(", ")}.`
    case "MissingOption":
      return `--${error.option} is missing.`
    case "MissingArgument":
      return `<${error.argument}> is missing.`
    default:
      return error.message.replace(/\s*\n\s*/g, " ")
  }
}

/** The first mistake, and where help is; nothing when help was asked for. */
export const describe = ({ commandPath, errors: [error] }: CliError.ShowHelp): string | undefined => {
  const command = commandPath.join(" ")
  return error === undefined ? undefined : `${of(error, command)} See ${command} --help.`
}
