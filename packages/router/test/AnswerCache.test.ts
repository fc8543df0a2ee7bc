import { ChatError, type ChatModel, type ChatRequest } from "@ballast/chat"
import { AnswerCache, AnswerStore, CallContext, RouteInfo } from "@ballast/router"
import { NodeRedis } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Context, Deferred, Effect, Fiber, Layer, Schema, Stream } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import * as RedisServer from "../../../test/support/RedisServer.ts"

const hello: ChatRequest.ChatRequest = { model: "m", messages: [{ role: "user", content: "Hello!" }] }

const busy = new ChatError.ServerError({
  reason: new ChatError.Overloaded({ status: 503, detail: "busy", stated: true })
})

/** A model that numbers its answers, ends them as it is told to, and fails on demand. */
const service = () => {
  const state = { asked: 0, finish: "stop" as string | null, failing: undefined as ChatError.ChatError | undefined }
  const next = Effect.suspend(() => {
    state.asked++
    return state.failing === undefined ? Effect.succeed(`answer ${state.asked}`) : Effect.fail(state.failing)
  })
  const model: ChatModel.ChatModel = {
    complete: () =>
      Effect.map(next, (content) => ({
        choices: [{ message: { role: "assistant", content }, finish_reason: state.finish }]
      })),
    stream: () =>
      Stream.unwrap(Effect.map(next, (content) =>
        Stream.make(
          { choices: [{ index: 0, delta: { role: "assistant" as const, content } }] },
          { choices: [{ index: 0, delta: {}, finish_reason: state.finish }] }
        )))
  }
  return { state, model }
}

interface Asked {
  readonly client?: string
  readonly cacheControl?: string
}

/** The answer's text, with what the cache did. */
const asking = (model: ChatModel.ChatModel) => {
  const as = <A, E>({ cacheControl, client = "alice" }: Asked, program: Effect.Effect<A, E>) => {
    const info = RouteInfo.make()
    return Effect.map(
      program.pipe(
        Effect.provideService(RouteInfo.Current, info),
        Effect.provideService(CallContext.Current, {
          client: { name: client, labels: {} },
          headers: { "cache-control": cacheControl }
        })
      ),
      (text) => `${text} ${info.cache?.state}`
    )
  }
  return {
    whole: (request: ChatRequest.ChatRequest = hello, asked: Asked = {}) =>
      as(asked, Effect.map(model.complete(request), ({ choices: [{ message }] }) => message.content)),
    streamed: (request: ChatRequest.ChatRequest = hello, asked: Asked = {}) =>
      as(
        asked,
        Effect.map(Stream.runCollect(model.stream(request)), (chunks) =>
          chunks.map(({ choices: [choice] }) => choice?.delta.content ?? "").join(""))
      )
  }
}

const setup = Effect.fnUntraced(function*(options: Partial<AnswerCache.Options> = {}) {
  const { model, state } = service()
  const cache = yield* AnswerCache.make<ChatError.ChatError>({ name: "m", ...options })
  return { cache, state, ...asking(cache.through(model)), found: finding(cache.lookup) }
})

/** What the cache has for a client, in both forms. */
const finding = ({ complete, stream }: AnswerCache.Lookup) => (client = "alice") => {
  const { streamed, whole } = asking({
    complete: (request) =>
      Effect.map(
        complete(request),
        (found) => found ?? { choices: [{ message: { role: "assistant", content: "none" } }] }
      ),
    stream: (request) => Stream.unwrap(Effect.map(stream(request), (found) => found ?? Stream.empty))
  })
  return Effect.all([whole(hello, { client }), streamed(hello, { client })])
}

