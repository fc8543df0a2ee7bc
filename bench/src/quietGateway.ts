/** The gateway without spans and without lines of the log; with `ledger` as its argument, with rows of its calls. Metrics are counted all the same. */
import { Gateway, Records, Settings, Upstream } from "@ballast/gateway"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, References } from "effect"
import * as V8 from "node:v8"

// As the program does.
V8.setFlagsFromString("--no-allocation-site-pretenuring")

const program = Effect.gen(function*() {
  const settings = yield* Settings.make()
  const upstream = yield* Upstream.make(settings)
  const records = process.argv.includes("ledger")
    ? yield* Effect.flatMap(settings.current, Records.make)
    : undefined
  yield* Gateway.serve({ settings, upstream, records })
  return yield* Effect.never
})

program.pipe(
  Effect.scoped,
  Effect.provideService(References.TracerEnabled, false),
  Effect.provideService(References.MinimumLogLevel, "None"),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
