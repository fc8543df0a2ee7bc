/**
 * Calls of a small model, a perceptron of 256, 1,024 and 256 numbers: the runtime called directly in the main thread, and through
 * `@ballast/inference` with and without batching, by one caller and by 64, and while versions are replaced. The sides take turns; calls a second
 * and the delay of the main thread's event loop are those of the best turn, since other programs of the machine only make them worse. How much
 * worse is told by a process that does nothing: its loop is late by the machine alone.
 */
import { Models, Tensor } from "@ballast/inference"
import { NodeFileSystem } from "@effect/platform-node"
import { Effect, Exit, References, Scope } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { createHistogram, performance } from "node:perf_hooks"
import onnxProto, { type onnx } from "onnx-proto"
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node"
import * as loopDelay from "./loopDelay.ts"

const turns = 5
const turnMillis = 1000
const { ModelProto, TensorProto: { DataType } } = onnxProto.onnx

const port = (name: string, size: number): onnx.IValueInfoProto => ({
  name,
  type: {
    tensorType: { elemType: DataType.FLOAT, shape: { dim: [{ dimParam: "batch" }, { dimValue: size }] } }
  }
})

/** Weights that look random and are the same each time. */
const weights = (name: string, dims: Array<number>): onnx.ITensorProto => {
  const data = Float32Array.from({ length: dims.reduce((a, b) => a * b) }, (_, at) => Math.sin(at * 12.9898) / 32)
  return { name, dims, dataType: DataType.FLOAT, rawData: new Uint8Array(data.buffer) }
}

const model = ModelProto.encode({
  irVersion: 8,
  opsetImport: [{ domain: "", version: 13 }],
  graph: {
    name: "perceptron",
    input: [port("x", 256)],
    output: [port("y", 256)],
    initializer: [weights("a", [256, 1024]), weights("b", [1024, 256])],
    node: [
      { opType: "MatMul", input: ["x", "a"], output: ["h"] },
      { opType: "Relu", input: ["h"], output: ["r"] },
      { opType: "MatMul", input: ["r", "b"], output: ["y"] }
    ]
  }
}).finish()

interface Side {
  readonly name: string
  readonly call: (x: Float32Array) => Promise<unknown>
}

const yamls: Record<Model, string> = {
  single: "instances: 1",
  batched: "instances: 1\nbatching: { maxSize: 32 }",
  "single-process": "instances: 1\nruntime: process",
  "batched-process": "instances: 1\nruntime: process\nbatching: { maxSize: 32 }"
}

const all: ReadonlyArray<Model> = ["single", "batched", "single-process", "batched-process"]

/** Writes a version, and gives its folder. */
const write = (folder: string, name: Model, version: number): string => {
  const path = Path.join(folder, name, String(version))
  Fs.mkdirSync(path, { recursive: true })
  Fs.writeFileSync(Path.join(path, "model.yaml"), yamls[name])
  Fs.writeFileSync(Path.join(path, "model.onnx"), model)
  return path
}

const names = {
  direct: "onnxruntime-node, main thread",
  single: "ballast, a thread",
  batched: "ballast, a thread, batches",
  "single-process": "ballast, a process",
  "batched-process": "ballast, a process, batches"
}

type Model = Exclude<keyof typeof names, "direct">

const direct = async (): Promise<Side> => {
  const session = await InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1 })
  return {
    name: names.direct,
    call: async (x) => (await session.run({ x: new OrtTensor("float32", x, [1, 256]) }))["y"]?.data
  }
}

const side = (models: Models.Service, model: Model): Side => ({
  name: names[model],
  call: async (x) => {
    const inputs = { x: Tensor.makeUnsafe("FP32", [1, 256], x) }
    return (await Effect.runPromise(models.infer(model, undefined, { inputs }))).outputs["y"]?.data
  }
})

type Histogram = ReturnType<typeof createHistogram>

const turn = async ({ call }: Side, callers: number, times: Histogram) => {
  const until = performance.now() + turnMillis
  let calls = 0
  const caller = async (at: number) => {
    const x = Float32Array.from({ length: 256 }, (_, index) => Math.cos(index * (at + 1)))
    while (performance.now() < until) {
      const began = performance.now()
      await call(x)
      times.record(Math.max(1, Math.round((performance.now() - began) * 1000)))
      calls++
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, at) => caller(at)))
  return calls / turnMillis * 1000
}

interface Found {
  readonly name: string
  readonly rates: Array<number>
  readonly times: Histogram
  readonly delays: Array<loopDelay.Delays>
}

const found = (name: string): Found => ({ name, rates: [], times: createHistogram(), delays: [] })

