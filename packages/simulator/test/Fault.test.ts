import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault, Simulator } from "../src/index.ts"
import { ask, complete, eventsOf, get, hello, instant, message, post, read, streamed, weather } from "./support.ts"

const simulated = (options: Parameters<typeof Simulator.layerHttpClient>[0] = {}) =>
  Effect.provide(Simulator.layerHttpClient({ ...instant, ...options }))

const stream = { ...hello, stream: true }

const calling = { ...hello, tools: [weather] }

/** What of a body arrives, and how it ends. */
const received = (body: unknown, simulate: string) =>
  Effect.gen(function*() {
    const response = yield* post(body, { simulate })
    const decoder = new TextDecoder()
    let text = ""
    const end = yield* Effect.exit(
      Stream.runForEach(response.stream, (bytes) => Effect.sync(() => text += decoder.decode(bytes)))
    )
    return { text, end: Exit.isSuccess(end) ? "clean" : "cut", failure: end }
  })

describe("Fault", () => {
  describe("parse", () => {
    it("reads every key", () => {
      const directive = Result.getOrThrow(Fault.parse(
        "status=429, limit=balance, body=a%2Cb, retry-after=2, location=/a, latency=500ms, ttft=2s, tps=0.5, keepalive=5, padding=10, stall=5, " +
          "cut=3, end=4, error=2, malformed, empty, finish=aborted, after=7, tokens=20, calls=2, dsml, badargs, times=2, id=abc"
      ))
      const { latency, timeToFirstToken, ...rest } = directive.fault
      assert.strictEqual(Duration.toMillis(latency ?? 0), 500)
      assert.strictEqual(Duration.toMillis(timeToFirstToken ?? 0), 2_000)
      assert.deepStrictEqual(rest, {
        status: 429,
        limit: "balance",
        body: "a,b",
        retryAfter: "2",
        location: "/a",
        tokensPerSecond: 0.5,
        keepAlive: 5,
        padding: 10,
        stall: 5,
        cut: 3,
        end: 4,
        error: 2,
        malformed: true,
        empty: true,
        finish: "aborted",
        after: 7,
        tokens: 20,
        calls: 2,
        dsml: true,
        brokenArguments: true
      })
      assert.deepStrictEqual(directive.scenario, { id: "abc", times: 2 })
    })

    it("says what would be right", () => {
      const wrong: Record<string, RegExp> = {
        "status=199": /^x-simulate: status must be a whole number from 200 to 599, got "199"\.$/,
        "status=600": /from 200 to 599/,
        "status=2e2": /from 200 to 599/,
        "retry-after=a%0d%0ab":
          /^x-simulate: retry-after must be printable ASCII, such as 2 or an HTTP date, got "a%0d%0ab"\.$/,
        "retry-after=%E2%80%A6": /printable ASCII/,
        "retry-after=": /printable ASCII/,
        "location=/a%00": /^x-simulate: location must be printable ASCII, such as https:\/\/example\.com\/, got/,
        "location=%20/a": /printable ASCII/,
        "ttft=soon": /^x-simulate: ttft must be a time such as 500ms, 2s or 1m, got "soon"\.$/,
        "ttft=5": /a time such as/,
        "tps=0": /a number above 0/,
        "stall=-1": /a whole number from 0/,
        "malformed=3": /it is a flag/,
        "limit=9": /one of concurrency, balance, rate/,
        "speed=3": /^x-simulate: unknown key "speed"; the keys are status, limit, /,
        "constructor=3": /unknown key/,
        "status=503, times=2": /times and id go together/
      }
      for (const [header, expected] of Object.entries(wrong)) {
        assert.match(Result.getOrThrow(Result.flip(Fault.parse(header))), expected)
      }
    })

    it.prop("never throws", [Schema.String], ([header]) => Result.isResult(Fault.parse(header)))

    it.effect("a wrong header is a 400", () =>
      Effect.gen(function*() {
        const { status, text } = yield* ask(hello, { simulate: "ttft=soon" })
        assert.strictEqual(status, 400)
        assert.match(message(text), /x-simulate: ttft/)
      }).pipe(simulated()))
  })

  describe("status", () => {
    it.effect("brings the body that the service sends with it", () =>
      Effect.gen(function*() {
        const expected: Record<string, RegExp> = {
          "status=400": /"message":"Content Exists Risk \(request_id/,
          "status=401": /Authentication Fails, Your api key: \*\*\*\*ated is invalid/,
          "status=402": /"Insufficient Balance","type":"unknown_error"/,
          "status=404": /Not Found/,
          "status=413": /<h1>413 Request Entity Too Large<\/h1>/,
          "status=418": /Simulated status 418/,
          "status=422": /Invalid parameters/,
          "status=429":
            /"Too many requests\. Your current concurrency is 2501, which exceeds your concurrency limit of 2500\."/,
          "status=429, limit=balance": /based on your remaining balance/,
          "status=429, limit=rate": /Rate limit reached for TPM/,
          "status=500": /<h1>500 Internal Server Error<\/h1>[^]*openresty/,
          "status=502": /<h1>502 Bad Gateway<\/h1>/,
          "status=503":
            /"Service is too busy\. We advise users to temporarily switch to alternative LLM API service providers\."/,
          "status=504": /<h1>504 Gateway Time-out<\/h1>/
        }
        for (const [simulate, body] of Object.entries(expected)) {
          const response = yield* ask(hello, { simulate })
          assert.strictEqual(response.status, Number(simulate.slice(7, 10)))
          assert.match(response.text, body)
          assert.property(response.headers, "x-ds-trace-id")
        }
      }).pipe(simulated()))

    it.effect("takes a body and Retry-After of the request", () =>
      Effect.gen(function*() {
        const json = yield* ask(hello, { simulate: "status=503, retry-after=7, body=%7B%22a%22:1%7D" })
        assert.strictEqual(json.text, "{\"a\":1}")
        assert.strictEqual(json.headers["retry-after"], "7")
        assert.strictEqual(json.headers["content-type"], "application/json")
        assert.notProperty((yield* ask(hello, { simulate: "status=503, body=oops" })).headers, "content-type")
      }).pipe(simulated()))

    it.effect("of a redirect brings a page, and says where to", () =>
      Effect.gen(function*() {
        const expected: Record<number, RegExp> = {
          301: /<h1>301 Moved Permanently<\/h1>/,
          302: /<h1>302 Found<\/h1>[^]*openresty/,
          303: /<h1>303 See Other<\/h1>/,
          307: /<h1>307 Temporary Redirect<\/h1>/,
          308: /<h1>308 Permanent Redirect<\/h1>/,
          399: /<h1>399 Simulated Redirect<\/h1>/
        }
        for (const [status, page] of Object.entries(expected)) {
          const response = yield* ask(hello, { simulate: `status=${status}, location=https://example.com/` })
          assert.strictEqual(response.status, Number(status))
          assert.match(response.text, page)
          assert.strictEqual(response.headers.location, "https://example.com/")
        }
      }).pipe(simulated()))

    it.effect("of a success leaves the answer as it is", () =>
      Effect.gen(function*() {
        for (const status of [200, 203]) {
          const simulate = `status=${status}`
          assert.strictEqual((yield* ask(hello, { simulate })).status, status)
          assert.strictEqual((yield* complete(hello, { simulate })).choices[0].finish_reason, "stop")
          assert.strictEqual((yield* streamed(hello, { simulate })).at(-1)?.choices[0]?.finish_reason, "stop")
          assert.strictEqual(
            (yield* get("/models", { authorization: "Bearer sk-a", "x-simulate": simulate })).status,
            status
          )
          assert.strictEqual((yield* get("/models", { "x-simulate": simulate })).status, 401)
          assert.strictEqual((yield* ask({}, { simulate })).status, 400)
        }
      }).pipe(simulated()))

    it.effect("without a body has none", () =>
      Effect.gen(function*() {
        for (const simulate of ["status=204", "status=205", "status=304", "status=204, body=oops", "body="]) {
          const response = yield* ask(hello, { simulate })
          assert.strictEqual(response.text, "")
          assert.notProperty(response.headers, "content-type")
        }
      }).pipe(simulated()))

    it.effect("of 200 can carry an error object, after blank lines", () =>
      Effect.gen(function*() {
        const body = encodeURIComponent("{\"error\":{\"message\":\"late\"}}")
        for (const simulate of [`body=${body}`, `status=200, body=${body}`]) {
          const response = yield* ask(hello, { simulate })
          assert.strictEqual(response.status, 200)
          assert.strictEqual(response.headers["content-type"], "application/json")
          assert.strictEqual(message(response.text), "late")
        }
        const fiber = yield* Effect.forkChild(ask(hello, { simulate: `body=${body}, padding=3, ttft=1m` }))
        yield* TestClock.adjust("59 seconds")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.match((yield* Fiber.join(fiber)).text, /^\n{7}\{"error"/)
      }).pipe(simulated()))

    it.effect("breaks like every body", () =>
      Effect.gen(function*() {
        const simulate = "status=503, body=abcdef"
        assert.deepInclude(yield* received(hello, `${simulate}, cut=1`), { text: "abc", end: "cut" })
        assert.deepInclude(yield* received(hello, `${simulate}, end=0, padding=2`), { text: "\n\n", end: "clean" })
        assert.strictEqual((yield* ask(hello, { simulate: `${simulate}, malformed` })).text, "bcdef")
      }).pipe(simulated()))

    it.effect("works on every route", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* get("/models", { "x-simulate": "status=503" })).status, 503)
      }).pipe(simulated()))
  })

  describe("a stream", () => {
    it.effect("is cut after so many events", () =>
      Effect.gen(function*() {
        const { end, text } = yield* received(stream, "cut=3")
        assert.strictEqual(end, "cut")
        assert.strictEqual(eventsOf(text).length, 3)
      }).pipe(simulated()))

    it.effect("is cut before the status line", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(ask(stream, { simulate: "cut=0" }))
        assert.deepInclude(error, { _tag: "HttpClientError" })
        const { inFlight } = yield* Effect.flatMap(Simulator.Simulator, ({ inspect }) => inspect)
        assert.strictEqual(inFlight, 0)
      }).pipe(simulated()))

    it.effect("ends cleanly without a finish reason", () =>
      Effect.gen(function*() {
        const { end, text } = yield* received(stream, "end=3")
        assert.strictEqual(end, "clean")
        assert.strictEqual(eventsOf(text).length, 3)
        assert.notMatch(text, /\[DONE\]|"finish_reason":"/)
      }).pipe(simulated()))

    it.effect("stalls for good", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(received(stream, "stall=2"))
        yield* TestClock.adjust("1 day")
        assert.isUndefined(fiber.pollUnsafe())
        yield* Fiber.interrupt(fiber)
      }).pipe(simulated()))

    it.effect("brings comments first", () =>
      Effect.gen(function*() {
        assert.match((yield* received(stream, "keepalive=5")).text, /^(: keep-alive\n\n){5}data: /)
        assert.match((yield* received(stream, "keepalive=2, end=1")).text, /^(: keep-alive\n\n){2}data: [^\n]*\n\n$/)
      }).pipe(simulated()))

    it.effect("has a malformed event", () =>
      Effect.gen(function*() {
        const [, second] = eventsOf((yield* received(stream, "malformed")).text)
        assert.throws(() => JSON.parse(second ?? ""))
      }).pipe(simulated()))

    it.effect("has an error object and ends", () =>
      Effect.gen(function*() {
        const events = eventsOf((yield* received(stream, "error=2")).text)
        assert.strictEqual(events.length, 3)
        assert.property(JSON.parse(events[2] ?? ""), "error")
      }).pipe(simulated()))

    it.effect("says nothing", () =>
      Effect.gen(function*() {
        const events = eventsOf((yield* received(stream, "empty")).text)
        assert.strictEqual(events.length, 3)
        assert.include(events[1], "\"finish_reason\":\"stop\"")
      }).pipe(simulated()))

    it.effect("takes a finish reason and a length", () =>
      Effect.gen(function*() {
        const events = eventsOf((yield* received(stream, "finish=insufficient_system_resource, tokens=500")).text)
        assert.include(events.at(-2), "\"finish_reason\":\"insufficient_system_resource\"")
        assert.isAbove(events.length, 500)
      }).pipe(simulated()))

    it.effect("is as slow as it says", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(received(stream, "latency=1s, ttft=2s, tps=1, end=4"))
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(fiber)).end, "clean")
      }).pipe(simulated({ jitter: 0 })))
  })

  describe("a body", () => {
    it.effect("has blank lines before it", () =>
      Effect.gen(function*() {
        const { text } = yield* received(hello, "padding=10")
        assert.match(text, /^\n{10}\{/)
        assert.property(JSON.parse(text), "choices")
      }).pipe(simulated()))

    it.effect("breaks in its middle", () =>
      Effect.gen(function*() {
        for (const [simulate, end] of [["cut=1", "cut"], ["end=1", "clean"]] as const) {
          const broken = yield* received(hello, simulate)
          assert.strictEqual(broken.end, end)
          assert.isAbove(broken.text.length, 100)
          assert.throws(() => JSON.parse(broken.text))
        }
        assert.strictEqual((yield* received(hello, "end=0, padding=2")).text, "\n\n")
      }).pipe(simulated()))

    it.effect("is malformed, empty or an error", () =>
      Effect.gen(function*() {
        const malformed = yield* received(hello, "malformed")
        assert.throws(() => JSON.parse(malformed.text))
        assert.include((yield* received(hello, "empty")).text, "\"content\":\"\"")
        assert.property(JSON.parse((yield* received(hello, "error=1")).text), "error")
      }).pipe(simulated()))
  })

  describe("a content filter", () => {
    const finish = "finish=content_filter"

    it.effect("drops text and tool calls, streamed or not", () =>
      Effect.gen(function*() {
        for (const [body, simulate] of [[hello, finish], [calling, finish], [calling, `${finish}, dsml`]] as const) {
          const { choices: [choice], usage } = yield* complete(body, { simulate })
          assert.strictEqual(choice.finish_reason, "content_filter")
          assert.strictEqual(choice.message.content, "")
          assert.isNotEmpty(choice.message.reasoning_content)
          assert.notProperty(choice.message, "tool_calls")
          assert.strictEqual(usage?.completion_tokens, usage?.completion_tokens_details?.reasoning_tokens)
          const chunks = yield* streamed(body, { simulate })
          const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta))
          assert.strictEqual(chunks.at(-1)?.choices[0]?.finish_reason, "content_filter")
          assert.strictEqual(deltas.map(({ content }) => content ?? "").join(""), "")
          assert.isTrue(deltas.every(({ tool_calls }) => tool_calls === undefined))
        }
      }).pipe(simulated()))

    it.effect("is the only finish reason that does", () =>
      Effect.gen(function*() {
        const { choices: [choice] } = yield* complete(hello, { simulate: "finish=insufficient_system_resource" })
        assert.isNotEmpty(choice.message.content)
      }).pipe(simulated()))
  })

  describe("a scenario", () => {
    it.effect("holds for as many requests as it says", () =>
      Effect.gen(function*() {
        const statuses = (id: string) =>
          Effect.forEach([1, 2, 3], () =>
            Effect.map(ask(hello, { simulate: `status=503, times=2, id=${id}` }), ({ status }) => status))
        assert.deepStrictEqual(yield* statuses("a"), [503, 503, 200])
        assert.deepStrictEqual(yield* statuses("b"), [503, 503, 200])
        assert.deepStrictEqual(yield* statuses("a"), [200, 200, 200])
      }).pipe(simulated()))
  })

  describe("a plan", () => {
    it("refuses what the header refuses", () => {
      const wrong: Record<string, ReadonlyArray<Fault.Fault>> = {
        "status must be a whole number from 200 to 599, got": [{ status: 199 }, { status: 600 }, { status: 500.5 }],
        "retryAfter must be printable ASCII, got": [{ retryAfter: "a\r\nb" }, { retryAfter: "…" }, { retryAfter: "" }],
        "location must be printable ASCII, got": [{ location: "/a\nset-cookie: b" }],
        "tokens must be a whole number from 1 to 393216, got": [{ tokens: Infinity }, { tokens: 0 }],
        "calls must be a whole number from 0 to 100, got": [{ calls: Infinity }, { calls: -1 }],
        "stall must be a whole number from 0 to 1000000, got": [{ stall: 1.5 }, { stall: Number.NaN }],
        "padding must be a whole number from 0 to 1000000, got": [{ padding: Infinity }],
        "latency must be in": [{ latency: -1 }],
        "timeToFirstToken must be in": [{ timeToFirstToken: "-1 seconds" }],
        "tokensPerSecond must be above 0": [{ tokensPerSecond: 0 }]
      }
      for (const [problem, faults] of Object.entries(wrong)) {
        for (const fault of faults) {
          assert.throws(
            () => Effect.runSync(Simulator.make({ plan: [{ fault }] })),
            RangeError,
            `Simulator.make: plan.fault.${problem}`
          )
        }
      }
    })

    const status = Effect.map(ask(hello), ({ status }) => status)

    it.effect("holds within its window", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        for (let second = 0; second < 30; second += 5) {
          seen.push(yield* status)
          yield* TestClock.adjust("5 seconds")
        }
        assert.deepStrictEqual(seen, [200, 200, 503, 503, 200, 200])
      }).pipe(simulated({ plan: [{ from: "10 seconds", to: "20 seconds", fault: { status: 503 } }] })))

    it.effect("holds for numbered chats, whatever else is asked", () =>
      Effect.gen(function*() {
        yield* get("/models")
        const seen = yield* Effect.forEach([1, 2, 3, 4, 5], () => status)
        assert.deepStrictEqual(seen, [503, 503, 200, 429, 200])
      }).pipe(simulated({ plan: [{ nth: [1, 2], fault: { status: 503 } }, { nth: 4, fault: { status: 429 } }] })))

    it.effect("happens by chance, the same for the same seed", () =>
      Effect.gen(function*() {
        const run = (seed: string) =>
          Effect.forEach(Array.from({ length: 200 }), () => status).pipe(
            simulated({ seed, plan: [{ probability: 0.5, fault: { status: 503 } }] })
          )
        const first = yield* run("a")
        assert.deepStrictEqual(first, yield* run("a"))
        assert.notDeepEqual(first, yield* run("b"))
        assert.closeTo(first.filter((status) => status === 503).length, 100, 30)
      }))

    it.effect("gives way to the request's own header", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* ask(hello, { simulate: "ttft=0" })).status, 200)
      }).pipe(simulated({ plan: [{ fault: { status: 503 } }] })))
  })

  it.effect("leaves the answer readable for a reader of text", () =>
    Effect.gen(function*() {
      const response = yield* Effect.flatMap(post(stream, { simulate: "keepalive=1" }), read)
      assert.strictEqual(eventsOf(response.text).at(-1), "[DONE]")
    }).pipe(simulated()))
})
