import { ConcurrencyLimit, Deadline, Hedge, Idempotency, Outcome, type Policy, RateLimiter } from "@ballast/resilience"
import { interruptEverywhere, record } from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Latencies from "../src/internal/latencies.ts"
import { eventsOf, Fault, metrics, withMetrics } from "./support.ts"
import { makeSource } from "./support/streams.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const rest = { calls: 0, attempts: 0 }
const load = (state: Hedge.State) => ({ calls: state.calls, attempts: state.attempts })

/** A dependency whose attempts take and give what the script says; it remembers what became of each. */
const dependency = (...script: ReadonlyArray<readonly [millis: number, answer: Effect.Effect<string, Fault>]>) => {
  const log: Array<string> = []
  const call = Effect.gen(function*() {
    const number = yield* Hedge.CurrentHedge
    const [millis, answer] = script[number - 1] ?? [0, Effect.succeed(`answer ${number}`)]
    log.push(`start ${number}`)
    yield* Effect.sleep(millis)
    return yield* answer
  }).pipe(Effect.onExit((exit) =>
    Effect.gen(function*() {
      const number = yield* Hedge.CurrentHedge
      yield* Effect.yieldNow
      log.push(`${Exit.isSuccess(exit) ? "success" : Exit.hasInterrupts(exit) ? "interrupted" : "failure"} ${number}`)
    })
  ))
  return { call, log }
}

/** Runs a program to its end under virtual time; gives its exit and how long it took. */
const run = Effect.fnUntraced(function*<A, E, R>(self: Effect.Effect<A, E, R>, within: Duration.Input = "1 hour") {
  const began = yield* Clock.currentTimeMillis
  const fiber = yield* start(
    Effect.flatMap(
      Effect.exit(self),
      (exit) => Effect.map(Clock.currentTimeMillis, (now) => ({ exit, took: now - began }))
    )
  )
  yield* TestClock.adjust(within)
  return yield* Fiber.join(fiber)
})

/** Milliseconds that the thorough tests may take; no more than a guard against hanging. */
const patience = 60_000

const generous = { budget: Infinity } as const
const slow = (answer: string) => [5_000, Effect.succeed(answer)] as const
const unavailable = Effect.fail(new Fault({}))

