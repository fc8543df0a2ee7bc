import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Layered from "@ballast/resilience/Layered"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as RouteInfo from "../RouteInfo.ts"

/** Writes to the record of each call as it begins, where there is one. */
export const calls = <E>(
  self: ChatModel<E>,
  note: (info: RouteInfo.RouteInfo, request: ChatRequest) => void
): ChatModel<E> => {
  const noting = (fiber: Fiber.Fiber<unknown, unknown>, request: ChatRequest): void => {
    const info = fiber.getRef(RouteInfo.Current)
    if (info !== undefined) note(info, request)
  }
  return {
    complete: (request) =>
      Effect.withFiber((fiber) => {
        noting(fiber, request)
        return self.complete(request)
      }),
    stream: (request) =>
      Layered.suspend((fiber) => {
        noting(fiber, request)
        return self.stream(request)
      })
  }
}
