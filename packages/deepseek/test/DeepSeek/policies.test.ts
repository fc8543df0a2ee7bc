import { Limits } from "@ballast/chat"
import { DeepSeek } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Duration, Effect, Exit, Fiber, Layer, Random, Redacted, Stream } from "effect"
import { TestClock } from "effect/testing"
import { apiKey, bare, consume, key, on, reasonOf, request } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"
import {
  busy,
  chunk,
  done,
  event,
  failure,
  good,
  goodStream,
  last,
  opening,
  sse,
  thought,
  token
} from "../support/wire.ts"

const unauthorized = failure(401, { message: "Authentication Fails" })
const retrying: DeepSeek.Options = { ...bare, retry: {} }
const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

describe("DeepSeek policies", () => {
  describe("retry", () => {
    it.effect("takes the scheduled waits after 503 twice, and three attempts", () =>
      Effect.gen(function*() {
        const script = Scripted.make(busy, busy, good)
        const deepseek = yield* on(script.layer, { apiKey })
        // Half of the bounds, which are 1 and 2 seconds.
        const half = { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 }
        const fiber = yield* start(Effect.provideService(deepseek.complete(request), Random.Random, half))
        yield* TestClock.adjust(1499)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(fiber)).choices[0].message.content, "Hello")
        assert.deepStrictEqual(script.seen.map(({ at }) => at), [0, 500, 1500])
      }))

    it.effect("takes one attempt at a 401", () =>
      Effect.gen(function*() {
        const script = Scripted.make(unauthorized)
        const deepseek = yield* on(script.layer, { apiKey })
        assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { _tag: "Unauthorized" })
        assert.lengthOf(script.seen, 1)
      }))

    it.effect("retries at a concurrency limit, also at one that the balance lowers", () =>
      Effect.gen(function*() {
        const limited = (why: string) =>
          failure(429, { message: `Your current concurrency is 26, which exceeds your concurrency limit of 25${why}.` })
        for (const [why, lowBalance] of [[" based on your remaining balance", true], ["", false]] as const) {
          for (
            const call of [
              (deepseek: DeepSeek.DeepSeek["Service"]) => deepseek.complete(request),
              (deepseek: DeepSeek.DeepSeek["Service"]) => Stream.runDrain(deepseek.stream(request))
            ]
          ) {
            const script = Scripted.make(limited(why))
            const fiber = yield* start(reasonOf(call(yield* on(script.layer, { apiKey }))))
            yield* TestClock.adjust("5 minutes")
            assert.deepInclude(yield* Fiber.join(fiber), { _tag: "ConcurrencyExceeded", limit: 25, lowBalance })
            assert.lengthOf(script.seen, 6)
          }
        }
      }))

    it.effect("takes one attempt at JSON of another shape, and more at what is no JSON", () =>
      Effect.gen(function*() {
        for (const [text, attempts] of [["{\"id\":7}", 1], ["{\"id\":", 6]] as const) {
          for (
            const [reply, call] of [
              [{ body: [text] }, (deepseek: DeepSeek.DeepSeek["Service"]) => deepseek.complete(request)],
              [sse([`data: ${text}\n\n`]), (deepseek: DeepSeek.DeepSeek["Service"]) =>
                Stream.runDrain(deepseek.stream(request))]
            ] as const
          ) {
            const script = Scripted.make(reply)
            const fiber = yield* start(reasonOf(call(yield* on(script.layer, { apiKey }))))
            yield* TestClock.adjust("5 minutes")
            assert.deepInclude(yield* Fiber.join(fiber), { _tag: "MalformedBody" })
            assert.lengthOf(script.seen, attempts)
          }
        }
      }))

    it.effect("takes one attempt at a status of success or redirection that has no answer, and more at a 200", () =>
      Effect.gen(function*() {
        for (const [status, attempts] of [[204, 1], [202, 1], [302, 1], [304, 1], [200, 6]] as const) {
          for (
            const call of [
              (deepseek: DeepSeek.DeepSeek["Service"]) => deepseek.complete(request),
              (deepseek: DeepSeek.DeepSeek["Service"]) => Stream.runDrain(deepseek.stream(request))
            ]
          ) {
            const script = Scripted.make({ status, headers: {}, body: ["\n"] })
            const fiber = yield* start(Effect.flip(call(yield* on(script.layer, { apiKey }))))
            yield* TestClock.adjust("5 minutes")
            const { message } = yield* Fiber.join(fiber)
            if (status !== 200) assert.include(message, `status ${status}, `)
            assert.lengthOf(script.seen, attempts)
          }
        }
      }))

    it.effect("is none where the service says that tries are spent", () =>
      Effect.gen(function*() {
        for (const status of [429, 500, 503]) {
          const script = Scripted.make(failure(status, { message: "no" }, { "x-should-retry": "false" }), good)
          const deepseek = yield* on(script.layer, retrying)
          assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { status, spent: true })
        }
      }))

    it.effect("waits as long as the service asks", () =>
      Effect.gen(function*() {
        const script = Scripted.make(failure(429, { message: "slow down" }, { "retry-after": "17" }), good)
        const deepseek = yield* on(script.layer, retrying)
        const fiber = yield* start(deepseek.complete(request))
        yield* TestClock.adjust("16 seconds")
        assert.lengthOf(script.seen, 1)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        assert.isAtLeast((script.seen[1]?.at ?? 0) - (script.seen[0]?.at ?? 0), 17_000)
      }))

    it.effect("starts a stream again that broke before its first token", () =>
      Effect.gen(function*() {
        const script = Scripted.make(
          sse([opening], "cut"),
          sse([opening, done]),
          sse([opening, last, done]),
          goodStream
        )
        const deepseek = yield* on(script.layer, retrying)
        const fiber = yield* start(consume(deepseek))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* Fiber.join(fiber), { text: "|Hmm|Hel|lo|", exit: Exit.void })
        assert.lengthOf(script.seen, 4)
      }))

    it.effect("leaves a stream alone that has given something", () =>
      Effect.gen(function*() {
        const script = Scripted.make(sse([opening, token("a")], "cut"), goodStream)
        const deepseek = yield* on(script.layer, retrying)
        assert.deepInclude(yield* reasonOf((yield* consume(deepseek)).exit), { _tag: "StreamTruncated" })
        assert.lengthOf(script.seen, 1)
      }))
  })

  describe("circuit breaker", () => {
    it.effect("opens for a model whose calls fail, and for no other", () =>
      Effect.gen(function*() {
        const script = Scripted.make(...Array.from({ length: 10 }, () => busy), good)
        const deepseek = yield* on(script.layer, { ...bare, circuitBreaker: undefined })
        for (let i = 0; i < 10; i++) {
          assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { _tag: "Overloaded" })
        }
        assert.strictEqual((yield* Effect.flip(deepseek.complete(request)))._tag, "CircuitOpen")
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(deepseek.stream(request))))._tag, "CircuitOpen")
        assert.lengthOf(script.seen, 10)
        yield* deepseek.complete({ ...request, model: "deepseek-v4-pro" })
        yield* TestClock.adjust("30 seconds")
        yield* deepseek.complete(request)
        yield* deepseek.complete(request)
      }))

    it.effect("does not open for what is our own fault", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(Scripted.make(unauthorized).layer, { ...bare, circuitBreaker: undefined })
        for (let i = 0; i < 30; i++) {
          assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { _tag: "Unauthorized" })
        }
      }))
  })

  describe("concurrency", () => {
    const stalled = Scripted.make(sse([token("a")], "stall")).layer
    const full = (options: DeepSeek.ConcurrencyOptions, model: string, calls: number) =>
      Effect.gen(function*() {
        const deepseek = yield* on(stalled, { ...bare, concurrency: { queue: 0, ...options } })
        for (let i = 0; i < calls; i++) yield* start(consume(deepseek, { ...request, model }))
        return yield* Effect.flip(Stream.runHead(deepseek.stream({ ...request, model })))
      })

    it.effect("is limited for each model", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* full({ models: { "deepseek-flash": 3 } }, "deepseek-flash", 3))._tag, "QueueFull")
        assert.strictEqual((yield* full({ models: { "deepseek-flash": 3 }, others: 2 }, "x", 2))._tag, "QueueFull")
        assert.strictEqual((yield* full({ others: 2 }, "constructor", 2))._tag, "QueueFull")
      }))

    it.effect("frees its place when the consumer stops", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(stalled, { ...bare, concurrency: { models: { "deepseek-flash": 1 }, queue: 0 } })
        for (let i = 0; i < 3; i++) yield* Stream.runHead(deepseek.stream(request))
      }))
  })

  describe("rate limit", () => {
    it.effect("is off unless asked for", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(Scripted.make(good).layer, { ...bare, rateLimit: { limit: 1, window: "1 minute" } })
        yield* deepseek.complete(request)
        assert.strictEqual((yield* Effect.flip(deepseek.complete(request)))._tag, "RateLimitExceeded")
      }))
  })

  describe("models", () => {
    const once = { ...bare, rateLimit: { limit: 1, window: "1 minute" } } as const
    const refusal = failure(400, { message: "The supported API model names are a, but you passed b." })
    const named = (model: string) => ({ ...request, model })
    const outcomes = (deepseek: DeepSeek.DeepSeek["Service"], models: ReadonlyArray<string>) =>
      Effect.forEach(models, (model) => Effect.map(Effect.exit(deepseek.complete(named(model))), ({ _tag }) => _tag))

    it.effect("that nobody knows share their state, however many names there are", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(Scripted.make(good).layer, once)
        const given = yield* outcomes(deepseek, Array.from({ length: 200 }, (_, i) => `model-${i}`))
        assert.deepStrictEqual(given.indexOf("Success"), 0)
        assert.lengthOf(given.filter((tag) => tag === "Success"), 1)
      }))

    it.effect("have a state of their own once the service has answered to them, whole or in a stream", () =>
      Effect.gen(function*() {
        for (
          const [reply, call] of [
            [good, (deepseek: DeepSeek.DeepSeek["Service"]) => deepseek.complete(named("new"))],
            [goodStream, (deepseek: DeepSeek.DeepSeek["Service"]) => Stream.runDrain(deepseek.stream(named("new")))]
          ] as const
        ) {
          const deepseek = yield* on(Scripted.make(reply).layer, once)
          yield* call(deepseek)
          // The first answer came through the state that all share, and used that up.
          assert.deepStrictEqual(yield* outcomes(deepseek, ["another"]), ["Failure"])
          yield* call(deepseek)
          assert.strictEqual((yield* Effect.flip(call(deepseek)))._tag, "RateLimitExceeded")
        }
      }))

    it.effect("keep their state whatever names the service refuses, and however long those are", () =>
      Effect.gen(function*() {
        const junk = Array.from({ length: 64 }, (_, i) => `junk-${i}`)
        const script = Scripted.make(...junk.map(() => refusal), good, sse([token("a")], "stall"))
        const deepseek = yield* on(script.layer, {
          ...bare,
          concurrency: { models: { "deepseek-flash": 3, mine: 3 }, others: 1, queue: 0 }
        })
        yield* outcomes(deepseek, junk)
        yield* outcomes(deepseek, ["x".repeat(257)])
        for (const [model, limit] of [["deepseek-flash", 3], ["mine", 3], ["x".repeat(257), 1]] as const) {
          for (let i = 0; i < limit; i++) yield* start(consume(deepseek, named(model)))
          assert.strictEqual((yield* Effect.flip(Stream.runHead(deepseek.stream(named(model)))))._tag, "QueueFull")
          assert.lengthOf(script.seen, 65 + 3 * (model === "deepseek-flash" ? 1 : 2) + (limit === 1 ? 1 : 0))
        }
        // The long name's call holds the only place of all that have no state of their own.
        assert.strictEqual((yield* Effect.flip(deepseek.complete(named("y"))))._tag, "QueueFull")
      }))
  })

  describe("deadlines", () => {
    const exceeded = (reply: Scripted.Reply, deadlines: DeepSeek.DeadlineOptions, after: number) =>
      Effect.gen(function*() {
        const script = Scripted.make(reply)
        const deepseek = yield* on(script.layer, { ...bare, deadlines })
        const fiber = yield* start(consume(deepseek))
        yield* TestClock.adjust(after - 1)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const { exit, text } = yield* Fiber.join(fiber)
        assert.deepStrictEqual(script.aborted, [0])
        const { deadline, class: class_ } = yield* reasonOf(exit)
        return { deadline, class: class_, text }
      })
    const pause = Duration.seconds(1)
    const keepAlive = ": keep-alive\n\n"

    it.effect("until the first token: comments and opening chunks are none", () =>
      Effect.gen(function*() {
        const slow = sse(
          [keepAlive, opening, pause, keepAlive, event(chunk({ content: "" })), pause, keepAlive],
          "stall"
        )
        assert.deepStrictEqual(yield* exceeded(slow, { firstToken: "3 seconds" }, 3000), {
          class: "TransportError",
          deadline: "first",
          text: ""
        })
      }))

    it.effect("until the first token: opening chunks that are more than may be held are none either", () =>
      Effect.gen(function*() {
        const empty = event(chunk({ content: "" })).repeat(Limits.limits.heldChunks + 1)
        const slow = sse([pause, empty, pause, empty, pause, empty], "stall")
        assert.deepInclude(yield* exceeded(slow, { firstToken: "3500 millis" }, 3500), { deadline: "first" })
      }))

    it.effect("between tokens: comments and empty chunks are none, thoughts are", () =>
      Effect.gen(function*() {
        const slow = sse([
          opening,
          pause,
          thought("Hm"),
          pause,
          pause,
          token("a"),
          pause,
          keepAlive,
          event(chunk({ content: "" })),
          pause,
          keepAlive
        ], "stall")
        assert.deepInclude(yield* exceeded(slow, { idle: "2500 millis" }, 3000 + 2500), { deadline: "idle" })
      }))

    it.effect("of an attempt, and of the call", () =>
      Effect.gen(function*() {
        const chatty = sse(Array.from({ length: 50 }, () => [token("a"), pause]).flat(), "stall")
        assert.deepInclude(yield* exceeded(chatty, { attempt: "10 seconds" }, 10_000), { deadline: "attempt" })
        assert.deepInclude(yield* exceeded(chatty, { total: "10 seconds" }, 10_000), { deadline: "total" })
      }))

    it.effect("of a call that is not streamed", () =>
      Effect.gen(function*() {
        const script = Scripted.make({ ...good, end: "stall" })
        const deepseek = yield* on(script.layer, { ...bare, deadlines: undefined })
        const fiber = yield* start(reasonOf(deepseek.complete(request)))
        yield* TestClock.adjust("15 minutes")
        assert.deepInclude(yield* Fiber.join(fiber), { _tag: "DeadlineExceeded", deadline: "attempt" })
        assert.deepStrictEqual(script.aborted, [0])
      }))

    it.effect("are retried, but for the total one", () =>
      Effect.gen(function*() {
        const script = Scripted.make(sse([], "stall"))
        const deepseek = yield* on(script.layer, { ...bare, retry: {}, deadlines: { total: "5 minutes" } })
        const fiber = yield* start(consume(deepseek))
        yield* TestClock.adjust("5 minutes")
        assert.deepInclude(yield* reasonOf((yield* Fiber.join(fiber)).exit), { deadline: "total" })
        assert.isAtLeast(script.seen.length, 2)
      }))

    it.effect("of reading models and balance", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(Scripted.make({ end: "stall" }).layer, { ...bare, deadlines: undefined })
        const fiber = yield* start(reasonOf(deepseek.balance))
        yield* TestClock.adjust("30 seconds")
        assert.deepInclude(yield* Fiber.join(fiber), { deadline: "attempt" })
      }))
  })

  describe("options", () => {
    const refused = (options: Partial<DeepSeek.Options>, message: string | RegExp) =>
      assert.throws(() => Effect.runSync(Effect.scoped(on(Scripted.make(good).layer, { apiKey, ...options }))), message)

    it("are checked", () => {
      refused({ baseUrl: "ftp://x" }, "Source.make: baseUrl must be an http or https URL")
      refused({ baseUrl: "nowhere" }, "Source.make: baseUrl must be an http or https URL")
      for (const url of ["http://x/v1?tenant=a", "http://x/v1#y", "http://user@x/v1", "http://:hidden@x/v1"]) {
        for (const baseUrl of [url, new URL(url)]) {
          refused(
            { baseUrl },
            /^Source\.make: baseUrl must be an http or https URL without user, query or fragment$/
          )
        }
      }
      refused({ apiKey: Redacted.make("") }, "Source.make: apiKey")
      refused({ apiKey: Redacted.make("sk-1\n") }, "Source.make: apiKey")
      // What a variable that is not set, or a program without types, gives.
      refused({ apiKey: Redacted.make(undefined as never) }, "Source.make: apiKey")
      refused({ apiKey: undefined as never }, "Source.make: apiKey")
      refused({ apiKey: "sk-1" as never }, "Source.make: apiKey")
      refused({ deadlines: { total: "1 second", attempt: "2 seconds" } }, "attempt")
      refused({ deadlines: { total: "1 second" }, concurrency: { maxWait: "2 seconds" } }, "concurrency.maxWait")
    })

    it.effect("that are left out fit those that are given", () =>
      Effect.asVoid(on(Scripted.make(good).layer, { ...bare, concurrency: {}, deadlines: { total: "1 second" } })))

    it.effect("come from the configuration", () =>
      Effect.gen(function*() {
        const script = Scripted.make(good)
        const build = (env: Record<string, string>) =>
          DeepSeek.layerConfig().pipe(
            Layer.provide(script.layer),
            Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))),
            Layer.build,
            Effect.map((context) => Context.get(context, DeepSeek.DeepSeek))
          )
        const local = yield* build({ DEEPSEEK_API_KEY: `${key}\n`, DEEPSEEK_BASE_URL: "http://localhost:1/v1" })
        yield* local.complete(request)
        yield* (yield* build({ DEEPSEEK_API_KEY: key })).complete(request)
        assert.deepStrictEqual(
          script.seen.map(({ headers, url }) => [url, headers["authorization"]]),
          [["http://localhost:1/v1/chat/completions", `Bearer ${key}`], [
            "https://api.deepseek.com/chat/completions",
            `Bearer ${key}`
          ]]
        )
        assert.strictEqual((yield* Effect.flip(build({})))._tag, "ConfigError")
        for (
          const [name, env] of [
            ["DEEPSEEK_API_KEY", { DEEPSEEK_API_KEY: "sk hidden" }],
            ["DEEPSEEK_API_KEY", { DEEPSEEK_API_KEY: "  " }],
            ["DEEPSEEK_BASE_URL", { DEEPSEEK_API_KEY: "sk-hidden", DEEPSEEK_BASE_URL: "ftp://x" }],
            ["DEEPSEEK_BASE_URL", { DEEPSEEK_API_KEY: "sk-hidden", DEEPSEEK_BASE_URL: "nowhere" }],
            ["DEEPSEEK_BASE_URL", { DEEPSEEK_API_KEY: "sk-hidden", DEEPSEEK_BASE_URL: "https://me:hidden@x" }]
          ] as const
        ) {
          const error = yield* Effect.flip(build(env))
          assert.strictEqual(error._tag, "ConfigError")
          assert.include(error.message, `${name} has a wrong value. Expected `)
          assert.notInclude(error.message, "hidden")
        }
      }))

    it.effect("come beside the configuration", () =>
      Effect.gen(function*() {
        const script = Scripted.make(busy)
        const env = { DEEPSEEK_API_KEY: key }
        const deepseek = yield* DeepSeek.layerConfig({ name: "mine", retry: false }).pipe(
          Layer.provide(script.layer),
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))),
          Layer.build,
          Effect.map((context) => Context.get(context, DeepSeek.DeepSeek))
        )
        assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { _tag: "Overloaded" })
        assert.lengthOf(script.seen, 1)
      }))

    it.effect("may have a path in the base URL", () =>
      Effect.gen(function*() {
        for (const path of ["/beta", "//beta"]) {
          for (const end of ["", "/", "//", "?", "#"]) {
            const script = Scripted.make(good)
            const deepseek = yield* on(script.layer, { ...bare, baseUrl: `http://localhost:8080${path}${end}` })
            yield* deepseek.complete(request)
            assert.strictEqual(script.seen[0]?.url, `http://localhost:8080${path}/chat/completions`)
          }
        }
      }))

    it.effect("may ask for a warm-up, which does no harm when it fails", () =>
      Effect.gen(function*() {
        for (const reply of [unauthorized, { body: ["{\"data\":[]}"] }]) {
          const script = Scripted.make(reply)
          yield* on(script.layer, { ...bare, warmUp: true })
          yield* TestClock.adjust(0)
          assert.deepInclude(script.seen[0], { method: "GET", url: "https://api.deepseek.com/models" })
        }
      }))
  })
})
