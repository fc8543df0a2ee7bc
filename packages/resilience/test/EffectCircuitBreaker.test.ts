import { CircuitBreaker, CircuitBreakerStore, EffectCircuitBreaker, SharedCircuitBreaker } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Data, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { CircuitBreaker as Effects } from "effect/persistence"
import { TestClock } from "effect/testing"
import { describeStores, StoreClock } from "./support/circuitStores.ts"
import { interruptEverywhere } from "./support/interruption.ts"
import { broken, watched } from "./support/sharedCircuits.ts"

class Broken extends Data.TaggedError("Broken")<{ readonly n?: number }> {}

const options = {
  trip: CircuitBreaker.consecutive(2),
  openDuration: "30 seconds",
  maxStaleness: 0
} satisfies EffectCircuitBreaker.Options

const ok = Effect.succeed("ok")
const fail = Effect.fail(new Broken({}))

const inMemory = Effect.provide(CircuitBreakerStore.layerStoreMemory())

const reason = <A, E>(exit: Exit.Exit<A, E>) => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  return error instanceof Effects.CircuitBreakerError ? error.reason : undefined
}

const opened = Effect.fnUntraced(function*(breaker: Effects.CircuitBreaker, key = "key") {
  for (let i = 0; i < 2; i++) yield* Effect.exit(breaker.execute(fail, { key }))
  yield* breaker.state(key).pipe(Effect.repeat({ until: (state) => state._tag === "Open", times: 500 }))
})

describeStores("EffectCircuitBreaker", (test) => {
  test(
    "guards calls by key, with errors and states of Effect's own",
    Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const breaker = yield* EffectCircuitBreaker.make(options)
      assert.strictEqual(yield* ok.pipe(breaker.execute({ key: "key" })), "ok")
      assert.deepStrictEqual(yield* Effect.exit(breaker.execute(fail, { key: "key" })), yield* Effect.exit(fail))
      assert.deepStrictEqual(yield* breaker.state("key"), { _tag: "Closed", key: "key" })
      yield* opened(breaker)
      const open = reason(yield* Effect.exit(breaker.execute(ok, { key: "key" })))
      assert.deepStrictEqual(open, new Effects.CircuitOpen({ key: "key", retryAfter: Duration.seconds(30) }))
      assert.deepStrictEqual(yield* breaker.state("key"), {
        _tag: "Open",
        key: "key",
        retryAfter: Duration.seconds(30),
        consecutiveOpenings: 1
      })
      assert.strictEqual(yield* breaker.execute(ok, { key: "other" }), "ok")

      yield* advance(30_000)
      const release = yield* Deferred.make<void>()
      const started = yield* Deferred.make<void>()
      const probe = yield* Effect.forkChild(
        breaker.execute(Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(release)), { key: "key" })
      )
      yield* Deferred.await(started)
      const halfOpen = reason(yield* Effect.exit(breaker.execute(ok, { key: "key" })))
      assert.deepStrictEqual(halfOpen, new Effects.CircuitHalfOpen({ key: "key" }))
      assert.deepStrictEqual(yield* breaker.state("key"), {
        _tag: "HalfOpen",
        key: "key",
        probing: true,
        consecutiveOpenings: 1
      })
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(probe)
      yield* breaker.state("key").pipe(Effect.repeat({ until: (state) => state._tag === "Closed", times: 500 }))
      assert.strictEqual(yield* breaker.execute(ok, { key: "key" }), "ok")
    })
  )
})

