/**
 * A dialect: how clients ask for a chat, and how they are answered.
 *
 * The gateway speaks each API that clients know as one dialect over the same road (`ChatRoute`): it decodes a request to a `ChatRequest`
 * and encodes whole answers, events, errors, the end and the pings of a stream. A dialect is pure; limits, policies, time and the
 * connection are the road's.
 *
 * @since 0.1.0
 */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type { Cost } from "@ballast/deepseek/Pricing"
import type * as Result from "effect/Result"
import type { Body } from "./Body.ts"
import type { ErrorResponse, Failure } from "./ErrorResponse.ts"
import type { Rejection } from "./Rejection.ts"

/**
 * How the events of one stream are written; may keep state from one chunk to the next. Every text is complete events, or empty.
 *
 * @category models
 * @since 0.1.0
 */
export interface Events {
  /** The cost is that of the call up to a chunk that carries usage, where it is known. */
  readonly chunk: (chunk: ChatChunk, cost?: Cost) => string
  /** After the last chunk. */
  readonly end: () => string
  /** In place of the end. */
  readonly error: (error: ErrorResponse) => string
  /** Whenever nothing was sent for a while. */
  readonly ping: string
}

/**
 * A request, understood.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  /** With the native request attached, where the dialect's protocol is not chat: see `Native`. */
  readonly request: ChatRequest
  /** The JSON of a whole answer. */
  readonly completion: (completion: ChatCompletion) => string
  /** How a stream is written, when the client asks for one. */
  readonly events: Events | undefined
  /** The JSON of a whole answer that the gateway gives by itself where a call fails. Default none. */
  readonly recover?: ((failure: Failure) => string | undefined) | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Dialect {
  readonly decode: (
    body: Pick<Body, "json" | "text">,
    headers: Readonly<Record<string, string | undefined>>
  ) => Result.Result<Call, Rejection>
  /** The JSON of an error's answer. */
  readonly error: (error: ErrorResponse) => string
  /** Further headers of every answer, by the id of the request. Default none. */
  readonly headers?: (requestId: string) => Readonly<Record<string, string>>
}
