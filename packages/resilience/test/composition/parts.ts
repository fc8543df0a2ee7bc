/**
 * Every policy of the package, set so that it shows early what it does, and beside it what it is to do: a model of a few lines that knows
 * neither time nor fibers. Policies compose like functions and so do the models; the suite compares the two for every pair.
 */
import {
  AdaptiveLimit,
  Cache,
  Chaos,
  CircuitBreaker,
  CircuitBreakerStore,
  ConcurrencyLimit,
  Deadline,
  Degrade,
  Fallback,
  Hedge,
  LoadShed,
  Policy,
  RateLimiter,
  RateLimiterStore,
  Retry,
  RetryBudget,
  SharedCircuitBreaker,
  SharedRateLimiter,
  SingleFlight,
  Throttle
} from "@ballast/resilience"
import { Data, Effect, type Scope, type Stream } from "effect"

export interface Tagged {
  readonly _tag: string
}

/** A policy that was made, as a function on the programs of the suite. */
export interface Made {
  readonly effect: (self: Effect.Effect<string, Tagged>) => Effect.Effect<string, Tagged>
  readonly stream: (self: Stream.Stream<string, Tagged>) => Stream.Stream<string, Tagged>
  /** What it holds for calls: slots, places, work in flight. */
  readonly held: Effect.Effect<number>
}

/** How one call ends: with a value, with the tag of an error, or not at all (`hung`). */
export interface End {
  readonly tag: string
  /** An error that another try may mend. */
  readonly mends?: boolean
  /** An error that counts against the dependency. */
  readonly fails?: boolean
  /** An error of a policy that turned the call away. */
  readonly away?: boolean
  /** It comes only once a deadline is over. */
  readonly late?: boolean
}

/** Lets so many callers call at once. */
export type Call = (callers: number) => ReadonlyArray<End>

/** What a model may ask of the one that runs it. */
export interface Run {
  /** Is told when whatever hangs is interrupted. */
  readonly onCut: (release: () => void) => void
  /** Interrupts whatever hangs. */
  readonly cut: () => void
}

export type Model = (run: Run) => (next: Call) => Call

export interface Part {
  readonly name: string
  readonly make: Effect.Effect<Made, never, Scope.Scope>
  readonly model: Model
}

export class Injected extends Data.TaggedError("Injected") {}

export const ok: End = { tag: "ok" }
export const fault: End = { tag: "Fault", mends: true, fails: true }
export const hung: End = { tag: "hung" }
const rejected = (tag: string): End => ({ tag, away: true })

const nothing = Effect.succeed(0)

const of = <E extends Tagged>(policy: Policy.Policy<E>, held: Effect.Effect<number> = nothing): Made => ({
  effect: (self) => policy(self),
  stream: (self) => policy.stream(self),
  held
})

const transparent: Model = () => (next) => next

const repeat = (n: number, end: End): ReadonlyArray<End> => Array.from({ length: n }, () => end)

/** Calls again for those whose end another try may mend. */
const retryOnce: Model = () => (next) => (callers) => {
  const ends = next(callers)
  const again = next(ends.filter((end) => end.mends === true).length).values()
  return ends.map((end) => end.mends === true ? again.next().value ?? end : end)
}

/** The first failure opens it, for longer than any of these tests. */
const tripping: Model = () => (next) => {
  let open = false
  return (callers) => {
    if (open) return repeat(callers, rejected("CircuitOpen"))
    const ends = next(callers)
    open = ends.some((end) => end.fails === true)
    return ends
  }
}

/** Lets two calls through, and no more for an hour. */
const twice = (tag: string): Model => () => (next) => {
  let left = 2
  return (callers) => {
    const admitted = Math.min(left, callers)
    left -= admitted
    return [...next(admitted), ...repeat(callers - admitted, rejected(tag))]
  }
}

/** One slot and no queue. */
const oneSlot = (tag: string): Model => (run) => (next) => {
  let taken = 0
  return (callers) => {
    const admitted = Math.min(1 - taken, callers)
    const ends = next(admitted)
    if (ends.includes(hung)) {
      taken++
      run.onCut(() => taken--)
    }
    return [...ends, ...repeat(callers - admitted, rejected(tag))]
  }
}

