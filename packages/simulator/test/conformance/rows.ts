/** One test for each row of what is known of the API. A row is named by what it says. */
import { ChatError, type ChatRequest } from "@ballast/chat"
import { DeepSeek } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import type { HttpClient } from "effect/http"
import { Simulator } from "../../src/index.ts"
import { type Ask, ask, instant, message } from "../support.ts"

export type Row = Effect.Effect<unknown, unknown, HttpClient.HttpClient | Simulator.Simulator>

/** Tests of a section, by its rows. */
export const section = (
  name: string,
  rows: Readonly<Record<string, Row>>,
  options: Parameters<typeof Simulator.layerHttpClient>[0] = {}
): void => {
  describe(name, () => {
    for (const [row, check] of Object.entries(rows)) {
      it.effect(row, () => Effect.provide(check, Simulator.layerHttpClient({ ...instant, ...options })))
    }
  })
}

/** Several checks of one row. */
export const all = (...checks: ReadonlyArray<Row>): Row => Effect.all(checks, { discard: true })

export const beta: Ask = { path: "/beta/chat/completions" }

/** The service refuses a body with this text. */
export const refuses = (body: unknown, text: string | RegExp, options?: Ask): Row =>
  Effect.map(ask(body, options), (answer) => {
    assert.strictEqual(answer.status, 400, answer.text)
    if (typeof text === "string") assert.strictEqual(message(answer.text), text)
    else assert.match(message(answer.text), text)
  })

/** The service takes a body. */
export const takes = (body: unknown, options?: Ask): Row =>
  Effect.map(ask(body, options), ({ status, text }) => assert.strictEqual(status, 200, text))

export const request: ChatRequest.ChatRequest = {
  model: "deepseek-flash",
  messages: [{ role: "user", content: "Why does a ship carry ballast?" }]
}

/** The client without policies, with the headers of a fault. */
export const client = <A, E>(
  use: (deepseek: DeepSeek.DeepSeek["Service"]) => Effect.Effect<A, E>,
  simulate?: string,
  options: Partial<DeepSeek.Options> = {}
) => {
  const layer = DeepSeek.layer({
    apiKey: Redacted.make("sk-test"),
    retry: false,
    circuitBreaker: false,
    deadlines: false,
    resume: false,
    preflight: false,
    ...options
  })
  return Effect.scoped(Effect.flatMap(Layer.build(layer), (context) => {
    const run = use(Context.get(context, DeepSeek.DeepSeek))
    return simulate === undefined
      ? run
      : Effect.provideService(run, DeepSeek.CurrentHeaders, { "x-simulate": simulate })
  }))
}

/** The class and the reason of the error that a call of the client ends with. */
export const failsAs = (simulate: string, expected: string, asked = request): Row =>
  Effect.map(client((deepseek) => Effect.flip(deepseek.complete(asked)), simulate), (error) => {
    assert.isTrue(ChatError.isChatError(error), String(error))
    assert.strictEqual(ChatError.isChatError(error) && `${error._tag}: ${error.reason._tag}`, expected)
  })
