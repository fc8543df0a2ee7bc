import type { ChatModel, ChatRequest } from "@ballast/chat"
import { AnswerCache, CallContext, RouteInfo, SemanticCache } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Metric, Stream } from "effect"
import { TestClock } from "effect/testing"
import { embed as byWords } from "./semantic/embedding.ts"

/** Questions of one line have embeddings that are close, in the order of their distance. */
const topics = [[
  "How do I reset my password?",
  "Please, how can I reset my password?",
  "resetting my password: how so?"
], [
  "Where is my parcel?",
  "Where is my parcel now?"
]]

const embed = (text: string): ReadonlyArray<number> => {
  const topic = topics.findIndex((topic) => topic.includes(text))
  const angle = (topics[topic]?.indexOf(text) ?? 0) * 0.2
  return topic === 0 ?
    [Math.cos(angle), Math.sin(angle), 0, 0] :
    topic === 1 ?
    [0, 0, Math.cos(angle), Math.sin(angle)] :
    [
      0,
      0,
      0,
      text.length
    ]
}

const [first = "", second = "", third = ""] = topics[0] ?? []

const asking = (question: string, more: Partial<ChatRequest.ChatRequest> = {}): ChatRequest.ChatRequest => ({
  model: "m",
  messages: [{ role: "user", content: question }],
  ...more
})

const setup = Effect.fnUntraced(function*(
  options: Partial<SemanticCache.Options<string>> = {},
  around: <E>(model: ChatModel.ChatModel<E>) => Effect.Effect<ChatModel.ChatModel<E>> = Effect.succeed
) {
  const state = { asked: 0, embedded: 0, finish: "stop" }
  const model: ChatModel.ChatModel<never> = {
    complete: () =>
      Effect.sync(() => ({
        choices: [{ message: { role: "assistant", content: `answer ${++state.asked}` }, finish_reason: state.finish }]
      })),
    stream: () =>
      Stream.suspend(() =>
        Stream.make(
          { choices: [{ index: 0, delta: { content: `answer ${++state.asked}` } }] },
          { choices: [{ index: 0, delta: {}, finish_reason: state.finish }] }
        )
      )
  }
  const cache = yield* SemanticCache.make<string>({
    name: "m",
    threshold: 0.9,
    // It takes a while, so that calls at the same time wait for one.
    embed: (text) => Effect.map(Effect.yieldNow, () => (state.embedded++, embed(text))),
    ...options
  })
  const cached = yield* around(cache.through(model))
  const as = <A, E>(program: Effect.Effect<A, E>, client: string, cacheControl?: string) => {
    const info = RouteInfo.make()
    return program.pipe(
      Effect.provideService(RouteInfo.Current, info),
      Effect.provideService(CallContext.Current, {
        client: { name: client, labels: {} },
        headers: { "cache-control": cacheControl }
      }),
      Effect.map((text) => {
        const near = info.cache?.near
        return `${text} ${info.cache?.state}${near === undefined ? "" : ` ${near.similarity.toFixed(2)}`}`
      })
    )
  }
  return {
    state,
    cache,
    cached,
    whole: (request: ChatRequest.ChatRequest, client = "alice", cacheControl?: string) =>
      as(Effect.map(cached.complete(request), ({ choices: [{ message }] }) => message.content), client, cacheControl),
    streamed: (request: ChatRequest.ChatRequest, client = "alice") =>
      as(
        Effect.map(Stream.runCollect(cached.stream(request)), (chunks) =>
          chunks.map(({ choices: [choice] }) => choice?.delta.content ?? "").join("")),
        client
      )
  }
})

/** As the router has it. */
const withExact = Effect.fnUntraced(function*<E>(model: ChatModel.ChatModel<E>) {
  return (yield* AnswerCache.make<E>({ name: "m" })).through(model)
})

