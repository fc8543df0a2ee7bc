import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as OpenInference from "../src/OpenInference.ts"
import * as Tensor from "../src/Tensor.ts"

const decode = (json: unknown, after?: Uint8Array) => OpenInference.decode(json, after)

const refusal = (json: unknown, after?: Uint8Array): string => {
  const decoded = decode(json, after)
  return Result.isFailure(decoded) ? decoded.failure.message : "accepted"
}

const one = (input: object, more: object = {}) => ({ inputs: [{ name: "x", ...input }], ...more })

const inputOf = (json: unknown, after?: Uint8Array) => Result.getOrThrow(decode(json, after)).inputs["x"]

describe("OpenInference", () => {
  // After the example of an inference request in the protocol's REST specification.
  it("reads the protocol's example and answers it", () => {
    const request = Result.getOrThrow(decode({
      id: "42",
      inputs: [
        { name: "input0", shape: [2, 2], datatype: "UINT32", data: [1, 2, 3, 4] },
        { name: "input1", shape: [3], datatype: "BOOL", data: [true, false, true] }
      ],
      outputs: [{ name: "output0" }]
    }))
    assert.deepStrictEqual(request.inputs["input0"]?.data, new Uint32Array([1, 2, 3, 4]))
    assert.deepStrictEqual(request.inputs["input1"]?.data, new Uint8Array([1, 0, 1]))
    const answer = Result.getOrThrow(OpenInference.encode(request, {
      model: "mymodel",
      version: "1",
      outputs: {
        other: Tensor.makeUnsafe("INT32", [1], new Int32Array([7])),
        output0: Tensor.makeUnsafe("FP32", [3, 2], new Float32Array([1, 1.1, 2, 2.5, 3, 3.75]))
      }
    }))
    assert.deepStrictEqual(JSON.parse(answer.json), {
      model_name: "mymodel",
      model_version: "1",
      id: "42",
      outputs: [{ name: "output0", datatype: "FP32", shape: [3, 2], data: [1, Math.fround(1.1), 2, 2.5, 3, 3.75] }]
    })
  })

  it("reads nested data in row-major order", () => {
    const nested = inputOf(one({ shape: [2, 2, 1], datatype: "INT8", data: [[[1], [2]], [[3], [4]]] }))
    assert.deepStrictEqual(nested?.data, new Int8Array([1, 2, 3, 4]))
    assert.deepStrictEqual(inputOf(one({ shape: [], datatype: "INT8", data: [5] }))?.shape, [])
  })

  it("keeps all digits of whole numbers of 64 bits", () => {
    const text =
      "{\"inputs\":[{\"name\":\"x\",\"shape\":[2],\"datatype\":\"INT64\",\"data\":[9007199254740993,-9223372036854775808]}]}"
    const request = Result.getOrThrow(decode(OpenInference.parse(text)))
    assert.deepStrictEqual(request.inputs["x"]?.data, new BigInt64Array([9007199254740993n, -(2n ** 63n)]))
    const answer = Result.getOrThrow(
      OpenInference.encode(request, { model: "m", version: "1", outputs: request.inputs })
    )
    assert.include(answer.json, "\"data\":[9007199254740993,-9223372036854775808]")
  })

  it("JSON and binary tensors agree for each type", () => {
    const values: ReadonlyArray<readonly [Tensor.Datatype, ReadonlyArray<unknown>]> = [
      ["BOOL", [true, false, true]],
      ["UINT8", [0, 255, 7]],
      ["UINT16", [0, 65_535, 7]],
      ["UINT32", [0, 4_294_967_295, 7]],
      ["UINT64", [0, 2 ** 53 - 1, 7]],
      ["INT8", [-128, 127, 7]],
      ["INT16", [-32_768, 32_767, 7]],
      ["INT32", [-2_147_483_648, 2_147_483_647, 7]],
      ["INT64", [-(2 ** 53 - 1), 2 ** 53 - 1, 7]],
      ["FP32", [0, -1.5, 2 ** 100]],
      ["FP64", [0, -1.1, 1e300]],
      ["BYTES", ["", "grüß", "发票"]]
    ]
    for (const [datatype, data] of values) {
      const json = Result.getOrThrow(decode(one({ shape: [3], datatype, data })))
      const tensor = json.inputs["x"]
      assert.isDefined(tensor)
      const asked = { ...json, outputs: undefined, binary: true }
      const { binary } = Result.getOrThrow(
        OpenInference.encode(asked, { model: "m", version: "1", outputs: { x: tensor } })
      )
      const bytes = Buffer.concat(binary)
      const again = inputOf(one({ shape: [3], datatype, parameters: { binary_data_size: bytes.length } }), bytes)
      assert.deepStrictEqual(again?.data, tensor.data, datatype)
    }
  })

  it("reads binary tensors wherever they begin, beside JSON ones", () => {
    const floats = Buffer.from(new Float32Array([1.5, -2]).buffer)
    const request = Result.getOrThrow(decode({
      inputs: [
        { name: "a", shape: [3], datatype: "UINT8", parameters: { binary_data_size: 3 } },
        { name: "b", shape: [1], datatype: "INT16", data: [9] },
        { name: "c", shape: [2], datatype: "FP32", parameters: { binary_data_size: 8 } }
      ],
      parameters: { binary_data_output: true },
      outputs: [{ name: "p" }, { name: "q", parameters: { binary_data: false } }]
    }, Buffer.concat([Buffer.from([1, 2, 3]), floats])))
    assert.deepStrictEqual(request.inputs["c"]?.data, new Float32Array([1.5, -2]))
    assert.deepStrictEqual(request.outputs, [{ name: "p", binary: true }, { name: "q", binary: false }])
  })

  it("says what is wrong, and where", () => {
    const cases: ReadonlyArray<readonly [unknown, string]> = [
      [[], "the body must be a JSON object with inputs"],
      [{ inputs: [] }, "inputs: it must be an array of 1 to 256 tensors"],
      [one({ shape: [1], datatype: "BF16", data: [1] }), "inputs[0].datatype: it must be one of BOOL, UINT8"],
      [
        one({ shape: [2], datatype: "FP32", data: [1] }),
        "inputs[0].data: the shape [2] has 2 elements, but the data has 1"
      ],
      [one({ shape: [-1], datatype: "FP32", data: [] }), "inputs[0].shape: the shape [-1] has the dimension -1"],
      [one({ shape: [1.5], datatype: "FP32", data: [1] }), "inputs[0].shape: the shape [1.5] has the dimension 1.5"],
      [one({ shape: [2 ** 40, 2 ** 40, 0], datatype: "FP32", data: [] }), "more elements than can be counted"],
      [one({ shape: [1_000_000_000], datatype: "FP32", data: [1] }), "has 1000000000 elements, but the data has 1"],
      [one({ shape: [2, 2], datatype: "INT8", data: [[1, 2], [3]] }), "its arrays of dimension 1"],
      [one({ shape: [1], datatype: "INT8", data: [[[1]]] }), "element 0 is [[1]]"],
      [
        one({ shape: [1], datatype: "INT8", data: [128] }),
        "element 0 is 128, expected a whole number from -128 to 127"
      ],
      [
        one({ shape: [1], datatype: "INT64", data: [0.5] }),
        "element 0 is 0.5, expected a whole number from -9223372036854775808"
      ],
      [
        one({ shape: [1], datatype: "FP32", data: [1e300] }),
        "element 0 is 1e+300, expected a number that FP32 can hold"
      ],
      [one({ shape: [1], datatype: "FP32", data: [null] }), "element 0 is null"],
      [one({ shape: [1], datatype: "BOOL", data: [1] }), "element 0 is 1, expected true or false"],
      [one({ shape: [1], datatype: "BYTES", data: [1] }), "element 0 is 1, expected a text"],
      [
        one({ shape: [1], datatype: "INT32", data: [2n ** 64n] }),
        "element 0 is 18446744073709551616, expected a whole number"
      ],
      [
        one({ shape: [1], datatype: "BYTES", data: [{ a: 2n ** 64n }] }),
        "element 0 is {\"a\":\"18446744073709551616\"}"
      ],
      [one({ shape: [1], datatype: "FP16", data: [1] }), "send it as a binary tensor"],
      [one({ shape: [1], datatype: "INT8", parameters: { binary_data_size: 1 } }), "0 bytes are left"],
      [
        one({ shape: [1], datatype: "INT8", data: [1], parameters: { binary_data_size: 1 } }),
        "it has both data and binary_data_size"
      ],
      [
        { inputs: [1, 2].map((n) => ({ name: "x", shape: [1], datatype: "INT8", data: [n] })) },
        "another input has this name"
      ],
      [
        one({ shape: [1], datatype: "INT8", data: [1] }, { outputs: [{}] }),
        "outputs[0]: it must be an object with a name"
      ],
      [one({ shape: [1], datatype: "INT8", data: [1] }, { id: 7 }), "id: it must be a text"]
    ]
    for (const [json, expected] of cases) assert.include(refusal(json), expected)
  })

  it("refuses bytes that do not fit", () => {
    const of = (datatype: string, shape: ReadonlyArray<number>, bytes: Uint8Array) =>
      refusal(one({ shape, datatype, parameters: { binary_data_size: bytes.length } }), bytes)
    assert.include(of("FP32", [1], new Uint8Array(3)), "which is 4, but it is 3")
    assert.include(of("BOOL", [1], new Uint8Array([2])), "a BOOL is a byte that is 0 or 1")
    assert.include(of("BYTES", [1], new Uint8Array([255, 255, 255, 255, 1])), "element 0 ends after the tensor's bytes")
    assert.include(of("BYTES", [2], new Uint8Array(4)), "the shape has 2 elements, but the bytes hold 1")
    assert.include(of("BYTES", [1], new Uint8Array([1, 0, 0, 0, 255])), "element 0 is not UTF-8")
    const shape = { shape: [1], datatype: "INT8" }
    assert.include(
      refusal(one({ ...shape, data: [1] }), new Uint8Array(2)),
      "2 bytes after the JSON belong to no input"
    )
  })

  it("names the way out for what JSON can not say", () => {
    const request = Result.getOrThrow(decode(one({ shape: [1], datatype: "INT8", data: [1] })))
    const encode = (tensor: Tensor.Tensor) =>
      OpenInference.encode(request, { model: "m", version: "1", outputs: { y: tensor } })
    for (
      const tensor of [
        Tensor.makeUnsafe("FP32", [2], new Float32Array([1, NaN])),
        Tensor.makeUnsafe("FP16", [1], new Uint16Array([1]))
      ]
    ) {
      const answer = encode(tensor)
      assert.isTrue(Result.isFailure(answer) && answer.failure.message.includes("ask for binary_data"))
    }
  })
})