const late = (mends: boolean): Model => (run) => (next) => (callers) =>
  next(callers).map((end) => {
    if (end !== hung) return end
    run.cut()
    return { tag: "DeadlineExceeded", mends, fails: true, late: true }
  })

/** A second attempt for what fails and for what is late; it is the answer unless it was turned away or the first one may still be better. */
const hedging: Model = (run) => (next) => (callers) => {
  const ends = next(callers)
  const isHedged = (end: End) => end === hung || end.late === true || end.mends === true
  const seconds = next(ends.filter(isHedged).length).values()
  return ends.map((first) => {
    const second = isHedged(first) ? seconds.next().value : undefined
    if (second === undefined || second.away === true || (first.mends !== true && second.mends === true)) return first
    if (second !== hung) run.cut()
    return second
  })
}

const good = (end: End) => end === ok || end.tag === "fallback"

/** Callers at the same time share one call; one that hangs can be joined until it is interrupted. */
const sharing: Model = (run) => (next) => {
  let hangs = false
  return (callers) => {
    if (callers === 0) return []
    if (hangs) return repeat(callers, hung)
    const [end = hung] = next(1)
    hangs = end === hung
    if (hangs) {
      run.onCut(() => {
        hangs = false
      })
    }
    return repeat(callers, end)
  }
}

const keeping: Model = (run) => (next) => {
  let kept: End | undefined
  const shared = sharing(run)(next)
  return (callers) => {
    if (kept !== undefined) return repeat(callers, kept)
    const ends = shared(callers)
    kept = ends.find(good)
    return ends
  }
}

/** With the lowest chance and a K of one, it rejects as soon as anything was not accepted. */
const throttling: Model = () => (next) => {
  let requests = 0
  let accepts = 0
  return (callers) => {
    if (requests > accepts) {
      requests += callers
      return repeat(callers, rejected("Throttled"))
    }
    const ends = next(callers)
    for (const end of ends) {
      if (good(end) || end.fails === true) requests++
      if (good(end)) accepts++
    }
    return ends
  }
}

const stack = {
  total: "8 seconds",
  retry: { times: 1, base: 1 },
  circuitBreaker: { minimumCalls: 1, failureRate: 0.01, window: "1 minute", openDuration: "1 hour" },
  rateLimiter: { limit: 2, window: "1 hour" },
  concurrencyLimit: { limit: 1 },
  // Not that of the attempt deadline that stands alone, so that the two never end at one moment.
  attempt: "3 seconds"
} as const satisfies Policy.CommonOptions

const composed = (...models: ReadonlyArray<Model>): Model => (run) => (next) =>
  models.reduceRight((inner, model) => model(run)(inner), next)

