/** The policies beside the packages that do the same, each over the cost of its own bare call. */
import { type Bench, type Named, type Started, worker } from "./bench.ts"
import type { Measured, Plan } from "./measure.ts"

const bareEffect: Named = { name: "bare effect", module: "effect", side: "bare" }
const barePromise: Named = { name: "bare promise", module: "promise", side: "bare" }

/** A side whose call is an effect. */
const effect = (name: string, module: string, side: string): Named => ({ name, module, side, bare: bareEffect.name })
/** A side whose call is a promise. */
const promise = (name: string, module: string, side: string): Named => ({ name, module, side, bare: barePromise.name })

/** A side whose calls wait for timers of milliseconds, one after the other. */
const slow = (side: Named): Named => ({ ...side, operations: 300 })

const start = (named: ReadonlyArray<Named>): Bench["sides"] => async (_service, started: Started, lanes) =>
  named.map((side): Measured => worker(started, side, "", lanes))

const plan: Plan = { operations: 20_000, turns: 12, expected: 1 }
const lanes = [1, 16]

/** A bench of one policy: ours is the first side. What ours may cost is a target of `policies`. */
const beside = (about: string, sides: ReadonlyArray<Named>): Bench => ({
  about,
  plan,
  lanes,
  targets: [],
  sides: start([bareEffect, barePromise, ...sides])
})

const policies: Bench = {
  about: "Each policy around a promise",
  plan,
  lanes,
  targets: [
    { side: "retry", atMost: 0.5 },
    { side: "circuit breaker", atMost: 0.5 },
    { side: "token bucket", atMost: 0.5 },
    { side: "concurrency limit", atMost: 0.5 },
    { side: "deadline", atMost: 1.5 },
    { side: "all five", atMost: 4 }
  ],
  sides: start([
    bareEffect,
    effect("retry", "policies", "retry"),
    effect("circuit breaker", "policies", "circuitBreaker"),
    effect("token bucket", "policies", "rateLimiter"),
    effect("concurrency limit", "policies", "concurrencyLimit"),
    effect("deadline", "policies", "deadline"),
    effect("all five", "policies", "five"),
    effect("all five and a total deadline", "policies", "six")
  ])
}

const breakers = beside("A circuit breaker that is closed", [
  effect("ballast", "policies", "circuitBreaker"),
  effect("effect/persistence", "effect", "circuitBreaker"),
  promise("cockatiel", "cockatiel", "circuitBreaker"),
  promise("opossum", "opossum", "circuitBreaker")
])

const limiters = beside("A rate limiter that has a token for each call", [
  effect("ballast", "policies", "rateLimiter"),
  effect("effect/persistence", "effect", "rateLimiter"),
  promise("rate-limiter-flexible", "rateLimiterFlexible", "rateLimiter"),
  slow(promise("bottleneck", "bottleneck", "rateLimiter"))
])

const bulkheads = beside("A concurrency limit of 16", [
  effect("ballast", "policies", "concurrencyLimit"),
  effect("effect Semaphore", "effect", "concurrencyLimit"),
  promise("cockatiel", "cockatiel", "concurrencyLimit"),
  promise("p-limit", "pLimit", "concurrencyLimit"),
  slow(promise("bottleneck", "bottleneck", "concurrencyLimit"))
])

const retries = beside("A retry around a call that succeeds", [
  effect("ballast", "policies", "retry"),
  effect("effect Effect.retry", "effect", "retry"),
  promise("cockatiel", "cockatiel", "retry")
])

const deadlines = beside("A deadline around a call that is in time", [
  effect("ballast", "policies", "deadline"),
  effect("effect Effect.timeout", "effect", "deadline"),
  promise("cockatiel, cooperative", "cockatiel", "deadline"),
  promise("cockatiel, aggressive", "cockatiel", "deadlineAggressive")
])

const stack: Bench = {
  about: "All policies in one: retry, breaker, rate limit, concurrency limit, deadline; cockatiel has no rate limit",
  plan,
  lanes,
  targets: [
    { side: "ballast, five", atMost: 4 },
    { side: "ballast, five", beside: "cockatiel, four", atMost: 1 },
    { side: "ballast, five", beside: "effect, five", atMost: 1 }
  ],
  sides: start([
    bareEffect,
    barePromise,
    effect("ballast, five", "policies", "five"),
    effect("ballast, five and a total deadline", "policies", "six"),
    promise("cockatiel, four", "cockatiel", "four"),
    effect("effect, five", "effect", "five")
  ])
}

