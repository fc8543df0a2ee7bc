/**
 * One request with its answer, observed from the first byte to the last: a server span, a line of the access log, and metrics.
 *
 * The span is a child of the caller's when the request has a `traceparent` or B3. `x-trace-id` is the caller's, else the trace's own. It ends, and the line is written, when the answer is
 * complete or the client has gone, streams included. Probes and scrapes are logged at `Debug`, failures that are not the caller's at `Warn`, the rest at `Info`.
 * Bodies and keys are never logged, and what a client chose is cut to 256 characters.
 *
 * The metrics `http_server_*` and their attributes stand in the README of `@ballast/telemetry`.
 *
 * @since 0.1.0
 */
import type * as RouteInfo from "@ballast/router/RouteInfo"
import * as Carrier from "@ballast/telemetry/Carrier"
import * as Content from "@ballast/telemetry/Content"
import * as Exemplars from "@ballast/telemetry/Exemplars"
import { Attribute } from "@ballast/telemetry/GenAi"
import * as Propagation from "@ballast/telemetry/Propagation"
import * as SpanAttributes from "@ballast/telemetry/SpanAttributes"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { randomUUID } from "node:crypto"
import * as Client from "./Client.ts"
import * as Costs from "./Costs.ts"
import type { ErrorResponse } from "./ErrorResponse.ts"
import { isClientGone } from "./EventStream.ts"
import * as Fault from "./Fault.ts"
import { byLabels } from "./internal/byLabels.ts"
import type { Exchange } from "./internal/exchange.ts"
import type { Match, Route, Routes } from "./Routes.ts"

export type { Exchange } from "./internal/exchange.ts"

const durationOf = byLabels((method: string, route: string, status: string) =>
  Exemplars.observing(Metric.histogram("http_request_duration_seconds", {
    description: "Time from a request to the end of its answer",
    attributes: { method, route, status },
    boundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640]
  }))
)

const active = Metric.gauge("http_server_active_requests", { description: "Requests that are being answered" })

const overheadOf = byLabels((route: string) =>
  Metric.histogram("ballast_overhead_seconds", {
    description: "Time that a call took here: without its attempts at the service, and without waits in policies",
    attributes: { route },
    boundaries: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1]
  })
)

/**
 * Milliseconds of the monotonic clock.
 *
 * @category accessors
 * @since 0.1.0
 */
export const now = (context: Context.Context<never>): number =>
  Number(Context.get(context, Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6

/** A call without an attempt was answered from a cache, or joined another: what it took says nothing. */
const countOverhead = ({ call, calledAt, route }: Exchange, context: Context.Context<never>): void => {
  if (call === undefined || calledAt === undefined || call.attempts === 0) return
  const millis = now(context) - calledAt - call.upstream - call.waited
  // Attempts of a hedge run at the same time.
  overheadOf(route).updateUnsafe(Math.max(0, millis) / 1000, context)
}

const saneId = /^[\w.:@/+=-]{1,128}$/

const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])

const countDuration = (
  { method, route, status }: Exchange,
  millis: number,
  context: Context.Context<never>,
  span: Tracer.Span
): void => {
  const known = methods.has(method) ? method : "other"
  durationOf(known, route, String(status))(millis / 1000, context, span)
}

const routedTo = byLabels((provider: string, account: string, arm: string, status: string) =>
  Metric.counter("ballast_routed_requests_total", {
    description: "Requests by the place that answered, or was asked last",
    incremental: true,
    attributes: { provider, account, arm, status }
  })
)

/** Providers, accounts and arms are those of the settings. */
const countRouted = ({ place, status }: Exchange, context: Context.Context<never>): void => {
  if (place?.provider === undefined) return
  const { account = "", arm = "", provider } = place
  routedTo(provider, account, arm, String(status)).updateUnsafe(1, context)
}

const spanNameOf = byLabels((method: string, route: string) => route === "unknown" ? method : [method, route].join(" "))

const noStack = { captureStackTrace: false } as const

