import { Outcome, RateLimiter, RateLimiterStore, SharedRateLimiter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Queue, Result, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CurrentDeadline } from "../src/internal/currentDeadline.ts"
import { metrics, withMetrics } from "./support.ts"
import { storeWith } from "./support/rate.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const settle = TestClock.adjust(0)

/** A store whose answers to `take` are under way for 100 ms. */
const slow = storeWith((store) => ({
  take: (key, spec, request) => Effect.tap(store.take(key, spec, request), () => Effect.sleep("100 millis"))
}))

const gone = new RateLimiterStore.RateLimiterStoreError({ operation: "take", cause: "gone" })
const limits = { name: "n", limit: 2, window: "1 hour" } as const

describe("SharedRateLimiter", () => {
  describe("when the store", () => {
    it.effect("fails, calls run, and a metric and an event say so", () =>
      withMetrics(Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make(limits)
        const seen = yield* Queue.unbounded<string>()
        yield* start(Stream.runForEach(limiters.events, ({ _tag }) => Queue.offer(seen, _tag)))
        yield* settle
        for (let i = 0; i < 5; i++) assert.strictEqual(yield* limiters("a")(Effect.succeed(i)), i)
        yield* settle
        const labels = "name=n,op=take,policy=shared-rate-limiter"
        assert.strictEqual((yield* metrics)[`ballast_store_errors_total{${labels}}`], 5)
        assert.deepStrictEqual(yield* Queue.takeAll(seen), Array.from({ length: 5 }, () => "StoreFailed"))
        const reservation = yield* limiters("a").reserve(2)
        yield* reservation.settle(1)
      })).pipe(storeWith(() => ({ take: () => Effect.fail(gone) }))))

    it.effect("fails, calls fail with its error when told so, which blames nobody", () =>
      Effect.gen(function*() {
        const limiter = (yield* SharedRateLimiter.make({ ...limits, onStoreError: "fail" }))("a")
        const error = yield* Effect.flip(limiter(Effect.die("ran")))
        assert.strictEqual(error, gone)
        assert.deepStrictEqual(gone[Outcome.key], Outcome.ignored({ retryable: true, executed: false }))
        assert.strictEqual(gone.message, "The store of rate limits failed to take")
      }).pipe(storeWith(() => ({ take: () => Effect.fail(gone) }))))

    it.effect("hangs, nobody waits for longer than its time, however many are in line", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ ...limits, onStoreError: "fail", storeTimeout: "200 millis" })
        const calls = yield* start(
          Effect.all(Array.from({ length: 600 }, () => Effect.flip(limiters("a")(Effect.void))), {
            concurrency: "unbounded"
          })
        )
        yield* TestClock.adjust("200 millis")
        for (const error of yield* Fiber.join(calls)) {
          assert.instanceOf(error, RateLimiterStore.RateLimiterStoreError)
        }
        assert.instanceOf(
          yield* Effect.flip(Fiber.join(
            yield* start(limiters("a").pause("1 second")).pipe(
              Effect.tap(() => TestClock.adjust("200 millis"))
            )
          )),
          RateLimiterStore.RateLimiterStoreError
        )
      }).pipe(Effect.scoped, storeWith(() => ({ take: () => Effect.never, hold: () => Effect.never }))))

    it.effect("dies, so do the calls when it is not to be overrun, and nobody is left in line", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ ...limits, onStoreError: "fail" })
        const cause = yield* Effect.sandbox(limiters("a")(Effect.void)).pipe(Effect.flip)
        assert.strictEqual(cause.reasons[0]?._tag, "Die")
        assert.deepStrictEqual(yield* limiters.inspect, { keys: 0, queued: 0, leased: 0 })
      }).pipe(storeWith(() => ({ take: () => Effect.die("broken") }))))

    it.effect("throws, that is a defect like any other, and nobody is left in line", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ ...limits, onStoreError: "fail" })
        for (let call = 0; call < 2; call++) {
          const fiber = yield* start(Effect.sandbox(limiters("a")(Effect.void)).pipe(Effect.flip))
          yield* settle
          assert.strictEqual((yield* Fiber.join(fiber)).reasons[0]?._tag, "Die")
        }
        assert.deepStrictEqual(yield* limiters.inspect, { keys: 0, queued: 0, leased: 0 })
      }).pipe(storeWith(() => ({
        take: () => {
          throw new Error("broken")
        }
      }))))

    it.effect("hangs while more is leased, nobody waits for longer than its time", () =>
      Effect.gen(function*() {
        const asked = { takes: 0 }
        yield* Effect.gen(function*() {
          const limiter = (yield* SharedRateLimiter.make({ ...limits, limit: 10, lease: { size: 2 } }))("a")
          yield* limiter(Effect.void)
          yield* limiter(Effect.void)
          yield* limiter(Effect.void)
          const call = yield* start(limiter(Effect.void))
          yield* TestClock.adjust("1 second")
          const exit = call.pollUnsafe()
          yield* TestClock.adjust("1 second")
          assert.isDefined(exit)
        }).pipe(storeWith((store) => ({
          take: (key, spec, request) => asked.takes++ === 0 ? store.take(key, spec, request) : Effect.never
        })))
      }))

    it.effect("answers late, what it took for nobody is given back, and what calls ran on stays taken", () =>
      Effect.gen(function*() {
        for (const onStoreError of ["fail", "allow"] as const) {
          const gate = yield* Deferred.make<void>()
          yield* Effect.gen(function*() {
            const limiter = (yield* SharedRateLimiter.make({ ...limits, onStoreError }))("a")
            const call = yield* start(Effect.exit(limiter(Effect.void)))
            yield* TestClock.adjust("1 second")
            assert.isDefined(call.pollUnsafe())
            assert.strictEqual((yield* limiter.peek()).available, 1)
            yield* Deferred.succeed(gate, undefined)
            yield* settle
            assert.strictEqual((yield* limiter.peek()).available, onStoreError === "fail" ? 2 : 1)
          }).pipe(
            Effect.scoped,
            storeWith((store) => ({
              take: (key, spec, request) => Effect.tap(store.take(key, spec, request), () => Deferred.await(gate))
            }))
          )
        }
      }))

    it.effect("decides while the limiter is closed, what it took is given back, leased or not", () =>
      Effect.gen(function*() {
        for (const lease of [undefined, { size: 1 }]) {
          yield* Effect.gen(function*() {
            const scope = yield* Scope.make()
            const options = { ...limits, limit: 3 }
            const limiters = yield* Effect.provideService(
              SharedRateLimiter.make({ ...options, lease }),
              Scope.Scope,
              scope
            )
            const call = yield* start(Effect.exit(limiters("a")(Effect.die("ran"))))
            const stream = limiters("a").stream(Stream.die("ran"))
            const pull = yield* start(Effect.exit(Stream.runDrain(stream)))
            const closing = yield* start(Scope.close(scope, Exit.void))
            yield* settle
            for (const fiber of [call, pull]) assert.isTrue(Exit.hasInterrupts(yield* Fiber.join(fiber)))
            yield* TestClock.adjust("300 millis")
            assert.isDefined(closing.pollUnsafe())
            const other = yield* SharedRateLimiter.make(options)
            assert.strictEqual((yield* other("a").peek()).available, 3)
          }).pipe(storeWith((store) => ({
            take: (key, spec, request) => Effect.tap(store.take(key, spec, request), () => Effect.sleep("100 millis")),
            giveBack: (key, spec, weight, at) => Effect.delay(store.giveBack(key, spec, weight, at), "100 millis")
          })))
        }
      }))

    it.effect("hangs while the limiter is closed, that takes no longer than its time", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const limiters = yield* Effect.provideService(SharedRateLimiter.make(limits), Scope.Scope, scope)
        yield* start(Effect.exit(limiters("a")(Effect.void)))
        const closing = yield* start(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("1 second")
        assert.isDefined(closing.pollUnsafe())
      }).pipe(storeWith(() => ({ take: () => Effect.never }))))

    it.effect("leases while this process pauses or blocks it, that is given back", () =>
      Effect.gen(function*() {
        for (const hold of ["pause", "block"] as const) {
          const limiters = yield* SharedRateLimiter.make({ ...limits, limit: 20, lease: { size: 10 } })
          const limiter = limiters(hold)
          const calls = Array.from({ length: 12 }, () => Effect.exit(limiter(Effect.void)))
          const first = yield* start(calls[0] ?? Effect.never)
          yield* limiter[hold]("1 minute")
          yield* TestClock.adjust("100 millis")
          assert.strictEqual((yield* limiters.inspect).leased, 0)
          const rest = yield* start(Effect.all(calls, { concurrency: "unbounded" }))
          yield* TestClock.adjust("200 millis")
          const exits = [yield* Fiber.join(first), ...yield* Fiber.join(rest)]
          assert.deepStrictEqual(exits.filter(Exit.isSuccess), [])
          assert.strictEqual((yield* limiter.peek()).available, 20)
        }
      }).pipe(slow))

    it.effect("leases while this process changes its settings, that is given back", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ ...limits, limit: 20, lease: { size: 10 } })
        const call = yield* start(limiters("a")(Effect.void))
        yield* limiters.update({ limit: 5 })
        yield* TestClock.adjust("100 millis")
        yield* Fiber.join(call)
        assert.strictEqual((yield* limiters.inspect).leased, 0)
      }).pipe(slow))

    it.effect("admits calls while this process pauses it, they start after the pause and in their order", () =>
      Effect.gen(function*() {
        const limiter = (yield* SharedRateLimiter.make({ ...limits, limit: 3, maxWait: "2 minutes" }))("a")
        const started: Array<string> = []
        const note = (name: string) => Effect.sync(() => void started.push(name))
        yield* start(limiter(note("call")))
        yield* start(Stream.runDrain(limiter.stream(Stream.fromEffect(note("stream")))))
        yield* TestClock.adjust("50 millis")
        yield* limiter.pause("1 minute")
        yield* start(limiter(note("later")))
        yield* TestClock.adjust("59 seconds")
        assert.deepStrictEqual(started, [])
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(started, ["call", "stream", "later"])
        assert.strictEqual((yield* limiter.peek()).available, 0)
      }).pipe(slow))

    it.effect("admits a call while this process pauses it for less time than the answer takes, it starts at once", () =>
      Effect.gen(function*() {
        const limiter = (yield* SharedRateLimiter.make(limits))("a")
        for (const last of ["over", "ended"]) {
          const call = yield* start(limiter(Effect.succeed("ran")))
          yield* limiter.pause(last === "over" ? "99 millis" : "1 minute")
          if (last === "ended") yield* limiter.resume
          yield* TestClock.adjust("100 millis")
          assert.strictEqual(yield* Fiber.join(call), "ran")
        }
      }).pipe(slow))

    it.effect("decides while this process ends a pause or block, no call is rejected for that", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make(limits)
        for (const [hold, release] of [["pause", "resume"], ["block", "unblock"]] as const) {
          const limiter = limiters(hold)
          yield* limiter[hold]("1 minute")
          const before = yield* start(limiter(Effect.succeed("ran")))
          yield* limiter[release]
          const after = yield* start(limiter(Effect.succeed("ran")))
          yield* TestClock.adjust("300 millis")
          for (const fiber of [before, after]) assert.strictEqual(yield* Fiber.join(fiber), "ran")
        }
      }).pipe(slow))

    it.effect("holds after its time or after who asked for it has left, this process knows of it", () =>
      Effect.gen(function*() {
        for (const leave of [true, false]) {
          const limiters = yield* SharedRateLimiter.make({ ...limits, limit: 20, lease: { size: 10 } })
          const limiter = limiters(`${leave}`)
          yield* limiter(Effect.void)
          const pause = yield* start(limiter.pause("1 minute"))
          if (leave) yield* Fiber.interrupt(pause)
          assert.strictEqual((yield* limiters.inspect).leased, 10)
          yield* TestClock.adjust("2 seconds")
          assert.isTrue(Exit.isFailure(yield* Fiber.await(pause)))
          assert.strictEqual((yield* limiters.inspect).leased, 0)
        }
      }).pipe(storeWith((store) => ({
        hold: (key, kind, millis) => Effect.tap(store.hold(key, kind, millis), () => Effect.sleep("2 seconds"))
      }))))

    it.effect("decides while a call leaves, what it took for the call is given back", () =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        yield* Effect.gen(function*() {
          const limiter = (yield* SharedRateLimiter.make(limits))("a")
          const call = yield* start(limiter.weigh(2)(Effect.void))
          const next = yield* start(limiter(Effect.void))
          yield* Fiber.interrupt(call)
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          yield* Fiber.join(next)
          assert.strictEqual((yield* limiter.peek()).available, 1)
        }).pipe(
          Effect.scoped,
          storeWith((store) => ({
            take: (key, spec, request) => Effect.tap(store.take(key, spec, request), () => Deferred.await(gate))
          }))
        )
      }))
  })

  describe("while the store is asked", () => {
    const crowd = (limiter: SharedRateLimiter.Limiter, calls: number, weight = 1) =>
      Effect.forEach(
        Array.from({ length: calls }, (_, call) => call),
        (call) =>
          start(Effect.result(
            call % 2 === 0
              ? limiter.weigh(weight)(Effect.void)
              : Stream.runDrain(limiter.weigh(weight).stream(Stream.empty))
          ))
      )
    const reasons = (fibers: ReadonlyArray<Fiber.Fiber<Result.Result<void, SharedRateLimiter.Rejection>>>) =>
      Effect.map(Effect.forEach(fibers, Fiber.join), (results) => {
        const counts = { ran: 0, limit: 0, queue: 0 }
        for (const result of results) {
          if (Result.isSuccess(result)) counts.ran++
          else {
            assert.instanceOf(result.failure, RateLimiter.RateLimitExceeded)
            const { because } = result.failure
            if (because === "limit" || because === "queue") counts[because]++
          }
        }
        return counts
      })

    it.effect("calls that come are bounded, beyond as many as the limit lets start at once", () =>
      Effect.gen(function*() {
        const limiters = yield* SharedRateLimiter.make({ ...limits, maxQueue: 10, maxWait: Duration.infinity })
        const fibers = yield* crowd(limiters("a"), 10_000)
        // One is asked for, and ten more are in line.
        assert.strictEqual((yield* limiters.inspect).queued, 11)
        assert.strictEqual(fibers.filter((fiber) => fiber.pollUnsafe() !== undefined).length, 9_989)
        yield* Effect.forEach(fibers.slice(0, 11), Fiber.interrupt)
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(yield* reasons(fibers.slice(11)), { ran: 0, limit: 0, queue: 9_989 })
      }).pipe(slow))

    it.effect("with no queue at all, all run that the limit has room for", () =>
      Effect.gen(function*() {
        for (const weight of [1, 0.25, 3]) {
          const limiters = yield* SharedRateLimiter.make({
            ...limits,
            algorithm: "fixed-window",
            limit: 900,
            maxQueue: 0
          })
          const fibers = yield* crowd(limiters(`${weight}`), 1_000 / weight, weight)
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual((yield* reasons(fibers)).ran, 900 / weight)
        }
      }).pipe(slow))
  })

  const within = <A, E, R>(self: Effect.Effect<A, E, R>, millis: number) =>
    Effect.clockWith((clock) =>
      Effect.provideService(self, CurrentDeadline, Number(clock.monotonicTimeNanosUnsafe()) / 1e6 + millis)
    )

  it.effect("does not wait past the caller's deadline", () =>
    Effect.gen(function*() {
      const options = { ...limits, window: "2 seconds", maxWait: "1 hour" } as const
      const limiter = (yield* SharedRateLimiter.make(options))("a")
      yield* limiter.weigh(2)(Effect.void)
      const call = limiter(Effect.succeed("ran"))
      assert.instanceOf(yield* Effect.flip(within(call, 999)), RateLimiter.RateLimitExceeded)
      const waiting = yield* start(within(call, 1_000))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(waiting), "ran")
    }).pipe(storeWith(() => ({}))))

  it.effect("does not wait for the store past the caller's deadline, and gives back what was taken for nobody", () =>
    Effect.gen(function*() {
      const limiter = (yield* SharedRateLimiter.make({ ...limits, limit: 3, maxWait: "1 hour" }))("a")
      const late = yield* start(Effect.flip(within(limiter(Effect.die("ran")), 100)))
      // Impatient, and in line behind one that has all the time: it may come before the store has decided, but not too late.
      const patient = yield* start(limiter(Effect.succeed("ran")))
      const impatient = yield* start(within(limiter(Effect.succeed("ran")), 700))
      yield* TestClock.adjust(99)
      assert.isUndefined(late.pollUnsafe())
      yield* TestClock.adjust(1)
      const error = yield* Fiber.join(late)
      assert.instanceOf(error, RateLimiter.RateLimitExceeded)
      assert.deepStrictEqual([error.because, error.retryAfter], ["limit", Duration.infinity])
      yield* TestClock.adjust(900)
      assert.strictEqual(yield* Fiber.join(patient), "ran")
      assert.instanceOf(yield* Effect.flip(Fiber.join(impatient)), RateLimiter.RateLimitExceeded)
      yield* TestClock.adjust(500)
      assert.strictEqual((yield* limiter.peek()).available, 2)
    }).pipe(storeWith((store) => ({
      take: (key, spec, request) => Effect.delay(store.take(key, spec, request), "500 millis")
    }))))

  /** 300 patient calls of which one may start in a millisecond, then one with a deadline and two that wait for half a second. */
  const behindMany = Effect.gen(function*() {
    const options = { ...limits, limit: 1_000, window: "1 second", maxWait: "100 seconds", maxQueue: Infinity } as const
    const other = yield* SharedRateLimiter.make(options)
    yield* other("a").penalize(1_000)
    const limiters = yield* SharedRateLimiter.make(options)
    yield* Effect.forEach(Array.from({ length: 300 }, () => limiters("a")(Effect.void)), start)
    const rest = Effect.gen(function*() {
      yield* limiters.update({ maxWait: "500 millis" })
      const first = yield* start(Effect.flip(within(limiters("a")(Effect.void), 400)))
      return [
        first,
        yield* start(Effect.flip(limiters("a")(Effect.void))),
        yield* start(Effect.flip(Stream.runDrain(limiters("a").stream(Stream.empty))))
      ]
    })
    return { hold: other("a").penalize(900), rest }
  })

  it.effect("keeps maxWait behind a call with a deadline, however many are before it", () =>
    Effect.gen(function*() {
      const { hold, rest } = yield* behindMany
      yield* settle
      const fibers = yield* rest
      yield* hold
      yield* TestClock.adjust("400 millis")
      assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe() !== undefined), [true, false, false])
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe() !== undefined), [true, true, true])
    }).pipe(storeWith(() => ({}))))

  it.effect("keeps maxWait of a call that comes while the store is asked, however many are before it", () =>
    Effect.gen(function*() {
      const { hold, rest } = yield* behindMany
      const fibers = yield* rest
      yield* hold
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe() !== undefined), [true, true, true])
      yield* TestClock.adjust("2 seconds")
    }).pipe(storeWith((store) => ({
      take: (key, spec, request) => Effect.delay(store.take(key, spec, request), "10 millis")
    }))))

  it.effect("turns all away at once of whom it is known that they would wait for too long", () =>
    Effect.gen(function*() {
      const limiters = yield* SharedRateLimiter.make({
        ...limits,
        limit: 1,
        window: "900 millis",
        maxWait: "9 seconds",
        maxQueue: 2_000
      })
      yield* limiters("a").penalize(1)
      yield* Effect.forEach(Array.from({ length: 1_000 }, () => Effect.exit(limiters("a")(Effect.void))), start)
      yield* TestClock.adjust("10 millis")
      assert.strictEqual((yield* limiters.inspect).queued, 10)
      yield* TestClock.adjust("9 seconds")
    }).pipe(storeWith((store) => ({
      take: (key, spec, request) => Effect.delay(store.take(key, spec, request), "1 millis")
    }))))
})
