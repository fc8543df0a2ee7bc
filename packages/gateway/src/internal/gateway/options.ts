/** What a gateway is made of. */
import type * as Settings from "@ballast/settings/Settings"
import type * as LocalModels from "../../LocalModels.ts"
import type * as Records from "../../Records.ts"
import { type GatewaySettings } from "../../Settings.ts"
import type { Upstream } from "../../Upstream.ts"
import type * as Worker from "../../Worker.ts"
import type * as Workflows from "../../Workflows.ts"

/**
 * What a gateway stands on, and what steers it. The policies are in the registry at hand.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly settings: Settings.Settings<GatewaySettings>
  readonly upstream: Upstream
  /** The other processes of this gateway, when this is one of several. */
  readonly worker?: Worker.Worker | undefined
  /** What is kept of its calls. Default: nothing. */
  readonly records?: Records.Records | undefined
  /** Local models. Default: none. */
  readonly localModels?: LocalModels.Service | undefined
  /** Workflows to serve, which need `records`. Default: none. */
  readonly workflows?: Workflows.Opened | undefined
}
