import * as Share from "@ballast/resilience/Share"
import type { Settings as Live } from "@ballast/settings/Settings"
import * as Following from "@ballast/settings/Settings"
import * as Content from "@ballast/telemetry/Content"
import * as Exporter from "@ballast/telemetry/Exporter"
import * as Logs from "@ballast/telemetry/Logs"
import * as Propagation from "@ballast/telemetry/Propagation"
import * as RuntimeMetrics from "@ballast/telemetry/RuntimeMetrics"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import * as Path from "node:path"
import * as AlertBridge from "../../AlertBridge.ts"
import * as ClientStore from "../../ClientStore.ts"
import * as Database from "../../Database.ts"
import * as Gateway from "../../Gateway.ts"
import * as Records from "../../Records.ts"
import type { GatewaySettings } from "../../Settings.ts"
import * as Settings from "../../Settings.ts"
import { fromServeError } from "../../StartError.ts"
import * as Startup from "../../Startup.ts"
import * as TelemetrySettings from "../../TelemetrySettings.ts"
import * as Upstream from "../../Upstream.ts"
import { version } from "../../Version.ts"
import * as Worker from "../../Worker.ts"
import * as Local from "./localModels.ts"
import * as sources from "./sources.ts"

export interface Options extends sources.Options {
  readonly host: string | undefined
  readonly port: number | undefined
  readonly workers: number | undefined
  readonly forwardSimulate: boolean | undefined
}

/** Runs an effect again and again, once for each SIGHUP; several at once are one. */
const atHangup = Effect.fnUntraced(function*(effect: Effect.Effect<void>) {
  const signals = yield* Queue.sliding<void>(1)
  const onSignal = () => void Queue.offerUnsafe(signals, undefined)
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("SIGHUP", onSignal)),
    () => Effect.sync(() => process.off("SIGHUP", onSignal))
  )
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Queue.take(signals), effect)))
})

/** The settings log a refusal themselves. */
const reread = (settings: Live<GatewaySettings>) => Effect.ignore(settings.refresh)

const announce = (
  { clients, listen, ...settings }: GatewaySettings,
  address: NetAddress.SocketAddress,
  { description, kind }: Pick<Database.Database, "kind" | "description">,
  made: Pick<ClientStore.ClientStore, "state">,
  workers?: number
) =>
  Effect.sync(() => {
    const routing = Settings.routing(settings)
    process.stdout.write(Startup.text({
      version,
      url: Startup.urlOf(listen.host, address, listen.tls === undefined ? "http" : "https"),
      upstream: Upstream.describe(routing),
      named: Object.keys(settings.providers).length > 0,
      model: Startup.modelOf(Object.keys(routing.models)),
      clients: Object.keys(clients).length,
      needsKey: Object.keys(clients).length > 0 || listen.keysRequired || made.state() !== "none",
      database: kind === "memory"
        ? "in memory, gone at the end; keep it with BALLAST_DATABASE=data/ballast.db"
        : description,
      workers
    }))
  })

/** Workflows need the engine of their own only where there are some. */
const workflowsOf = Effect.fnUntraced(function*(
  settings: Live<GatewaySettings>,
  { database }: Records.Records,
  worker?: number
) {
  const { workflows: { files } } = yield* settings.current
  if (files.length === 0) return undefined
  const { open } = yield* Effect.promise(() => import("../../Workflows.ts"))
  return yield* open(settings, database, worker)
})

/** Serves in this process, alone. */
const runAlone = Effect.fnUntraced(function*(settings: Live<GatewaySettings>) {
  const first = yield* settings.current
  const records = yield* Records.make(first)
  const { localModels, local } = yield* Local.localModels(first)
  const upstream = yield* Upstream.make(settings, { local })
  const workflows = yield* workflowsOf(settings, records)
  const address = yield* Effect.mapError(
    Gateway.serve({ settings, upstream, records, workflows, localModels }),
    (error) => fromServeError(error, first.listen)
  )
  yield* atHangup(reread(settings))
  yield* announce(first, address, records.database, records.clients)
  return yield* Effect.never
})

