import { ChatRequest } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { on, request } from "./support/client.ts"
import * as Scripted from "./support/scripted.ts"
import { good, goodStream } from "./support/wire.ts"

const decode = Schema.decodeUnknownSync(ChatRequest.ChatRequest)

describe("ChatRequest", () => {
  it.prop(
    "comes back from JSON as it was, for every request that the schema accepts",
    [ChatRequest.ChatRequest],
    ([request]) => {
      const sent: unknown = JSON.parse(JSON.stringify(request))
      assert.deepStrictEqual(decode(sent), sent)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(decode(sent))), sent)
    },
    { arbitrary: { runs: 200 } }
  )

  it.effect("is the body, unknown fields included, with stream set by the operation", () =>
    Effect.gen(function*() {
      const script = Scripted.make(good, goodStream)
      const deepseek = yield* on(script.layer)
      const given = { ...request, stream: true, stream_options: { include_usage: true }, dsh_new: { a: [1] } }
      yield* deepseek.complete(given)
      const { stream_options: _, ...rest } = given
      assert.deepStrictEqual(script.seen[0]?.body, { ...rest, stream: false })
    }))

  it.effect("goes out as given where it asks for no stream", () =>
    Effect.gen(function*() {
      const script = Scripted.make(good)
      const deepseek = yield* on(script.layer)
      yield* deepseek.complete(request)
      assert.deepStrictEqual(script.seen[0]?.body, request)
    }))
})
