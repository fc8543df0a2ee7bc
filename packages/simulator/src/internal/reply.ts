/** What the engine decides at a request's arrival: the answer as a whole, before any time passes. */
import * as Duration from "effect/Duration"
import type { Fault } from "../Fault.ts"
import type { Draw } from "./draw.ts"
import type { Family } from "./models.ts"
import * as Refusal from "./refusal.ts"
import type { ChatSummary, SimulatorRequest } from "./service.ts"
import * as Timeline from "./timeline.ts"

export interface Reply {
  readonly status: number
  readonly contentType: string | undefined
  readonly timeline: Timeline.Timeline
  readonly fault: Fault
  /** The model whose place the request holds. */
  readonly family?: Family | undefined
  readonly chat?: ChatSummary | undefined
}

/** A request with what was drawn for it. */
export interface Arrival {
  readonly request: SimulatorRequest
  readonly fault: Fault
  /** Unix time in milliseconds. */
  readonly now: number
  readonly draw: Draw
  readonly requestId: string
}

export const refuse = (refusal: Refusal.Refusal, { fault, requestId }: Arrival): Reply => ({
  status: refusal.status,
  contentType: refusal.contentType,
  timeline: Timeline.whole(refusal.body(requestId)),
  fault
})

const refusalOf = ({ body, limit }: Fault, status: number): Refusal.Refusal => {
  if (body !== undefined) return Refusal.withBody(status, body)
  if (status !== 429) return Refusal.ofStatus(status)
  return limit === "balance" ? Refusal.lowBalance(26, 25) : limit === "rate" ? Refusal.rate : Refusal.ofStatus(status)
}

/** What a fault answers in the request's place: another status, with its documented body or the fault's own, or only another body. */
export const instead = ({ fault, requestId }: Arrival, keepAlive: number): Reply | undefined => {
  const { body, status = 200, timeToFirstToken = 0 } = fault
  if (body === undefined && !Refusal.replaces(status)) return undefined
  const refusal = refusalOf(fault, status)
  const text = refusal.body(requestId)
  return {
    status,
    contentType: refusal.contentType,
    timeline: Timeline.body(text, Duration.toMillis(timeToFirstToken), keepAlive, fault),
    fault
  }
}

/** A JSON body that is ready at once. */
export const data = (value: unknown, fault: Fault, keepAlive: number): Reply => ({
  status: fault.status ?? 200,
  contentType: "application/json",
  timeline: Timeline.json(value, 0, keepAlive, fault),
  fault
})

/** The headers that the service sends with every answer. */
export const headers = ({ contentType, fault }: Reply, traceId: string): Readonly<Record<string, string>> => ({
  server: "openresty",
  ...(contentType !== undefined && { "content-type": contentType }),
  ...(fault.retryAfter !== undefined && { "retry-after": fault.retryAfter }),
  ...(fault.location !== undefined && { location: fault.location }),
  vary: "origin, access-control-request-method, access-control-request-headers",
  "access-control-allow-credentials": "true",
  "x-ds-trace-id": traceId,
  "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
  "x-content-type-options": "nosniff"
})