/** Serves as one of several processes, until the primary says that it is over. */
const runWorker = Effect.fnUntraced(function*(settings: Live<GatewaySettings>, worker: Worker.Worker) {
  const first = yield* settings.current
  const records = yield* Records.make(first)
  const upstream = yield* Upstream.make(settings)
  const workflows = yield* workflowsOf(settings, records, worker.number)
  yield* Effect.mapError(
    Gateway.serve({ settings, upstream, records, worker, workflows }),
    (error) => fromServeError(error, first.listen)
  )
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(worker.reload, reread(settings))))
  yield* worker.ready
  yield* worker.stopped
})

/** A database in memory would be each worker's own. They share a file that is gone with them. */
const temporaryDatabase = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(tmpdir(), "ballast-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => Redacted.make(Path.join(folder, "ballast.db"))
)

/** Starts the processes that serve. They read the settings themselves. */
const runPrimary = Effect.fnUntraced(function*(first: GatewaySettings, count: number) {
  const { limits: { shutdownTimeout }, listen } = first
  const given = Settings.database(first)
  const isKept = Redacted.value(given) !== ":memory:"
  const url = isKept ? given : yield* temporaryDatabase
  // Before the workers: the first use makes its tables.
  const { clients, description } = yield* Effect.scoped(
    Effect.flatMap(
      Database.make(url),
      (database) =>
        Effect.map(ClientStore.make(database), (clients) => ({ clients, description: database.description }))
    )
  )
  const { serve } = yield* Effect.promise(() => import("../../Workers.ts"))
  const { address, reload, started } = yield* Effect.mapError(
    serve({
      count,
      host: listen.host,
      port: listen.port,
      shutdownTimeout,
      env: isKept ? {} : { BALLAST_DATABASE: Redacted.value(url) }
    }),
    (error) => fromServeError(error, listen)
  )
  yield* atHangup(reload)
  yield* started
  yield* announce(first, address, { kind: isKept ? "sqlite" : "memory", description }, clients, count)
  return yield* Effect.never
})

/** Serves until it is interrupted. */
export const serve = Effect.fnUntraced(function*({ forwardSimulate, host, port, workers, ...options }: Options) {
  const { colors, format, level } = yield* sources.logs
  const logs = Logs.live({ colors, format, level })
  const files = yield* sources.of(options)
  const telemetry = yield* Settings.telemetry(files)
  const program = Effect.gen(function*() {
    const worker = yield* Worker.join
    const reading = yield* Scope.fork(yield* Effect.scope)
    const settings = yield* Scope.provide(
      Settings.make({
        ...files,
        flags: { listen: { host, port, workers }, simulator: { forward: forwardSimulate } }
      }),
      reading
    )
    yield* Following.follow(
      Following.select(settings, ({ log }) => log),
      ({ format = Logs.terminalFormat(), level }) => logs.update({ format, level: sources.levelOf(level) })
    )
    if (worker !== undefined) {
      return yield* runWorker(settings, worker).pipe(
        Effect.provideService(Share.Current, worker.share),
        Effect.annotateLogs({ worker: worker.number })
      )
    }
    const first = yield* settings.current
    const count = first.listen.workers === 0 ? availableParallelism() : first.listen.workers
    if (count === 1) return yield* runAlone(settings)
    yield* Scope.close(reading, Exit.void)
    return yield* runPrimary(first, count)
  })
  return yield* program.pipe(
    Effect.scoped,
    Effect.provide(
      Exporter.layer({ serviceName: telemetry?.serviceName ?? "ballast", serviceVersion: version }).pipe(
        Layer.provide(Worker.layerInstance),
        Layer.provide(telemetry === undefined ? Layer.empty : TelemetrySettings.layer(telemetry)),
        Layer.merge(
          Layer.mergeAll(Propagation.layerConfig, Content.layerConfig, RuntimeMetrics.layer, AlertBridge.layerConfig)
        ),
        Layer.provideMerge(logs.layer)
      )
    )
  )
})
