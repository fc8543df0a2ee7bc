/** Which calls are answered from the caches without being made: those that can wait, and those that can't be paid for. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Layered from "@ballast/resilience/Layered"
import type { Lookup } from "@ballast/router/AnswerCache"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ClientLimits } from "../ClientLimits.ts"
import type { Rejection } from "../Rejection.ts"
import type { Exchange } from "./exchange.ts"

/** A model that is asked for what caches don't have. */
export const cachedFirst = <E>(cached: Lookup, model: ChatModel<E>): ChatModel<E> => ({
  complete: (request) =>
    Effect.flatMap(
      cached.complete(request),
      (found) => found === undefined ? model.complete(request) : Effect.succeed(found)
    ),
  stream: (request) => Layered.unwrap(Effect.map(cached.stream(request), (found) => found ?? model.stream(request)))
})

interface Options<out E> {
  readonly model: ChatModel<E>
  readonly cached: Lookup
  readonly limits: Pick<ClientLimits, "spend">
}

/**
 * A model whose calls are paid for before they are made, until the scope closes. One that can't be paid for is answered from the caches, or
 * refused.
 *
 * The caches come second, as a call that can be paid for asks them itself. Paying can't come behind them: callers with the same question share
 * a call, and the budget of one must not refuse the others.
 */
export const paid = <E>(
  { cached, limits, model }: Options<E>,
  exchange: Exchange,
  request: ChatRequest,
  scope: Scope.Scope
): ChatModel<E | Rejection> => {
  const spend = limits.spend(exchange, request)
  if (spend === undefined) return model
  const pay = Scope.provide(scope)(spend)
  const otherwise = (refusal: Rejection) =>
    cachedFirst(cached, { complete: () => Effect.fail(refusal), stream: () => Stream.fail(refusal) })
  return {
    complete: (request) =>
      Effect.matchEffect(pay, {
        onFailure: (refusal) => otherwise(refusal).complete(request),
        onSuccess: () => model.complete(request)
      }),
    stream: (request) =>
      Layered.unwrap(Effect.match(pay, {
        onFailure: (refusal): ReturnType<ChatModel<E | Rejection>["stream"]> => otherwise(refusal).stream(request),
        onSuccess: () => model.stream(request)
      }))
  }
}
