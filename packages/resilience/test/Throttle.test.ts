import { CircuitBreaker, Outcome, Priority, Throttle } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Random, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { chance, Fault, metrics, withMetrics } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"

const ok = Effect.succeed("ok")
const fail = Effect.fail(new Fault({}))

const times = <A, E, R>(n: number, self: Effect.Effect<A, E, R>) =>
  Effect.forEach(Array.from({ length: n }), () => Effect.exit(self))

const at = (priority: Priority.Priority) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Priority.CurrentPriority, priority)

const isThrottled = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Throttle.Throttled

/** A throttle that follows the formula to the letter. */
const bare = { minimumRequests: 0, maxRejection: 1 }

/** A throttle that has seen so many calls accepted and so many not, and let all of them through. */
const seen = Effect.fnUntraced(function*(accepted: number, failed: number, options?: Throttle.Options) {
  const throttle = yield* Throttle.make(options)
  yield* chance(1)(times(accepted, throttle(ok)))
  yield* chance(1)(times(failed, throttle(fail)))
  return throttle
})

const rejection = (throttle: Throttle.Throttle) => Effect.map(throttle.inspect, (state) => state.rejection.normal)

describe("Throttle", () => {
  describe("formula", () => {
    it.effect("rejects nothing while half of the calls are accepted, and some below", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* rejection(yield* seen(10, 10)), 0)
        assert.strictEqual(yield* rejection(yield* seen(10, 11)), (21 - 2 * 10) / 22)
        assert.strictEqual(yield* rejection(yield* seen(10, 30)), (40 - 2 * 10) / 41)
      }))

    it.effect("takes K as the multiplier", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* rejection(yield* seen(10, 11, { multiplier: 1 })), (21 - 10) / 22)
        assert.strictEqual(yield* rejection(yield* seen(10, 11, { multiplier: 1.5 })), (21 - 15) / 22)
      }))

    it.effect("draws by chance: below the probability it rejects, at it it does not", () =>
      Effect.gen(function*() {
        const throttle = yield* seen(10, 30)
        const odds = (40 - 20) / 41
        assert.isFalse(isThrottled(yield* Effect.exit(chance(odds)(throttle(fail)))))
        const exit = yield* Effect.exit(chance(0)(throttle(fail)))
        assert.isTrue(isThrottled(exit))
      }))

    it.effect("counts what it rejects as wanted", () =>
      Effect.gen(function*() {
        const throttle = yield* seen(0, 10)
        yield* chance(0)(times(5, throttle(ok)))
        const { accepts, requests } = yield* throttle.inspect
        assert.deepStrictEqual({ accepts, requests }, { accepts: 0, requests: 15 })
      }))

    it.effect("waits for its minimum of requests", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* rejection(yield* seen(0, 9)), 0)
        assert.strictEqual(yield* rejection(yield* seen(0, 10)), 10 / 11)
      }))

    it.effect("lets some through even if nothing is accepted", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* rejection(yield* seen(0, 100)), 0.95)
        assert.strictEqual(yield* rejection(yield* seen(0, 100, { maxRejection: 1 })), 100 / 101)
      }))

    it.effect("forgets what has left the window", () =>
      Effect.gen(function*() {
        const throttle = yield* seen(0, 20)
        yield* TestClock.adjust("108 seconds")
        assert.isAbove(yield* rejection(throttle), 0)
        yield* TestClock.adjust("12 seconds")
        assert.strictEqual(yield* rejection(throttle), 0)
      }))

    const Step = Schema.Literals(["ok", "fail", "fail", "ignore", "reject", "slice", "half"])

    it.effect.prop(
      "agrees with a model that keeps every call",
      { steps: Schema.Array(Step), multiplier: Schema.Literals([1, 1.1, 2, 3]) },
      ({ multiplier, steps }) =>
        Effect.gen(function*() {
          const throttle = yield* Throttle.make({ ...bare, multiplier, window: 1_000 })
          const call = { ok, fail, ignore: Effect.fail(new Fault({ ignored: true })) }
          let now = 0
          let calls: Array<{ readonly at: number; readonly accepted: boolean }> = []
          const odds = () => {
            const slice = (at: number) => Math.floor(at / 100)
            calls = calls.filter(({ at }) => slice(at) > slice(now) - 10)
            const accepts = calls.filter(({ accepted }) => accepted).length
            return Math.max(0, (calls.length - multiplier * accepts) / (calls.length + 1))
          }
          for (const step of steps) {
            if (step === "slice" || step === "half") {
              const pause = step === "slice" ? 100 : 450
              now += pause
              yield* TestClock.adjust(pause)
            } else if (step === "reject") {
              const expected = odds() > 0
              assert.strictEqual(isThrottled(yield* Effect.exit(chance(0)(throttle(ok)))), expected)
              calls.push({ at: now, accepted: !expected })
            } else {
              assert.isFalse(isThrottled(yield* Effect.exit(chance(1)(throttle(call[step])))))
              if (step !== "ignore") calls.push({ at: now, accepted: step === "ok" })
            }
            assert.closeTo(yield* rejection(throttle), odds(), 1e-9)
          }
        })
    )

    it.effect("sends about twice what an overloaded dependency accepts", () =>
      Effect.gen(function*() {
        const throttle = yield* Throttle.make()
        let sent = 0
        for (let second = 0; second < 300; second++) {
          let accepted = 0
          const call = Effect.suspend(() => {
            if (second >= 150) sent++
            return accepted++ < 10 ? ok : fail
          })
          yield* times(100, throttle(call))
          yield* TestClock.adjust("1 second")
        }
        assert.isAbove(sent / 150, 17)
        assert.isBelow(sent / 150, 24)
      }).pipe(Random.withSeed("overload")))
  })

  describe("priority", () => {
    it.effect("throttles a higher one later", () =>
      Effect.gen(function*() {
        // Half, two fifths, three tenths, a tenth are accepted.
        const order = (state: Throttle.State) => Priority.all.filter((priority) => state.rejection[priority] > 0)
        const after = (accepted: number) => Effect.flatMap(seen(accepted, 100 - accepted), ({ inspect }) => inspect)
        assert.deepStrictEqual(order(yield* after(67)), [])
        assert.deepStrictEqual(order(yield* after(60)), ["low"])
        assert.deepStrictEqual(order(yield* after(40)), ["normal", "low"])
        assert.deepStrictEqual(order(yield* after(25)), ["high", "normal", "low"])
        assert.deepStrictEqual(order(yield* after(10)), ["critical", "high", "normal", "low"])
      }))

    it.effect("is that of the calling fiber, normal unless said", () =>
      Effect.gen(function*() {
        const throttle = yield* seen(40, 60)
        const call = chance(0)(throttle(ok))
        assert.isFalse(isThrottled(yield* Effect.exit(at("high")(call))))
        const error = yield* Effect.flip(at("low")(call))
        assert.strictEqual(error.priority, "low")
        assert.strictEqual((yield* Effect.flip(call)).priority, "normal")
      }))

    it.effect("spares every priority while all is well, even with K of one", () =>
      Effect.gen(function*() {
        const { rejection } = yield* (yield* seen(100, 0, { multiplier: 1 })).inspect
        assert.deepStrictEqual(rejection, { critical: 0, high: 0, normal: 0, low: 0 })
      }))
  })

  describe("judgement", () => {
    it.effect("counts neither ignored errors, nor interruptions, nor what runs", () =>
      Effect.gen(function*() {
        const throttle = yield* Throttle.make(bare)
        yield* times(3, throttle(Effect.fail(new Fault({ ignored: true }))))
        const fiber = yield* Effect.forkChild(throttle(Effect.never), { startImmediately: true })
        assert.strictEqual((yield* throttle.inspect).requests, 0)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* throttle.inspect).requests, 0)
      }))

    it.effect("takes no rejection by another policy for the dependency's, and its own is none either", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        yield* Effect.exit(breaker(fail))
        const throttle = yield* Throttle.make(bare)
        yield* times(5, throttle(breaker(ok)))
        assert.strictEqual((yield* throttle.inspect).requests, 0)
        const throttling = yield* seen(0, 20)
        const error = yield* Effect.flip(chance(0)(throttling(ok)))
        assert.deepStrictEqual(Outcome.classify(Exit.fail(error)), Outcome.ignored({ executed: false }))
      }))

    it.effect("counts a defect as a failure, and passes it on", () =>
      Effect.gen(function*() {
        const throttle = yield* Throttle.make(bare)
        assert.deepStrictEqual(yield* Effect.exit(throttle(Effect.die("boom"))), Exit.die("boom"))
        assert.strictEqual(yield* rejection(throttle), 1 / 2)
      }))

    it.effect("survives a classifier that dies", () =>
      Effect.gen(function*() {
        const throttle = yield* Throttle.make({
          classify: () => {
            throw new Error("broken classifier")
          }
        })
        assert.isTrue(Exit.hasDies(yield* Effect.exit(throttle(ok))))
        assert.strictEqual((yield* throttle.inspect).requests, 0)
      }))
  })

  describe("stream", () => {
    it.effect("is one call, judged by its end", () =>
      Effect.gen(function*() {
        const throttle = yield* Throttle.make(bare)
        assert.deepStrictEqual(yield* Stream.runCollect(throttle.stream(Stream.make(1, 2))), [1, 2])
        yield* Effect.exit(Stream.runCollect(throttle.stream(Stream.concat(Stream.make(1), Stream.fail("cut")))))
        const { accepts, requests } = yield* throttle.inspect
        assert.deepStrictEqual({ accepts, requests }, { accepts: 1, requests: 2 })
      }))

    it.effect("is rejected without being pulled", () =>
      Effect.gen(function*() {
        const throttle = yield* seen(0, 20)
        let pulled = false
        const stream = Stream.fromEffect(Effect.sync(() => pulled = true))
        const error = yield* Effect.flip(chance(0)(Stream.runDrain(throttle.stream(stream))))
        assert.strictEqual(error._tag, "Throttled")
        assert.isFalse(pulled)
      }))
  })

  it.effect("a thousand concurrent callers are each counted once", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make()
      const gate = yield* Deferred.make<void>()
      const fibers = yield* Effect.forEach(Array.from({ length: 1_000 }), (_, index) =>
        Effect.forkChild(throttle(Effect.andThen(Deferred.await(gate), index % 4 === 0 ? ok : fail)), {
          startImmediately: true
        }))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.awaitAll(fibers)
      const { accepts, requests } = yield* throttle.inspect
      assert.deepStrictEqual({ accepts, requests }, { accepts: 250, requests: 1_000 })
    }))

  it.live("interrupted at any step, it has counted a call once or not at all", () =>
    Effect.gen(function*() {
      yield* interruptEverywhere({
        setup: Throttle.make(),
        run: (throttle) => throttle(Effect.sleep("1 second")),
        check: (throttle, exit) =>
          Effect.map(throttle.inspect, ({ accepts, requests }) => {
            assert.strictEqual(accepts, requests)
            assert.isTrue(requests === 1 || (requests === 0 && Exit.isFailure(exit)))
          })
      })
    }))

  it.effect("repeats with the same seed", () =>
    Effect.gen(function*() {
      const run = (seed: string) =>
        Effect.flatMap(
          seen(0, 20),
          (throttle) => Effect.map(times(60, throttle(ok)), (exits) => exits.map(isThrottled))
        )
          .pipe(Random.withSeed(seed))
      assert.deepStrictEqual(yield* run("a"), yield* run("a"))
      assert.notDeepEqual(yield* run("a"), yield* run("b"))
    }))

  it.effect("changes its settings while in use", () =>
    Effect.gen(function*() {
      const throttle = yield* seen(40, 60)
      yield* throttle.update({ multiplier: 3 })
      assert.strictEqual(yield* rejection(throttle), 0)
      yield* throttle.update({ multiplier: 1, maxRejection: 0.5 })
      assert.strictEqual(yield* rejection(throttle), 0.5)
      yield* throttle.update({ minimumRequests: 1_000 })
      assert.strictEqual(yield* rejection(throttle), 0)
      assert.throws(() => throttle.update({ multiplier: 0 }), RangeError, "Throttle.update: multiplier must be")
    }))

  it.effect("says what it rejects, and counts it", () =>
    Effect.gen(function*() {
      const throttle = yield* seen(0, 19, { name: "catalogue" })
      const heard = yield* Effect.forkChild(Stream.runCollect(Stream.take(throttle.events, 1)), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      const error = yield* Effect.flip(chance(0)(throttle(ok)))
      assert.strictEqual(
        error.message,
        "Throttle \"catalogue\" turned a call of normal priority away: 95 % of them are for now"
      )
      assert.deepStrictEqual(yield* Fiber.join(heard), [
        { _tag: "Throttled", priority: "normal", probability: 0.95 }
      ])
      assert.deepStrictEqual(yield* metrics, {
        "ballast_policy_rejections_total{name=catalogue,policy=throttle}": 1
      })
    }).pipe(withMetrics))

  it.effect("keeps a throttle for each key, until its window is empty", () =>
    Effect.gen(function*() {
      const throttles = yield* Throttle.keyed({ window: "30 minutes" })
      yield* times(20, throttles("a")(fail))
      yield* throttles.get("b")
      assert.isAbove(yield* rejection(yield* throttles.get("a")), 0)
      assert.strictEqual(yield* rejection(yield* throttles.get("b")), 0)
      yield* TestClock.adjust("15 minutes")
      yield* throttles.get("c")
      assert.deepStrictEqual(yield* throttles.keys, ["a", "c"])
    }))

  it.effect("noop lets everything through and counts nothing", () =>
    Effect.gen(function*() {
      const exits = yield* chance(0)(times(100, Throttle.noop(fail)))
      assert.isFalse(exits.some(isThrottled))
      yield* Throttle.noop.update({ multiplier: 1 })
      assert.strictEqual((yield* Throttle.noop.inspect).requests, 0)
      assert.deepStrictEqual(yield* Stream.runCollect(Throttle.noop.events), [])
    }))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [Throttle.Options, string]> = [
      [{ multiplier: 0.5 }, "Throttle.make: multiplier must be a finite number of at least 1, got 0.5"],
      [{ maxRejection: 0 }, "Throttle.make: maxRejection must be in (0, 1], got 0"],
      [
        { minimumRequests: -1 },
        "Throttle.make: minimumRequests must be an integer of at least 0, or Infinity, got -1"
      ],
      [{ window: 0 }, "Throttle.make: window must be a finite duration above zero, got 0"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => Throttle.make(options), RangeError, message)
      })
    }
  })
})
