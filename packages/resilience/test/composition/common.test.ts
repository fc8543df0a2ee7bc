import { CircuitBreaker, ConcurrencyLimit, type Deadline, Policy, RateLimiter, RetryBudget } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Clock, type Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { chance, eventsOf, Fault, metrics, scripted, withMetrics } from "../support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
const unavailable = Effect.fail(new Fault({}))
const refused = Effect.fail(new Fault({ retryable: false, ignored: true }))

/** Runs a program to its end under virtual time; gives its exit and how long it took. */
const run = Effect.fnUntraced(function*<A, E>(self: Effect.Effect<A, E>, within: Duration.Input = "1 day") {
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

const tagOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>) =>
  Exit.isSuccess(exit)
    ? "Success"
    : exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error._tag : reason._tag)[0]

const stack = {
  name: "catalogue",
  total: "1 minute",
  retry: {},
  circuitBreaker: {},
  rateLimiter: { limit: 100, window: "1 second" },
  concurrencyLimit: { limit: 10 },
  attempt: "10 seconds"
} satisfies Policy.CommonOptions

describe("the common stack", () => {
  it.effect("two failures and a success take the scheduled waits and three attempts", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common(stack)
      const { call, executions } = scripted(unavailable, unavailable)
      const events = yield* start(chance(0.5)(eventsOf(policy(call))))
      yield* TestClock.adjust(1_499)
      assert.strictEqual(executions(), 2)
      yield* TestClock.adjust(1)
      assert.strictEqual(executions(), 3)
      const seen = (yield* Fiber.join(events)).map((
        { attributes, name }
      ) => [name, attributes["seconds"] ?? attributes["attempt"]])
      assert.deepStrictEqual(seen, [
        ["ballast.wait", 0.5],
        ["ballast.retry", 2],
        ["ballast.wait", 1],
        ["ballast.retry", 3]
      ])
    }))

  it.effect("the same holds for a stream", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common(stack)
      const { call, executions } = scripted(unavailable, unavailable)
      const { exit, took } = yield* run(chance(0.5)(Stream.runCollect(policy.stream(Stream.fromEffect(call)))))
      assert.deepStrictEqual(exit, Exit.succeed(["ok"]))
      assert.deepStrictEqual([executions(), took], [3, 1_500])
    }))

  it.effect("an error that must not be retried takes one attempt and no time", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common(stack)
      const { call, executions } = scripted(refused)
      const { exit, took } = yield* run(policy(call))
      assert.deepStrictEqual([tagOf(exit), executions(), took], ["Fault", 1, 0])
    }))

  it.effect("the breaker opens, rejects, probes and closes", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ minimumCalls: 2 })
      const policy = yield* Policy.common({ ...stack, circuitBreaker: breaker, retry: { times: 1 } })
      // The second call's first attempt opens the circuit, so it makes no second one.
      const { call, executions } = scripted(unavailable, unavailable, unavailable)
      const once = Effect.map(run(chance(0)(policy(call)), 1), ({ exit }) => tagOf(exit))
      assert.strictEqual(yield* once, "Fault")
      assert.strictEqual(yield* once, "CircuitOpen")
      assert.strictEqual((yield* breaker.inspect)._tag, "Open")
      assert.strictEqual(yield* once, "CircuitOpen")
      assert.strictEqual(executions(), 3)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* once, "Success")
      assert.deepStrictEqual([(yield* breaker.inspect)._tag, executions()], ["Closed", 4])
    }))

  it.effect("a retry stops when the breaker opens under it", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common({ ...stack, circuitBreaker: { minimumCalls: 2 } })
      const { call, executions } = scripted(...Array.from({ length: 9 }, () => unavailable))
      const { exit } = yield* run(Effect.all([policy(call), policy(call)], { concurrency: 2 }))
      assert.deepStrictEqual([tagOf(exit), executions()], ["CircuitOpen", 2])
    }))

  for (
    const [name, once] of [
      ["an effect", (policy: Policy.Policy<unknown>, call: Effect.Effect<unknown, unknown>) => policy(call)],
      [
        "a stream",
        (policy: Policy.Policy<unknown>, call: Effect.Effect<unknown, unknown>) =>
          Stream.runDrain(policy.stream(Stream.fromEffect(call)))
      ]
    ] as const
  ) {
    it.effect(`the breaker counts a call once, however often it is tried: ${name}`, () =>
      Effect.gen(function*() {
        const policy = yield* Policy.common({ ...stack, retry: { times: 5 }, circuitBreaker: { minimumCalls: 10 } })
        const { circuitBreaker } = policy.parts
        assert.exists(circuitBreaker)
        const { call, executions } = scripted(...Array.from({ length: 99 }, () => unavailable))
        for (let i = 0; i < 5; i++) yield* run(chance(0)(once(policy, call)), 1)
        assert.strictEqual(executions(), 30)
        assert.deepInclude(yield* circuitBreaker.inspect, { _tag: "Closed", calls: 5, failures: 5 })
        // A service that fails all callers still opens it.
        for (let i = 0; i < 5; i++) yield* run(chance(0)(once(policy, call)), 1)
        assert.strictEqual((yield* circuitBreaker.inspect)._tag, "Open")
      }))
  }

  it.effect("a later attempt is a probe like any other", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common({ ...stack, retry: { base: "20 seconds", times: 2 }, circuitBreaker: {} })
      const { circuitBreaker } = policy.parts
      assert.exists(circuitBreaker)
      const { call } = scripted(unavailable)
      const fiber = yield* start(chance(1)(policy(call)))
      yield* circuitBreaker.open("10 seconds")
      yield* TestClock.adjust("20 seconds")
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* circuitBreaker.inspect)._tag, "Closed")
    }))

  it.effect("gives the handles of the parts that it made", () =>
    Effect.gen(function*() {
      const made = yield* ConcurrencyLimit.make({ limit: 3 })
      const budget = yield* RetryBudget.make()
      const { parts } = yield* Policy.common({ ...stack, retry: { budget }, concurrencyLimit: made })
      assert.strictEqual((yield* parts.circuitBreaker!.inspect)._tag, "Closed")
      assert.strictEqual((yield* parts.rateLimiter!.inspect).queued, 0)
      assert.strictEqual((yield* parts.retry!.inspect).waiting, 0)
      assert.strictEqual(parts.retryBudget, budget)
      assert.deepStrictEqual([parts.hedge, parts.concurrencyLimit], [undefined, undefined])
    }))

  it.effect("the total bounds attempts and waits together", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common({ ...stack, total: "4 seconds", attempt: "2 seconds" })
      let attempts = 0
      const call = Effect.suspend(() => {
        attempts++
        return Effect.never
      })
      const { exit, took } = yield* run(chance(0.5)(policy(call)))
      assert.deepStrictEqual([tagOf(exit), attempts, took], ["DeadlineExceeded", 2, 4_000])
    }))

  it.effect("the total ends a wait in a queue at the latest, and leaves nobody in it", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.make({ limit: 1, window: "1 minute", maxWait: "1 hour" })
      const policy = yield* Policy.common({ total: "4 seconds", rateLimiter: limiter })
      yield* policy(Effect.void)
      const { exit, took } = yield* run(policy(Effect.void), "4 seconds")
      // A limiter that knows of the deadline turns it away at once.
      assert.include(["DeadlineExceeded", "RateLimitExceeded"], tagOf(exit))
      assert.isAtMost(took, 4_000)
      assert.include(yield* limiter.inspect, { available: 0, queued: 0 })
    }))

  it.effect("the total is no failure of the dependency for the breaker inside it", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make()
      const policy = yield* Policy.common({ total: "4 seconds", circuitBreaker: breaker })
      yield* run(policy(Effect.never), "4 seconds")
      assert.deepInclude(yield* breaker.inspect, { _tag: "Closed", calls: 0, failures: 0 })
    }))

  it.effect("an exceeded attempt is a failure for the breaker, and is retried", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make()
      const policy = yield* Policy.common({
        ...stack,
        circuitBreaker: breaker,
        retry: { times: 1 },
        attempt: "1 second"
      })
      const { exit } = yield* run(chance(0)(policy(Effect.never)), "2 seconds")
      assert.strictEqual(tagOf(exit), "DeadlineExceeded")
      assert.deepInclude(yield* breaker.inspect, { _tag: "Closed", calls: 1, failures: 1 })
    }))

  it.effect("an attempt's time starts after its waits for a token and a slot", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common({
        rateLimiter: { limit: 1, window: "30 seconds", maxWait: "1 minute" },
        concurrencyLimit: { limit: 1, queue: 1, maxWait: "1 minute" },
        attempt: "10 seconds"
      })
      yield* start(policy(Effect.sleep("9 seconds")))
      const { exit, took } = yield* run(policy(Effect.sleep("9 seconds")), "1 minute")
      assert.deepStrictEqual([tagOf(exit), took], ["Success", 39_000])
    }))

  it.effect("a call waits for its token without holding a slot, and is rejected without taking one", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.make({ limit: 1, window: "1 second", maxWait: "1 second" })
      const slots = yield* ConcurrencyLimit.make({ limit: 1 })
      const policy = yield* Policy.common({ rateLimiter: limiter, concurrencyLimit: slots })
      yield* policy(Effect.void)
      const waiter = yield* start(policy(Effect.void))
      assert.strictEqual((yield* slots.inspect).running, 0)
      assert.strictEqual((yield* Effect.flip(policy(Effect.void)))._tag, "RateLimitExceeded")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiter)
    }))

  it.effect("an open circuit costs neither a token nor a slot", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.make({ limit: 5, window: "1 hour" })
      const policy = yield* Policy.common({ circuitBreaker: { minimumCalls: 1 }, rateLimiter: limiter })
      yield* Effect.exit(policy(unavailable))
      for (let n = 0; n < 9; n++) yield* Effect.exit(policy(Effect.void))
      assert.deepStrictEqual(yield* limiter.inspect, { available: 4, queued: 0 })
    }))

  it.effect("a rejection inside is no failure for the breaker, and is not retried", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make()
      const policy = yield* Policy.common({
        retry: {},
        circuitBreaker: breaker,
        rateLimiter: { limit: 1, window: "1 hour" }
      })
      yield* policy(Effect.void)
      const { exit, took } = yield* run(policy(Effect.void))
      assert.deepStrictEqual([tagOf(exit), took], ["RateLimitExceeded", 0])
      assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
    }))

  it.effect("a hedge that finds no slot, no token or an open circuit leaves the answer to the first attempt", () =>
    Effect.gen(function*() {
      const circuitBreaker = yield* CircuitBreaker.make()
      const insides = [
        { concurrencyLimit: { limit: 1 } },
        { rateLimiter: { limit: 1, window: "1 hour" } },
        { circuitBreaker }
      ] satisfies ReadonlyArray<Policy.CommonOptions>
      const call = Effect.andThen(circuitBreaker.open(), Effect.as(Effect.sleep("2 seconds"), "answer"))
      for (const inside of insides) {
        for (const kind of ["effect", "stream"] as const) {
          yield* circuitBreaker.close
          const policy = yield* Policy.common({ hedge: { delay: "1 second", budget: Infinity }, ...inside })
          const once = kind === "effect"
            ? policy(call)
            : Effect.map(Stream.runCollect(policy.stream(Stream.fromEffect(call))), (items) => items.join())
          assert.deepStrictEqual(yield* run(once, "1 minute"), { exit: Exit.succeed("answer"), took: 2_000 })
        }
      }
    }))

  it.effect("puts exceeded deadlines into the caller's channel, where its own classifier judges them", () =>
    Effect.gen(function*() {
      const error = ({ deadline }: Deadline.DeadlineExceeded) => new Fault({ retryable: deadline !== "total" })
      const policy = yield* Policy.common({ ...stack, retry: { times: 2 }, attempt: "1 second", error })
      let attempts = 0
      const call = Effect.suspend(() => {
        attempts++
        return Effect.never
      })
      const { exit } = yield* run(policy(call))
      assert.deepStrictEqual([tagOf(exit), attempts], ["Fault", 3])
    }))

  it.effect("a stalled stream is retried before its first item and not after", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common({ ...stack, firstItem: "1 second", idle: "1 second" })
      let attempts = 0
      const stream = policy.stream(Stream.suspend(() => {
        attempts++
        return attempts === 1 ? Stream.never : Stream.concat(Stream.make(attempts), Stream.never)
      }))
      const items: Array<number> = []
      const { exit, took } = yield* run(chance(0.5)(Stream.runForEach(stream, (n) => Effect.sync(() => items.push(n)))))
      assert.deepStrictEqual([tagOf(exit), attempts, items, took], ["DeadlineExceeded", 2, [2], 2_500])
    }))

  it.effect("an interruption leaves no slot taken and no call running", () =>
    Effect.gen(function*() {
      const slots = yield* ConcurrencyLimit.make({ limit: 1 })
      const policy = yield* Policy.common({ ...stack, concurrencyLimit: slots })
      let interrupted = 0
      const call = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      for (const program of [policy(call), Stream.runDrain(policy.stream(Stream.fromEffect(call)))]) {
        const fiber = yield* start(program)
        assert.strictEqual((yield* slots.inspect).running, 1)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* slots.inspect).running, 0)
      }
      assert.strictEqual(interrupted, 2)
    }))

  it.effect("a thousand callers at once each get an answer, and no more run than may", () =>
    Effect.gen(function*() {
      const concurrencyLimit = yield* ConcurrencyLimit.make({ limit: 10, queue: Infinity, maxWait: "1 hour" })
      const rateLimiter = yield* RateLimiter.make({ limit: 2_000, window: "1 hour" })
      const circuitBreaker = yield* CircuitBreaker.make({ failureRate: 1 })
      const policy = yield* Policy.common({
        ...stack,
        total: "1 hour",
        retry: { times: 1 },
        circuitBreaker,
        concurrencyLimit,
        rateLimiter
      })
      let [running, peak, executions] = [0, 0, 0]
      const call = Effect.acquireUseRelease(
        Effect.sync(() => {
          peak = Math.max(peak, ++running)
          return ++executions
        }),
        // Every other one of the first thousand fails, and its second try is one of those after them.
        (number) => Effect.andThen(Effect.sleep(100), number <= 1_000 && number % 2 === 0 ? unavailable : Effect.void),
        () => Effect.sync(() => running--)
      )
      const all = yield* run(Effect.all(Array.from({ length: 1_000 }, () => policy(call)), { concurrency: 1_000 }))
      assert.isTrue(Exit.isSuccess(all.exit))
      assert.deepStrictEqual([peak, executions, running], [10, 1_500, 0])
      const { queued, running: taken } = yield* concurrencyLimit.inspect
      assert.deepStrictEqual([queued, taken, (yield* rateLimiter.inspect).queued], [0, 0, 0])
      assert.strictEqual((yield* circuitBreaker.inspect)._tag, "Closed")
    }))

  it.effect("gives its name to every part, and updates no counter while all is well", () =>
    Effect.gen(function*() {
      const policy = yield* Policy.common(stack)
      yield* policy(Effect.yieldNow)
      assert.deepStrictEqual(yield* metrics, { "ballast_circuit_breaker_state{name=catalogue}": 0 })
    }).pipe(withMetrics))
})
