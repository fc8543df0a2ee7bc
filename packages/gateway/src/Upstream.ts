/**
 * What the gateway stands in front of: DeepSeek when there is a key, else the embedded simulator.
 *
 * The simulator answers in memory, behind the same client with the same policies, so a gateway without a key behaves like one with a
 * key, faults on demand included. Only the side that is used is loaded.
 *
 * @since 0.1.0
 */
import * as DeepSeek from "@ballast/deepseek/DeepSeek"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { Settings } from "./Settings.ts"

/**
 * Which upstream answers: the value of the `x-ballast-upstream` header, and where it is.
 *
 * @category services
 * @since 0.1.0
 */
export class Upstream extends Context.Service<Upstream, {
  readonly kind: "deepseek" | "simulator"
  /** For people. */
  readonly description: string
  /** Whether a client's `x-simulate` goes on to the upstream. */
  readonly takesFaults: boolean
}>()("@ballast/gateway/Upstream") {}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options extends Pick<Settings, "apiKey" | "baseUrl"> {
  /** Whether the service is a simulator, to which `x-simulate` goes on. Default: false. */
  readonly forwardSimulate?: boolean | undefined
  /** Default: that of `DeepSeek.layer`. */
  readonly retry?: DeepSeek.Options["retry"]
}

/** Faults that a person asks for one after the other do not open a circuit: it takes a load of them. */
const faulty = { minimumCalls: 100 }

const deepseek = (apiKey: Redacted.Redacted, { baseUrl, forwardSimulate: takesFaults = false, retry }: Options) =>
  Layer.unwrap(Effect.map(
    Effect.promise(() => import("@ballast/deepseek/Undici")),
    (Undici) =>
      DeepSeek.layer({ apiKey, baseUrl, retry, ...(takesFaults && { circuitBreaker: faulty }) }).pipe(
        Layer.provide(Undici.layer())
      )
  )).pipe(Layer.merge(Layer.succeed(Upstream, { kind: "deepseek", description: baseUrl, takesFaults })))

/** Faster than life: a visible stream, and an answer in well under a second. */
const pace = { timeToFirstToken: "100 millis", tokensPerSecond: 600 } as const

const simulator = Layer.unwrap(Effect.map(
  Effect.promise(() => import("@ballast/simulator/Simulator")),
  (Simulator) =>
    DeepSeek.layer({
      apiKey: Redacted.make("sk-simulated"),
      baseUrl: "http://simulator.invalid",
      circuitBreaker: faulty
    }).pipe(
      Layer.provide(Simulator.layerHttpClient(pace))
    )
)).pipe(Layer.merge(
  Layer.succeed(Upstream, { kind: "simulator", description: "the embedded simulator", takesFaults: true })
))

/**
 * The upstream that the options name.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<DeepSeek.DeepSeek | Upstream> =>
  options.apiKey === undefined ? simulator : deepseek(options.apiKey, options)
