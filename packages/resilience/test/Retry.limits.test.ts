import { CircuitBreaker, Deadline, Idempotency, Outcome, Retry, RetryBudget } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Duration, Effect, Exit, Fiber, Schedule, Schema, Stream } from "effect"
import { hasProperty, isTagged } from "effect/Predicate"
import { TestClock } from "effect/testing"
import { chance, Fault, metrics, scripted, withMetrics } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const fail = Effect.fail(new Fault({}))

/** Runs a call for a virtual day, chance at one half; gives its exit, and the times of its attempts and of its end. */
const observe = Effect.fnUntraced(function*<A, E, E2>(
  policy: (self: Effect.Effect<A, E>) => Effect.Effect<A, E2>,
  call: Effect.Effect<A, E>
) {
  const attempts: Array<number> = []
  const began = yield* Clock.currentTimeMillis
  const since = Effect.map(Clock.currentTimeMillis, (now) => now - began)
  const guarded = policy(Effect.flatMap(since, (at) => {
    attempts.push(at)
    return call
  }))
  const fiber = yield* start(
    Effect.flatMap(Effect.exit(chance(0.5)(guarded)), (exit) => Effect.map(since, (ended) => ({ exit, ended })))
  )
  yield* TestClock.adjust("1 day")
  return { ...(yield* Fiber.join(fiber)), attempts }
})

const notTwice = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Idempotency.CurrentIdempotent, false)

const constant = { base: "2 seconds", factor: 1, times: 9 } as const

