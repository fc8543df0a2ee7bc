import { CircuitBreaker, ConcurrencyLimit, Deadline, type Policy, Retry, RetryBudget } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { collected } from "../../../../test/support/collected.ts"

/** Pulls once, and gives what opens the stream in a way that does not keep it. */
const begin = (policy: Policy.Policy<unknown>) =>
  Effect.gen(function*() {
    const source = Stream.range(1, 5).pipe(Stream.rechunk(1))
    const pull = yield* Stream.toPull(policy.stream(source))
    yield* pull
    return { pull, source: new WeakRef(source) }
  })

const policies: Readonly<Record<string, Effect.Effect<Policy.Policy<unknown>>>> = {
  breaker: CircuitBreaker.make(),
  deadline: Effect.succeed(Deadline.make({ attempt: "1 minute", idle: "1 second" })),
  limit: ConcurrencyLimit.make({ limit: 1 }),
  retry: Effect.map(RetryBudget.make(), (budget) => Retry.make({ budget }))
}

describe("a stream that has begun", () => {
  for (const [name, policy] of Object.entries(policies)) {
    it.live(`keeps nothing that opened it: ${name}`, () =>
      Effect.gen(function*() {
        const { pull, source } = yield* Effect.flatMap(policy, begin)
        yield* collected(source)
        assert.deepStrictEqual(yield* pull, [2])
      }))
  }
})
