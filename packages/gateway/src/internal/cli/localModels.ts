import * as Effect from "effect/Effect"
import type { GatewaySettings } from "../../Settings.ts"

/** Local models with the client of their provider. What runs them is loaded only where settings name a folder. */
export const localModels = Effect.fnUntraced(function*(
  { inference: { memory, models: folder } }: Pick<GatewaySettings, "inference">
) {
  if (folder === undefined) return { localModels: undefined, local: undefined }
  const LocalModels = yield* Effect.promise(() => import("../../LocalModels.ts"))
  const localModels = yield* LocalModels.make({ folder, maxBytes: Number(memory) })
  return { localModels, local: LocalModels.client(localModels) }
})
