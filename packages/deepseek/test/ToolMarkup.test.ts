import type { ChatChunk, ChatModel } from "@ballast/chat"
import { DeepSeek, ToolMarkup } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { client } from "./support/simulated.ts"

const leak = "<｜｜DSML｜｜ invoke name=\"ports\">{}</｜｜DSML｜｜ invoke>"
const tools = [{
  type: "function",
  function: { name: "ports", parameters: { type: "object", properties: {} } }
}] as const
const request = { model: "deepseek-flash", messages: [{ role: "user", content: "Ask ports." }], tools } as const

const chunk = (content: string | null, finish_reason: string | null = null): ChatChunk.ChatChunk => ({
  choices: [{ index: 0, delta: { content }, finish_reason }]
})

/** A model whose stream says these pieces, each in an array of its own. */
const saying = (...pieces: ReadonlyArray<string | null>): ChatModel.ChatModel<never> => ({
  complete: () =>
    Effect.succeed({ choices: [{ message: { role: "assistant", content: pieces.join("") }, finish_reason: "stop" }] }),
  stream: () => Stream.rechunk(Stream.fromIterable([...pieces.map((piece) => chunk(piece)), chunk("", "stop")]), 1)
})

/** What a stream gave, and the reason for which it failed. */
const given = (model: ChatModel.ChatModel<never>, asked = request) =>
  Effect.gen(function*() {
    const text: Array<string> = []
    const result = yield* Effect.result(Stream.runForEach(
      ToolMarkup.refused(model).stream(asked),
      ({ choices }) => Effect.sync(() => text.push(choices[0]?.delta.content ?? ""))
    ))
    return { text: text.join(""), failed: result._tag === "Failure" && result.failure.reason._tag }
  })

describe("ToolMarkup", () => {
  it.effect("fails an answer with a tool call in its text", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ToolMarkup.refused(saying(leak)).complete(request))
      assert.strictEqual(error.reason._tag, "LeakedToolCall")
    }))

  it.effect("fails a stream before any of the markup is given, however it is cut", () =>
    Effect.gen(function*() {
      for (const cut of [1, 2, 3, 5, leak.length]) {
        const pieces = Array.from(
          { length: Math.ceil(leak.length / cut) },
          (_, i) => leak.slice(i * cut, (i + 1) * cut)
        )
        assert.deepStrictEqual(yield* given(saying("I ask: ", ...pieces)), {
          text: "I ask: ",
          failed: "LeakedToolCall"
        })
      }
    }))

  it.effect("gives all of a text that only looks like markup", () =>
    Effect.gen(function*() {
      for (const pieces of [["a <", "｜", "｜DS", "ML"], ["1 < 2", " <", null, "b>"], ["<｜tool", "s"]]) {
        assert.deepStrictEqual(yield* given(saying(...pieces)), { text: pieces.join(""), failed: false })
      }
    }))

  it.effect("does not look at answers without tools", () =>
    Effect.gen(function*() {
      const asked = { model: request.model, messages: request.messages }
      assert.deepStrictEqual((yield* ToolMarkup.refused(saying(leak)).complete(asked)).choices[0].message.content, leak)
      const stream = yield* Stream.runCollect(ToolMarkup.refused(saying(leak)).stream(asked))
      assert.strictEqual(stream.length, 2)
    }))

  it.live("is tried again by the client", () =>
    Effect.gen(function*() {
      const model = yield* DeepSeek.DeepSeek
      const { choices: [{ message }] } = yield* model.complete(request)
      assert.strictEqual(message.tool_calls?.[0]?.function.name, "ports")
      assert.strictEqual((yield* (yield* Simulator.Simulator).inspect).requests, 2)
    }).pipe(Effect.provide(client({ plan: [{ nth: 1, fault: { dsml: true } }] }, { retry: { times: 1, base: 1 } }))))
})
