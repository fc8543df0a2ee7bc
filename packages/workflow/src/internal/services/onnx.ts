/** Services that ask local models with JSON: nested arrays in, nested arrays out. */
import type { InferenceError, Reason } from "@ballast/inference/InferenceError"
import type { Models } from "@ballast/inference/Models"
import type { Tensor } from "@ballast/inference/Tensor"
import * as TensorJson from "@ballast/inference/TensorJson"
import * as Effect from "effect/Effect"
import { type Evaluate, fail, ServiceError } from "./contract.ts"
import { isObject, type Onnx } from "./settings.ts"

/** What another call may find otherwise. */
const passing: ReadonlySet<Reason> = new Set(["NotReady", "Overloaded", "DeadlineExceeded"])

interface Failure {
  readonly detail: string
  readonly retryable: boolean
}

const failed = ({ message, reason }: InferenceError): Failure => ({ detail: message, retryable: passing.has(reason) })

const misfit = (name: string) => ({ detail }: { readonly detail: string }): Failure => ({
  detail: `${name}: ${detail}`,
  retryable: false
})

/** The outputs by their names. */
const call = Effect.fnUntraced(function*(
  models: Models["Service"],
  { model, version }: typeof Onnx.Type,
  given: Readonly<Record<string, unknown>>
) {
  const { inputs: ports } = yield* Effect.mapError(models.metadata(model, version), failed)
  const inputs: Record<string, Tensor> = {}
  for (const { datatype, name } of ports) {
    // What is missing, the model says itself.
    if (!Object.hasOwn(given, name)) continue
    inputs[name] = yield* Effect.mapError(Effect.fromResult(TensorJson.read(datatype, given[name])), misfit(name))
  }
  const { outputs } = yield* Effect.mapError(models.infer(model, version, { inputs }), failed)
  const values: Record<string, unknown> = {}
  for (const [name, tensor] of Object.entries(outputs)) {
    values[name] = yield* Effect.mapError(Effect.fromResult(TensorJson.write(tensor)), misfit(name))
  }
  return values
})

export const callOnnx = Effect.fnUntraced(function*(
  settings: typeof Onnx.Type,
  models: Models["Service"],
  evaluate: Evaluate,
  input: unknown
) {
  const given = settings.inputs === undefined ? input : yield* evaluate(settings.inputs)
  if (!isObject(given)) return yield* fail("its input must be an object with the inputs of the model")
  return yield* Effect.mapError(
    call(models, settings, given),
    (failure) => new ServiceError(failure)
  )
})
