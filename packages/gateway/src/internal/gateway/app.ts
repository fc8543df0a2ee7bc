/** A request, from its head to its answer. */
import { CurrentHeaders } from "@ballast/deepseek/Source"
import { CurrentTenant } from "@ballast/resilience/ConcurrencyLimit"
import { IsLearning } from "@ballast/router/KeyPool"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ChatRoute from "../../ChatRoute.ts"
import * as Client from "../../Client.ts"
import type { Dialect } from "../../Dialect.ts"
import * as ErrorResponse from "../../ErrorResponse.ts"
import { isClientGone } from "../../EventStream.ts"
import * as Exchange from "../../Exchange.ts"
import * as OpenAiChat from "../../OpenAiChat.ts"
import { Rejection } from "../../Rejection.ts"
import * as Routes from "../../Routes.ts"
import * as Shutdown from "../../Shutdown.ts"
import { callOf } from "../ledger/callOf.ts"
import { callerOf, type Live } from "./live.ts"
import type { Options } from "./options.ts"

const unmet = new Rejection({
  case: "ExpectationFailed",
  detail: "The header `expect` asks for what the gateway does not know. It knows 100-continue."
})

/** What `node:http` would refuse by itself, without a body. */
const checkHead = ({ headers }: HttpServerRequest): Rejection | undefined =>
  headers["expect"] === undefined || /\b100-continue\b/i.test(headers["expect"]) ? undefined : unmet

/** Runs a handler for a client, which the policies inside see as their tenant. */
const as = (client: Client.Client, handler: Routes.Handler): Routes.Handler => (exchange, request) => {
  exchange.client = client
  const answer = handler(exchange, request)
  return client === Client.anonymous ? answer : answer.pipe(
    Effect.provideService(Client.CurrentClient, client),
    Effect.provideService(CurrentTenant, client.name)
  )
}

/** Checks the head, the method and the key, and runs the route's handler. */
const dispatch = (
  live: Live,
  route: Routes.Route | undefined,
  exchange: Exchange.Exchange,
  request: HttpServerRequest
): ReturnType<Routes.Handler> => {
  const refused = live.checkHost(NodeHttpServerRequest.toIncomingMessage(request)) ?? checkHead(request)
  if (refused !== undefined) return Effect.fail(refused)
  return Effect.flatMapEager(
    Routes.dispatch(route, exchange),
    (handler) =>
      route?.open === true || exchange.method === "OPTIONS"
        ? handler(exchange, request)
        : Effect.flatMapEager(
          callerOf(live, route, request),
          (client) => as(client, handler)(exchange, request)
        )
  )
}

/** Turns every failure into an answer, and an interruption too, unless it is the client who went away. */
const answer = (
  dialect: Pick<Dialect, "error">,
  exchange: Exchange.Exchange,
  cause: Cause.Cause<ErrorResponse.Failure>
) => {
  const isInterrupted = Cause.hasInterruptsOnly(cause)
  if (isInterrupted && isClientGone(cause)) return Effect.failCause(cause as Cause.Cause<never>) // only interruptions in it
  const error = isInterrupted ? ErrorResponse.make(Shutdown.stopped) : ErrorResponse.fromCause(cause)
  Exchange.fail(exchange, error, cause)
  return Effect.succeed(ErrorResponse.toResponse(error, dialect.error(error)))
}

/** Lets a client try a simulator's faults; DeepSeek never sees its clients' headers. */
const simulated = <A, E, R>(handled: Effect.Effect<A, E, R>, request: HttpServerRequest): Effect.Effect<A, E, R> => {
  const faults = request.headers["x-simulate"]
  return faults === undefined
    ? handled
    : handled.pipe(
      Effect.provideService(CurrentHeaders, { "x-simulate": faults }),
      Effect.provideService(IsLearning, false)
    )
}

const headersOf = (exchange: Exchange.Exchange, dialect: Routes.Route["dialect"]) => ({
  ...Exchange.headers(exchange),
  ...dialect?.headers?.(exchange.id)
})

export const makeApp = (
  routes: Routes.Routes,
  live: () => Live,
  { records, upstream }: Options,
  failed: (exchange: Exchange.Exchange) => Effect.Effect<void>
) =>
  Exchange.observe((exchange, request, route) => {
    const handled = Effect.suspend(() => dispatch(live(), route, exchange, request))
    const interruptible = Effect.interruptible(upstream.takesFaults() ? simulated(handled, request) : handled)
    return interruptible.pipe(
      Effect.catchCause((cause) => answer(route?.dialect ?? OpenAiChat.dialect, exchange, cause)),
      Effect.map((response) => {
        if (response === ChatRoute.written) return response
        Exchange.begin(exchange, response.status)
        return HttpServerResponse.setHeaders(response, headersOf(exchange, route?.dialect))
      })
    )
  }, {
    routes,
    upstream: upstream.kind,
    failed,
    ended: records && ((exchange, began, millis) => {
      const call = callOf(exchange, began, millis)
      if (call !== undefined) records.ledger.record(call)
    })
  })
