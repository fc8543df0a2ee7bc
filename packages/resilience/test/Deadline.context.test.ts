import { ConcurrencyLimit, Deadline, Hedge, Policy, RateLimiter, Retry } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"
import { consume, openedAfter, timed } from "./support/streams.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const remaining = Effect.map(Deadline.remaining, Duration.toMillis)

describe("Deadline in the context", () => {
  describe("effect", () => {
    it.effect("is seen inside, and not outside", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* remaining, Infinity)
        assert.strictEqual(yield* Deadline.total("2 seconds")(remaining), 2_000)
        assert.strictEqual(yield* remaining, Infinity)
      }))

    it.effect("shrinks as time goes by, and never below zero", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const look = Effect.map(remaining, (left) => seen.push(left))
        const body = Effect.andThen(
          Effect.andThen(Effect.sleep("1 second"), look),
          Effect.uninterruptible(Effect.andThen(Effect.sleep("3 seconds"), look))
        )
        yield* start(Effect.exit(Deadline.total("2 seconds")(body)))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(seen, [1_000, 0])
      }))

    it.effect("of nested ones the nearer counts", () =>
      Effect.gen(function*() {
        const nested = (outer: number, inner: number) => Deadline.total(outer)(Deadline.attempt(inner)(remaining))
        assert.strictEqual(yield* nested(2_000, 1_000), 1_000)
        assert.strictEqual(yield* nested(1_000, 2_000), 1_000)
        assert.strictEqual(yield* nested(1_000, 1_000), 1_000)
      }))

    it.effect("an attempt deadline is its attempt's alone", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const call = Effect.andThen(Effect.map(remaining, (left) => seen.push(left)), Effect.fail(new Fault({})))
        const stack = Policy.compose(
          Deadline.total("10 seconds"),
          Retry.make({ times: 2, base: "1 milli" }),
          Deadline.attempt("3 seconds")
        )
        yield* start(Effect.exit(stack(Effect.andThen(Effect.sleep("1 second"), call))))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(seen.length, 3)
        assert.isTrue(seen.every((left) => left === 2_000), String(seen))
      }))

    it.effect("is kept by what an attempt forks", () =>
      Effect.gen(function*() {
        const forked = Effect.flatMap(Effect.forkChild(remaining), Fiber.join)
        assert.strictEqual(yield* Deadline.total("2 seconds")(forked), 2_000)
      }))

    it.effect("one that a caller brings along is honoured like one of ours", () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        const endsAt = Number(clock.monotonicTimeNanosUnsafe()) / 1e6 + 400
        const call = Effect.fail(new Fault({ retryAfter: Duration.millis(400) }))
        const retry = Retry.make()
        const recorded = yield* Testing.record(retry.events)
        yield* Effect.exit(Effect.provideService(retry(call), Deadline.CurrentDeadline, endsAt))
        assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [
          { _tag: "GaveUp", attempts: 1, because: "deadline" }
        ])
      }))
  })

  describe("stream", () => {
    const lefts = (gap: number) =>
      Stream.fromIterable([1, 2, 3]).pipe(
        Stream.rechunk(1),
        Stream.mapEffect(() => Effect.andThen(Effect.sleep(gap), remaining))
      )

    it.effect("of the whole runs from the first pull on", () =>
      Effect.gen(function*() {
        const { items } = yield* consume(Deadline.total("1 second").stream(lefts(100)), 50)
        assert.deepStrictEqual(items, [900, 750, 600])
      }))

    it.effect("is seen while a stream opens", () =>
      Effect.gen(function*() {
        const lefts: Array<number> = []
        const note = Effect.map(remaining, (left) => lefts.push(left))
        const opened = openedAfter(Effect.andThen(Effect.andThen(note, Effect.sleep(100)), note), Stream.make(1))
        yield* consume(Deadline.total("1 second").stream(opened))
        assert.deepStrictEqual(lefts, [1_000, 900])
      }))

    it.effect("of an item is what is left of the wait for it", () =>
      Effect.gen(function*() {
        const deadline = Deadline.make({ firstItem: 500, idle: 200 })
        assert.deepStrictEqual((yield* consume(deadline.stream(lefts(100)), 50)).items, [400, 100, 100])
        const outer = Policy.compose(Deadline.total(350), deadline)
        assert.deepStrictEqual((yield* consume(outer.stream(lefts(100)))).items, [250, 100, 50])
      }))

    it.effect("of an item is not that of what the source runs beside its pulls", () =>
      Effect.gen(function*() {
        const item = Deadline.make({ firstItem: 500, idle: 400 })
        const forking = [
          Stream.range(1, 4).pipe(
            Stream.mapEffect(() => Effect.andThen(Effect.sleep(300), remaining), { concurrency: 2 })
          ),
          Stream.range(1, 4).pipe(
            Stream.rechunk(1),
            Stream.mapEffect(() => Effect.andThen(Effect.sleep(300), remaining)),
            Stream.buffer({ capacity: 4 })
          )
        ]
        for (const [index, source] of forking.entries()) {
          assert.deepStrictEqual((yield* consume(item.stream(source))).items, Array(4).fill(Infinity))
          const outer = Policy.compose(item, Deadline.total("10 seconds"))
          const whole = index === 0 ? [9_700, 9_700, 9_400, 9_400] : [9_700, 9_400, 9_100, 8_800]
          assert.deepStrictEqual((yield* consume(outer.stream(source))).items, whole)
        }
      }))

    it.effect("of an item is known to the attempts of a hedge", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ delay: "1 hour" })
        const item = Deadline.firstItem("1 second")
        const left = Stream.fromEffect(Effect.andThen(Effect.sleep(100), remaining))
        assert.deepStrictEqual((yield* consume(item.stream(hedge.stream(left)))).items, [900])
        const limiter = yield* RateLimiter.make({ limit: 1, window: "1 hour", maxWait: "2 hours", maxQueue: 10 })
        yield* limiter(Effect.void)
        const exit = yield* Effect.exit(Stream.runDrain(item.stream(hedge.stream(limiter.stream(left)))))
        assert.instanceOf(Exit.isFailure(exit) && Cause.squash(exit.cause), RateLimiter.RateLimitExceeded)
      }))

    it.effect("of an item turns no call away that the source makes beside its pulls", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 1, queue: 10, maxWait: "1 minute" })
        const source = Stream.range(1, 8).pipe(
          Stream.mapEffect((n) => limit(Effect.as(Effect.sleep(500), n)), { concurrency: 2 })
        )
        const { items } = yield* consume(Deadline.make({ firstItem: "1 second", idle: "1 second" }).stream(source))
        assert.deepStrictEqual(items, [1, 2, 3, 4, 5, 6, 7, 8])
      }))
  })
})

