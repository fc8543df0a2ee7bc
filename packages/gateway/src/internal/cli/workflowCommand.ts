/** The commands of `ballast workflow` and their flags. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { StartError } from "../../StartError.ts"
import * as CommonFlags from "./commonFlags.ts"
import * as flags from "./flags.ts"

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
  {
    file,
    svg: flags.filled("svg", "Write a picture as SVG into this file instead", "file")
  },
  ({ file, svg }) => Effect.flatMap(workflow, ({ graph }) => graph(file, Option.getOrUndefined(svg)))
).pipe(Command.withDescription("Print a workflow as a flowchart of Mermaid, or write its picture as SVG."))

/** What the services of a run stand on. */
const surroundings = {
  env: Flag.String("env").pipe(
    Flag.withDescription("A variable of the environment that expressions may read"),
    Flag.withMetavar("name"),
    Flag.between(0, 100)
  ),
  reports: flags.filled(
    "reports",
    "The folder that reports are written to. Default: none, and such steps fail",
    "folder"
  ),
  config: flags.filled("config", "The settings file of the models (ballast.yaml, if it is there)", "file"),
  profile: flags.filled("profile", "Profile, whose file lies over it (BALLAST_PROFILE)", "name")
}

const run = Command.make(
  "run",
  {
    file,
    input: flags.filled(
      "input",
      "A JSON file with the input of the run; - for standard input. Default: an empty object",
      "file"
    ),
    id: flags.filled(
      "id",
      "The id of the run. With a database, the same id goes on with the same run. Default: a new one",
      "id"
    ),
    database: flags.filled(
      "database",
      "A SQLite file that keeps the run, so that it goes on after Ctrl-C or a crash. Default: none",
      "file"
    ),
    ...surroundings
  },
  ({ env, file, ...given }) =>
    Effect.flatMap(
      Effect.promise(() => import("./workflowRun.ts")),
      ({ run }) => run({ env, file, ...flags.valuesOf(given) })
    )
).pipe(
  Command.withShortDescription("Run a workflow."),
  Command.withDescription(
    `Run a workflow: its steps on standard error, as a table on a terminal; the result as JSON on standard output. On a terminal it asks for approvals. Ctrl-C cancels the run, whose finally steps still run. With a database it stops the run, and says the commands that go on with it and cancel it. A second Ctrl-C ends at once.

Models are called as ballast serve would call them: through ballast.yaml, DeepSeek with DEEPSEEK_API_KEY, or the embedded simulator.`
  ),
  Command.withExamples([
    { command: "ballast workflow run invoice.yaml --input invoice.json", description: "Run it once" },
    {
      command: "ballast workflow run invoice.yaml --database runs.db --id invoice-7",
      description: "Run it so that the same command goes on with it after Ctrl-C or a crash"
    }
  ])
)

const schema = Command.make("schema", {}, () => Effect.flatMap(workflow, ({ schema }) => schema)).pipe(
  Command.withDescription("Print the JSON Schema of workflow files, by which editors complete and explain them.")
)

const remote = Effect.promise(() => import("./workflowRuns.ts"))

const kept = Effect.promise(() => import("./workflowKept.ts"))

const database = flags.filled(
  "database",
  "Runs that this database keeps, not a gateway: a SQLite file, or postgres://user:password@host/name",
  "address"
)

/** Asks a database where one is given, else a gateway. */
const either = <A, B, E1, R1, E2, R2>(
  { json, url }: CommonFlags.Common,
  database: Option.Option<string>,
  ofDatabase: (options: { readonly database: string; readonly json: boolean }) => Effect.Effect<A, E1, R1>,
  ofGateway: (options: ReturnType<typeof CommonFlags.optionsOf>) => Effect.Effect<B, E2, R2>
): Effect.Effect<A | B, E1 | E2 | StartError, R1 | R2> => {
  if (Option.isNone(database)) return ofGateway(CommonFlags.optionsOf({ json, url }))
  return Option.isSome(url)
    ? Effect.fail(new StartError({ detail: "--database and --url exclude each other." }))
    : ofDatabase({ database: database.value, json })
}

const id = Argument.String("run").pipe(Argument.withDescription("The id of the run"))

