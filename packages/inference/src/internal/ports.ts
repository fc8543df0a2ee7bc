/** The inputs and outputs of a session, and whether tensors fit them. */
import * as Tensor from "../Tensor.ts"
import type { Failure, WirePort } from "./protocol.ts"
import { datatypeOf, textsOf } from "./wire.ts"

/** What is wrong, and where. */
export interface Misfit {
  readonly where: string
  readonly detail: string
}

export interface Ports {
  readonly inputs: ReadonlyArray<Tensor.Port>
  readonly outputs: ReadonlyArray<Tensor.Port>
}

const refuse = (detail: string): Failure => ({ detail, text: "" })

/** Whether each dimension is that of the wider shape, where that has one. */
const narrows = (shape: ReadonlyArray<number>, wider: ReadonlyArray<number>): boolean =>
  shape.length === wider.length && wider.every((size, axis) => size === -1 || size === shape[axis])

/** What a session takes and gives, with the narrower shapes of the settings; or why it can't be used. */
export const portsOf = (
  inputs: ReadonlyArray<WirePort>,
  outputs: ReadonlyArray<WirePort>,
  shapes: Readonly<Record<string, ReadonlyArray<number>>>
): Ports | Failure => {
  const ports: Array<Tensor.Port> = []
  for (const { name, shape, type } of [...inputs, ...outputs]) {
    const datatype = datatypeOf(type)
    if (datatype === undefined) return refuse(`${name} has elements of the type ${type}, which is not supported`)
    ports.push({ name, datatype, shape: shape.map((size) => typeof size === "number" && size >= 0 ? size : -1) })
  }
  const found = { inputs: ports.slice(0, inputs.length), outputs: ports.slice(inputs.length) }
  for (const [name, shape] of Object.entries(shapes)) {
    const port = found.inputs.find((port) => port.name === name)
    if (port === undefined) return refuse(`model.yaml gives a shape for ${name}; the file has no such input`)
    if (!narrows(shape, port.shape)) {
      const [given, file] = [shape, port.shape].map(Tensor.showShape)
      return refuse(`model.yaml gives ${name} the shape ${given}, which does not fit ${file} of the file`)
    }
  }
  const narrowed = found.inputs.map((port) => ({ ...port, shape: shapes[port.name] ?? port.shape }))
  return { inputs: narrowed, outputs: found.outputs }
}

const names = (ports: ReadonlyArray<Tensor.Port>): string => ports.map(({ name }) => name).join(", ")

/** Whether a tensor fits a port; says what does not. */
const fits = (port: Tensor.Port, tensor: Tensor.Tensor): string | undefined => {
  if (tensor.datatype !== port.datatype) return `the datatype is ${tensor.datatype}, expected ${port.datatype}`
  const right = port.shape.length === tensor.shape.length &&
    port.shape.every((size, axis) => size === -1 || size === tensor.shape[axis])
  if (right) return undefined
  return `the shape is ${Tensor.showShape(tensor.shape)}, expected ${Tensor.showShape(port.shape)}${
    port.shape.includes(-1) ? " (-1 is any size)" : ""
  }`
}

const isText = ({ data }: Tensor.Tensor): boolean => {
  if (ArrayBuffer.isView(data)) return true
  try {
    textsOf(data)
    return true
  } catch {
    return false
  }
}

/** Whether inputs are those of a model. */
export const checkInputs = (
  ports: ReadonlyArray<Tensor.Port>,
  inputs: Readonly<Record<string, Tensor.Tensor>>
): Misfit | undefined => {
  for (const port of ports) {
    const tensor = Object.hasOwn(inputs, port.name) ? inputs[port.name] : undefined
    if (tensor === undefined) return { where: port.name, detail: "the input is missing" }
    const detail = fits(port, tensor)
    if (detail !== undefined) return { where: port.name, detail }
    if (!isText(tensor)) return { where: port.name, detail: "an element is no UTF-8; the runtime takes text only" }
  }
  for (const name of Object.keys(inputs)) {
    if (ports.some((port) => port.name === name)) continue
    return { where: name, detail: `the model has no such input; it has ${names(ports)}` }
  }
  return undefined
}

/** Whether the outputs that are asked for are those of a model. */
export const checkOutputs = (ports: ReadonlyArray<Tensor.Port>, wanted: ReadonlyArray<string>): Misfit | undefined => {
  const unknown = wanted.find((name) => !ports.some((port) => port.name === name))
  return unknown === undefined
    ? undefined
    : { where: unknown, detail: `the model has no such output; it has ${names(ports)}` }
}

/** Whether the inputs have the same number of rows, and no more than a batch. */
export const checkRows = (
  inputs: Readonly<Record<string, Tensor.Tensor>>,
  maxSize: number
): Misfit | undefined => {
  const all = Object.entries(inputs).map(([where, tensor]) => ({ where, rows: Tensor.rows(tensor) }))
  for (const { rows, where } of all) {
    if (rows === undefined) return { where, detail: "it has no rows, so it can't be batched" }
    if (rows > maxSize) return { where, detail: `it has ${rows} rows; a call may have at most ${maxSize}` }
    if (rows !== all[0]?.rows) {
      return { where, detail: `it has ${rows} rows, but ${all[0]?.where} has ${all[0]?.rows}` }
    }
  }
  return undefined
}

/** Whether the inputs are small enough. */
export const checkBytes = (
  inputs: Readonly<Record<string, Tensor.Tensor>>,
  maxBytes: number
): Misfit | undefined => {
  for (const [where, tensor] of Object.entries(inputs)) {
    const bytes = Tensor.byteSize(tensor)
    if (bytes > maxBytes) return { where, detail: `it has ${bytes} bytes; at most ${maxBytes} are allowed` }
  }
  return undefined
}
