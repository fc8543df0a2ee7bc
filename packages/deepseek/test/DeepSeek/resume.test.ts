import { ChatAccumulator, type ChatChunk, type ChatRequest, Native } from "@ballast/chat"
import { type DeepSeek, Provider, Resume } from "@ballast/deepseek"
import { CallInfo, Idempotency, RetryBudget } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { bare, on, reasonOf, request } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"
import { recorded } from "../support/spans.ts"
import { chunk, completion, done, event, failure, last, opening, sse, thought, token, usage } from "../support/wire.ts"

/** Going on is the only policy. */
const resuming: DeepSeek.Options = { ...bare, resume: { times: 3 } }

/** The rest of an answer, as another answer. */
const second = { id: "another", created: 2 }
const rest = (...texts: ReadonlyArray<string>) =>
  sse([
    event(chunk({ role: "assistant", content: null, reasoning_content: "" }, null, second)),
    ...texts.map((content) => event(chunk({ content, reasoning_content: null }, null, second))),
    event(chunk({ content: "" }, "stop", { ...second, usage })),
    done
  ])

const collected = (
  replies: ReadonlyArray<Scripted.Reply>,
  asked: ChatRequest.ChatRequest = request,
  options = resuming
) =>
  Effect.gen(function*() {
    const script = Scripted.make(...replies)
    const deepseek = yield* on(script.layer, options)
    const chunks: Array<ChatChunk.ChatChunk> = []
    const exit = yield* Effect.exit(
      Stream.runForEach(deepseek.stream(asked), (chunk) => Effect.sync(() => chunks.push(chunk)))
    )
    const joined = ChatAccumulator.make()
    for (const chunk of chunks) ChatAccumulator.add(joined, chunk)
    return { chunks, exit, message: ChatAccumulator.toCompletion(joined)?.choices[0].message, script }
  })

const cut = sse([opening, thought("Hm"), token("Hel")], "cut")

const tagOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) ? Object(exit.cause.reasons[0]).error?.reason?._tag : "whole"

