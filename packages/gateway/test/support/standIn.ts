/** A stand-in for local models, which writes down what it is told to do. */
import type { LocalModels } from "@ballast/gateway"
import { InferenceError, type Models, Tensor } from "@ballast/inference"
import { Effect } from "effect"

export const failure = (reason: InferenceError.Reason, detail: string, where?: string) =>
  new InferenceError.InferenceError({ reason, model: "double", detail, ...(where !== undefined && { where }) })

export const info = (version: string, state: Models.State, weight: number): Models.VersionInfo => ({
  name: "double",
  version,
  state,
  reason: state === "failed" ? "the golden input disagrees" : undefined,
  weight,
  calls: 3,
  errors: 1,
  latency: { p50: 2, p95: 8 },
  inFlight: 0,
  queued: 0,
  bytes: 1000
})

/** Doubles `x`; a negative first element makes it fail in a way of its own. */
export const double = ({ inputs: { x } }: Models.InferRequest) =>
  Effect.suspend(() => {
    if (!(x?.data instanceof Float32Array)) return Effect.fail(failure("InvalidInput", "the input is missing", "x"))
    if (x.data[0] === -1) return Effect.fail(failure("Overloaded", "its queue is full"))
    if (x.data[0] === -2) return Effect.fail(failure("ModelFailed", "the run failed"))
    if (x.data[0] === -3) return Effect.fail(failure("DeadlineExceeded", "no answer within 1 s"))
    const y = Tensor.makeUnsafe("FP32", x.shape, x.data.map((value) => value * 2))
    return Effect.succeed({ model: "double", version: "2", outputs: { y } })
  })

/**
 * The model `double`: version 3 was refused, 2 has a quarter of the calls, 1 the rest. Loading version 8 never ends, nor does unloading it; 9 is
 * refused.
 */
export const make = (
  instead: Partial<LocalModels.Service> = {}
): { readonly models: LocalModels.Service; readonly acts: ReadonlyArray<unknown> } => {
  const acts: Array<unknown> = []
  const models: LocalModels.Service = {
    list: Effect.succeed([info("3", "failed", 0), info("2", "ready", 0.25), info("1", "ready", 0.75)]),
    metadata: (name) =>
      name === "double"
        ? Effect.succeed({
          name,
          version: "2",
          versions: ["2", "1"],
          platform: "onnx_onnxv1",
          inputs: [{ name: "x", datatype: "FP32", shape: [-1] }],
          outputs: [{ name: "y", datatype: "FP32", shape: [-1] }]
        })
        : Effect.fail(failure("UnknownModel", "there is no such model")),
    infer: (_, version, request) =>
      version === "3" ? Effect.fail(failure("NotReady", "the version was refused")) : double(request),
    load: (_, version, source) =>
      Effect.suspend(() => {
        acts.push({ load: version, source })
        if (version === "8") return Effect.never
        return version === "9"
          ? Effect.fail(failure("Refused", "its SHA-256 is another"))
          : Effect.succeed(info(version, "ready", 0))
      }),
    unload: (_, version) =>
      Effect.suspend(() => {
        acts.push({ unload: version })
        return version === "8" ? Effect.never : Effect.void
      }),
    setTraffic: (_, weights) => Effect.sync(() => void acts.push({ weights })),
    ...instead
  }
  return { models, acts }
}
