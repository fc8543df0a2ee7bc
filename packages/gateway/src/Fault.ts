/**
 * Counts requests by route and by whose fault their failure is: `ballast_requests_total`. An availability objective counts `policy`,
 * `provider` and `ballast`; what a caller does wrong spends no budget.
 *
 * @since 0.1.0
 */
import type * as ChatFault from "@ballast/chat/Fault"
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { Exchange } from "./internal/exchange.ts"

/**
 * @category models
 * @since 0.1.0
 */
export type Fault = ChatFault.Fault | "none"

const byCode: ReadonlyMap<string, Fault> = new Map<string, Fault>([
  ["circuit_open", "policy"],
  ["gateway_rate_limit_exceeded", "policy"],
  ["gateway_queue_full", "policy"],
  ["gateway_queue_timeout", "policy"],
  ["gateway_busy", "policy"],
  ["internal_error", "ballast"],
  ["stopping", "ballast"],
  ["upstream_authentication_error", "ballast"],
  ["insufficient_balance", "ballast"],
  ["upstream_not_found", "ballast"],
  ["rate_limit_exceeded", "provider"],
  ["concurrency_exceeded", "provider"],
  ["deadline_exceeded", "provider"]
])

/**
 * Whose fault the error is that a request was answered with; `none` without one.
 *
 * @category accessors
 * @since 0.1.0
 */
export const of = (code: string | undefined, status: number): Fault => {
  if (code === undefined) return "none"
  const known = byCode.get(code)
  if (known !== undefined) return known
  if (code.startsWith("upstream_")) return "provider"
  return status >= 500 ? "ballast" : "caller"
}

const requests = Metric.counter("ballast_requests_total", {
  description: "Requests that were answered, by whose fault a failure is",
  incremental: true
})

const counters = new Map<string, typeof requests>()

/**
 * Counts a request that has ended. Routes and faults are few.
 *
 * @category combinators
 * @since 0.1.0
 */
export const count = ({ error, route, status }: Exchange, context: Context.Context<never>): void => {
  const fault = of(error, status)
  const key = `${fault} ${route}`
  let counter = counters.get(key)
  if (counter === undefined) {
    counter = Metric.withAttributes(requests, { route, fault })
    counters.set(key, counter)
  }
  counter.updateUnsafe(1, context)
}
