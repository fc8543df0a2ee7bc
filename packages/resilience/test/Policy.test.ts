import {
  CircuitBreaker,
  ConcurrencyLimit,
  Deadline,
  Hedge,
  Policy,
  RateLimiter,
  Retry,
  RetryBudget
} from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { chance, Fault, scripted } from "./support.ts"
import { interruptEverywhere } from "./support/interruption.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** A policy that writes down when it is passed. */
const tracing = (name: string, trace: Array<string>) =>
  Policy.make<never>({
    effect: (self) => Effect.andThen(Effect.sync(() => trace.push(name)), self),
    stream: (self) => Stream.concat(Stream.fromEffectDrain(Effect.sync(() => trace.push(name))), self)
  })

const whole = {
  retry: {},
  hedge: { delay: "1 second" },
  circuitBreaker: {},
  rateLimiter: { limit: 100, window: "1 second" },
  concurrencyLimit: { limit: 10 },
  attempt: "10 seconds"
} satisfies Policy.CommonOptions

describe("Policy", () => {
  it.effect("compose puts the first outermost", () =>
    Effect.gen(function*() {
      const trace: Array<string> = []
      const policy = Policy.compose(tracing("a", trace), Policy.identity, tracing("b", trace), tracing("c", trace))
      assert.strictEqual(yield* policy(Effect.succeed("ok")), "ok")
      assert.deepStrictEqual(yield* Stream.runCollect(policy.stream(Stream.make(1))), [1])
      assert.deepStrictEqual(trace, ["a", "b", "c", "a", "b", "c"])
    }))

  it.effect("identity and an empty composition do nothing", () =>
    Effect.gen(function*() {
      const program = Effect.succeed("ok")
      assert.strictEqual(Policy.identity(program), program)
      assert.strictEqual(Policy.compose()(program), program)
      assert.strictEqual((yield* Policy.common({}))(program), program)
      const stream = Stream.make(1)
      assert.strictEqual(Policy.identity.stream(stream), stream)
      assert.strictEqual(Policy.compose().stream(stream), stream)
    }))

  it.effect("isPolicy tells policies from options", () =>
    Effect.gen(function*() {
      assert.isTrue(Policy.isPolicy(Policy.identity))
      assert.isTrue(Policy.isPolicy(yield* ConcurrencyLimit.make({ limit: 1 })))
      assert.isFalse(Policy.isPolicy({ limit: 1 }))
    }))

  it.effect("takes a program first or last", () =>
    Effect.gen(function*() {
      const all: ReadonlyArray<Policy.Policy<unknown>> = [
        Policy.identity,
        Retry.make(),
        Deadline.total("1 second"),
        Deadline.make({ attempt: "1 second", firstItem: 10, idle: 10, leastRate: { least: 1, window: 10 } }),
        yield* Policy.common({ ...whole, total: "1 minute" }),
        yield* Policy.switchable(Retry.make())
      ]
      for (const policy of all) {
        assert.strictEqual(yield* policy(Effect.succeed("ok")), "ok")
        assert.strictEqual(yield* Effect.succeed("ok").pipe(policy), "ok")
        assert.deepStrictEqual(yield* Stream.runCollect(policy.stream(Stream.make(1, 2))), [1, 2])
        assert.deepStrictEqual(yield* Stream.make(1, 2).pipe(policy.stream, Stream.runCollect), [1, 2])
      }
    }))

  describe("common refuses", () => {
    const refused: ReadonlyArray<readonly [Policy.CommonOptions, string]> = [
      [{ total: "1 second", attempt: "2 seconds" }, "Policy.common: attempt must be no longer than total (1s), got 2s"],
      [
        { total: "1 second", firstItem: 1_001 },
        "Policy.common: firstItem must be no longer than total (1s), got 1s 1ms"
      ],
      [{ total: "1 second", idle: "2 seconds" }, "Policy.common: idle must be no longer than total (1s), got 2s"],
      [
        { total: "1 second", leastRate: { least: 1, window: "2 seconds" } },
        "Policy.common: leastRate.window must be no longer than total (1s), got 2s"
      ],
      [
        { total: "1 second", retry: { maxElapsed: "2 seconds" } },
        "Policy.common: retry.maxElapsed must be no longer than total (1s), got 2s"
      ],
      [
        { attempt: "6 seconds", circuitBreaker: { window: "11999 millis" } },
        "Policy.common: circuitBreaker.window must be at least twice attempt (12s), got 11s 999ms"
      ],
      [
        { attempt: "6 seconds", circuitBreaker: { trip: CircuitBreaker.timeWindow({ window: "11999 millis" }) } },
        "Policy.common: the window of circuitBreaker.trip must be at least twice attempt (12s), got 11s 999ms"
      ],
      [
        {
          attempt: "6 seconds",
          circuitBreaker: {
            trip: CircuitBreaker.anyOf(
              CircuitBreaker.timeWindow({ window: "1 second" }),
              CircuitBreaker.allOf(CircuitBreaker.timeWindow({ window: "2 seconds" }), CircuitBreaker.consecutive(5))
            )
          }
        },
        "Policy.common: the window of circuitBreaker.trip must be at least twice attempt (12s), got 2s"
      ],
      [
        { total: "10 seconds", rateLimiter: { limit: 1, window: 1, maxWait: "1 minute" } },
        "Policy.common: rateLimiter.maxWait must be no longer than total (10s), got 1m"
      ],
      [
        { total: "10 seconds", concurrencyLimit: { limit: 1, queue: 5, maxWait: "1 minute" } },
        "Policy.common: concurrencyLimit.maxWait must be no longer than total (10s), got 1m"
      ],
      [
        { total: "10 seconds", concurrencyLimit: { limit: 1, queue: 5 }, hedge: { delay: "10 seconds" } },
        "Policy.common: hedge.delay must be shorter than total (10s), got 10s"
      ],
      [
        {
          attempt: "5 seconds",
          hedge: { delay: "5 seconds" },
          rateLimiter: { limit: 1, window: 1, maxWait: 0 },
          concurrencyLimit: { limit: 1, maxWait: "1 minute" }
        },
        "Policy.common: hedge.delay must be shorter than attempt (5s), got 5s"
      ],
      [
        { attempt: "5 seconds", circuitBreaker: { slowRate: 0.5, slowAfter: 5_001 } },
        "Policy.common: circuitBreaker.slowAfter must be no longer than attempt (5s), got 5s 1ms"
      ],
      [
        { total: "10 seconds", concurrencyLimit: { limit: 1, queue: 5 }, circuitBreaker: { slowAfter: "11 seconds" } },
        "Policy.common: circuitBreaker.slowAfter must be no longer than total (10s), got 11s"
      ],
      [
        { attempt: "5 seconds", circuitBreaker: { probeTimeout: "5 seconds" } },
        "Policy.common: circuitBreaker.probeTimeout must be longer than attempt (5s), got 5s"
      ],
      [
        { total: 1, rateLimiter: { limit: 1, window: 1, maxWait: NaN } },
        "RateLimiter.make: maxWait must be a duration, got NaN"
      ],
      [{ hedge: { maxAttempts: 0 } }, "Hedge.make: maxAttempts must be an integer of at least 1, got 0"],
      [{ leastRate: { least: 0, window: 1 } }, "Deadline.make: leastRate.least must be a finite number above 0, got 0"],
      [{ attempt: 1, idle: 2 }, "Deadline.make: idle must be no longer than attempt (1ms), got 2ms"],
      [{ total: 0 }, "Deadline.total: duration must be a finite duration above zero, got 0"],
      [{ retry: { times: -1 } }, "Retry.make: times must be an integer of at least 0, or Infinity, got -1"],
      [{ circuitBreaker: { failureRate: 3 } }, "CircuitBreaker.make: failureRate must be in (0, 1], got 3"],
      [{ rateLimiter: { limit: 0, window: 1 } }, "RateLimiter.make: limit must be an integer of at least 1, got 0"],
      [{ concurrencyLimit: { limit: 0 } }, "ConcurrencyLimit.make: limit must be an integer of at least 1, got 0"]
    ]
    for (const [options, message] of refused) {
      it(JSON.stringify(options), () => {
        assert.throws(() => Policy.common(options), RangeError, message)
      })
    }
  })

  describe("common", () => {
    it.effect("takes a window of exactly twice the attempt, and one that was made before as it is", () =>
      Effect.gen(function*() {
        yield* Policy.common({ attempt: "6 seconds", circuitBreaker: { window: "12 seconds" } })
        const { anyOf, consecutive, countWindow, timeWindow } = CircuitBreaker
        for (const trip of [timeWindow({ window: "12 seconds" }), consecutive(5), countWindow({ size: 10 })]) {
          yield* Policy.common({ attempt: "6 seconds", circuitBreaker: { trip } })
        }
        const either = anyOf(timeWindow({ window: "1 second" }), consecutive(5))
        yield* Policy.common({ attempt: "6 seconds", circuitBreaker: { trip: either } })
        const circuitBreaker = yield* CircuitBreaker.make({ window: "1 second" })
        yield* Policy.common({ attempt: "6 seconds", circuitBreaker })
        yield* Policy.common({ circuitBreaker: { window: "1 second" } })
      }))

    it.effect("takes a time that bounds nothing, or that a wait inside may reach, and what is left out", () =>
      Effect.gen(function*() {
        const queue = { limit: 1, queue: 5 }
        const line = { limit: 1, window: 1, maxWait: "1 minute" } as const
        const unbounded = { maxElapsed: Infinity, maxWait: Infinity, delay: Infinity }
        const accepted: ReadonlyArray<Policy.CommonOptions> = [
          { total: 10, concurrencyLimit: queue, hedge: {}, circuitBreaker: {}, attempt: 5 },
          {
            total: "1 minute",
            attempt: "5 seconds",
            retry: unbounded,
            hedge: unbounded,
            rateLimiter: { ...line, ...unbounded },
            concurrencyLimit: { ...queue, ...unbounded }
          },
          {
            total: "1 minute",
            attempt: "5 seconds",
            hedge: { delay: 4_999 },
            circuitBreaker: { slowAfter: "5 seconds", probeTimeout: 5_001 },
            rateLimiter: line,
            concurrencyLimit: { ...queue, maxWait: "1 minute" }
          },
          // Measured from before the wait, which the attempt's time does not count.
          { attempt: 5, concurrencyLimit: queue, hedge: { delay: 20 }, circuitBreaker: { slowAfter: 20 } },
          { attempt: 5, rateLimiter: line, hedge: { delay: 20 }, circuitBreaker: { slowAfter: 20 } },
          { attempt: 5, concurrencyLimit: yield* ConcurrencyLimit.make(queue), hedge: { delay: 20 } },
          // Until the percentile is measured, it is no reason to hedge.
          { attempt: 5, hedge: { delay: 20, percentile: 0.9 } },
          {
            total: 10,
            attempt: 5,
            hedge: yield* Hedge.make({ delay: 20 }),
            circuitBreaker: yield* CircuitBreaker.make({ slowAfter: 20, probeTimeout: 1 }),
            rateLimiter: yield* RateLimiter.make(line),
            concurrencyLimit: yield* ConcurrencyLimit.make({ ...queue, maxWait: 20 })
          }
        ]
        for (const options of accepted) yield* Policy.common(options)
      }))

    for (const kind of ["effect", "stream"]) {
      it.effect(`a probe that takes as long as an attempt may closes the circuit, or opens it anew (${kind})`, () =>
        Effect.gen(function*() {
          const policy = yield* Policy.common({
            attempt: "20 minutes",
            circuitBreaker: { trip: CircuitBreaker.consecutive(1) }
          })
          const guarded = (self: Effect.Effect<void, string>) =>
            Effect.exit(kind === "effect" ? policy(self) : Stream.runDrain(policy.stream(Stream.fromEffect(self))))
          const after = Effect.fnUntraced(function*(probe: Effect.Effect<void, string>) {
            yield* guarded(Effect.fail("down"))
            yield* TestClock.adjust("30 seconds")
            yield* Testing.passTime(guarded(probe))
            return yield* Effect.all([guarded(Effect.void), guarded(Effect.void)])
          })
          assert.isTrue((yield* after(Effect.sleep("19 minutes"))).every(Exit.isSuccess))
          assert.isTrue((yield* after(Effect.never)).every(Exit.isFailure))
        }))
    }

    it.effect("a window that is left out sees at least two attempts", () =>
      Effect.gen(function*() {
        const opens = (options: Policy.CommonOptions) =>
          Effect.gen(function*() {
            const policy = yield* Policy.common({ ...options, circuitBreaker: { minimumCalls: 2 } })
            const call = policy(Effect.never)
            const first = yield* start(Effect.exit(call))
            yield* TestClock.adjust("20 seconds")
            yield* Fiber.join(first)
            yield* start(Effect.exit(call))
            yield* TestClock.adjust("20 seconds")
            return Exit.isFailure(yield* Effect.exit(policy(Effect.void)))
          })
        assert.isTrue(yield* opens({ attempt: "20 seconds" }))
      }))

    it.effect("a hedge is inside the retry, and each of its attempts is admitted", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.make({ limit: 10, window: "1 day" })
        const hedge = yield* Hedge.make({ delay: "1 second", budget: Infinity })
        const policy = yield* Policy.common({ ...whole, hedge, rateLimiter: limiter, retry: { times: 1 } })
        const recorded = yield* Testing.record(hedge.events)
        const seen: Array<readonly [attempt: number, hedge: number]> = []
        const call = Effect.gen(function*() {
          const attempt = yield* Effect.service(Retry.CurrentAttempt)
          seen.push([attempt, yield* Effect.service(Hedge.CurrentHedge)])
          yield* Effect.sleep("2 seconds")
          return yield* Effect.fail(new Fault({ retryable: attempt === 1 }))
        })
        yield* start(Effect.exit(chance(0)(policy(call))))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(seen, [[1, 1], [1, 2], [2, 1], [2, 2]])
        // Each of the retry's attempts is hedged for itself.
        assert.strictEqual((yield* recorded).filter(({ event }) => event._tag === "Hedged").length, 2)
        assert.strictEqual((yield* limiter.inspect).available, 6)
      }))

    it.effect("a part can have a switch", () =>
      Effect.gen(function*() {
        const circuitBreaker = yield* Policy.switchable(yield* CircuitBreaker.make({ minimumCalls: 1 }))
        const policy = yield* Policy.common({ circuitBreaker })
        yield* Effect.exit(policy(Effect.fail("no")))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(policy(Effect.void))))
        yield* circuitBreaker.set(false)
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(policy(Effect.void))))
      }))

    it.effect("a retry pays from its budget", () =>
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ share: 0, floor: 1, timeToLive: "1 second" })
        const policy = yield* Policy.common({ retry: { budget } })
        const { call, executions } = scripted(...Array.from({ length: 9 }, () => Effect.fail(new Fault({}))))
        yield* Effect.exit(chance(0)(policy(call)))
        assert.strictEqual(executions(), 2)
      }))

    it.effect("no part begins a wait that the total would cut", () =>
      Effect.gen(function*() {
        const policy = yield* Policy.common({ total: "2 seconds", retry: { base: "4 seconds", factor: 1 } })
        const { call, executions } = scripted(Effect.fail(new Fault({})))
        const fiber = yield* start(Effect.flip(chance(0.5)(policy(call))))
        yield* TestClock.adjust(0)
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "Fault")
        assert.strictEqual(executions(), 1)
      }))

    for (const kind of ["effect", "stream"]) {
      it.effect(
        `interrupted at any step, it keeps no slot, no token, no retry and no fiber (${kind})`,
        () =>
          interruptEverywhere({
            setup: stack,
            run: ({ policy }) => {
              const call = Effect.flatMap(Effect.service(Retry.CurrentAttempt), (attempt) =>
                Effect.andThen(
                  Effect.sleep("100 millis"),
                  attempt === 1 ? Effect.fail(new Fault({})) : Effect.succeed("ok")
                ))
              return chance(0.5)(
                kind === "effect" ? policy(call) : Stream.runDrain(policy.stream(Stream.fromEffect(call)))
              )
            },
            beside: ({ policy }) => policy(Effect.sleep("150 millis")),
            budgets: [4, 16, 64],
            check: ({ budget, limiter, slots }) =>
              Effect.gen(function*() {
                const { queued, running } = yield* slots.inspect
                assert.deepStrictEqual([queued, running, (yield* limiter.inspect).queued], [0, 0, 0])
                yield* TestClock.adjust("1 minute")
                assert.strictEqual((yield* limiter.inspect).available, 10)
                assert.propertyVal(yield* budget.inspect, "balance", 10)
              })
          }),
        120_000
      )
    }

    const stack = Effect.gen(function*() {
      const slots = yield* ConcurrencyLimit.make({ limit: 1, queue: 10 })
      const limiter = yield* RateLimiter.make({ limit: 10, window: "1 second", maxWait: "10 seconds" })
      const budget = yield* RetryBudget.make({ share: 0, floor: 1 })
      const policy = yield* Policy.common({
        total: "1 minute",
        retry: { budget },
        circuitBreaker: {},
        rateLimiter: limiter,
        concurrencyLimit: slots,
        attempt: "1 second",
        firstItem: "1 second",
        idle: "1 second"
      })
      return { budget, limiter, policy, slots }
    })
  })

  describe("switchable", () => {
    it.effect("does nothing while it is off, and what the policy does while it is on", () =>
      Effect.gen(function*() {
        const trace: Array<string> = []
        const policy = yield* Policy.switchable(tracing("a", trace))
        yield* policy(Effect.void)
        yield* policy.set(false)
        yield* policy(Effect.void)
        yield* Stream.runDrain(policy.stream(Stream.empty))
        assert.deepStrictEqual(trace, ["a"])
        yield* policy.set(true)
        yield* Stream.runDrain(policy.stream(Stream.empty))
        assert.deepStrictEqual(trace, ["a", "a"])
      }))

    it.effect("can be off at first, and says what it is", () =>
      Effect.gen(function*() {
        const policy = yield* Policy.switchable(Retry.make(), false)
        assert.deepStrictEqual(yield* policy.inspect, { on: false })
        yield* policy.set(true)
        assert.deepStrictEqual(yield* policy.inspect, { on: true })
      }))

    it.effect("calls under way keep what they began with", () =>
      Effect.gen(function*() {
        const policy = yield* Policy.switchable(Retry.make({ base: "2 seconds", factor: 1 }))
        const fail = Effect.fail(new Fault({}))
        const guarded = scripted(fail)
        const fiber = yield* start(chance(0.5)(policy(guarded.call)))
        yield* policy.set(false)
        const bare = yield* start(Effect.exit(policy(fail)))
        yield* policy.set(true)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(fiber), "ok")
        assert.strictEqual(guarded.executions(), 2)
        assert.isTrue(Exit.isFailure(yield* Fiber.join(bare)))
      }))

    it.effect("a slot that was taken while it was on is given back when it is off", () =>
      Effect.gen(function*() {
        const slots = yield* ConcurrencyLimit.make({ limit: 1 })
        const policy = yield* Policy.switchable(slots)
        const fiber = yield* start(policy(Effect.never))
        yield* policy.set(false)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* slots.inspect).running, 0)
      }))

    it.effect("tells when it is turned, and not when it is told what it is", () =>
      Effect.gen(function*() {
        const policy = yield* Policy.switchable(Policy.identity)
        const recorded = yield* Testing.record(policy.events)
        for (const on of [true, false, false, true]) yield* policy.set(on)
        assert.deepStrictEqual((yield* recorded).map(({ event }) => event), [
          { _tag: "Switched", on: false },
          { _tag: "Switched", on: true }
        ])
      }))
  })
})
