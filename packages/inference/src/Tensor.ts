/**
 * Tensors, as the Open Inference Protocol names their types.
 *
 * The data is flat and row-major: the last dimension changes fastest. A `BOOL` is a byte that is 0 or 1, an `FP16` the bits of a half-precision
 * number, a `BYTES` element a text or its UTF-8 bytes. The first dimension is the batch, where a model has one.
 *
 * @see {@link https://github.com/kserve/open-inference-protocol}
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/**
 * The types of elements, with the bytes that one takes (0 where that varies), the array that holds them, and how one is created.
 *
 * @category models
 * @since 0.1.0
 */
export const datatypes = {
  BOOL: { bytes: 1, array: Uint8Array, create: (length: number) => new Uint8Array(length) },
  UINT8: { bytes: 1, array: Uint8Array, create: (length: number) => new Uint8Array(length) },
  UINT16: { bytes: 2, array: Uint16Array, create: (length: number) => new Uint16Array(length) },
  UINT32: { bytes: 4, array: Uint32Array, create: (length: number) => new Uint32Array(length) },
  UINT64: { bytes: 8, array: BigUint64Array, create: (length: number) => new BigUint64Array(length) },
  INT8: { bytes: 1, array: Int8Array, create: (length: number) => new Int8Array(length) },
  INT16: { bytes: 2, array: Int16Array, create: (length: number) => new Int16Array(length) },
  INT32: { bytes: 4, array: Int32Array, create: (length: number) => new Int32Array(length) },
  INT64: { bytes: 8, array: BigInt64Array, create: (length: number) => new BigInt64Array(length) },
  FP16: { bytes: 2, array: Uint16Array, create: (length: number) => new Uint16Array(length) },
  FP32: { bytes: 4, array: Float32Array, create: (length: number) => new Float32Array(length) },
  FP64: { bytes: 8, array: Float64Array, create: (length: number) => new Float64Array(length) },
  BYTES: { bytes: 0, array: Array, create: undefined }
} as const

/**
 * The name of a type of elements.
 *
 * @category models
 * @since 0.1.0
 */
export type Datatype = keyof typeof datatypes

/**
 * The elements of a tensor.
 *
 * @category models
 * @since 0.1.0
 */
export type Data =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array
  | ReadonlyArray<string | Uint8Array>

/**
 * A tensor. `make` sees to it that shape, type and data agree.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tensor {
  readonly datatype: Datatype
  /** Empty for a single value. */
  readonly shape: ReadonlyArray<number>
  readonly data: Data
}

/**
 * The type of an input or an output of a model.
 *
 * @category models
 * @since 0.1.0
 */
export interface Port {
  readonly name: string
  readonly datatype: Datatype
  /** -1 is a dimension that varies. */
  readonly shape: ReadonlyArray<number>
}

/**
 * A shape, type and data that do not fit together.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidTensor extends Schema.TaggedError<InvalidTensor>()("InvalidTensor", {
  /** What is wrong, and what would be right. */
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

/** No runtime takes more dimensions. */
const maxRank = 32

/** A shape as text, such as `[2, -1]`. */
export const showShape = (shape: ReadonlyArray<number>): string => `[${shape.join(", ")}]`

/**
 * The number of elements of a shape, if it is one: whole numbers from 0 whose product is exact, and at most 32 of them.
 *
 * @category accessors
 * @since 0.1.0
 */
export const sizeOf = (shape: ReadonlyArray<number>): Result.Result<number, InvalidTensor> => {
  const refuse = (detail: string) => Result.fail(new InvalidTensor({ detail }))
  if (shape.length > maxRank) return refuse(`the shape has ${shape.length} dimensions; at most ${maxRank} are allowed`)
  // A dimension of zero must not hide that the others overflow.
  let product = 1
  let empty = false
  for (const dimension of shape) {
    if (!Number.isSafeInteger(dimension) || dimension < 0) {
      return refuse(
        `the shape ${showShape(shape)} has the dimension ${dimension}; a dimension is a whole number from 0`
      )
    }
    if (dimension === 0) empty = true
    else product *= dimension
    if (product > Number.MAX_SAFE_INTEGER) {
      return refuse(`the shape ${showShape(shape)} has more elements than can be counted`)
    }
  }
  return Result.succeed(empty ? 0 : product)
}

