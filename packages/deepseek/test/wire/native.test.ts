import { ChatError, Native } from "@ballast/chat"
import { Provider, Source } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { apiKey, bare, consume, on, reasonOf, request } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"
import { failure, good, goodStream, sse } from "../support/wire.ts"
import { kinds, mutate } from "./mutations.ts"

const body = { model: "claude", max_tokens: 9, messages: [{ role: "user", content: "Hi" }], top_k: 3 }
const native = Native.attach(request, { protocol: "messages", body, headers: { "anthropic-beta": "a-1" } })

const answer = {
  id: "1",
  type: "message",
  role: "assistant",
  model: "deepseek-flash",
  content: [{ type: "text", text: "Hello" }],
  stop_reason: "end_turn",
  usage: { input_tokens: 3, cache_read_input_tokens: 2, output_tokens: 1 }
}
const whole: Scripted.Reply = { body: [JSON.stringify(answer)] }

const event = (type: string, fields: object = {}) => `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
const start = event("message_start", { message: { ...answer, content: [], stop_reason: null } })
const said = (text: string) => event("content_block_delta", { index: 0, delta: { type: "text_delta", text } })
const open = event("content_block_start", { index: 0, content_block: { type: "text", text: "" } })
const last = event("message_delta", { delta: { stop_reason: "end_turn" }, usage: { output_tokens: 2 } })
const events = [start, open, said("Hel"), said("lo"), last, event("message_stop")]

const notFound = failure(404, { message: "Not Found", type: "invalid_request_error", code: "invalid_request_error" })

/** What was asked at which path, for what. */
const asked = ({ seen }: Scripted.Script) => seen.map(({ body, url }) => [new URL(url).pathname, body])

describe("a native request", () => {
  it.effect("goes to the path of its protocol, with the model that the chat names, and is answered natively", () =>
    Effect.gen(function*() {
      const script = Scripted.make(whole)
      const completion = yield* (yield* on(script.layer)).complete(native)
      assert.deepStrictEqual(asked(script), [["/anthropic/v1/messages", { ...body, model: request.model }]])
      assert.include(script.seen[0]?.headers, { "anthropic-beta": "a-1", "anthropic-version": "2023-06-01" })
      assert.strictEqual(completion.choices[0].message.content, "Hello")
      assert.deepInclude(completion.usage, { prompt_tokens: 5, completion_tokens: 1, prompt_cache_hit_tokens: 2 })
      assert.strictEqual(Native.textOf(completion, "messages"), JSON.stringify(answer))
    }))

  it.effect("is streamed: each event is a chunk with its text", () =>
    Effect.gen(function*() {
      const script = Scripted.make(sse([...events.slice(0, 2), ": keep-alive\n\n", event("ping"), ...events.slice(2)]))
      const chunks = yield* Stream.runCollect((yield* on(script.layer)).stream(native))
      assert.deepStrictEqual(script.seen[0]?.body, { ...body, model: request.model, stream: true })
      assert.deepStrictEqual(Array.from(chunks, (chunk) => Native.textOf(chunk, "messages")), events)
      assert.deepInclude(Array.from(chunks).at(-2)?.usage, { prompt_tokens: 5, completion_tokens: 2 })
    }))

  it.effect("fails in a stream as chat does", () =>
    Effect.gen(function*() {
      const fails = (...pieces: ReadonlyArray<string>) =>
        Effect.flatMap(
          on(Scripted.make(sse(pieces)).layer),
          (deepseek) => reasonOf(Stream.runDrain(deepseek.stream(native)))
        )
      assert.deepInclude(yield* fails(...events.slice(0, 4)), { _tag: "StreamTruncated" })
      assert.deepInclude(yield* fails(start, last), { _tag: "EmptyCompletion" })
      const overloaded = event("error", { error: { type: "overloaded_error", message: "Busy" } })
      assert.deepInclude(yield* fails(start, overloaded), { class: "ServerError", _tag: "Overloaded", detail: "Busy" })
      assert.deepInclude(yield* fails("data: {\"type\":7}\n\n"), { _tag: "MalformedBody" })
    }))

  it.effect("reads errors in the shape of either protocol", () =>
    Effect.gen(function*() {
      const refused = (error: object) =>
        Effect.flatMap(
          on(Scripted.make({ status: 400, body: [JSON.stringify(error)] }).layer),
          (deepseek) => reasonOf(deepseek.complete(native))
        )
      const told = { message: "max_tokens: missing", type: "invalid_request_error" }
      for (const error of [{ error: told }, { type: "error", error: told }]) {
        assert.deepInclude(yield* refused(error), { _tag: "InvalidRequest", detail: told.message })
      }
    }))

  it.effect("is put right where DeepSeek would refuse it", () =>
    Effect.gen(function*() {
      const script = Scripted.make(whole)
      const deepseek = yield* on(script.layer)
      const sent = (change: object) =>
        Effect.map(
          deepseek.complete(Native.attach(request, { protocol: "messages", body: { ...body, ...change } })),
          () => Object(script.seen.at(-1)?.body)
        )
      const tool = { name: "f", input_schema: {} }
      const nothing = { type: "thinking", thinking: "", signature: "" }
      const text = { type: "text", text: "a" }
      const thought = { type: "thinking", thinking: "Hm", signature: "s" }
      const turns = (...contents: ReadonlyArray<unknown>) => contents.map((content) => ({ role: "assistant", content }))
      const given = turns("a", [text], [thought, text], [{ type: "redacted_thinking", data: "x" }, text])
      const tools = [{ ...tool, type: "custom" }]
      assert.deepInclude(yield* sent({ messages: given, tools }), {
        messages: turns([nothing, text], [nothing, text], [thought, text], [nothing, text]),
        tools: [tool]
      })
      const kept = turns("a", [text], [thought, text])
      assert.deepInclude(yield* sent({ messages: kept }), { messages: kept })
      const told = [{ role: "user", content: "Hi" }, { role: "system", content: [{ type: "text", text: "Be brief" }] }]
      assert.deepInclude(yield* sent({ messages: told }), { messages: told })
      yield* deepseek.complete(
        Native.attach({ ...request, model: "deepseek-v4-pro" }, {
          protocol: "messages",
          body: { ...body, messages: told }
        })
      )
      assert.deepInclude(Object(script.seen.at(-1)?.body), {
        messages: [told[0], {
          role: "user",
          content: [{ type: "text", text: "<system-reminder>\nBe brief\n</system-reminder>" }]
        }]
      })
      const silent = { messages: kept, tools: [tool], thinking: { type: "disabled" } }
      assert.deepInclude(yield* sent(silent), silent)
    }))

  it.effect("is sent as chat by a provider without the path", () =>
    Effect.gen(function*() {
      const script = Scripted.make(good)
      const provider = Provider.make({ name: "chat", baseUrl: "https://chat.example" })
      const deepseek = yield* on(script.layer, { ...bare, provider })
      yield* deepseek.complete(native)
      assert.strictEqual(asked(script)[0]?.[0], "/chat/completions")
      assert.deepInclude(
        yield* reasonOf(deepseek.complete(Native.attach(request, { protocol: "messages", body, only: true }))),
        { _tag: "NotFound" }
      )
      assert.strictEqual(script.seen.length, 1)
    }))

  it.effect("is sent as chat from then on by a service that turns out not to have the path", () =>
    Effect.gen(function*() {
      const script = Scripted.make(notFound, good, goodStream)
      const deepseek = yield* on(script.layer)
      yield* deepseek.complete(native)
      assert.strictEqual((yield* consume(deepseek, native)).text, "|Hmm|Hel|lo|")
      assert.deepStrictEqual(asked(script).map(([path]) => path), [
        "/anthropic/v1/messages",
        "/chat/completions",
        "/chat/completions"
      ])
    }))

  it.effect("is answered, or fails with a typed error, whatever happens to the bytes", () =>
    Effect.gen(function*() {
      const tool = [
        event("content_block_start", { index: 1, content_block: { type: "tool_use", id: "a", name: "f", input: {} } }),
        event("content_block_delta", { index: 1, delta: { type: "input_json_delta", partial_json: "{\"a\":1}" } }),
        event("content_block_stop", { index: 1 })
      ]
      const texts = [...events.slice(0, 4), ...tool, ...events.slice(4)].join("")
      const outcomes = new Map<string, number>()
      let mutated: Uint8Array = new Uint8Array()
      const client = HttpClient.make((request) =>
        Effect.sync(() => HttpClientResponse.fromWeb(request, new Response(Buffer.from(mutated))))
      )
      const source = yield* Effect.provideService(
        Source.make({ provider: Provider.deepSeek, apiKey }),
        HttpClient.HttpClient,
        client
      )
      for (let place = 0; place < 1_500; place++) {
        const isStream = place % 3 !== 0
        const bytes = new TextEncoder().encode(isStream ? texts : JSON.stringify(answer))
        mutated = mutate(bytes, kinds[place % kinds.length]!, place * 7_919)
        const call = isStream ? Stream.runDrain(source.stream(native)) : Effect.asVoid(source.complete(native))
        const outcome = yield* Effect.match(call, {
          onSuccess: () => "answer",
          onFailure: (error) => ChatError.isChatError(error) ? error.reason._tag : assert.fail(String(error))
        })
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      }
      for (const outcome of ["answer", "StreamTruncated", "MalformedBody"]) {
        assert.isAbove(outcomes.get(outcome) ?? 0, 20, outcome)
      }
    }))

  it.effect("is answered by a whole answer to a stream, and by a stream to a whole one", () =>
    Effect.gen(function*() {
      const deepseek = yield* on(Scripted.make(whole, sse(events)).layer)
      assert.strictEqual((yield* consume(deepseek, native)).text, "Hello")
      assert.strictEqual((yield* deepseek.complete(native)).choices[0].message.content, "Hello")
    }))
})

describe("DeepSeek", () => {
  it.effect("asks for messages, streams them, and counts tokens", () =>
    Effect.gen(function*() {
      const script = Scripted.make(whole, sse(events), { body: ["{\"input_tokens\":14}"] })
      const deepseek = yield* on(script.layer, { ...bare, apiKey: Redacted.make("sk-a") })
      const given = { model: "deepseek-flash", max_tokens: 9, messages: [{ role: "user", content: "Hi" }] } as const
      assert.deepStrictEqual<object>(yield* deepseek.messages(given), { stop_sequence: null, ...answer })
      const streamed = yield* Stream.runCollect(deepseek.messagesStream(given))
      assert.deepStrictEqual(Array.from(streamed, ({ type }) => type), [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "message_delta",
        "message_stop"
      ])
      assert.deepStrictEqual(yield* deepseek.countTokens(given), { input_tokens: 14 })
      assert.strictEqual(asked(script)[2]?.[0], "/anthropic/v1/messages/count_tokens")
    }))
})
