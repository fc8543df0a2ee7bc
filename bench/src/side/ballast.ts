import * as DeepSeek from "@ballast/deepseek/DeepSeek"
import * as Undici from "@ballast/deepseek/Undici"
import { Effect, Layer, ManagedRuntime, Redacted, Stream } from "effect"
import { concurrency, inFlight, type Side } from "../measure.ts"
import { model, question, system } from "../traffic.ts"

const messages = [{ role: "system", content: system }, { role: "user", content: question }] as const

const start = async (url: string) => {
  const rateLimit = { limit: 1_000_000, window: "1 second" } as const
  const options = { apiKey: Redacted.make("bench"), baseUrl: url, rateLimit }
  const runtime = ManagedRuntime.make(DeepSeek.layer(options).pipe(Layer.provide(Undici.layer())))
  return { runtime, deepseek: await runtime.runPromise(DeepSeek.DeepSeek) }
}

/** A call with every default policy, a rate limiter and its spans. */
export const complete = async (url: string): Promise<Side> => {
  const { deepseek, runtime } = await start(url)
  const call = () =>
    Effect.map(
      deepseek.complete({ model, messages }),
      (completion) => completion.choices[0]?.message.content?.length ?? 0
    )
  return inFlight(concurrency, () => runtime.runPromise(call()))
}

/** A stream likewise. */
export const stream = async (url: string): Promise<Side> => {
  const { deepseek, runtime } = await start(url)
  const call = () =>
    deepseek.stream({ model, messages }).pipe(
      Stream.runFold(() => 0, (length, chunk) => length + (chunk.choices[0]?.delta.content?.length ?? 0))
    )
  return inFlight(concurrency, () => runtime.runPromise(call()))
}