const runs = Command.make(
  "runs",
  {
    ...CommonFlags.common,
    database,
    workflow: flags.text("workflow", "Runs of this one"),
    status: flags.text("status", "running, waiting, succeeded, failed or cancelled"),
    since: flags.text("since", "Started then or later, such as 7d or 2026-11-01"),
    limit: flags.text("limit", "The most runs to list. Default: 20"),
    cursor: flags.text("cursor", "Where the list before ended")
  },
  ({ database, json, url, ...given }) => {
    const filter = flags.valuesOf(given)
    return either(
      { json, url },
      database,
      (options) => Effect.flatMap(kept, ({ list }) => list(options, filter)),
      (options) => Effect.flatMap(remote, ({ list }) => list(options, filter))
    )
  }
).pipe(
  Command.withShortDescription("List the runs of a gateway, or of a database, newest first."),
  Command.withDescription(
    `List the runs of a gateway, or of a database, newest first.

Environment:
  BALLAST_ADMIN_URL             where the gateway is (http://127.0.0.1:8787)
  BALLAST_ADMIN_KEY             one of its admin keys, or the key of a client, who sees its own runs; none where there are no clients`
  ),
  Command.withExamples([
    { command: "ballast workflow runs --status waiting", description: "What people have to decide" },
    { command: "ballast workflow runs --database runs.db", description: "What ballast workflow run has kept" }
  ])
)

const show = Command.make(
  "show",
  { id, ...CommonFlags.common, database },
  ({ database, id, ...common }) =>
    either(
      common,
      database,
      (options) => Effect.flatMap(kept, ({ show }) => show(options, id)),
      (options) => Effect.flatMap(remote, ({ show }) => show(options, id))
    )
).pipe(Command.withDescription("Show a run of a gateway, or of a database, with its steps."))

const approve = Command.make(
  "approve",
  {
    id,
    step: Argument.String("step").pipe(Argument.withDescription("The step that waits")),
    reject: flags.on("reject", "Say no"),
    comment: flags.text("comment", "Why"),
    ...CommonFlags.common
  },
  ({ comment, id, reject, step, ...common }) =>
    Effect.flatMap(remote, ({ decide }) =>
      decide(CommonFlags.optionsOf(common), id, step, {
        approved: !reject,
        comment: Option.getOrUndefined(comment)
      }))
).pipe(
  Command.withDescription("Decide on an approval that a run of a gateway waits for."),
  Command.withExamples([
    { command: "ballast workflow approve RUN approval --reject --comment \"too much\"", description: "Say no" }
  ])
)

const cancel = Command.make(
  "cancel",
  { id, ...CommonFlags.common, database, ...surroundings },
  ({ database, env, id, json, url, ...given }) =>
    either(
      { json, url },
      database,
      (options) => Effect.flatMap(kept, ({ cancel }) => cancel({ ...options, env, ...flags.valuesOf(given) }, id)),
      (options) => Effect.flatMap(remote, ({ cancel }) => cancel(options, id))
    )
).pipe(
  Command.withShortDescription("Cancel a run of a gateway, or of a database."),
  Command.withDescription(
    `Cancel a run of a gateway, or of a database: a call in flight is interrupted and not made again, no further step begins, then the steps of finally run.

With a database, the process that works on the run does it. Where none does, this one runs the steps of finally of a SQLite file; they get --env, --reports and --config as in ballast workflow run. On a Postgres the next gateway that starts does it.`
  ),
  Command.withExamples([
    { command: "ballast workflow cancel invoice-7 --database runs.db", description: "End a run that Ctrl-C left" }
  ])
)

const retry = Command.make(
  "retry",
  { id, ...CommonFlags.common },
  ({ id, ...common }) => Effect.flatMap(remote, ({ retry }) => retry(CommonFlags.optionsOf(common), id))
).pipe(
  Command.withDescription("Start a run that goes on from one that failed or was cancelled, with what its steps gave.")
)

export const command = Command.make("workflow").pipe(
  Command.withShortDescription("Check, draw and run workflows"),
  Command.withDescription("Check, draw and run workflows: chains of services in a YAML file."),
  Command.withSubcommands([check, graph, run, schema, runs, show, approve, cancel, retry])
)
