/**
 * Gateways in one process, without parts of them, to measure these parts: two processes of the same program differ by up to a tenth, by what the
 * engine happened to optimise. Metrics are counted by all.
 */
import { Gateway, Records, Settings, Upstream } from "@ballast/gateway"
import { Exporter, Logs } from "@ballast/telemetry"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { ConfigProvider, Effect, Layer, References } from "effect"
import * as V8 from "node:v8"

/** One of them, as an argument of the program in JSON. They start one after the other. */
export interface Way {
  /** Whether it keeps rows of its calls. */
  readonly ledger: boolean
  /** Whether it writes lines of the log and makes spans. */
  readonly seen: boolean
  /** Variables of its environment, over those of the process. */
  readonly env?: Record<string, string>
}

// As the program does.
V8.setFlagsFromString("--no-allocation-site-pretenuring")

const seen = Exporter.layer().pipe(Layer.provideMerge(Logs.layer()))
const unseen = Layer.mergeAll(
  Layer.succeed(References.TracerEnabled, false),
  Layer.succeed(References.MinimumLogLevel, "None")
)

const start = Effect.fnUntraced(function*(way: Way) {
  const settings = yield* Settings.make()
  const upstream = yield* Upstream.make(settings)
  const records = way.ledger ? yield* Effect.flatMap(settings.current, Records.make) : undefined
  return yield* Gateway.serve({ settings, upstream, records })
})

const layerOf = ({ env = {}, seen: isSeen }: Way) =>
  (isSeen ? seen : unseen).pipe(
    Layer.provideMerge(
      ConfigProvider.layer(ConfigProvider.orElse(ConfigProvider.fromEnv({ env }), ConfigProvider.fromEnv()))
    )
  )

const program = Effect.gen(function*() {
  for (const argument of process.argv.slice(2)) {
    const way: Way = JSON.parse(argument)
    yield* Effect.provide(start(way), yield* Layer.build(layerOf(way)))
  }
  return yield* Effect.never
})

program.pipe(Effect.scoped, Effect.provide(NodeServices.layer), NodeRuntime.runMain)
