import CircuitBreaker from "opossum"
import { promises, rejected } from "../promises.ts"

/** Its timeout is a deadline, which the other breakers don't have. */
const makeBreaker = () =>
  new CircuitBreaker((call: () => Promise<number>) => call(), {
    timeout: false,
    errorThresholdPercentage: 50,
    resetTimeout: 30_000,
    volumeThreshold: 10
  })

export const circuitBreaker = promises(() => {
  const breaker = makeBreaker()
  return (call) => breaker.fire(call)
})

export const openCircuit = rejected(() => {
  const breaker = makeBreaker()
  breaker.open()
  return (call) => breaker.fire(call)
}, CircuitBreaker.isOurError)
