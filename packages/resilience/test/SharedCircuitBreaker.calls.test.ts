import { CircuitBreaker, CircuitBreakerStore, Retry, SharedCircuitBreaker } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"
import { fail, ok, openTime, options, watched } from "./support/sharedCircuits.ts"

const make = (changes?: SharedCircuitBreaker.Options & { readonly onStoreError?: undefined }) =>
  SharedCircuitBreaker.make({ ...options, ...changes })

const inMemory = Effect.provide(CircuitBreakerStore.layerStoreMemory())

const rejection = <A, E>(exit: Exit.Exit<A, E>) => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return error instanceof CircuitBreaker.CircuitOpen ? error : undefined
}

const opened = Effect.fnUntraced(function*(breaker: SharedCircuitBreaker.SharedCircuitBreaker) {
  yield* Effect.exit(breaker("key")(fail))
  yield* Effect.exit(breaker("key")(fail))
  assert.strictEqual((yield* breaker.inspect("key"))._tag, "Open")
})

const unused = { _tag: "HalfOpen", running: 0, succeeded: 0, failed: 0, shadow: false, openings: 1 } as const

describe("SharedCircuitBreaker", () => {
  describe("judgement", () => {
    it.effect("counts a defect as a failure, and neither what is ignored nor what is interrupted", () =>
      Effect.gen(function*() {
        const breaker = yield* make()
        yield* Effect.exit(breaker("key")(Effect.die("broken")))
        yield* Effect.exit(breaker("key")(Effect.fail(new Fault({ ignored: true }))))
        yield* Effect.exit(breaker("key")(Effect.interrupt))
        const state = yield* breaker.inspect("key")
        assert.strictEqual(state._tag === "Closed" && state.failures, 1)
        yield* Effect.exit(breaker("key")(Effect.die("broken")))
        assert.strictEqual((yield* breaker.inspect("key"))._tag, "Open")
      }).pipe(inMemory))

    it.effect("counts a call once, however often it is tried", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ trip: CircuitBreaker.consecutive(3) })
        const retry = Retry.make({ times: 5, base: "1 milli" })
        const call = Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(Effect.exit(retry(breaker("key")(fail))))
          yield* TestClock.adjust("100 millis")
          yield* Fiber.join(fiber)
        })
        yield* call
        yield* call
        const state = yield* breaker.inspect("key")
        assert.strictEqual(state._tag === "Closed" && state.failures, 2)
        // A dependency that fails all callers still opens it.
        yield* call
        assert.strictEqual((yield* breaker.inspect("key"))._tag, "Open")
      }).pipe(inMemory))

    it.effect("gives the slot back when the classifier throws", () =>
      Effect.gen(function*() {
        let thrown = 0
        const breaker = yield* make({
          classify: (exit) => {
            if (Exit.isSuccess(exit)) {
              thrown++
              throw new Error("classifier")
            }
            return { _tag: "Failure", retryable: true }
          }
        })
        yield* opened(breaker)
        yield* openTime
        const exit = yield* Effect.exit(breaker("key")(ok))
        assert.isTrue(Exit.hasDies(exit))
        assert.strictEqual(thrown, 1)
        assert.deepStrictEqual(yield* breaker.inspect("key"), unused)
      }).pipe(inMemory))

    it.effect("lets the dependency's hint lengthen the opening", () =>
      Effect.gen(function*() {
        const breaker = yield* make()
        const busy = Effect.fail(new Fault({ retryAfter: Duration.seconds(20) }))
        yield* Effect.exit(breaker("key")(busy))
        yield* Effect.exit(breaker("key")(busy))
        const state = yield* breaker.inspect("key")
        assert.deepStrictEqual(state._tag === "Open" && state.retryAfter, Duration.seconds(20))
      }).pipe(inMemory))

    it.effect("measures how slow a call is from when it began to run", () =>
      Effect.gen(function*() {
        const { behaviour, layer } = yield* watched
        const breaker = yield* SharedCircuitBreaker.make({
          trip: CircuitBreaker.consecutiveSlow(1),
          slowAfter: "1 second"
        }).pipe(Effect.provide(layer))
        const after = Effect.fnUntraced(function*(millis: number) {
          const call = yield* Effect.forkChild(breaker("key")(Effect.sleep(millis)))
          yield* TestClock.adjust(500)
          yield* TestClock.adjust(millis)
          yield* Fiber.join(call)
          yield* TestClock.adjust(500)
          return (yield* breaker.inspect("key"))._tag
        })
        // The time that the store takes is none of the call's.
        behaviour.around = Effect.delay(500)
        assert.strictEqual(yield* after(999), "Closed")
        behaviour.around = (request) => request
        assert.strictEqual(yield* after(1_000), "Open")
      }))

    it.effect("takes the n-th delay of a schedule for the n-th opening in a row", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ openDuration: Schedule.exponential("1 second") })
        const lengths: Array<unknown> = []
        yield* Effect.exit(breaker("key")(fail))
        for (let i = 0; i < 4; i++) {
          yield* Effect.exit(breaker("key")(fail))
          const state = yield* breaker.inspect("key")
          if (state._tag !== "Open") return assert.fail(state._tag)
          lengths.push(Duration.toSeconds(state.retryAfter))
          yield* TestClock.adjust(state.retryAfter)
        }
        assert.deepStrictEqual(lengths, [1, 2, 4, 8])
      }).pipe(inMemory))
  })

  describe("callers", () => {
    it.effect("runs as many probes as it may of a thousand calls at once", () =>
      Effect.gen(function*() {
        const breaker = yield* make({ probes: 3 })
        yield* opened(breaker)
        yield* openTime
        const call = breaker("key")(Effect.sleep("1 second"))
        const calls = yield* Effect.forkChild(
          Effect.all(Array.from({ length: 1_000 }, () => Effect.exit(call)), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("1 second")
        const exits = yield* Fiber.join(calls)
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 3)
        assert.strictEqual(exits.filter((exit) => rejection(exit)?.state === "half-open").length, 997)
        assert.strictEqual((yield* breaker.inspect("key"))._tag, "Closed")
      }).pipe(inMemory))

    it.effect("loses no probe and leaves no fiber, wherever a call is interrupted", () =>
      interruptEverywhere({
        setup: Effect.gen(function*() {
          const { behaviour, layer } = yield* watched
          const breaker = yield* make().pipe(Effect.provide(layer))
          yield* opened(breaker)
          yield* openTime
          behaviour.around = Effect.delay(10)
          return breaker
        }),
        run: (breaker) => breaker("key")(Effect.sleep("1 second")),
        check: (breaker) =>
          Effect.gen(function*() {
            // What is asked and told in the background takes its time.
            for (let i = 0; i < 3; i++) yield* TestClock.adjust(10)
            const state = yield* breaker.inspect("key")
            assert.isTrue(state._tag === "Closed" || (state._tag === "HalfOpen" && state.running === 0))
          })
      }), 60_000)

    it.effect("loses no probe to a caller that waits for another one's answer", () =>
      interruptEverywhere({
        setup: Effect.gen(function*() {
          const { behaviour, layer } = yield* watched
          const breaker = yield* make({ probes: 2 }).pipe(Effect.provide(layer))
          yield* opened(breaker)
          yield* openTime
          behaviour.around = Effect.delay(10)
          return breaker
        }),
        beside: (breaker) => Effect.asVoid(Effect.exit(breaker("key")(ok))),
        run: (breaker) => breaker("key")(Effect.never),
        check: (breaker) =>
          Effect.gen(function*() {
            for (let i = 0; i < 4; i++) yield* TestClock.adjust(10)
            const state = yield* breaker.inspect("key")
            assert.isTrue(state._tag === "HalfOpen" && state.running === 0)
          }),
        budgets: [3, 4, 5, 7, 11, 16, 32, 64]
      }), 60_000)
  })

  describe("stream", () => {
    it.effect("is one call, judged by its end", () =>
      Effect.gen(function*() {
        const breaker = yield* make()
        const items = yield* Stream.runCollect(breaker("key").stream(Stream.make(1, 2, 3)))
        assert.deepStrictEqual(items, [1, 2, 3])
        const broken = breaker("key").stream(Stream.concat(Stream.make(1), Stream.fail(new Fault({}))))
        yield* Effect.exit(Stream.runDrain(broken))
        yield* Effect.exit(Stream.runDrain(broken))
        const exit = yield* Effect.exit(Stream.runDrain(broken))
        assert.strictEqual(rejection(exit)?.state, "open")
      }).pipe(inMemory))

    it.effect("gives the probe back when its consumer is interrupted", () =>
      Effect.gen(function*() {
        const breaker = yield* make()
        yield* opened(breaker)
        yield* openTime
        const consumer = yield* Effect.forkChild(Stream.runDrain(breaker("key").stream(Stream.never)), {
          startImmediately: true
        })
        const running = yield* breaker.inspect("key")
        assert.strictEqual(running._tag === "HalfOpen" && running.running, 1)
        yield* Fiber.interrupt(consumer)
        assert.deepStrictEqual(yield* breaker.inspect("key"), unused)
      }).pipe(inMemory))
  })

  describe("settings", () => {
    it.effect("change while calls run; what is left out stays", () =>
      Effect.gen(function*() {
        const breaker = yield* make()
        yield* Effect.exit(breaker("key")(fail))
        yield* breaker.update({ trip: CircuitBreaker.consecutive(3) })
        yield* Effect.exit(breaker("key")(fail))
        assert.strictEqual((yield* breaker.inspect("key"))._tag, "Closed")
        yield* Effect.exit(breaker("key")(fail))
        const state = yield* breaker.inspect("key")
        assert.deepStrictEqual(state._tag === "Open" && state.retryAfter, Duration.seconds(1))
      }).pipe(inMemory))

    it.effect("are refused when they are out of their bounds", () =>
      Effect.gen(function*() {
        assert.throws(() => SharedCircuitBreaker.make({ probes: 0 }), /SharedCircuitBreaker.make: probes must be/)
        assert.throws(() => SharedCircuitBreaker.make({ storeTimeout: 0 }), /storeTimeout must be a finite duration/)
        assert.throws(() => SharedCircuitBreaker.make({ maxStaleness: -1 }), /maxStaleness must be a duration/)
        assert.throws(() => SharedCircuitBreaker.make({ storeRetry: -1 }), /storeRetry must be a duration/)
        assert.throws(
          () => SharedCircuitBreaker.make({ trip: CircuitBreaker.countWindow({ size: 10_001 }) }),
          /trip.size must be at most 10,000 in a shared circuit, got 10001/
        )
        yield* SharedCircuitBreaker.make({ trip: CircuitBreaker.countWindow({ size: 10_000 }) })
        const breaker = yield* make()
        assert.throws(() => breaker.update({ probes: 0 }), /SharedCircuitBreaker.update: probes must be/)
        assert.throws(() => breaker.open("key", 0), /SharedCircuitBreaker.open: duration must be/)
        assert.throws(() => CircuitBreakerStore.layerStoreMemory({ idleTimeToLive: 0 }), /idleTimeToLive must be/)
        assert.throws(() => CircuitBreakerStore.layerStoreRedis({ prefix: "a{b" }), /prefix must be/)
        assert.throws(() => CircuitBreakerStore.layerStoreRedis({ manualTimeToLive: 0 }), /manualTimeToLive must be/)
      }).pipe(inMemory))
  })

  describe("noop", () => {
    it.effect("lets everything through", () =>
      Effect.gen(function*() {
        const { noop } = SharedCircuitBreaker
        for (let i = 0; i < 20; i++) yield* Effect.exit(noop("key")(fail))
        assert.strictEqual(yield* noop("key")(ok), "ok")
        yield* noop.isolate("key")
        assert.strictEqual(yield* noop("key")(ok), "ok")
        assert.deepStrictEqual(yield* noop.inspect("key"), { _tag: "Disabled", openings: 0 })
        assert.deepStrictEqual(yield* Stream.runCollect(noop.events), [])
      }))
  })
})
