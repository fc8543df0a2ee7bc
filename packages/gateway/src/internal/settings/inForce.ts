/** What is in force where the settings leave it open. */
import type * as CallContext from "@ballast/router/CallContext"
import type * as RouterSettings from "@ballast/router/RouterSettings"
import * as Redacted from "effect/Redacted"
import * as Database from "../../Database.ts"
import * as PolicySettings from "../../PolicySettings.ts"
import type { GatewaySettings } from "./sections.ts"

/**
 * The name of the model that takes all names that are not there.
 *
 * @category constants
 * @since 0.1.0
 */
export const others = "*"

/**
 * The providers and models in force: those of the settings, or DeepSeek by its key, or the simulator; and all models go to the first provider
 * where none is named.
 *
 * @category accessors
 * @since 0.1.0
 */
export const routing = (
  { deepseek, models, providers: named }: Pick<GatewaySettings, "deepseek" | "models" | "providers">
): RouterSettings.RouterSettings => {
  const providers = isEmpty(named) ? standing(deepseek) : named
  const [provider = ""] = Object.keys(providers)
  return {
    providers,
    models: isEmpty(models)
      ? { [others]: { targets: [{ provider, weight: 1 }], choice: "weighted", failover: [] } }
      : models
  }
}

/**
 * The targets of a model's route, or of the route that takes all others; none where there is neither.
 *
 * @category accessors
 * @since 0.1.0
 */
export const targetsOf = (
  { models }: RouterSettings.RouterSettings,
  model: string
): ReadonlyArray<RouterSettings.Target> =>
  ((Object.hasOwn(models, model) ? models[model] : undefined) ?? models[others])?.targets ?? []

/**
 * All places that a call of a model may go to: the targets of its route, and those of its failover.
 *
 * @category accessors
 * @since 0.1.0
 */
export const placesOf = (
  { models }: RouterSettings.RouterSettings,
  model: string
): ReadonlyArray<RouterSettings.Target> => {
  const route = (Object.hasOwn(models, model) ? models[model] : undefined) ?? models[others]
  return route === undefined ? [] : [...route.targets, ...route.failover]
}

export const isEmpty = (map: object): boolean => Object.keys(map).length === 0

const standing = ({ apiKey, baseUrl }: GatewaySettings["deepseek"]): RouterSettings.RouterSettings["providers"] => {
  const rest = { choice: "prefix", concurrency: {}, preflight: true, resume: true, warmUp: false } as const
  return apiKey === undefined
    ? { simulator: { type: "simulator", accounts: {}, ...rest } }
    : { deepseek: { type: "deepseek", baseUrl, accounts: { default: { keys: [apiKey], weight: 1 } }, ...rest } }
}

const isSimulated = ({ type }: RouterSettings.ProviderSettings): boolean => type === "simulator"

/**
 * The database in force. A gateway that only simulates spends nothing, and leaves no files; of several processes each would have a memory of
 * its own.
 *
 * @category accessors
 * @since 0.1.0
 */
export const database = (settings: GatewaySettings): Redacted.Redacted =>
  settings.database ??
    Redacted.make(
      settings.listen.workers === 1 && Object.values(routing(settings).providers).every(isSimulated)
        ? ":memory:"
        : Database.defaultFile
    )

/**
 * The account that files belong to: that of the settings, or the first one of the first provider that keeps files; undefined where there is
 * none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const filesPlace = (
  settings: Pick<GatewaySettings, "deepseek" | "files" | "models" | "providers">
): CallContext.Place | undefined => {
  const { providers } = routing(settings)
  const provider = settings.files.provider ?? Object.keys(providers).find((name) => keepsFiles(providers[name]))
  if (provider === undefined) return undefined
  const [first = "default"] = Object.keys(providers[provider]?.accounts ?? {})
  return { provider, account: settings.files.account ?? first }
}

export const keepsFiles = (provider: RouterSettings.ProviderSettings | undefined): boolean =>
  provider?.type === "deepseek" || provider?.type === "simulator"

/**
 * Whether a client's `x-simulate` goes on.
 *
 * @category predicates
 * @since 0.1.0
 */
export const takesFaults = (settings: GatewaySettings): boolean =>
  settings.simulator.forward || Object.values(routing(settings).providers).every(isSimulated)

/**
 * The policies of all models and of single ones.
 *
 * @category accessors
 * @since 0.1.0
 */
export const policies = (settings: GatewaySettings): RouterSettings.Policies =>
  PolicySettings.toRouter(settings, { faulty: takesFaults(settings) })
