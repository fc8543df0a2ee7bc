/**
 * The wire of the Open Inference Protocol, version 2, as KServe and Triton speak it: JSON, and the extension for binary tensors.
 *
 * Everything here is pure. A request is checked as a whole before it becomes tensors: names, types, shapes that agree with their data, ranges of
 * whole numbers. Whole numbers of 64 bits keep all their digits. What JSON can't say is an error that names the way out: `NaN` and infinite
 * numbers, and `FP16`, need binary tensors.
 *
 * @see {@link https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md}
 * @see {@link https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md}
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as binaryTensor from "./internal/binaryTensor.ts"
import * as jsonTensor from "./internal/jsonTensor.ts"
import * as Tensor from "./Tensor.ts"

/**
 * The header that says how many bytes of a body are JSON; the rest are binary tensors.
 *
 * @category constants
 * @since 0.1.0
 */
export const lengthHeader = "inference-header-content-length"

/**
 * A request that the protocol does not allow.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", {
  /** Where, such as `inputs[0].data`. */
  where: Schema.String,
  /** What is wrong, and what would be right. */
  detail: Schema.String
}) {
  override get message() {
    return this.where === "" ? this.detail : `${this.where}: ${this.detail}`
  }
}

/**
 * An output that is asked for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wanted {
  readonly name: string
  readonly binary: boolean
}

/**
 * A request, understood.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly id: string | undefined
  readonly inputs: Readonly<Record<string, Tensor.Tensor>>
  /** All outputs, where it names none. */
  readonly outputs: ReadonlyArray<Wanted> | undefined
  /** How outputs come that are not named. */
  readonly binary: boolean
}

/**
 * An answer: JSON, and the binary tensors that follow it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly json: string
  readonly binary: ReadonlyArray<Uint8Array>
}

/** Inputs and outputs of one request. */
const maxTensors = 256

const wrong = (where: string, detail: string) => Result.fail(new InvalidRequest({ where, detail }))

const isObject = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === "object" && u !== null && !Array.isArray(u)

const isDatatype = (u: unknown): u is Tensor.Datatype => typeof u === "string" && Object.hasOwn(Tensor.datatypes, u)

/** Binary tensors are taken from the front, one after the other. */
class Binary {
  readonly bytes: Uint8Array
  taken = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get left(): number {
    return this.bytes.length - this.taken
  }

  take(size: number): Uint8Array {
    return this.bytes.subarray(this.taken, this.taken += size)
  }
}

const parametersOf = (u: unknown): Readonly<Record<string, unknown>> => isObject(u) ? u : {}

const shapeOf = (u: unknown, where: string): Result.Result<ReadonlyArray<number>, InvalidRequest> =>
  Array.isArray(u) && u.every((dimension): dimension is number => typeof dimension === "number")
    ? Result.succeed(u)
    : wrong(`${where}.shape`, "it must be an array of whole numbers")

const inputOf = (input: unknown, where: string, binary: Binary) =>
  Result.gen(function*() {
    if (!isObject(input) || typeof input["name"] !== "string" || input["name"] === "") {
      return yield* wrong(where, "it must be an object with a name, a shape, a datatype and data")
    }
    const { data, datatype, name } = input
    if (!isDatatype(datatype)) {
      return yield* wrong(`${where}.datatype`, `it must be one of ${Object.keys(Tensor.datatypes).join(", ")}`)
    }
    const shape = yield* shapeOf(input["shape"], where)
    const size = yield* Result.mapError(
      Tensor.sizeOf(shape),
      ({ detail }) => new InvalidRequest({ where: `${where}.shape`, detail })
    )
    const bytes = parametersOf(input["parameters"])["binary_data_size"]
    if (bytes !== undefined && data !== undefined) {
      return yield* wrong(where, "it has both data and binary_data_size; send one of them")
    }
    const read = bytes === undefined
      ? jsonTensor.read(datatype, shape, size, data)
      : yield* Result.map(sliceOf(bytes, binary, where), (slice) => binaryTensor.read(datatype, size, slice))
    return yield* Result.mapBoth(read, {
      onFailure: (detail) =>
        new InvalidRequest({
          where: `${where}.${bytes === undefined ? "data" : "parameters.binary_data_size"}`,
          detail
        }),
      onSuccess: (data) => ({ name, tensor: { datatype, shape, data } })
    })
  })

const sliceOf = (size: unknown, binary: Binary, where: string): Result.Result<Uint8Array, InvalidRequest> =>
  typeof size === "number" && Number.isSafeInteger(size) && size >= 0 && size <= binary.left
    ? Result.succeed(binary.take(size))
    : wrong(
      `${where}.parameters.binary_data_size`,
      `it must be a whole number of bytes, and ${binary.left} bytes are left after the JSON and the tensors before`
    )

