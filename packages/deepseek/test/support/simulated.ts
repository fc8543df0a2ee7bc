import { DeepSeek } from "@ballast/deepseek"
import { Simulator, type SimulatorOptions } from "@ballast/simulator"
import { Layer, Redacted } from "effect"

export const apiKey = Redacted.make("sk-simulated")

/** A simulated service that takes no time. */
export const service = (options?: SimulatorOptions.SimulatorOptions) =>
  Simulator.layerHttpClient({ latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity, ...options })

/** The client in front of it. */
export const client = (
  simulator?: SimulatorOptions.SimulatorOptions,
  options?: Omit<DeepSeek.Options, "apiKey">
) => Layer.provideMerge(DeepSeek.layer({ apiKey, ...options }), service(simulator))
