import type { ChatError } from "@ballast/chat"
import { CircuitBreaker, Deadline, Idempotency } from "@ballast/resilience"
import { Failover } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  answered,
  answering,
  bothWays,
  chunk,
  failing,
  noBalance,
  overloaded,
  refused,
  request,
  unauthorized
} from "./support.ts"

type Both = [Result.Result<string>, Result.Result<string>]

const success = (text: string): Both => [Result.succeed(text), Result.succeed(text)]

describe("Failover", () => {
  it.effect("asks the first place and no other while it answers", () =>
    Effect.gen(function*() {
      const [first, second] = [answering("first"), answering("second")]
      assert.deepStrictEqual(yield* bothWays(Failover.make([first, second])), success("first"))
      assert.deepStrictEqual([first.calls, second.calls], [2, 0])
    }))

  it.effect("goes on to the next place after a failure that another place may not have", () =>
    Effect.gen(function*() {
      for (const error of [overloaded, unauthorized]) {
        assert.deepStrictEqual(yield* bothWays(Failover.make([failing(error), answering("second")])), success("second"))
      }
    }))

  it.effect("passes on what would be refused everywhere", () =>
    Effect.gen(function*() {
      const second = answering("second")
      const both = yield* bothWays(Failover.make([failing(refused), second]))
      assert.deepStrictEqual(both, [Result.fail(refused), Result.fail(refused)])
      assert.strictEqual(second.calls, 0)
    }))

  it.effect("fails with the first error that another try may mend when no place answers, else with the last", () =>
    Effect.gen(function*() {
      for (const places of [[overloaded, unauthorized], [unauthorized, overloaded]] as const) {
        const both = yield* bothWays(Failover.make([failing(places[0]), failing(places[1])]))
        assert.deepStrictEqual(both, [Result.fail(overloaded), Result.fail(overloaded)])
      }
      const both = yield* bothWays(Failover.make([failing(noBalance), failing(unauthorized)]))
      assert.deepStrictEqual(both, [Result.fail(unauthorized), Result.fail(unauthorized)])
    }))

  it.effect("tries no more places than its limit", () =>
    Effect.gen(function*() {
      const places = [failing(overloaded), failing(overloaded), answering("third")] as const
      const both = yield* bothWays(Failover.make(places, { limit: 2 }))
      assert.deepStrictEqual(both, [Result.fail(overloaded), Result.fail(overloaded)])
      assert.deepStrictEqual(places.map(({ calls }) => calls), [2, 2, 0])
    }))

  it.effect("goes on only within its time, also when the clock is corrected", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const first = {
        ...failing(overloaded),
        complete: () => Effect.andThen(Deferred.await(gate), Effect.fail(overloaded))
      }
      const model = Failover.make([first, answering("second")], { within: "10 seconds" })
      const fiber = yield* Effect.forkChild(Effect.result(model.complete(request)))
      yield* TestClock.adjust("11 seconds")
      yield* TestClock.setTime(0)
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Fiber.join(fiber), Result.fail(overloaded))
    }))

  it.effect("goes on only within its time, and not past the caller's deadline", () =>
    Effect.gen(function*() {
      const slow = { ...failing(overloaded), complete: () => Effect.delay(Effect.fail(overloaded), "10 seconds") }
      const run = (model: ReturnType<typeof Failover.make<ChatError.ChatError>>) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(Effect.result(model.complete(request)))
          yield* TestClock.adjust("11 seconds")
          return yield* Fiber.join(fiber)
        })
      const late = yield* run(Failover.make([slow, answering("second")], { within: "10 seconds" }))
      assert.deepStrictEqual(late, Result.fail(overloaded))
      const inTime = yield* run(Failover.make([slow, answering("second")], { within: "11 seconds" }))
      assert.isTrue(Result.isSuccess(inTime))
      const second = answering("second")
      const ended = Deadline.total("10 seconds")(Failover.make([slow, second]).complete(request))
      const fiber = yield* Effect.forkChild(Effect.result(ended))
      yield* TestClock.adjust("11 seconds")
      assert.isTrue(Result.isFailure(yield* Fiber.join(fiber)))
      assert.strictEqual(second.calls, 0)
    }))

  it.effect("passes a place with an open circuit without asking it", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ name: "first" })
      const first = answering("first")
      yield* breaker.isolate
      const guarded = { complete: () => breaker(first.complete()), stream: () => breaker.stream(first.stream()) }
      assert.deepStrictEqual(yield* bothWays(Failover.make([guarded, answering("second")])), success("second"))
      assert.strictEqual(first.calls, 0)
    }))

  it.effect("leaves a stream that has begun to its error", () =>
    Effect.gen(function*() {
      const second = answering("second")
      const cut = {
        complete: () => Effect.succeed(answered("cut")),
        stream: () => Stream.concat(Stream.make(chunk("par")), Stream.fail(overloaded))
      }
      const seen: Array<unknown> = []
      const exit = yield* Failover.make([cut, second]).stream(request).pipe(
        Stream.runForEach(({ id }) => Effect.sync(() => seen.push(id))),
        Effect.exit
      )
      assert.deepStrictEqual([seen, exit, second.calls], [["par"], Exit.fail(overloaded), 0])
    }))

  it.effect("closes a failed stream before it opens the next one", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const noted = (name: string, stream: Stream.Stream<ReturnType<typeof chunk>, ChatError.ChatError>) => ({
        complete: () => Effect.succeed(answered(name)),
        stream: () =>
          stream.pipe(
            Stream.onStart(Effect.sync(() => order.push(`open ${name}`))),
            Stream.ensuring(Effect.sync(() => order.push(`close ${name}`)))
          )
      })
      yield* Stream.runDrain(
        Failover.make([noted("first", Stream.fail(overloaded)), noted("second", Stream.make(chunk("x")))]).stream(
          request
        )
      )
      assert.deepStrictEqual(order, ["open first", "close first", "open second", "close second"])
    }))

  it.effect("ends a stream that ends without a chunk", () =>
    Effect.gen(function*() {
      const empty = { complete: () => Effect.succeed(answered("")), stream: () => Stream.empty }
      assert.deepStrictEqual(yield* Stream.runCollect(Failover.make([empty, answering("second")]).stream(request)), [])
    }))

  it.effect("gives a call that must not run twice to another place only when it was not carried out", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ name: "first" })
      yield* breaker.isolate
      const closed = { complete: () => breaker(Effect.never), stream: () => breaker.stream(Stream.never) }
      const once = Effect.provideService(Idempotency.CurrentIdempotent, false)
      assert.deepStrictEqual(
        yield* once(bothWays(Failover.make([failing(overloaded), answering("second")]))),
        [Result.fail(overloaded), Result.fail(overloaded)]
      )
      assert.deepStrictEqual(yield* once(bothWays(Failover.make([closed, answering("second")]))), success("second"))
    }))

  it.effect("interrupts the place that is asked", () =>
    Effect.gen(function*() {
      let interrupted = 0
      const hanging = {
        complete: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)),
        stream: () => Stream.fromEffect(Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)))
      }
      const model = Failover.make([failing(overloaded), hanging])
      for (const call of [model.complete(request), Stream.runDrain(model.stream(request))]) {
        const fiber = yield* Effect.forkChild(call, { startImmediately: true })
        yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      }
      assert.strictEqual(interrupted, 2)
    }))

  it.effect("does not catch defects", () =>
    Effect.gen(function*() {
      const broken = { complete: () => Effect.die("bug"), stream: () => Stream.die("bug") }
      const exit = yield* Effect.exit(Failover.make([broken, answering("second")]).complete(request))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    }))

  it.effect("says so when there is no place", () =>
    Effect.gen(function*() {
      const none = Failover.make<never, string>(() => Effect.succeed([]), {
        empty: ({ model }) => `no place for ${model}`
      })
      assert.deepStrictEqual(yield* Effect.flip(none.complete(request)), "no place for deepseek-flash")
    }))

  it("refuses options out of their bounds", () => {
    assert.throws(
      () => Failover.make([answering("a")], { limit: 0 }),
      "limit must be a whole number of at least 1, got 0"
    )
    assert.throws(() => Failover.make([answering("a")], { within: 0 }), "within must be above zero")
  })
})
