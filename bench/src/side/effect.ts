/** What Effect itself has for the same, put around each call anew. */
import { type Duration, Effect, Layer, Schedule, Scope, Semaphore } from "effect"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as RateLimiter from "effect/persistence/RateLimiter"
import { crowds, fibers, one } from "../fibers.ts"
import type { Side } from "../measure.ts"
import { measured, traced } from "../observed.ts"

type Around = (call: Effect.Effect<number, unknown>) => Effect.Effect<number, unknown>
type Run = typeof fibers

const side = (make: Effect.Effect<Around>, run: Run = fibers) => async (_url: string, lanes: number): Promise<Side> => {
  const around = await Effect.runPromise(make)
  return run(lanes, () => around(one()))
}

const identity: Effect.Effect<Around> = Effect.succeed((call) => call)

export const bare = side(identity)
export const metrics = side(identity, measured)
export const span = side(identity, traced)

const makeRetry: Effect.Effect<Around> = Effect.sync(() => {
  const schedule = Schedule.jittered(Schedule.exponential("1 second"))
  return (call) => Effect.retry(call, { schedule, times: 5 })
})

const makeBreaker = (tripPolicy: CircuitBreaker.TripPolicy, openDuration: Duration.Input) =>
  CircuitBreaker.make({ tripPolicy, openDuration }).pipe(
    Effect.provide(CircuitBreaker.layerStoreMemory()),
    Effect.provideService(Scope.Scope, Scope.makeUnsafe())
  )

const makeCircuitBreaker: Effect.Effect<Around> = Effect.map(
  makeBreaker(CircuitBreaker.rate({ minimumCalls: 10 }), "30 seconds"),
  ({ execute }) => (call) => execute(call, { key: "bench" })
)

const makeRateLimiter: Effect.Effect<Around> = Effect.map(
  Effect.provide(
    RateLimiter.makeWithRateLimiter,
    Layer.provide(RateLimiter.layer, RateLimiter.layerStoreMemory)
  ),
  (limited) => limited({ algorithm: "token-bucket", key: "bench", limit: 1_000_000_000, window: "1 second" })
)

const makeConcurrencyLimit = (permits: number): Effect.Effect<Around> =>
  Effect.map(Semaphore.make(permits), (semaphore) => (call) => semaphore.withPermit(call))

const makeDeadline: Effect.Effect<Around> = Effect.succeed((call) => Effect.timeout(call, "1 minute"))

export const retry = side(makeRetry)
export const circuitBreaker = side(makeCircuitBreaker)
export const rateLimiter = side(makeRateLimiter)
export const concurrencyLimit = side(makeConcurrencyLimit(16))
export const deadline = side(makeDeadline)

const makeFive: Effect.Effect<Around> = Effect.map(
  Effect.all([makeRetry, makeCircuitBreaker, makeRateLimiter, makeConcurrencyLimit(16), makeDeadline]),
  (parts) => (call) => parts.reduceRight((inner, part) => part(inner), call)
)

export const five = side(makeFive)
export const fiveWithMetrics = side(makeFive, measured)
export const fiveWithSpan = side(makeFive, traced)

const failed = Effect.fail("down")

const unrun = (_call: Effect.Effect<number>) => failed

/** The failure that rejections are beside: of a call that is made, but not run. */
export const failure = async (_url: string, lanes: number): Promise<Side> =>
  fibers(lanes, () => Effect.match(unrun(one()), { onFailure: () => 1, onSuccess: () => NaN }))

export const openCircuit = async (_url: string, lanes: number): Promise<Side> => {
  const { execute } = await Effect.runPromise(makeBreaker(CircuitBreaker.consecutive(1), "1 hour"))
  await Effect.runPromise(Effect.ignore(execute(failed, { key: "bench" })))
  return fibers(lanes, () =>
    Effect.match(execute(one(), { key: "bench" }), {
      onFailure: ({ reason }) => reason._tag === "CircuitOpen" ? 1 : NaN,
      onSuccess: () => NaN
    }))
}

export const crowd = async (_url: string, size: number): Promise<Side> => crowds(size, one)

export const crowdedConcurrencyLimit = async (_url: string, size: number): Promise<Side> => {
  const around = await Effect.runPromise(makeConcurrencyLimit(1))
  return crowds(size, () => around(one()))
}
