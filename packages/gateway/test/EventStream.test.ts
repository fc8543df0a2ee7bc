import { type ChatChunk, ChatError, type ChatModel, WireText } from "@ballast/chat"
import { Pricing } from "@ballast/deepseek"
import type { DeepSeek } from "@ballast/deepseek"
import {
  ChatRoute,
  Client,
  ClientLimits,
  EventStream,
  type Exchange,
  OpenAiChat,
  type Rejection,
  Shutdown
} from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Latch, Queue, Result, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { hello, noAnswers } from "./harness.ts"

type Chunks = Stream.Stream<ChatChunk.ChatChunk, DeepSeek.CallError>

const chunk = (content: string): ChatChunk.ChatChunk => ({ id: "1", choices: [{ delta: { content } }] })

const truncated = new ChatError.ProtocolError({ reason: new ChatError.StreamTruncated({}) })

const modelOf = (chunks: Chunks): ChatModel.ChatModel<DeepSeek.CallError> => ({
  complete: () => Effect.never,
  stream: () => chunks
})

const exchange = (): Exchange.Exchange => ({
  id: "x",
  began: 0,
  traceId: "trace-1",
  method: "POST",
  path: "/",
  route: "/",
  params: {},
  upstream: () => "simulator",
  client: Client.anonymous,
  status: 499
})

/** A client's side of a response: what arrived, and whether it reads. */
class FakeOut implements EventStream.Out {
  isEventStream = false
  status: number | undefined
  headers: Record<string, string> = {}
  readonly sent: Array<string> = []
  ended = false
  destroyed = false
  writableNeedDrain = false
  reads = true
  #drained: (() => void) | undefined

  writeHead(status: number, headers: Record<string, string>) {
    assert.isUndefined(this.status)
    this.status = status
    this.headers = headers
  }
  write(text: string) {
    this.sent.push(text)
    this.writableNeedDrain = !this.reads
    return this.reads
  }
  end(text: string) {
    this.sent.push(text)
    this.ended = true
  }
  once(_: "drain", listener: () => void) {
    this.#drained = listener
  }
  off() {
    this.#drained = undefined
  }
  drain() {
    this.writableNeedDrain = false
    this.#drained?.()
  }
}

interface Asked {
  readonly seen?: Exchange.Exchange
  readonly cut?: Effect.Effect<never, Rejection.Rejection>
  readonly out?: FakeOut
  readonly body?: object
  readonly headers?: Record<string, string>
}

const unknown = () => Result.fail(new Pricing.UnknownPrice({ provider: "p", model: "m" }))

/** Asks a model, in a fiber of its own. */
const ask = Effect.fnUntraced(function*(model: ChatModel.ChatModel<DeepSeek.CallError>, options: Asked = {}) {
  const { body = { ...hello, stream: true }, cut, headers = {}, out = new FakeOut(), seen = exchange() } = options
  let [begun, released] = [false, false]
  const route = ChatRoute.make({
    model,
    cached: noAnswers,
    dialect: OpenAiChat.dialect,
    costs: {
      note: () => {},
      pricing: () => Pricing.make(),
      cheaper: () => Effect.void,
      bound: unknown,
      run: unknown
    },
    bodies: {
      use: (_, answer) =>
        Effect.ensuring(
          answer({ json: body, text: JSON.stringify(body), begun: () => begun = true }),
          Effect.sync(() => released = true)
        ),
      read: () => Effect.die("a chat is answered"),
      bytes: () => Effect.die("a chat is JSON")
    },
    limits: ClientLimits.none,
    streams: yield* EventStream.make(cut),
    out: () => out
  })
  const request = HttpServerRequest.fromWeb(new Request("http://127.0.0.1/", { headers }))
  const answering = yield* Effect.forkChild(Effect.scoped(route(seen, request)))
  yield* TestClock.adjust(Duration.zero)
  return { answering, out, sent: out.sent, seen, begun: () => begun, released: () => released }
})

