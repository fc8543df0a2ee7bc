import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as CallInfo from "../CallInfo.ts"

export type PolicyKind =
  | "retry"
  | "circuit-breaker"
  | "rate-limiter"
  | "concurrency-limit"
  | "deadline"
  | "chaos"
  | "throttle"
  | "load-shed"
  | "single-flight"
  | "degrade"
  | "adaptive-limit"
  | "shared-rate-limiter"

const waitSeconds = Metric.histogram("ballast_policy_wait_seconds", {
  description: "Seconds a call waited inside a policy.",
  boundaries: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]
})

const rejections = Metric.counter("ballast_policy_rejections_total", {
  description: "Calls that a policy rejected.",
  incremental: true
})

const retryAttempts = Metric.counter("ballast_retry_attempts_total", {
  description: "Attempts after the first, started by a retry.",
  incremental: true
})

const transitions = Metric.counter("ballast_circuit_breaker_transitions_total", {
  description: "State changes of a circuit breaker.",
  incremental: true
})

const state = Metric.gauge("ballast_circuit_breaker_state", {
  description: "State of a circuit breaker: 0 closed, 1 half-open, 2 open, 3 isolated, 4 disabled."
})

const deadlines = Metric.counter("ballast_deadlines_exceeded_total", {
  description: "Calls that a deadline ended.",
  incremental: true
})

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** What a metric needs of a fiber. */
type Reader = Pick<AnyFiber, "context">

/** Records a finished wait as an event of the current span, in the histogram and in the record of the call. */
export const makeWaited = (policy: PolicyKind, name: string) => {
  const metric = Metric.withAttributes(waitSeconds, { policy, name })
  return (fiber: AnyFiber, millis: number): void => {
    const seconds = millis / 1000
    metric.updateUnsafe(seconds, fiber.context)
    const info = fiber.getRef(CallInfo.Current)
    if (info !== undefined) info.waited += millis
    const span = fiber.cache.span
    if (span?._tag === "Span") {
      span.event("ballast.wait", fiber.getRef(Clock.Clock).currentTimeNanosUnsafe(), { policy, name, seconds })
    }
  }
}

const counting = (metric: Metric.Counter<number>) => (fiber: Reader): void => metric.updateUnsafe(1, fiber.context)

export const makeRejected = (policy: PolicyKind, name: string) =>
  counting(Metric.withAttributes(rejections, { policy, name }))

const retriesDenied = Metric.counter("ballast_retries_denied_total", {
  description: "Retries that were not made because their budget was spent.",
  incremental: true
})

export const makeRetryDenied = (name: string) => counting(Metric.withAttributes(retriesDenied, { name }))

/** Counts an attempt after the first, and records it as an event of the current span. */
export const makeRetried = (name: string) => {
  const count = counting(Metric.withAttributes(retryAttempts, { name }))
  return (fiber: AnyFiber, attempt: number): void => {
    count(fiber)
    addEvent(fiber, "ballast.retry", { name, attempt })
  }
}

export const makeExceeded = (name: string, deadline: string) =>
  counting(Metric.withAttributes(deadlines, { name, deadline }))

const levels = { "closed": 0, "half-open": 1, "open": 2, "isolated": 3, "disabled": 4 }

export type CircuitState = keyof typeof levels

export const makeTransition = (name: string) => {
  const gauge = Metric.withAttributes(state, { name })
  return (fiber: AnyFiber, from: CircuitState, to: CircuitState): void => {
    gauge.updateUnsafe(levels[to], fiber.context)
    if (from === to) return
    Metric.withAttributes(transitions, { name, from, to }).updateUnsafe(1, fiber.context)
    addEvent(fiber, "ballast.circuit", { name, from, to })
  }
}

const hedges = Metric.counter("ballast_hedges_total", {
  description: "Attempts that a hedge started beside or after the first one.",
  incremental: true
})

const hedgeWins = Metric.counter("ballast_hedge_wins_total", {
  description: "Calls that were answered by an attempt after the first.",
  incremental: true
})

const hedgesDenied = Metric.counter("ballast_hedges_denied_total", {
  description: "Attempts that a hedge did not start because its budget was spent.",
  incremental: true
})