const measure = async ({ delays, rates, times }: Found, side: Side, callers: number, idle: loopDelay.Idle) => {
  const stop = loopDelay.start(idle)
  rates.push(await turn(side, callers, times))
  delays.push(await stop())
}

const print = (title: string, all: ReadonlyArray<Found>): void => {
  const columns = ["calls/s", "p50 ms", "p99 ms", "loop p99 ms", "idle p99 ms"]
  console.log(`\ninference: ${title}`)
  console.log("".padEnd(36) + columns.map((name) => name.padStart(12)).join(""))
  for (const { delays, name, rates, times } of all) {
    const [best] = delays.toSorted((a, b) => a.own - b.own)
    const cells = [
      Math.max(...rates).toFixed(0),
      (times.percentile(50) / 1000).toFixed(2),
      (times.percentile(99) / 1000).toFixed(2),
      best?.own.toFixed(1) ?? "",
      best?.idle.toFixed(1) ?? ""
    ]
    console.log(name.padEnd(36) + cells.map((cell) => cell.padStart(12)).join(""))
  }
}

const compare = async (sides: ReadonlyArray<Side>, callers: number, idle: loopDelay.Idle) => {
  const all = sides.map((side) => ({ side, found: found(side.name) }))
  for (const { side } of all) await turn(side, callers, createHistogram())
  for (let index = 0; index < turns; index++) {
    for (const { found, side } of all) await measure(found, side, callers, idle)
  }
  const results = all.map(({ found }) => found)
  print(callers === 1 ? "1 caller" : `${callers} callers`, results)
  return results
}

/** Calls a second of one side over those of another. */
const ratio = (all: ReadonlyArray<Found>, name: string, beside: string): number => {
  const best = (name: string) => Math.max(...all.find((side) => side.name === name)?.rates ?? [])
  return best(name) / best(beside)
}

const tell = (isMet: boolean, what: string): void => console.log(`${isMet ? "✓" : "✗"} ${what}`)

const targets = (one: ReadonlyArray<Found>, many: ReadonlyArray<Found>, replaced: ReadonlyArray<Found>): void => {
  const gain = ratio(many, names.batched, names.single)
  const alone = ratio(one, names.batched, names.single)
  const ours = [...one, ...many, ...replaced].filter(({ name }) => name !== names.direct)
  const latest = Math.max(...ours.map(({ delays }) => Math.min(...delays.map(({ own }) => own))))
  console.log()
  tell(gain >= 3, `64 callers: batches make ${gain.toFixed(1)} × the calls, target 3`)
  tell(alone >= 0.9, `1 caller: batching makes ${alone.toFixed(2)} × the calls, target 0.9`)
  tell(latest < 20, `the loop is at most ${latest.toFixed(1)} ms late at the 99th percentile, target 20`)
}

/** A version is loaded, takes all calls, and the one before it leaves, in each turn. */
const replace = async (models: Models.Service, folder: string, name: Model, idle: loopDelay.Idle): Promise<Found> => {
  const all = found(names[name])
  const called = side(models, name)
  for (let version = 2; version < 2 + turns; version++) {
    const path = write(folder, name, version)
    const replaced = Effect.runPromise(
      Effect.andThen(
        models.load(name, String(version), { folder: path }),
        models.setTraffic(name, { [version]: 1 })
      ).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )
    await measure(all, called, 64, idle)
    await replaced
  }
  return all
}

/** Runs the comparison and prints it as it comes. */
export const run = async (): Promise<void> => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-inference-"))
  for (const name of all) write(folder, name, 1)
  const scope = await Effect.runPromise(Scope.make())
  const models = await Effect.runPromise(
    Models.make({ folder }).pipe(
      Effect.provide(NodeFileSystem.layer),
      Effect.provideService(References.MinimumLogLevel, "None"),
      Scope.provide(scope)
    )
  )
  const sides = [await direct(), ...all.map((name) => side(models, name))]
  const x = Float32Array.from({ length: 256 }, (_, at) => at / 256)
  const answers = await Promise.all(sides.map(({ call }) => call(x)))
  if (new Set(answers.map(String)).size !== 1) throw new Error("the sides disagree")
  const idle = await loopDelay.idle()
  const one = await compare(sides, 1, idle)
  const many = await compare(sides, 64, idle)
  const elsewhere = Path.join(folder, "..", `${Path.basename(folder)}-next`)
  const replaced: Array<Found> = []
  for (const name of ["batched", "batched-process"] as const) {
    replaced.push(await replace(models, elsewhere, name, idle))
  }
  print("64 callers, a version replaced in each turn", replaced)
  targets(one, many, replaced)
  idle.end()
  await Effect.runPromise(Scope.close(scope, Exit.void))
  for (const path of [folder, elsewhere]) Fs.rmSync(path, { recursive: true })
}