describe("SemanticCache", () => {
  it.effect("answers a question that means the same, a stream as a stream, and says how near it is", () =>
    Effect.gen(function*() {
      const { state, streamed, whole } = yield* setup()
      assert.strictEqual(yield* whole(asking(first)), "answer 1 miss")
      assert.strictEqual(yield* whole(asking(second)), "answer 1 hit 0.98")
      // By its own answer, not by that of the other.
      assert.strictEqual(yield* whole(asking(first)), "answer 1 hit 1.00")
      assert.strictEqual(yield* streamed(asking(first)), "answer 2 miss")
      assert.strictEqual(yield* streamed(asking(second)), "answer 2 hit 0.98")
      assert.strictEqual(yield* whole(asking("Where is my parcel?")), "answer 3 miss")
      assert.strictEqual(state.asked, 3)
    }))

  it.effect("gives the nearest answer, from the threshold on", () =>
    Effect.gen(function*() {
      const { cache, whole } = yield* setup()
      yield* whole(asking(first))
      // cos 0.4 is 0.92.
      assert.strictEqual(yield* whole(asking(third)), "answer 1 hit 0.92")
      yield* cache.update({ threshold: 0.99 })
      assert.strictEqual(yield* whole(asking(second)), "answer 2 miss")
      yield* cache.update({ threshold: 0.9 })
      assert.strictEqual(yield* whole(asking(third)), "answer 2 hit 0.98")
      yield* cache.update({ threshold: 1 })
      assert.strictEqual(yield* whole(asking(first)), "answer 1 hit 1.00")
    }))

  it.effect("refuses questions that differ in what matters, however near", () =>
    Effect.gen(function*() {
      const { whole } = yield* setup({ embed: () => Effect.succeed([1, 1]) })
      assert.strictEqual(yield* whole(asking("Which plans include support?")), "answer 1 miss")
      assert.strictEqual(yield* whole(asking("Which plans do not include support?")), "answer 2 miss")
      assert.strictEqual(yield* whole(asking("Please, which plans include support?")), "answer 1 hit 1.00")
    }))

  it.effect("compares everything else exactly", () =>
    Effect.gen(function*() {
      const { whole } = yield* setup()
      yield* whole(asking(first))
      const others: ReadonlyArray<Partial<ChatRequest.ChatRequest>> = [
        { model: "n" },
        { temperature: 0.5 },
        { max_tokens: 5 },
        { messages: [{ role: "system", content: "Be brief." }, { role: "user", content: second }] },
        { messages: [{ role: "user", content: second, name: "bob" }] },
        { tools: [{ type: "function", function: { name: "x" } }] }
      ]
      for (const [index, other] of others.entries()) {
        assert.strictEqual(yield* whole(asking(second, other)), `answer ${index + 2} miss`)
      }
      assert.strictEqual(yield* whole(asking(second), "bob"), "answer 8 miss")
      const shared = yield* setup({ shared: true })
      yield* shared.whole(asking(first), "alice")
      assert.strictEqual(yield* shared.whole(asking(second), "bob"), "answer 1 hit 0.98")
    }))

  it.effect("leaves calls alone that have no question or no use for a cache", () =>
    Effect.gen(function*() {
      const { state, whole } = yield* setup()
      const past: ReadonlyArray<readonly [Partial<ChatRequest.ChatRequest>, cacheControl?: string]> = [
        [{}, "no-store"],
        [{ temperature: 1.5 }],
        [{ tool_choice: "required" }],
        [{ messages: [{ role: "user", content: " " }] }],
        [{ messages: [{ role: "user", content: "a".repeat(8_001) }] }],
        [{ messages: [{ role: "user", content: first }, { role: "tool", tool_call_id: "1", content: "3" }] }]
      ]
      for (const [more, cacheControl] of past) {
        assert.match((yield* whole(asking(first, more), "alice", cacheControl)) ?? "", /bypass$/)
      }
      assert.deepStrictEqual(state, { asked: past.length, embedded: 0, finish: "stop" })
      yield* whole(asking(first))
      assert.strictEqual(yield* whole(asking(second), "alice", "no-cache"), "answer 8 miss")
      // What came in its place is nearer.
      assert.strictEqual(yield* whole(asking(second)), "answer 8 hit 1.00")
    }))

  it.effect("keeps complete answers alone, for their time and up to its capacity", () =>
    Effect.gen(function*() {
      const { cache, state, streamed, whole } = yield* setup({ timeToLive: "1 minute", capacity: 2 })
      state.finish = "length"
      yield* whole(asking(first))
      yield* streamed(asking(first))
      assert.strictEqual(yield* cache.size, 0)
      state.finish = "stop"
      yield* whole(asking(first))
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* whole(asking(second)), "answer 3 hit 0.98")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* whole(asking(second)), "answer 4 miss")
      yield* whole(asking("Where is my parcel?"))
      yield* streamed(asking(first))
      assert.strictEqual(yield* cache.size, 2)
      assert.strictEqual(yield* whole(asking(second)), "answer 7 miss")
    }))

  it.effect("takes an embedding that fails, is useless or late as a miss", () =>
    Effect.gen(function*() {
      const results: ReadonlyArray<Effect.Effect<ReadonlyArray<number>, string>> = [
        Effect.fail("down"),
        Effect.succeed([]),
        Effect.succeed([0, 0]),
        Effect.succeed([Number.NaN]),
        Effect.never
      ]
      for (const result of results) {
        const { cache, whole } = yield* setup({ embed: () => result })
        const answer = yield* Effect.forkChild(whole(asking(first)))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(answer), "answer 1 miss")
        assert.strictEqual(yield* cache.size, 0)
      }
    }))

  it.effect("purges all without an age, also what was kept before the clock went back", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(60_000)
      const { cache, whole } = yield* setup()
      yield* whole(asking(first))
      yield* TestClock.setTime(30_000)
      assert.strictEqual(yield* cache.purge({}), 1)
    }))

  it.effect("purges by client, model, age and hash, also what is under way", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { cache, whole } = yield* setup({ embed: (text) => Effect.as(Deferred.await(gate), embed(text)) })
      const early = yield* Effect.forkChild(whole(asking(first)), { startImmediately: true })
      assert.strictEqual(yield* cache.purge({}), 0)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(early)
      assert.strictEqual(yield* cache.size, 0)
      yield* whole(asking(first), "alice")
      yield* TestClock.adjust("10 seconds")
      yield* whole(asking(first), "bob")
      assert.strictEqual(yield* cache.purge({ client: "carol" }), 0)
      assert.strictEqual(yield* cache.purge({ model: "m", olderThan: "10 seconds" }), 1)
      const info = RouteInfo.make()
      yield* cache.through<never>({ complete: () => Effect.die("asked"), stream: () => Stream.die("asked") }).complete(
        asking(second)
      ).pipe(
        Effect.provideService(RouteInfo.Current, info),
        Effect.provideService(CallContext.Current, { client: { name: "bob", labels: {} }, headers: {} })
      )
      assert.strictEqual(info.cache?.near?.question, first)
      assert.strictEqual(yield* cache.purge({ hash: info.cache?.near?.hash }), 1)
    }))

  it.effect("purges what a client was the first to ask, where answers are shared", () =>
    Effect.gen(function*() {
      const { cache, whole } = yield* setup({ shared: true })
      yield* whole(asking(first), "alice")
      assert.strictEqual(yield* whole(asking(second), "bob"), "answer 1 hit 0.98")
      assert.strictEqual(yield* cache.purge({ client: "bob" }), 0)
      assert.strictEqual(yield* cache.purge({ client: "alice" }), 1)
    }))

  it.effect("looks for an answer without a call, and asks for an embedding only where it may have one", () =>
    Effect.gen(function*() {
      const { cache, state, streamed, whole } = yield* setup()
      const found = Effect.gen(function*() {
        const completion = yield* cache.lookup.complete(asking(second))
        const chunks = yield* Effect.flatMap(
          cache.lookup.stream(asking(second)),
          (stream) => Stream.runCollect(stream ?? Stream.empty)
        )
        return [completion?.choices[0].message.content, chunks[0]?.choices[0]?.delta.content]
      }).pipe(Effect.provideService(CallContext.Current, { client: { name: "alice", labels: {} }, headers: {} }))
      assert.deepStrictEqual(yield* found, [undefined, undefined])
      assert.strictEqual(state.embedded, 0)
      yield* whole(asking(first))
      yield* streamed(asking(first))
      assert.deepStrictEqual(yield* found, ["answer 1", "answer 2"])
      assert.strictEqual(state.asked, 2)
    }))

  it.effect("stands behind an exact cache, which shares calls and keeps no answer of another question", () =>
    Effect.gen(function*() {
      const { cache, cached, state, streamed, whole } = yield* setup({}, withExact)
      assert.strictEqual(yield* whole(asking(first)), "answer 1 miss")
      assert.strictEqual(yield* whole(asking(first)), "answer 1 hit")
      assert.strictEqual(state.embedded, 1)
      const together = Effect.all([whole(asking(second)), whole(asking(second))], { concurrency: 2 })
      assert.deepStrictEqual(yield* together, ["answer 1 hit 0.98", "answer 1 hit 0.98"])
      assert.strictEqual(yield* streamed(asking(first)), "answer 2 miss")
      const streams = Effect.all([streamed(asking(second)), streamed(asking(second))], { concurrency: 2 })
      assert.deepStrictEqual(yield* streams, ["answer 2 hit 0.98", "answer 2 hit 0.98"])
      assert.strictEqual(state.embedded, 4)
      // Also where no one keeps a record of the call.
      yield* Effect.andThen(cached.complete(asking(third)), Stream.runDrain(cached.stream(asking(third)))).pipe(
        Effect.provideService(CallContext.Current, { client: { name: "alice", labels: {} }, headers: {} })
      )
      assert.strictEqual(state.asked, 2)
      yield* cache.purge({})
      assert.strictEqual(yield* whole(asking(second)), "answer 3 miss")
      assert.strictEqual(yield* whole(asking(third)), "answer 3 hit 0.98")
      assert.strictEqual(yield* streamed(asking(third)), "answer 4 miss")
    }))

  it.effect("explains which answers are near to a question, and why each would be given or not", () =>
    Effect.gen(function*() {
      const { cache, whole } = yield* setup({ embed: (text) => Effect.succeed(byWords(text)) })
      const asked = [
        "How do I reset my password?",
        "How do I not reset my password?",
        "How do I export 100 rows?",
        "Why is the sky blue?"
      ] as const
      yield* Effect.forEach(asked, (question) => whole(asking(question)))
      yield* whole(asking("What is the capital of France?"), "bob")
      yield* TestClock.adjust("1 minute")
      const { compared, nearest, threshold } = yield* cache.explain("How can I reset my password?", {
        client: "alice",
        limit: 3
      })
      assert.deepStrictEqual([compared, threshold], [4, 0.9])
      assert.deepStrictEqual(nearest.map(({ differences, question, served }) => [question, served, differences]), [
        [asked[0], true, []],
        [asked[1], false, ["negations"]],
        [asked[2], false, ["numbers"]]
      ])
      assert.deepInclude(nearest[0], { client: "alice", age: 60_000 })
      const all = yield* cache.explain("How can I reset my password?", { limit: 100 })
      assert.strictEqual(all.compared, 5)
    }))

  it.effect("tries thresholds out on pairs of questions", () =>
    Effect.gen(function*() {
      const { cache } = yield* setup({ embed: (text) => Effect.succeed(byWords(text)) })
      const { different, same, threshold, thresholds, wrong } = yield* cache.evaluate([
        { a: "How do I reset my password?", b: "How can I reset my password?", same: true },
        { a: "How do I reset my password?", b: "Why is the sky blue?", same: true },
        { a: "Which plans include support?", b: "Which plans do not include support?", same: false }
      ])
      assert.deepStrictEqual([same, different, threshold], [2, 1, 0.9])
      assert.deepStrictEqual(thresholds.find(({ threshold }) => threshold === 0.8), {
        threshold: 0.8,
        bare: { falseHits: 1, misses: 1 },
        guarded: { falseHits: 0, misses: 1 }
      })
      assert.deepStrictEqual(wrong.map(({ b }) => b), ["Why is the sky blue?"])
    }))

  it.effect("counts what it had for its calls", () =>
    Effect.gen(function*() {
      const counted = Effect.map(Metric.snapshot, (metrics) =>
        Object.fromEntries(metrics.flatMap(({ attributes, id, state }) =>
          id === "ballast_semantic_lookups_total" && attributes?.["name"] === "counted" && "count" in state &&
            Number(state.count) > 0
            ? [[attributes["result"], Number(state.count)]]
            : []
        )))
      const { whole } = yield* setup({
        name: "counted",
        embed: (text) =>
          text === "?" ? Effect.fail("busy") : Effect.succeed(byWords(text))
      })
      for (
        const question of [
          "How do I reset my password?",
          "How can I reset my password?",
          "How do I not reset my password?",
          "Why is the sky blue?",
          "?"
        ]
      ) {
        yield* whole(asking(question))
      }
      assert.deepStrictEqual(yield* counted, { miss: 2, hit: 1, refused: 1, unavailable: 1 })
    }))

  it("refuses options out of their bounds", () => {
    for (const options of [{ threshold: 0 }, { threshold: 1.1 }, { capacity: 0 }, { capacity: 100_001 }]) {
      assert.throws(
        () => Effect.runSync(SemanticCache.make({ name: "m", embed: () => Effect.succeed([]), ...options })),
        RangeError
      )
    }
  })
})
