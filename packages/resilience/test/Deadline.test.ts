import { Deadline, Outcome, type Policy } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { metrics, withMetrics } from "./support.ts"
import { consume, countingSleeps, openedAfter, timed } from "./support/streams.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

describe("Deadline", () => {
  describe("effect", () => {
    it.effect("passes results, errors and defects on as they are", () =>
      Effect.gen(function*() {
        const deadline = Deadline.attempt("1 second")
        assert.strictEqual(yield* deadline(Effect.succeed("ok")), "ok")
        for (const pause of [Effect.void, Effect.yieldNow]) {
          assert.deepStrictEqual(
            yield* Effect.exit(deadline(Effect.andThen(pause, Effect.fail("no")))),
            Exit.fail("no")
          )
          assert.deepStrictEqual(
            yield* Effect.exit(deadline(Effect.andThen(pause, Effect.die("boom")))),
            Exit.die("boom")
          )
        }
      }))

    it.effect("ends what is still running after its time and nothing that ends within", () =>
      Effect.gen(function*() {
        const deadline = Deadline.attempt("1 second")
        const inTime = yield* start(deadline(Effect.delay(Effect.succeed("ok"), "1 second")))
        const late = yield* start(Effect.flip(deadline(Effect.sleep(1_001))))
        yield* TestClock.adjust(999)
        assert.isUndefined(late.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(inTime), "ok")
        const error = yield* Fiber.join(late)
        assert.strictEqual(error.message, "The attempt took longer than 1s")
        assert.deepStrictEqual(error.limit, Duration.seconds(1))
      }))

    it.effect("is a failure, retryable unless it is the total", () =>
      Effect.gen(function*() {
        const judge = Effect.fnUntraced(function*(policy: Policy.Policy<Deadline.DeadlineExceeded>) {
          const fiber = yield* start(Effect.flip(policy(Effect.never)))
          yield* TestClock.adjust("1 second")
          const error = yield* Fiber.join(fiber)
          return [error.deadline, error[Outcome.key]] as const
        })
        assert.deepStrictEqual(yield* judge(Deadline.total(1)), ["total", Outcome.failure({ retryable: false })])
        assert.deepStrictEqual(yield* judge(Deadline.attempt(1)), ["attempt", Outcome.failure()])
      }))

    it.effect("fails with what the error option makes of it", () =>
      Effect.gen(function*() {
        const deadline = Deadline.total(1, { error: ({ deadline }) => `too slow: ${deadline}` as const })
        const fiber = yield* start(Effect.flip(deadline(Effect.never)))
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(fiber), "too slow: total")
      }))

    it.effect("waits for the finalizers of what it ends", () =>
      Effect.gen(function*() {
        let released = false
        const body = Effect.ensuring(
          Effect.never,
          Effect.delay(
            Effect.sync(() => {
              released = true
            }),
            "5 seconds"
          )
        )
        const fiber = yield* start(Effect.exit(Deadline.attempt("1 second")(body)))
        yield* TestClock.adjust("5 seconds")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(fiber)
        assert.isTrue(released)
      }))

    it.effect("waits for what can't be interrupted, and drops its result", () =>
      Effect.gen(function*() {
        const body = Effect.uninterruptible(Effect.delay(Effect.succeed("late"), "3 seconds"))
        const fiber = yield* start(Effect.flip(Deadline.attempt("1 second")(body)))
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "DeadlineExceeded")
      }))

    it.effect("shows the defect of a finalizer rather than the deadline", () =>
      Effect.gen(function*() {
        const body = Effect.ensuring(Effect.never, Effect.die("boom"))
        const fiber = yield* start(Effect.exit(Deadline.attempt("1 second")(body)))
        yield* TestClock.adjust("1 second")
        assert.isTrue(Exit.hasDies(yield* Fiber.join(fiber)))
      }))

    it.effect("an interruption reaches the body, and is waited for", () =>
      Effect.gen(function*() {
        let interrupted = false
        const body = Effect.onInterrupt(Effect.never, () =>
          Effect.sync(() => {
            interrupted = true
          }))
        const fiber = yield* start(Deadline.attempt("1 second")(body))
        yield* Fiber.interrupt(fiber)
        assert.isTrue(interrupted)
      }))

    it.effect("starts one timer for calls that wait, none for those that end at once, and leaves none behind", () =>
      Effect.gen(function*() {
        const sleeps = yield* countingSleeps
        const deadline = Deadline.attempt("1 second")
        yield* sleeps.provide(deadline(Effect.void))
        yield* Testing.settle
        assert.strictEqual(sleeps.started(), 0)
        const fibers = yield* Effect.forEach([1, 2, 3], () => start(sleeps.provide(deadline(Effect.never))))
        yield* Testing.settle
        assert.deepStrictEqual([sleeps.started(), sleeps.running()], [1, 1])
        yield* Fiber.interruptAll(fibers)
        assert.deepStrictEqual([sleeps.started(), sleeps.running()], [1, 0])
      }))

    it.effect("keeps the services of the caller", () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        assert.strictEqual(yield* Deadline.total("1 second")(Clock.Clock), clock)
      }))

    it.effect("watches a thousand calls at once", () =>
      Effect.gen(function*() {
        const deadline = Deadline.attempt(500)
        const fibers = yield* Effect.forEach(Array.from({ length: 1_000 }, (_, n) => n), (n) =>
          start(Effect.exit(deadline(Effect.sleep(n)))))
        yield* TestClock.adjust("1 second")
        const exits = yield* Fiber.joinAll(fibers)
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 501)
      }))
  })

  describe("stream", () => {
    it.effect("passes items, errors and the end on as they are", () =>
      Effect.gen(function*() {
        const deadline = Deadline.make({ attempt: 100, firstItem: 10, idle: 10 })
        const { error, items } = yield* consume(deadline.stream(timed(1, 2, 3)))
        assert.deepStrictEqual([items, error], [[0, 1, 2], undefined])
        const failing = yield* consume(deadline.stream(Stream.concat(timed(1), Stream.fail("no"))))
        assert.deepStrictEqual([failing.items, failing.error], [[0], "no"])
      }))

    it.effect("ends a stream whose first item is late", () =>
      Effect.gen(function*() {
        const { error, took } = yield* consume(Deadline.firstItem(10).stream(timed(11)))
        assert.strictEqual(error?.message, "No first item came within 10ms")
        assert.strictEqual(took, 10)
      }))

    it.effect("waits for a stream that takes its time to open like for its first item", () =>
      Effect.gen(function*() {
        let released = 0
        const opening = (gap: number) =>
          openedAfter(Effect.ensuring(Effect.sleep(gap), Effect.sync(() => released++)), timed(1, 4))
        const deadline = Deadline.make({ attempt: 20, firstItem: 10, idle: 5 })
        const late = yield* consume(deadline.stream(opening(11)))
        assert.deepStrictEqual([late.items, late.took, late.error?.deadline, released], [[], 10, "first", 1])
        const total = yield* consume(Deadline.total(10).stream(opening(1_000)))
        assert.deepStrictEqual([total.items, total.took, total.error?.deadline, released], [[], 10, "total", 2])
        const fine = yield* consume(deadline.stream(opening(8)))
        assert.deepStrictEqual([fine.items, fine.error], [[0, 1], undefined])
      }))

    it.effect("lets later items take their time without an idle deadline", () =>
      Effect.gen(function*() {
        const { error, items } = yield* consume(Deadline.firstItem(10).stream(timed(10, 1_000, 1_000)))
        assert.deepStrictEqual([items, error], [[0, 1, 2], undefined])
      }))

    it.effect("ends a stream that stalls between items, or before its end", () =>
      Effect.gen(function*() {
        const stalled = yield* consume(Deadline.idle(10).stream(timed(1_000, 10, 11)))
        assert.strictEqual(stalled.error?.message, "No further item came within 10ms")
        assert.deepStrictEqual([stalled.items, stalled.took], [[0, 1], 1_020])
        const endless = yield* consume(Deadline.idle(10).stream(Stream.concat(Stream.make(1), Stream.never)))
        assert.deepStrictEqual([endless.items, endless.took, endless.error?.deadline], [[1], 10, "idle"])
      }))

    it.effect("a slow consumer trips neither the first nor the idle deadline", () =>
      Effect.gen(function*() {
        const deadline = Deadline.make({ firstItem: 10, idle: 10 })
        const { error, items } = yield* consume(deadline.stream(timed(9, 9, 9)), 1_000)
        assert.deepStrictEqual([items, error], [[0, 1, 2], undefined])
      }))

    it.effect("counts only what the predicate takes for an item", () =>
      Effect.gen(function*() {
        const progress = (item: unknown) => item === 0 || item === 3
        const quiet = yield* consume(Deadline.idle(10, { progress }).stream(timed(5, 4, 4, 4)))
        assert.deepStrictEqual([quiet.items, quiet.took, quiet.error?.deadline], [[0, 1, 2], 15, "idle"])
        const first = yield* consume(Deadline.firstItem(10, { progress: () => false }).stream(timed(4, 4, 4)))
        assert.deepStrictEqual([first.items, first.took, first.error?.deadline], [[0, 1], 10, "first"])
        const fine = yield* consume(Deadline.idle(10, { progress }).stream(timed(5, 4, 4, 2)), 1_000)
        assert.isUndefined(fine.error)
      }))

    it.effect("bounds all of the stream, the consumer's time included", () =>
      Effect.gen(function*() {
        const total = yield* consume(Deadline.total(10).stream(timed(4, 4, 4)))
        assert.deepStrictEqual([total.items, total.took, total.error?.deadline], [[0, 1], 10, "total"])
        const slow = yield* consume(Deadline.attempt(10).stream(timed(1, 1)), 20)
        assert.deepStrictEqual([slow.items, slow.took, slow.error?.deadline], [[0], 21, "attempt"])
      }))

    it.effect("the earliest of several deadlines wins", () =>
      Effect.gen(function*() {
        const deadline = Deadline.make({ attempt: 20, firstItem: 15, idle: 8 })
        const kind = (...gaps: ReadonlyArray<number>) =>
          Effect.map(consume(deadline.stream(timed(...gaps))), ({ error, took }) => [error?.deadline, took])
        assert.deepStrictEqual(yield* kind(16), ["first", 15])
        assert.deepStrictEqual(yield* kind(1, 9), ["idle", 9])
        assert.deepStrictEqual(yield* kind(7, 7, 7), ["attempt", 20])
        assert.deepStrictEqual(yield* kind(15, 5), [undefined, 20])
      }))

    it.effect("does nothing to an effect that it can't measure", () =>
      Effect.gen(function*() {
        const fiber = yield* start(Deadline.make({ firstItem: 1, idle: 1 })(Effect.delay(Effect.succeed("ok"), 10)))
        yield* TestClock.adjust(10)
        assert.strictEqual(yield* Fiber.join(fiber), "ok")
      }))

    it.effect("releases the upstream when it ends it", () =>
      Effect.gen(function*() {
        let released = false
        const stream = Stream.ensuring(
          Stream.never,
          Effect.sync(() => {
            released = true
          })
        )
        yield* consume(Deadline.firstItem(10).stream(stream))
        assert.isTrue(released)
      }))

    it.effect("an interruption reaches the upstream and leaves no timer", () =>
      Effect.gen(function*() {
        const sleeps = yield* countingSleeps
        let interrupted = false
        const stream = Stream.fromEffect(Effect.onInterrupt(Effect.never, () =>
          Effect.sync(() => {
            interrupted = true
          })))
        const fiber = yield* start(sleeps.provide(Stream.runDrain(Deadline.firstItem(10).stream(stream))))
        yield* Testing.settle
        assert.strictEqual(sleeps.running(), 1)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual([interrupted, sleeps.running()], [true, 0])
      }))

    it.effect("starts few timers for many items, and leaves none behind", () =>
      Effect.gen(function*() {
        const sleeps = yield* countingSleeps
        const items = Stream.fromIterable(Array.from({ length: 100 }, (_, n) => n)).pipe(
          Stream.rechunk(1),
          Stream.mapEffect((n) => Effect.as(Effect.yieldNow, n))
        )
        const guarded = Deadline.make({ attempt: 1_000, firstItem: 100, idle: 100 }).stream(items)
        yield* sleeps.provide(Stream.runDrain(guarded))
        assert.strictEqual(sleeps.started(), 1)
        yield* sleeps.provide(Stream.runDrain(Stream.take(guarded, 2)))
        assert.strictEqual(sleeps.running(), 0)
      }))

    const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

    // Gaps are even and limits odd: an item and an end that are due in the same moment come in either order.
    it.effect.prop("ends a stream exactly when it is kept waiting too long", {
      halves: Schema.Array(upTo(10)),
      pause: upTo(20),
      halfFirst: upTo(9),
      halfIdle: upTo(9)
    }, ({ halfFirst, halfIdle, halves, pause }) =>
      Effect.gen(function*() {
        const gaps = halves.map((half) => 2 * half)
        const first = 2 * halfFirst + 1
        const idle = 2 * halfIdle + 1
        const deadline = Deadline.make({ firstItem: first, idle })
        const { error, items, took } = yield* consume(deadline.stream(timed(...gaps)), pause)
        const stall = gaps.findIndex((gap, n) => gap > (n === 0 ? first : idle))
        const delivered = stall === -1 ? gaps : gaps.slice(0, stall)
        const waited = delivered.reduce((sum, gap) => sum + gap + pause, 0)
        assert.strictEqual(items.length, delivered.length)
        assert.strictEqual(error?.deadline, stall === -1 ? undefined : stall === 0 ? "first" : "idle")
        assert.strictEqual(took, waited + (stall === -1 ? 0 : stall === 0 ? first : idle))
      }))
  })

  it.effect("counts the calls that it ends, by deadline", () =>
    Effect.gen(function*() {
      const fiber = yield* start(Effect.exit(Deadline.attempt(10, { name: "catalogue" })(Effect.never)))
      yield* TestClock.adjust(10)
      yield* Fiber.join(fiber)
      yield* consume(Deadline.idle(10, { name: "catalogue" }).stream(timed(1, 11)))
      assert.deepStrictEqual(yield* metrics, {
        "ballast_deadlines_exceeded_total{deadline=attempt,name=catalogue}": 1,
        "ballast_deadlines_exceeded_total{deadline=idle,name=catalogue}": 1
      })
    }).pipe(withMetrics))

  it("refuses wrong durations", () => {
    const bound = "a finite duration above zero"
    assert.throws(() => Deadline.total(0), RangeError, `Deadline.total: duration must be ${bound}, got 0`)
    assert.throws(() => Deadline.idle(Duration.infinity), RangeError, `Deadline.idle: duration must be ${bound}`)
    assert.throws(
      () => Deadline.make({ attempt: 10, idle: 11 }),
      RangeError,
      "Deadline.make: idle must be no longer than attempt (10ms), got 11ms"
    )
  })
})
