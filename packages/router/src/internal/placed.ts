/** Sends calls that belong to one account there, and nowhere else. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Layered from "@ballast/resilience/Layered"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as CallContext from "../CallContext.ts"

export interface Options<E> {
  /** The model of a place; undefined where the route has no target there. */
  readonly at: (place: CallContext.Place) => ChatModel<E> | undefined
  /** Why a call to a place without a target fails. */
  readonly absent: (place: CallContext.Place, request: ChatRequest) => E
}

export const make = <E>(self: ChatModel<E>, { absent, at }: Options<E>): ChatModel<E> => {
  const placeOf = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.getRef(CallContext.Current).place
  return {
    complete: (request) =>
      Effect.withFiber((fiber) => {
        const place = placeOf(fiber)
        if (place === undefined) return self.complete(request)
        return at(place)?.complete(request) ?? Effect.fail(absent(place, request))
      }),
    stream: (request) =>
      Layered.suspend((fiber) => {
        const place = placeOf(fiber)
        if (place === undefined) return self.stream(request)
        return at(place)?.stream(request) ?? Stream.fail(absent(place, request))
      })
  }
}
