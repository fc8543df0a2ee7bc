import type { Settings as Live } from "@ballast/settings/Settings"
import * as Following from "@ballast/settings/Settings"
import * as Content from "@ballast/telemetry/Content"
import * as Exporter from "@ballast/telemetry/Exporter"
import * as Logs from "@ballast/telemetry/Logs"
import * as Propagation from "@ballast/telemetry/Propagation"
import * as RuntimeMetrics from "@ballast/telemetry/RuntimeMetrics"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as AlertBridge from "../../AlertBridge.ts"
import * as Gateway from "../../Gateway.ts"
import * as Records from "../../Records.ts"
import type { GatewaySettings } from "../../Settings.ts"
import * as Settings from "../../Settings.ts"
import { fromServeError } from "../../StartError.ts"
import * as Startup from "../../Startup.ts"
import * as TelemetrySettings from "../../TelemetrySettings.ts"
import * as Upstream from "../../Upstream.ts"
import { version } from "../../Version.ts"
import * as sources from "./sources.ts"

export interface Options extends sources.Options {
  readonly host: string | undefined
  readonly port: number | undefined
  readonly forwardSimulate: boolean | undefined
}

/** Reads the settings again at each SIGHUP. What is wrong is logged, and stays out of force. */
const reread = Effect.fnUntraced(function*(settings: Live<GatewaySettings>) {
  const signals = yield* Queue.sliding<void>(1)
  const onSignal = () => void Queue.offerUnsafe(signals, undefined)
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("SIGHUP", onSignal)),
    () => Effect.sync(() => process.off("SIGHUP", onSignal))
  )
  // The settings log a refusal themselves.
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Queue.take(signals), Effect.ignore(settings.refresh))))
})

const run = Effect.fnUntraced(function*(settings: Live<GatewaySettings>) {
  const first = yield* settings.current
  const { clients, listen } = first
  const records = yield* Records.make(first)
  const upstream = yield* Upstream.make(settings)
  const address = yield* Gateway.serve({ settings, upstream, records }).pipe(
    Effect.mapError((error) => fromServeError(error, listen))
  )
  yield* reread(settings)
  process.stdout.write(Startup.text({
    version,
    url: Startup.urlOf(listen.host, address, listen.tls === undefined ? "http" : "https"),
    upstream: upstream.description(),
    clients: Object.keys(clients).length,
    database: records.database.kind === "memory"
      ? "in memory, gone at the end; keep it with BALLAST_DATABASE=data/ballast.db"
      : records.database.description
  }))
  return yield* Effect.never
})

/** Serves until it is interrupted. */
export const serve = Effect.fnUntraced(function*({ forwardSimulate, host, port, ...options }: Options) {
  const { colors, format, level } = yield* sources.logs
  const logs = Logs.live({ colors, format, level })
  const files = yield* sources.of(options)
  const telemetry = yield* Settings.telemetry(files)
  const program = Effect.gen(function*() {
    const settings = yield* Settings.make({
      ...files,
      flags: { listen: { host, port }, simulator: { forward: forwardSimulate } }
    })
    yield* Following.follow(
      Following.select(settings, ({ log }) => log),
      ({ format = Logs.terminalFormat(), level }) => logs.update({ format, level: sources.levelOf(level) })
    )
    return yield* run(settings)
  })
  return yield* program.pipe(
    Effect.scoped,
    Effect.provide(
      Exporter.layer({ serviceName: telemetry?.serviceName ?? "ballast" }).pipe(
        Layer.provide(telemetry === undefined ? Layer.empty : TelemetrySettings.layer(telemetry)),
        Layer.merge(
          Layer.mergeAll(Propagation.layerConfig, Content.layerConfig, RuntimeMetrics.layer, AlertBridge.layerConfig)
        ),
        Layer.provideMerge(logs.layer)
      )
    )
  )
})