/**
 * Creates a tensor, if shape, type and data agree.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  datatype: Datatype,
  shape: ReadonlyArray<number>,
  data: Data
): Result.Result<Tensor, InvalidTensor> => {
  const { array } = datatypes[datatype]
  if (!(data instanceof array)) {
    const detail = `data of the type ${datatype} is a ${array.name}, got a ${data.constructor.name}`
    return Result.fail(new InvalidTensor({ detail }))
  }
  return Result.flatMap(sizeOf(shape), (size) =>
    size === data.length
      ? Result.succeed({ datatype, shape, data })
      : Result.fail(
        new InvalidTensor({
          detail: `the shape ${showShape(shape)} has ${size} elements, but the data has ${data.length}`
        })
      ))
}

/**
 * Creates a tensor; throws an `InvalidTensor` if shape, type and data do not agree.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = (datatype: Datatype, shape: ReadonlyArray<number>, data: Data): Tensor =>
  Result.getOrThrow(make(datatype, shape, data))

/**
 * The bytes that the data takes; a text counts as its UTF-8 bytes.
 *
 * @category accessors
 * @since 0.1.0
 */
export const byteSize = ({ data }: Tensor): number => {
  if (ArrayBuffer.isView(data)) return data.byteLength
  let bytes = 0
  for (const element of data) bytes += typeof element === "string" ? Buffer.byteLength(element) : element.byteLength
  return bytes
}

/**
 * The size of the batch: the first dimension. A single value has none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const rows = ({ shape }: Tensor): number | undefined => shape[0]

/** The elements in one row. */
const stride = ({ shape }: Tensor): number => shape.slice(1).reduce((product, dimension) => product * dimension, 1)

/**
 * Copies the rows from `start` up to `end`, exclusively, along the first dimension. Throws a `RangeError` for rows that are not there.
 *
 * @category combinators
 * @since 0.1.0
 */
export const slice = (self: Tensor, start: number, end: number): Tensor => {
  const count = rows(self)
  if (count === undefined || !(0 <= start && start <= end && end <= count)) {
    throw new RangeError(`Tensor.slice: rows ${start} to ${end} are not in the shape ${showShape(self.shape)}`)
  }
  const step = stride(self)
  const { data, datatype } = self
  return {
    datatype,
    shape: [end - start, ...self.shape.slice(1)],
    data: copy(datatype, [
      ArrayBuffer.isView(data) ? data.subarray(start * step, end * step) : data.slice(start * step, end * step)
    ])
  }
}

/**
 * Copies tensors into one, along the first dimension. Throws a `RangeError` unless their types and other dimensions are the same.
 *
 * @category combinators
 * @since 0.1.0
 */
export const concat = (tensors: readonly [Tensor, ...ReadonlyArray<Tensor>]): Tensor => {
  const [first] = tensors
  let total = 0
  for (const tensor of tensors) {
    const count = rows(tensor)
    if (count === undefined || tensor.datatype !== first.datatype || !sameRow(tensor, first)) {
      const [wrong, right] = [tensor, first].map(({ datatype, shape }) => `${datatype} ${showShape(shape)}`)
      throw new RangeError(`Tensor.concat: rows of ${wrong} do not fit those of ${right}`)
    }
    total += count
  }
  return {
    datatype: first.datatype,
    shape: [total, ...first.shape.slice(1)],
    data: copy(first.datatype, tensors.map(({ data }) => data))
  }
}

/**
 * Copies a tensor into memory of its own.
 *
 * @category combinators
 * @since 0.1.0
 */
export const clone = ({ data, datatype, shape }: Tensor): Tensor => ({ datatype, shape, data: copy(datatype, [data]) })

const sameRow = (self: Tensor, that: Tensor): boolean =>
  self.shape.length === that.shape.length && self.shape.every((size, axis) => axis === 0 || size === that.shape[axis])

/** Copies data, one after the other, into a new array with a buffer of its own. */
const copy = (datatype: Datatype, parts: ReadonlyArray<Data>): Data => {
  const { create } = datatypes[datatype]
  const elements = parts.flatMap((part) => ArrayBuffer.isView(part) ? [] : part)
  if (create === undefined) return elements
  const joined = create(parts.reduce((length, part) => length + part.length, 0))
  const bytes = new Uint8Array(joined.buffer)
  let at = 0
  for (const part of parts) {
    if (!ArrayBuffer.isView(part)) continue
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at)
    at += part.byteLength
  }
  return joined
}