/** Why a hedge starts another attempt. */
export type HedgeReason = "slow" | "failed"

/** Counts an attempt after the first, and records it as an event of the current span. */
export const makeHedged = (name: string) => {
  const metric = {
    slow: Metric.withAttributes(hedges, { name, because: "slow" }),
    failed: Metric.withAttributes(hedges, { name, because: "failed" })
  }
  return (fiber: AnyFiber, attempt: number, because: HedgeReason): void => {
    metric[because].updateUnsafe(1, fiber.context)
    addEvent(fiber, "ballast.hedge", { name, attempt, because })
  }
}

export const makeHedgeWon = (name: string) => counting(Metric.withAttributes(hedgeWins, { name }))

export const makeHedgeDenied = (name: string) => counting(Metric.withAttributes(hedgesDenied, { name }))

const addEvent = (fiber: AnyFiber, event: string, attributes: Record<string, unknown>): void => {
  const span = fiber.cache.span
  if (span?._tag === "Span") span.event(event, fiber.getRef(Clock.Clock).currentTimeNanosUnsafe(), attributes)
}

const fallbacks = Metric.counter("ballast_fallbacks_total", {
  description: "Answers that a fallback gave.",
  incremental: true
})

const fallbackFailures = Metric.counter("ballast_fallback_failures_total", {
  description: "Fallbacks that failed themselves, or had nothing to serve.",
  incremental: true
})

/** Counts an answer of a fallback, and records it as an event of the current span. */
export const makeServed = (name: string, fallback: string) => {
  const metric = Metric.withAttributes(fallbacks, { name, fallback })
  return (fiber: AnyFiber): void => {
    metric.updateUnsafe(1, fiber.context)
    addEvent(fiber, "ballast.fallback", { name, fallback })
  }
}

export const makeNotServed = (name: string, fallback: string) =>
  counting(Metric.withAttributes(fallbackFailures, { name, fallback }))

const flightsJoined = Metric.counter("ballast_single_flight_joined_total", {
  description: "Callers that shared the work of another one.",
  incremental: true
})

const flightsCancelled = Metric.counter("ballast_single_flight_cancelled_total", {
  description: "Work in flight that was interrupted because its last caller left.",
  incremental: true
})

export const makeFlightJoined = (name: string) => counting(Metric.withAttributes(flightsJoined, { name }))

export const makeFlightCancelled = (name: string) => counting(Metric.withAttributes(flightsCancelled, { name }))

const injections = Metric.counter("ballast_chaos_injections_total", {
  description: "Disturbances that chaos put into calls.",
  incremental: true
})

/** Counts a disturbance, and records it as an event of the current span. */
export const makeInjected = (name: string, kind: string) => {
  const count = counting(Metric.withAttributes(injections, { name, kind }))
  return (fiber: AnyFiber): void => {
    count(fiber)
    addEvent(fiber, "ballast.chaos", { name, kind })
  }
}

const cacheRequests = Metric.counter("ballast_cache_requests_total", {
  description: "Calls that came to a cache, by what it had for them.",
  incremental: true
})

const cacheEvictions = Metric.counter("ballast_cache_evictions_total", {
  description: "Entries that a full cache dropped.",
  incremental: true
})

const cacheRefreshFailures = Metric.counter("ballast_cache_refresh_failures_total", {
  description: "Refreshes of a stale entry in the background that did not succeed.",
  incremental: true
})

export const makeCached = (name: string) => {
  const metric = {
    hit: Metric.withAttributes(cacheRequests, { name, result: "hit" }),
    stale: Metric.withAttributes(cacheRequests, { name, result: "stale" }),
    miss: Metric.withAttributes(cacheRequests, { name, result: "miss" })
  }
  return (fiber: AnyFiber, result: keyof typeof metric): void => {
    metric[result].updateUnsafe(1, fiber.context)
    addEvent(fiber, "ballast.cache", { name, result })
  }
}

export const makeCacheEvicted = (name: string) => counting(Metric.withAttributes(cacheEvictions, { name }))

export const makeCacheRefreshFailed = (name: string) => counting(Metric.withAttributes(cacheRefreshFailures, { name }))

const spares = Metric.counter("ballast_circuit_breaker_spared_total", {
  description: "Calls that a circuit breaker would have rejected, had it not been in shadow.",
  incremental: true
})