const stackMetrics: Bench = {
  about: "The same with a counter of calls and a histogram of their durations",
  plan,
  lanes,
  targets: [
    { side: "ballast, five", atMost: 6 },
    { side: "ballast, five", beside: "effect, five", atMost: 1 }
  ],
  sides: start([
    bareEffect,
    effect("ballast, five", "policies", "fiveWithMetrics"),
    effect("effect, five", "effect", "fiveWithMetrics"),
    effect("the metrics alone", "effect", "metrics")
  ])
}

const stackSpan: Bench = {
  about: "The same inside a span, with a tracer that counts the spans that end",
  plan,
  lanes,
  targets: [
    { side: "ballast, five", atMost: 9 },
    { side: "ballast, five", beside: "effect, five", atMost: 1 }
  ],
  sides: start([
    bareEffect,
    effect("ballast, five", "policies", "fiveWithSpan"),
    effect("effect, five", "effect", "fiveWithSpan"),
    effect("the span alone", "effect", "span")
  ])
}

const bareFailure: Named = { name: "bare failure", module: "effect", side: "failure" }
const bareRejection: Named = { name: "bare rejection", module: "promise", side: "rejection" }

const rejections: Bench = {
  about: "A rejection by an open circuit; the bare call fails with an error that is there already",
  plan,
  lanes: [1],
  targets: [
    { side: "ballast", atMost: 1 },
    { side: "ballast", beside: "effect/persistence", atMost: 1 },
    { side: "ballast", beside: "cockatiel", atMost: 1 },
    { side: "ballast", beside: "opossum", atMost: 1 }
  ],
  sides: start([
    bareFailure,
    bareRejection,
    { name: "ballast", module: "policies", side: "openCircuit", bare: bareFailure.name },
    { name: "effect/persistence", module: "effect", side: "openCircuit", bare: bareFailure.name },
    { name: "cockatiel", module: "cockatiel", side: "openCircuit", bare: bareRejection.name },
    { name: "opossum", module: "opossum", side: "openCircuit", bare: bareRejection.name }
  ])
}

const sizes = [100, 1_000, 10_000]

/** Room for all of the largest crowd where V8 keeps what is new: else it is mostly the moving of those who still wait that is measured. */
const execArgv = ["--max-semi-space-size=128"]

/** The same for crowds of every size, whose bare calls run all at once. */
const crowded = ({ bare, ...named }: Named): ReadonlyArray<readonly [named: Named, size: number]> =>
  sizes.map((size) => {
    const of = (name: string) => `${name}, ${size}`
    return [{ ...named, name: of(named.name), execArgv, ...(bare === undefined ? {} : { bare: of(bare) }) }, size]
  })

const waiters: Bench = {
  about:
    "Each of so many calls that come at once and take turns; where it costs the same in a longer queue, it is O(1)",
  plan: { operations: 10_000, turns: 10, expected: 1 },
  targets: ["ballast concurrency limit", "ballast token bucket"].map((name) => ({
    side: `${name}, 10000`,
    beside: `${name}, 100`,
    atMost: 2
  })),
  sides: async (_service, started) =>
    [
      { ...bareEffect, side: "crowd" },
      { ...barePromise, side: "crowd" },
      effect("ballast concurrency limit", "policies", "crowdedConcurrencyLimit"),
      effect("ballast token bucket", "policies", "crowdedRateLimiter"),
      effect("effect Semaphore", "effect", "crowdedConcurrencyLimit"),
      promise("cockatiel bulkhead", "cockatiel", "crowdedConcurrencyLimit"),
      promise("p-limit", "pLimit", "crowdedConcurrencyLimit")
    ].flatMap(crowded).map(([named, size]) => worker(started, named, "", size))
}

export const policyBenches: Record<string, Bench> = {
  policies,
  breakers,
  limiters,
  bulkheads,
  retries,
  deadlines,
  stack,
  "stack-metrics": stackMetrics,
  "stack-span": stackSpan,
  rejections,
  waiters
}
