/** Pins the error and requirement channels of the client's parts; checked by the compiler alone. */
import type { ChatError, ChatModel, ModelList } from "@ballast/chat"
import { DeepSeek, Lane, PerModel, type Provider, Source, Traced } from "@ballast/deepseek"
import type { AdaptiveLimit, CircuitBreaker, Registry } from "@ballast/resilience"
import type { Config, Effect, Layer, Redacted, Scope } from "effect"
import type { HttpClient } from "effect/http"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => {}

declare const apiKey: Redacted.Redacted
declare const provider: Provider.Provider
declare const source: Source.Source
declare const odd: ChatModel.ChatModel<"e">

const bare = DeepSeek.source({ apiKey })
const made = Source.make({ provider, apiKey })
const traced = Traced.call({ ...source, model: "m" })(odd)
const attempt = Traced.attempt({ ...source, model: "m" })(odd)
const lane = Lane.make(source, { model: "m" })
const many = PerModel.make({ names: [], make: () => lane, others: source })
const layerConfig = DeepSeek.layerConfig({ retry: false, warmUp: true })

declare const registry: Registry.Registry
const breaker = registry.find("circuitBreaker", "a/b")
const limits = registry.list({ kind: "adaptiveLimit" })

same<typeof bare, Effect.Effect<Source.Source, never, HttpClient.HttpClient>>(true)
same<typeof made, typeof bare>(true)
same<typeof source.models, Effect.Effect<ModelList.ModelList, ChatError.ChatError>>(true)
same<typeof traced, ChatModel.ChatModel<"e">>(true)
same<typeof attempt, ChatModel.ChatModel<"e">>(true)
same<typeof lane, Effect.Effect<ChatModel.ChatModel<Lane.CallError>, never, Scope.Scope>>(true)
same<typeof many, Effect.Effect<PerModel.PerModel<Lane.CallError>, never, Scope.Scope>>(true)
same<typeof layerConfig, Layer.Layer<DeepSeek.DeepSeek, Config.ConfigError, HttpClient.HttpClient>>(true)
same<typeof breaker, Effect.Effect<CircuitBreaker.CircuitBreaker | undefined>>(true)
same<Effect.Success<typeof limits>[number]["handle"], AdaptiveLimit.AdaptiveLimit>(true)

// Key and URL come from the environment.
// @ts-expect-error: not an option of layerConfig
DeepSeek.layerConfig({ apiKey })
