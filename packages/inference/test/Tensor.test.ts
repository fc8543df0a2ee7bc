import { Tensor } from "@ballast/inference"
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"

const refusal = (result: Result.Result<unknown, Tensor.InvalidTensor>): string =>
  Result.isFailure(result) ? result.failure.message : "accepted"

describe("Tensor", () => {
  it("says what does not fit", () => {
    const floats = new Float32Array(4)
    assert.strictEqual(
      refusal(Tensor.make("FP32", [2, 3], floats)),
      "the shape [2, 3] has 6 elements, but the data has 4"
    )
    assert.strictEqual(
      refusal(Tensor.make("INT64", [4], floats)),
      "data of the type INT64 is a BigInt64Array, got a Float32Array"
    )
    assert.match(refusal(Tensor.make("FP32", [-2, -2], floats)), /dimension -2; a dimension is a whole number/)
    assert.match(refusal(Tensor.make("FP32", [1.5, 2], floats)), /dimension 1.5/)
    assert.match(refusal(Tensor.make("FP32", [2 ** 32, 2 ** 32], floats)), /more elements than can be counted/)
    assert.match(refusal(Tensor.make("FP32", [0, 2 ** 32, 2 ** 32], new Float32Array())), /more elements/)
    assert.match(refusal(Tensor.make("FP32", Array(33).fill(1), new Float32Array(1))), /33 dimensions/)
    assert.strictEqual(refusal(Tensor.make("FP32", [], new Float32Array(1))), "accepted")
    assert.strictEqual(refusal(Tensor.make("FP32", [0, 7], new Float32Array())), "accepted")
  })

  it("joins and cuts rows, without sharing memory", () => {
    // A view into a longer buffer, as a Buffer of Node is.
    const view = new Float32Array(new Float32Array([0, 1, 2, 3, 4, 5]).buffer, 4, 4)
    const whole = Tensor.concat([
      Tensor.makeUnsafe("FP32", [2, 2], view),
      Tensor.makeUnsafe("FP32", [1, 2], view.slice(2))
    ])
    assert.deepStrictEqual(whole, Tensor.makeUnsafe("FP32", [3, 2], new Float32Array([1, 2, 3, 4, 3, 4])))
    const row = Tensor.slice(whole, 1, 2)
    assert.deepStrictEqual(row, Tensor.makeUnsafe("FP32", [1, 2], new Float32Array([3, 4])))
    if (ArrayBuffer.isView(row.data)) assert.strictEqual(row.data.buffer.byteLength, 8)

    const texts = Tensor.concat([Tensor.makeUnsafe("BYTES", [1], ["a"]), Tensor.makeUnsafe("BYTES", [2], ["b", "é"])])
    assert.deepStrictEqual(Tensor.slice(texts, 1, 3).data, ["b", "é"])
    assert.strictEqual(Tensor.byteSize(texts), 4)
    const bytes = Tensor.slice(Tensor.makeUnsafe("UINT8", [3], Buffer.from([1, 2, 3])), 0, 2)
    assert.deepStrictEqual(bytes.data, new Uint8Array([1, 2]))
  })

  it("joins no rows of different kinds, and cuts none that are not there", () => {
    const one = Tensor.makeUnsafe("FP32", [1, 2], new Float32Array(2))
    const scalar = Tensor.makeUnsafe("FP32", [], new Float32Array(1))
    assert.throws(() => Tensor.concat([one, Tensor.makeUnsafe("FP32", [1, 3], new Float32Array(3))]), RangeError)
    assert.throws(() => Tensor.concat([one, Tensor.makeUnsafe("FP64", [1, 2], new Float64Array(2))]), RangeError)
    assert.throws(() => Tensor.concat([one, scalar]), RangeError)
    assert.throws(() => Tensor.slice(one, 0, 2), RangeError)
    assert.throws(() => Tensor.slice(scalar, 0, 0), RangeError)
  })
})
