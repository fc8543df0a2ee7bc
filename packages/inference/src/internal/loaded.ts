/** A model as the thread or process of its session holds it. What imports this runs there. */
import type { InferenceSession, Tensor } from "onnxruntime-node"
import type { Wire, WirePort } from "./protocol.ts"
import { Told } from "./told.ts"

export type Wires = Readonly<Record<string, Wire>>

export interface Loaded {
  readonly inputs: ReadonlyArray<WirePort>
  readonly outputs: ReadonlyArray<WirePort>
  readonly run: (feeds: Wires, fetches: ReadonlyArray<string>) => Promise<Wires>
  readonly release: () => Promise<void>
}

/** How every session is made: threads of its own are as many as sessions. */
export const sessionOptions = (provider: string): InferenceSession.SessionOptions => ({
  executionProviders: [provider],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  logSeverityLevel: 4
})

const portOf = (kind: string) => (metadata: InferenceSession.ValueMetadata): WirePort => {
  if (!metadata.isTensor) {
    throw new Told(`the ${kind} ${metadata.name} is no tensor; sequences and maps are not supported`)
  }
  return { name: metadata.name, type: metadata.type, shape: metadata.shape }
}

/** Loads the model of a file. */
export const load = async (path: string, provider: string): Promise<Loaded> => {
  const ort = await import("onnxruntime-node")
  const session = await ort.InferenceSession.create(path, sessionOptions(provider))
  return {
    inputs: session.inputMetadata.map(portOf("input")),
    outputs: session.outputMetadata.map(portOf("output")),
    run: async (feeds, fetches) => {
      const given: Record<string, Tensor> = {}
      for (const [name, { data, dims, type }] of Object.entries(feeds)) {
        // The runtime checks type and data against each other itself.
        given[name] = Reflect.construct(ort.Tensor, [type, data, dims])
      }
      const outputs: Record<string, Wire> = {}
      for (const [name, { data, dims, type }] of Object.entries(await session.run(given, fetches))) {
        outputs[name] = { type, dims, data }
      }
      return outputs
    },
    release: () => session.release()
  }
}