describe("Retry limits", () => {
  describe("elapsed time", () => {
    it.effect("begins no attempt after it, and no wait that would end after it", () =>
      Effect.gen(function*() {
        // Waits of a second each.
        const retry = Retry.make({ ...constant, maxElapsed: "3 seconds" })
        const { attempts, ended, exit } = yield* observe(retry, fail)
        assert.deepStrictEqual([attempts, ended], [[0, 1_000, 2_000, 3_000], 3_000])
        assert.isTrue(Exit.isFailure(exit))
        const shorter = yield* observe(Retry.make({ ...constant, maxElapsed: 2_999 }), fail)
        assert.deepStrictEqual([shorter.attempts, shorter.ended], [[0, 1_000, 2_000], 2_000])
      }))

    it.effect("begins no attempt when the timer is late", () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        const late: Clock.Clock = {
          ...clock,
          sleep: (duration) => clock.sleep(Duration.sum(duration, Duration.millis(5)))
        }
        const lately = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, Clock.Clock, late)
        const limited = Retry.make({ ...constant, maxElapsed: "1 second" })
        const { attempts, ended, exit } = yield* observe((self: typeof fail) => lately(limited(self)), fail)
        assert.deepStrictEqual([attempts, ended], [[0], 1_005])
        assert.isTrue(Exit.isFailure(exit))
        const budget = yield* RetryBudget.make({ share: 0, floor: 1 })
        const retry = Retry.make({ ...constant, budget })
        const recorded = yield* Testing.record(retry.events)
        const endsAt = Number(clock.monotonicTimeNanosUnsafe()) / 1e6 + 1_003
        const hurried = (self: typeof fail) =>
          Effect.provideService(lately(retry(self)), Deadline.CurrentDeadline, endsAt)
        assert.deepStrictEqual((yield* observe(hurried, fail)).attempts, [0])
        assert.deepStrictEqual((yield* recorded).at(-1)?.event, { _tag: "GaveUp", attempts: 1, because: "deadline" })
        assert.propertyVal(yield* budget.inspect, "retries", 0)
        assert.deepStrictEqual(yield* retry.inspect, { waiting: 0 })
      }))

    it.effect("counts the attempts' own time from the start of the call", () =>
      Effect.gen(function*() {
        const slow = Effect.andThen(Effect.sleep("2 seconds"), fail)
        const { attempts, ended } = yield* observe(Retry.make({ ...constant, maxElapsed: "5 seconds" }), slow)
        assert.deepStrictEqual([attempts, ended], [[0, 3_000], 5_000])
      }))

    it.effect("cuts what is added to a hint by chance, not the hint", () =>
      Effect.gen(function*() {
        const hinted = Effect.fail(new Fault({ retryAfter: Duration.seconds(10) }))
        const at = (maxElapsed: Duration.Input) =>
          Effect.map(observe(Retry.make({ times: 1, maxElapsed }), hinted), ({ attempts }) => attempts)
        assert.deepStrictEqual(yield* at("10 seconds"), [0, 10_000])
        assert.deepStrictEqual(yield* at("11 seconds"), [0, 10_500])
        assert.deepStrictEqual(yield* at("1 minute"), [0, 11_000])
        assert.deepStrictEqual(yield* at(9_999), [0])
        const hurried = yield* observe((self) => Deadline.total("11 seconds")(Retry.make({ times: 1 })(self)), hinted)
        assert.deepStrictEqual(hurried.attempts, [0, 10_500])
      }))

    it.effect("does not end an attempt that began in time", () =>
      Effect.gen(function*() {
        const { call } = scripted(fail, Effect.delay(Effect.succeed("late"), "1 minute"))
        const { exit } = yield* observe(Retry.make({ ...constant, maxElapsed: "5 seconds" }), call)
        assert.deepStrictEqual(exit, Exit.succeed("late"))
      }))

    it.effect("is no bound by default", () =>
      Effect.gen(function*() {
        const { attempts } = yield* observe(
          Retry.make({
            schedule: Schedule.recurs(2).pipe(
              Schedule.addDelay(() => Effect.succeed("5 hours"))
            )
          }),
          fail
        )
        assert.strictEqual(attempts.length, 3)
      }))
  })

  describe("retryAfter above the ceiling", () => {
    const hinted = (millis: number) => Effect.fail(new Fault({ retryAfter: Duration.millis(millis) }))

    it.effect("ends the retry with the error as it was by default", () =>
      Effect.gen(function*() {
        const fault = new Fault({ retryAfter: Duration.seconds(11) })
        const retry = Retry.make({ maxRetryAfter: "10 seconds" })
        const { attempts, exit } = yield* observe(retry, Effect.fail(fault))
        assert.deepStrictEqual(attempts, [0])
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === fault)
      }))

    it.effect("is cut to it when told so", () =>
      Effect.gen(function*() {
        const { call } = scripted(hinted(10_000), hinted(10_001), hinted(3_600_000))
        const retry = Retry.make({ maxRetryAfter: "10 seconds", aboveMaxRetryAfter: "cap" })
        const { attempts } = yield* observe(retry, call)
        assert.deepStrictEqual(attempts, [0, 11_000, 22_000, 33_000])
      }))

    it.effect("a ceiling of zero believes no hint", () =>
      Effect.gen(function*() {
        const { call } = scripted(hinted(10_000))
        const { attempts } = yield* observe(Retry.make({ maxRetryAfter: 0, aboveMaxRetryAfter: "cap" }), call)
        assert.deepStrictEqual(attempts, [0, 500])
      }))
  })

  describe("the caller's deadline", () => {
    it.effect("is not waited past: the last error is returned at once", () =>
      Effect.gen(function*() {
        const last = new Fault({})
        const { call } = scripted(fail, Effect.fail(last))
        const policy = <A, E>(self: Effect.Effect<A, E>) =>
          Deadline.total("2 seconds")(Retry.make({ ...constant, factor: 2 })(self))
        const { attempts, ended, exit } = yield* observe(policy, call)
        // The wait of two seconds would end at three.
        assert.deepStrictEqual([attempts, ended], [[0, 1_000], 1_000])
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === last)
      }))

    it.effect("is not waited for to the end, and any less is", () =>
      Effect.gen(function*() {
        const within = (total: number) => <A, E>(self: Effect.Effect<A, E>) =>
          Deadline.total(total)(Retry.make({ ...constant, times: 1 })(self))
        assert.deepStrictEqual((yield* observe(within(1_000), fail)).attempts, [0])
        assert.deepStrictEqual((yield* observe(within(1_001), fail)).attempts, [0, 1_000])
      }))

    it.effect("holds for a stream too", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail, fail, fail)
        const stream = Deadline.total("2 seconds").stream(Retry.make(constant).stream(Stream.fromEffect(call)))
        const { ended, exit } = yield* observe((self) => self, Stream.runCollect(stream))
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Fault)
        assert.deepStrictEqual([executions(), ended], [2, 1_000])
      }))
  })

  describe("results", () => {
    const busy = (answer: unknown) => hasProperty(answer, "status") && answer.status === 503
    const classify = Outcome.classifier({ result: (answer) => busy(answer) ? Outcome.failure() : undefined })
    const answers = (...statuses: ReadonlyArray<number>) => {
      const given = statuses.map((status) => ({ status }))
      let calls = 0
      return { given, call: Effect.sync(() => given[calls++]), calls: () => calls }
    }

    it.effect("are retried when they are judged failures", () =>
      Effect.gen(function*() {
        const { call, given } = answers(503, 503, 200)
        const { attempts, exit } = yield* observe(Retry.make({ classify }), call)
        assert.strictEqual(attempts.length, 3)
        assert.isTrue(Exit.isSuccess(exit) && exit.value === given[2])
      }))

    it.effect("the last one is returned as it was", () =>
      Effect.gen(function*() {
        const { call, calls, given } = answers(503, 503, 503, 200)
        const { exit } = yield* observe(Retry.make({ classify, times: 2 }), call)
        assert.strictEqual(calls(), 3)
        assert.isTrue(Exit.isSuccess(exit) && exit.value === given[2])
      }))

    it.effect("an error is returned as it was where results are judged too", () =>
      Effect.gen(function*() {
        const fault = new Fault({ retryable: false })
        const { attempts, exit } = yield* observe(Retry.make({ classify }), Effect.fail(fault))
        assert.deepStrictEqual(attempts, [0])
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === fault)
      }))

    it.effect("their reason is what the schedule sees; while is not asked about results", () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const schedule = Schedule.recurs(5).pipe(Schedule.tap(({ input }) => Effect.sync(() => seen.push(input))))
        const { call, given } = answers(503, 503, 503)
        const retry = Retry.make({ classify, schedule, while: () => false })
        const { attempts } = yield* observe(retry, call)
        assert.strictEqual(attempts.length, 4)
        assert.deepStrictEqual(seen, given.slice(0, 3))
      }))
  })

  describe("error class", () => {
    it.effect("what while does not accept is not retried", () =>
      Effect.gen(function*() {
        const other = { _tag: "Other" } as const
        let calls = 0
        const call = Effect.suspend((): Effect.Effect<never, Fault | typeof other> =>
          calls++ === 0 ? fail : Effect.fail(other)
        )
        const retry = Retry.make({ while: (error) => isTagged(error, "Fault") })
        const { attempts, exit } = yield* observe(retry, call)
        assert.strictEqual(attempts.length, 2)
        assert.deepStrictEqual(exit, Exit.fail(other))
      }))

    it.effect("while widens nothing", () =>
      Effect.gen(function*() {
        const { attempts } = yield* observe(
          Retry.make({ while: () => true }),
          Effect.fail(new Fault({ retryable: false }))
        )
        assert.deepStrictEqual(attempts, [0])
      }))
  })

  describe("idempotency", () => {
    const unsent = { [Outcome.key]: Outcome.failure({ executed: false }) }

    it.effect("a call that must not run twice is only repeated when it certainly did not run", () =>
      Effect.gen(function*() {
        const retry = Retry.make({ times: 2 })
        const once = <A, E>(self: Effect.Effect<A, E>) => notTwice(retry(self))
        assert.deepStrictEqual((yield* observe(once, fail)).attempts.length, 1)
        assert.deepStrictEqual((yield* observe(once, Effect.fail(unsent))).attempts.length, 3)
        const unknown = { [Outcome.key]: Outcome.failure({ executed: true }) }
        assert.deepStrictEqual((yield* observe(once, Effect.fail(unknown))).attempts.length, 1)
      }))

    it.effect("holds for a stream too", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail)
        const stream = Retry.make().stream(Stream.fromEffect(call))
        yield* observe((self) => self, notTwice(Stream.runDrain(stream)))
        assert.strictEqual(executions(), 1)
      }))
  })

  describe("defects", () => {
    it.effect("one in the classifier ends the call with it, and leaves nothing behind", () =>
      Effect.gen(function*() {
        const broken = () => {
          throw new Error("boom")
        }
        for (const options of [{ classify: broken }, { while: broken }]) {
          const retry = Retry.make(options)
          const { attempts, exit } = yield* observe(retry, fail)
          assert.deepStrictEqual(attempts, [0])
          assert.isTrue(Exit.hasDies(exit))
          assert.deepStrictEqual(yield* retry.inspect, { waiting: 0 })
          const streamed = yield* Effect.exit(Stream.runDrain(retry.stream(Stream.fromEffect(fail))))
          assert.isTrue(Exit.hasDies(streamed))
        }
      }))

    it.effect("one in the call is not retried, and the breaker inside sees it", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const { attempts, exit } = yield* observe((self) => Retry.make()(breaker(self)), Effect.die("boom"))
        assert.deepStrictEqual([attempts.length, exit], [1, Exit.die("boom")])
        assert.notStrictEqual((yield* breaker.inspect)._tag, "Closed")
      }))
  })

  describe("events and metrics", () => {
    const because = Effect.fnUntraced(
      function*(
        options: Retry.Options,
        fault: Fault,
        policy: <A, E>(self: Effect.Effect<A, E>) => Effect.Effect<A, unknown>
      ) {
        const retry = Retry.make(options)
        const recorded = yield* Testing.record(retry.events)
        yield* observe((self) => policy(retry(self)), Effect.fail(fault))
        return (yield* recorded).map(({ event }) => event)
      }
    )
    const as = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, unknown> => self
    const gaveUp = (because: Retry.Because): Retry.Event => ({ _tag: "GaveUp", attempts: 1, because })

    it.effect("tell why a call is not tried again", () =>
      Effect.gen(function*() {
        const fault = new Fault({})
        const patient = new Fault({ retryAfter: Duration.hours(1) })
        assert.deepStrictEqual(yield* because({ times: 0 }, fault, as), [gaveUp("times")])
        assert.deepStrictEqual(yield* because({ maxElapsed: 0 }, fault, as), [gaveUp("elapsed")])
        assert.deepStrictEqual(yield* because({}, fault, notTwice), [gaveUp("not-idempotent")])
        assert.deepStrictEqual(yield* because({}, patient, as), [gaveUp("retry-after")])
        assert.deepStrictEqual(yield* because({}, fault, Deadline.total(100)), [gaveUp("deadline")])
        assert.deepStrictEqual(yield* because({}, new Fault({ retryable: false }), as), [])
        assert.deepStrictEqual(yield* metrics, {
          "ballast_retries_given_up_total{because=times,name=default}": 1,
          "ballast_retries_given_up_total{because=elapsed,name=default}": 1,
          "ballast_retries_given_up_total{because=not-idempotent,name=default}": 1,
          "ballast_retries_given_up_total{because=retry-after,name=default}": 1,
          "ballast_retries_given_up_total{because=deadline,name=default}": 1
        })
      }).pipe(withMetrics))

    it.effect("tell of each wait and of the recovery", () =>
      Effect.gen(function*() {
        for (const kind of ["effect", "stream"]) {
          const retry = Retry.make()
          const recorded = yield* Testing.record(retry.events)
          const { call } = scripted(fail, fail)
          const guarded = kind === "effect" ? retry(call) : Stream.runDrain(retry.stream(Stream.fromEffect(call)))
          yield* observe(as, guarded)
          yield* retry(Effect.succeed("at once"))
          assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [
            { _tag: "Waiting", attempt: 2, delay: Duration.millis(500) },
            { _tag: "Waiting", attempt: 3, delay: Duration.seconds(1) },
            { _tag: "Recovered", attempts: 3 }
          ])
        }
      }))
  })

  describe("options", () => {
    const refused: ReadonlyArray<readonly [Retry.Options, string]> = [
      [{ maxElapsed: -1 }, "maxElapsed must be a duration of at least zero, got -1ms"],
      [{ maxElapsed: NaN }, "maxElapsed must be a duration, got NaN"],
      [{ maxElapsed: { seconds: NaN } }, "maxElapsed must be a duration, got NaN"],
      [{ base: NaN }, "base must be a duration, got NaN"],
      [{ aboveMaxRetryAfter: "ignore" as "cap" }, "aboveMaxRetryAfter must be fail or cap, got ignore"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${message}`, () => {
        assert.throws(() => Retry.make(options), RangeError, `Retry.make: ${message}`)
        assert.throws(() => Retry.make().update(options), RangeError, `Retry.update: ${message}`)
      })
    }
  })

  const Millis = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5_000 }))

  it.effect.prop("no attempt ever begins at or after the deadline, or after the elapsed time", {
    total: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5_000 })),
    maxElapsed: Millis,
    took: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 500 })),
    hint: Millis
  }, ({ hint, maxElapsed, took, total }) =>
    Effect.gen(function*() {
      const retry = Retry.make({ times: Infinity, base: 400, cap: "1 second", maxElapsed })
      const fault = new Fault({ retryAfter: Duration.millis(hint) })
      const { attempts, ended } = yield* observe(
        (self: Effect.Effect<never, Fault>) => Deadline.total(total)(retry(self)),
        Effect.andThen(Effect.sleep(took), Effect.fail(fault))
      )
      for (const at of attempts.slice(1)) assert.isTrue(at < total && at <= maxElapsed, String(attempts))
      assert.isAtMost(ended, total)
    }))
})
