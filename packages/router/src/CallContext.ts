/**
 * Who calls, as far as a route needs to know: the client, the headers that came with the request, and the account that it belongs to.
 *
 * The gateway sets it for each request; an app that routes by tenant sets it around its calls:
 *
 * ```ts
 * import { CallContext } from "@ballast/router"
 * import { Effect } from "effect"
 *
 * const program = Effect.succeed("answer").pipe(
 *   Effect.provideService(CallContext.Current, { client: { name: "alice", labels: { team: "search" } }, headers: {} })
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * @category models
 * @since 0.1.0
 */
export interface CallContext {
  readonly client: {
    readonly name: string
    readonly labels: Readonly<Record<string, string>>
  }
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** The only account that can answer, for example because it has a file that the request names. Default: any. */
  readonly place?: Place | undefined
}

/**
 * An account of a provider.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly provider: string
  readonly account: string
}

/**
 * The call context of this fiber. Default: the client `anonymous`, without headers.
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<CallContext> = Context.Reference("@ballast/router/CallContext/Current", {
  defaultValue: (): CallContext => ({ client: { name: "anonymous", labels: {} }, headers: {} })
})