describe("AnswerCache", () => {
  it.effect("gives an answer again while it is fresh, a stream as a stream", () =>
    Effect.gen(function*() {
      const { streamed, whole } = yield* setup({ timeToLive: "1 minute" })
      assert.strictEqual(yield* whole(), "answer 1 miss")
      assert.strictEqual(yield* whole(), "answer 1 hit")
      assert.strictEqual(yield* streamed(), "answer 2 miss")
      assert.strictEqual(yield* streamed(), "answer 2 hit")
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* whole(), "answer 3 miss")
    }))

  it.effect("is apart for each client unless it is shared", () =>
    Effect.gen(function*() {
      const apart = yield* setup()
      assert.strictEqual(yield* apart.whole(hello, { client: "alice" }), "answer 1 miss")
      assert.strictEqual(yield* apart.whole(hello, { client: "bob" }), "answer 2 miss")
      const shared = yield* setup({ shared: true })
      assert.strictEqual(yield* shared.whole(hello, { client: "alice" }), "answer 1 miss")
      assert.strictEqual(yield* shared.whole(hello, { client: "bob" }), "answer 1 hit")
    }))

  const differing = Schema.Struct({
    model: Schema.Literals(["m", "n"]),
    content: Schema.Literals(["a", "b"]),
    temperature: Schema.Literals([0, 0.5]),
    max_tokens: Schema.Literals([1, 2]),
    tool: Schema.Literals(["x", "y"])
  })
  const requestOf = ({ content, tool, ...rest }: typeof differing.Type): ChatRequest.ChatRequest => ({
    ...rest,
    messages: [{ role: "user", content }],
    tools: [{ type: "function", function: { name: tool } }]
  })

  it.effect.prop(
    "never answers another question",
    {
      asked: Arbitrary.array(
        Arbitrary.schema(Schema.Tuple([differing, Schema.Literals(["a", "b"])]))
      )
    },
    ({ asked }) =>
      Effect.gen(function*() {
        const { whole } = yield* setup()
        const answers = new Map<string, string>()
        for (const [question, client] of asked) {
          const text = (yield* whole(requestOf(question), { client })).replace(/ \w+$/, "")
          const key = JSON.stringify([question, client])
          assert.strictEqual(answers.get(key) ?? text, text)
          answers.set(key, text)
        }
        assert.strictEqual(new Set(answers.values()).size, answers.size)
      })
  )

  it.effect("keeps only complete answers of a bearable size", () =>
    Effect.gen(function*() {
      const { state, streamed, whole } = yield* setup({ maxSize: 200 })
      for (const finish of ["length", "content_filter", null]) {
        state.finish = finish
        const before = state.asked
        yield* Effect.all([whole(), whole(), streamed(), streamed()])
        assert.strictEqual(state.asked, before + 4, String(finish))
      }
      state.finish = `stop${" ".repeat(200)}`
      yield* whole()
      assert.match(yield* whole(), /miss$/)
      state.failing = busy
      yield* Effect.exit(streamed())
      state.failing = undefined
      state.finish = "stop"
      assert.match(yield* streamed(), /miss$/)
      assert.match(yield* streamed(), /hit$/)
    }))

  it.effect("lets calls past that want no old answer, are too hot, or force a tool", () =>
    Effect.gen(function*() {
      const { whole } = yield* setup({ maxTemperature: 1 })
      yield* whole()
      assert.strictEqual(yield* whole(hello, { cacheControl: "max-age=0, no-store" }), "answer 2 bypass")
      assert.strictEqual(yield* whole({ ...hello, temperature: 1.1 }), "answer 3 bypass")
      assert.strictEqual(yield* whole({ ...hello, tool_choice: "required" }), "answer 4 bypass")
      assert.strictEqual(yield* whole({ ...hello, temperature: 1 }), "answer 5 miss")
      assert.strictEqual(yield* whole(hello, { cacheControl: "no-cache" }), "answer 6 miss")
      assert.strictEqual(yield* whole(), "answer 6 hit")
    }))

  it.effect("looks for fresh answers without a call", () =>
    Effect.gen(function*() {
      const { found, state, streamed, whole } = yield* setup({ timeToLive: "1 minute", staleIfError: "1 hour" })
      assert.deepStrictEqual(yield* found(), ["none undefined", " undefined"])
      yield* whole()
      yield* streamed()
      assert.deepStrictEqual(yield* found(), ["answer 1 hit", "answer 2 hit"])
      assert.deepStrictEqual(yield* found("bob"), ["none undefined", " undefined"])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* found(), ["none undefined", " undefined"])
      assert.strictEqual(state.asked, 2)
    }))

  it.effect("serves an old answer when the service fails, but not when the request is wrong", () =>
    Effect.gen(function*() {
      const { state, streamed, whole } = yield* setup({ timeToLive: "1 minute", staleIfError: "1 hour" })
      yield* whole()
      yield* streamed()
      yield* TestClock.adjust("5 minutes")
      state.failing = busy
      assert.strictEqual(yield* whole(), "answer 1 stale")
      assert.strictEqual(yield* streamed(), "answer 2 stale")
      state.failing = new ChatError.ClientError({ reason: new ChatError.InvalidRequest({ status: 400, detail: "no" }) })
      assert.strictEqual((yield* Effect.flip(whole()))._tag, "ClientError")
      assert.strictEqual((yield* Effect.flip(streamed()))._tag, "ClientError")
    }))

  it.effect("asks once for questions at the same time", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { model, state } = service()
      const cache = yield* AnswerCache.make<ChatError.ChatError>({ name: "m" })
      const { whole } = asking(cache.through({
        ...model,
        complete: (request) => Effect.andThen(Deferred.await(gate), model.complete(request))
      }))
      const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(whole(), { startImmediately: true }))
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(
        (yield* Effect.forEach(fibers, Fiber.join)).toSorted(),
        ["answer 1 hit", "answer 1 hit", "answer 1 miss"]
      )
      assert.strictEqual(state.asked, 1)
    }))

  it.effect("counts a call as made for another that shares it when the one that made it has left", () =>
    Effect.gen(function*() {
      let gate = Deferred.makeUnsafe<void>()
      const { model } = service()
      const usage = { prompt_tokens: 1, completion_tokens: 1 }
      const cache = yield* AnswerCache.make<ChatError.ChatError>({ name: "m" })
      const cached = cache.through({
        complete: (request) =>
          Effect.andThen(
            Effect.map(RouteInfo.Current, (info) => Object.assign(info!, { provider: "p" })),
            Effect.andThen(Deferred.await(gate), model.complete(request))
          ),
        stream: (request) =>
          Stream.concat(
            model.stream(request),
            Stream.fromEffect(Effect.suspend(() => Effect.as(Deferred.await(gate), { choices: [], usage })))
          )
      })
      /** What was known when the usage came, by which a call is priced. */
      const atUsage: Array<string | undefined> = []
      const { streamed, whole } = asking({
        ...cached,
        stream: (request) =>
          Stream.tap(
            cached.stream(request),
            ({ usage }) => Effect.map(RouteInfo.Current, (info) => usage == null ? 0 : atUsage.push(info?.cache?.state))
          )
      })
      for (const ask of [whole, streamed]) {
        gate = Deferred.makeUnsafe<void>()
        const [maker, ...others] = yield* Effect.forEach(
          [1, 2, 3],
          () => Effect.forkChild(ask(), { startImmediately: true })
        )
        yield* TestClock.adjust(0)
        yield* Fiber.interrupt(maker!)
        yield* Deferred.succeed(gate, undefined)
        const states = (yield* Effect.forEach(others, Fiber.join)).map((text) => text.split(" ").at(-1))
        assert.deepStrictEqual(states.toSorted(), ["hit", "miss"])
        assert.match(yield* ask(), /hit$/)
      }
      assert.deepStrictEqual(atUsage.toSorted(), ["hit", "hit", "miss"])
    }))

  it.effect("purges by client, by model and by age", () =>
    Effect.gen(function*() {
      const { cache, whole } = yield* setup({ timeToLive: "1 hour" })
      const ask = Effect.all([
        whole(hello, { client: "alice" }),
        whole(hello, { client: "bob" }),
        whole({ ...hello, model: "n" }, { client: "bob" })
      ])
      const states = Effect.map(ask, (texts) => texts.map((text) => text.split(" ")[2]))
      yield* ask
      const dropped = (purge: AnswerCache.Purge) => Effect.map(cache.purge(purge), ({ memory }) => memory)
      assert.strictEqual(yield* dropped({ client: "bob", model: "m" }), 1)
      assert.deepStrictEqual(yield* states, ["hit", "miss", "hit"])
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* dropped({ model: "n" }), 1)
      yield* states
      assert.strictEqual(yield* dropped({ olderThan: "1 minute" }), 2)
      assert.deepStrictEqual(yield* states, ["miss", "miss", "hit"])
    }))

  it.effect("purges by age on a clock that went back", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(3_600_000)
      yield* TestClock.setTime(1_800_000)
      const { cache, whole } = yield* setup({ timeToLive: "1 hour" })
      yield* whole(hello)
      yield* TestClock.adjust("2 minutes")
      yield* whole({ ...hello, model: "n" })
      yield* TestClock.setTime(600_000)
      assert.deepStrictEqual(yield* cache.purge({ olderThan: "1 minute" }), { memory: 1, store: undefined })
      assert.deepStrictEqual(yield* cache.purge({}), { memory: 1, store: undefined })
    }))

  it.effect("purges what a client was the first to ask, where answers are shared", () =>
    Effect.gen(function*() {
      const { cache, streamed, whole } = yield* setup({ shared: true })
      yield* whole(hello, { client: "alice" })
      yield* whole(hello, { client: "bob" })
      yield* streamed(hello, { client: "bob" })
      assert.deepStrictEqual(yield* cache.purge({ client: "alice" }), { memory: 1, store: undefined })
      assert.strictEqual(yield* streamed(hello, { client: "alice" }), "answer 2 hit")
      assert.deepStrictEqual(yield* cache.purge({ client: "bob" }), { memory: 1, store: undefined })
    }))

  it.effect("keeps no shared answer that was under way when its asker was forgotten", () =>
    Effect.gen(function*() {
      const answered = yield* Deferred.make<void>()
      const { model, state } = service()
      const cache = yield* AnswerCache.make<ChatError.ChatError>({ name: "m", shared: true })
      const { whole } = asking(cache.through({
        ...model,
        complete: (request) => Effect.andThen(Deferred.await(answered), model.complete(request))
      }))
      const call = yield* Effect.forkChild(whole(hello, { client: "alice" }), { startImmediately: true })
      yield* cache.purge({ client: "alice" })
      yield* Deferred.succeed(answered, undefined)
      yield* Fiber.join(call)
      assert.strictEqual(yield* whole(hello, { client: "bob" }), "answer 2 miss")
      assert.strictEqual(state.asked, 2)
    }))

  it.effect("costs no call when the store hangs, but a purge says that it failed", () =>
    Effect.gen(function*() {
      const { cache, whole } = yield* setup({ store: AnswerStore.redis({ send: () => Effect.never }) })
      const asked = yield* Effect.forkChild(Effect.all([whole(), whole()]))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(asked), ["answer 1 miss", "answer 1 hit"])
      const purge = yield* Effect.forkChild(Effect.flip(cache.purge({})))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(purge))._tag, "NotRemoved")
    }))

  it.effect("puts no answer into the store that was under way when answers were purged", () =>
    Effect.gen(function*() {
      const kept: Array<string> = []
      const asked = yield* Deferred.make<void>()
      const answered = yield* Deferred.make<void>()
      const cache = yield* AnswerCache.make<ChatError.ChatError>({
        name: "m",
        store: {
          get: () => Effect.undefined,
          set: (_, { text }) => Effect.sync(() => void kept.push(text)),
          remove: () => Effect.succeed(0)
        }
      })
      const { model } = service()
      const slow = cache.through({
        ...model,
        complete: (request) =>
          Effect.andThen(
            Deferred.succeed(asked, undefined),
            Effect.andThen(Deferred.await(answered), model.complete(request))
          )
      })
      const call = yield* Effect.forkChild(slow.complete(hello))
      yield* Deferred.await(asked)
      yield* cache.purge({})
      yield* Deferred.succeed(answered, undefined)
      yield* Fiber.join(call)
      assert.deepStrictEqual(kept, [])
      yield* slow.complete(hello)
      assert.strictEqual(kept.length, 1)
    }))

  it("refuses bounds that are none", () => {
    assert.throws(
      () => Effect.runSync(AnswerCache.make({ name: "m", maxSize: 0 })),
      /AnswerCache.make: maxSize must be at least 1, got 0/
    )
    assert.throws(() => Effect.runSync(AnswerCache.make({ name: "m", maxTemperature: 3 })), /maxTemperature must be/)
    for (const timeToLive of [-1, NaN]) {
      assert.throws(
        () => Effect.runSync(AnswerCache.make({ name: "m", timeToLive })),
        /timeToLive must be zero or more/
      )
    }
  })
})

