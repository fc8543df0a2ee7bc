/** Checks, draws and runs a workflow from the command line. */
import * as SqliteClient from "@ballast/sqlite/SqliteClient"
import * as Logs from "@ballast/telemetry/Logs"
import * as Definition from "@ballast/workflow/Definition"
import * as Engine from "@ballast/workflow/Engine"
import * as Graph from "@ballast/workflow/Graph"
import type { Event } from "@ballast/workflow/Run"
import * as Runner from "@ballast/workflow/Runner"
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import * as Prompt from "effect/cli/Prompt"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import * as Settings from "../../Settings.ts"
import { StartError } from "../../StartError.ts"
import * as Upstream from "../../Upstream.ts"
import { print } from "./print.ts"
import * as sources from "./sources.ts"

const textOf = Effect.fnUntraced(function*(path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* Effect.mapError(
    files.readFileString(path === "-" ? "/dev/stdin" : path),
    ({ message }) => new StartError({ detail: `${path} can not be read: ${message}` })
  )
})

/** Services come from the file alone. */
const read = Effect.fnUntraced(function*(file: string) {
  return yield* Definition.read({ name: file, text: yield* textOf(file), services: {} })
})

export const check = Effect.fnUntraced(function*(file: string) {
  const { name, steps } = yield* read(file)
  yield* print(`${file} is right: ${name}, ${steps.length} ${steps.length === 1 ? "step" : "steps"}\n`)
})

export const graph = Effect.fnUntraced(function*(file: string) {
  yield* print(Graph.mermaid(yield* read(file)))
})

export interface Options extends sources.Options {
  readonly file: string
  readonly input: string | undefined
  readonly id: string | undefined
  readonly database: string | undefined
  readonly env: ReadonlyArray<string>
}

const inputOf = Effect.fnUntraced(function*(path: string | undefined) {
  if (path === undefined) return {}
  return yield* Effect.mapError(
    Schema.decodeEffect(Schema.fromJsonString(Schema.Json))(yield* textOf(path)),
    () => new StartError({ detail: `${path} is no JSON.` })
  )
})

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** What happened, without what services got or gave. */
const lineOf = (event: Event): string => {
  const attempt = "attempt" in event && event.attempt > 1 ? `, attempt ${event.attempt}` : ""
  switch (event._tag) {
    case "Started":
      return `… ${event.step}${attempt}`
    case "Succeeded":
      return `✓ ${event.step}${attempt}, ${seconds(event.millis)}`
    case "Failed":
      return `✗ ${event.step}${attempt}, ${seconds(event.millis)}: ${event.reason}`
    case "Skipped":
      return `- ${event.step}, skipped`
    case "Waiting":
      return `? ${event.step}, waits for approval${event.question === "" ? "" : `: ${event.question}`}`
  }
}

const engineOf = (database: string | undefined) =>
  database === undefined
    ? Engine.layerMemory
    : Engine.layerSql.pipe(Layer.provide([SqliteClient.layer({ filename: database }), NodeCrypto.layer]))

/** Asks on the terminal for each approval that a run waits for. */
const askForApprovals = (id: string, waiting: Queue.Dequeue<Extract<Event, { readonly _tag: "Waiting" }>>) =>
  Effect.gen(function*() {
    const runner = yield* Runner.Runner
    const { question, run, step } = yield* Queue.take(waiting)
    if (run !== id) return
    const approved = yield* Prompt.run(Prompt.Confirm({ message: question === "" ? `Approve ${step}?` : question }))
    yield* runner.approve(run, step, { approved })
  }).pipe(Effect.forever)

const runWith = Effect.fnUntraced(function*(options: Options, definition: Definition.Definition) {
  const input = yield* inputOf(options.input)
  const id = options.id ?? randomUUID()
  const settings = yield* Settings.make(yield* sources.of(options))
  const upstream = yield* Upstream.make(settings)
  const asksModels = Object.values(definition.file.services ?? {}).some(({ type }) => type === "model")
  if (asksModels && upstream.kind() === "simulator") {
    yield* Console.error("ballast: the embedded simulator answers. Set DEEPSEEK_API_KEY to talk to DeepSeek.")
  }
  const waiting = yield* Queue.unbounded<Extract<Event, { readonly _tag: "Waiting" }>>()
  const runner = Runner.layer({
    model: upstream.router,
    http: yield* HttpClient.HttpClient,
    env: yield* Config.all(Object.fromEntries(options.env.map((name) => [name, Config.String(name)]))),
    onEvent: (event) =>
      Effect.sync(() => {
        process.stderr.write(`${lineOf(event)}\n`)
        if (event._tag === "Waiting") Queue.offerUnsafe(waiting, event)
      })
  })
  const result = yield* Effect.gen(function*() {
    yield* Effect.forkScoped(askForApprovals(id, waiting))
    return yield* (yield* Runner.Runner).run(definition, input, { id })
  }).pipe(Effect.scoped, Effect.provide(runner.pipe(Layer.provide(engineOf(options.database)))))
  yield* print(`${JSON.stringify(result, null, 2)}\n`)
}, Effect.scoped)

export const run = Effect.fnUntraced(function*(options: Options) {
  const definition = yield* read(options.file)
  const asks = Object.values(definition.file.services ?? {}).some(({ type }) => type === "approval")
  if (asks && !process.stdin.isTTY) {
    return yield* new StartError({ detail: `${options.file} asks for approvals, which are given on a terminal only.` })
  }
  const format = yield* Logs.format
  const level = (yield* Logs.level) ?? "Warn"
  yield* runWith(options, definition).pipe(
    Effect.provide([FetchHttpClient.layer, Logs.layer({ level, format: format ?? "pretty" })]),
    Effect.onInterrupt(() => Effect.sync(() => process.exitCode = 130))
  )
})
