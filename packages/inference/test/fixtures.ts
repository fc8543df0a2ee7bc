import { Models, Tensor } from "@ballast/inference"
import { NodeFileSystem } from "@effect/platform-node"
import { Effect, Schedule } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import onnxProto, { type onnx } from "onnx-proto"

const { AttributeProto, ModelProto, TensorProto: { DataType } } = onnxProto.onnx
type Size = number | string

/** An input or an output of a graph. */
export const value = (name: string, elemType: number, shape: ReadonlyArray<Size>): onnx.IValueInfoProto => ({
  name,
  type: {
    tensorType: {
      elemType,
      shape: { dim: shape.map((size) => typeof size === "number" ? { dimValue: size } : { dimParam: size }) }
    }
  }
})

export const floats = (name: string, dims: ReadonlyArray<number>, data: ReadonlyArray<number>): onnx.ITensorProto => ({
  name,
  dims: [...dims],
  dataType: DataType.FLOAT,
  rawData: new Uint8Array(new Float32Array(data).buffer)
})

/** The bytes of a model. */
export const model = (graph: onnx.IGraphProto, version = 13): Uint8Array =>
  ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ domain: "", version }],
    producerName: "ballast",
    graph: { name: "g", ...graph }
  }).finish()

/** `y = x * factor`, row by row. */
export const scale = (factor: number, columns = 4, rows: Size = "batch"): Uint8Array =>
  model({
    input: [value("x", DataType.FLOAT, [rows, columns])],
    output: [value("y", DataType.FLOAT, [rows, columns])],
    initializer: [floats("k", [1], [factor])],
    node: [{ opType: "Mul", input: ["x", "k"], output: ["y"] }]
  })

/** As `scale`, with 8 MB of weights that change nothing. */
export const heavy = (factor: number): Uint8Array => {
  const zeros = (name: string, rows: number, columns: number) =>
    floats(name, [rows, columns], Array.from({ length: rows * columns }, () => 0))
  return model({
    input: [value("x", DataType.FLOAT, ["batch", 4])],
    output: [value("y", DataType.FLOAT, ["batch", 4])],
    initializer: [floats("k", [1], [factor]), zeros("a", 4, 512), zeros("b", 512, 4096), zeros("c", 4096, 4)],
    node: [
      { opType: "MatMul", input: ["x", "a"], output: ["xa"] },
      { opType: "MatMul", input: ["xa", "b"], output: ["xab"] },
      { opType: "MatMul", input: ["xab", "c"], output: ["zero"] },
      { opType: "Mul", input: ["x", "k"], output: ["xk"] },
      { opType: "Add", input: ["xk", "zero"], output: ["y"] }
    ]
  })
}

/** Has an operator that there is not. */
export const unknownOperator = (): Uint8Array =>
  model({
    input: [value("x", DataType.FLOAT, ["batch", 4])],
    output: [value("y", DataType.FLOAT, ["batch", 4])],
    node: [{ opType: "Frobnicate", input: ["x"], output: ["y"] }]
  })

/** Fails for an index that is not below 4. */
export const pick = (): Uint8Array =>
  model({
    input: [value("i", DataType.INT64, ["batch"])],
    output: [value("y", DataType.FLOAT, ["batch"])],
    initializer: [floats("table", [4], [10, 11, 12, 13])],
    node: [{ opType: "Gather", input: ["table", "i"], output: ["y"] }]
  })

const int64s = (name: string, data: ReadonlyArray<bigint>, dims = [data.length]): onnx.ITensorProto => ({
  name,
  dims,
  dataType: DataType.INT64,
  rawData: new Uint8Array(new BigInt64Array(data).buffer)
})

