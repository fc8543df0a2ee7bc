/** What the simulator is asked and answers. */
import type { Balance } from "@ballast/chat/Balance"
import type { Usage } from "@ballast/chat/Usage"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"

/**
 * An HTTP request as the simulator sees it. Header names are in lower case; the path may have a query.
 *
 * @category models
 * @since 0.1.0
 */
export interface SimulatorRequest {
  readonly method: string
  readonly path: string
  readonly headers: { readonly [name: string]: string | undefined }
  readonly body: Uint8Array
}

/**
 * The connection is destroyed: before the answer, or within its body.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionCut extends Schema.TaggedError<ConnectionCut>()("ConnectionCut", {}) {
  override get message() {
    return "The simulator destroyed the connection"
  }
}

/**
 * What a chat request asked for, and what its answer costs.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChatSummary {
  readonly model: string
  readonly stream: boolean
  readonly usage: Usage
}

/**
 * An HTTP answer. The body gives each piece when it is due; it fails where the connection is destroyed, and never ends where it stalls.
 *
 * @category models
 * @since 0.1.0
 */
export interface SimulatorResponse {
  /** Only with the answer to a chat request that was accepted. */
  readonly chat?: ChatSummary | undefined
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Stream.Stream<Uint8Array, ConnectionCut>
}

/**
 * What a simulator has seen so far, and what runs now.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inspection {
  /** All requests. */
  readonly requests: number
  /** How many were answered with each status. */
  readonly statuses: Readonly<Record<number, number>>
  /** Chats that hold a place now. */
  readonly inFlight: number
  /** The most that held a place at the same time. */
  readonly peak: number
  readonly inFlightByModel: Readonly<Record<string, number>>
  readonly balance: Balance
}

/**
 * The simulated service.
 *
 * **Details**
 *
 * `answer` succeeds with status and headers once the latency is over, and fails when the connection is destroyed before. A chat's place in
 * the concurrency limit is given back when the scope closes, so close it when the body has been sent or the client is gone.
 *
 * @category services
 * @since 0.1.0
 */
export class Simulator extends Context.Service<Simulator, {
  readonly answer: (request: SimulatorRequest) => Effect.Effect<SimulatorResponse, ConnectionCut, Scope.Scope>
  readonly inspect: Effect.Effect<Inspection>
}>()("@ballast/simulator/Simulator") {}
