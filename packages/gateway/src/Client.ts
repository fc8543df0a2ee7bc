/**
 * Who calls: a client of the gateway by its name.
 *
 * The check of a request's key finds the client; handlers, the access log and spans see it, and policies share fairly by it, since its name
 * is the tenant of the concurrency limits.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * @category models
 * @since 0.1.0
 */
export interface Client {
  /** What logs and spans call it; unique among the clients, never a secret. */
  readonly name: string
  /** What its operator says about it, for example a team. */
  readonly labels: Readonly<Record<string, string>>
}

/**
 * The client where no keys are configured.
 *
 * @category constants
 * @since 0.1.0
 */
export const anonymous: Client = { name: "anonymous", labels: {} }

/**
 * The client of the current request.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentClient: Context.Reference<Client> = Context.Reference("@ballast/gateway/Client/CurrentClient", {
  defaultValue: () => anonymous
})
