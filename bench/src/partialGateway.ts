/**
 * The gateway without parts of it, to measure them: it keeps rows of its calls where its arguments name `ledger`, and writes lines of the log and
 * makes spans where they name `seen`. Metrics are counted all the same.
 */
import { Gateway, Records, Settings, Upstream } from "@ballast/gateway"
import { Exporter, Logs } from "@ballast/telemetry"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Layer, References } from "effect"
import * as V8 from "node:v8"

// As the program does.
V8.setFlagsFromString("--no-allocation-site-pretenuring")

const has = (part: string): boolean => process.argv.includes(part)

const program = Effect.gen(function*() {
  const settings = yield* Settings.make()
  const upstream = yield* Upstream.make(settings)
  const records = has("ledger")
    ? yield* Effect.flatMap(settings.current, Records.make)
    : undefined
  yield* Gateway.serve({ settings, upstream, records })
  return yield* Effect.never
})

const seen = Exporter.layer().pipe(Layer.provideMerge(Logs.layer()))
const unseen = Layer.mergeAll(
  Layer.succeed(References.TracerEnabled, false),
  Layer.succeed(References.MinimumLogLevel, "None")
)

program.pipe(
  Effect.scoped,
  Effect.provide(Layer.merge(has("seen") ? seen : unseen, NodeServices.layer)),
  NodeRuntime.runMain
)
