/** Checks and draws a workflow from the command line. */
import * as Definition from "@ballast/workflow/Definition"
import * as Graph from "@ballast/workflow/Graph"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Settings from "../../Settings.ts"
import { StartError } from "../../StartError.ts"
import * as WorkflowFiles from "../../WorkflowFiles.ts"
import { whyNot } from "../whyNot.ts"
import { print } from "./print.ts"
import * as sources from "./sources.ts"

/** The text of a file; of standard input for `-`. */
export const textOf = Effect.fnUntraced(function*(path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* Effect.mapError(
    files.readFileString(path === "-" ? "/dev/stdin" : path),
    (error) => new StartError({ detail: `${path} can not be read: ${whyNot(error)}.` })
  )
})

const write = Effect.fnUntraced(function*(path: string, content: string) {
  const files = yield* FileSystem.FileSystem
  yield* Effect.mapError(
    files.writeFileString(path, content),
    (error) => new StartError({ detail: `${path} can not be written: ${whyNot(error)}.` })
  )
})

/** Services come from the file, and from the one that the settings name for all workflows; so do the workflows that it calls by their names. */
export const read = Effect.fnUntraced(
  function*(file: string, given: sources.Options = { config: undefined, profile: undefined }) {
    const settings = yield* Settings.make(yield* sources.of(given))
    const { workflows } = yield* settings.current
    return yield* WorkflowFiles.read(file, yield* textOf(file), {
      shared: yield* WorkflowFiles.services(workflows.services),
      names: WorkflowFiles.named(workflows)
    })
  },
  Effect.scoped
)

/** The types of the services of a workflow, and of those within it. */
export const typesOf = ({ file, workflows }: Definition.Definition): ReadonlyArray<string> => [
  ...Object.values(file.services ?? {}).map(({ type }) => type),
  ...Object.values(workflows).flatMap(typesOf)
]

export const check = Effect.fnUntraced(function*(file: string) {
  const { name, steps } = yield* read(file)
  yield* print(`${file} is right: ${name}, ${steps.length} ${steps.length === 1 ? "step" : "steps"}\n`)
})

export const graph = Effect.fnUntraced(function*(file: string, svg: string | undefined) {
  const definition = yield* read(file)
  if (svg === undefined) return yield* print(Graph.mermaid(definition))
  yield* write(svg, Graph.svg(definition))
})

export const schema = Effect.suspend(() => print(`${JSON.stringify(Definition.jsonSchema(), null, 2)}\n`))
