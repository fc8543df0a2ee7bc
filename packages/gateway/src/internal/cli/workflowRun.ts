/** `ballast workflow run`: runs a workflow in this process, with what people see and decide. */
import * as Logs from "@ballast/telemetry/Logs"
import type * as Definition from "@ballast/workflow/Definition"
import type { Event } from "@ballast/workflow/Run"
import type * as Runner from "@ballast/workflow/Runner"
import * as Prompt from "effect/cli/Prompt"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as Client from "../../Client.ts"
import { StartError } from "../../StartError.ts"
import * as ServiceClient from "../workflows/serviceClient.ts"
import { print } from "./print.ts"
import { plain } from "./table.ts"
import { read, textOf, typesOf } from "./workflow.ts"
import * as WorkflowRunner from "./workflowRunner.ts"
import * as View from "./workflowView.ts"

export interface Options extends WorkflowRunner.Options {
  readonly file: string
  readonly input: string | undefined
  readonly id: string | undefined
}

const inputOf = Effect.fnUntraced(function*(path: string | undefined) {
  if (path === undefined) return {}
  return yield* Effect.mapError(
    Schema.decodeEffect(Schema.fromJsonString(Schema.Json))(yield* textOf(path)),
    () => new StartError({ detail: `${path} is no JSON.` })
  )
})

/** Asks on the terminal for each approval that a run waits for, once. */
const askForApprovals = (runner: Runner.Runner["Service"], view: View.View, waiting: Queue.Dequeue<Waiting>) =>
  Effect.gen(function*() {
    const { question, run, step } = yield* Queue.take(waiting)
    const message = question === "" ? `Approve ${step}?` : plain(question)
    const approved = yield* view.aside(Prompt.run(Prompt.Confirm({ message })))
    yield* runner.approve(run, step, { approved })
  }).pipe(
    Effect.forever,
    // A prompt gets Ctrl-C as a key, not as a signal.
    Effect.catchTag("QuitError", () => Effect.sync(() => process.emit("SIGINT", "SIGINT")))
  )

type Waiting = Extract<Event, { readonly _tag: "Waiting" }>

const quoted = (word: string): string => /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

/** A command with the flags of a run. */
const commandOf = (
  words: ReadonlyArray<string>,
  { config, database, env, profile, reports }: WorkflowRunner.Options
): string =>
  [
    "ballast",
    "workflow",
    ...words,
    ...Object.entries({ database, config, profile, reports }).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}`, value]
    ),
    ...env.flatMap((name) => ["--env", name])
  ].map(quoted).join(" ")

/** Says how to go on and how to cancel (the input and the definition are kept), and what is waited for when that takes a while. */
const sayHowToGoOn = Effect.fnUntraced(function*(options: Options, id: string, view: View.View, scope: Scope.Scope) {
  const say = (text: string) => view.aside(Console.error(`ballast: ${text}`))
  yield* say(`The run is kept. Go on with it: ${commandOf(["run", options.file, "--id", id], options)}`)
  yield* say(`Cancel it: ${commandOf(["cancel", id], options)}`)
  const patience = say("Calls in flight have up to 15 seconds to end. A second Ctrl-C ends at once.")
  yield* Effect.forkIn(Effect.delay(patience, "1 second"), scope)
})

/** What is told of a run, and what it waits for. */
const makeListener = (id: string, view: View.View) =>
  Effect.map(Queue.unbounded<Waiting>(), (waiting) => {
    const asked = new Set<string>()
    const onEvent = (event: Event): Effect.Effect<void> => {
      if (event.run !== id) return Effect.void
      if (event._tag !== "Waiting") return view.tell(event)
      if (asked.has(event.step)) return Effect.void
      asked.add(event.step)
      return Effect.andThen(view.tell(event), Effect.asVoid(Queue.offer(waiting, event)))
    }
    return { waiting, onEvent }
  })

/** The view on standard error. */
const makeView = Effect.suspend(() => {
  const { columns, isTTY = false, rows } = process.stderr
  return View.make({
    write: (text) => void process.stderr.write(text),
    isTTY,
    // Some terminals say 0.
    rows: rows || 24,
    columns: columns || 80
  })
})

/** Records a run that is not there yet, and deletes the runs that ended long ago. */
const record = Effect.fnUntraced(function*(
  { keep, runs }: Effect.Success<ReturnType<typeof WorkflowRunner.make>>,
  { name, text }: Definition.Definition,
  input: Schema.Json,
  id: string
) {
  yield* runs.clean((yield* Clock.currentTimeMillis) - Duration.toMillis(keep))
  if ((yield* runs.find(id)) !== undefined) return
  const run = { id, workflow: name, definition: text, client: Client.anonymous.name, input }
  yield* Effect.orDie(runs.create(run, { maxLive: Infinity }))
})

/** Runs it; what is said when the wait is interrupted is said in `scope`, which outlives what runs. */
const work = Effect.fnUntraced(
  function*(options: Options, definition: Definition.Definition, view: View.View, scope: Scope.Scope) {
    const input = yield* inputOf(options.input)
    const { database, id = randomUUID() } = options
    const { onEvent, waiting } = yield* makeListener(id, view)
    const made = yield* Effect.catchTag(
      WorkflowRunner.make(options, id, onEvent),
      "InUse",
      ({ message }) => new StartError({ detail: message })
    )
    const { cancels, runner, upstream } = made
    if (typesOf(definition).includes("model") && upstream === "simulator") {
      yield* Console.error("ballast: the embedded simulator answers. Set DEEPSEEK_API_KEY to talk to DeepSeek.")
    }
    if (database !== undefined && options.id === undefined) yield* Console.error(`ballast: This is the run ${id}.`)
    yield* record(made, definition, input, id)
    yield* Effect.forkScoped(askForApprovals(runner, view, waiting))
    const fiber = yield* Effect.forkScoped(runner.run(definition, input, { id }))
    yield* Effect.forkScoped(
      Effect.repeat(Effect.ignore(cancels.cancelAsked(runner, id)), Schedule.spaced("1 second"))
    )
    // The run is not of this fiber: interrupting the wait for it does not end it.
    const exit = yield* Effect.onInterrupt(
      Fiber.await(fiber),
      () =>
        database === undefined
          ? Effect.andThen(runner.cancel(id), Fiber.await(fiber))
          : sayHowToGoOn(options, id, view, scope)
    )
    return yield* Exit.hasInterrupts(exit) ? new StartError({ detail: `The run ${id} was cancelled.` }) : exit
  },
  Effect.scoped
)

const runWith = Effect.fnUntraced(function*(options: Options, definition: Definition.Definition) {
  return yield* work(options, definition, yield* makeView, yield* Effect.scope)
}, Effect.scoped)

export const run = Effect.fnUntraced(function*(options: Options) {
  if (/^\w+:\/\//.test(options.database ?? "")) {
    return yield* new StartError({
      detail: "--database is the path of a SQLite file. On a Postgres, ballast serve runs workflows."
    })
  }
  const definition = yield* read(options.file, options)
  if (typesOf(definition).includes("approval") && !process.stdin.isTTY) {
    return yield* new StartError({ detail: `${options.file} asks for approvals, which are given on a terminal only.` })
  }
  const format = yield* Logs.format
  const level = (yield* Logs.level) ?? "Warn"
  const result = yield* runWith(options, definition).pipe(
    Effect.provide([ServiceClient.layer, Logs.layer({ level, format: format ?? "pretty" })]),
    Effect.onInterrupt(() => Effect.sync(() => process.exitCode = 130))
  )
  yield* print(`${JSON.stringify(result, null, 2)}\n`)
})