const outputsOf = (outputs: unknown, binary: boolean) =>
  Result.gen(function*() {
    if (outputs === undefined) return undefined
    if (!Array.isArray(outputs) || outputs.length > maxTensors) {
      return yield* wrong("outputs", `it must be an array of at most ${maxTensors} objects with a name`)
    }
    const wanted: Array<Wanted> = []
    for (const [index, output] of outputs.entries()) {
      const { name, parameters } = parametersOf(output)
      if (typeof name !== "string") return yield* wrong(`outputs[${index}]`, "it must be an object with a name")
      if (wanted.some((other) => other.name === name)) {
        return yield* wrong(`outputs[${index}].name`, "another output has this name")
      }
      const own = parametersOf(parameters)["binary_data"]
      wanted.push({ name, binary: typeof own === "boolean" ? own : binary })
    }
    return wanted.length === 0 ? undefined : wanted
  })

/** Whole numbers of many digits. Those after the point of a fraction are none. */
const manyDigits = /(?:^|[^.\d])\d{16}/

/**
 * Parses the JSON of a request; throws as `JSON.parse` does. Whole numbers that a double can't hold become bigints.
 *
 * @category decoding
 * @since 0.1.0
 */
export const parse = (text: string): unknown => {
  // Looking at each number is slow, and rarely needed.
  if (!manyDigits.test(text)) return JSON.parse(text)
  return JSON.parse(text, (_: string, value: unknown, context?: { readonly source?: string }) => {
    const source = context?.source
    return typeof value === "number" && !Number.isSafeInteger(value) && source !== undefined && /^-?\d+$/.test(source)
      ? BigInt(source)
      : value
  })
}

/**
 * Reads a request: the value of its JSON, and the bytes that follow it.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = (json: unknown, after: Uint8Array = new Uint8Array()): Result.Result<Request, InvalidRequest> =>
  Result.gen(function*() {
    if (!isObject(json)) return yield* wrong("", "the body must be a JSON object with inputs")
    const { id, inputs, outputs, parameters } = json
    if (id !== undefined && typeof id !== "string") return yield* wrong("id", "it must be a text")
    if (!Array.isArray(inputs) || inputs.length === 0 || inputs.length > maxTensors) {
      return yield* wrong("inputs", `it must be an array of 1 to ${maxTensors} tensors`)
    }
    const binary = new Binary(after)
    const tensors: Record<string, Tensor.Tensor> = Object.create(null)
    for (const [index, input] of inputs.entries()) {
      const { name, tensor } = yield* inputOf(input, `inputs[${index}]`, binary)
      if (name in tensors) return yield* wrong(`inputs[${index}].name`, "another input has this name")
      tensors[name] = tensor
    }
    if (binary.left > 0) return yield* wrong("inputs", `${binary.left} bytes after the JSON belong to no input`)
    const all = parametersOf(parameters)["binary_data_output"] === true
    return { id, inputs: tensors, outputs: yield* outputsOf(outputs, all), binary: all }
  })

/**
 * What a model answered.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inferred {
  readonly model: string
  readonly version: string
  readonly outputs: Readonly<Record<string, Tensor.Tensor>>
}

/**
 * Writes the answer to a request: its outputs in the order in which they were asked for.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = (
  request: Request,
  { model, outputs, version }: Inferred
): Result.Result<Answer, InvalidRequest> =>
  Result.gen(function*() {
    const wanted = request.outputs ?? Object.keys(outputs).map((name): Wanted => ({ name, binary: request.binary }))
    const written: Array<string> = []
    const binary: Array<Uint8Array> = []
    for (const { binary: isBinary, name } of wanted) {
      const tensor = outputs[name]
      if (tensor === undefined) return yield* wrong(`outputs`, `the model has no output ${JSON.stringify(name)}`)
      const head = `"name":${JSON.stringify(name)},"datatype":"${tensor.datatype}","shape":[${tensor.shape.join(",")}]`
      if (isBinary) {
        const bytes = binaryTensor.write(tensor)
        binary.push(bytes)
        written.push(`{${head},"parameters":{"binary_data_size":${bytes.length}}}`)
      } else {
        const data = yield* Result.mapError(
          jsonTensor.write(tensor),
          (detail) => new InvalidRequest({ where: "outputs", detail: `${name}: ${detail}` })
        )
        written.push(`{${head},"data":${data}}`)
      }
    }
    const id = request.id === undefined ? "" : `,"id":${JSON.stringify(request.id)}`
    return {
      json: `{"model_name":${JSON.stringify(model)},"model_version":${JSON.stringify(version)}${id},"outputs":[${
        written.join(",")
      }]}`,
      binary
    }
  })
