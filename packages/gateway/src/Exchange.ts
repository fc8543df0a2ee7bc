/**
 * One request with its answer, observed from the first byte to the last: a server span, a line of the access log, and metrics.
 *
 * The span is a child of the caller's when the request has a `traceparent`. It ends, and the line is written, when the answer is
 * complete or the client has gone, streams included. Probes and scrapes are logged at `Debug`, failures at `Warn`, the rest at `Info`.
 * Bodies and keys are never logged, and what a client chose is cut to 256 characters.
 *
 * | metric | kind, unit | attributes |
 * |---|---|---|
 * | `http_server_request_duration_seconds` | histogram, s | `method`, `route`, `status` |
 * | `http_server_active_requests` | gauge | |
 *
 * @since 0.1.0
 */
import type { Usage } from "@ballast/chat/Usage"
import { Attribute } from "@ballast/telemetry/GenAi"
import * as TraceContext from "@ballast/telemetry/TraceContext"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { ClientAbort } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import { randomUUID } from "node:crypto"
import type { ErrorResponse } from "./ErrorResponse.ts"

/**
 * What is known of an exchange; handlers fill in what they learn.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exchange {
  /** The client's `x-request-id` if it is a sane one, else a new UUID. */
  readonly id: string
  readonly method: string
  /** Its beginning, when it is longer than 256 characters. */
  readonly path: string
  /** The path when it is one that the gateway serves, else `unknown`: a bounded set, for metrics. */
  readonly route: string
  status: number
  stream?: boolean
  model?: string
  usage?: Usage | null | undefined
  /** The code of the error that was answered. */
  error?: string
  /** The service's trace id of a failed call. */
  upstreamTraceId?: string | undefined
  /** What the upstream said of a failure, where the client was not told. */
  upstreamDetail?: string | undefined
}

const duration = Metric.histogram("http_server_request_duration_seconds", {
  description: "Time from a request to the end of its answer",
  boundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640]
})

const active = Metric.gauge("http_server_active_requests", { description: "Requests that are being answered" })

const saneId = /^[\w.:@/+=-]{1,128}$/

const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])

const pathOf = (url: string): string => {
  const end = url.search(/[?#]/)
  return end === -1 ? url : url.slice(0, end)
}

const maxLength = 256

/** The beginning of a text that a client chose, as spans and logs keep it. */
const clip = (text: string): string => text.length > maxLength ? `${text.slice(0, maxLength)}…` : text

const start = (request: HttpServerRequest, routes: ReadonlyMap<string, unknown>): Exchange => {
  const path = clip(pathOf(request.url))
  const id = request.headers["x-request-id"]
  return {
    id: id !== undefined && saneId.test(id) ? id : randomUUID(),
    method: request.method,
    path,
    route: routes.has(path) ? path : "unknown",
    status: 499
  }
}

const fieldsOf = (exchange: Exchange, millis: number) => ({
  method: exchange.method,
  path: exchange.path,
  status: exchange.status,
  duration_ms: Math.round(millis * 10) / 10,
  request_id: exchange.id,
  stream: exchange.stream,
  model: exchange.model,
  input_tokens: exchange.usage?.prompt_tokens,
  output_tokens: exchange.usage?.completion_tokens,
  error: exchange.error,
  upstream_trace_id: exchange.upstreamTraceId,
  upstream_detail: exchange.upstreamDetail
})

const log = (exchange: Exchange, millis: number, quiet: boolean) => {
  const fields = fieldsOf(exchange, millis)
  if (exchange.status >= 500 || (exchange.error !== undefined && exchange.status < 400)) {
    return Effect.logWarning("request", fields)
  }
  return quiet ? Effect.logDebug("request", fields) : Effect.logInfo("request", fields)
}

const attributesOf = (exchange: Exchange): ReadonlyArray<readonly [string, unknown]> => [
  [Attribute.httpMethod, exchange.method],
  [Attribute.httpStatus, exchange.status],
  [Attribute.urlPath, exchange.path],
  ["http.route", exchange.route],
  ["ballast.request.id", exchange.id],
  [Attribute.errorType, exchange.error]
]

const endSpan = (span: Tracer.Span, exchange: Exchange, endTime: bigint): void => {
  for (const [key, value] of attributesOf(exchange)) {
    if (value !== undefined) span.attribute(key, value)
  }
  span.end(endTime, exchange.status >= 500 ? Exit.fail(exchange.error) : Exit.void)
}

/**
 * Whether the client's going away is what ended an exchange.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isClientGone = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => reason.annotations.has(ClientAbort.key))

/** How an exchange ended whose answer is not complete. */
const endOf = (cause: Cause.Cause<unknown>): string =>
  Cause.hasInterrupts(cause) && !isClientGone(cause) ? "stopping" : "client_closed_request"

/**
 * Notes the error that is answered.
 *
 * @category combinators
 * @since 0.1.0
 */
export const fail = (exchange: Exchange, error: ErrorResponse): void => {
  exchange.error = error.code
  exchange.upstreamTraceId = error.traceId
  exchange.upstreamDetail = error.detail
}

/**
 * Runs `handle` for the current request and observes the exchange. `quiet` names the routes that are logged at `Debug`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const observe = <E, R>(
  handle: (exchange: Exchange, request: HttpServerRequest) => Effect.Effect<HttpServerResponse, E, R>,
  options: { readonly routes: ReadonlyMap<string, unknown>; readonly quiet: ReadonlySet<string> }
): Effect.Effect<HttpServerResponse, E, R | HttpServerRequest | Scope.Scope> => {
  let running = 0
  return Effect.contextWith((context: Context.Context<HttpServerRequest | Scope.Scope>) => {
    const request = Context.get(context, HttpServerRequest)
    const exchange = start(request, options.routes)
    const clock = Context.get(context, Clock.Clock)
    const began = clock.currentTimeMillisUnsafe()
    active.updateUnsafe(++running, context)

    return Effect.flatMap(
      Effect.makeSpan(exchange.route === "unknown" ? exchange.method : `${exchange.method} ${exchange.route}`, {
        kind: "server",
        parent: Option.getOrUndefined(TraceContext.parent(request.headers))
      }),
      (span) => {
        const finish = (exit: Exit.Exit<unknown, unknown>) => {
          if (Exit.isFailure(exit)) exchange.error ??= endOf(exit.cause)
          const millis = clock.currentTimeMillisUnsafe() - began
          active.updateUnsafe(--running, context)
          Metric.withAttributes(duration, {
            method: methods.has(exchange.method) ? exchange.method : "other",
            route: exchange.route,
            status: String(exchange.status)
          }).updateUnsafe(millis / 1000, context)
          endSpan(span, exchange, clock.currentTimeNanosUnsafe())
          return Effect.withParentSpan(log(exchange, millis, options.quiet.has(exchange.route)), span)
        }
        return Effect.andThen(
          Scope.addFinalizerExit(Context.get(context, Scope.Scope), finish),
          Effect.withParentSpan(handle(exchange, request), span)
        )
      }
    )
  })
}