describe("Deadline settings", () => {
  const late = <E>(deadline: Policy.Policy<E>) =>
    Effect.gen(function*() {
      const began = yield* Clock.currentTimeMillis
      const fiber = yield* start(Effect.andThen(Effect.exit(deadline(Effect.never)), Clock.currentTimeMillis))
      yield* TestClock.adjust("1 hour")
      return (yield* Fiber.join(fiber)) - began
    })

  it.effect("change for calls that begin from then on", () =>
    Effect.gen(function*() {
      const deadline = Deadline.attempt("1 minute")
      const before = yield* start(Effect.exit(deadline(Effect.never)))
      yield* deadline.update("1 second")
      const after = yield* start(Effect.exit(deadline(Effect.never)))
      // The shorter one is set later and rings earlier.
      yield* TestClock.adjust("1 second")
      assert.isDefined(after.pollUnsafe())
      assert.isUndefined(before.pollUnsafe())
      yield* TestClock.adjust("59 seconds")
      assert.isDefined(before.pollUnsafe())
      assert.strictEqual(yield* late(deadline), 1_000)
    }))

  it.effect("what is left out stays", () =>
    Effect.gen(function*() {
      const deadline = Deadline.make({ attempt: "1 minute", firstItem: "2 seconds" })
      yield* deadline.update({ idle: "3 seconds", leastRate: { least: 5, window: "10 seconds" } })
      yield* deadline.update({ leastRate: { least: 6 } })
      assert.deepStrictEqual(yield* deadline.inspect, {
        whole: Duration.minutes(1),
        firstItem: Duration.seconds(2),
        idle: Duration.seconds(3),
        leastRate: { least: 6, window: Duration.seconds(10) }
      })
      assert.strictEqual((yield* consume(deadline.stream(timed(1, 3_001)))).error?.deadline, "idle")
      for (const single of [Deadline.firstItem("1 second"), Deadline.idle("1 second"), Deadline.total("1 second")]) {
        yield* single.update("2 seconds")
        const { firstItem, idle, whole } = yield* single.inspect
        assert.deepStrictEqual([firstItem, idle, whole].filter((limit) => limit !== undefined), [Duration.seconds(2)])
      }
    }))

  it("refuses nonsense, and keeps what held before", () => {
    const deadline = Deadline.make({ attempt: "1 second" })
    const refused: ReadonlyArray<readonly [Deadline.AttemptSettings, string]> = [
      [{ firstItem: "2 seconds" }, "firstItem must be no longer than attempt (1s), got 2s"],
      [{ idle: "2 seconds" }, "idle must be no longer than attempt (1s), got 2s"],
      [
        { leastRate: { least: 1, window: "2 seconds" } },
        "leastRate.window must be no longer than attempt (1s), got 2s"
      ],
      [{ leastRate: { window: 1 } }, "leastRate.least must be a finite number above 0, got undefined"],
      [{ attempt: 0 }, "attempt must be a finite duration above zero, got 0"]
    ]
    for (const [settings, message] of refused) {
      assert.throws(() => deadline.update(settings), RangeError, `Deadline.update: ${message}`)
    }
    assert.throws(
      () => Deadline.leastRate({ least: 0, window: 1 }),
      RangeError,
      "Deadline.leastRate: least must be a finite number above 0, got 0"
    )
  })

  it.effect("events tell what was ended", () =>
    Effect.gen(function*() {
      const deadline = Deadline.make({ attempt: "1 second", idle: 10 })
      const recorded = yield* Testing.record(deadline.events)
      yield* late(deadline)
      yield* consume(deadline.stream(timed(1, 11)))
      yield* deadline(Effect.void)
      assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [
        { _tag: "Exceeded", deadline: "attempt", limit: Duration.seconds(1) },
        { _tag: "Exceeded", deadline: "idle", limit: Duration.millis(10) }
      ])
    }))

  it.effect("noop ends nothing", () =>
    Effect.gen(function*() {
      const fiber = yield* start(Deadline.noop(Effect.delay(Effect.succeed("ok"), "1 day")))
      yield* Deadline.noop.update({ attempt: 1 })
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* Fiber.join(fiber), "ok")
      assert.deepStrictEqual((yield* consume(Deadline.noop.stream(timed(1, 5_000)))).items, [0, 1])
      assert.isUndefined((yield* Deadline.noop.inspect).whole)
      assert.deepStrictEqual(yield* Stream.runCollect(Deadline.noop.events), [])
    }))
})

