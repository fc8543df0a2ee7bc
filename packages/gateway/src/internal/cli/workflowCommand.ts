/** The commands of `ballast workflow` and their flags. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const workflow = Effect.promise(() => import("./workflow.ts"))

const file = Argument.String("file").pipe(Argument.withDescription("The file of the workflow"))

const check = Command.make(
  "check",
  { file },
  ({ file }) => Effect.flatMap(workflow, ({ check }) => check(file))
).pipe(
  Command.withDescription(
    "Check a workflow. Exits with 1 when something is wrong, and says each mistake with line and column."
  )
)

const graph = Command.make(
  "graph",
  { file },
  ({ file }) => Effect.flatMap(workflow, ({ graph }) => graph(file))
).pipe(Command.withDescription("Print a workflow as a flowchart of Mermaid."))

const run = Command.make(
  "run",
  {
    file,
    input: Flag.String("input").pipe(
      Flag.withDescription("A JSON file with the input of the run; - for standard input. Default: an empty object"),
      Flag.withMetavar("file"),
      Flag.optional
    ),
    id: Flag.String("id").pipe(
      Flag.withDescription(
        "The id of the run. With a database, the same id goes on with the same run. Default: a new one"
      ),
      Flag.optional
    ),
    database: Flag.String("database").pipe(
      Flag.withDescription("A SQLite file that keeps the run, so that it goes on after a crash. Default: none"),
      Flag.withMetavar("file"),
      Flag.optional
    ),
    env: Flag.String("env").pipe(
      Flag.withDescription("A variable of the environment that expressions may read"),
      Flag.withMetavar("name"),
      Flag.between(0, 100)
    ),
    config: Flag.String("config").pipe(
      Flag.withDescription("The settings file of the models (ballast.yaml, if it is there)"),
      Flag.withMetavar("file"),
      Flag.optional
    ),
    profile: Flag.String("profile").pipe(
      Flag.withDescription("Profile, whose file lies over it (BALLAST_PROFILE)"),
      Flag.withMetavar("name"),
      Flag.optional
    )
  },
  ({ config, database, id, input, profile, ...given }) =>
    Effect.flatMap(workflow, ({ run }) =>
      run({
        ...given,
        config: Option.getOrUndefined(config),
        profile: Option.getOrUndefined(profile),
        database: Option.getOrUndefined(database),
        id: Option.getOrUndefined(id),
        input: Option.getOrUndefined(input)
      }))
).pipe(
  Command.withDescription(
    `Run a workflow: a line for each step on standard error, the result as JSON on standard output. On a terminal it asks for approvals.

Models are called as ballast serve would call them: through ballast.yaml, DeepSeek with DEEPSEEK_API_KEY, or the embedded simulator.`
  ),
  Command.withExamples([
    { command: "ballast workflow run invoice.yaml --input invoice.json", description: "Run it once" },
    {
      command: "ballast workflow run invoice.yaml --database runs.db --id invoice-7",
      description: "Run it so that the same command goes on with it after a crash"
    }
  ])
)

export const command = Command.make("workflow").pipe(
  Command.withShortDescription("Check, draw and run workflows"),
  Command.withDescription("Check, draw and run workflows: chains of services in a YAML file."),
  Command.withSubcommands([check, graph, run])
)