describe("EffectCircuitBreaker", () => {
  describe("judgement", () => {
    it.effect("is the caller's, as a value or as an effect", () =>
      Effect.gen(function*() {
        const breaker = yield* EffectCircuitBreaker.make({ ...options, trip: CircuitBreaker.consecutive(1) })
        yield* Effect.exit(breaker.execute(fail, { key: "ignored", classify: () => Effects.ignored }))
        assert.strictEqual((yield* breaker.state("ignored"))._tag, "Closed")
        yield* breaker.execute(ok, { key: "value", classify: () => Effects.failure() })
        assert.strictEqual((yield* breaker.state("value"))._tag, "Open")
        yield* breaker.execute(ok, {
          key: "effect",
          classify: (exit) =>
            Effect.succeed(Exit.isSuccess(exit) ? Effects.failure({ retryAfter: "2 minutes" }) : Effects.success)
        })
        const state = yield* breaker.state("effect")
        assert.deepStrictEqual(state._tag === "Open" && state.retryAfter, Duration.minutes(2))
      }).pipe(inMemory))

    it.effect("takes a defect for a failure, and an interruption for nothing", () =>
      Effect.gen(function*() {
        const breaker = yield* EffectCircuitBreaker.make({ ...options, trip: CircuitBreaker.consecutive(1) })
        const classify = () => Effects.failure()
        yield* Effect.exit(breaker.execute(Effect.interrupt, { key: "key", classify }))
        const call = yield* Effect.forkChild(breaker.execute(Effect.never, { key: "key", classify }), {
          startImmediately: true
        })
        yield* Fiber.interrupt(call)
        assert.strictEqual((yield* breaker.state("key"))._tag, "Closed")
        yield* Effect.exit(breaker.execute(Effect.die("broken"), { key: "key" }))
        assert.strictEqual((yield* breaker.state("key"))._tag, "Open")
      }).pipe(inMemory))

    it.effect("that throws leaves the call ignored, and the call dies with its own error beside", () =>
      Effect.gen(function*() {
        const breaker = yield* EffectCircuitBreaker.make(options)
        yield* opened(breaker)
        yield* TestClock.adjust("30 seconds")
        const exit = yield* Effect.exit(breaker.execute(fail, {
          key: "key",
          classify: () => {
            throw new Error("classifier")
          }
        }))
        assert.isTrue(Exit.hasDies(exit) && Exit.hasFails(exit))
        const state = yield* breaker.state("key")
        assert.isFalse(state._tag === "HalfOpen" && state.probing)
        assert.strictEqual(yield* breaker.execute(ok, { key: "key" }), "ok")
      }).pipe(inMemory))
  })

  describe("transitions", () => {
    it.effect("are told as they happen, and end with the scope", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const listener = yield* Effect.scoped(Effect.gen(function*() {
          const breaker = yield* EffectCircuitBreaker.make(options)
          const fiber = yield* Effect.forkDetach(
            Stream.runForEach(breaker.transitions, ({ from, to }) =>
              Effect.sync(() => {
                seen.push(`${from} ${to}`)
              })),
            { startImmediately: true }
          )
          yield* Effect.yieldNow
          yield* opened(breaker)
          yield* TestClock.adjust("30 seconds")
          yield* breaker.execute(ok, { key: "key" })
          yield* Effect.repeat(Effect.yieldNow, { until: () => seen.length === 3, times: 1_000 })
          return fiber
        }))
        yield* Fiber.join(listener)
        assert.deepStrictEqual(seen, ["Closed Open", "Open HalfOpen", "HalfOpen Closed"])
      }).pipe(inMemory))
  })

  it.live("loses no probe that is interrupted, at any step", () =>
    interruptEverywhere({
      setup: Effect.gen(function*() {
        const breaker = yield* inMemory(EffectCircuitBreaker.make(options))
        yield* opened(breaker)
        yield* TestClock.adjust("30 seconds")
        return breaker
      }),
      run: (breaker) =>
        breaker.execute(Effect.sleep("1 second"), { key: "key", classify: () => Effect.succeed(Effects.success) }),
      check: (breaker) =>
        Effect.gen(function*() {
          yield* TestClock.adjust(0)
          const state = yield* breaker.state("key")
          assert.isTrue(state._tag === "Closed" || (state._tag === "HalfOpen" && !state.probing), state._tag)
          assert.strictEqual(yield* breaker.execute(ok, { key: "key" }), "ok")
        })
    }), 60_000)

  it.effect("a thousand callers at once of a circuit that is due make one probe", () =>
    Effect.gen(function*() {
      const breaker = yield* inMemory(EffectCircuitBreaker.make(options))
      yield* opened(breaker)
      yield* TestClock.adjust("30 seconds")
      let executions = 0
      const call = breaker.execute(Effect.andThen(Effect.sync(() => executions++), Effect.sleep("1 second")), {
        key: "key"
      })
      const all = yield* Effect.forkChild(
        Effect.all(Array.from({ length: 1_000 }, () => Effect.exit(call)), { concurrency: 1_000 })
      )
      yield* TestClock.adjust("1 second")
      const rejections = (yield* Fiber.join(all)).map((exit) => reason(exit)?._tag)
      assert.strictEqual(rejections.filter((tag) => tag === "CircuitHalfOpen").length, 999)
      assert.strictEqual(executions, 1)
      assert.strictEqual((yield* breaker.state("key"))._tag, "Closed")
    }))

  describe("by hand", () => {
    it.effect("shows what another breaker of the store was told", () =>
      Effect.gen(function*() {
        const breaker = yield* EffectCircuitBreaker.make(options)
        const shared = yield* SharedCircuitBreaker.make(options)
        yield* shared.isolate("key")
        const expected = Duration.minutes(5)
        const rejected = reason(yield* Effect.exit(breaker.execute(ok, { key: "key" })))
        assert.deepStrictEqual(rejected, new Effects.CircuitOpen({ key: "key", retryAfter: expected }))
        const state = yield* breaker.state("key")
        assert.deepStrictEqual(state._tag === "Open" && state.retryAfter, expected)
        yield* shared.disable("key")
        assert.strictEqual((yield* breaker.state("key"))._tag, "Closed")
      }).pipe(inMemory))
  })

  describe("store that fails", () => {
    it.effect("lets calls run, or is told in Effect's error", () =>
      Effect.gen(function*() {
        const { behaviour, layer } = yield* watched
        behaviour.around = () => broken
        const allow = yield* EffectCircuitBreaker.make(options).pipe(Effect.provide(layer))
        assert.strictEqual(yield* allow.execute(ok, { key: "key" }), "ok")
        const failing = yield* EffectCircuitBreaker.make({ ...options, onStoreError: "fail" }).pipe(
          Effect.provide(layer)
        )
        const exit = yield* Effect.exit(failing.execute(ok, { key: "key" }))
        assert.strictEqual(reason(exit)?._tag, "CircuitBreakerStoreError")
      }))
  })

  describe("HttpClient.withCircuitBreaker", () => {
    const Breaker = EffectCircuitBreaker.layer({ ...options, probeTimeout: "10 seconds" }).pipe(
      Layer.provide(CircuitBreakerStore.layerStoreMemory())
    )

    /** A client in memory whose answers the test sets. */
    const makeClient = Effect.map(Effects.CircuitBreaker, (breaker) => {
      const server: { requests: number; answer: Effect.Effect<number> } = { requests: 0, answer: Effect.succeed(200) }
      const client = HttpClient.make((request) =>
        Effect.suspend(() => {
          server.requests++
          return Effect.map(server.answer, (status) =>
            HttpClientResponse.fromWeb(request, new Response(null, { status })))
        })
      ).pipe(HttpClient.withCircuitBreaker({ breaker }))
      return { server, breaker, get: (url: string) => client.get(url) }
    })

    it.effect("rejects requests to an origin that fails, and no other", () =>
      Effect.gen(function*() {
        const { breaker, get, server } = yield* makeClient
        server.answer = Effect.succeed(503)
        for (let i = 0; i < 2; i++) assert.strictEqual((yield* get("http://one.test/")).status, 503)
        const exit = yield* Effect.exit(get("http://one.test/path"))
        assert.strictEqual(reason(exit)?._tag, "CircuitOpen")
        assert.strictEqual(server.requests, 2)
        assert.strictEqual((yield* get("http://two.test/")).status, 503)
        yield* TestClock.adjust("30 seconds")
        server.answer = Effect.succeed(200)
        assert.strictEqual((yield* get("http://one.test/")).status, 200)
        assert.strictEqual((yield* breaker.state("http://one.test"))._tag, "Closed")
      }).pipe(Effect.provide(Breaker)))

    it.effect("is not wedged by a probe that never settles", () =>
      Effect.gen(function*() {
        const { breaker, get, server } = yield* makeClient
        server.answer = Effect.succeed(500)
        for (let i = 0; i < 2; i++) yield* get("http://one.test/")
        yield* TestClock.adjust("30 seconds")
        server.answer = Effect.never
        const stuck = yield* Effect.forkChild(get("http://one.test/"), { startImmediately: true })
        assert.strictEqual(reason(yield* Effect.exit(get("http://one.test/")))?._tag, "CircuitHalfOpen")
        yield* TestClock.adjust("10 seconds")
        server.answer = Effect.succeed(200)
        assert.strictEqual((yield* get("http://one.test/")).status, 200)
        assert.strictEqual((yield* breaker.state("http://one.test"))._tag, "Closed")
        yield* Fiber.interrupt(stuck)
        assert.strictEqual((yield* breaker.state("http://one.test"))._tag, "Closed")
      }).pipe(Effect.provide(Breaker)))
  })
})
