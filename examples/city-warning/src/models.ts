/**
 * The two models, whose weights are formulas, and the folder that the gateway serves them from.
 *
 * | model | inputs | outputs |
 * |---|---|---|
 * | `flow` | `history`: the last 6 frames | `counts` of the next 3 frames, by the line of least squares; `load`: their mean by district, as a share of the capacity |
 * | `anomaly` | `counts` of a frame; `hours`: its weight for each hour of the day | `unusual`: by district, how far its counts are above the usual ones; `apart`: how far a sensor is from the others of its district |
 *
 * Both outputs of `anomaly` are in units of the usual spread, the square root of the usual count.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import OnnxProto, { type onnx } from "onnx-proto"
import { capacity, districtOf, districts, perDistrict, sensors, usual } from "./city.ts"

/** Frames that `flow` looks at. */
export const past = 6

/** Frames that it foretells. */
const ahead = 3

type Matrix = ReadonlyArray<ReadonlyArray<number>>

const matrix = (rows: number, columns: number, at: (row: number, column: number) => number): Matrix =>
  Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) => at(row, column)))

const times = (a: Matrix, b: Matrix): Matrix =>
  matrix(
    a.length,
    b[0]?.length ?? 0,
    (row, column) => (a[row] ?? []).reduce((sum, value, index) => sum + value * (b[index]?.[column] ?? 0), 0)
  )

/** The weights of past frames in a coming one: the line of least squares through the past, drawn on. */
const trend = matrix(ahead, past, (row, column) => {
  const middle = (past - 1) / 2
  const squares = past * (past ** 2 - 1) / 12
  return 1 / past + (past + row - middle) * (column - middle) / squares
})

/** The mean of a district's sensors. */
const mean = matrix(
  sensors,
  districts.length,
  (sensor, district) => districtOf(sensor) === district ? 1 / perDistrict : 0
)

const share = mean.map((row) => row.map((value) => value / capacity))

const table = matrix(24, sensors, usual)

/** A sensor less the mean of the others of its district. */
const contrast = matrix(
  sensors,
  sensors,
  (other, sensor) => other === sensor ? 1 : districtOf(other) === districtOf(sensor) ? -1 / (perDistrict - 1) : 0
)

/** The weights of the hours at a minute of the day: of the hour before, and of the one after. */
export const hoursOf = (at: number): ReadonlyArray<number> => {
  const hour = Math.floor(at / 60)
  const part = at / 60 - hour
  return Array.from({ length: 24 }, (_, index) => index === hour ? 1 - part : index === (hour + 1) % 24 ? part : 0)
}

const { ModelProto, TensorProto } = OnnxProto.onnx
const { FLOAT } = TensorProto.DataType

const port = (name: string, ...shape: ReadonlyArray<number>): onnx.IValueInfoProto => ({
  name,
  type: {
    tensorType: { elemType: FLOAT, shape: { dim: [{ dimParam: "batch" }, ...shape.map((dimValue) => ({ dimValue }))] } }
  }
})

const weights = (name: string, value: Matrix): onnx.ITensorProto => ({
  name,
  dims: [value.length, value[0]?.length ?? 0],
  dataType: FLOAT,
  rawData: new Uint8Array(new Float32Array(value.flat()).buffer)
})

const node = (opType: string, input: ReadonlyArray<string>, output: string): onnx.INodeProto => ({
  opType,
  input: [...input],
  output: [output]
})

const flow: onnx.IGraphProto = {
  name: "flow",
  input: [port("history", past, sensors)],
  output: [port("counts", ahead, sensors), port("load", ahead, districts.length)],
  initializer: [weights("trend", trend), weights("share", share)],
  node: [
    node("MatMul", ["trend", "history"], "line"),
    node("Relu", ["line"], "counts"),
    node("MatMul", ["counts", "share"], "load")
  ]
}

const anomaly: onnx.IGraphProto = {
  name: "anomaly",
  input: [port("counts", sensors), port("hours", 24)],
  output: [port("unusual", districts.length), port("apart", sensors)],
  initializer: [
    weights("table", table),
    weights("one", [[1]]),
    weights("mean", mean),
    weights("contrast", contrast)
  ],
  node: [
    node("MatMul", ["hours", "table"], "usual"),
    node("Sub", ["counts", "usual"], "more"),
    node("Add", ["usual", "one"], "variance"),
    node("Sqrt", ["variance"], "spread"),
    node("Div", ["more", "spread"], "distance"),
    node("MatMul", ["distance", "mean"], "unusual"),
    node("MatMul", ["distance", "contrast"], "signed"),
    node("Abs", ["signed"], "apart")
  ]
}

/** Inputs whose outputs are calculated here without the runtime: a version that answers them otherwise takes no calls. */
const golden = {
  flow: () => {
    const history = matrix(past, sensors, (row, sensor) => 10 + 7 * row + sensor)
    const counts = times(trend, history)
    return {
      inputs: { history: [history] },
      outputs: { counts: [counts], load: [times(counts, share)] },
      tolerance: 1e-3
    }
  },
  anomaly: () => {
    const hours = hoursOf(7 * 60 + 30)
    const counts = matrix(1, sensors, (_, sensor) => 40 + 5 * sensor)
    const [expected = []] = times([hours], table)
    const distance = counts.map((row) =>
      row.map((count, index) => {
        const value = expected[index] ?? 0
        return (count - value) / Math.sqrt(value + 1)
      })
    )
    return {
      inputs: { counts, hours: [hours] },
      outputs: { unusual: times(distance, mean), apart: times(distance, contrast).map((row) => row.map(Math.abs)) },
      tolerance: 1e-3
    }
  }
}

/** Writes both models into a folder, as version 1. */
export const write = (folder: string): void => {
  const models = { flow: { graph: flow, golden: golden.flow() }, anomaly: { graph: anomaly, golden: golden.anomaly() } }
  for (const [name, { golden, graph }] of Object.entries(models)) {
    const version = Path.join(folder, name, "1")
    Fs.mkdirSync(version, { recursive: true })
    // JSON is YAML.
    Fs.writeFileSync(Path.join(version, "model.yaml"), JSON.stringify({ instances: 1, golden: [golden] }))
    const model = { irVersion: 8, opsetImport: [{ domain: "", version: 13 }], producerName: "ballast", graph }
    Fs.writeFileSync(Path.join(version, "model.onnx"), ModelProto.encode(model).finish())
  }
}