describe("alarms", () => {
  const Millis = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 50 }))
  const Call = Schema.Struct({ begins: Millis, takes: Millis, limit: Millis })

  it.effect.prop("each call ends in its own time, whatever the others' limits", { calls: Schema.Array(Call) }, ({
    calls
  }) =>
    Effect.gen(function*() {
      const deadline = Deadline.attempt(1)
      const fibers = yield* Effect.forEach(calls, ({ begins, limit, takes }) => {
        const call = Effect.andThen(deadline.update(limit), deadline(Effect.sleep(takes)))
        const timed = Effect.flatMap(Effect.exit(call), (exit) =>
          Effect.map(Clock.currentTimeMillis, (now) => ({ exit, took: now - begins })))
        return Effect.map(start(Effect.delay(timed, begins)), (fiber) => ({ fiber, limit, takes }))
      })
      yield* TestClock.adjust("1 second")
      for (const { fiber, limit, takes } of fibers) {
        const { exit, took } = yield* Fiber.join(fiber)
        assert.strictEqual(took, Math.min(limit, takes))
        // Whichever comes first when both are due.
        if (limit !== takes) {
          assert.strictEqual(Exit.isSuccess(exit), takes < limit)
        }
      }
    }))
})

describe("Deadline interrupted at any step", () => {
  it.effect("leaves neither a timer nor a fiber, around an effect", () =>
    Effect.gen(function*() {
      const report = yield* interruptEverywhere({
        setup: Effect.sync(() => ({ deadline: Deadline.total("5 seconds"), open: 0 })),
        run: (setup) =>
          setup.deadline(Effect.acquireUseRelease(
            Effect.sync(() => setup.open++),
            () => Effect.sleep("1 second"),
            () => Effect.sync(() => setup.open--)
          )),
        beside: ({ deadline }) => deadline(Effect.sleep("2 seconds")),
        check: ({ open }) => Effect.sync(() => assert.strictEqual(open, 0))
      })
      assert.isAbove(report.interrupted, 64)
    }), 60_000)

  it.effect("nor while it ends what takes too long", () =>
    interruptEverywhere({
      setup: Effect.sync(() => ({ deadline: Deadline.total("1 second"), released: 0, acquired: 0 })),
      run: (setup) =>
        setup.deadline(Effect.acquireUseRelease(
          Effect.sync(() => setup.acquired++),
          () => Effect.never,
          () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => setup.released++))
        )),
      check: ({ acquired, released }, exit) =>
        Effect.sync(() => {
          assert.isTrue(Exit.isFailure(exit))
          assert.strictEqual(released, acquired)
        })
    }), 60_000)

  for (const [what, opening] of [["a stream", 0], ["a stream that takes its time to open", 1_000]] as const) {
    it.effect(`nor around ${what}`, () =>
      interruptEverywhere({
        setup: Effect.sync(() => ({
          deadline: Deadline.make({
            attempt: "1 minute",
            firstItem: "5 seconds",
            idle: "5 seconds",
            leastRate: { least: 1, window: "5 seconds" }
          }),
          open: 0
        })),
        run: (setup) => {
          const source = Stream.concat(timed(1_000, 1_000, 1_000), Stream.never)
          const resource = Effect.acquireRelease(
            Effect.sync(() => setup.open++),
            () => Effect.sync(() => setup.open--)
          )
          const stream = Stream.unwrap(Effect.as(resource, source))
          const opened = opening === 0 ? stream : openedAfter(Effect.sleep(opening), stream)
          return Stream.runDrain(setup.deadline.stream(opened))
        },
        budgets: [3, 4, 5, 7, 11, 16, 23, 32, 48, 64],
        check: ({ open }) => Effect.sync(() => assert.strictEqual(open, 0))
      }), 60_000)
  }
})
