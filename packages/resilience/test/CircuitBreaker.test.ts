import { CircuitBreaker, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { begin, closed, fail, halfOpen, halfOpened, ok, open, opened, times } from "./support/breaker.ts"

describe("CircuitBreaker", () => {
  describe("closed", () => {
    it.effect("passes results and errors on as they are", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        const fault = new Fault({})
        assert.strictEqual(yield* breaker(ok), "ok")
        assert.strictEqual(yield* Effect.flip(breaker(Effect.fail(fault))), fault)
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 1))
      }))

    it.effect("opens at the tenth call and not before", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* times(9, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(9, 9))
        yield* times(1, breaker(fail))
        assert.strictEqual((yield* breaker.inspect)._tag, "Open")
      }))

    it.effect("opens at half of the calls and not below", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* times(6, breaker(ok))
        yield* times(5, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(11, 5))
        yield* times(1, breaker(fail))
        assert.strictEqual((yield* breaker.inspect)._tag, "Open")
      }))

    it.effect("forgets calls that have left the window", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* times(9, breaker(fail))
        yield* TestClock.adjust("9 seconds")
        assert.deepStrictEqual(yield* breaker.inspect, closed(9, 9))
        yield* TestClock.adjust("1 second")
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1))
      }))

    it.effect("counts a defect as a failure", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const exit = yield* Effect.exit(breaker(Effect.die("boom")))
        assert.deepStrictEqual(exit, Exit.die("boom"))
        assert.strictEqual((yield* breaker.inspect)._tag, "Open")
      }))

    it.effect("counts neither ignored errors nor interruptions", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        yield* times(3, breaker(Effect.fail(new Fault({ ignored: true }))))
        const fiber = yield* Effect.forkChild(breaker(Effect.never), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("judges by the classifier that it is given", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({
          minimumCalls: 1,
          classify: (exit) => Exit.isSuccess(exit) ? Outcome.failure() : Outcome.success
        })
        yield* times(5, breaker(fail))
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
        yield* times(6, breaker(ok))
        assert.strictEqual((yield* breaker.inspect)._tag, "Open")
      }))
  })

  describe("open", () => {
    it.effect("rejects at once and says when to come back", () =>
      Effect.gen(function*() {
        const breaker = yield* opened({ name: "catalogue" })
        yield* TestClock.adjust("18 seconds")
        let executions = 0
        const error = yield* Effect.flip(breaker(Effect.sync(() => executions++)))
        assert.strictEqual(error._tag, "CircuitOpen")
        assert.strictEqual(error.message, "Circuit breaker \"catalogue\" is open: retry in 12s")
        assert.deepStrictEqual(
          error[Outcome.key],
          Outcome.ignored({ retryAfter: Duration.seconds(12), executed: false })
        )
        assert.strictEqual(executions, 0)
      }))

    it.effect("stays open to the last millisecond", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        yield* TestClock.adjust(29_999)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(breaker(ok))))
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* breaker(ok), "ok")
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
      }))

    it.effect("stays open for as long as the dependency asks, within bounds", () =>
      Effect.gen(function*() {
        const openFor = Effect.fnUntraced(function*(retryAfter: Duration.Duration) {
          const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, maxOpenDuration: "2 minutes" })
          yield* Effect.exit(breaker(Effect.fail(new Fault({ retryAfter }))))
          return yield* breaker.inspect
        })
        assert.deepStrictEqual(yield* openFor(Duration.seconds(3)), open("30 seconds"))
        assert.deepStrictEqual(yield* openFor(Duration.seconds(90)), open("90 seconds"))
        assert.deepStrictEqual(yield* openFor(Duration.hours(9)), open("2 minutes"))
      }))
  })

  describe("half-open", () => {
    it.effect("closes after a good probe and opens after a bad one", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        yield* Effect.exit(breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, open("30 seconds", 2))
        yield* TestClock.adjust("30 seconds")
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("runs as many probes as told and rejects the rest at once", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 3 })
        const answer = yield* Deferred.make<string>()
        let executions = 0
        const call = Effect.suspend(() => {
          executions++
          return Deferred.await(answer)
        })
        const fibers = yield* Effect.forEach(Array.from({ length: 100 }), () =>
          Effect.forkChild(breaker(call), { startImmediately: true }))
        assert.strictEqual(executions, 3)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(3, 0))
        yield* Deferred.succeed(answer, "ok")
        const exits = yield* Fiber.awaitAll(fibers)
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 3)
        const rejected = exits.find(Exit.isFailure)
        assert.strictEqual(rejected && Cause.squash(rejected.cause) instanceof CircuitBreaker.CircuitOpen, true)
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
      }))

    it.effect("needs as many good probes as it runs", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 2 })
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 1))
        yield* breaker(ok)
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
      }))

    it.effect("gives the slot of an interrupted or ignored probe back", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        const fiber = yield* Effect.forkChild(breaker(Effect.never), { startImmediately: true })
        assert.isTrue(Exit.isFailure(yield* Effect.exit(breaker(ok))))
        yield* Fiber.interrupt(fiber)
        yield* Effect.exit(breaker(Effect.fail(new Fault({ ignored: true }))))
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
        assert.strictEqual(yield* breaker(ok), "ok")
      }))

    it.effect("gives the slot back when the classifier dies", () =>
      Effect.gen(function*() {
        let broken = false
        const breaker = yield* halfOpened({
          classify: (exit) => {
            if (broken) throw new Error("broken classifier")
            return Outcome.classify(exit)
          }
        })
        broken = true
        const exit = yield* Effect.exit(breaker(ok))
        assert.isTrue(Exit.hasDies(exit))
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
      }))
  })

  describe("eras", () => {
    it.effect("a result of an earlier era changes nothing", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const late = yield* Deferred.make<string, Fault>()
        const fiber = yield* Effect.forkChild(breaker(Deferred.await(late)), { startImmediately: true })
        yield* Effect.exit(breaker(fail))
        yield* TestClock.adjust("30 seconds")
        yield* breaker(ok)
        yield* Deferred.fail(late, new Fault({}))
        yield* Fiber.await(fiber)
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("a result of an earlier era is not even judged", () =>
      Effect.gen(function*() {
        let judged = 0
        const breaker = yield* CircuitBreaker.make({
          classify: (exit) => {
            judged++
            return Outcome.classify(exit)
          }
        })
        const late = yield* begin(breaker)
        yield* breaker.close
        yield* late.fail
        assert.strictEqual(judged, 0)
        yield* breaker(ok)
        assert.strictEqual(judged, 1)
      }))

    it.effect("a result whose era ends while it is judged changes nothing", () =>
      Effect.gen(function*() {
        const run = Effect.runSyncWith(yield* Effect.context())
        const breaker: CircuitBreaker.CircuitBreaker = yield* CircuitBreaker.make({
          minimumCalls: 1,
          classify: (exit) => {
            run(breaker.close)
            return Outcome.classify(exit)
          }
        })
        yield* Effect.exit(breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("a late probe does not close a circuit that opened again", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 2 })
        const late = yield* Deferred.make<string>()
        const fiber = yield* Effect.forkChild(breaker(Deferred.await(late)), { startImmediately: true })
        yield* Effect.exit(breaker(fail))
        yield* Deferred.succeed(late, "ok")
        yield* Fiber.await(fiber)
        assert.strictEqual((yield* breaker.inspect)._tag, "Open")
      }))
  })

  describe("stream", () => {
    const broken = Stream.concat(Stream.make(1, 2), Stream.fail(new Fault({})))

    it.effect("is one call, judged by its end", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        assert.deepStrictEqual(yield* Stream.runCollect(breaker.stream(Stream.make(1, 2, 3))), [1, 2, 3])
        yield* Effect.exit(Stream.runCollect(breaker.stream(broken)))
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 1))
      }))

    it.effect("is rejected while open without being pulled", () =>
      Effect.gen(function*() {
        const breaker = yield* opened()
        let pulled = false
        const stream = Stream.suspend(() => {
          pulled = true
          return Stream.make(1)
        })
        const error = yield* Effect.flip(Stream.runDrain(breaker.stream(stream)))
        assert.strictEqual(error._tag, "CircuitOpen")
        assert.isFalse(pulled)
      }))

    it.effect("is admitted at its first pull and not before", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        const guarded = breaker.stream(Stream.make(1))
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
        assert.strictEqual((yield* breaker.export).phase._tag, "Open")
        yield* Stream.runDrain(guarded)
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
      }))

    it.effect("counts as a success when the consumer stops after an item", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        yield* Stream.runDrain(Stream.take(breaker.stream(Stream.concat(Stream.make(1), Stream.never)), 1))
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
      }))

    it.effect("is ignored when the consumer fails or is interrupted", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        const endless = breaker.stream(Stream.concat(Stream.make(1), Stream.never))
        yield* Effect.exit(Stream.runForEach(endless, () => Effect.fail("consumer")))
        const fiber = yield* Effect.forkChild(Stream.runDrain(endless), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))
  })

  describe("options", () => {
    const refused: ReadonlyArray<readonly [CircuitBreaker.Options, string]> = [
      [{ failureRate: 3 }, "CircuitBreaker.make: failureRate must be in (0, 1], got 3"],
      [{ failureRate: 0 }, "CircuitBreaker.make: failureRate must be in (0, 1], got 0"],
      [{ minimumCalls: 0 }, "CircuitBreaker.make: minimumCalls must be an integer of at least 1, got 0"],
      [{ probes: 1.5 }, "CircuitBreaker.make: probes must be an integer of at least 1, got 1.5"],
      [{ window: 0 }, "CircuitBreaker.make: window must be a finite duration above zero, got 0"],
      [
        { openDuration: "2 minutes", maxOpenDuration: "1 minute" },
        "CircuitBreaker.make: maxOpenDuration must be at least openDuration (2m), got 1m"
      ]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => CircuitBreaker.make(options), RangeError, message)
      })
    }
  })
})
