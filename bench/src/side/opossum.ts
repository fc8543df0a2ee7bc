import CircuitBreaker from "opossum"
import { promises, rejected } from "../promises.ts"

/** Its timeout is a deadline, which the other breakers don't have. */
const makeBreaker = (resetTimeout: number) =>
  new CircuitBreaker((call: () => Promise<number>) => call(), {
    timeout: false,
    errorThresholdPercentage: 50,
    resetTimeout,
    volumeThreshold: 10
  })

export const circuitBreaker = promises(() => {
  const breaker = makeBreaker(30_000)
  return (call) => breaker.fire(call)
})

export const openCircuit = rejected(() => {
  const breaker = makeBreaker(3_600_000)
  breaker.open()
  return (call) => breaker.fire(call)
}, CircuitBreaker.isOurError)
