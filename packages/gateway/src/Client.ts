/**
 * Who calls: a client of the gateway by its name, and what it may do.
 *
 * The check of a request's key finds the client; handlers, the access log and spans see it, and policies share fairly by it, since its name
 * is the tenant of the concurrency limits.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type { Addresses } from "./internal/addresses.ts"
import type { Limits } from "./Limits.ts"
import { Rejection } from "./Rejection.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Client {
  /** What logs and spans call it; unique among the clients, never a secret. */
  readonly name: string
  /** Whether its key is an admin's. */
  readonly isAdmin?: boolean | undefined
  /** What its operator says about it, for example a team. */
  readonly labels: Readonly<Record<string, string>>
  /** Whom to ask about it. */
  readonly owner?: string | undefined
  /** Models that it may ask for; one that ends with `*` stands for all that begin so. Default: all. */
  readonly models?: ReadonlyArray<string> | undefined
  /** Where it may call from. Default: anywhere. */
  readonly addresses?: Addresses | undefined
  /** When it may no longer call, in milliseconds since the epoch. Default: never. */
  readonly expiresAt?: number | undefined
  /** What it may ask for and spend. Default: that of `clientLimits`. */
  readonly limits?: Limits | undefined
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

/**
 * Whether a client may ask for a model.
 *
 * @category predicates
 * @since 0.1.0
 */
export const mayUse = ({ models }: Client, model: string): boolean =>
  models === undefined ||
  models.some((allowed) => allowed.endsWith("*") ? model.startsWith(allowed.slice(0, -1)) : model === allowed)

/**
 * Why a client may not ask for a model.
 *
 * @category errors
 * @since 0.1.0
 */
export const modelRefused = ({ models = [], name }: Client, model: string): Rejection =>
  new Rejection({
    case: "ModelNotAllowed",
    param: "model",
    detail: `The client ${name} may not use the model ${JSON.stringify(model)}. It may use ${models.join(", ")}.`
  })
