import { MessagesChat } from "@ballast/chat"
import { Provider, Source } from "@ballast/deepseek"
import { Failover } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import * as Scripted from "../../deepseek/test/support/scripted.ts"
import { busy, good, goodStream } from "../../deepseek/test/support/wire.ts"

const request = {
  model: "deepseek-flash",
  max_tokens: 9,
  messages: [{ role: "user", content: "Hi" }],
  top_k: 3
} as const

const apiKey = Redacted.make("sk-test")

/** A place that speaks Messages and is too busy, and one that speaks chat alone. */
const places = Effect.gen(function*() {
  const [first, second] = [Scripted.make(busy), Scripted.make(good, goodStream)]
  const source = (provider: Provider.Provider, { layer }: Scripted.Script) =>
    Effect.provide(Source.make({ provider, apiKey }), layer)
  const model = Failover.make([
    yield* source(Provider.deepSeek, first),
    yield* source(Provider.make({ name: "chat", baseUrl: "https://chat.example/v1" }), second)
  ])
  return { model, first, second }
})

describe("Failover of a request of another protocol", () => {
  it.effect("asks each place in its own way, and the answer is translated where it has to be", () =>
    Effect.gen(function*() {
      const { first, model, second } = yield* places
      const answer = yield* MessagesChat.create(model, request)
      assert.deepStrictEqual(answer.content.map(({ type }) => type), ["text"])
      const events = yield* Stream.runCollect(MessagesChat.stream(model, request))
      assert.strictEqual(Array.from(events).at(-1)?.type, "message_stop")
      assert.deepStrictEqual(
        first.seen.map(({ url }) => new URL(url).pathname),
        Array(2).fill("/anthropic/v1/messages")
      )
      assert.deepStrictEqual(second.seen.map(({ url }) => new URL(url).pathname), Array(2).fill("/v1/chat/completions"))
      assert.deepInclude(first.seen[0]?.body, { top_k: 3 })
      assert.notProperty(second.seen[0]?.body, "top_k")
    }))
})
