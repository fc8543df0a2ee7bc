import * as Clock from "effect/Clock"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"

export type PolicyKind = "retry" | "circuit-breaker" | "rate-limiter" | "concurrency-limit" | "deadline"

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
  description: "State of a circuit breaker: 0 closed, 1 half-open, 2 open."
})

const deadlines = Metric.counter("ballast_deadlines_exceeded_total", {
  description: "Calls that a deadline ended.",
  incremental: true
})

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Records a finished wait as an event of the current span and in the histogram. */
export const makeWaited = (policy: PolicyKind, name: string) => {
  const metric = Metric.withAttributes(waitSeconds, { policy, name })
  return (fiber: AnyFiber, millis: number): void => {
    const seconds = millis / 1000
    metric.updateUnsafe(seconds, fiber.context)
    const span = fiber.cache.span
    if (span?._tag === "Span") {
      span.event("ballast.wait", fiber.getRef(Clock.Clock).currentTimeNanosUnsafe(), { policy, name, seconds })
    }
  }
}

const counting = (metric: Metric.Counter<number>) => (fiber: AnyFiber): void => metric.updateUnsafe(1, fiber.context)

export const makeRejected = (policy: PolicyKind, name: string) =>
  counting(Metric.withAttributes(rejections, { policy, name }))

export const makeRetried = (name: string) => counting(Metric.withAttributes(retryAttempts, { name }))

export const makeExceeded = (name: string, deadline: string) =>
  counting(Metric.withAttributes(deadlines, { name, deadline }))

const levels = { "closed": 0, "half-open": 1, "open": 2 }

export type CircuitState = keyof typeof levels

export const makeTransition = (name: string) => {
  const gauge = Metric.withAttributes(state, { name })
  return (fiber: AnyFiber, from: CircuitState, to: CircuitState): void => {
    gauge.updateUnsafe(levels[to], fiber.context)
    if (from !== to) Metric.withAttributes(transitions, { name, from, to }).updateUnsafe(1, fiber.context)
  }
}
