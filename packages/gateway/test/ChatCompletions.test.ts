import { type ChatChunk, ChatError, type ChatModel } from "@ballast/chat"
import type { DeepSeek } from "@ballast/deepseek"
import { ChatCompletions, type Exchange, type Rejection, Shutdown } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Queue, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { hello } from "./harness.ts"

type Chunks = Stream.Stream<ChatChunk.ChatChunk, DeepSeek.CallError>

const chunk = (content: string): ChatChunk.ChatChunk => ({ id: "1", choices: [{ delta: { content } }] })

const truncated = new ChatError.ProtocolError({ reason: new ChatError.StreamTruncated({}) })

const modelOf = (chunks: Chunks): ChatModel.ChatModel<DeepSeek.CallError> => ({
  complete: () => Effect.never,
  stream: () => chunks
})

const exchange = (): Exchange.Exchange => ({ id: "x", method: "POST", path: "/", route: "/", status: 0 })

const request = (body = JSON.stringify({ ...hello, stream: true })) =>
  HttpServerRequest.fromWeb(
    new Request("http://127.0.0.1/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body
    })
  )

/** Asks a model for a stream. The answer is there when its head would be sent; `sent` is what has been read of its body. */
const ask = Effect.fnUntraced(function*(
  chunks: Chunks,
  seen = exchange(),
  cut: Effect.Effect<never, Rejection.Rejection> = Effect.never
) {
  const response = yield* ChatCompletions.handle(modelOf(chunks), cut)(seen, request())
  assert.strictEqual(response.body._tag, "Stream")
  const sent: Array<string> = []
  const body = response.body._tag === "Stream" ? response.body.stream : Stream.empty
  const reading = yield* body.pipe(
    Stream.decodeText,
    Stream.runForEach((text) => Effect.sync(() => sent.push(text))),
    Effect.forkScoped
  )
  return { sent, reading, response }
})

