import * as Cockatiel from "cockatiel"
import { crowds, promises, rejected } from "../promises.ts"

const minute = 60_000
const makeRetry = () =>
  Cockatiel.retry(Cockatiel.handleAll, { maxAttempts: 5, backoff: new Cockatiel.ExponentialBackoff() })
const makeBreaker = () =>
  Cockatiel.circuitBreaker(Cockatiel.handleAll, {
    breaker: new Cockatiel.SamplingBreaker({ duration: 10_000, threshold: 0.5 }),
    halfOpenAfter: 30_000
  })
const makeTimeout = (strategy: Cockatiel.TimeoutStrategy) => Cockatiel.timeout(minute, strategy)
const { Aggressive, Cooperative } = Cockatiel.TimeoutStrategy

const side = (make: () => Pick<Cockatiel.IPolicy, "execute">) =>
  promises(() => {
    const policy = make()
    return (call) => policy.execute(call)
  })

export const retry = side(makeRetry)
export const circuitBreaker = side(makeBreaker)
export const concurrencyLimit = side(() => Cockatiel.bulkhead(16))
export const deadline = side(() => makeTimeout(Cooperative))
export const deadlineAggressive = side(() => makeTimeout(Aggressive))
export const four = side(() =>
  Cockatiel.wrap(makeRetry(), makeBreaker(), Cockatiel.bulkhead(16), makeTimeout(Cooperative))
)

export const openCircuit = rejected(() => {
  const breaker = makeBreaker()
  breaker.isolate()
  return (call) => breaker.execute(call)
}, (error) => error instanceof Cockatiel.BrokenCircuitError)

export const crowdedConcurrencyLimit = crowds(() => {
  const bulkhead = Cockatiel.bulkhead(1, Infinity)
  return (call) => bulkhead.execute(call)
})
