/** Golden inputs: what a version must answer before it takes calls. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { ModelSettings } from "../ModelSettings.ts"
import * as Tensor from "../Tensor.ts"
import * as TensorJson from "../TensorJson.ts"
import * as ports from "./ports.ts"
import type { Failure } from "./protocol.ts"
import type { Tensors, Verifying } from "./sessions.ts"

type Golden = ModelSettings["golden"][number]

const refuse = (detail: string): Failure => ({ detail, text: "" })

const tensorOf = ({ datatype, name }: Tensor.Port, value: unknown): Tensor.Tensor | Failure =>
  Result.match(TensorJson.read(datatype, value), {
    onFailure: ({ detail }) => refuse(`golden ${name}: ${detail}`),
    onSuccess: (tensor): Tensor.Tensor | Failure => tensor
  })

/** The greatest difference of two tensors; infinite if they can't be compared, NaN if one of them has a NaN. */
const difference = (self: Tensor.Tensor, that: Tensor.Tensor): number => {
  if (self.shape.join() !== that.shape.join()) return Infinity
  let most = 0
  for (const [at, element] of self.data.entries()) {
    const other = that.data[at]
    const apart = typeof element === "number" || typeof element === "bigint"
      ? Math.abs(Number(element) - Number(other))
      : element === other
      ? 0
      : Infinity
    if (Number.isNaN(apart)) return NaN
    most = Math.max(most, apart)
  }
  return most
}

const compare = (which: string, golden: Golden, expected: Tensors, found: Tensors): Failure | undefined => {
  for (const [name, tensor] of Object.entries(expected)) {
    const answer = found[name]
    if (answer === undefined) return refuse(`${which}: the model has no output ${name}`)
    const apart = difference(tensor, answer)
    // NaN is no difference that is within the tolerance.
    if (apart <= golden.tolerance) continue
    if (apart === Infinity && answer.shape.join() !== tensor.shape.join()) {
      const [came, right] = [answer.shape, tensor.shape].map(Tensor.showShape)
      return refuse(`${which}: ${name} has the shape ${came}, expected ${right}`)
    }
    return refuse(
      Number.isNaN(apart)
        ? `${which}: ${name} is not a number (NaN)`
        : `${which}: ${name} differs by ${Number(apart.toPrecision(3))}; at most ${golden.tolerance} is allowed`
    )
  }
  return undefined
}

const read = (
  kind: "input" | "output",
  ports: ReadonlyArray<Tensor.Port>,
  values: Readonly<Record<string, unknown>>
): Tensors | Failure => {
  const tensors: Record<string, Tensor.Tensor> = {}
  for (const [name, value] of Object.entries(values)) {
    const port = ports.find((port) => port.name === name)
    if (port === undefined) return refuse(`golden ${name}: the model has no such ${kind}`)
    const tensor = tensorOf(port, value)
    if ("detail" in tensor) return tensor
    tensors[name] = tensor
  }
  return tensors
}

const isFailure = (it: Tensors | Failure): it is Failure => typeof it["detail"] === "string"

const twice = (tensors: Tensors): Tensors => {
  const doubled: Record<string, Tensor.Tensor> = {}
  for (const [name, tensor] of Object.entries(tensors)) doubled[name] = Tensor.concat([tensor, tensor])
  return doubled
}

const verifyOne = Effect.fnUntraced(function*(
  session: Verifying,
  golden: Golden,
  index: number,
  batched: boolean
): Effect.fn.Return<void, Failure> {
  const inputs = read("input", session.inputs, golden.inputs)
  const outputs = read("output", session.outputs, golden.outputs)
  for (const it of [inputs, outputs]) if (isFailure(it)) return yield* Effect.fail(it)
  if (isFailure(inputs) || isFailure(outputs)) return
  const which = `golden input ${index + 1}`
  const misfit = ports.checkInputs(session.inputs, inputs)
  if (misfit !== undefined) return yield* Effect.fail(refuse(`${which}: ${misfit.where}: ${misfit.detail}`))
  const wrong = compare(which, golden, outputs, yield* session.run(inputs))
  if (wrong !== undefined) return yield* Effect.fail(wrong)
  if (!batched) return
  const together = compare(`${which}, in a batch of two`, golden, twice(outputs), yield* session.run(twice(inputs)))
  if (together !== undefined) return yield* Effect.fail(together)
})

/** Inputs of zeros, with one row, element or character where the size may vary. */
const zeros = (ports: ReadonlyArray<Tensor.Port>): Tensors => {
  const tensors: Record<string, Tensor.Tensor> = {}
  for (const { datatype, name, shape } of ports) {
    const sizes = shape.map((size) => size === -1 ? 1 : size)
    const size = sizes.reduce((product, dimension) => product * dimension, 1)
    const data = Tensor.datatypes[datatype].create?.(size) ?? Array.from({ length: size }, () => "")
    tensors[name] = { datatype, shape: sizes, data }
  }
  return tensors
}

/** Runs the golden inputs, alone and in batches. Without any, runs zeros, whatever comes of them. */
export const verify = (settings: ModelSettings) => (session: Verifying): Effect.Effect<void, Failure> =>
  settings.golden.length === 0
    ? Effect.ignore(session.run(zeros(session.inputs)))
    : Effect.forEach(
      settings.golden,
      (golden, index) => verifyOne(session, golden, index, settings.batching !== undefined),
      { discard: true }
    )

/** Whether a model with batching has the batch as the first dimension everywhere. */
export const batchable = ({ inputs, outputs }: Pick<Verifying, "inputs" | "outputs">): Failure | undefined => {
  const wrong = [...inputs, ...outputs].find(({ shape }) => shape[0] !== -1)
  if (wrong === undefined) return undefined
  return refuse(
    `batching needs a first dimension that varies; ${wrong.name} has the shape ${Tensor.showShape(wrong.shape)}`
  )
}
