/** Runs a workflow over scans, and has its approvals decided. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import { Definition, Engine, type Run, Runner, Service } from "@ballast/workflow"
import { Effect, Layer, Queue, type Result } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { Waiting } from "./decide.ts"
import type { Extracted } from "./extract.ts"
import { Ocr } from "./Ocr.ts"
import * as Services from "./services.ts"

export interface Options {
  /** The path of the workflow's file. */
  readonly workflow: string
  /** The folder of reports. */
  readonly reports: string
  readonly model: ChatModel<unknown>
  /** Is asked for each approval, one after the other. */
  readonly decide: (waiting: Waiting) => Effect.Effect<Run.Decision>
}

/** What came of a scan. */
export interface Processed {
  readonly id: string
  /** What was read, if anything was. */
  readonly invoice: Extracted | undefined
  readonly result: Result.Result<unknown, Run.RunFailed>
}

/** Files that a workflow names by their paths from its own. */
const textsBeside = (workflow: string) => (name: string) =>
  Effect.tryPromise({
    try: () => Fs.readFile(Path.join(Path.dirname(workflow), name), "utf8"),
    catch: () => `${name} can not be read`
  })

const saveIn = (folder: string) => (name: string, html: string) => {
  const file = Path.join(folder, name)
  return Effect.tryPromise({
    try: () => Fs.writeFile(file, html).then(() => file),
    catch: () => new Service.ServiceError({ detail: `${file} can not be written`, retryable: false })
  })
}

/** What came of each scan, in their order. Two are worked on at a time. */
export const processScans = Effect.fn("processScans")(function*(
  scans: ReadonlyArray<{ readonly id: string; readonly file: string }>,
  { decide, model, reports, workflow }: Options
) {
  const read = new Map<string, Extracted>()
  const services = Services.make({
    ocr: yield* Ocr,
    model,
    onRead: (run, invoice) => void read.set(run, invoice)
  })
  const text = yield* Effect.tryPromise(() => Fs.readFile(workflow, "utf8"))
  const definition = yield* Definition.read({ name: workflow, text, services, texts: textsBeside(workflow) })
  const waiting = yield* Queue.unbounded<Waiting>()
  const runner = Runner.layer({
    services,
    saveReport: saveIn(reports),
    onEvent: (event) => event._tag === "Waiting" ? Queue.offer(waiting, event) : Effect.void
  })
  return yield* Effect.gen(function*() {
    const { approve, run } = yield* Runner.Runner
    yield* Queue.take(waiting).pipe(
      Effect.flatMap((event) => Effect.flatMap(decide(event), (decision) => approve(event.run, event.step, decision))),
      Effect.forever,
      Effect.forkScoped
    )
    return yield* Effect.forEach(scans, ({ file, id }) =>
      Effect.map(
        Effect.result(run(definition, { file }, { id })),
        (result): Processed => ({ id, invoice: read.get(id), result })
      ), { concurrency: 2 })
  }).pipe(Effect.scoped, Effect.provide(runner.pipe(Layer.provide(Engine.layerMemory))))
})