describe("Resume", () => {
  it.effect("asks for the rest by prefix completion on the beta path, with text and thoughts so far", () =>
    Effect.gen(function*() {
      const asked = { ...request, max_tokens: 100, max_completion_tokens: 50 }
      const { exit, message, script } = yield* collected([cut, rest("lo")], asked)
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(message, { role: "assistant", content: "Hello", reasoning_content: "Hm" })
      const [first, next] = script.seen
      assert.strictEqual(first?.url, "https://api.deepseek.com/chat/completions")
      assert.strictEqual(next?.url, "https://api.deepseek.com/beta/chat/completions")
      assert.deepStrictEqual(next?.body, {
        ...Object(first?.body),
        max_tokens: 98,
        max_completion_tokens: 48,
        messages: [...request.messages, {
          role: "assistant",
          content: "Hel",
          reasoning_content: "Hm",
          prefix: true
        }]
      })
    }))

  it.effect("gives one role, one id, one finish reason and one usage", () =>
    Effect.gen(function*() {
      const { chunks } = yield* collected([cut, rest("lo", "!")])
      const heads = chunks.map(({ created, id }) => ({ created, id }))
      for (const head of heads) assert.deepStrictEqual(head, heads[0])
      const choices = chunks.flatMap(({ choices }) => choices)
      assert.lengthOf(choices.filter(({ delta }) => delta.role != null), 1)
      assert.deepStrictEqual(choices.flatMap(({ finish_reason }) => finish_reason ?? []), ["stop"])
      const usages = chunks.flatMap(({ usage }) => usage ?? [])
      // The first part could not tell: the tokens that it gave are counted.
      assert.deepStrictEqual(usages, [{
        ...usage,
        completion_tokens: usage.completion_tokens + 2,
        total_tokens: usage.total_tokens + 2,
        completion_tokens_details: { reasoning_tokens: usage.completion_tokens_details.reasoning_tokens + 1 }
      }])
    }))

  const resource = sse([
    opening,
    token("Hel"),
    event(chunk({ content: "" }, "insufficient_system_resource", { usage })),
    done
  ])

  it.effect("adds up the usage that each part tells", () =>
    Effect.gen(function*() {
      const { chunks } = yield* collected([resource, rest("lo")])
      assert.deepStrictEqual(chunks.flatMap(({ usage }) => usage ?? []), [{
        prompt_tokens: 748,
        completion_tokens: 120,
        total_tokens: 868,
        prompt_tokens_details: { cached_tokens: 512 },
        completion_tokens_details: { reasoning_tokens: 32 },
        prompt_cache_hit_tokens: 512,
        prompt_cache_miss_tokens: 236
      }])
    }))

  it.effect("goes on after every kind of break", () =>
    Effect.gen(function*() {
      const breaks = {
        "a lost connection": cut,
        "an early end": sse([opening, thought("Hm"), token("Hel")]),
        "a lack of resources": resource,
        "an aborted answer": sse([opening, token("Hel"), event(chunk({ content: "" }, "aborted"))]),
        "an error object": sse([opening, token("Hel"), event({ error: { message: "busy", type: "server_error" } })]),
        "a broken event": sse([opening, token("Hel"), "data: {\"id\":\n\n"])
      }
      for (const [name, reply] of Object.entries(breaks)) {
        const { exit, message } = yield* collected([reply, rest("lo")])
        assert.strictEqual(tagOf(exit), "whole", name)
        assert.strictEqual(message?.content, "Hello", name)
      }
    }))

  it.effect("goes on when no further token comes", () =>
    Effect.gen(function*() {
      const silent = sse([opening, token("Hel")], "stall")
      const fiber = yield* Effect.forkChild(
        collected([silent, rest("lo")], request, { ...resuming, deadlines: { idle: "10 seconds" } }),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 seconds")
      const { message, script } = yield* Fiber.join(fiber)
      assert.strictEqual(message?.content, "Hello")
      assert.deepStrictEqual(script.aborted, [0])
    }))

  it.effect("thinks on when only thoughts have come", () =>
    Effect.gen(function*() {
      const { message, script } = yield* collected([
        sse([opening, thought("Hm")], "cut"),
        sse([opening, thought("m"), token("Hello"), last, done])
      ])
      assert.deepStrictEqual(message, { role: "assistant", content: "Hello", reasoning_content: "Hmm" })
      assert.deepStrictEqual(Object(script.seen[1]?.body).messages.at(-1), {
        role: "assistant",
        content: "",
        reasoning_content: "Hm",
        prefix: true
      })
    }))

  it.effect("drops what a service thinks again after the answer has begun", () =>
    Effect.gen(function*() {
      const { message } = yield* collected([cut, sse([opening, thought("Again"), token("lo"), last, done])])
      assert.deepStrictEqual(message, { role: "assistant", content: "Hello", reasoning_content: "Hm" })
    }))

  it.effect("goes on with the caller's own prefix before the text", () =>
    Effect.gen(function*() {
      const own = { role: "assistant", content: "He", prefix: true } as const
      const asked = { ...request, messages: [request.messages[0], own] } as const
      const { message, script } = yield* collected([sse([token("l")], "cut"), rest("lo")], asked)
      assert.strictEqual(message?.content, "llo")
      assert.deepStrictEqual(script.seen.map(({ url }) => new URL(url).pathname), [
        "/beta/chat/completions",
        "/beta/chat/completions"
      ])
      assert.deepStrictEqual(Object(script.seen[1]?.body).messages, [request.messages[0], { ...own, content: "Hel" }])
    }))

  it.effect("is whole when nothing is left to say", () =>
    Effect.gen(function*() {
      const said = yield* collected([cut, rest()])
      assert.deepStrictEqual([tagOf(said.exit), said.message?.content], ["whole", "Hel"])
      const spent = yield* collected([cut], { ...request, max_tokens: 2 })
      assert.lengthOf(spent.script.seen, 1)
      assert.strictEqual(spent.chunks.at(-1)?.choices[0]?.finish_reason, "length")
      assert.strictEqual(spent.chunks.at(-1)?.usage?.completion_tokens, 2)
    }))

  it.effect("goes on again, so many times", () =>
    Effect.gen(function*() {
      const part = (text: string) => sse([opening, token(text)], "cut")
      const all = yield* collected([part("a"), part("b"), part("c"), rest("d")])
      assert.deepStrictEqual([tagOf(all.exit), all.message?.content], ["whole", "abcd"])
      const over = yield* collected([part("a"), part("b"), part("c"), part("d")])
      assert.deepStrictEqual([tagOf(over.exit), over.message?.content, over.script.seen.length], [
        "StreamTruncated",
        "abcd",
        4
      ])
    }))

  describe("fails as the stream did", () => {
    const fails = (
      name: string,
      reply: Scripted.Reply,
      asked: ChatRequest.ChatRequest = request,
      options: DeepSeek.Options = resuming
    ) =>
      it.effect(name, () =>
        Effect.gen(function*() {
          const { exit, script } = yield* collected([reply], asked, options)
          assert.strictEqual(tagOf(exit), "StreamTruncated")
          assert.lengthOf(script.seen, 1)
        }))

    fails("before anything was given", sse([opening], "clean"))
    const call = { index: 0, id: "call_00_a", type: "function", function: { name: "weather", arguments: "" } }
    fails("after a piece of a tool call", sse([token("Hel"), event(chunk({ tool_calls: [call] }))], "cut"))
    fails("with several choices", cut, { ...request, n: 2 } as ChatRequest.ChatRequest)
    fails("with log-probabilities", cut, { ...request, logprobs: true })
    fails("in JSON mode", cut, {
      ...request,
      messages: [{ role: "user", content: "In json, please" }],
      response_format: { type: "json_object" }
    })
    fails("as a request of another protocol", cut, Native.attach(request, { protocol: "responses", body: {} }), {
      ...resuming,
      provider: { ...Provider.deepSeek, paths: { ...Provider.deepSeek.paths, responses: undefined } }
    })
    fails("where it is switched off", cut, request, { ...resuming, resume: false })
    fails("where the provider has no prefix completion", cut, request, {
      ...resuming,
      provider: Provider.make({ name: "other", baseUrl: "https://other.example" })
    })

    it.effect("when it must not run twice", () =>
      Effect.gen(function*() {
        const { exit, script } = yield* Effect.provideService(collected([cut]), Idempotency.CurrentIdempotent, false)
        assert.deepStrictEqual([tagOf(exit), script.seen.length], ["StreamTruncated", 1])
      }))

    it.effect("when the budget is spent", () =>
      Effect.gen(function*() {
        const retryBudget = yield* RetryBudget.make({ share: 0, floor: 0 })
        const { exit, script } = yield* collected([cut, rest("lo")], request, {
          ...resuming,
          retry: { times: 1 },
          retryBudget
        })
        assert.deepStrictEqual([tagOf(exit), script.seen.length], ["StreamTruncated", 1])
      }))

    it.effect("when the rest is refused, with the usage that it has told", () =>
      Effect.gen(function*() {
        const refusal = failure(400, { message: "prefix", type: "invalid_request_error" })
        const lost = yield* collected([cut, refusal])
        assert.deepStrictEqual([tagOf(lost.exit), lost.message?.content], ["StreamTruncated", "Hel"])
        const told = yield* collected([resource, refusal])
        assert.strictEqual(tagOf(told.exit), "Overloaded")
        assert.deepStrictEqual(told.chunks.at(-1), { ...told.chunks.at(-1)!, choices: [], usage })
      }))
  })

  it.effect("retries the request for the rest, within the total deadline", () =>
    Effect.gen(function*() {
      const busy = failure(503, { message: "busy" })
      const options = { ...resuming, retry: { times: 5, base: "1 minute", cap: "1 hour" } } as const
      const fiber = yield* Effect.forkChild(collected([cut, busy, busy, rest("lo")], request, options), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual((yield* Fiber.join(fiber)).message?.content, "Hello")

      const late = yield* Effect.forkChild(
        collected([cut, sse([], "stall")], request, {
          ...options,
          deadlines: { total: "5 minutes", firstToken: false }
        }),
        { startImmediately: true }
      )
      yield* TestClock.adjust("5 minutes")
      const { exit, script } = yield* Fiber.join(late)
      assert.strictEqual(tagOf(exit), "DeadlineExceeded")
      assert.deepStrictEqual(script.aborted, [1])
    }))

  it.effect("leaves nothing behind when it is interrupted in the middle", () =>
    Effect.gen(function*() {
      for (const waiting of [sse([], "stall"), sse([opening, token("lo")], "stall")]) {
        const script = Scripted.make(cut, waiting)
        const deepseek = yield* on(script.layer, { ...resuming, concurrency: { models: { "deepseek-flash": 1 } } })
        const fiber = yield* Effect.forkChild(Stream.runDrain(deepseek.stream(request)), { startImmediately: true })
        yield* TestClock.adjust(0)
        assert.lengthOf(script.seen, 2)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(script.aborted, [1])
        // The place of the limit is free again.
        const next = yield* Effect.forkChild(Stream.runHead(deepseek.stream(request)), { startImmediately: true })
        yield* TestClock.adjust(0)
        assert.lengthOf(script.seen, 3)
        yield* Fiber.interrupt(next)
      }
    }))

  it.effect("is seen in span, metrics and the record of the call, by figures alone", () =>
    Effect.gen(function*() {
      const info = CallInfo.make()
      const { exit, metrics, spans } = yield* recorded(
        Effect.provideService(collected([cut, rest("lo")]), CallInfo.Current, info)
      )
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(info.resumptions, 1)
      const call = spans.find(({ name }) => name === "chat deepseek-flash")
      assert.deepStrictEqual(call?.events.map(([name, _, attributes]) => [name, attributes]), [["ballast.resume", {
        outcome: "resumed",
        because: "StreamTruncated",
        part: 2,
        tokens: 2,
        characters: 3,
        reasoning_characters: 2
      }]])
      assert.deepStrictEqual(
        spans.flatMap(({ name, parent }) => parent._tag === "Some" && parent.value === call ? [name] : []),
        ["POST /chat/completions", "POST /beta/chat/completions"]
      )
      assert.deepStrictEqual(
        metrics.filter(({ name }) => name === "ballast_resumptions_total").map(({ attributes, state }) => [
          attributes,
          Object(state).count
        ]),
        [[{
          name: "deepseek",
          provider: "deepseek",
          model: "deepseek-flash",
          outcome: "resumed",
          because: "StreamTruncated"
        }, 1]]
      )
    }))

  it("refuses a number of times that is none", () => {
    const labels = { name: "a", provider: "a", model: "a" }
    const model = { complete: () => Effect.succeed(completion()), stream: () => Stream.empty }
    for (const times of [0, 1.5, NaN]) assert.throws(() => Resume.make(model, labels, { times }), RangeError)
  })

  it.effect("is not needed for a whole answer", () =>
    Effect.gen(function*() {
      const script = Scripted.make({ body: ["{\"id\":", Duration.zero], end: "cut" })
      const deepseek = yield* on(script.layer, resuming)
      assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { class: "TransportError" })
      assert.lengthOf(script.seen, 1)
    }))
})