export const parts: ReadonlyArray<Part> = [
  { name: "retry", make: Effect.sync(() => of(Retry.make(stack.retry))), model: retryOnce },
  {
    name: "breaker",
    make: Effect.map(
      CircuitBreaker.make(stack.circuitBreaker),
      (breaker) => of(breaker, Effect.map(breaker.inspect, (state) => state._tag === "HalfOpen" ? state.running : 0))
    ),
    model: tripping
  },
  {
    name: "rate limiter",
    make: Effect.map(
      RateLimiter.make(stack.rateLimiter),
      (limiter) => of(limiter, Effect.map(limiter.inspect, ({ queued }) => queued))
    ),
    model: twice("RateLimitExceeded")
  },
  {
    name: "shared breaker",
    make: SharedCircuitBreaker.make(stack.circuitBreaker).pipe(
      Effect.map((breaker) =>
        of(
          breaker("key"),
          Effect.map(Effect.orDie(breaker.inspect("key")), (state) => state._tag === "HalfOpen" ? state.running : 0)
        )
      ),
      Effect.provide(CircuitBreakerStore.layerStoreMemory())
    ),
    model: tripping
  },
  {
    name: "shared limiter",
    make: SharedRateLimiter.make(stack.rateLimiter).pipe(
      Effect.map((limiter) => of(limiter("key"), Effect.map(limiter.inspect, ({ leased, queued }) => leased + queued))),
      Effect.provide(RateLimiterStore.layerStoreMemory)
    ),
    model: twice("RateLimitExceeded")
  },
  {
    name: "concurrency limit",
    make: Effect.map(
      ConcurrencyLimit.make(stack.concurrencyLimit),
      (limit) => of(limit, Effect.map(limit.inspect, ({ queued, running }) => queued + running))
    ),
    model: oneSlot("QueueFull")
  },
  {
    name: "adaptive limit",
    make: Effect.map(
      AdaptiveLimit.make({ initial: 1, max: 1 }),
      (limit) => of(limit, Effect.map(limit.inspect, ({ queued, running }) => queued + running))
    ),
    model: oneSlot("QueueFull")
  },
  { name: "attempt deadline", make: Effect.sync(() => of(Deadline.attempt("5 seconds"))), model: late(true) },
  { name: "total deadline", make: Effect.sync(() => of(Deadline.total(stack.total))), model: late(false) },
  {
    name: "hedge",
    make: Effect.map(
      Hedge.make({ delay: "2 seconds", budget: Infinity }),
      (hedge) => of(hedge, Effect.map(hedge.inspect, ({ attempts, calls }) => attempts + calls))
    ),
    model: hedging
  },
  {
    name: "fallback",
    make: Effect.map(Fallback.make({}, Fallback.value("fallback")), (fallback) => ({
      effect: (self) => fallback(self),
      stream: fallback.stream,
      held: nothing
    })),
    model: () => (next) => (callers) =>
      next(callers).map((end) => good(end) || end === hung ? end : { ...(end.late && { late: true }), tag: "fallback" })
  },
  {
    name: "degrade",
    make: Effect.suspend(() => {
      let looks = 0
      return Effect.map(Degrade.make({ when: Effect.sync(() => ++looks > 2) }), (degrade) => of(degrade))
    }),
    model: twice("Degraded")
  },
  {
    name: "cache",
    make: Effect.all([
      Cache.make<string, Tagged>({ timeToLive: "1 hour" }),
      Cache.makeStream<string, Tagged>({ timeToLive: "1 hour" })
    ]).pipe(
      Effect.map(([effects, streams]) => ({
        effect: effects.through("key"),
        stream: streams.through("key"),
        held: nothing
      }))
    ),
    model: keeping
  },
  {
    name: "single flight",
    make: Effect.map(SingleFlight.make<string, Tagged>(), (flight) => ({
      effect: flight.share("key"),
      stream: flight.shareStream("key"),
      held: Effect.map(flight.inspect, ({ effects, followers, streams }) => effects.size + streams.size + followers)
    })),
    model: sharing
  },
  {
    name: "throttle",
    make: Effect.map(Throttle.make({ multiplier: 1, minimumRequests: 1, maxRejection: 1 }), (throttle) => of(throttle)),
    model: throttling
  },
  {
    name: "load shedding",
    make: Effect.map(
      LoadShed.make({ limit: 1, queue: 0 }),
      (shed) => of(shed, Effect.map(shed.inspect, ({ queued, running }) => queued + running))
    ),
    model: oneSlot("Shed")
  },
  { name: "retry budget", make: Effect.map(RetryBudget.make(), (budget) => of(budget)), model: transparent },
  {
    name: "chaos",
    make: Effect.map(
      Effect.orDie(Chaos.make({ profile: "test", fault: { rate: 1, effect: Effect.fail(new Injected()) } })),
      (chaos) => ({ effect: (self) => chaos(self), stream: (self) => chaos.stream(self), held: nothing })
    ),
    model: () => () => (callers) => repeat(callers, { tag: "Injected", mends: true, fails: true })
  },
  {
    name: "common stack",
    make: Effect.map(ConcurrencyLimit.make(stack.concurrencyLimit), (limit) => ({ limit })).pipe(
      Effect.flatMap(({ limit }) =>
        Effect.map(
          Policy.common({ ...stack, concurrencyLimit: limit }),
          (policy) => of(policy, Effect.map(limit.inspect, ({ queued, running }) => queued + running))
        )
      )
    ),
    model: composed(late(false), retryOnce, tripping, twice("RateLimitExceeded"), oneSlot("QueueFull"), late(true))
  }
]

export const pairs: ReadonlyArray<readonly [outer: Part, inner: Part]> = parts.flatMap((outer) =>
  parts.map((inner) => [outer, inner] as const)
)