const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`

describe("ChatCompletions", () => {
  it.effect("passes a request on as it came, integers of any size included", () =>
    Effect.gen(function*() {
      const body = JSON.stringify(hello).replace("}]}", "}],\"seed\":12345678901234567890,\"new\":[1,\"a\"]}")
      const seen: Array<string> = []
      const model: ChatModel.ChatModel<DeepSeek.CallError> = {
        complete: (request) =>
          Effect.andThen(Effect.sync(() => seen.push(JSON.stringify(request))), Effect.fail(truncated)),
        stream: () => Stream.empty
      }
      yield* Effect.flip(ChatCompletions.handle(model)(exchange(), request(body)))
      assert.deepStrictEqual(seen, [body])
    }))

  it.effect("notes the model", () =>
    Effect.gen(function*() {
      const seen = exchange()
      const chat = request(JSON.stringify({ ...hello, stream: true }))
      yield* Effect.flip(ChatCompletions.handle(modelOf(Stream.fail(truncated)))(seen, chat))
      assert.strictEqual(seen.model, hello.model)
    }))

  describe("a stream", () => {
    it.effect("begins with its first chunk and ends with [DONE]", () =>
      Effect.gen(function*() {
        const { reading, sent } = yield* ask(Stream.make(chunk("a"), chunk("b")))
        yield* Fiber.join(reading)
        assert.strictEqual(sent.join(""), `${event(chunk("a"))}${event(chunk("b"))}data: [DONE]\n\n`)
      }))

    it.effect("fails before anything is sent when the call fails before its first chunk", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(ask(Stream.fail(truncated)))
        assert.strictEqual(error._tag, "ProtocolError")
      }))

    it.effect("waits 15 seconds for the first chunk, then begins with a comment", () =>
      Effect.gen(function*() {
        const started = yield* Deferred.make<void>()
        const late = Effect.delay(Effect.succeed(chunk("late")), "40 seconds")
        const asked = yield* Effect.forkChild(
          ask(Stream.fromEffect(Effect.andThen(Deferred.succeed(started, undefined), late)))
        )
        yield* Deferred.await(started)
        yield* TestClock.adjust("14999 millis")
        assert.isUndefined(asked.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const { reading, sent } = yield* Fiber.join(asked)
        yield* TestClock.adjust("15 seconds")
        assert.deepStrictEqual(sent, [": keep-alive\n\n", ": keep-alive\n\n"])
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(reading)
        assert.strictEqual(sent.slice(2).join(""), `${event(chunk("late"))}data: [DONE]\n\n`)
      }))

    it.effect("sends comments only while nothing else is sent", () =>
      Effect.gen(function*() {
        const queue = yield* Queue.unbounded<ChatChunk.ChatChunk>()
        yield* Queue.offer(queue, chunk("0"))
        const { sent } = yield* ask(Stream.fromQueue(queue))
        for (let i = 1; i <= 12; i++) {
          yield* TestClock.adjust("5 seconds")
          yield* Queue.offer(queue, chunk(String(i)))
        }
        yield* TestClock.adjust(Duration.zero)
        assert.notInclude(sent.join(""), "keep-alive")
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(sent.join("").split(": keep-alive").length - 1, 1)
      }))

    it.effect("says by an event that it failed, and does not say [DONE]", () =>
      Effect.gen(function*() {
        const seen = exchange()
        const { reading, sent } = yield* ask(Stream.concat(Stream.make(chunk("a")), Stream.fail(truncated)), seen)
        yield* Fiber.join(reading)
        const [first, last, ...more] = sent.join("").trimEnd().split("\n\n")
        assert.strictEqual(`${first}\n\n`, event(chunk("a")))
        assert.strictEqual(JSON.parse(last!.slice(6)).error.code, "upstream_truncated")
        assert.deepStrictEqual(more, [])
        assert.strictEqual(seen.error, "upstream_truncated")
      }))

    it.effect("ends its call upstream and says so when it is cut off", () =>
      Effect.gen(function*() {
        const seen = exchange()
        let ended = false
        const chunks = Stream.concat(Stream.make(chunk("a")), Stream.never).pipe(
          Stream.ensuring(Effect.sync(() => ended = true))
        )
        const cut = Effect.delay(Effect.fail(Shutdown.stopped), "5 seconds")
        const { reading, sent } = yield* ask(chunks, seen, cut)
        yield* TestClock.adjust("4999 millis")
        assert.isFalse(ended)
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(reading)
        assert.isTrue(ended)
        const [first, last, ...more] = sent.join("").trimEnd().split("\n\n")
        assert.strictEqual(`${first}\n\n`, event(chunk("a")))
        assert.strictEqual(JSON.parse(last!.slice(6)).error.code, "stopping")
        assert.deepStrictEqual(more, [])
        assert.strictEqual(seen.error, "stopping")
      }))

    it.effect("says nothing of a defect but that there was one", () =>
      Effect.gen(function*() {
        const { reading, sent } = yield* ask(Stream.concat(Stream.make(chunk("a")), Stream.die(new Error("secret"))))
        yield* Fiber.join(reading)
        assert.include(sent.join(""), "internal_error")
        assert.notInclude(sent.join(""), "secret")
      }))

    it.effect("learns the usage on the way", () =>
      Effect.gen(function*() {
        const seen = exchange()
        const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
        const { reading } = yield* ask(Stream.make(chunk("a"), { ...chunk(""), usage }), seen)
        yield* Fiber.join(reading)
        assert.deepStrictEqual(seen.usage, usage)
      }))

    it.effect("reads on from upstream only as fast as the client reads", () =>
      Effect.gen(function*() {
        let read = 0
        const chunks = Stream.range(1, 1000).pipe(
          Stream.rechunk(1),
          Stream.map((i) => {
            read = i
            return chunk(String(i))
          })
        )
        const response = yield* ChatCompletions.handle(modelOf(chunks))(
          exchange(),
          request()
        )
        yield* TestClock.adjust("1 second")
        assert.strictEqual(response.status, 200)
        assert.isAtMost(read, 20)
      }))

    it.effect("ends the call upstream when its scope closes", () =>
      Effect.gen(function*() {
        let ended = false
        const chunks = Stream.concat(Stream.make(chunk("a")), Stream.never).pipe(
          Stream.ensuring(Effect.sync(() => ended = true))
        )
        yield* Effect.scoped(ask(chunks))
        assert.isTrue(ended)
      }))
  })
})
