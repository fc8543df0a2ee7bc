import { CircuitBreaker } from "@ballast/resilience"
import { assert } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "../support.ts"

export const ok = Effect.succeed("ok")
export const fail = Effect.fail(new Fault({}))

/** Runs a call so many times, one after the other, whatever becomes of it. */
export const times = <A, E, R>(n: number, self: Effect.Effect<A, E, R>) =>
  Effect.repeat(Effect.exit(self), { times: n - 1 })

export const closed = (calls: number, failures: number, slow = 0): CircuitBreaker.State => ({
  _tag: "Closed",
  calls,
  failures,
  slow,
  shadow: false
})

export const open = (retryAfter: Duration.Input, openings = 1): CircuitBreaker.State => ({
  _tag: "Open",
  retryAfter: Duration.fromInputUnsafe(retryAfter),
  openings,
  shadow: false
})

export const halfOpen = (running: number, succeeded: number, failed = 0): CircuitBreaker.State => ({
  _tag: "HalfOpen",
  running,
  succeeded,
  failed,
  shadow: false
})

export const tagOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.inspect, ({ _tag }) => _tag)

/** A breaker that has just opened. */
export const opened = Effect.fnUntraced(function*(options?: CircuitBreaker.Options) {
  const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, ...options })
  yield* Effect.exit(breaker(fail))
  assert.strictEqual(yield* tagOf(breaker), "Open")
  return breaker
})

/** A breaker whose open time is just over. */
export const halfOpened = Effect.fnUntraced(function*(options?: CircuitBreaker.Options) {
  const breaker = yield* opened(options)
  yield* TestClock.adjust("30 seconds")
  return breaker
})

/** A call that has begun and ends when it is told how. */
export const begin = Effect.fnUntraced(function*(breaker: CircuitBreaker.CircuitBreaker) {
  const answer = yield* Deferred.make<string, Fault>()
  const fiber = yield* Effect.forkChild(breaker(Deferred.await(answer)), { startImmediately: true })
  return {
    succeed: Effect.andThen(Deferred.succeed(answer, "ok"), Fiber.await(fiber)),
    fail: Effect.andThen(Deferred.fail(answer, new Fault({})), Fiber.await(fiber)),
    interrupt: Fiber.interrupt(fiber),
    exit: Fiber.await(fiber)
  }
})