const shadow = Metric.gauge("ballast_circuit_breaker_shadow", {
  description:
    "Whether a circuit breaker is in shadow, where it rejects no call: 0 no, 1 yes; absent before the first time."
})

export const makeSpared = (name: string) => counting(Metric.withAttributes(spares, { name }))

export const makeShadow = (name: string) => {
  const gauge = Metric.withAttributes(shadow, { name })
  return (fiber: AnyFiber, on: boolean): void => gauge.updateUnsafe(on ? 1 : 0, fiber.context)
}

const rateLimiterPauses = Metric.counter("ballast_rate_limiter_pauses_total", {
  description:
    "Pauses of a rate limiter, each one that began or became longer; of a shared one, each one that this process made.",
  incremental: true
})

const rateLimiterSettled = Metric.counter("ballast_rate_limiter_settled_weight_total", {
  description: "Weight by which reservations differed from the true cost, refunded or charged.",
  incremental: true
})

export const makePaused = (name: string) => counting(Metric.withAttributes(rateLimiterPauses, { name }))

export const makeSettled = (name: string) => {
  const metric = {
    refund: Metric.withAttributes(rateLimiterSettled, { name, because: "refund" }),
    charge: Metric.withAttributes(rateLimiterSettled, { name, because: "charge" })
  }
  return (fiber: Reader, because: keyof typeof metric, weight: number): void =>
    metric[because].updateUnsafe(weight, fiber.context)
}

const retriesGivenUp = Metric.counter("ballast_retries_given_up_total", {
  description: "Calls that failed in a way that may be retried, and were not tried again.",
  incremental: true
})

/** Counts a call whose retries end without an answer. */
export const makeGaveUp = (name: string) => (fiber: AnyFiber, because: string): void =>
  Metric.withAttributes(retriesGivenUp, { name, because }).updateUnsafe(1, fiber.context)

const adaptiveLimit = Metric.gauge("ballast_adaptive_limit", {
  description: "Calls that an adaptive limit lets run at once."
})

const adaptiveLimitChanges = Metric.counter("ballast_adaptive_limit_changes_total", {
  description: "Changes of an adaptive limit.",
  incremental: true
})

/** Sets the gauge of an adaptive limit, and counts the change unless it is the first value. */
export const makeAdapted = (name: string) => {
  const gauge = Metric.withAttributes(adaptiveLimit, { name })
  return (fiber: AnyFiber, limit: number, because?: string): void => {
    gauge.updateUnsafe(limit, fiber.context)
    if (because !== undefined) {
      Metric.withAttributes(adaptiveLimitChanges, { name, because }).updateUnsafe(1, fiber.context)
    }
  }
}

/** The gauges that show the state of a policy, by its kind in the registry. */
const gauges: { readonly [kind: string]: ReadonlyArray<Metric.Metric<number, unknown>> } = {
  adaptiveLimit: [adaptiveLimit],
  circuitBreaker: [state, shadow]
}

/** Removes the gauges of a policy that is gone: they would show its last state for ever. */
export const forget = (kind: string, name: string, context: Context.Context<never>): void => {
  for (const gauge of gauges[kind] ?? []) Metric.removeUnsafe(Metric.withAttributes(gauge, { name }), context)
}

const storeErrors = Metric.counter("ballast_store_errors_total", {
  description: "Requests to the store of a shared policy that failed or got no answer in time.",
  incremental: true
})

export const makeStoreFailed = (policy: PolicyKind, name: string) => (fiber: Reader, op: string): void =>
  Metric.withAttributes(storeErrors, { policy, name, op }).updateUnsafe(1, fiber.context)

const leasedWeight = Metric.counter("ballast_rate_limiter_leased_weight_total", {
  description: "Weight that was leased from a store, and what of it was given back unused.",
  incremental: true
})

export const makeLeased = (name: string) => {
  const metric = {
    taken: Metric.withAttributes(leasedWeight, { name, because: "taken" }),
    returned: Metric.withAttributes(leasedWeight, { name, because: "returned" })
  }
  return (fiber: Reader, because: keyof typeof metric, weight: number): void =>
    metric[because].updateUnsafe(weight, fiber.context)
}
