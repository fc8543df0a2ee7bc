/**
 * Tensors as nested JSON arrays, for programs and workflows: `[[1, 2], [3, 4]]` is a tensor of the shape `[2, 2]`, a lone value one of the
 * shape `[]`.
 *
 * `FP16` has no such form, nor have `NaN` and infinite numbers.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as jsonTensor from "./internal/jsonTensor.ts"
import * as Tensor from "./Tensor.ts"

const isArray = (u: unknown): u is ReadonlyArray<unknown> => Array.isArray(u)

/** That of the first elements; whether the others are alike is seen when they are read. */
const shapeOf = (value: unknown): ReadonlyArray<number> => {
  const shape: Array<number> = []
  for (let part = value; isArray(part); part = part[0]) shape.push(part.length)
  return shape
}

const refuse = (detail: string) => new Tensor.InvalidTensor({ detail })

/**
 * The tensor of a value.
 *
 * @category conversions
 * @since 0.1.0
 */
export const read = (datatype: Tensor.Datatype, value: unknown): Result.Result<Tensor.Tensor, Tensor.InvalidTensor> => {
  const shape = shapeOf(value)
  return Result.flatMap(
    Tensor.sizeOf(shape),
    (size) =>
      Result.mapBoth(jsonTensor.read(datatype, shape, size, isArray(value) ? value : [value]), {
        onFailure: refuse,
        onSuccess: (data) => ({ datatype, shape, data })
      })
  )
}

const nest = (values: ReadonlyArray<unknown>, [size, ...rest]: ReadonlyArray<number>): unknown => {
  if (size === undefined) return values[0]
  if (rest.length === 0) return values
  const step = values.length / size
  return Array.from({ length: size }, (_, at) => nest(values.slice(at * step, (at + 1) * step), rest))
}

/**
 * The value of a tensor. Whole numbers of 64 bits become doubles, exact up to 2^53.
 *
 * @category conversions
 * @since 0.1.0
 */
export const write = (tensor: Tensor.Tensor): Result.Result<unknown, Tensor.InvalidTensor> =>
  Result.mapBoth(jsonTensor.write(tensor), {
    onFailure: refuse,
    onSuccess: (text) => {
      const values: ReadonlyArray<unknown> = JSON.parse(text)
      return nest(values, tensor.shape)
    }
  })