describe("Hedge", () => {
  describe("after a delay", () => {
    it.effect("a fast call is made once", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call, log } = dependency([999, Effect.succeed("first")])
        assert.deepStrictEqual(yield* run(hedge(call)), { exit: Exit.succeed("first"), took: 999 })
        assert.deepStrictEqual(log, ["start 1", "success 1"])
      }))

    it.effect("a slow call is made again, and the loser is finalized before the answer is returned", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call, log } = dependency(slow("first"), [300, Effect.succeed("second")])
        const seen = Effect.map(hedge(call), (answer) => log.push(`returned ${answer}`))
        const { took } = yield* run(seen)
        assert.strictEqual(took, 1_300)
        assert.deepStrictEqual(log, ["start 1", "start 2", "success 2", "interrupted 1", "returned second"])
        assert.deepStrictEqual(load(yield* hedge.inspect), rest)
      }))

    it.effect("the first attempt may still win", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call } = dependency([1_500, Effect.succeed("first")], slow("second"))
        assert.deepStrictEqual(yield* run(hedge(call)), { exit: Exit.succeed("first"), took: 1_500 })
      }))

    it.effect("up to maxAttempts run, a delay apart", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, delay: 100, maxAttempts: 3 })
        const { call } = dependency(slow("1"), slow("2"), slow("3"), slow("4"))
        const fiber = yield* start(hedge(call))
        const running: Array<number> = []
        for (let millis = 0; millis < 400; millis += 100) {
          running.push((yield* hedge.inspect).attempts)
          yield* TestClock.adjust(100)
        }
        assert.deepStrictEqual(running, [1, 2, 3, 3])
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* Fiber.join(fiber), "1")
        assert.deepStrictEqual(load(yield* hedge.inspect), rest)
      }))

    it.effect("maxAttempts 1 and an infinite delay start none by time", () =>
      Effect.gen(function*() {
        for (const options of [{ maxAttempts: 1 }, { delay: Infinity }]) {
          const hedge = yield* Hedge.make({ ...generous, ...options })
          const { call, log } = dependency(slow("first"))
          yield* run(hedge(call))
          assert.strictEqual(log.filter((line) => line.startsWith("start")).length, 1)
        }
      }))
  })

  describe("a call that must not run twice", () => {
    const notTwice = <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.provideService(self, Idempotency.CurrentIdempotent, false)

    it.effect("has one attempt, however slow it is", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call, log } = dependency(slow("first"), [300, Effect.succeed("second")])
        assert.deepStrictEqual(yield* run(notTwice(hedge(call))), { exit: Exit.succeed("first"), took: 5_000 })
        assert.deepStrictEqual(log, ["start 1", "success 1"])
      }))

    it.effect("has one attempt when that fails", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call, log } = dependency([10, unavailable], [10, Effect.succeed("second")])
        assert.isTrue(Exit.isFailure((yield* run(notTwice(hedge(call)))).exit))
        assert.deepStrictEqual(log, ["start 1", "failure 1"])
      }))

    it.effect("holds for a stream too", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call, log } = dependency(slow("first"), [300, Effect.succeed("second")])
        yield* run(notTwice(Stream.runDrain(hedge.stream(Stream.fromEffect(call)))))
        assert.deepStrictEqual(log, ["start 1", "success 1"])
      }))
  })

  describe("after a failure", () => {
    it.effect("the next attempt starts at once", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call, log } = dependency([10, unavailable], [10, Effect.succeed("second")])
        assert.deepStrictEqual(yield* run(hedge(call)), { exit: Exit.succeed("second"), took: 20 })
        assert.deepStrictEqual(log, ["start 1", "failure 1", "start 2", "success 2"])
      }))

    it.effect("an error that no other attempt may mend ends the call and its other attempts", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const fault = new Fault({ retryable: false })
        const { call, log } = dependency(slow("first"), [10, Effect.fail(fault)])
        assert.deepStrictEqual(yield* run(hedge(call)), { exit: Exit.fail(fault), took: 1_010 })
        assert.deepStrictEqual(log.slice(-2), ["failure 2", "interrupted 1"])
      }))

    it.effect("a failed attempt leaves the field to those that run", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call } = dependency([1_500, unavailable], slow("second"))
        assert.deepStrictEqual(yield* run(hedge(call)), { exit: Exit.succeed("second"), took: 6_000 })
      }))

    it.effect("the last error is returned as it was when all fail", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, maxAttempts: 3 })
        const last = new Fault({})
        const { call } = dependency([2_500, Effect.fail(last)], [10, unavailable], [10, unavailable])
        const { exit, took } = yield* run(hedge(call))
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === last)
        assert.strictEqual(took, 2_500)
      }))

    it.effect("a defect is returned at once", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        assert.deepStrictEqual((yield* run(hedge(Effect.die("boom")))).exit, Exit.die("boom"))
        assert.deepStrictEqual(load(yield* hedge.inspect), rest)
      }))

    it.effect("a result may count as a failure", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({
          ...generous,
          classify: (exit) => Exit.isSuccess(exit) && exit.value === "" ? Outcome.failure() : Outcome.classify(exit)
        })
        const { call } = dependency([10, Effect.succeed("")])
        assert.deepStrictEqual((yield* run(hedge(call))).exit, Exit.succeed("answer 2"))
      }))

    it.effect("a classifier that dies ends the call", () =>
      Effect.gen(function*() {
        const defect = new Error("broken classifier")
        const hedge = yield* Hedge.make({
          ...generous,
          classify: () => {
            throw defect
          }
        })
        const { call } = dependency([10, Effect.succeed("first")])
        assert.deepStrictEqual((yield* run(hedge(call))).exit, Exit.die(defect))
        assert.deepStrictEqual(load(yield* hedge.inspect), rest)
      }))
  })

  describe("after a rejection", () => {
    const turnedAway = { [Outcome.key]: Outcome.ignored({ executed: false }) }
    const late = (answer: Effect.Effect<string, unknown>, millis: number) =>
      Effect.andThen(Effect.sleep(millis), answer)
    /** Attempts that end as told, counted. */
    const attempts = (...answers: ReadonlyArray<Effect.Effect<string, unknown>>) => {
      let made = 0
      return { call: Effect.suspend(() => answers[made++] ?? Effect.die("one attempt too many")), made: () => made }
    }
    const endOf = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit.value

    const inside: Record<string, Effect.Effect<Policy.Policy<unknown>>> = {
      "no slot": ConcurrencyLimit.make({ limit: 1 }),
      "a place in a queue that is given up": ConcurrencyLimit.make({ limit: 1, queue: 1, maxWait: "500 millis" }),
      "no token": RateLimiter.make({ limit: 1, window: "1 hour" })
    }
    for (const [what, make] of Object.entries(inside)) {
      it.effect(`the attempt that runs goes on without the next: ${what}`, () =>
        Effect.gen(function*() {
          for (const kind of ["effect", "stream"] as const) {
            const hedge = yield* Hedge.make(generous)
            const limit = yield* make
            const { call, log } = dependency([2_000, Effect.succeed("first")])
            const once = kind === "effect"
              ? hedge(limit(call))
              : Effect.map(Stream.runCollect(hedge.stream(limit.stream(Stream.fromEffect(call)))), (items) =>
                items.join())
            assert.deepStrictEqual(yield* run(once), { exit: Exit.succeed("first"), took: 2_000 })
            assert.deepStrictEqual(log, ["start 1", "success 1"])
            assert.deepStrictEqual(load(yield* hedge.inspect), rest)
          }
        }))
    }

    it.effect("the next attempt waits for its time, which comes as if nothing had happened", () =>
      Effect.gen(function*() {
        for (const takes of [0, 400]) {
          const hedge = yield* Hedge.make({ ...generous, maxAttempts: 3 })
          const { call, made } = attempts(
            late(Effect.succeed("first"), 5_000),
            late(Effect.fail(turnedAway), takes),
            Effect.succeed("third")
          )
          const fiber = yield* start(hedge(call))
          yield* TestClock.adjust(1_999)
          assert.strictEqual(made(), 2)
          yield* TestClock.adjust(1)
          assert.strictEqual(yield* Fiber.join(fiber), "third")
        }
      }))

    it.effect("no further attempt starts at once, though another try of the call may make sense", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, maxAttempts: 4 })
        const storeFailed = { [Outcome.key]: Outcome.ignored({ retryable: true, executed: false }) }
        const { call, made } = attempts(
          late(Effect.succeed("first"), 5_000),
          Effect.fail(storeFailed),
          Effect.fail(storeFailed),
          Effect.fail(storeFailed)
        )
        const fiber = yield* start(hedge(call))
        for (const attempt of [1, 2, 3, 4]) {
          assert.strictEqual(made(), attempt)
          yield* TestClock.adjust(1_000)
        }
        yield* TestClock.adjust(1_000)
        assert.strictEqual(yield* Fiber.join(fiber), "first")
      }))

    it.effect("ends the call when it is the only attempt", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { call, made } = attempts(Effect.fail(turnedAway))
        const { exit, took } = yield* run(hedge(call))
        assert.deepStrictEqual([endOf(exit), took, made()], [turnedAway, 0, 1])
      }))

    it.effect("is not what the call fails with when the dependency has failed it, in whatever order", () =>
      Effect.gen(function*() {
        const fault = new Fault({})
        const orders = [
          [Effect.fail(fault), Effect.fail(turnedAway)],
          [late(Effect.fail(fault), 3_000), Effect.fail(turnedAway)],
          [late(Effect.fail(turnedAway), 3_000), Effect.fail(fault)]
        ]
        for (const order of orders) {
          const hedge = yield* Hedge.make(generous)
          assert.strictEqual(endOf((yield* run(hedge(attempts(...order).call))).exit), fault)
        }
      }))

    it.effect("is what the call fails with when all attempts were rejected, and then the last one is", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const last = { [Outcome.key]: Outcome.ignored({ executed: false }) }
        const { call } = attempts(late(Effect.fail(last), 3_000), Effect.fail(turnedAway))
        const { exit, took } = yield* run(hedge(call))
        assert.strictEqual(endOf(exit), last)
        assert.strictEqual(took, 3_000)
      }))

    it.effect("is something else than the dependency's own answer, which ends the call", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const notFound = new Fault({ ignored: true })
        const { call } = attempts(late(Effect.succeed("first"), 5_000), Effect.fail(notFound))
        assert.deepStrictEqual(yield* run(hedge(call)), { exit: Exit.fail(notFound), took: 1_000 })
      }))
  })

  it.effect("any number of attempts, one right after the other, does not grow the stack", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({ ...generous, delay: 0, maxAttempts: 10_000 })
      let failed = 0
      const fails = Effect.suspend(() => {
        failed++
        return unavailable
      })
      assert.instanceOf(yield* Effect.flip(hedge(fails)), Fault)
      assert.strictEqual(failed, 10_000)
      const gate = yield* Deferred.make<string>()
      const fiber = yield* start(hedge(Deferred.await(gate)))
      assert.strictEqual((yield* hedge.inspect).attempts, 10_000)
      yield* Deferred.succeed(gate, "answer")
      assert.strictEqual(yield* Fiber.join(fiber), "answer")
      assert.deepStrictEqual(load(yield* hedge.inspect), rest)
    }))

  describe("budget", () => {
    it.effect("the tenth call is the first that may be hedged by default", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make()
        const second = Effect.map(
          hedge(Effect.flatMap(Hedge.CurrentHedge, (number) => number === 1 ? Effect.never : Effect.succeed(number))),
          (number) => number === 2
        )
        for (let call = 0; call < 9; call++) yield* hedge(Effect.void)
        assert.strictEqual((yield* hedge.inspect).affordable, 0)
        assert.deepStrictEqual((yield* run(second)).exit, Exit.succeed(true))
        assert.strictEqual((yield* hedge.inspect).affordable, 0)
      }))

    it.effect("a spent budget leaves a failure as it is", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ budget: 0 })
        const { call, log } = dependency([10, unavailable])
        assert.isTrue(Exit.isFailure((yield* run(hedge(call))).exit))
        assert.deepStrictEqual(log, ["start 1", "failure 1"])
      }))

    it.effect.prop("is never exceeded", {
      budget: Schema.Literals([0.05, 0.1, 0.3, 0.5, 1]),
      calls: Schema.Array(Schema.Struct({ slow: Schema.Boolean, fails: Schema.Boolean })).check(Schema.isMaxLength(60))
    }, ({ budget, calls }) =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ budget, delay: 10, maxAttempts: 4 })
        let extra = 0
        let made = 0
        for (const { fails, slow } of calls) {
          made++
          const call = Effect.gen(function*() {
            if ((yield* Hedge.CurrentHedge) > 1) extra++
            assert.isAtMost(extra, made * budget + 1e-9)
            yield* Effect.sleep(slow ? 35 : 5)
            if (fails) return yield* new Fault({})
          })
          yield* run(hedge(call), 200)
        }
        const { affordable } = yield* hedge.inspect
        assert.isAtMost(affordable, 10)
        assert.isAtMost(affordable + extra, made * budget + 1e-9)
      }))
  })

  describe("percentile", () => {
    const takes = (millis: number) => Effect.sleep(millis)

    it.effect("is used once enough is measured, and slides with the window", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, percentile: 0.9, minimumSamples: 10 })
        for (let call = 1; call <= 9; call++) yield* run(hedge(takes(call * 10)), 100)
        assert.deepStrictEqual((yield* hedge.inspect).delay, Duration.seconds(1))
        yield* run(hedge(takes(100)), 100)
        const { delay, measured } = yield* hedge.inspect
        assert.strictEqual(measured, 10)
        assert.isAtLeast(Duration.toMillis(delay), 90)
        assert.isAtMost(Duration.toMillis(delay), 90 * 1.05)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual((yield* hedge.inspect).delay, Duration.seconds(1))
      }))

    it.effect("losers and failures stay out of it", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, percentile: 0.99, minimumSamples: 1, delay: 100 })
        const { call } = dependency([5_000, Effect.succeed("first")], [50, Effect.succeed("second")])
        yield* run(hedge(call), "1 second")
        yield* run(hedge(dependency([20, unavailable], [30, unavailable]).call), "1 second")
        const { delay, measured } = yield* hedge.inspect
        assert.strictEqual(measured, 1)
        assert.isAtMost(Duration.toMillis(delay), 50 * 1.05)
      }))

    it.effect.prop("is at most 5 % above the exact one", {
      latencies: Schema.NonEmptyArray(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3_000_000 }))),
      share: Schema.Literals([0.01, 0.5, 0.9, 0.95, 0.99])
    }, ({ latencies, share }) =>
      Effect.sync(() => {
        const measured = Latencies.make(1_000)
        for (const latency of latencies) Latencies.record(measured, 5, latency)
        const exact = latencies.toSorted((a, b) => a - b)[Math.ceil(share * latencies.length - 1e-9) - 1] ?? NaN
        const found = Latencies.percentile(measured, 5, share) ?? NaN
        assert.isAtLeast(found, exact * (1 - 1e-9))
        assert.isAtMost(found, exact * 1.05 * (1 + 1e-9))
      }))

    it.effect.prop("counts what is in the window and nothing else", {
      pauses: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 700 })))
    }, ({ pauses }) =>
      Effect.sync(() => {
        const measured = Latencies.make(1_000)
        const times: Array<number> = []
        let now = 0
        for (const pause of pauses) {
          now += pause
          times.push(now)
          Latencies.record(measured, now, 10)
          const slice = (at: number) => Math.floor(at / 200)
          const expected = times.filter((at) => slice(at) > slice(now) - 5).length
          assert.strictEqual(measured.count, expected)
          assert.strictEqual(measured.total.reduce((sum, one) => sum + one, 0), expected)
        }
      }))
  })

  describe("stream", () => {
    /** A stream that waits for its first item and then for each of the rest. */
    const source = (...waits: ReadonlyArray<number>) => {
      const log: Array<string> = []
      const stream = Stream.unwrap(Effect.map(Hedge.CurrentHedge, (number) => {
        log.push(`open ${number}`)
        return Stream.make(1, 2, 3).pipe(
          Stream.rechunk(1),
          Stream.mapEffect((item) =>
            Effect.as(Effect.sleep(item === 1 ? waits[number - 1] ?? 0 : 2_000), `${number}:${item}`)
          ),
          Stream.ensuring(Effect.sync(() => log.push(`close ${number}`)))
        )
      }))
      return { stream, log }
    }

    it.effect("races for the first item; the winner goes on, the loser is closed", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { log, stream } = source(5_000, 100)
        const items = Stream.tap(hedge.stream(stream), (item) => Effect.sync(() => log.push(item)))
        const { exit, took } = yield* run(Stream.runCollect(items))
        assert.deepStrictEqual(exit, Exit.succeed(["2:1", "2:2", "2:3"]))
        assert.strictEqual(took, 5_100)
        assert.deepStrictEqual(log, ["open 1", "open 2", "close 1", "2:1", "2:2", "2:3", "close 2"])
      }))

    it.effect("is not hedged after its first item, whatever happens to it", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        let opened = 0
        const broken = Stream.suspend(() => {
          opened++
          return Stream.concat(Stream.make(1), Stream.fromEffect(Effect.delay(unavailable, "5 seconds")))
        })
        assert.isTrue(Exit.isFailure((yield* run(Stream.runCollect(hedge.stream(broken)))).exit))
        assert.strictEqual(opened, 1)
      }))

    it.effect("starts the next at once when one fails before its first item", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const stream = Stream.unwrap(
          Effect.map(
            Hedge.CurrentHedge,
            (number) => number === 1 ? Stream.fromEffect(unavailable) : Stream.make(number)
          )
        )
        assert.deepStrictEqual(yield* run(Stream.runCollect(hedge.stream(stream))), {
          exit: Exit.succeed([2]),
          took: 0
        })
      }))

    it.effect("a cooperative deadline around it stops the winner, not whoever was opened last", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, delay: "2 seconds" })
        const sources = [makeSource("3 seconds", "1 minute"), makeSource("1 minute")]
        const stream = Stream.unwrap(
          Effect.map(Hedge.CurrentHedge, (number) => sources[number - 1]?.stream ?? Stream.empty)
        )
        const policy = Deadline.total("10 seconds", { cooperative: true })
        const { exit, took } = yield* run(Effect.flip(Stream.runDrain(policy.stream(hedge.stream(stream)))))
        assert.strictEqual(took, 10_000)
        assert.isTrue(Exit.isSuccess(exit) && exit.value._tag === "DeadlineExceeded")
      }))

    it.effect("an empty stream is an answer", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        assert.deepStrictEqual(yield* Stream.runCollect(hedge.stream(Stream.empty)), [])
      }))

    it.effect("closes the winner when the consumer stops early", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        const { log, stream } = source(5_000, 100)
        yield* run(Stream.runDrain(Stream.take(hedge.stream(stream), 1)))
        assert.deepStrictEqual(log, ["open 1", "open 2", "close 1", "close 2"])
      }))

    it.effect("interrupted at every step leaves nothing open", () =>
      Effect.gen(function*() {
        let open = 0
        const one = Stream.unwrap(Effect.map(Hedge.CurrentHedge, (number) =>
          Stream.scoped(Stream.fromEffect(Effect.andThen(
            Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--)),
            Effect.sleep(number === 1 ? 100 : 10)
          )))))
        const { interrupted } = yield* interruptEverywhere({
          setup: Hedge.make({ ...generous, delay: 20, maxAttempts: 3 }),
          run: (hedge) =>
            Stream.runDrain(hedge.stream(one)),
          check: (hedge) =>
            Effect.map(hedge.inspect, (state) => {
              assert.deepStrictEqual({ ...load(state), open }, { ...rest, open: 0 })
            })
        })
        assert.isAbove(interrupted, 62)
      }), patience)
  })

  describe("interruption", () => {
    it.effect("of the caller interrupts all attempts and waits for them", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, maxAttempts: 3 })
        const { call, log } = dependency(slow("1"), slow("2"), slow("3"))
        const fiber = yield* start(hedge(call))
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(log.slice(3).toSorted(), ["interrupted 1", "interrupted 2", "interrupted 3"])
        assert.deepStrictEqual(load(yield* hedge.inspect), rest)
      }))

    it.effect("of one attempt from within ends the call", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make(generous)
        assert.isTrue(Exit.hasInterrupts((yield* run(hedge(Effect.interrupt))).exit))
      }))

    it.effect("at every step leaves no attempt and no fiber", () =>
      Effect.gen(function*() {
        const { interrupted } = yield* interruptEverywhere({
          setup: Hedge.make({ ...generous, delay: 20, maxAttempts: 3, percentile: 0.9, minimumSamples: 1 }),
          run: (hedge) =>
            hedge(Effect.flatMap(Hedge.CurrentHedge, (number) =>
              Effect.ensuring(
                number === 2 ? Effect.andThen(Effect.sleep(5), unavailable) : Effect.sleep(number === 1 ? 100 : 10),
                Effect.yieldNow
              ))),
          check: (hedge) => Effect.map(hedge.inspect, (state) => assert.deepStrictEqual(load(state), rest))
        })
        assert.isAbove(interrupted, 62)
      }), patience)
  })

  it.effect("1,000 callers at once each get their answer", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({ budget: 0.5, delay: 10 })
      let extra = 0
      const call = (index: number) =>
        hedge(Effect.gen(function*() {
          const number = yield* Hedge.CurrentHedge
          if (number > 1) extra++
          yield* Effect.sleep(number === 1 && index % 2 === 0 ? 1_000 : 5)
          return index
        }))
      const calls = Array.from({ length: 1_000 }, (_, index) => index)
      const { exit } = yield* run(Effect.forEach(calls, call, { concurrency: "unbounded" }))
      assert.deepStrictEqual(exit, Exit.succeed(calls))
      assert.isAtMost(extra, 500)
      assert.isAbove(extra, 0)
      assert.deepStrictEqual(load(yield* hedge.inspect), rest)
    }))

  it.effect("a loser that dies while it is finalized does not change the answer", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(generous)
      const call = Effect.flatMap(Hedge.CurrentHedge, (number) =>
        number === 1 ? Effect.ensuring(Effect.never, Effect.die("finalizer")) : Effect.succeed(number))
      assert.deepStrictEqual((yield* run(hedge(call))).exit, Exit.succeed(2))
    }))

  it.effect("each of two nested hedges counts its own attempts", () =>
    Effect.gen(function*() {
      const outer = yield* Hedge.make(generous)
      const inner = yield* Hedge.make(generous)
      const seen: Array<number> = []
      const call = Effect.flatMap(Hedge.CurrentHedge, (number) => {
        seen.push(number)
        return seen.length === 1 ? unavailable : seen.length === 2 ? Effect.fail(new Fault({})) : Effect.succeed(number)
      })
      assert.deepStrictEqual((yield* run(outer(inner(call)))).exit, Exit.succeed(1))
      assert.deepStrictEqual(seen, [1, 2, 1])
    }))

  describe("update", () => {
    it.effect("changes what the next decision reads, and keeps what is left out", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ ...generous, maxAttempts: 1 })
        const { call } = dependency([400, unavailable], [10, Effect.succeed("second")])
        const fiber = yield* start(hedge(call))
        yield* hedge.update({ maxAttempts: 2, delay: 7 })
        assert.deepStrictEqual((yield* hedge.inspect).delay, Duration.millis(7))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(fiber), "second")
      }))

    it.effect("a smaller budget takes back what is saved above it", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make({ budget: 1 })
        yield* Effect.repeat(hedge(Effect.void), { times: 19 })
        assert.strictEqual((yield* hedge.inspect).affordable, 10)
        yield* hedge.update({ budget: 0 })
        assert.strictEqual((yield* hedge.inspect).affordable, 0)
        yield* hedge.update({ budget: 0.1 })
        assert.strictEqual((yield* hedge.inspect).affordable, 0)
      }))

    it.effect("refuses what make refuses, in its own words", () =>
      Effect.gen(function*() {
        const hedge = yield* Hedge.make()
        assert.throws(() => hedge.update({ budget: -1 }), RangeError, "Hedge.update: budget must be")
      }))
  })

  it.effect("keyed: each key measures and pays for itself", () =>
    Effect.gen(function*() {
      const hedges = yield* Hedge.keyed({ budget: 0.5, idleTimeToLive: "1 minute" })
      yield* Effect.repeat(hedges("a")(Effect.void), { times: 3 })
      assert.strictEqual((yield* Effect.flatMap(hedges.get("a"), (hedge) => hedge.inspect)).affordable, 2)
      assert.strictEqual((yield* Effect.flatMap(hedges.get("b"), (hedge) => hedge.inspect)).affordable, 0)
      const fiber = yield* start(hedges("busy")(Effect.never))
      yield* TestClock.adjust("2 minutes")
      yield* hedges("c")(Effect.void)
      assert.deepStrictEqual((yield* hedges.keys).toSorted(), ["busy", "c"])
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("noop runs the call once and has nothing to tell", () =>
    Effect.gen(function*() {
      const { call, log } = dependency([10, unavailable])
      assert.isTrue(Exit.isFailure((yield* run(Hedge.noop(call))).exit))
      assert.deepStrictEqual(log, ["start 1", "failure 1"])
      assert.deepStrictEqual(yield* Stream.runCollect(Hedge.noop.stream(Stream.make(1))), [1])
      assert.deepStrictEqual(load(yield* Hedge.noop.inspect), rest)
      assert.deepStrictEqual(yield* Stream.runCollect(Hedge.noop.events), [])
      yield* Hedge.noop.update({ delay: 1 })
    }))

  it.effect("tells what it does", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({ budget: 1, maxAttempts: 3, delay: 100, name: "catalogue" })
      const heard = yield* record(hedge.events)
      const { call } = dependency(slow("1"), [150, Effect.succeed("2")])
      const spanEvents = yield* Effect.map(run(eventsOf(hedge(call))), ({ exit }) => exit)
      assert.deepStrictEqual((yield* heard).map(({ event }) => event), [
        { _tag: "Hedged", attempt: 2, because: "slow" },
        { _tag: "Denied", because: "slow" },
        { _tag: "Won", attempt: 2, of: 2, latency: Duration.millis(150) }
      ])
      assert.deepStrictEqual(
        spanEvents,
        Exit.succeed([
          { name: "ballast.hedge", attributes: { name: "catalogue", attempt: 2, because: "slow" } }
        ])
      )
      assert.deepStrictEqual(yield* metrics, {
        "ballast_hedges_total{because=slow,name=catalogue}": 1,
        "ballast_hedges_denied_total{name=catalogue}": 1,
        "ballast_hedge_wins_total{name=catalogue}": 1
      })
    }).pipe(withMetrics))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [Hedge.Options, string]> = [
      [{ delay: -1 }, "Hedge.make: delay must be a duration of at least zero"],
      [{ percentile: 1 }, "Hedge.make: percentile must be in (0, 1), got 1"],
      [{ percentile: NaN }, "Hedge.make: percentile must be in (0, 1), got NaN"],
      [{ minimumSamples: 0 }, "Hedge.make: minimumSamples must be an integer of at least 1, got 0"],
      [{ maxAttempts: 0 }, "Hedge.make: maxAttempts must be an integer of at least 1, got 0"],
      [{ budget: -0.1 }, "Hedge.make: budget must be a number of at least 0, or Infinity, got -0.1"],
      [{ window: 0 }, "Hedge.make: window must be a finite duration above zero, got 0"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => Hedge.make(options), RangeError, message)
      })
    }
  })
})
