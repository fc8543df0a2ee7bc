import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import type * as Tensor from "../src/Tensor.ts"
import * as TensorJson from "../src/TensorJson.ts"

const roundTrip = (datatype: Tensor.Datatype, value: unknown) =>
  Result.getOrThrow(TensorJson.write(Result.getOrThrow(TensorJson.read(datatype, value))))

const refusal = (datatype: Tensor.Datatype, value: unknown) => {
  const read = TensorJson.read(datatype, value)
  return Result.isFailure(read) ? read.failure.message : "accepted"
}

describe("TensorJson", () => {
  it("reads nested arrays and writes them again", () => {
    const values: ReadonlyArray<readonly [Tensor.Datatype, unknown]> = [
      ["FP32", [[[1, 2.5], [3, 4]], [[5, 6], [7, 8]]]],
      ["INT64", [1, 2]],
      ["BOOL", [[true], [false]]],
      ["BYTES", ["a", "票"]],
      ["UINT8", 7],
      ["FP32", []],
      ["FP32", [[], []]]
    ]
    for (const [datatype, value] of values) assert.deepStrictEqual(roundTrip(datatype, value), value)
    assert.deepStrictEqual(Result.getOrThrow(TensorJson.read("FP32", [[[1, 2.5], [3, 4]]])).shape, [1, 2, 2])
  })

  it("refuses arrays that are not alike, and elements of another type", () => {
    assert.include(refusal("FP32", [[1, 2], [3]]), "arrays of dimension 1")
    assert.include(refusal("FP32", [[1], 2]), "arrays of dimension 1")
    assert.include(refusal("INT8", [1, "2"]), "element 1 is \"2\"")
    assert.include(refusal("FP32", { x: 1 }), "element 0 is {\"x\":1}")
  })
})
