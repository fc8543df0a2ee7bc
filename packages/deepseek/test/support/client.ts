import type { ChatModel, ChatRequest } from "@ballast/chat"
import { DeepSeek } from "@ballast/deepseek"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import type { HttpClient } from "effect/http"
import * as Scripted from "./scripted.ts"

export const key = "sk-hushhushhushhushwxyz"
export const apiKey = Redacted.make(key)

export const request: ChatRequest.ChatRequest = {
  model: "deepseek-flash",
  messages: [{ role: "user", content: "What is in the prompt?" }]
}

/** Every policy switched off. */
export const bare: DeepSeek.Options = {
  apiKey,
  retry: false,
  circuitBreaker: false,
  concurrency: false,
  resume: false,
  deadlines: false
}

/** The service on a client, for as long as the test's scope. */
export const on = (client: Layer.Layer<HttpClient.HttpClient>, options: DeepSeek.Options = bare) =>
  Effect.map(
    Layer.build(Layer.provide(DeepSeek.layer(options), client)),
    (context) => Context.get(context, DeepSeek.DeepSeek)
  )

/** The service on a script. */
export const scripted = (...replies: ReadonlyArray<Scripted.Reply | Scripted.Refusal>) =>
  on(Scripted.make(...replies).layer)

/** The reason for which a call fails. */
export const reasonOf = <A, E extends { readonly _tag: string }>(self: Effect.Effect<A, E>) =>
  Effect.map(Effect.flip(self), (error) => "reason" in error ? { class: error._tag, ...Object(error.reason) } : error)

/** Consumes a stream: what it gave, and how it failed if it did. */
export const consume = <E>(model: ChatModel.ChatModel<E>, from: ChatRequest.ChatRequest = request) =>
  Effect.gen(function*() {
    const text: Array<string> = []
    const exit = yield* Effect.exit(Stream.runForEach(model.stream(from), (chunk) =>
      Effect.sync(() => {
        const { content, reasoning_content } = chunk.choices[0]?.delta ?? {}
        text.push(content || reasoning_content || "")
      })))
    return { text: text.join("|"), exit }
  })
