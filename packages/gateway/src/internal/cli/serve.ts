import * as Exporter from "@ballast/telemetry/Exporter"
import * as Logs from "@ballast/telemetry/Logs"
import * as Propagation from "@ballast/telemetry/Propagation"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Gateway from "../../Gateway.ts"
import * as Settings from "../../Settings.ts"
import { fromServeError } from "../../StartError.ts"
import * as Startup from "../../Startup.ts"
import * as Upstream from "../../Upstream.ts"
import { version } from "../../Version.ts"

const run = Effect.fnUntraced(function*(settings: Settings.Settings) {
  const address = yield* Gateway.serve(settings).pipe(Effect.mapError((error) => fromServeError(error, settings)))
  const upstream = yield* Upstream.Upstream
  process.stdout.write(Startup.text({
    version,
    url: Startup.urlOf(settings.host, address),
    upstream,
    clientKeys: settings.clientKeys.length
  }))
  return yield* Effect.never
}, Effect.scoped)

/** Serves until it is interrupted. */
export const serve = Effect.fnUntraced(function*(options: {
  readonly host: Option.Option<string>
  readonly port: Option.Option<number>
  readonly forwardSimulate: Option.Option<boolean>
}) {
  const fromEnv = yield* Settings.config
  const settings = {
    ...fromEnv,
    host: Option.getOrElse(options.host, () => fromEnv.host),
    port: Option.getOrElse(options.port, () => fromEnv.port),
    forwardSimulate: Option.getOrElse(options.forwardSimulate, () => fromEnv.forwardSimulate)
  }
  const refusal = Startup.refusal(settings)
  if (Option.isSome(refusal)) return yield* refusal.value
  const Telemetry = Exporter.layer({ serviceName: "ballast" }).pipe(
    Layer.merge(Propagation.layerConfig),
    Layer.provideMerge(Logs.layerConfig)
  )
  return yield* Effect.provide(run(settings), Upstream.layer(settings).pipe(Layer.provideMerge(Telemetry)))
})
