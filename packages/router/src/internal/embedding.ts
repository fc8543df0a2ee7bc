import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Embeddings from "@ballast/chat/Embeddings"
import * as CallInfo from "@ballast/resilience/CallInfo"
import * as Effect from "effect/Effect"
import * as CallContext from "../CallContext.ts"
import * as RouteInfo from "../RouteInfo.ts"

/**
 * The embedding of a text, asked of a model for a call: it is a call of its own, for the same client, that the records of the call at hand do
 * not see. Empty where the service gave none.
 */
export const of = <E>(through: ChatModel<E>, model: string, text: string): Effect.Effect<ReadonlyArray<number>, E> =>
  Embeddings.create(through, { model, input: text, encoding_format: "float" }).pipe(
    Effect.map(({ data: [first] }) => typeof first?.embedding === "string" ? [] : first?.embedding ?? []),
    Effect.provideService(RouteInfo.Current, undefined),
    Effect.provideService(CallInfo.Current, undefined),
    Effect.updateService(CallContext.Current, ({ client }) => ({ client, headers: {} }))
  )
