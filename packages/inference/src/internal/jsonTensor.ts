/** Elements as JSON: flat, or nested as the shape says, in row-major order. */
import * as Result from "effect/Result"
import { type Data, type Datatype, datatypes, showShape, type Tensor } from "../Tensor.ts"

/** The bounds of whole numbers that fit a double. */
const ranges: Partial<Record<Datatype, readonly [number, number]>> = {
  UINT8: [0, 255],
  UINT16: [0, 65_535],
  UINT32: [0, 4_294_967_295],
  INT8: [-128, 127],
  INT16: [-32_768, 32_767],
  INT32: [-2_147_483_648, 2_147_483_647]
}

const range64: Partial<Record<Datatype, readonly [bigint, bigint]>> = {
  UINT64: [0n, 2n ** 64n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n]
}

/** Values in their order, or the path of the first array whose length is not that of the shape. */
const flatten = (
  data: ReadonlyArray<unknown>,
  shape: ReadonlyArray<number>,
  size: number
): Result.Result<ReadonlyArray<unknown>, string> => {
  if (!Array.isArray(data[0])) {
    return data.length === size
      ? Result.succeed(data)
      : Result.fail(`the shape ${showShape(shape)} has ${size} elements, but the data has ${data.length}`)
  }
  let level = data
  for (const [axis, length] of shape.entries()) {
    if (axis === 0 ? data.length !== length : !level.every((part) => Array.isArray(part) && part.length === length)) {
      return Result.fail(
        `it is nested, and its arrays of dimension ${axis} do not all have the ${length} elements of ${
          showShape(shape)
        }`
      )
    }
    if (axis > 0) level = level.flat()
  }
  return Result.succeed(level)
}

/** The beginning of an element. JSON itself has no word for a bigint, as large numbers come. */
const shown = (value: unknown): string =>
  typeof value === "bigint"
    ? String(value).slice(0, 40)
    : (JSON.stringify(value, (_, part) => typeof part === "bigint" ? String(part) : part) ?? String(value)).slice(0, 40)

const to64 = (value: unknown): bigint | undefined =>
  typeof value === "bigint" ? value : Number.isSafeInteger(value) ? BigInt(Number(value)) : undefined

/** Puts the elements in place; gives the position of the first that does not fit. */
const fill = (
  datatype: Datatype,
  values: ReadonlyArray<unknown>,
  data: Exclude<Data, ReadonlyArray<unknown>>
): number => {
  const range = ranges[datatype]
  const wide = range64[datatype]
  for (let at = 0; at < values.length; at++) {
    const value = values[at]
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
      const exact = to64(value)
      if (wide === undefined || exact === undefined || exact < wide[0] || exact > wide[1]) return at
      data[at] = exact
    } else if (datatype === "BOOL") {
      if (typeof value !== "boolean") return at
      data[at] = value ? 1 : 0
    } else {
      const number = typeof value === "bigint" && range === undefined ? Number(value) : value
      if (typeof number !== "number") return at
      if (range !== undefined && !(Number.isInteger(number) && number >= range[0] && number <= range[1])) return at
      data[at] = number
      if (!Number.isFinite(data[at])) return at
    }
  }
  return -1
}

const expected = (datatype: Datatype): string => {
  const range = ranges[datatype] ?? range64[datatype]
  if (range !== undefined) return `a whole number from ${range[0]} to ${range[1]}`
  return datatype === "BOOL" ? "true or false" : `a number that ${datatype} can hold`
}

/** The elements, or what is wrong. */
export const read = (
  datatype: Datatype,
  shape: ReadonlyArray<number>,
  size: number,
  data: unknown
): Result.Result<Data, string> => {
  if (datatype === "FP16") return Result.fail("FP16 has no form in JSON; send it as a binary tensor, or as FP32")
  if (!Array.isArray(data)) return Result.fail("it must be an array")
  return Result.flatMap(flatten(data, shape, size), (values): Result.Result<Data, string> => {
    const { create } = datatypes[datatype]
    if (create === undefined) {
      const at = values.findIndex((value) => typeof value !== "string")
      return at === -1
        ? Result.succeed(values.map(String))
        : Result.fail(`element ${at} is ${shown(values[at])}, expected a text`)
    }
    const elements = create(size)
    const at = fill(datatype, values, elements)
    return at === -1
      ? Result.succeed(elements)
      : Result.fail(`element ${at} is ${shown(values[at])}, expected ${expected(datatype)}`)
  })
}

const texts = new TextDecoder()

/** The text of a JSON array, or why there is none. */
export const write = ({ data, datatype }: Tensor): Result.Result<string, string> => {
  if (datatype === "FP16") return Result.fail("FP16 has no form in JSON; ask for binary_data")
  if (!ArrayBuffer.isView(data)) {
    return Result.succeed(JSON.stringify(data.map((one) => typeof one === "string" ? one : texts.decode(one))))
  }
  if (datatype === "BOOL" && data instanceof Uint8Array) {
    return Result.succeed(`[${Array.from(data, Boolean).join(",")}]`)
  }
  if (data instanceof Float32Array || data instanceof Float64Array) {
    const at = data.findIndex((value) => !Number.isFinite(value))
    if (at !== -1) return Result.fail(`element ${at} is ${data[at]}, which JSON can not say; ask for binary_data`)
  }
  return Result.succeed(`[${data.join(",")}]`)
}
