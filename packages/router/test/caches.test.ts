import type { ChatError, ChatModel } from "@ballast/chat"
import { type AnswerStore, RouterSettings } from "@ballast/router"
import { assert, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import * as caches from "../src/internal/caches.ts"

const { cache } = Schema.decodeUnknownSync(RouterSettings.Route)({ targets: [{ provider: "p" }], cache: {} })

const model: ChatModel.ChatModel = {
  complete: () =>
    Effect.succeed({ choices: [{ message: { role: "assistant", content: "Hi" }, finish_reason: "stop" }] }),
  stream: () => Stream.empty
}

it.effect("counts what a purge dropped in memory and in the store, which is asked once for all models", () =>
  Effect.gen(function*() {
    const removals: Array<AnswerStore.Filter> = []
    const answers: AnswerStore.AnswerStore = {
      get: () => Effect.undefined,
      set: () => Effect.void,
      remove: (filter) => Effect.sync(() => removals.push(filter) + 6)
    }
    const embed = () => Effect.succeed([1])
    const kept = caches.make<ChatError.ChatError>({ answers, embed })
    for (const name of ["a", "b"]) {
      const { complete } = yield* kept.around(name, cache, model)
      yield* complete({ model: name, messages: [{ role: "user", content: "Hello" }] })
    }
    assert.deepStrictEqual(yield* kept.purge({}), { exact: 2, semantic: 0, store: 7 })
    assert.strictEqual(removals.length, 1)
    // Models that have no cache any more may have left answers in the store.
    kept.retain({})
    assert.deepStrictEqual(yield* kept.purge({}), { exact: 0, semantic: 0, store: 8 })
    assert.deepStrictEqual(yield* caches.make({ answers: undefined, embed }).purge({}), {
      exact: 0,
      semantic: 0,
      store: undefined
    })
  }))