const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`
const done = "data: [DONE]\n\n"

describe("EventStream", () => {
  it.effect("begins with the first chunk and ends with [DONE]", () =>
    Effect.gen(function*() {
      const { answering, out, seen, sent } = yield* ask(modelOf(Stream.make(chunk("a"), chunk("b"))))
      yield* Fiber.join(answering)
      assert.strictEqual(sent.join(""), `${event(chunk("a"))}${event(chunk("b"))}${done}`)
      assert.deepStrictEqual([out.status, out.ended, seen.status], [200, true, 200])
      assert.deepInclude(out.headers, { "cache-control": "no-cache", "x-request-id": "x", "x-ballast-attempts": "0" })
    }))

  it.effect("lets the text of its request go when it has begun", () =>
    Effect.gen(function*() {
      const body = { ...hello, stream: true }
      const first = yield* Latch.make()
      const chunks = Stream.concat(Stream.fromEffect(Effect.as(first.await, chunk("a"))), Stream.never)
      const { answering, begun } = yield* ask(modelOf(chunks), { body })
      assert.deepStrictEqual([begun(), WireText.of(body)], [false, JSON.stringify(body)])
      yield* first.open
      yield* TestClock.adjust(Duration.zero)
      assert.deepStrictEqual([begun(), WireText.of(body)], [true, undefined])
      yield* Fiber.interrupt(answering)
    }))

  it.effect("writes at once what arrives at once", () =>
    Effect.gen(function*() {
      const chunks = Stream.concat(
        Stream.fromIterable([chunk("a"), chunk("b")]),
        Stream.fromEffect(Effect.delay(Effect.succeed(chunk("c")), "1 second"))
      )
      const { answering, sent } = yield* ask(modelOf(chunks))
      assert.deepStrictEqual(sent, [event(chunk("a")) + event(chunk("b"))])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(answering)
      assert.strictEqual(sent.length, 3)
    }))

  it.effect("fails before anything is sent when the call fails before its first chunk", () =>
    Effect.gen(function*() {
      const { answering, out } = yield* ask(modelOf(Stream.fail(truncated)))
      const error = yield* Effect.flip(Fiber.join(answering))
      assert.strictEqual(error._tag, "ProtocolError")
      assert.isUndefined(out.status)
    }))

  it.effect("waits 15 seconds for the first chunk, then begins with a comment", () =>
    Effect.gen(function*() {
      const late = Effect.delay(Effect.succeed(chunk("late")), "40 seconds")
      const { answering, out, sent } = yield* ask(modelOf(Stream.fromEffect(late)))
      yield* TestClock.adjust("14999 millis")
      assert.isUndefined(out.status)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(out.status, 200)
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(sent, [": keep-alive\n\n", ": keep-alive\n\n"])
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(answering)
      assert.strictEqual(sent.slice(2).join(""), `${event(chunk("late"))}${done}`)
    }))

  it.effect("sends comments only after 15 seconds of silence", () =>
    Effect.gen(function*() {
      const queue = yield* Queue.unbounded<ChatChunk.ChatChunk>()
      yield* Queue.offer(queue, chunk("0"))
      const { sent } = yield* ask(modelOf(Stream.fromQueue(queue)))
      for (let i = 1; i <= 12; i++) {
        yield* TestClock.adjust("5 seconds")
        yield* Queue.offer(queue, chunk(String(i)))
      }
      yield* TestClock.adjust("14999 millis")
      assert.notInclude(sent.join(""), "keep-alive")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(sent.at(-1), ": keep-alive\n\n")
    }))

  it.effect("keeps the time of each of many streams with one timer", () =>
    Effect.gen(function*() {
      const streams = yield* EventStream.make()
      const events = { headers: () => ({}), items: String, end: () => "", error: () => "", ping: "ping" }
      const outs = Array.from({ length: 3 }, () => new FakeOut())
      for (const out of outs) {
        yield* Effect.forkScoped(streams.write(out, Stream.never, events))
        yield* TestClock.adjust("4 seconds")
      }
      const counts = () => outs.map(({ sent }) => sent.length)
      assert.deepStrictEqual(counts(), [0, 0, 0])
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(counts(), [1, 0, 0])
      yield* TestClock.adjust("8 seconds")
      assert.deepStrictEqual(counts(), [1, 1, 1])
    }))

  it.effect("sends no comments to a client that does not read", () =>
    Effect.gen(function*() {
      const out = new FakeOut()
      out.reads = false
      const { sent } = yield* ask(modelOf(Stream.concat(Stream.make(chunk("a")), Stream.never)), { out })
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(sent.length, 1)
    }))

  it.effect("says by an event that it failed, and does not say [DONE]", () =>
    Effect.gen(function*() {
      const { answering, seen, sent } = yield* ask(
        modelOf(Stream.concat(Stream.make(chunk("a")), Stream.fail(truncated)))
      )
      yield* Fiber.join(answering)
      assert.strictEqual(sent[0], event(chunk("a")))
      assert.strictEqual(JSON.parse(sent[1]!.slice(6)).error.code, "upstream_truncated")
      assert.strictEqual(sent.length, 2)
      assert.strictEqual(seen.error, "upstream_truncated")
    }))

  describe("a stop", () => {
    it.effect("ends the calls upstream and says so", () =>
      Effect.gen(function*() {
        let ended = false
        const chunks = Stream.concat(Stream.make(chunk("a")), Stream.never).pipe(
          Stream.ensuring(Effect.sync(() => ended = true))
        )
        const cut = Effect.delay(Effect.fail(Shutdown.stopped), "5 seconds")
        const { answering, out, seen, sent } = yield* ask(modelOf(chunks), { cut })
        yield* TestClock.adjust("4999 millis")
        assert.isFalse(ended)
        yield* TestClock.adjust("1 millis")
        yield* Fiber.await(answering)
        assert.isTrue(ended)
        assert.strictEqual(JSON.parse(sent[1]!.slice(6)).error.code, "stopping")
        assert.deepStrictEqual([sent.length, out.ended, seen.error], [2, true, "stopping"])
      }))

    it.effect("reaches a client that does not read, and streams that come later", () =>
      Effect.gen(function*() {
        const out = new FakeOut()
        out.reads = false
        const cut = Effect.delay(Effect.fail(Shutdown.stopped), "5 seconds")
        const streams = yield* EventStream.make(cut)
        const events = { headers: () => ({}), items: String, end: () => "", error: () => "stopped", ping: "" }
        const slow = yield* Effect.forkChild(streams.write(out, Stream.make(1), events))
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.await(slow)
        assert.deepStrictEqual(out.sent, ["1", "stopped"])
        const late = yield* Effect.flip(streams.write(new FakeOut(), Stream.make(1), events))
        assert.strictEqual(late, Shutdown.stopped)
      }))
  })

  it.effect("says nothing of a defect but that there was one", () =>
    Effect.gen(function*() {
      const chunks = Stream.concat(Stream.make(chunk("a")), Stream.die(new Error("secret")))
      const { answering, sent } = yield* ask(modelOf(chunks))
      yield* Fiber.join(answering)
      assert.include(sent.join(""), "internal_error")
      assert.notInclude(sent.join(""), "secret")
    }))

  it.effect("reads on from upstream only when the client has read", () =>
    Effect.gen(function*() {
      let read = 0
      const chunks = Stream.range(1, 1000).pipe(
        Stream.rechunk(1),
        Stream.map((i) => {
          read = i
          return chunk(String(i))
        })
      )
      const out = new FakeOut()
      out.reads = false
      yield* ask(modelOf(chunks), { out })
      assert.strictEqual(read, 1)
      out.drain()
      yield* TestClock.adjust(Duration.zero)
      assert.strictEqual(read, 2)
    }))

  it.effect("ends the call upstream when it is interrupted", () =>
    Effect.gen(function*() {
      const ended = yield* Deferred.make<void>()
      const chunks = Stream.concat(Stream.make(chunk("a")), Stream.never).pipe(
        Stream.ensuring(Deferred.succeed(ended, undefined))
      )
      const { answering } = yield* ask(modelOf(chunks))
      yield* Fiber.interrupt(answering)
      yield* Deferred.await(ended)
    }))

  it.effect("writes nothing to a connection that is gone", () =>
    Effect.gen(function*() {
      const out = new FakeOut()
      out.destroyed = true
      yield* ask(modelOf(Stream.make(chunk("a"))), { out })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(out.sent, [])
    }))
})

describe("ChatRoute", () => {
  it.effect("learns model, usage and the time of the first chunk", () =>
    Effect.gen(function*() {
      const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
      const chunks = Stream.concat(
        Stream.fromEffect(Effect.delay(Effect.succeed(chunk("a")), "3 seconds")),
        Stream.make({ ...chunk(""), usage })
      )
      const { answering, seen } = yield* ask(modelOf(chunks))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(answering)
      assert.deepInclude(seen, { model: hello.model, usage, firstAt: 3000 })
    }))

  it.effect("holds the body as long as the stream does: until its end", () =>
    Effect.gen(function*() {
      const { answering, released, sent } = yield* ask(modelOf(Stream.concat(Stream.make(chunk("a")), Stream.never)))
      assert.isAbove(sent.length, 0)
      assert.isFalse(released())
      yield* Fiber.interrupt(answering)
      assert.isTrue(released())
    }))

  it.effect("hands on the request with its text", () =>
    Effect.gen(function*() {
      let text: string | undefined
      const model: ChatModel.ChatModel<DeepSeek.CallError> = {
        complete: (request) => {
          text = WireText.of(request)
          return Effect.fail(truncated)
        },
        stream: () => Stream.empty
      }
      const { answering } = yield* ask(model, { body: hello })
      yield* Effect.flip(Fiber.join(answering))
      assert.strictEqual(text, JSON.stringify(hello))
    }))

  describe("the client's deadline", () => {
    const silent: ChatModel.ChatModel<DeepSeek.CallError> = { complete: () => Effect.never, stream: () => Stream.never }

    it.effect.each(
      [[false, "x-stainless-timeout", "4"], [true, "x-stainless-timeout", "4"], [
        false,
        "x-request-timeout",
        "4s"
      ]] as const
    )(
      "ends a call in time; stream %s, %s: %s",
      ([stream, name, value]) =>
        Effect.gen(function*() {
          const { answering } = yield* ask(silent, { body: { ...hello, stream }, headers: { [name]: value } })
          yield* TestClock.adjust("3749 millis")
          assert.isUndefined(answering.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          const error = yield* Effect.flip(Fiber.join(answering))
          assert.deepInclude(error, { _tag: "Rejection", case: "ClientDeadline" })
        })
    )

    it.effect("of an SDK does not end a stream that has begun; that of the call does", () =>
      Effect.gen(function*() {
        const begun = modelOf(Stream.concat(Stream.make(chunk("a")), Stream.never))
        const sdk = yield* ask(begun, { headers: { "x-stainless-timeout": "4" } })
        const call = yield* ask(begun, { headers: { "x-request-timeout": "4" } })
        yield* TestClock.adjust("4 seconds")
        assert.isFalse(sdk.out.ended)
        assert.isTrue(call.out.ended)
        assert.include(call.sent.at(-1), "deadline_exceeded")
      }))
  })
})
