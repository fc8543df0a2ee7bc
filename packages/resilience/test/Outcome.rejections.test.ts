import {
  CircuitBreaker,
  CircuitBreakerStore,
  ConcurrencyLimit,
  EffectCircuitBreaker,
  EffectRateLimiter,
  LoadShed,
  Outcome,
  type Policy,
  RateLimiter,
  RateLimiterStore,
  Retry,
  Throttle
} from "@ballast/resilience"
import * as resilience from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Schema, type Scope } from "effect"
import { CircuitBreaker as EffectBreaker, RateLimiter as EffectLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import { chance, Fault } from "./support.ts"

/** Makes a policy reject a call: it fails with what the policy rejected it with. */
const reject = <E>(policy: Policy.Policy<E>) => Effect.flip(policy(Effect.succeed("ok")))
const hang = <E>(policy: Policy.Policy<E>) => Effect.forkChild(policy(Effect.never), { startImmediately: true })

/** How each rejection comes about. */
const rejections: Record<string, Effect.Effect<unknown, unknown>> = {
  CircuitOpen: Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
    yield* Effect.exit(breaker(Effect.fail(new Fault({}))))
    return yield* reject(breaker)
  }),
  RateLimitExceeded: Effect.gen(function*() {
    const limiter = yield* RateLimiter.make({ limit: 1, window: "1 minute" })
    yield* limiter(Effect.void)
    return yield* reject(limiter)
  }),
  QueueFull: Effect.gen(function*() {
    const limit = yield* ConcurrencyLimit.make({ limit: 1 })
    yield* hang(limit)
    return yield* reject(limit)
  }),
  QueueTimeout: Effect.gen(function*() {
    const limit = yield* ConcurrencyLimit.make({ limit: 1, queue: 1, maxWait: "1 second" })
    yield* hang(limit)
    const waiter = yield* Effect.forkChild(reject(limit), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    return yield* Effect.flatten(Effect.sync(() => waiter.pollUnsafe() ?? Exit.fail("still waits")))
  }),
  Shed: Effect.gen(function*() {
    const shed = yield* LoadShed.make({ limit: 1, queue: 0 })
    yield* hang(shed)
    return yield* reject(shed)
  }),
  Throttled: Effect.gen(function*() {
    const throttle = yield* Throttle.make({ minimumRequests: 0 })
    yield* chance(1)(Effect.exit(throttle(Effect.fail(new Fault({})))))
    return yield* chance(0)(reject(throttle))
  })
}

/** How rejections come about of what stands in for Effect's own limiter and breaker. */
const interop: Record<string, Effect.Effect<unknown, unknown, Scope.Scope>> = {
  RateLimiterError: Effect.gen(function*() {
    const limiter = yield* EffectRateLimiter.make()
    const consume = limiter.consume({ key: "a", limit: 1, window: "1 minute" })
    yield* consume
    return yield* Effect.flip(consume)
  }).pipe(Effect.provide(RateLimiterStore.layerStoreMemory)),
  CircuitBreakerError: Effect.gen(function*() {
    const breaker = yield* EffectCircuitBreaker.make({ trip: CircuitBreaker.consecutive(1), maxStaleness: 0 })
    yield* Effect.exit(breaker.execute(Effect.fail("no"), { key: "a" }))
    return yield* Effect.flip(breaker.execute(Effect.void, { key: "a" }))
  }).pipe(Effect.provide(CircuitBreakerStore.layerStoreMemory()))
}

const retryAfter = Duration.seconds(3)
const inLimiter = (reason: EffectLimiter.RateLimiterErrorReason) => new EffectLimiter.RateLimiterError({ reason })
const inBreaker = (reason: EffectBreaker.CircuitBreakerErrorReason) => new EffectBreaker.CircuitBreakerError({ reason })

/** How each error of Effect's own two is judged. */
const effects: ReadonlyArray<
  readonly [EffectLimiter.RateLimiterError | EffectBreaker.CircuitBreakerError, Outcome.Outcome]
