/** Tensors in the form of the runtime, and back. */
import type { Datatype, Tensor } from "../Tensor.ts"
import type { Wire } from "./protocol.ts"

const types = {
  BOOL: "bool",
  UINT8: "uint8",
  UINT16: "uint16",
  UINT32: "uint32",
  UINT64: "uint64",
  INT8: "int8",
  INT16: "int16",
  INT32: "int32",
  INT64: "int64",
  FP16: "float16",
  FP32: "float32",
  FP64: "float64",
  BYTES: "string"
} satisfies Record<Datatype, string>

const datatypes = new Map<string, Datatype>()
for (const [datatype, type] of Object.entries(types)) datatypes.set(type, datatype as Datatype)

/** The datatype of a type of the runtime, if it has one: bfloat16 has none. */
export const datatypeOf = (type: string): Datatype | undefined => datatypes.get(type)

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** The texts of a tensor of bytes. Throws a `TypeError` where they are no UTF-8. */
export const textsOf = (data: ReadonlyArray<string | Uint8Array>): ReadonlyArray<string> =>
  data.map((element) => typeof element === "string" ? element : decoder.decode(element))

export const toWire = ({ data, datatype, shape }: Tensor): Wire => ({
  type: types[datatype],
  dims: shape,
  data: ArrayBuffer.isView(data) ? data : textsOf(data)
})

/** The outputs of a run. Their types were looked at when the model was loaded. */
export const tensorsOf = (outputs: Readonly<Record<string, Wire>>): Readonly<Record<string, Tensor>> => {
  const tensors: Record<string, Tensor> = {}
  for (const [name, { data, dims, type }] of Object.entries(outputs)) {
    const datatype = datatypeOf(type)
    if (datatype !== undefined) tensors[name] = { datatype, shape: dims, data }
  }
  return tensors
}
