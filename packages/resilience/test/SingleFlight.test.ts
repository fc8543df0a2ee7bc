import { ConcurrencyLimit, Deadline, SingleFlight } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { withStepBudget } from "./support.ts"
import { makeSource } from "./support/streams.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const idle = Effect.fnUntraced(function*<A, E>(flight: SingleFlight.SingleFlight<A, E>) {
  assert.deepStrictEqual(yield* flight.inspect, { effects: new Map(), streams: new Map(), followers: 0 })
})

const executions = <Attempt>(dependency: { readonly inspect: Effect.Effect<Testing.History<Attempt>> }) =>
  Effect.map(dependency.inspect, ({ attempts }) => attempts.length)

describe("SingleFlight", () => {
  describe("share", () => {
    it.effect("runs once for 1,000 callers at a time, and again for those who come after", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<string>()
        const dependency = yield* Testing.script([
          Effect.delay(Effect.succeed("first"), "1 second"),
          Effect.succeed("second")
        ])
        const call = flight.share(dependency.call, "a")
        const callers = Effect.all(Array.from({ length: 1_000 }, () => call), { concurrency: "unbounded" })
        const fiber = yield* start(callers)
        yield* Testing.settle
        assert.deepStrictEqual(yield* flight.inspect, {
          effects: new Map([["a", 1_000]]),
          streams: new Map(),
          followers: 999
        })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(new Set(yield* Fiber.join(fiber)), new Set(["first"]))
        assert.strictEqual(yield* executions(dependency), 1)
        assert.strictEqual(yield* call, "second")
        yield* idle(flight)
      }))

    it.effect("runs apart what has different keys", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<string>()
        const dependency = yield* Testing.script([Effect.delay(Effect.succeed("ok"), "1 second")])
        const calls = ["a", "b", "a"].map((key) => dependency.call.pipe(flight.share(key)))
        yield* Testing.passTime(Effect.all(calls, { concurrency: "unbounded" }))
        const { attempts, peak } = yield* dependency.inspect
        assert.deepStrictEqual([attempts.length, peak], [2, 2])
      }))

    for (const [what, exit] of [["failure", Exit.fail("error")], ["defect", Exit.die("boom")]] as const) {
      it.effect(`shares a ${what} as it is`, () =>
        Effect.gen(function*() {
          const flight = yield* SingleFlight.make<void, string>()
          const dependency = yield* Testing.script([Effect.delay(exit, "1 second")])
          const call = Effect.exit(flight.share(dependency.call, "a"))
          const exits = yield* Testing.passTime(Effect.all([call, call, call], { concurrency: 3 }))
          assert.deepStrictEqual(exits, [exit, exit, exit])
          assert.strictEqual(yield* executions(dependency), 1)
          yield* idle(flight)
        }))
    }

    it.effect("gives work that ends at once back at once", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number, string>()
        assert.strictEqual(yield* flight.share(Effect.succeed(1), "a"), 1)
        assert.strictEqual(yield* Effect.flip(flight.share(Effect.fail("error"), "a")), "error")
        yield* idle(flight)
      }))

    it.effect("runs the work under the context of the first caller", () =>
      Effect.gen(function*() {
        const Who = Context.Reference("test/Who", { defaultValue: () => "nobody" })
        const flight = yield* SingleFlight.make<string>()
        const call = flight.share(Effect.delay(Effect.service(Who), "1 second"), "a")
        const callers = ["first", "second"].map((name) => Effect.provideService(call, Who, name))
        assert.deepStrictEqual(yield* Testing.passTime(Effect.all(callers, { concurrency: 2 })), ["first", "first"])
      }))
  })

  it.effect("starts anew what it is told to forget, and still answers who waits for the old", () =>
    Effect.gen(function*() {
      const flight = yield* SingleFlight.make<string>()
      const old = yield* start(flight.share(Effect.delay(Effect.succeed("old"), "2 seconds"), "a"))
      yield* flight.forget("a")
      const call = flight.share(Effect.delay(Effect.succeed("new"), "1 second"), "a")
      const fibers = [yield* start(call), yield* start(call)]
      yield* Testing.settle
      assert.deepStrictEqual((yield* flight.inspect).effects, new Map([["a", 2]]))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(old), "old")
      for (const fiber of fibers) assert.strictEqual(yield* Fiber.join(fiber), "new")
      yield* idle(flight)
    }))

  describe("interruption", () => {
    it.effect("of the leader is not noticed by the followers", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<string>()
        const dependency = yield* Testing.script([Effect.delay(Effect.succeed("ok"), "1 second")])
        const call = flight.share(dependency.call, "a")
        const leader = yield* start(call)
        const follower = yield* start(call)
        yield* Fiber.interrupt(leader)
        assert.deepStrictEqual((yield* flight.inspect).effects, new Map([["a", 1]]))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(follower), "ok")
        assert.strictEqual(yield* executions(dependency), 1)
      }))

    it.effect("a leader's deadline bounds no wait of the work that others share", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<string, ConcurrencyLimit.QueueTimeout | ConcurrencyLimit.QueueFull>()
        const limit = yield* ConcurrencyLimit.make({ limit: 1, queue: 1 })
        const share = flight.share(limit(Effect.succeed("ok")), "a")
        const shareStream = flight.shareStream(limit.stream(Stream.make("ok")), "a")
        for (const call of [share, Effect.map(Stream.runCollect(shareStream), (items) => items.join())]) {
          yield* start(limit(Effect.sleep("2 seconds")))
          const leader = yield* start(Effect.flip(Deadline.total("1 second")(call)))
          const follower = yield* start(call)
          yield* TestClock.adjust("1 second")
          assert.strictEqual((yield* Fiber.join(leader))._tag, "DeadlineExceeded")
          yield* TestClock.adjust("3 seconds")
          assert.strictEqual(yield* Fiber.join(follower), "ok")
          yield* idle(flight)
        }
      }))

    it.effect("a leader's cooperative deadline does not stop a source that others share", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number>()
        const call = flight.shareStream(makeSource("1 second", "4 seconds").stream, "a")
        const leader = yield* start(
          Effect.flip(Stream.runDrain(Deadline.total("2 seconds", { cooperative: true }).stream(call)))
        )
        const follower = yield* start(Stream.runCollect(call))
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(leader))._tag, "DeadlineExceeded")
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* Fiber.join(follower), [1, 2])
      }))

    it.effect("of the last one cancels the work and waits for its finalizers", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<string>()
        yield* TestClock.adjust("1 second")
        let finalized = false
        const work = Effect.never.pipe(Effect.onInterrupt(() =>
          Effect.andThen(
            Effect.sleep("1 second"),
            Effect.sync(() => {
              finalized = true
            })
          )
        ))
        const callers = yield* Effect.replicateEffect(start(flight.share(work, "a")), 2)
        yield* Fiber.interrupt(callers[0]!)
        const last = yield* start(Fiber.interrupt(callers[1]!))
        yield* Testing.settle
        yield* idle(flight)
        assert.isUndefined(last.pollUnsafe())
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(last)
        assert.isTrue(finalized)
      }))

    it.effect("does not let a new caller join work that is being cancelled", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<string>()
        const stuck = Effect.onInterrupt(Effect.never, () => Effect.sleep("1 hour"))
        const caller = yield* start(flight.share(stuck, "a"))
        yield* start(Fiber.interrupt(caller))
        yield* Testing.settle
        assert.strictEqual(yield* flight.share(Effect.succeed("new"), "a"), "new")
        yield* idle(flight)
      }))

    it.effect("of the work itself is shared and wedges nothing", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<void>()
        const call = Effect.exit(flight.share(Effect.delay(Effect.interrupt, "1 second"), "a"))
        const exits = yield* Testing.passTime(Effect.all([call, call], { concurrency: 2 }))
        assert.deepStrictEqual(exits.map(Exit.hasInterrupts), [true, true])
        yield* idle(flight)
      }))

    for (const victim of ["leader", "follower", "only caller"] as const) {
      it.effect(`leaves nothing behind at any step, of the ${victim}`, () =>
        Testing.interruptEverywhere({
          setup: Effect.gen(function*() {
            const flight = yield* SingleFlight.make<string>()
            const dependency = yield* Testing.script([Effect.delay(Effect.succeed("ok"), "1 second")])
            return { flight, dependency, answers: Array<string>() }
          }),
          run: ({ dependency, flight }) =>
            Effect.andThen(
              victim === "follower" ? Effect.sleep("500 millis") : Effect.void,
              flight.share(dependency.call, "a")
            ),
          beside: ({ answers, dependency, flight }) =>
            victim === "only caller" ? Effect.void : flight.share(dependency.call, "a").pipe(
              Effect.delay(victim === "leader" ? "500 millis" : 0),
              Effect.map((answer) => answers.push(answer))
            ),
          check: ({ answers, dependency, flight }) =>
            Effect.gen(function*() {
              yield* idle(flight)
              assert.strictEqual((yield* dependency.inspect).running, 0)
              assert.deepStrictEqual(answers, victim === "only caller" ? [] : ["ok"])
            })
        }))
    }
  })

  describe("shareStream", () => {
    const slow = (...items: ReadonlyArray<number>) =>
      Stream.mapEffect(Stream.fromIterable(items), (item) => Effect.delay(Effect.succeed(item), "1 second"))

    it.effect("gives every caller all items, also those that came before", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number>()
        const dependency = yield* Testing.scriptStream([slow(1, 2, 3)])
        const shared = flight.shareStream(dependency.stream, "a")
        const first = yield* start(Stream.runCollect(shared))
        yield* TestClock.adjust("2 seconds")
        const second = yield* start(Stream.runCollect(shared))
        yield* Testing.settle
        assert.deepStrictEqual((yield* flight.inspect).streams, new Map([["a", 2]]))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(first), [1, 2, 3])
        assert.deepStrictEqual(yield* Fiber.join(second), [1, 2, 3])
        assert.strictEqual(yield* executions(dependency), 1)
        yield* idle(flight)
      }))

    it.effect("shares a failure after the items before it", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number, string>()
        const shared = flight.shareStream(Stream.concat(slow(1), Stream.fail("cut")), "a")
        const items = Array<number>()
        const run = Effect.exit(Stream.runForEach(shared, (item) => Effect.sync(() => items.push(item))))
        const exits = yield* Testing.passTime(Effect.all([run, run], { concurrency: 2 }))
        assert.deepStrictEqual(exits, [Exit.fail("cut"), Exit.fail("cut")])
        assert.deepStrictEqual(items, [1, 1])
        yield* idle(flight)
      }))

    it.effect("can be joined up to its bound, and starts anew beyond", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number>({ replay: 2 })
        const dependency = yield* Testing.scriptStream([slow(1, 2, 3, 4)])
        const run = Stream.runCollect(dependency.stream.pipe(flight.shareStream("a")))
        const first = yield* start(run)
        yield* TestClock.adjust("2 seconds")
        const second = yield* start(run)
        yield* TestClock.adjust("1 second")
        const third = yield* start(run)
        yield* Testing.settle
        assert.strictEqual(yield* executions(dependency), 2)
        yield* TestClock.adjust("4 seconds")
        for (const fiber of [first, second, third]) assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2, 3, 4])
        yield* idle(flight)
      }))

    it.effect("runs ahead of its slowest consumer by its bound and no further", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number>({ replay: 10 })
        const dependency = yield* Testing.scriptStream([
          Stream.concat(Stream.drain(Stream.fromEffect(Effect.sleep(1))), Stream.rechunk(Stream.range(1, 100), 1))
        ])
        const shared = flight.shareStream(dependency.stream, "a")
        const pace = (millis: number) => Stream.runForEachArray(shared, () => Effect.sleep(millis))
        const quick = yield* start(pace(1))
        const slow = yield* start(pace(1_000))
        yield* Testing.advance("900 millis")
        const [attempt] = (yield* dependency.inspect).attempts
        assert.isAtMost(attempt!.items.length, 21)
        yield* Fiber.interrupt(slow)
        yield* Testing.advance("200 millis")
        yield* Fiber.join(quick)
        yield* idle(flight)
      }))

    const few = Schema.Literals([0, 1, 2, 3, 5, 8])

    it.effect.prop("gives each consumer the items in order from the first on, whoever comes and goes", {
      consumers: Schema.Array(Schema.Tuple([few, few])),
      length: few,
      chunk: Schema.Literals([1, 2, 5]),
      replay: Schema.Literals([1, 2, 8]),
      budget: Schema.Literals([3, 4, 7, 64])
    }, ({ budget, chunk, consumers, length, replay }) =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number>({ replay })
        const items = Array.from({ length }, (_, index) => index)
        const dependency = yield* Testing.scriptStream([
          Stream.fromIterable(items).pipe(Stream.rechunk(chunk), Stream.tap(() => Effect.sleep(1)))
        ])
        const shared = flight.shareStream(dependency.stream, "a")
        const consume = ([comes, takes]: readonly [number, number]) =>
          Stream.runCollect(Stream.take(Stream.tap(shared, () => Effect.sleep(takes % 3)), takes)).pipe(
            Effect.delay(comes)
          )
        const seen = yield* Testing.passTime(
          withStepBudget(budget)(Effect.forEach(consumers, consume, { concurrency: "unbounded" }))
        )
        assert.deepStrictEqual(seen, consumers.map(([, takes]) => items.slice(0, takes)))
        yield* Testing.settle
        assert.strictEqual((yield* dependency.inspect).running, 0)
        yield* idle(flight)
      }))

    it.effect("lives on when the first consumer stops, and is cancelled when the last one does", () =>
      Effect.gen(function*() {
        const flight = yield* SingleFlight.make<number>()
        const dependency = yield* Testing.scriptStream([slow(1, 2, 3, 4, 5, 6)])
        const shared = flight.shareStream(dependency.stream, "a")
        const first = yield* start(Stream.runCollect(Stream.take(shared, 2)))
        const second = yield* start(Stream.runCollect(Stream.take(shared, 4)))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* Fiber.join(first), [1, 2])
        assert.deepStrictEqual(yield* Fiber.join(second), [1, 2, 3, 4])
        const { attempts: [attempt], running } = yield* dependency.inspect
        assert.deepStrictEqual([running, attempt?.endedAt, attempt?.interrupted], [0, 4_000, true])
        yield* idle(flight)
      }))

    for (const victim of ["leader", "follower", "only caller"] as const) {
      it.effect(`leaves nothing behind at any step, of the ${victim}`, () =>
        Testing.interruptEverywhere({
          setup: Effect.gen(function*() {
            const flight = yield* SingleFlight.make<number>({ replay: 2 })
            const dependency = yield* Testing.scriptStream([slow(1, 2, 3)])
            return { flight, dependency, shared: flight.shareStream(dependency.stream, "a"), items: Array<number>() }
          }),
          run: ({ shared }) =>
            Effect.andThen(victim === "follower" ? Effect.sleep("500 millis") : Effect.void, Stream.runDrain(shared)),
          beside: ({ items, shared }) =>
            victim === "only caller" ? Effect.void : Effect.delay(
              Stream.runForEach(shared, (item) => Effect.sync(() => items.push(item))),
              victim === "leader" ? "500 millis" : 0
            ),
          check: ({ dependency, flight, items }) =>
            Effect.gen(function*() {
              yield* idle(flight)
              assert.strictEqual((yield* dependency.inspect).running, 0)
              assert.deepStrictEqual(items, victim === "only caller" ? [] : [1, 2, 3])
            }),
          budgets: [3, 4, 5, 6, 7, 9, 12, 16, 24, 32, 48, 64]
        }))
    }
  })

  // Arrivals, departures and ends come at times of their own, so that a model need not break ties.
  const Caller = Schema.Struct({
    key: Schema.Literals(["a", "b"]),
    after: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 })),
    patience: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 8 }))
  })

  it.effect.prop("starts and answers as a model of it says", {
    callers: Schema.Array(Caller),
    takes: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
    steps: Schema.Int.check(Schema.isBetween({ minimum: 3, maximum: 64 }))
  }, ({ callers, steps, takes }) =>
    Effect.gen(function*() {
      const flight = yield* SingleFlight.make<string>()
      const dependency = yield* Testing.script([Effect.delay(Effect.succeed("ok"), takes * 4 + 2)])
      const model = new Map<string, { readonly endsAt: number; leftAt: number }>()
      const answered = Array<readonly [fiber: Fiber.Fiber<string>, expected: boolean]>()
      let now = 0
      let started = 0
      for (const { after, key, patience } of callers) {
        yield* Testing.advance(after * 4)
        now += after * 4
        const leavesAt = now + patience * 4 + 1
        const current = model.get(key)
        if (current === undefined || current.endsAt < now || current.leftAt < now) {
          started++
          model.set(key, { endsAt: now + takes * 4 + 2, leftAt: leavesAt })
        } else {
          current.leftAt = Math.max(current.leftAt, leavesAt)
        }
        const expected = model.get(key)!.endsAt < leavesAt
        const fiber = yield* start(withStepBudget(steps)(flight.share(dependency.call, key)))
        yield* start(Effect.andThen(Effect.sleep(patience * 4 + 1), Fiber.interrupt(fiber)))
        answered.push([fiber, expected])
      }
      yield* Testing.advance("1 minute")
      for (const [fiber, expected] of answered) {
        assert.strictEqual(Exit.isSuccess(yield* Fiber.await(fiber)), expected)
      }
      assert.strictEqual(yield* executions(dependency), started)
      assert.strictEqual((yield* dependency.inspect).running, 0)
      yield* idle(flight)
    }))

  it.effect("tells what happens", () =>
    Effect.gen(function*() {
      const flight = yield* SingleFlight.make<void, string>()
      const recorded = yield* Testing.record(flight.events)
      const fails = flight.share(Effect.delay(Effect.fail("error"), "1 second"), "a")
      yield* Testing.passTime(Effect.all([Effect.exit(fails), Effect.exit(fails)], { concurrency: 2 }))
      const caller = yield* start(flight.share(Effect.never, "b"))
      yield* Fiber.interrupt(caller)
      assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [
        { _tag: "Started", key: "a" },
        { _tag: "Joined", key: "a", callers: 2 },
        { _tag: "Ended", key: "a", callers: 2, success: false },
        { _tag: "Started", key: "b" },
        { _tag: "Cancelled", key: "b" }
      ])
    }))

  it.effect("counts who joined and what was cancelled, and records the wait of a follower", () =>
    Effect.gen(function*() {
      const { metrics, waits } = yield* Testing.passTime(Testing.observe(Effect.gen(function*() {
        const flight = yield* SingleFlight.make<void>({ name: "users" })
        const call = flight.share(Effect.sleep("2 seconds"), "a")
        yield* Effect.all([call, Effect.delay(call, "500 millis")], { concurrency: 2 })
        yield* Effect.timeoutOption(call, "1 second")
      })))
      assert.deepStrictEqual(waits, [{ policy: "single-flight", name: "users", seconds: 1.5 }])
      assert.strictEqual(metrics["ballast_single_flight_joined_total{name=users}"], 1)
      assert.strictEqual(metrics["ballast_single_flight_cancelled_total{name=users}"], 1)
    }))

  it.effect("shares nothing as its twin", () =>
    Effect.gen(function*() {
      const flight = SingleFlight.noop<string>()
      const dependency = yield* Testing.script([Effect.delay(Effect.succeed("ok"), "1 second")])
      const call = flight.share(dependency.call, "a")
      yield* Testing.passTime(Effect.all([call, call], { concurrency: 2 }))
      assert.strictEqual(yield* executions(dependency), 2)
      assert.deepStrictEqual(yield* Stream.runCollect(flight.shareStream(Stream.make("ok"), "a")), ["ok"])
      assert.deepStrictEqual(yield* Stream.runCollect(flight.events), [])
      yield* idle(flight)
    }))

  it("refuses a replay below 1", () => {
    assert.throws(
      () => SingleFlight.make({ replay: 0 }),
      RangeError,
      "SingleFlight.make: replay must be an integer of at least 1, got 0"
    )
  })
})
