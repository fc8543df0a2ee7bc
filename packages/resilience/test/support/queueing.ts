import { type AdaptiveLimit, ConcurrencyLimit, Priority } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { Deferred, Effect, type Fiber } from "effect"

export const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** What a call says of itself. */
export interface Traits {
  readonly priority?: Priority.Priority
  readonly tenant?: string
  readonly weight?: number
}

type Limit = Pick<ConcurrencyLimit.ConcurrencyLimit, "weigh"> | Pick<AdaptiveLimit.AdaptiveLimit, "weigh">

export const as = ({ priority = "normal", tenant }: Traits) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  self.pipe(
    Effect.provideService(Priority.CurrentPriority, priority),
    Effect.provideService(ConcurrencyLimit.CurrentTenant, tenant)
  )

/** Calls that run until they are told to end; `log` says who started and who was rejected, in order. */
export const makeCalls = (limit: Limit) => {
  const gates: Array<Deferred.Deferred<void>> = []
  const log: Array<string> = []
  const call = Effect.fnUntraced(function*(
    id: string,
    traits: Traits = {}
  ): Effect.fn.Return<
    Fiber.Fiber<void, ConcurrencyLimit.QueueFull | ConcurrencyLimit.QueueTimeout | ConcurrencyLimit.TooHeavy>
  > {
    const gate = yield* Deferred.make<void>()
    const guarded = limit.weigh(traits.weight ?? 1)(Effect.suspend(() => {
      log.push(id)
      gates.push(gate)
      return Deferred.await(gate)
    }))
    return yield* start(
      Effect.tapError(as(traits)(guarded), (error) => Effect.sync(() => log.push(`${error._tag} ${id}`)))
    )
  })
  /** Ends the call that has run for the longest. */
  const end = Effect.suspend(() => {
    const gate = gates.shift()
    return gate === undefined ? Effect.void : Effect.andThen(Deferred.succeed(gate, undefined), Testing.settle)
  })
  return {
    call,
    end,
    log,
    endAll: Effect.whileLoop({ while: () => gates.length > 0, body: () => end, step: () => {} })
  }
}

/** A limit whose slots are all taken by one call named `first`. */
export const makeFull = Effect.fnUntraced(function*(options: Partial<ConcurrencyLimit.Options> = {}) {
  const limit = yield* ConcurrencyLimit.make({ limit: 1, queue: 100, ...options })
  const calls = makeCalls(limit)
  yield* calls.call("first", { weight: options.limit ?? 1 })
  return { limit, ...calls }
})

export const rest = { running: 0, queued: 0 }

/** Slots taken and calls that wait. */
export const glance = (limit: { readonly inspect: Effect.Effect<ConcurrencyLimit.State> }) =>
  Effect.map(limit.inspect, ({ queued, running }) => ({ running, queued }))
