/** The gateway without spans and without lines of the log. Metrics are counted all the same. */
import { Gateway, Settings, Upstream } from "@ballast/gateway"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, References } from "effect"

const program = Effect.gen(function*() {
  const settings = yield* Settings.make()
  yield* Gateway.serve({ settings, upstream: yield* Upstream.make(settings) })
  return yield* Effect.never
})

program.pipe(
  Effect.scoped,
  Effect.provideService(References.TracerEnabled, false),
  Effect.provideService(References.MinimumLogLevel, "None"),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