RedisServer.describeRedis("AnswerCache with Redis", () => {
  const connect = Effect.gen(function*() {
    const { url } = yield* RedisServer.RedisServer
    return AnswerStore.redis(Context.get(yield* Layer.build(NodeRedis.layer({ url })), Redis.Redis))
  })

  it.live("shares answers with other processes, and purges them there", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const here = yield* setup({ store })
      const there = yield* setup({ store })
      assert.strictEqual(yield* here.whole(), "answer 1 miss")
      assert.strictEqual(yield* there.whole(), "answer 1 hit")
      assert.strictEqual(yield* here.streamed(), "answer 2 miss")
      assert.strictEqual(yield* there.streamed(), "answer 2 hit")
      assert.strictEqual(there.state.asked, 0)
      assert.deepStrictEqual(yield* there.cache.purge({ client: "bob" }), { memory: 0, store: 0 })
      assert.strictEqual(yield* (yield* setup({ store })).whole(), "answer 1 hit")
      assert.deepStrictEqual(yield* there.cache.purge({ client: "alice" }), { memory: 2, store: 2 })
      assert.strictEqual(yield* (yield* setup({ store })).whole(), "answer 1 miss")
    }).pipe(Effect.scoped, Effect.provide(RedisServer.layer)), 30_000)

  it.live("keeps answers there that never become too old", () =>
    Effect.gen(function*() {
      const options = { store: yield* connect, timeToLive: Infinity }
      assert.strictEqual(yield* (yield* setup(options)).whole(), "answer 1 miss")
      assert.strictEqual(yield* (yield* setup(options)).whole(), "answer 1 hit")
    }).pipe(Effect.scoped, Effect.provide(RedisServer.layer)), 30_000)

  it.live("tells who gave an answer to those who share its call, and to other processes", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const { model } = service()
      const from = (info: RouteInfo.RouteInfo) => `${info.cache?.state} ${info.cache?.from?.provider}`
      /** What the records of both forms say at their ends. */
      const ask = Effect.fnUntraced(function*(cache: AnswerCache.AnswerCache<ChatError.ChatError>) {
        const placed = Effect.tap(RouteInfo.Current, (info) =>
          Effect.sync(() => {
            if (info !== undefined) Object.assign(info, { provider: "deepseek", model: "flash" })
          }))
        const through = cache.through({
          complete: (request) => Effect.andThen(placed, model.complete(request)),
          stream: (request) =>
            Stream.unwrap(Effect.as(placed, Stream.tap(model.stream(request), () => Effect.yieldNow)))
        })
        const records = Array.from({ length: 4 }, RouteInfo.make)
        yield* Effect.forEach(records, (info, index) =>
          Effect.provideService(
            index < 2 ? Effect.asVoid(through.complete(hello)) : Stream.runDrain(through.stream(hello)),
            RouteInfo.Current,
            info
          ), { concurrency: "unbounded" })
        return records.map(from)
      })
      const make = AnswerCache.make<ChatError.ChatError>({ name: "m", store })
      assert.deepStrictEqual(yield* ask(yield* make), [
        "miss deepseek",
        "hit deepseek",
        "miss deepseek",
        "hit deepseek"
      ])
      const hits = Array.from({ length: 4 }, () => "hit deepseek")
      assert.deepStrictEqual(yield* ask(yield* make), hits)
    }).pipe(Effect.scoped, Effect.provide(RedisServer.layer)), 30_000)

  it.live(
    "finds answers there, and drops those that a client was the first to ask where they are shared",
    () =>
      Effect.gen(function*() {
        const store = yield* connect
        const here = yield* setup({ store, shared: true })
        const other = { ...hello, model: "n" }
        yield* Effect.all([here.whole(), here.streamed(), here.whole(other, { client: "bob" })])
        const there = yield* setup({ store, shared: true })
        assert.deepStrictEqual(yield* there.found("bob"), ["answer 1 hit", "answer 2 hit"])
        // From the store into memory, an answer stays its first asker's.
        yield* there.whole(hello, { client: "bob" })
        assert.deepStrictEqual(yield* there.cache.purge({ client: "alice" }), { memory: 1, store: 2 })
        assert.deepStrictEqual(yield* there.found("bob"), ["none undefined", " undefined"])
        assert.deepStrictEqual(yield* there.cache.purge({ client: "bob" }), { memory: 0, store: 1 })
      }).pipe(Effect.scoped, Effect.provide(RedisServer.layer)),
    30_000
  )
})
