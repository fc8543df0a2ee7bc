/**
 * Counts requests by route and by whose fault their failure is: `ballast_requests_total`. An availability objective counts `policy`,
 * `provider` and `ballast`; what a caller does wrong spends no budget.
 *
 * Whose fault an error is stands beside its status in `ErrorResponse`; for errors of a provider `@ballast/chat/Fault` says it.
 *
 * @since 0.1.0
 */
import type * as ChatFault from "@ballast/chat/Fault"
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import { byLabels } from "./internal/byLabels.ts"
import type { Exchange } from "./internal/exchange.ts"

/**
 * @category models
 * @since 0.1.0
 */
export type Fault = ChatFault.Fault | "none"

const requests = byLabels((route: string, fault: string) =>
  Metric.counter("ballast_requests_total", {
    description: "Requests that were answered, by whose fault a failure is",
    incremental: true,
    attributes: { route, fault }
  })
)

/**
 * Counts a request that has ended. Routes and faults are few.
 *
 * @category combinators
 * @since 0.1.0
 */
export const count = (exchange: Exchange, context: Context.Context<never>): void => {
  const fault: Fault = exchange.fault ?? "none"
  requests(exchange.route, fault).updateUnsafe(1, context)
}
