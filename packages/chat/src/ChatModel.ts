/**
 * A model is a function: from a request to a completion, or to a stream of chunks.
 *
 * Everything in Ballast is a source, a transformation or a sink of this one type. A provider over HTTP is a source, a policy
 * or a cache turns one model into another, a router makes one of many, and a gateway serves one.
 *
 * @since 0.1.0
 */
import type { Policy } from "@ballast/resilience/Policy"
import type * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Stream from "effect/Stream"
import type { ChatChunk } from "./ChatChunk.ts"
import type { ChatCompletion } from "./ChatCompletion.ts"
import type { ChatError } from "./ChatError.ts"
import type { ChatRequest } from "./ChatRequest.ts"

/**
 * A chat model that fails with `E`.
 *
 * **Details**
 *
 * Interrupting `complete`, or closing the scope of `stream`, ends the call upstream at once. A stream that ends without an
 * error is complete: it had a `finish_reason`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChatModel<out E = ChatError> {
  readonly complete: (request: ChatRequest) => Effect.Effect<ChatCompletion, E>
  readonly stream: (request: ChatRequest) => Stream.Stream<ChatChunk, E>
}

/**
 * Puts a policy around a model; a function chooses the policy by request, for example by model name.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withPolicy: {
  <E2>(policy: Policy<E2> | ((request: ChatRequest) => Policy<E2>)): <E>(self: ChatModel<E>) => ChatModel<E | E2>
  <E, E2>(self: ChatModel<E>, policy: Policy<E2> | ((request: ChatRequest) => Policy<E2>)): ChatModel<E | E2>
} = dual(
  2,
  <E, E2>(self: ChatModel<E>, policy: Policy<E2> | ((request: ChatRequest) => Policy<E2>)): ChatModel<E | E2> => {
    const policyOf = "stream" in policy ? () => policy : policy
    return {
      complete: (request) => policyOf(request)(self.complete(request)),
      stream: (request) => policyOf(request).stream(self.stream(request))
    }
  }
)
