import { DeepSeek, Traced } from "@ballast/deepseek"
import { CallInfo, Registry } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { apiKey, bare, consume, on, reasonOf, request } from "../support/client.ts"
import * as Scripted from "../support/scripted.ts"
import { recorded } from "../support/spans.ts"
import { busy, failure, good, goodStream, last, opening, sse, token } from "../support/wire.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** Runs a call through all its waits. */
const through = Effect.fnUntraced(function*<A, E>(self: Effect.Effect<A, E>) {
  const fiber = yield* start(self)
  yield* TestClock.adjust("10 minutes")
  return yield* Fiber.await(fiber)
})

const stateOf = (name: string) =>
  Effect.gen(function*() {
    const breaker = yield* (yield* Registry.Current).find("circuitBreaker", name)
    assert.exists(breaker, name)
    return yield* breaker.inspect
  })

const internal = failure(500, { message: "internal" })

describe("DeepSeek parts", () => {
  describe("source", () => {
    it.effect("is one attempt, without policies, spans and metrics", () =>
      Effect.gen(function*() {
        const script = Scripted.make(busy, good, goodStream)
        const { metrics, spans } = yield* recorded(Effect.gen(function*() {
          const source = yield* Effect.provide(DeepSeek.source({ apiKey }), script.layer)
          assert.deepInclude(yield* reasonOf(source.complete(request)), { _tag: "Overloaded" })
          yield* source.complete(request)
          yield* Stream.runDrain(source.stream(request))
        }))
        assert.lengthOf(script.seen, 3)
        assert.deepStrictEqual([spans.length, metrics.length], [0, 0])
      }))

    it.effect("is traced by functions that stand alone", () =>
      Effect.gen(function*() {
        const script = Scripted.make(good)
        const { spans } = yield* recorded(Effect.gen(function*() {
          const source = yield* Effect.provide(DeepSeek.source({ apiKey }), script.layer)
          const options = { ...source, name: "mine", model: "m" }
          yield* Traced.attempt(options)(source).complete(request)
          yield* Traced.call(options)(source).complete(request)
        }))
        assert.deepStrictEqual(spans.map(({ name }) => name), ["POST /chat/completions", "chat deepseek-flash"])
        assert.strictEqual(spans[1]?.attributes.get("ballast.name"), "mine")
      }))
  })

  describe("registry", () => {
    it.effect("has the policies of a client as long as it lives", () =>
      Effect.gen(function*() {
        const registry = Registry.make()
        const scope = yield* Scope.make()
        yield* on(Scripted.make(good).layer, { apiKey, name: "mine" }).pipe(
          Scope.provide(scope),
          Effect.provideService(Registry.Current, registry)
        )
        const kinds = (yield* registry.list({ name: "mine/deepseek-flash" })).map(({ kind }) => kind)
        assert.sameMembers(kinds, ["retry", "retryBudget", "circuitBreaker", "adaptiveLimit", "attemptDeadline"])
        assert.isTrue((yield* registry.list()).every(({ owner }) => owner === "mine"))
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* registry.list(), [])
      }))

    it.effect("steers a client", () =>
      Effect.gen(function*() {
        const script = Scripted.make(good)
        const deepseek = yield* on(script.layer, { apiKey })
        const registry = yield* Registry.Current
        const breaker = yield* registry.find("circuitBreaker", "deepseek/deepseek-flash")
        yield* breaker!.isolate
        assert.strictEqual((yield* Effect.flip(deepseek.complete(request)))._tag, "CircuitOpen")
        yield* breaker!.automatic
        yield* deepseek.complete(request)
        assert.lengthOf(script.seen, 1)
      }))

    it.effect("tells two clients of one process apart, in states, names and metrics", () =>
      Effect.gen(function*() {
        const { metrics } = yield* recorded(Effect.gen(function*() {
          const options = { ...bare, circuitBreaker: { minimumCalls: 2, openDuration: "1 minute" } } as const
          const first = yield* on(Scripted.make(internal).layer, options)
          const second = yield* on(Scripted.make(good).layer, options)
          for (let i = 0; i < 2; i++) yield* Effect.exit(first.complete(request))
          const rejected = yield* Effect.flip(first.complete(request))
          assert.include(rejected.message, "deepseek/deepseek-flash")
          yield* second.complete(request)
          assert.strictEqual((yield* stateOf("deepseek/deepseek-flash"))._tag, "Open")
          assert.strictEqual((yield* stateOf("deepseek-2/deepseek-flash"))._tag, "Closed")
          yield* TestClock.adjust("1 minute")
          // No call has come yet.
          assert.strictEqual((yield* stateOf("deepseek/deepseek-flash"))._tag, "HalfOpen")
        }))
        const states = metrics.flatMap(({ attributes, name, state }) =>
          name === "ballast_circuit_breaker_state" && attributes?.["name"]?.endsWith("/deepseek-flash")
            ? [[attributes["name"], "value" in state ? state.value : undefined]]
            : []
        )
        assert.sameDeepMembers(states, [["deepseek/deepseek-flash", 2], ["deepseek-2/deepseek-flash", 0]])
      }))
  })

  describe("fairness", () => {
    it.effect("calls whose attempts all fail do not open the circuit for others, and a failing service does", () =>
      Effect.gen(function*() {
        const script = Scripted.make(internal)
        const deepseek = yield* on(script.layer, { apiKey, retry: { times: 5, base: 1, cap: 1 } })
        const calls = (times: number) =>
          Effect.forEach(Array.from({ length: times }), () => Effect.exit(deepseek.complete(request)), {
            concurrency: 5
          })
        yield* through(calls(5))
        assert.lengthOf(script.seen, 30)
        assert.strictEqual((yield* stateOf("deepseek/deepseek-flash"))._tag, "Closed")
        const fiber = yield* start(calls(10))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(fiber)
        assert.strictEqual((yield* stateOf("deepseek/deepseek-flash"))._tag, "Open")
      }))

    it.effect("unknown names share no breaker", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(Scripted.make(internal).layer, { ...bare, circuitBreaker: undefined })
        for (let i = 0; i < 50; i++) {
          const error = yield* reasonOf(deepseek.complete({ ...request, model: `unknown-${i % 2}` }))
          assert.deepInclude(error, { _tag: "InternalError" })
        }
      }))

    it.effect("retries are paid from a budget of the client", () =>
      Effect.gen(function*() {
        const attempts = Effect.fnUntraced(function*(options: Partial<DeepSeek.Options>) {
          const script = Scripted.make(internal)
          const deepseek = yield* on(script.layer, { ...bare, retry: { times: 5, base: 1, cap: 1 }, ...options })
          for (const model of ["deepseek-flash", "deepseek-v4-pro"]) {
            for (let i = 0; i < 50; i++) yield* through(deepseek.complete({ ...request, model }))
          }
          return script.seen.length
        })
        assert.strictEqual(yield* attempts({ retryBudget: { share: 0, floor: 0 } }), 100)
        assert.strictEqual(yield* attempts({ retryBudget: false }), 600)
      }))

    it.effect("by default not much more than one retry for five calls when all calls fail", () =>
      Effect.gen(function*() {
        const script = Scripted.make(internal)
        const deepseek = yield* on(script.layer, { ...bare, retry: { times: 5, base: 1, cap: 1 } })
        const fiber = yield* start(
          Effect.forEach(Array.from({ length: 1000 }), () => Effect.exit(deepseek.complete(request)), {
            concurrency: 50
          })
        )
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(fiber)
        // A fifth of the calls, and ten a second for ten seconds.
        assert.isAtMost(script.seen.length, 1000 + 200 + 100)
        assert.isAtLeast(script.seen.length, 1000 + 200)
      }))
  })

  describe("a concurrency limit that the service names", () => {
    const limited = failure(429, {
      message: "Your current concurrency is 26, which exceeds your concurrency limit of 25."
    })

    it.effect("becomes that of the lane, whose calls wait and are answered", () =>
      Effect.gen(function*() {
        const script = Scripted.make(limited, good)
        const deepseek = yield* on(script.layer, { apiKey })
        const registry = yield* Registry.Current
        const limit = yield* registry.find("adaptiveLimit", "deepseek/deepseek-flash")
        assert.strictEqual((yield* limit!.inspect).limit, 2500)
        const fiber = yield* start(deepseek.complete(request))
        assert.strictEqual((yield* limit!.inspect).limit, 25)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        assert.lengthOf(script.seen, 2)
      }))

    it.effect("holds back the calls beyond it, and grows again", () =>
      Effect.gen(function*() {
        const pause = Duration.seconds(1)
        const slow = sse([opening, token("a"), pause, last])
        const small = failure(429, {
          message: "Your current concurrency is 3, which exceeds your concurrency limit of 2."
        })
        const script = Scripted.make(small, slow)
        const deepseek = yield* on(script.layer, { ...bare, concurrency: undefined })
        const registry = yield* Registry.Current
        const limit = yield* registry.find("adaptiveLimit", "deepseek/deepseek-flash")
        yield* Effect.exit(deepseek.complete(request))
        const calls = yield* start(Effect.forEach(Array.from({ length: 200 }), () => consume(deepseek), {
          concurrency: 10
        }))
        assert.deepInclude(yield* limit!.inspect, { limit: 2, running: 2, queued: 8 })
        yield* TestClock.adjust("40 seconds")
        assert.isAbove((yield* limit!.inspect).limit, 2)
        yield* TestClock.adjust("10 minutes")
        yield* Fiber.join(calls)
      }))

    it.effect("is not lowered by failures of other kinds", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(Scripted.make(busy, internal).layer, { ...bare, concurrency: undefined })
        const limit = yield* (yield* Registry.Current).find("adaptiveLimit", "deepseek/deepseek-flash")
        for (let i = 0; i < 3; i++) yield* Effect.exit(deepseek.complete(request))
        assert.strictEqual((yield* limit!.inspect).limit, 2500)
      }))
  })

  describe("the record of a call", () => {
    it.effect("tells attempts, waits and the last failure", () =>
      Effect.gen(function*() {
        const deepseek = yield* on(Scripted.make(busy, good).layer, { apiKey })
        const info = CallInfo.make()
        yield* through(Effect.provideService(deepseek.complete(request), CallInfo.Current, info))
        assert.deepInclude(info, { attempts: 2, failure: undefined, firstToken: undefined })
        assert.isAbove(info.waited, 0)
        const failed = CallInfo.make()
        const broken = yield* on(Scripted.make(failure(401, { message: "no" })).layer, { apiKey })
        yield* Effect.exit(Effect.provideService(broken.complete(request), CallInfo.Current, failed))
        assert.deepInclude(failed, { attempts: 1, waited: 0, failure: "Unauthorized" })
      }))

    it.effect("tells the time to the first token of a stream", () =>
      Effect.gen(function*() {
        const script = Scripted.make(busy, sse([opening, Duration.seconds(2), token("a"), last]))
        const deepseek = yield* on(script.layer, { ...bare, retry: { base: 1, cap: 1 } })
        const info = CallInfo.make()
        yield* through(
          Stream.runDrain(deepseek.stream(request)).pipe(Effect.provideService(CallInfo.Current, info))
        )
        assert.deepInclude(info, { attempts: 2, failure: undefined })
        assert.isAtLeast(info.firstToken ?? 0, 2000)
      }))
  })
})
