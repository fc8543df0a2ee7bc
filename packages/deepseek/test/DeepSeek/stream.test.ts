import { Limits, Sse } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { bare, consume, on, reasonOf, request, scripted } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"
import {
  chunk,
  completion,
  done,
  event,
  failure,
  goodStream,
  last,
  opening,
  sse,
  thought,
  token,
  traceId,
  usage
} from "../support/wire.ts"

const collected = (reply: Scripted.Reply) =>
  Effect.flatMap(scripted(reply), (deepseek) => Stream.runCollect(deepseek.stream(request)))

describe("DeepSeek.stream", () => {
  describe("a whole answer", () => {
    it.effect("comes chunk by chunk, fields that are new included", () =>
      Effect.gen(function*() {
        const fresh = { ...chunk({ content: "a", new_field: 1 }), other: { deep: true } }
        const chunks = yield* collected(sse([opening, event(fresh), last, done]))
        assert.lengthOf(chunks, 3)
        assert.deepStrictEqual(chunks[1], fresh as never)
        assert.deepStrictEqual(chunks[2]?.usage, usage)
      }))

    it.effect("asks for events and usage, unless the caller says otherwise", () =>
      Effect.gen(function*() {
        const script = Scripted.make(goodStream)
        const deepseek = yield* on(script.layer)
        yield* Stream.runDrain(deepseek.stream(request))
        yield* Stream.runDrain(deepseek.stream({ ...request, stream_options: { include_usage: false } }))
        assert.deepStrictEqual(script.seen[0]?.body, {
          ...request,
          stream: true,
          stream_options: { include_usage: true }
        })
        assert.deepInclude(script.seen[1]?.body, { stream_options: { include_usage: false } })
        assert.strictEqual(script.seen[0]?.headers["accept"], "text/event-stream")
      }))

    it.effect("is asked for without usage once the service has refused the wish for it", () =>
      Effect.gen(function*() {
        const refusal = failure(400, { message: "Unknown parameter: stream_options.", type: "invalid_request_error" })
        const script = Scripted.make(refusal, goodStream)
        const deepseek = yield* on(script.layer)
        yield* Stream.runDrain(deepseek.stream(request))
        yield* Stream.runDrain(deepseek.stream(request))
        assert.deepStrictEqual(script.seen.map(({ body }) => Object(body).stream_options), [
          { include_usage: true },
          undefined,
          undefined
        ])
      }))

    it.effect("is not asked for again where the caller has wished for usage", () =>
      Effect.gen(function*() {
        const refusal = failure(400, { message: "Unknown parameter: stream_options.", type: "invalid_request_error" })
        const script = Scripted.make(refusal, goodStream)
        const deepseek = yield* on(script.layer)
        const asked = { ...request, stream_options: { include_usage: true } }
        assert.deepInclude(yield* reasonOf(Stream.runDrain(deepseek.stream(asked))), { _tag: "InvalidRequest" })
        assert.lengthOf(script.seen, 1)
      }))

    it.effect("may have its usage in a chunk of its own", () =>
      Effect.gen(function*() {
        const usageOnly = { ...chunk({}), choices: [], usage }
        const chunks = yield* collected(
          sse([token("a"), event(chunk({ content: "" }, "stop")), event(usageOnly), done])
        )
        assert.deepStrictEqual(chunks[2], usageOnly)
      }))

    it.effect("may have comments and any line ends in it, cut anywhere", () =>
      Effect.gen(function*() {
        const text = [": keep-alive\n\n", opening, ": keep-alive\n\n", token("深"), token("🐳"), last, done].join("")
        const bytes = new TextEncoder().encode(text.replaceAll("\n", "\r\n"))
        const pieces = Array.from(bytes, (byte) => Uint8Array.of(byte))
        assert.strictEqual((yield* consume(yield* scripted(sse(pieces)))).text, "|深|🐳|")
      }))

    it.effect("gives the chunks of one read as one array, and opening chunks with the first token", () =>
      Effect.gen(function*() {
        const deepseek = yield* scripted(sse([opening, ": keep-alive\n\n", thought("Hm") + token("a"), last + done]))
        const sizes: Array<number> = []
        yield* Stream.runForEachArray(
          deepseek.stream(request),
          (chunks) => Effect.sync(() => sizes.push(chunks.length))
        )
        assert.deepStrictEqual(sizes, [3, 1])
      }))

    it.effect("is whole with a finish reason, even without [DONE], and even when the connection breaks then", () =>
      Effect.gen(function*() {
        for (const end of ["clean", "cut"] as const) {
          const { exit, text } = yield* consume(yield* scripted(sse([opening, token("a"), last], end)))
          assert.deepStrictEqual([exit, text], [Exit.void, "|a|"])
        }
      }))

    it.effect("may have fewer choices than were asked for, once the service says that there are no more", () =>
      Effect.gen(function*() {
        const second = event(chunk({}, null, { choices: [{ index: 1, delta: {} }] }))
        const two = { ...request, n: 2 }
        const cases = [
          [[token("a"), last, done], "clean", true],
          [[token("a"), last, done], "stall", true],
          [[token("a"), last], "clean", true],
          [[token("a"), last], "cut", false],
          [[token("a"), second, last, done], "clean", false]
        ] as const
        for (const [events, end, isWhole] of cases) {
          const deepseek = yield* scripted(sse([opening, ...events], end))
          const fiber = yield* Effect.forkChild(consume(deepseek, two), { startImmediately: true })
          yield* TestClock.adjust("1 second")
          const { exit, text } = yield* Fiber.join(fiber)
          assert.deepStrictEqual([Exit.isSuccess(exit), text.replaceAll("|", "")], [isWhole, "a"])
        }
      }))

    it.effect("is not waited for after its end for more than a moment, and then aborted", () =>
      Effect.gen(function*() {
        const heartbeats = Array.from({ length: 9 }, () => [Duration.millis(100), ": ping\n\n"])
        for (const after of [[], [done], heartbeats.flat()]) {
          const script = Scripted.make(sse([token("a"), last, ...after], "stall"))
          const deepseek = yield* on(script.layer)
          const fiber = yield* Effect.forkChild(consume(deepseek), { startImmediately: true })
          yield* TestClock.adjust(749)
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(1)
          assert.deepStrictEqual((yield* Fiber.join(fiber)).exit, Exit.void)
          assert.deepStrictEqual(script.aborted, [0])
        }
      }))

    it.effect("is not whole by [DONE] alone", () =>
      Effect.gen(function*() {
        const deepseek = yield* scripted(sse([token("a"), done], "stall"))
        const fiber = yield* Effect.forkChild(consume(deepseek), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        assert.deepInclude(yield* reasonOf((yield* Fiber.join(fiber)).exit), { _tag: "StreamTruncated" })
      }))

    it.effect("may be a length, with nothing but thoughts", () =>
      Effect.gen(function*() {
        const { exit } = yield* consume(
          yield* scripted(sse([opening, thought("Hm"), event(chunk({ content: "" }, "length"))]))
        )
        assert.deepStrictEqual(exit, Exit.void)
      }))

    it.effect("may come as JSON from a service that does not stream", () =>
      Effect.gen(function*() {
        const call = { id: "call_00_a", type: "function" as const, function: { name: "f", arguments: "{}" } }
        const whole = completion({ content: "Hello", tool_calls: [call] }, "tool_calls", { new_field: 1 })
        const reply = { headers: { "content-type": "application/json" }, body: [JSON.stringify(whole)] }
        const chunks = yield* collected(reply)
        assert.lengthOf(chunks, 1)
        assert.deepInclude(Object(chunks[0]), { usage, object: "chat.completion.chunk", new_field: 1 })
        assert.deepStrictEqual(chunks[0]?.choices[0]?.delta.tool_calls, [{ index: 0, ...call }])
        assert.strictEqual(chunks[0]?.choices[0]?.finish_reason, "tool_calls")
      }))

    it.effect("that comes as JSON has all its choices", () =>
      Effect.gen(function*() {
        const { choices, ...rest } = completion({ content: "a" })
        const second = { index: 1, message: { role: "assistant", content: "b" }, finish_reason: "length" }
        const chunks = yield* collected({ body: [JSON.stringify({ ...rest, choices: [...choices, second] })] })
        assert.deepStrictEqual(
          chunks[0]?.choices.map(({ delta, finish_reason, index }) => [index, delta.content, finish_reason]),
          [[0, "a", "stop"], [1, "b", "length"]]
        )
      }))

    it.effect("may come as JSON under any type, after blank lines, in any pieces", () =>
      Effect.gen(function*() {
        const text = `\ufeff\n\r\n \n${JSON.stringify(completion({ content: "深🐳" }), undefined, 1)}\n`
        const pieces = Array.from(new TextEncoder().encode(text), (byte) => Uint8Array.of(byte))
        for (const type of [undefined, "application/octet-stream", "text/event-stream", "Application/JSON"]) {
          const reply = { headers: type === undefined ? {} : { "content-type": type }, body: pieces }
          const { exit, text } = yield* consume(yield* scripted(reply))
          assert.deepStrictEqual([exit, text], [Exit.void, "深🐳"])
        }
      }))
  })

  describe("an answer that breaks off", () => {
    it.effect("cleanly is truncated", () =>
      Effect.gen(function*() {
        const { exit, text } = yield* consume(yield* scripted(sse([opening, thought("Hm"), token("Hel")])))
        assert.strictEqual(text, "|Hm|Hel")
        const error = yield* reasonOf(exit)
        assert.deepInclude(error, { class: "ProtocolError", _tag: "StreamTruncated", traceId })
        assert.notProperty(error, "partial")
      }))

    it.effect("with the socket is truncated too, when something had arrived", () =>
      Effect.gen(function*() {
        const { exit, text } = yield* consume(
          yield* scripted(sse([opening, token("Hel"), token("lo").slice(0, 20)], "cut"))
        )
        assert.strictEqual(text, "|Hel")
        const error = yield* reasonOf(exit)
        assert.deepInclude(error, { class: "ProtocolError", _tag: "StreamTruncated" })
      }))

    it.effect("with the socket is a lost connection, when nothing had", () =>
      Effect.gen(function*() {
        for (const body of [[], [opening], [": keep-alive\n\n"]]) {
          const { exit, text } = yield* consume(yield* scripted(sse(body, "cut")))
          assert.strictEqual(text, "")
          assert.deepInclude(yield* reasonOf(exit), { class: "TransportError", _tag: "ConnectionLost" })
        }
      }))

    it.effect("before anything came is truncated without a partial answer", () =>
      Effect.gen(function*() {
        for (const body of [[], ["\n\n\n"], [opening], [done], [opening, done]]) {
          const { exit } = yield* consume(yield* scripted(sse(body)))
          const error = yield* reasonOf(exit)
          assert.deepInclude(error, { _tag: "StreamTruncated" })
          assert.notProperty(error, "partial")
        }
      }))
  })

  describe("an answer that fails on its way", () => {
    const failing = (...body: ReadonlyArray<string>) =>
      Effect.flatMap(scripted(sse(body)), (deepseek) => consume(deepseek))

    it.effect("gives what came before, and then the error that it states", () =>
      Effect.gen(function*() {
        const error = { error: { message: "busy", type: "service_unavailable_error" } }
        const { exit, text } = yield* failing(opening + token("Hel") + event(error) + token("lo") + last + done)
        assert.strictEqual(text, "|Hel")
        assert.deepInclude(yield* reasonOf(exit), { class: "ServerError", _tag: "Overloaded", status: 200, traceId })
      }))

    it.effect("may state it beside a chunk", () =>
      Effect.gen(function*() {
        const { exit } = yield* failing(event(chunk({ content: "" }, "error", { error: { message: "x", code: 502 } })))
        assert.deepInclude(yield* reasonOf(exit), { _tag: "GatewayError" })
      }))

    it.effect("may be malformed: no JSON, another shape, an endless event", () =>
      Effect.gen(function*() {
        const endless = "data: " + "x".repeat(Sse.defaults.limit)
        for (const bad of ["data: {\"id\":\n\n", event({ id: 1, choices: {} }), endless]) {
          const { exit, text } = yield* failing(token("a"), bad)
          assert.strictEqual(text, "a")
          assert.deepInclude(yield* reasonOf(exit), { class: "ProtocolError", _tag: "MalformedBody", traceId })
        }
      }))

    it.effect("may say so as its finish reason", () =>
      Effect.gen(function*() {
        for (const finish of ["insufficient_system_resource", "aborted"]) {
          const { exit, text } = yield* failing(token("a"), event(chunk({ content: "" }, finish, { usage })), done)
          // What it has cost is told in a chunk of its own.
          assert.strictEqual(text, "a|")
          assert.deepInclude(yield* reasonOf(exit), { class: "ServerError", _tag: "Overloaded", status: 200 })
        }
      }))

    it.effect("may stop with nothing", () =>
      Effect.gen(function*() {
        const { exit, text } = yield* failing(opening, last, done)
        assert.strictEqual(text, "")
        assert.deepInclude(yield* reasonOf(exit), { class: "ProtocolError", _tag: "EmptyCompletion", traceId })
      }))

    it.effect("may be a page of HTML", () =>
      Effect.gen(function*() {
        const deepseek = yield* scripted({ headers: { "content-type": "text/html" }, body: ["<html>\n\n</html>"] })
        assert.deepInclude(yield* reasonOf((yield* consume(deepseek)).exit), {
          _tag: "MalformedBody",
          detail: "not JSON"
        })
      }))

    it.effect("may be an error in JSON with a good status", () =>
      Effect.gen(function*() {
        const deepseek = yield* scripted({ body: ["{\"error\":{\"message\":\"x\",\"type\":\"rate_limit_error\"}}"] })
        assert.deepInclude(yield* reasonOf((yield* consume(deepseek)).exit), { _tag: "RateLimited" })
      }))

    it.effect("may be JSON under another type: an error, broken, endless, cut", () =>
      Effect.gen(function*() {
        const piece = new Uint8Array(Limits.limits.wholeAnswer / 8).fill(0x20)
        const endless = ["{", ...Array.from({ length: 9 }, () => piece)]
        for (
          const [body, end, expected] of [
            [["\n{\"error\":{\"message\":\"Insufficient Balance\"}}"], "clean", { _tag: "InsufficientBalance" }],
            [["{\"id\":"], "clean", { _tag: "MalformedBody", detail: "not JSON", excerpt: "{\"id\":" }],
            [["{\"id\":1}"], "clean", { _tag: "MalformedBody", lasting: true }],
            [["{\"id\":"], "cut", { class: "TransportError", _tag: "ConnectionLost" }],
            [endless, "stall", { _tag: "MalformedBody", detail: "a whole answer larger than 67108864 characters" }]
          ] as const
        ) {
          const { exit } = yield* consume(yield* scripted({ headers: {}, body, end }))
          assert.deepInclude(yield* reasonOf(exit), expected)
        }
      }))

    it.effect("is aborted", () =>
      Effect.gen(function*() {
        const script = Scripted.make(sse([token("a"), "data: no\n\n"], "stall"))
        const deepseek = yield* on(script.layer, bare)
        yield* consume(deepseek)
        assert.deepStrictEqual(script.aborted, [0])
      }))
  })

  describe("a consumer that stops", () => {
    it.effect("aborts the request", () =>
      Effect.gen(function*() {
        const script = Scripted.make(sse([token("a"), token("b")], "stall"))
        const deepseek = yield* on(script.layer)
        yield* Stream.runDrain(Stream.take(deepseek.stream(request), 1))
        assert.deepStrictEqual(script.aborted, [0])
        const fiber = yield* Effect.forkChild(Stream.runDrain(deepseek.stream(request)), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(script.aborted, [0, 1])
      }))
  })
})
