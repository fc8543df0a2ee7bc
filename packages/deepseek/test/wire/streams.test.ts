import { ChatAccumulator, Limits, WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { reasonOf, request, scripted } from "../support/client.ts"
import type { Reply } from "../support/scripted.ts"
import { chunk, completion, done, event, last, opening, sse, token, usage } from "../support/wire.ts"
import { hasEnd, kinds, mutate } from "./mutations.ts"
import { shapes } from "./shapes.ts"

const collect = (reply: Reply) =>
  Effect.flatMap(scripted(reply), (deepseek) => ChatAccumulator.collect(deepseek.stream(request)))

const scopedCollect = (reply: Reply) => Effect.scoped(collect(reply))

const textOf = (reply: Reply) => Effect.map(collect(reply), (answer) => answer?.choices[0].message.content)

const says = (reply: Reply, text = "Hello") => Effect.map(textOf(reply), (content) => assert.strictEqual(content, text))

const json = (delta: object, finish: string | null = null, more: object = {}) =>
  JSON.stringify(chunk(delta, finish, more))
const end = event(chunk({}, "stop"))

describe("streams on the wire", () => {
  describe("framing", () => {
    const forms: Record<string, ReadonlyArray<string>> = {
      "empty data": [opening, "data:\n\n", token("Hello"), "data: \n\n", "data\n\n", end, done],
      "the end without a blank line": [token("Hello"), `data: ${json({}, "stop")}\n`],
      "the end without a line feed": [token("Hello"), `data: ${json({}, "stop")}`],
      "comments": [": OPENROUTER PROCESSING\n\n", token("Hello"), ":\n", end, done],
      "events of another name": [
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: heartbeat\ndata: 7\n\n",
        token("Hello"),
        end
      ],
      "chunks under a name": [`event: result\n${token("Hello")}`, `event: message\n${end}`],
      "objects that are no chunks": ["data: {\"status\":\"queued\"}\n\n", token("Hello"), "data: 1\n\n", end],
      "fields alone": ["retry: 1000\n\n", "id: 7\n\n", "event: message\n\n", token("Hello"), end],
      "single line feeds": [
        `data: ${json({ content: "Hel" })}\ndata: ${json({ content: "lo" })}\ndata: ${json({}, "stop")}\ndata: [DONE]\n`
      ],
      "one JSON over many lines": [
        `${
          JSON.stringify(chunk({ content: "Hello" }), undefined, 1).split("\n").map((line) => `data: ${line}`).join(
            "\n"
          )
        }\n\n`,
        end
      ],
      "carriage returns and a byte order mark": ["\ufeff", (token("Hello") + end).replaceAll("\n", "\r")],
      "JSON lines": [`${json({ content: "Hel" })}\n${json({ content: "lo" })}\n\n`, `${json({}, "stop")}\n[DONE]\n`],
      "a whole answer": [JSON.stringify(completion(), undefined, 1)],
      "a whole answer as an event": [event(completion())],
      "a whole answer without a finish reason": [JSON.stringify({ choices: [{ message: { content: "Hello" } }] })]
    }
    for (const [name, body] of Object.entries(forms)) {
      it.effect(`reads ${name}, in pieces of any size and under any type`, () =>
        Effect.gen(function*() {
          const bytes = new TextEncoder().encode(body.join(""))
          const single = Array.from(bytes, (byte) => Uint8Array.of(byte))
          for (const type of ["text/event-stream", "application/json", "text/plain"]) {
            for (const pieces of [body, [bytes], single]) {
              yield* says({ headers: { "content-type": type }, body: pieces })
            }
          }
        }))
    }

    it.effect("gives an event as soon as it is there where single line feeds divide them", () =>
      Effect.gen(function*() {
        const line = (content: string) => `data: ${json({ content })}\n`
        const deepseek = yield* scripted(sse([line("a"), line("b"), line("c")], "stall"))
        const seen: Array<string> = []
        const fiber = yield* Effect.forkChild(
          Stream.runForEach(
            deepseek.stream(request),
            (chunk) => Effect.sync(() => seen.push(chunk.choices[0]?.delta.content ?? ""))
          ),
          { startImmediately: true }
        )
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(seen, ["a", "b", "c"])
        yield* Fiber.interrupt(fiber)
      }))

    it.effect("keeps separators that are line ends elsewhere, and halves of pairs", () =>
      says(
        sse([token("a\u2028b"), `data: ${json({ content: "X" }).replace("X", "\\ud83c")}\n\n`, token("\udf0a!"), end]),
        "a\u2028b🌊!"
      ))

    it.effect("passes texts on in one line", () =>
      Effect.gen(function*() {
        const lines = JSON.stringify(chunk({ content: "Hello" }, "stop"), undefined, 1).split("\n")
        const deepseek = yield* scripted(sse([`${lines.map((line) => `data: ${line}`).join("\n")}\n\n`]))
        const chunks = yield* Stream.runCollect(deepseek.stream(request))
        assert.deepStrictEqual(chunks.map(WireText.of), [lines.join(" ")])
      }))

    it.effect("reads errors in every form", () =>
      Effect.gen(function*() {
        const stated = JSON.stringify({ message: "busy", code: 503 })
        for (
          const error of [
            `error: ${stated}\n\n`,
            `event: error\ndata: ${stated}\n\n`,
            `data: {"error":${stated}}\n\n`,
            `event: error\ndata: {"error":${stated}}\n\n`
          ]
        ) {
          assert.deepInclude(yield* reasonOf(scopedCollect(sse([token("a"), error, end, done]))), {
            _tag: "Overloaded"
          })
        }
      }))

    it.effect("reads the message of a whole answer, and not a delta beside it", () =>
      Effect.gen(function*() {
        const message = { role: "assistant", content: "Hello" }
        for (const more of [{ finish_reason: "stop" }, {}]) {
          const text = JSON.stringify({ choices: [{ index: 0, ...more, message, delta: { content: "" } }] })
          yield* says({ body: [text] })
          yield* says({ body: [`${text}\n`] })
        }
        yield* says({ body: [JSON.stringify({ choices: [{ message: { content: "" } }] })] }, "")
      }))

    it.effect("reads an error in a chunk without choices, and none where its code says that all is well", () =>
      Effect.gen(function*() {
        const chunkWith = (status_code: number, more: object) =>
          event({ object: "chat.completion.chunk", base_resp: { status_code, status_msg: "balance is low" }, ...more })
        yield* says(sse([event({ id: "x", choices: null }), token("Hello"), end]))
        for (const more of [{ choices: null }, { choices: [] }, {}, { choices: null, usage: { total_tokens: 0 } }]) {
          assert.deepInclude(yield* reasonOf(scopedCollect(sse([chunkWith(1008, more), done]))), {
            _tag: "InsufficientBalance"
          })
          yield* says(sse([chunkWith(0, more), token("Hello"), end, chunkWith(1008, more), done]))
        }
      }))

    it.effect("reads events that answer a request for a whole answer", () =>
      Effect.gen(function*() {
        const deepseek = yield* scripted(sse([opening, token("Hel"), token("lo"), last, done]))
        const answer = yield* deepseek.complete(request)
        assert.deepStrictEqual([answer.choices[0].message.content, answer.usage], ["Hello", usage])
        const cut = yield* scripted(sse([opening, token("Hel")]))
        assert.deepInclude(yield* reasonOf(cut.complete(request)), { _tag: "StreamTruncated" })
      }))
  })

  describe("the end", () => {
    it.effect("is a finish reason of every choice", () =>
      Effect.gen(function*() {
        const of = (index: number, finish: string | null) =>
          event({ choices: [{ index, delta: { content: "a" }, finish_reason: finish }] })
        const whole = yield* collect(sse([of(0, null), of(1, null), of(0, "stop"), of(1, "length")]))
        assert.deepStrictEqual(whole?.choices.map((choice) => choice.finish_reason), ["stop", "length"])
        assert.deepInclude(yield* reasonOf(scopedCollect(sse([of(0, null), of(1, null), of(0, "stop")]))), {
          _tag: "StreamTruncated"
        })
      }))

    it.effect("is no empty finish reason, and no error", () =>
      Effect.gen(function*() {
        for (const none of ["", " ", "null", "None", "undefined"]) {
          yield* says(sse([event(chunk({ content: "Hello" }, none)), end]))
          const cut = yield* reasonOf(scopedCollect(sse([event(chunk({ content: "Hello" }, none)), done])))
          assert.deepInclude(cut, { _tag: "StreamTruncated" })
        }
        const failing = [
          ["error", "InternalError"],
          ["Error", "InternalError"],
          ["network_error", "InternalError"],
          ["abort", "Overloaded"],
          ["cancelled", "Overloaded"]
        ] as const
        for (const [finish, _tag] of failing) {
          assert.deepInclude(yield* reasonOf(scopedCollect(sse([token("a"), event(chunk({}, finish)), done]))), {
            _tag
          })
        }
      }))

    it.effect("leaves what follows, however much it is", () =>
      Effect.gen(function*() {
        const filler = new Uint8Array(256 * 1024).fill(0x61)
        for (const after of [[done], []]) {
          for (const close of ["clean", "cut", "stall"] as const) {
            yield* says(sse([token("Hello"), last, ...after, ...Array.from({ length: 40 }, () => filler)], close))
          }
        }
        yield* says(sse([token("Hello"), last, done, token("more"), "data: {broken\n\n"]))
      }))

    it.effect("waits a moment for usage", () =>
      Effect.gen(function*() {
        const answer = yield* collect(sse([token("Hello"), end, event({ choices: [], usage }), done]))
        assert.deepStrictEqual(answer?.usage, usage)
      }))

    it.effect("that does not come gives what has come to who joins it", () =>
      Effect.gen(function*() {
        const error = yield* reasonOf(scopedCollect(sse([opening, token("Hel")])))
        assert.deepInclude(error, { _tag: "StreamTruncated" })
        assert.deepInclude(Object(error).partial.choices[0], { finish_reason: null })
        assert.strictEqual(Object(error).partial.choices[0].message.content, "Hel")
      }))
  })

  describe("bounds", () => {
    it.effect("opening chunks are held as far as their bound, and given then", () =>
      Effect.gen(function*() {
        const deepseek = yield* scripted(sse([opening.repeat(Limits.limits.heldChunks), opening, token("a"), end]))
        const sizes: Array<number> = []
        yield* Stream.runForEachArray(
          deepseek.stream(request),
          (chunks) => Effect.sync(() => sizes.push(chunks.length))
        )
        assert.deepStrictEqual(sizes, [Limits.limits.heldChunks + 1, 1, 1])
      }))

    it.effect("events that are no chunks are read over as far as their bound", () =>
      Effect.gen(function*() {
        const { otherEvents } = Limits.limits
        yield* says(sse(["data: {}\n\n".repeat(otherEvents), token("Hello"), end]))
        assert.deepInclude(
          yield* reasonOf(scopedCollect(sse(["data: {}\n\n".repeat(otherEvents + 1), token("Hello"), end]))),
          {
            _tag: "MalformedBody"
          }
        )
      }))

    it.effect("nothing but events that are no chunks is an answer of another shape", () =>
      Effect.gen(function*() {
        assert.deepInclude(yield* reasonOf(scopedCollect(sse(["data: {\"a\":1}\n\n", done]))), {
          _tag: "MalformedBody",
          lasting: true
        })
      }))
  })

  describe("mutations", () => {
    const place = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 })))
    const kind = Arbitrary.schema(Schema.Literals(kinds))
    const wholes = shapes.map(({ events }) => events.map((data) => `data: ${JSON.stringify(data)}\n\n`).join(""))

    it.effect.prop(
      "of a stream are an answer with an end, or a typed error",
      {
        changes: Arbitrary.array(kind, { minLength: 1, maxLength: 3 }),
        places: Arbitrary.array(place, { minLength: 3, maxLength: 3 }),
        shape: place
      },
      ({ changes, places, shape }) =>
        Effect.gen(function*() {
          let bytes: Uint8Array = new TextEncoder().encode(wholes[shape % wholes.length])
          for (const [i, kind] of changes.entries()) bytes = mutate(bytes, kind, places[i] ?? 0)
          const exit = yield* Effect.exit(collect(sse([bytes])))
          if (Exit.isSuccess(exit)) {
            assert.isTrue(hasEnd(bytes))
            assert.isTrue(exit.value?.choices.every(({ finish_reason }) => finish_reason != null))
          } else {
            const error = exit.cause.reasons[0]
            assert.strictEqual(error?._tag, "Fail")
          }
        }),
      { arbitrary: { runs: 300 }, timeout: 60_000 }
    )
  })
})
