import { Outcome, Retry } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Random, Schedule, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { chance, eventsOf, Fault, metrics, scripted, withMetrics } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const fail = Effect.fail(new Fault({}))

/** Runs a call for a virtual day; gives its exit and the times of its attempts. */
const observe = Effect.fnUntraced(
  function*<E>(policy: <A>(self: Effect.Effect<A, Fault>) => Effect.Effect<A, E>, call: Effect.Effect<string, Fault>) {
    const attempts: Array<number> = []
    const began = yield* Clock.currentTimeMillis
    const fiber = yield* start(policy(Effect.flatMap(Clock.currentTimeMillis, (now) => {
      attempts.push(now - began)
      return call
    })))
    yield* TestClock.adjust("1 day")
    return { exit: yield* Fiber.await(fiber), attempts }
  }
)

/** When a call's second attempt began. */
const observeOnce = (retry: Retry.Retry, call: Effect.Effect<never, Fault>) =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    let last = NaN
    yield* Effect.exit(retry(Effect.flatMap(Clock.currentTimeMillis, (now) => {
      last = now - began
      return call
    })))
    return last
  })

describe("Retry", () => {
  describe("attempts", () => {
    it.effect("runs a call that succeeds once", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted()
        assert.strictEqual(yield* Retry.make()(call), "ok")
        assert.strictEqual(executions(), 1)
      }))

    it.effect("stops at the first success", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail, fail)
        const { exit } = yield* observe(Retry.make(), call)
        assert.deepStrictEqual(exit, Exit.succeed("ok"))
        assert.strictEqual(executions(), 3)
      }))

    it.effect("tries five times more, and returns the last error as it was", () =>
      Effect.gen(function*() {
        const last = new Fault({})
        const { call, executions } = scripted(fail, fail, fail, fail, fail, Effect.fail(last))
        const { exit } = yield* observe(Retry.make(), call)
        assert.strictEqual(executions(), 6)
        assert.isTrue(
          Exit.isFailure(exit) && exit.cause.reasons[0]?._tag === "Fail" && exit.cause.reasons[0].error === last
        )
      }))

    it.effect("makes no further attempt with times 0", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail)
        yield* observe(Retry.make({ times: 0 }), call)
        assert.strictEqual(executions(), 1)
      }))

    it.effect("retries neither what the outcome forbids, nor a defect, nor an interruption", () =>
      Effect.gen(function*() {
        for (const end of [Effect.fail(new Fault({ retryable: false })), Effect.die("boom"), Effect.interrupt]) {
          const { call, executions } = scripted(end)
          const { exit } = yield* observe(Retry.make(), call)
          assert.isTrue(Exit.isFailure(exit))
          assert.strictEqual(executions(), 1)
        }
      }))

    it.effect("retries an ignored error that says so", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(Effect.fail(new Fault({ ignored: true, retryable: true })))
        yield* observe(Retry.make(), call)
        assert.strictEqual(executions(), 2)
      }))

    it.effect("judges by the classifier that it is given", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail)
        yield* observe(Retry.make({ classify: () => Outcome.failure({ retryable: false }) }), call)
        assert.strictEqual(executions(), 1)
      }))

    it.effect("keeps no state between calls", () =>
      Effect.gen(function*() {
        const policy = Retry.make({ times: 1 })
        for (let n = 0; n < 2; n++) {
          const { call, executions } = scripted(fail, fail, fail)
          yield* observe(policy, call)
          assert.strictEqual(executions(), 2)
        }
      }))
  })

  describe("waits", () => {
    it.effect("doubles the bound from one second", () =>
      Effect.gen(function*() {
        const { attempts } = yield* observe((self) => chance(0.5)(Retry.make()(self)), fail)
        assert.deepStrictEqual(attempts, [0, 500, 1_500, 3_500, 7_500, 15_500])
      }))

    it.effect("caps the bound before jitter", () =>
      Effect.gen(function*() {
        const retry = Retry.make({ base: "10 seconds", factor: 10, times: 3 })
        const { attempts } = yield* observe((self) => chance(0.5)(retry(self)), fail)
        assert.deepStrictEqual(attempts, [0, 5_000, 35_000, 65_000])
      }))

    it.effect("waits for a finite time however large the bound is, and at the least chance not at all", () =>
      Effect.gen(function*() {
        const retry = Retry.make({ factor: 1e200, times: 3 })
        assert.deepStrictEqual((yield* observe((self) => chance(0)(retry(self)), fail)).attempts, [0, 0, 0, 0])
        const { attempts } = yield* observe((self) => chance(0.5)(retry(self)), fail)
        assert.deepStrictEqual(attempts, [0, 500, 30_500, 60_500])
      }))

    it.effect.prop(
      "draws each wait from zero to its bound",
      { seed: Schema.Int },
      ({ seed }) =>
        Effect.gen(function*() {
          const { attempts } = yield* observe((self) => Random.withSeed(Retry.make()(self), seed), fail)
          assert.strictEqual(attempts.length, 6)
          const waits = attempts.slice(1).map((at, n) => at - (attempts[n] ?? 0))
          assert.isTrue(waits.every((wait, n) => wait >= 0 && wait <= 1_000 * 2 ** n), String(waits))
        })
    )

    it.effect("follows the schedule that it is given, which sees the error", () =>
      Effect.gen(function*() {
        const inputs: Array<unknown> = []
        const schedule = Schedule.recurs(2).pipe(
          Schedule.addDelay(() => Effect.succeed("3 seconds")),
          Schedule.tap(({ input }) => Effect.sync(() => inputs.push(input)))
        )
        const { attempts } = yield* observe(Retry.make({ schedule }), fail)
        assert.deepStrictEqual(attempts, [0, 3_000, 6_000])
        assert.isTrue(inputs.every((input) => input instanceof Fault))
      }))

    it.effect("takes the dependency's hint as a floor, and adds up to a fifth of it by chance, at most 10 seconds", () =>
      Effect.gen(function*() {
        const hint = (millis: number) => Effect.fail(new Fault({ retryAfter: Duration.millis(millis) }))
        const { call } = scripted(hint(7_000), hint(100), hint(60_000))
        const { attempts } = yield* observe((self) => chance(0.5)(Retry.make()(self)), call)
        assert.deepStrictEqual(attempts, [0, 7_700, 8_700, 73_700])
      }))

    it.effect.prop(
      "spreads callers over the time after a hint, and lets none come before it",
      { seed: Schema.String, seconds: Schema.Number.check(Schema.isBetween({ minimum: 0.1, maximum: 60 })) },
      ({ seconds, seed }) =>
        Effect.gen(function*() {
          const hint = Duration.millis(seconds * 1_000)
          const busy = Effect.fail(new Fault({ retryAfter: hint }))
          const retry = Retry.make({ base: 1, times: 1 })
          const callers = Effect.forEach(Array.from({ length: 100 }), () => observeOnce(retry, busy), {
            concurrency: "unbounded"
          })
          const fiber = yield* start(Random.withSeed(callers, seed))
          yield* TestClock.adjust("1 day")
          const times = yield* Fiber.join(fiber)
          const millis = Duration.toMillis(hint)
          const latest = millis + Math.min(millis / 5, 10_000)
          // The test's clock counts whole milliseconds.
          assert.isTrue(times.every((at) => at >= Math.floor(millis) && at <= latest + 1), String(times))
          // Half of them in half of the time, give or take.
          const early = times.filter((at) => at < (millis + latest) / 2).length
          assert.isTrue(early > 20 && early < 80, String(early))
        })
    )

    it.effect("stops at a hint beyond the ceiling", () =>
      Effect.gen(function*() {
        const hint = (millis: number) => Effect.fail(new Fault({ retryAfter: Duration.millis(millis) }))
        const { call, executions } = scripted(hint(60_000), hint(60_001))
        const { exit } = yield* observe(Retry.make(), call)
        assert.isTrue(Exit.isFailure(exit))
        assert.strictEqual(executions(), 2)
      }))

    it.effect("an interruption ends a wait at once", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail)
        const fiber = yield* start(chance(0.5)(Retry.make()(call)))
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("1 day")
        assert.strictEqual(executions(), 1)
      }))
  })

  describe("CurrentAttempt", () => {
    const attempt = Effect.map(Effect.service(Retry.CurrentAttempt), (n) => n)

    it.effect("is the number of the attempt, and 1 outside", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const call = Effect.flatMap(attempt, (n) => {
          seen.push(n)
          return n < 3 ? fail : Effect.succeed("ok")
        })
        yield* observe(Retry.make(), call)
        assert.deepStrictEqual(seen, [1, 2, 3])
        assert.strictEqual(yield* attempt, 1)
      }))

    it.effect("counts anew in a retry inside a retry", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const call = Effect.flatMap(attempt, (n) => {
          seen.push(n)
          return fail
        })
        const inner = Retry.make({ times: 1 })
        const outer = Retry.make({ times: 1 })
        yield* observe((self) => outer(inner(self)), call)
        assert.deepStrictEqual(seen, [1, 2, 1, 2])
      }))

    it.effect("is seen by a stream", () =>
      Effect.gen(function*() {
        const stream = Stream.fromEffect(Effect.flatMap(attempt, (n) => n < 3 ? fail : Effect.succeed(n)))
        const fiber = yield* start(Stream.runCollect(Retry.make().stream(stream)))
        yield* TestClock.adjust("1 day")
        assert.deepStrictEqual(yield* Fiber.join(fiber), [3])
      }))
  })

  describe("stream", () => {
    const collect = Effect.fnUntraced(function*<A, E>(stream: Stream.Stream<A, E>) {
      const items: Array<A> = []
      const fiber = yield* start(Stream.runForEach(stream, (item) => Effect.sync(() => items.push(item))))
      yield* TestClock.adjust("1 day")
      return { items, exit: yield* Fiber.await(fiber) }
    })

    it.effect("is retried while it has emitted nothing", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail, fail)
        const { exit, items } = yield* collect(Retry.make().stream(Stream.fromEffect(call)))
        assert.deepStrictEqual(items, ["ok"])
        assert.isTrue(Exit.isSuccess(exit))
        assert.strictEqual(executions(), 3)
      }))

    it.effect("is not retried after an item", () =>
      Effect.gen(function*() {
        let executions = 0
        const stream = Stream.suspend(() => {
          executions++
          return Stream.concat(Stream.make(1), Stream.fail(new Fault({})))
        })
        const { exit, items } = yield* collect(Retry.make().stream(stream))
        assert.deepStrictEqual(items, [1])
        assert.isTrue(Exit.isFailure(exit))
        assert.strictEqual(executions, 1)
      }))

    it.effect("an empty stream is a success", () =>
      Effect.gen(function*() {
        const { exit, items } = yield* collect(Retry.make().stream(Stream.empty))
        assert.deepStrictEqual([items, exit], [[], Exit.void])
      }))

    it.effect("gives up with the last error, as it was", () =>
      Effect.gen(function*() {
        const fault = new Fault({})
        let executions = 0
        const stream = Stream.suspend(() => {
          executions++
          return Stream.fail(fault)
        })
        const { exit } = yield* collect(Retry.make({ times: 2 }).stream(stream))
        assert.deepStrictEqual(exit, Exit.fail(fault))
        assert.strictEqual(executions, 3)
      }))

    it.effect("releases a failed attempt before it waits", () =>
      Effect.gen(function*() {
        const released: Array<number> = []
        const { call } = scripted(fail)
        const stream = Stream.fromEffect(call).pipe(
          Stream.ensuring(Effect.map(Clock.currentTimeMillis, (now) => released.push(now)))
        )
        const fiber = yield* start(chance(0.5)(Stream.runDrain(Retry.make().stream(stream))))
        assert.deepStrictEqual(released, [0])
        yield* TestClock.adjust(500)
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(released, [0, 500])
      }))

    it.effect("an interruption ends a wait at once", () =>
      Effect.gen(function*() {
        const { call, executions } = scripted(fail)
        const fiber = yield* start(chance(0.5)(Stream.runDrain(Retry.make().stream(Stream.fromEffect(call)))))
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("1 day")
        assert.strictEqual(executions(), 1)
      }))
  })

  it.effect("records waits and attempts, and nothing for a call that succeeds", () =>
    Effect.gen(function*() {
      const retry = Retry.make({ name: "catalogue" })
      yield* retry(Effect.void)
      assert.deepStrictEqual(yield* metrics, {})
      const fiber = yield* start(chance(0.5)(eventsOf(retry(scripted(fail, fail).call))))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        yield* Fiber.join(fiber),
        [0.5, 1].flatMap((seconds, i) => [
          { name: "ballast.wait", attributes: { policy: "retry", name: "catalogue", seconds } },
          { name: "ballast.retry", attributes: { name: "catalogue", attempt: i + 2 } }
        ])
      )
      assert.deepStrictEqual(yield* metrics, {
        "ballast_retry_attempts_total{name=catalogue}": 2,
        "ballast_policy_wait_seconds{name=catalogue,policy=retry}": 1.5,
        "ballast_policy_wait_seconds_count{name=catalogue,policy=retry}": 2
      })
    }).pipe(withMetrics))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [Retry.Options, string]> = [
      [{ times: -1 }, "Retry.make: times must be an integer of at least 0, or Infinity, got -1"],
      [{ base: 0 }, "Retry.make: base must be a finite duration above zero, got 0"],
      [{ factor: 0.5 }, "Retry.make: factor must be a finite number of at least 1, got 0.5"],
      [{ cap: Duration.infinity }, "Retry.make: cap must be a finite duration above zero, got Infinity"],
      [{ maxRetryAfter: -1 }, "Retry.make: maxRetryAfter must be a duration of at least zero, got -1ms"],
      [{ times: 3, schedule: Schedule.forever }, "Retry.make: times must be left out when schedule is given, got 3"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${message}`, () => {
        assert.throws(() => Retry.make(options), RangeError, message)
      })
    }
  })
})
