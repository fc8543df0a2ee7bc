/** Every answer, broken at every place, in one model in memory. */
import { ChatAccumulator, ChatChunk, ChatError, type ChatModel } from "@ballast/chat"
import { Resume } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { request } from "../support/client.ts"
import { chunk } from "../support/wire.ts"

const Tokens = Schema.Array(Schema.NonEmptyString)
const index = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

const lost = new ChatError.TransportError({ reason: new ChatError.ConnectionLost({ detail: "lost" }) })

/** How many tokens a text is the beginning of. */
const countOf = (tokens: ReadonlyArray<string>, text: string): number => {
  let [count, length] = [0, 0]
  for (; length < text.length; count++) length += tokens[count]!.length
  return count
}

/** Answers with thoughts and text, or with what is left of them; breaks the first calls after so many chunks. */
const answering = (thoughts: ReadonlyArray<string>, texts: ReadonlyArray<string>, breaks: ReadonlyArray<number>) => {
  let calls = 0
  const stream: ChatModel.ChatModel["stream"] = ({ messages }) => {
    const last = messages.at(-1)
    const prefix = last?.role === "assistant" ? last : undefined
    const thought = countOf(thoughts, prefix?.reasoning_content ?? "")
    const said = countOf(texts, String(prefix?.content ?? ""))
    const rest = [...thoughts.slice(thought), ...texts.slice(said)].length
    const chunks: ReadonlyArray<ChatChunk.ChatChunk> = [
      chunk({ role: "assistant", content: null, reasoning_content: "" }),
      ...thoughts.slice(thought).map((reasoning_content) => chunk({ content: null, reasoning_content })),
      ...texts.slice(said).map((content) => chunk({ content, reasoning_content: null })),
      chunk({ content: "" }, "stop", {
        usage: { prompt_tokens: 10, completion_tokens: rest, total_tokens: 10 + rest }
      })
    ]
    const at = breaks[calls++]
    // A source holds opening chunks back, so that a break before the first token is one before anything.
    const own = chunks.map((chunk) => ({ ...chunk, id: `answer ${calls}` }))
    const given = at === undefined ? own : own.slice(0, 2 + at % Math.max(1, chunks.length - 2))
    const all = Stream.fromIterable(given)
    return given.length === chunks.length ? all : Stream.concat(all, Stream.fail(lost))
  }
  const model: ChatModel.ChatModel = { complete: () => Effect.die("streams only"), stream }
  return { model, calls: () => calls }
}

describe("every answer, broken at every place", () => {
  it.effect.prop(
    "is one whole stream",
    { thoughts: Tokens, texts: Tokens, breaks: Schema.Array(index(1000)), size: index(8) },
    ({ breaks, size, texts, thoughts }) =>
      Effect.gen(function*() {
        const { calls, model } = answering(thoughts, texts, breaks.slice(0, 5))
        const resumed = Resume.make(
          { ...model, stream: (request) => Stream.rechunk(model.stream(request), size + 1) },
          { name: "a", provider: "a", model: "a" },
          { times: 5 }
        )
        const chunks = Array.from(yield* Stream.runCollect(resumed.stream(request)))
        const joined = ChatAccumulator.make()
        for (const chunk of chunks) ChatAccumulator.add(joined, chunk)
        const completion = ChatAccumulator.toCompletion(joined)!
        const { message } = completion.choices[0]
        assert.deepStrictEqual([message.reasoning_content ?? "", message.content ?? ""], [
          thoughts.join(""),
          texts.join("")
        ])
        const choices = chunks.flatMap(({ choices }) => choices)
        assert.lengthOf(choices.filter(({ delta }) => delta.role != null), 1)
        assert.lengthOf(choices.filter(({ finish_reason }) => finish_reason != null), 1)
        assert.lengthOf(choices.filter((choice) => ChatChunk.isSaying(choice)), thoughts.length + texts.length)
        assert.strictEqual(new Set(chunks.map(({ id }) => id)).size, 1)
        assert.strictEqual(completion.usage?.completion_tokens, thoughts.length + texts.length)
        assert.isAtMost(calls(), breaks.slice(0, 5).length + 1)
      })
  )
})