/** Doubles `x` as often as `n` says: runs as long as one likes. */
export const loop = (): Uint8Array =>
  model({
    input: [value("x", DataType.FLOAT, [1]), value("n", DataType.INT64, [1])],
    output: [value("y", DataType.FLOAT, [1])],
    initializer: [
      { name: "go", dims: [], dataType: DataType.BOOL, rawData: new Uint8Array([1]) },
      int64s("scalar", [], [0])
    ],
    node: [
      { opType: "Reshape", input: ["n", "scalar"], output: ["trips"] },
      {
        opType: "Loop",
        input: ["trips", "go", "x"],
        output: ["y"],
        attribute: [{
          name: "body",
          type: AttributeProto.AttributeType.GRAPH,
          g: {
            name: "body",
            input: [value("step", DataType.INT64, []), value("in", DataType.BOOL, []), value("a", DataType.FLOAT, [1])],
            output: [value("out", DataType.BOOL, []), value("b", DataType.FLOAT, [1])],
            node: [
              { opType: "Identity", input: ["in"], output: ["out"] },
              { opType: "Add", input: ["a", "a"], output: ["b"] }
            ]
          }
        }]
      }
    ]
  })

/** A folder that is gone when the scope closes. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "ballast-inference-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** Writes a version into a repository: the model last, as a careful operator does. */
export const write = (
  repository: string,
  name: string,
  version: string,
  files: { readonly model?: Uint8Array; readonly yaml?: string; readonly more?: Record<string, string | Uint8Array> }
): void => {
  const path = Path.join(repository, name, version)
  Fs.mkdirSync(path, { recursive: true })
  for (const [file, content] of Object.entries(files.more ?? {})) Fs.writeFileSync(Path.join(path, file), content)
  if (files.yaml !== undefined) Fs.writeFileSync(Path.join(path, "model.yaml"), files.yaml)
  if (files.model !== undefined) Fs.writeFileSync(Path.join(path, "model.onnx"), files.model)
}

/** The service over a folder. Its sessions end with the scope. */
export const serve = (options: Models.Options) =>
  Effect.provide(Models.make({ interval: "20 millis", ...options }), NodeFileSystem.layer)

export const row = (...values: ReadonlyArray<number>) =>
  Tensor.makeUnsafe("FP32", [1, values.length], new Float32Array(values))

/** One session, and golden inputs that a scale must answer. */
export const golden = (factor: number, more = "") =>
  `instances: 1
${more}
golden:
  - inputs: { x: [[1, 2, 3, 4]] }
    outputs: { y: [[${[1, 2, 3, 4].map((it) => it * factor).join()}]] }
`

/** Waits until a version is in a state. */
export const reached = (models: Models.Service, name: string, version: string, state: Models.State) =>
  models.list.pipe(
    Effect.map((all) => all.find((it) => it.name === name && it.version === version)),
    Effect.repeat({ until: (it) => it?.state === state, schedule: Schedule.spaced("10 millis") })
  )

/** The vectors of two words and of nothing, and their mean is not taken: `y` is [batch, tokens, 2]. */
export const vectors = (): Uint8Array =>
  model({
    input: [value("input_ids", DataType.INT64, ["batch", "tokens"])],
    output: [value("y", DataType.FLOAT, ["batch", "tokens", 2])],
    initializer: [floats("table", [3, 2], [0, 0, 3, 4, 0, 2])],
    node: [{ opType: "Gather", input: ["table", "input_ids"], output: ["y"] }]
  })

/** Knows two words: sun is 1, rain is 2, all else is 0. */
export const tokenizer = JSON.stringify({
  version: "1.0",
  added_tokens: [],
  normalizer: { type: "Lowercase" },
  pre_tokenizer: { type: "Whitespace" },
  post_processor: null,
  decoder: null,
  model: { type: "WordLevel", vocab: { "[UNK]": 0, sun: 1, rain: 2 }, unk_token: "[UNK]" }
})

/** `y = -x`, in half precision. */
export const half = (): Uint8Array =>
  model({
    input: [value("x", DataType.FLOAT16, ["batch"])],
    output: [value("y", DataType.FLOAT16, ["batch"])],
    node: [{ opType: "Neg", input: ["x"], output: ["y"] }]
  })

/** Gives its texts back. */
export const texts = (): Uint8Array =>
  model({
    input: [value("x", DataType.STRING, ["batch"])],
    output: [value("y", DataType.STRING, ["batch"])],
    node: [{ opType: "Identity", input: ["x"], output: ["y"] }]
  })
