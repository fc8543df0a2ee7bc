import { CircuitBreaker, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { begin, closed, fail, halfOpen, halfOpened, ok, open, opened, tagOf, times } from "./support/breaker.ts"

const shadowed = (state: CircuitBreaker.State): CircuitBreaker.State =>
  "shadow" in state ? { ...state, shadow: true } : state

describe("CircuitBreaker", () => {
  describe("open by hand", () => {
    it.effect("rejects for as long as told, then probes", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.open("5 seconds")
        assert.deepStrictEqual(yield* breaker.inspect, open("5 seconds"))
        yield* TestClock.adjust(4_999)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(breaker(ok))))
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
        yield* breaker(ok)
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))

    it.effect("lasts as long as the next opening would unless told, and may pass its maximum when told", () =>
      Effect.gen(function*() {
        const breaker = yield* opened({ openDuration: "20 seconds", maxOpenDuration: "20 seconds" })
        yield* breaker.open()
        assert.deepStrictEqual(yield* breaker.inspect, open("20 seconds", 2))
        yield* breaker.open("1 hour")
        assert.deepStrictEqual(yield* breaker.inspect, open("1 hour", 3))
      }))

    it.effect("makes the results of calls under way void", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        const probe = yield* begin(breaker)
        yield* breaker.open()
        yield* probe.succeed
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("refuses what is no finite time above zero", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        const message = "CircuitBreaker.open: duration must be a finite duration above zero"
        assert.throws(() => breaker.open(0), RangeError, message)
        assert.throws(() => breaker.open("Infinity"), RangeError, message)
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))
  })

  describe("close by hand", () => {
    it.effect("lets everybody through and forgets all", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 2, openDuration: "10 seconds" })
        yield* breaker.open()
        yield* breaker.open()
        yield* breaker.close
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1))
        yield* breaker.close
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        yield* times(2, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("10 seconds", 1))
      }))
  })

  describe("isolate", () => {
    it.effect("rejects everybody until told otherwise, and says so", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ name: "catalogue" })
        yield* breaker.isolate
        yield* TestClock.adjust("365 days")
        const error = yield* Effect.flip(breaker(ok))
        assert.strictEqual(error.state, "isolated")
        assert.strictEqual(error.message, "Circuit breaker \"catalogue\" is isolated by hand")
        assert.deepStrictEqual(error[Outcome.key], Outcome.ignored({ executed: false }))
        assert.deepStrictEqual(yield* breaker.inspect, { _tag: "Isolated" })
        assert.isFalse(yield* breaker.peek)
        yield* breaker.automatic
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        assert.strictEqual(yield* breaker(ok), "ok")
      }))

    it.effect("rejects a stream without pulling it", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.isolate
        const error = yield* Effect.flip(Stream.runDrain(breaker.stream(Stream.make(1))))
        assert.strictEqual(error.state, "isolated")
      }))

    it.effect("ends by close, and by open", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.isolate
        yield* breaker.close
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        yield* breaker.isolate
        yield* breaker.open("1 second")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* breaker(ok), "ok")
      }))

    it.effect("makes the results of calls under way void", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const call = yield* begin(breaker)
        yield* breaker.isolate
        yield* breaker.automatic
        yield* call.fail
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))
  })

  describe("disable", () => {
    it.effect("lets everybody through and counts nothing", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        yield* breaker.disable
        yield* times(100, breaker(fail))
        assert.strictEqual(yield* breaker(ok), "ok")
        assert.deepStrictEqual(yield* breaker.inspect, { _tag: "Disabled" })
        assert.isTrue(yield* breaker.peek)
        const late = yield* begin(breaker)
        yield* breaker.automatic
        yield* late.fail
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))
  })

  describe("shadow", () => {
    it.effect("goes through all states and rejects nobody", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 2 })
        yield* breaker.shadow
        yield* times(2, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, shadowed(open("30 seconds")))
        assert.isTrue(yield* breaker.peek)
        assert.strictEqual(yield* breaker(ok), "ok")
        yield* times(5, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, shadowed(open("30 seconds")))
        yield* TestClock.adjust("30 seconds")
        const probe = yield* begin(breaker)
        yield* times(5, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, shadowed(halfOpen(1, 0)))
        assert.isTrue(yield* breaker.peek)
        yield* probe.succeed
        assert.deepStrictEqual(yield* breaker.inspect, shadowed(closed(0, 0)))
      }))

    it.effect("begins and ends without a change of the state", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        yield* breaker.shadow
        assert.strictEqual(yield* breaker(ok), "ok")
        yield* breaker.automatic
        assert.deepStrictEqual(yield* breaker.inspect, open("30 seconds"))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(breaker(ok))))
        yield* breaker.close
        const call = yield* begin(breaker)
        yield* breaker.shadow
        yield* call.succeed
        assert.deepStrictEqual(yield* breaker.inspect, shadowed(closed(1, 0)))
      }))

    it.effect("ends by isolate and disable, and begins closed after them", () =>
      Effect.gen(function*() {
        for (const held of ["isolate", "disable"] as const) {
          const breaker = yield* opened()
          yield* breaker.shadow
          yield* breaker[held]
          assert.strictEqual(yield* tagOf(breaker), held === "isolate" ? "Isolated" : "Disabled")
          assert.strictEqual(yield* breaker.peek, held === "disable")
          assert.strictEqual(Exit.isSuccess(yield* Effect.exit(breaker(ok))), held === "disable")
          yield* breaker.shadow
          assert.deepStrictEqual(yield* breaker.inspect, shadowed(closed(0, 0)))
        }
      }))

    it.effect("stays when it is opened or closed by hand", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.shadow
        yield* breaker.open("1 second")
        assert.deepStrictEqual(yield* breaker.inspect, shadowed(open("1 second")))
        yield* breaker.close
        assert.deepStrictEqual(yield* breaker.inspect, shadowed(closed(0, 0)))
      }))
  })

  describe("peek", () => {
    it.effect("says what the next call would find, to the millisecond", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        assert.isTrue(yield* breaker.peek)
        yield* breaker.open("5 seconds")
        assert.isFalse(yield* breaker.peek)
        yield* TestClock.adjust(4_999)
        assert.isFalse(yield* breaker.peek)
        yield* TestClock.adjust(1)
        assert.isTrue(yield* breaker.peek)
      }))

    it.effect("takes no probe slot and changes no state", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        const before = yield* breaker.export
        assert.isTrue(yield* breaker.peek)
        assert.isTrue(yield* breaker.peek)
        assert.deepStrictEqual(yield* breaker.export, before)
      }))
  })

  describe("an answer", () => {
    it.effect("is that of the state in which the call came", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        const probe = yield* begin(breaker)
        const waiting = yield* Effect.flip(breaker(ok))
        assert.strictEqual(waiting.state, "half-open")
        assert.isUndefined(waiting.retryAfter)
        yield* breaker.isolate
        assert.strictEqual((yield* Effect.flip(breaker(ok))).state, "isolated")
        yield* breaker.open("5 seconds")
        const rejected = yield* Effect.flip(breaker(ok))
        assert.strictEqual(rejected.state, "open")
        assert.deepStrictEqual(rejected.retryAfter, Duration.seconds(5))
        yield* probe.interrupt
      }))

    it.effect("tells the time that is left, in whole milliseconds", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.open("1500 micros")
        const left = Effect.map(Effect.flip(breaker(ok)), ({ retryAfter }) => retryAfter)
        assert.deepStrictEqual(yield* left, Duration.millis(2))
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* left, Duration.millis(1))
        assert.deepStrictEqual(yield* breaker.inspect, open("1 millis"))
      }))

    it.effect("is one and the same for all who come within a millisecond", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        const first = yield* Effect.flip(breaker(ok))
        assert.strictEqual(yield* Effect.flip(breaker(ok)), first)
        yield* TestClock.adjust(1)
        assert.notStrictEqual(yield* Effect.flip(breaker(ok)), first)
      }))

    it.effect("survives its schema in each state", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ name: "catalogue" })
        const answered = Effect.gen(function*() {
          const error = yield* Effect.flip(breaker(ok))
          const encoded = yield* Schema.encodeEffect(CircuitBreaker.CircuitOpen)(error)
          const decoded = yield* Schema.decodeUnknownEffect(CircuitBreaker.CircuitOpen)(encoded)
          assert.strictEqual(decoded.message, error.message)
          return decoded.state
        })
        yield* begin(breaker)
        assert.strictEqual(yield* answered, "half-open")
        yield* breaker.isolate
        assert.strictEqual(yield* answered, "isolated")
        yield* breaker.open("5 seconds")
        assert.strictEqual(yield* answered, "open")
      }))

    it.effect("names the breaker, which is the default one unless told", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.isolate
        assert.strictEqual((yield* Effect.flip(breaker(ok))).breaker, "default")
      }))
  })

  describe("noop", () => {
    it.effect("exports a state that disables whoever goes on from it", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        yield* breaker.import(yield* CircuitBreaker.noop.export)
        assert.deepStrictEqual(yield* breaker.inspect, { _tag: "Disabled" })
        assert.deepStrictEqual(yield* breaker.export, yield* CircuitBreaker.noop.export)
      }))

    it.effect("lets everything through whatever it is told", () =>
      Effect.gen(function*() {
        const breaker = CircuitBreaker.noop
        yield* breaker.isolate
        yield* breaker.open("1 hour")
        yield* breaker.update({ probes: 3 })
        yield* breaker.close
        yield* breaker.disable
        yield* breaker.shadow
        yield* breaker.automatic
        yield* breaker.import(yield* breaker.export)
        yield* times(100, breaker(fail))
        assert.strictEqual(yield* breaker(ok), "ok")
        assert.deepStrictEqual(yield* Stream.runCollect(breaker.stream(Stream.make(1, 2))), [1, 2])
        assert.deepStrictEqual(yield* breaker.inspect, { _tag: "Disabled" })
        assert.isTrue(yield* breaker.peek)
        assert.deepStrictEqual(yield* Stream.runCollect(breaker.events), [])
      }))
  })
})
