import { CircuitBreaker, type CircuitBreakerStore, SharedCircuitBreaker } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CurrentDeadline } from "../src/internal/currentDeadline.ts"
import { metrics, withMetrics } from "./support.ts"
import { broken, fail, ok, openTime, options, watched } from "./support/sharedCircuits.ts"

const rejection = <A, E>(exit: Exit.Exit<A, E>) => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return error instanceof CircuitBreaker.CircuitOpen ? error : undefined
}

/** A breaker on a store that is watched. */
const make = Effect.fnUntraced(function*(changes?: SharedCircuitBreaker.Options) {
  const { behaviour, layer } = yield* watched
  const breaker = yield* SharedCircuitBreaker.make({
    ...options,
    ...changes,
    onStoreError: "allow"
  }).pipe(Effect.provide(layer))
  return { breaker, behaviour }
})

describe("SharedCircuitBreaker", () => {
  describe("requests", () => {
    it.effect("asks once for calls in a row, as each answer renews what is known", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        for (let i = 0; i < 5; i++) {
          yield* breaker("key")(ok)
          yield* TestClock.adjust(99)
        }
        assert.deepStrictEqual(behaviour.asked, ["admit", ...Array.from({ length: 5 }, () => "record 1")])
      }))

    it.effect("asks again once what it knows is as old as it may be", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make({ maxStaleness: 50 })
        yield* breaker("key")(ok)
        yield* TestClock.adjust(49)
        yield* breaker("key")(ok)
        yield* TestClock.adjust(50)
        yield* breaker("key")(ok)
        assert.deepStrictEqual(behaviour.asked, ["admit", "record 1", "record 1", "admit", "record 1"])
      }))

    it.effect("asks before each call without any staleness", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make({ maxStaleness: 0 })
        yield* breaker("key")(ok)
        yield* breaker("key")(ok)
        assert.deepStrictEqual(behaviour.asked, ["admit", "record 1", "admit", "record 1"])
      }))

    it.effect("asks once for a thousand callers, and tells in a few requests how they ended", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        behaviour.around = Effect.delay(10)
        const calls = yield* Effect.forkChild(
          Effect.all(Array.from({ length: 1_000 }, () => breaker("key")(ok)), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust(10)
        assert.strictEqual((yield* Fiber.join(calls)).length, 1_000)
        yield* TestClock.adjust(30)
        assert.deepStrictEqual(behaviour.asked, ["admit", "record 1", "record 500", "record 499"])
      }))

    it.effect("rejects without asking while what it knows is fresh", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        yield* Effect.exit(breaker("key")(fail))
        yield* Effect.exit(breaker("key")(fail))
        const before = behaviour.asked.length
        for (let i = 0; i < 10; i++) assert.isDefined(rejection(yield* Effect.exit(breaker("key")(ok))))
        assert.strictEqual(behaviour.asked.length, before)
      }))

    it.effect("counts the time since, in what it says of when to come back", () =>
      Effect.gen(function*() {
        const { breaker } = yield* make()
        yield* Effect.exit(breaker("key")(fail))
        yield* Effect.exit(breaker("key")(fail))
        yield* TestClock.adjust(60)
        const error = rejection(yield* Effect.exit(breaker("key")(ok)))
        assert.strictEqual(error?.message, "Circuit breaker \"default\" is open: retry in 940ms")
      }))

    it.effect("tells nothing of calls that are ignored or interrupted", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        const call = yield* Effect.forkChild(breaker("key")(Effect.never), { startImmediately: true })
        yield* Fiber.interrupt(call)
        assert.deepStrictEqual(behaviour.asked, ["admit"])
      }))

    it.effect("takes the newest answer, though an older one comes later", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        yield* Effect.exit(breaker("key")(fail))
        // The answer to this result says closed, and comes after that to the command.
        const late = yield* Deferred.make<void>()
        behaviour.around = Effect.tap(Deferred.await(late))
        yield* breaker("key")(ok)
        behaviour.around = (request) => request
        yield* breaker.isolate("key")
        yield* Deferred.succeed(late, undefined)
        yield* TestClock.adjust(0)
        assert.strictEqual(rejection(yield* Effect.exit(breaker("key")(ok)))?.state, "isolated")
      }))

    it.effect("waits for results that are being told when its scope closes", () =>
      Effect.gen(function*() {
        const { behaviour, layer } = yield* watched
        let told = 0
        const scoped = yield* Effect.forkChild(
          Effect.gen(function*() {
            const breaker = yield* SharedCircuitBreaker.make(options)
            yield* breaker("key")(ok)
            behaviour.around = (request) =>
              request.pipe(
                Effect.delay(10),
                Effect.tap(() =>
                  Effect.sync(() => {
                    told++
                  })
                )
              )
            yield* breaker("key")(ok)
            yield* breaker("key")(ok)
          }).pipe(Effect.scoped, Effect.provide(layer)),
          { startImmediately: true }
        )
        assert.strictEqual(told, 0)
        yield* TestClock.adjust(20)
        yield* Fiber.join(scoped)
        assert.strictEqual(told, 2)
      }))
  })

  describe("store that fails", () => {
    it.effect("lets calls run unguarded, counts it and leaves the store alone for a while", () =>
      withMetrics(Effect.gen(function*() {
        const { behaviour, breaker } = yield* make({ name: "shared" })
        const events: Array<string> = []
        yield* Effect.forkChild(
          Stream.runForEach(breaker.events, (event) =>
            Effect.sync(() => {
              events.push(event._tag === "StoreFailed" ? `${event._tag} ${event.operation}` : event._tag)
            })),
          { startImmediately: true }
        )
        behaviour.around = () => broken
        for (let i = 0; i < 3; i++) {
          assert.isUndefined(rejection(yield* Effect.exit(breaker("key")(fail))))
          assert.strictEqual(yield* breaker("key")(ok), "ok")
          yield* TestClock.adjust(333)
        }
        assert.deepStrictEqual(behaviour.asked, ["admit"])
        yield* TestClock.adjust(1)
        yield* breaker("key")(ok)
        assert.deepStrictEqual(behaviour.asked, ["admit", "admit"])
        behaviour.around = (request) => request
        yield* TestClock.adjust(1_000)
        yield* breaker("key")(ok)
        assert.deepStrictEqual(behaviour.asked, ["admit", "admit", "admit", "record 1"])
        assert.strictEqual(
          (yield* metrics)["ballast_store_errors_total{name=shared,op=admit,policy=circuit-breaker}"],
          2
        )
        assert.deepStrictEqual(events, ["StoreFailed admit", "StoreFailed admit"])
      })))

    it.effect("is asked again at once after any answer of its", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        behaviour.around = () => broken
        yield* breaker("key")(ok)
        yield* breaker("key")(ok)
        assert.deepStrictEqual(behaviour.asked, ["admit"])
        behaviour.around = (request) => request
        yield* breaker.inspect("other")
        yield* breaker("key")(ok)
        assert.deepStrictEqual(behaviour.asked, ["admit", "admit", "record 1"])
      }))

    it.effect("fails calls with the error when told so", () =>
      Effect.gen(function*() {
        const { behaviour, layer } = yield* watched
        const breaker = yield* SharedCircuitBreaker.make({ ...options, onStoreError: "fail" }).pipe(
          Effect.provide(layer)
        )
        behaviour.around = () => broken
        for (let i = 0; i < 2; i++) {
          const error = yield* Effect.flip(breaker("key")(Effect.die("ran")))
          assert.strictEqual(error._tag, "CircuitBreakerStoreError")
        }
        assert.deepStrictEqual(behaviour.asked, ["admit"])
      }))

    it.effect("takes no answer in time, and a defect, for a failure", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make({ storeTimeout: "2 seconds", storeRetry: 0 })
        behaviour.around = () => Effect.never
        const call = yield* Effect.forkChild(breaker("key")(ok))
        yield* TestClock.adjust(1_999)
        assert.isUndefined(call.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(call), "ok")
        behaviour.around = () => Effect.die("broken")
        const second = yield* Effect.exit(breaker("key")(ok))
        assert.isTrue(Exit.isSuccess(second))
      }))

    it.effect("loses the results that it could not tell, and goes on", () =>
      withMetrics(Effect.gen(function*() {
        const { behaviour, breaker } = yield* make({ storeRetry: 0 })
        yield* breaker("key")(ok)
        behaviour.around = () => broken
        yield* Effect.exit(breaker("key")(fail))
        behaviour.around = (request) => request
        yield* Effect.exit(breaker("key")(fail))
        const state = yield* breaker.inspect("key")
        assert.strictEqual(state._tag === "Closed" && state.failures, 1)
        assert.strictEqual(
          (yield* metrics)["ballast_store_errors_total{name=default,op=record,policy=circuit-breaker}"],
          1
        )
      })))

    it.effect("does not wait past the caller's deadline", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        behaviour.around = () => Effect.never
        const call = yield* Effect.forkChild(Effect.provideService(breaker("key")(ok), CurrentDeadline, 300))
        yield* TestClock.adjust(299)
        assert.isUndefined(call.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(call), "ok")
        yield* TestClock.adjust(1_000)
      }))

    it.effect("at the caller's deadline goes by what was known last", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        const late = <A, E>(call: Effect.Effect<A, E>) =>
          Effect.gen(function*() {
            const now = Number(yield* Clock.currentTimeMillis)
            const fiber = yield* Effect.forkChild(Effect.exit(Effect.provideService(call, CurrentDeadline, now + 300)))
            yield* TestClock.adjust("10 seconds")
            return yield* Fiber.join(fiber)
          })
        const states: ReadonlyArray<readonly [Effect.Effect<unknown, unknown>, string | undefined]> = [
          [breaker.close("key"), undefined],
          [breaker.isolate("key"), "isolated"],
          [breaker.shadow("key"), undefined],
          [breaker.automatic("key"), undefined],
          [breaker.open("key", "1 second"), "open"],
          [breaker.disable("key"), undefined]
        ]
        for (const [control, state] of states) {
          behaviour.around = (request) => request
          yield* Effect.orDie(control)
          yield* TestClock.adjust("1 second")
          behaviour.around = () => Effect.never
          const exit = yield* late(breaker("key")(ok))
          assert.strictEqual(rejection(exit)?.state, state)
          assert.strictEqual(Exit.isSuccess(exit), state === undefined)
        }
      }))

    it.effect("passes on what went wrong to who reads or steers", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        behaviour.around = () => broken
        const error: CircuitBreakerStore.CircuitBreakerStoreError = yield* Effect.flip(breaker.isolate("key"))
        assert.strictEqual(error.message, "The store of circuits failed to answer")
      }))
  })

  describe("interruption while the store is asked", () => {
    it.effect("lets the caller go at once, and gives back the probe that was meant for it", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        yield* Effect.exit(breaker("key")(fail))
        yield* Effect.exit(breaker("key")(fail))
        yield* openTime
        behaviour.around = Effect.delay(500)
        const call = yield* Effect.forkChild(breaker("key")(Effect.die("ran")), { startImmediately: true })
        yield* TestClock.adjust(100)
        yield* Fiber.interrupt(call)
        yield* TestClock.adjust(400)
        yield* TestClock.adjust(500)
        const state = yield* breaker.inspect("key")
        assert.deepStrictEqual(state, {
          _tag: "HalfOpen",
          running: 0,
          succeeded: 0,
          failed: 0,
          shadow: false,
          openings: 1
        })
      }))

    it.effect("leaves the answer to those who wait with it", () =>
      Effect.gen(function*() {
        const { behaviour, breaker } = yield* make()
        behaviour.around = Effect.delay(500)
        const first = yield* Effect.forkChild(breaker("key")(ok), { startImmediately: true })
        const second = yield* Effect.forkChild(breaker("key")(ok), { startImmediately: true })
        yield* Fiber.interrupt(first)
        yield* TestClock.adjust(500)
        assert.strictEqual(yield* Fiber.join(second), "ok")
        assert.deepStrictEqual(behaviour.asked, ["admit", "record 1"])
        yield* TestClock.adjust(500)
      }))
  })
})
