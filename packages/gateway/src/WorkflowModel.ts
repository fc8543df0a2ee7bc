/**
 * The model that services of workflows ask: the gateway's own router, on behalf of the client who started the run.
 *
 * A call has the client's limits and budgets, the route's policies and cache, its cost in the metrics, and a row in the ledger: with the run as its
 * `request_id`, the route `/v1/workflows`, and the labels `workflow` and `step` beside those of the client.
 *
 * @since 0.1.0
 */
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { CallError } from "@ballast/deepseek/Lane"
import * as CallInfo from "@ballast/resilience/CallInfo"
import { CurrentTenant } from "@ballast/resilience/ConcurrencyLimit"
import type { Lookup } from "@ballast/router/AnswerCache"
import * as CallContext from "@ballast/router/CallContext"
import * as RouteInfo from "@ballast/router/RouteInfo"
import * as Service from "@ballast/workflow/Service"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as Client from "./Client.ts"
import type { ClientLimits } from "./ClientLimits.ts"
import * as Costs from "./Costs.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as Exchange from "./Exchange.ts"
import { callOf } from "./internal/ledger/callOf.ts"
import { paid } from "./internal/paid.ts"
import type { Ledger } from "./Ledger.ts"
import type { Rejection } from "./Rejection.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly model: ChatModel<CallError>
  /** What caches of the model have. */
  readonly cached: Lookup
  readonly costs: Costs.Costs
  readonly limits: ClientLimits
  readonly ledger: Pick<Ledger, "record">
  readonly kind: Exchange.Exchange["upstream"]
  /** Who started a run. */
  readonly clientOf: (run: string) => Effect.Effect<Client.Client, Rejection>
}

/**
 * The route of these calls in the ledger and in metrics.
 *
 * @category constants
 * @since 0.1.0
 */
export const route = "/v1/workflows"

const noCall: Service.CallContext = {
  runId: "",
  workflow: "",
  stepId: "",
  attempt: 1,
  idempotencyKey: "",
  report: () => Effect.void
}

/** The id of a step without the place of an element: labels are few. */
const stepOf = (id: string): string => id.replace(/\[\d+\]$/, "")

/**
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): ChatModel<CallError | Rejection> => {
  const { costs, kind, ledger, limits } = options
  const complete: ChatModel<CallError | Rejection>["complete"] = Effect.fnUntraced(function*(request) {
    const call = (yield* Service.CurrentCall) ?? noCall
    const owner = yield* options.clientOf(call.runId)
    const client = { ...owner, labels: { ...owner.labels, workflow: call.workflow, step: stepOf(call.stepId) } }
    const began = yield* Clock.currentTimeMillis
    const place = (yield* RouteInfo.Current) ?? RouteInfo.make()
    const exchange = Exchange.ofCall({ id: call.runId, route, client, model: request.model, began, upstream: kind })
    const info = exchange.call = CallInfo.make()
    exchange.place = place
    if (!Client.mayUse(owner, request.model)) return yield* Client.modelRefused(owner, request.model)
    return yield* Effect.andThen(
      limits.admit(exchange, request),
      Effect.flatMap(Effect.scope, (scope) => paid(options, exchange, request, scope).complete(request))
    ).pipe(
      Effect.tap((completion: ChatCompletion) =>
        Effect.sync(() => {
          exchange.usage = completion.usage
          exchange.status = 200
          costs.note(exchange)
        })
      ),
      Effect.onExit((exit) =>
        Effect.contextWith((context: Context.Context<never>) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (Exit.isFailure(exit)) failed(exchange, exit.cause)
            Costs.count(exchange, context)
            const row = callOf(exchange, began, now - began)
            if (row !== undefined) ledger.record(row)
          })
        )
      ),
      Effect.provideService(CallInfo.Current, info),
      Effect.provideService(RouteInfo.Current, place),
      Effect.provideService(CallContext.Current, { client, headers: {} }),
      Effect.provideService(Client.CurrentClient, client),
      Effect.provideService(CurrentTenant, client.name),
      Effect.scoped
    )
  })
  return { complete, stream: () => Stream.die(new Error("workflows ask for whole answers")) }
}

const failed = (exchange: Exchange.Exchange, cause: Cause.Cause<CallError | Rejection>): void => {
  if (Cause.hasInterruptsOnly(cause)) {
    exchange.error = "client_closed_request"
    return
  }
  const error = ErrorResponse.fromCause(cause)
  exchange.status = error.status
  Exchange.fail(exchange, error, cause)
}