const pathOf = (url: string): string => {
  const end = url.search(/[?#]/)
  return end === -1 ? url : url.slice(0, end)
}

const maxLength = 256

/** The beginning of a text that a client chose, as spans and logs keep it. */
const clip = (text: string): string => text.length > maxLength ? `${text.slice(0, maxLength)}…` : text

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0")

/** A UUID of version 7, which begins with the time: an index over them, as the ledger has one, grows at its end. */
const makeId = (now: number): string =>
  [hex(Math.floor(now / 65_536), 8), "-", hex(now % 65_536, 4), "-7", randomUUID().slice(15)].join("")

const start = (
  request: HttpServerRequest,
  path: string,
  match: Match | undefined,
  upstream: Exchange["upstream"],
  began: number
): Exchange => {
  const given = request.headers["x-request-id"]
  const id = given !== undefined && saneId.test(given) ? given : makeId(began)
  return {
    id,
    began,
    traceId: "",
    method: request.method,
    path: clip(path),
    route: match === undefined ? "unknown" : nameOf(match.route),
    params: match?.params ?? {},
    upstream,
    client: Client.anonymous,
    status: unanswered
  }
}

/**
 * The exchange of a call that comes with no request of its own.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ofCall = (
  given: Pick<Exchange, "id" | "route" | "client" | "model" | "began" | "upstream">
): Exchange => ({ ...given, traceId: "", method: "", path: "", params: {}, status: unanswered })

/** A text as a header can hold it: visible ASCII, the rest percent-encoded. */
const headerText = (text: string): string =>
  text.replace(/[^\x21-\x7e]+/g, (part) => encodeURIComponent(part.toWellFormed()))

/**
 * The headers of the answer as far as the exchange has come: the ids of the request and its trace, the kind of upstream, where its call went,
 * and how many attempts it took.
 * Where the gateway has tried more than once in vain, they ask SDKs not to multiply that by tries of their own.
 *
 * @category accessors
 * @since 0.1.0
 */
export const headers = (exchange: Exchange): Record<string, string> => {
  const { call, error, id, place, traceId, upstream } = exchange
  const found: Record<string, string> = {
    "x-request-id": id,
    "x-trace-id": traceId,
    "x-ballast-upstream": headerText(upstream(place?.provider))
  }
  if (call !== undefined) found["x-ballast-attempts"] = String(call.attempts)
  if (call !== undefined && error !== undefined && call.attempts > 1) found["x-should-retry"] = "false"
  if (place?.provider !== undefined) {
    found["x-ballast-provider"] = headerText(place.provider)
    if (place.model !== undefined) found["x-ballast-model"] = headerText(clip(place.model))
    if (place.arm !== undefined) found["x-ballast-arm"] = headerText(place.arm)
  }
  if (exchange.budgetWarning !== undefined) found["x-ballast-budget-warning"] = exchange.budgetWarning
  if (exchange.cost !== undefined) found["x-ballast-cost"] = Costs.format(exchange.cost)
  if (place?.cache !== undefined) {
    const { age, near, state } = place.cache
    found["x-ballast-cache"] = state
    if (near !== undefined) {
      found["x-ballast-cache-similarity"] = near.similarity.toFixed(2)
      found["x-ballast-cache-question"] = near.hash
    }
    if (age !== undefined && state !== "miss") found["age"] = String(Math.floor(age / 1000))
  }
  return found
}

/** The status of an exchange whose client went away first. */
const unanswered = 499

/**
 * Notes the status that an answer begins with. It has one: what happens later is in its body.
 *
 * @category combinators
 * @since 0.1.0
 */
export const begin = (exchange: Exchange, status: number): void => {
  if (exchange.status === unanswered) exchange.status = status
}

const nameOf = (route: Route): string => route.name ?? route.path

const fieldsOf = (exchange: Exchange, began: number, millis: number) => {
  const { call, firstAt, place, usage } = exchange
  return {
    method: exchange.method,
    path: exchange.path,
    status: exchange.status,
    duration_ms: Math.round(millis * 10) / 10,
    request_id: exchange.id,
    client: exchange.client.name,
    stream: exchange.stream,
    model: exchange.model,
    provider: place?.provider,
    account: place?.account,
    provider_model: place?.model === exchange.model ? undefined : place?.model,
    arm: place?.arm,
    cache: place?.cache?.state,
    cache_similarity: place?.cache?.near && Number(place.cache.near.similarity.toFixed(4)),
    cache_question: place?.cache?.near?.hash,
    attempts: call?.attempts,
    resumptions: call?.resumptions || undefined,
    waited_ms: call && Math.round(call.waited),
    ttft_ms: firstAt === undefined ? undefined : firstAt - began,
    input_tokens: usage?.prompt_tokens,
    cached_tokens: usage?.prompt_cache_hit_tokens ?? usage?.prompt_tokens_details?.cached_tokens ?? undefined,
    output_tokens: usage?.completion_tokens,
    reasoning_tokens: usage?.completion_tokens_details?.reasoning_tokens ?? undefined,
    cost: exchange.cost && Costs.format(exchange.cost),
    error: exchange.error,
    last_failure: call?.failure,
    upstream_trace_id: exchange.upstreamTraceId,
    upstream_detail: exchange.upstreamDetail
  }
}

const log = (exchange: Exchange, began: number, millis: number, quiet: boolean) => {
  const fields = fieldsOf(exchange, began, millis)
  if (exchange.status >= 500 || isOthersFault(exchange)) return Effect.logWarning("request", fields)
  return quiet ? Effect.logDebug("request", fields) : Effect.logInfo("request", fields)
}

/** The code of an exchange whose client went away. */
const left = "client_closed_request"

/** An interruption, for which no trace is kept that the sampler leaves out. */
const hasLeft = ({ error }: Exchange): boolean => error === left

/** Whether it failed, whatever its status, and not for what its caller did: an account without money is a 402, a full queue a 429. */
const isOthersFault = ({ error, fault }: Exchange): boolean => error !== undefined && fault !== "caller"

/** Only where content is kept, the question itself. */
const attributesOfCache = (
  { near, state }: RouteInfo.Cached,
  content: Content.Content | undefined
): Readonly<Record<string, unknown>> => ({
  "ballast.cache": state,
  "ballast.cache.similarity": near?.similarity,
  "ballast.cache.question": near?.hash,
  "ballast.cache.question.text": content && near && Content.kept(content, near.question)
})

const attributesOf = (
  exchange: Exchange,
  content: Content.Content | undefined
): Readonly<Record<string, unknown>> => ({
  [Attribute.httpMethod]: exchange.method,
  [Attribute.httpStatus]: exchange.status,
  [Attribute.urlPath]: exchange.path,
  "http.route": exchange.route,
  "ballast.request.id": exchange.id,
  "ballast.client": exchange.client.name,
  "ballast.provider": exchange.place?.provider,
  "ballast.account": exchange.place?.account,
  "ballast.model": exchange.place?.model,
  "ballast.arm": exchange.place?.arm,
  ...(exchange.place?.cache && attributesOfCache(exchange.place.cache, content)),
  "ballast.cost": exchange.cost && Costs.format(exchange.cost),
  "ballast.error": exchange.error,
  [Attribute.errorType]: hasLeft(exchange) ? exchange.error : undefined
})

const endSpan = (
  span: Tracer.Span,
  exchange: Exchange,
  content: Content.Content | undefined,
  endTime: bigint
): void => {
  const { status } = exchange
  const error = exchange.error ?? (status >= 500 ? String(status) : undefined)
  const isRefusal = status >= 400 && status < 499
  // A request that the caller got wrong was served well: the conventions have no `error.type` then.
  const isNamed = error !== undefined && (!isRefusal || isOthersFault(exchange))
  // A span of Effect's own tracer goes nowhere.
  if (!(span instanceof Tracer.NativeSpan)) {
    SpanAttributes.later(span, () => attributesOf(exchange, content))
    if (isNamed && !hasLeft(exchange)) span.attribute(Attribute.errorType, error)
  }
  // An answer that broke off has failed; a caller that goes away may do so, and the conventions have no span of a 4xx fail.
  span.end(endTime, status >= 500 || (isOthersFault(exchange) && !isRefusal) ? Exit.fail(error) : Exit.void)
}

/** Notes how an exchange ended whose answer is not complete. */
const cut = (exchange: Exchange, cause: Cause.Cause<unknown>): void => {
  if (exchange.error !== undefined) return
  const isOurs = Cause.hasInterrupts(cause) && !isClientGone(cause)
  exchange.error = isOurs ? "stopping" : left
  exchange.fault = isOurs ? "ballast" : "caller"
}

/**
 * Notes the error that is answered, and its cause where that is a defect.
 *
 * @category combinators
 * @since 0.1.0
 */
export const fail = (exchange: Exchange, error: ErrorResponse, cause: Cause.Cause<unknown>): void => {
  exchange.error = error.code
  exchange.fault = error.fault
  exchange.reason = error.body.error.message
  if (Cause.hasDies(cause)) exchange.defect = cause
  exchange.upstreamTraceId = error.traceId
  exchange.upstreamDetail = error.detail
  exchange.policy = error.policy
}

/** Gives all lines of the log the id of the request. */
const annotated = <R>(context: Context.Context<R>, request_id: string): Context.Context<R> =>
  Context.add(context, References.CurrentLogAnnotations, {
    ...Context.get(context, References.CurrentLogAnnotations),
    request_id
  })

/** Runs in a context that is made of the fiber's own. */
const within = <A, E, R>(self: Effect.Effect<A, E, R>, context: Context.Context<never>): Effect.Effect<A, E, R> =>
  Effect.updateContext(self, (_: Context.Context<R>) => context as Context.Context<R>) // it has all that the fiber's has

/**
 * Runs `handle` for the current request and observes the exchange. `upstream` is the kind of upstream that answers.
 *
 * @category combinators
 * @since 0.1.0
 */
export const observe = <E, R>(
  handle: (
    exchange: Exchange,
    request: HttpServerRequest,
    route: Route | undefined
  ) => Effect.Effect<HttpServerResponse, E, R>,
  options: {
    readonly routes: Routes
    readonly upstream: Exchange["upstream"]
    /** Told of calls that failed. */
    readonly failed: (exchange: Exchange) => Effect.Effect<void>
    /** Told of every exchange at its end, with when it began and how many milliseconds it took. */
    readonly ended?: ((exchange: Exchange, began: number, millis: number) => void) | undefined
  }
): Effect.Effect<HttpServerResponse, E, R | HttpServerRequest | Scope.Scope> => {
  let running = 0
  return Effect.contextWith((context: Context.Context<HttpServerRequest | Scope.Scope>) => {
    const request = Context.get(context, HttpServerRequest)
    const path = pathOf(request.url)
    const match = options.routes(path)
    const clock = Context.get(context, Clock.Clock)
    const began = clock.currentTimeMillisUnsafe()
    const exchange = start(request, path, match, options.upstream, began)
    active.updateUnsafe(++running, context)
    const { carried, denied, parent } = Propagation.extract(
      request.headers,
      Carrier.record,
      Context.get(context, Propagation.Settings)
    )

    // What runs for the request, its line of the log included, runs in one of two contexts that are made once.
    const outer = carried === undefined ? context : Context.add(context, Propagation.Carried, carried)

    return Effect.flatMap(
      Effect.makeSpan(spanNameOf(exchange.method, exchange.route), {
        ...noStack,
        kind: "server",
        parent,
        // Probes and scrapes are no calls to look for, unless somebody traces them.
        sampled: denied || (parent === undefined && match?.route.quiet === true) ? false : undefined
      }),
      (span) => {
        exchange.traceId = Propagation.traceIdOf(carried, span)
        if (carried?.traceId !== undefined) span.attribute(Attribute.traceId, carried.traceId)
        const own = Context.add(outer, Tracer.ParentSpan, span)
        const finish = (exit: Exit.Exit<unknown, unknown>) => {
          if (Exit.isFailure(exit)) cut(exchange, exit.cause)
          const millis = clock.currentTimeMillisUnsafe() - began
          active.updateUnsafe(--running, context)
          const endTime = Context.get(context, References.TracerTimingEnabled) ? clock.currentTimeNanosUnsafe() : 0n
          // Its end may be what its trace is kept for, which the duration names.
          endSpan(span, exchange, Context.get(context, Content.Current), endTime)
          countDuration(exchange, millis, context, span)
          countRouted(exchange, context)
          countOverhead(exchange, context)
          Costs.count(exchange, context)
          Fault.count(exchange, context)
          options.ended?.(exchange, began, millis)
          const access = log(exchange, began, millis, match?.route.quiet === true)
          // A client that went away has no answer, so no reason either.
          const isFailedCall = exchange.reason !== undefined && match?.route.dialect !== undefined
          return within(
            isFailedCall || exchange.defect !== undefined ? Effect.andThen(access, options.failed(exchange)) : access,
            own
          )
        }
        return Effect.andThen(
          Scope.addFinalizerExit(Context.get(context, Scope.Scope), finish),
          within(handle(exchange, request, match?.route), annotated(own, exchange.id))
        )
      }
    )
  })
}