> = [
  [
    inLimiter(new EffectLimiter.RateLimitExceeded({ retryAfter, key: "a", limit: 1, remaining: 0 })),
    Outcome.ignored({ retryAfter, executed: false })
  ],
  [
    inLimiter(new EffectLimiter.RateLimitStoreError({ message: "gone" })),
    Outcome.ignored({ retryable: true, executed: false })
  ],
  [
    inBreaker(new EffectBreaker.CircuitOpen({ key: "a", retryAfter })),
    Outcome.ignored({ retryAfter, executed: false })
  ],
  [inBreaker(new EffectBreaker.CircuitHalfOpen({ key: "a" })), Outcome.ignored({ executed: false })],
  [
    inBreaker(new EffectBreaker.CircuitBreakerStoreError({ message: "gone" })),
    Outcome.ignored({ retryable: true, executed: false })
  ]
]

/** Errors that no call fails with: they refuse what somebody wanted of a policy itself. */
const notOfCalls = ["ChaosRefused", "InvalidSnapshot"]

/** The error classes that the package exports, and whether each knows its outcome. */
const errors = Object.values(resilience).flatMap((module) => Object.entries(module)).flatMap(([name, member]) => {
  const prototype: unknown = typeof member === "function" ? member.prototype : undefined
  return prototype instanceof Error ? [{ name, judged: Outcome.key in prototype }] : []
})

describe("rejections", () => {
  for (const [name, rejection] of Object.entries({ ...rejections, ...interop })) {
    it.effect(`${name} is never a failure of the dependency, which did not see the call`, () =>
      Effect.gen(function*() {
        const error = yield* rejection
        assert.propertyVal(error, "_tag", name)
        const turnedAway = { _tag: "Ignored", retryable: false, executed: false } as const
        assert.deepInclude(Outcome.classify(Exit.fail(error)), turnedAway)
        assert.deepInclude(Outcome.classifier({ error: () => Outcome.failure() })(Exit.fail(error)), turnedAway)

        // As the rejection of a policy inside: the breaker does not count it, the retry does not repeat it.
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        let runs = 0
        const call = Effect.suspend(() => {
          runs++
          return Effect.fail(error)
        })
        yield* Effect.exit(Retry.make()(breaker(call)))
        assert.strictEqual(runs, 1)
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
      }))
  }

  for (const [error, outcome] of effects) {
    it(`${error.reason._tag} of Effect's own ${error._tag} is judged as ours`, () => {
      assert.deepStrictEqual(Outcome.classify(Exit.fail(error)), outcome)
    })
  }

  const exact = [
    [CircuitBreaker.CircuitOpen, new CircuitBreaker.CircuitOpen({ breaker: "b", retryAfter: Duration.seconds(1) })],
    [CircuitBreaker.CircuitOpen, new CircuitBreaker.CircuitOpen({ breaker: "b", state: "isolated" })],
    [RateLimiter.RateLimitExceeded, new RateLimiter.RateLimitExceeded({ limiter: "l", retryAfter: Duration.infinity })]
  ] as const
  it.each(exact)("%# goes through JSON as it is", (schema: Schema.Codec<unknown, unknown>, error) => {
    const codec = Schema.toCodecJson(schema)
    const text = JSON.stringify(Schema.encodeUnknownSync(codec)(error))
    const decoded = Schema.decodeUnknownSync(codec)(JSON.parse(text))
    assert.deepStrictEqual({ ...error }, { ...(decoded as typeof error) })
    assert.instanceOf(decoded, Error)
  })

  it("each of the package's errors that a call can fail with knows its outcome", () => {
    assert.includeMembers(errors.map(({ name }) => name), Object.keys(rejections))
    const unjudged = errors.filter(({ judged, name }) => !judged && !notOfCalls.includes(name))
    assert.deepStrictEqual(unjudged, [])
  })
})
