/**
 * Draws a set of scanned invoices, runs the workflow over them, and says how many fields were read right.
 *
 *     npm start --workspace @ballast/example-invoice-processing -- --approve
 *
 * Without DEEPSEEK_API_KEY the simulator answers in the model's place (`simulatedReader.ts`).
 */
import { DeepSeek, Undici } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Option, Redacted, Result } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import sharp from "sharp"
import { decide } from "./decide.ts"
import { draw } from "./draw.ts"
import * as Ocr from "./Ocr.ts"
import { type Processed, processScans } from "./process.ts"
import { type Sample, samples } from "./samples.ts"
import * as Score from "./score.ts"
import { simulatedReader } from "./simulatedReader.ts"

const Model = Layer.unwrap(Effect.gen(function*() {
  const key = yield* Config.option(Config.Redacted("DEEPSEEK_API_KEY"))
  if (Option.isSome(key)) return DeepSeek.layerConfig().pipe(Layer.provide(Undici.layer()))
  yield* Console.log("The simulator answers in the model's place, by patterns. Set DEEPSEEK_API_KEY to ask DeepSeek.")
  return DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(
    Layer.provide(Simulator.layerHttpClient({ reply: simulatedReader, tokensPerSecond: Infinity }))
  )
}))

/** A folder for each scan, with all that is made from it. */
const put = async (out: string, id: string, image: Uint8Array) => {
  await Fs.mkdir(Path.join(out, id), { recursive: true })
  const file = Path.join(out, id, "scan.jpg")
  await Fs.writeFile(file, image)
  return { id, file }
}

const drawAll = async (out: string, chosen: ReadonlyArray<Sample>) => {
  const scans = await draw(chosen)
  return Promise.all(chosen.map(({ name }, index) => put(out, name, scans[index] ?? new Uint8Array())))
}

/** Numbered, since files of two folders may have one name, and with names that pages can have. */
const copyAll = (out: string, files: ReadonlyArray<string>) =>
  Promise.all(
    files.map(async (file, index) =>
      put(
        out,
        `${index + 1}-${Path.parse(file).name.replace(/\W+/g, "-")}`,
        await sharp(file).autoOrient().jpeg({ quality: 90 }).toBuffer()
      )
    )
  )

const failed = (message: string) =>
  Effect.andThen(Console.error(message), Effect.sync(() => void (process.exitCode = 1)))

const outcome = ({ id, result }: Processed): string =>
  `${id}: ${Result.isFailure(result) ? result.failure.message : JSON.stringify(result.success)}`

const sayScores = Effect.fnUntraced(function*(chosen: ReadonlyArray<Sample>, processed: ReadonlyArray<Processed>) {
  const scores = chosen.map((sample, index) => ({ sample, score: Score.score(sample, processed[index]?.invoice) }))
  for (const { sample, score } of scores) yield* Console.log(Score.line(sample, score))
  yield* Console.log(Score.total(scores.map(({ score }) => score)))
})

const command = Command.make("invoice-processing", {
  scans: Argument.String("scan").pipe(
    Argument.withDescription("Scans of your own, in place of the drawn set"),
    Argument.between(0, 1000)
  ),
  workflow: Flag.String("workflow").pipe(
    Flag.withDescription("The workflow's file"),
    Flag.withDefault("invoice.yaml")
  ),
  out: Flag.String("out").pipe(
    Flag.withDescription("Folder of scans and reports"),
    Flag.withDefault("out")
  ),
  only: Flag.String("only").pipe(
    Flag.withDescription("Only the drawn invoices whose name has this in it"),
    Flag.withDefault("")
  ),
  approve: Flag.Boolean("approve").pipe(Flag.withDescription("Approve without asking"), Flag.withDefault(false)),
  reject: Flag.Boolean("reject").pipe(Flag.withDescription("Reject without asking"), Flag.withDefault(false))
}, ({ approve, only, out, reject, scans, workflow }) =>
  Effect.gen(function*() {
    const chosen = scans.length > 0 ? [] : samples.filter(({ name }) => name.includes(only))
    const files = yield* Effect.tryPromise(() => scans.length > 0 ? copyAll(out, scans) : drawAll(out, chosen))
    yield* Console.log(`${files.length} scans are in ${out}.`)
    const processed = yield* processScans(files, {
      workflow,
      reports: out,
      model: yield* DeepSeek.DeepSeek,
      decide: decide(reject ? "reject" : approve ? "approve" : undefined)
    })
    for (const one of processed) yield* Console.log(outcome(one))
    if (chosen.length > 0) yield* sayScores(chosen, processed)
  }))

Command.run(command, { version: "0.0.0" }).pipe(
  // A file that can not be read is said in one line.
  Effect.catchTags({
    UnknownError: ({ cause }) => failed(cause instanceof Error ? cause.message : String(cause)),
    SettingsRefused: ({ message }) => failed(message)
  }),
  Effect.provide([Model, Ocr.layer, NodeServices.layer]),
  NodeRuntime.runMain
)
