import type { ChatCompletion } from "@ballast/chat"
import { PerModel } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { request } from "./support/client.ts"

const completion: ChatCompletion.ChatCompletion = {
  choices: [{ message: { role: "assistant", content: "hi" }, finish_reason: "stop" }]
}

/** Models by name that have none yet, the names that one was begun for, and what lets it be made. */
const setup = Effect.gen(function*() {
  const gate = yield* Deferred.make<void>()
  const begun: Array<string> = []
  const model = { complete: () => Effect.succeed(completion), stream: () => Stream.empty }
  const models = yield* PerModel.make({
    names: [],
    make: (name) => {
      begun.push(name)
      return Effect.as(Deferred.await(gate), model)
    },
    others: model
  })
  return { begun, gate, models }
})

describe("PerModel", () => {
  it.effect("makes one model of a name, however many calls are the first", () =>
    Effect.gen(function*() {
      const { begun, gate, models } = yield* setup
      const calls = [models.complete(request), Stream.runDrain(models.stream(request)), models.add([request.model])]
      const all = yield* Effect.forkChild(Effect.all(calls, { concurrency: "unbounded", discard: true }))
      yield* Effect.yieldNow
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(all)
      assert.deepStrictEqual(begun, [request.model])
    }))

  it.effect("makes a model whole, although its first call is interrupted", () =>
    Effect.gen(function*() {
      const { begun, gate, models } = yield* setup
      const first = yield* Effect.forkChild(models.complete(request), { startImmediately: true })
      const interruption = yield* Effect.forkChild(Fiber.interrupt(first), { startImmediately: true })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(interruption)
      yield* models.complete(request)
      assert.deepStrictEqual(begun, [request.model])
    }))
})
