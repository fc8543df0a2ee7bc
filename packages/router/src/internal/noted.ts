import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as RouteInfo from "../RouteInfo.ts"

/** Writes to the record of each call as it begins, where there is one. */
export const calls = <E>(
  self: ChatModel<E>,
  note: (info: RouteInfo.RouteInfo, request: ChatRequest) => void
): ChatModel<E> => {
  const noting = (request: ChatRequest) =>
    Effect.map(RouteInfo.Current, (info) => {
      if (info !== undefined) note(info, request)
    })
  return {
    complete: (request) => Effect.andThen(noting(request), self.complete(request)),
    stream: (request) => Stream.unwrap(Effect.as(noting(request), self.stream(request)))
  }
}
