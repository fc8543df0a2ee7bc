import { Effect, identity } from "effect"
import type { Side } from "./measure.ts"

/** The work of every policy bench, as an effect. */
export const one = () => Effect.promise(() => Promise.resolve(1))

/** Keeps so many fibers busy, each with one call after the other, and adds up their results. */
export const fibers = <E>(
  lanes: number,
  call: () => Effect.Effect<number, E>,
  around: <A>(all: Effect.Effect<A, E>) => Effect.Effect<A, E> = identity
): Side =>
(operations) => {
  let started = 0
  const lane = Effect.gen(function*() {
    let sum = 0
    while (started++ < operations) sum += yield* call()
    return sum
  })
  const all = lanes === 1 ? lane : total(Effect.replicateEffect(lane, lanes, { concurrency: "unbounded" }))
  return Effect.runPromise(around(all))
}

/** Starts crowds of calls, each when all of the one before have ended. */
export const crowds = <E>(
  size: number,
  call: () => Effect.Effect<number, E>,
  before: Effect.Effect<void> = Effect.void
): Side =>
(operations) =>
  Effect.runPromise(Effect.gen(function*() {
    let sum = 0
    for (let done = 0; done < operations; done += size) {
      yield* before
      sum += yield* total(Effect.all(Array.from({ length: size }, call), { concurrency: "unbounded" }))
    }
    return sum
  }))

const total = <E>(results: Effect.Effect<ReadonlyArray<number>, E>): Effect.Effect<number, E> =>
  Effect.map(results, (numbers) => numbers.reduce((sum, number) => sum + number, 0))
