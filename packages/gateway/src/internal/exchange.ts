/** The record of a request and its answer, which routes and handlers share. */
import type { Fault } from "@ballast/chat/Fault"
import type { Usage } from "@ballast/chat/Usage"
import type { Cost } from "@ballast/deepseek/Pricing"
import type { CallInfo } from "@ballast/resilience/CallInfo"
import type { RouteInfo } from "@ballast/router/RouteInfo"
import type { BigDecimal } from "effect/BigDecimal"
import type * as Cause from "effect/Cause"
import type * as Client from "../Client.ts"

/**
 * What is known of an exchange; handlers fill in what they learn.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exchange {
  /** The client's `x-request-id` if it is a sane one, else a new UUID. */
  readonly id: string
  /** The id that answer, log and calls upstream carry: the client's `x-trace-id`, else that of the trace; empty before it began. */
  traceId: string
  readonly method: string
  /** Its beginning, when it is longer than 256 characters. */
  readonly path: string
  /** The name of the route, else `unknown`: a bounded set, for metrics. */
  readonly route: string
  /** What the path has in place of the route's parameters. */
  readonly params: Readonly<Record<string, string | undefined>>
  /** The kind of upstream by the name of a provider, or of the first one. */
  readonly upstream: (provider?: string) => string
  client: Client.Client
  status: number
  stream?: boolean
  model?: string
  /** When the request came, in milliseconds since 1970. */
  readonly began: number
  /** When a call that was put off was made, in milliseconds since 1970. */
  madeAt?: number
  usage?: Usage | null | undefined
  /** What the call upstream cost so far. */
  call?: CallInfo
  /** When it began, in milliseconds of the monotonic clock; undefined where it was put off. */
  calledAt?: number
  /** Where the call went. */
  place?: RouteInfo
  /** What its usage costs; undefined without usage, or where no price is known. */
  cost?: Cost | undefined
  /** How much of a client's budget is used, where that is much: `day 83%`. */
  budgetWarning?: string
  /** Whether it has usage, and no price is known for it. */
  unpriced?: boolean
  /** How many items of a streamed answer have come. */
  items?: number
  /** When the answer's first items came, in milliseconds of the clock. */
  firstAt?: number
  /** What the call would have cost without the cache. */
  saved?: BigDecimal | undefined
  /** The code of the error that was answered. */
  error?: string
  /** Whose fault the error is. */
  fault?: Fault
  /** What the error's answer says. */
  reason?: string
  /** The cause of a defect. */
  defect?: Cause.Cause<unknown>
  /** The service's trace id of a failed call. */
  upstreamTraceId?: string | undefined
  /** What the upstream said of a failure, where the client was not told. */
  upstreamDetail?: string | undefined
  /** The message of the policy that rejected the call, with the policy's name. */
  policy?: string | undefined
}
